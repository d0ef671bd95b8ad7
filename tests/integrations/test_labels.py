"""Shipping labels: bought once whatever is lost, their price kept, and staff told what and why."""

from __future__ import annotations

import threading
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from audit import outbox
from audit.models import AuditLog
from config.kernel.clock import Deadline
from config.kernel.errors import (
    InvalidTransitionError,
    NotFoundError,
    RequestKeyReusedError,
    ValidationFailedError,
)
from customers.models import Customer
from integrations.fulfilment import labels
from integrations.fulfilment.errors import LabelBusyError, LabelRefusedError, LabelsOffError
from integrations.fulfilment.label_providers import EasyPost
from integrations.fulfilment.labels import Wish
from integrations.fulfilment.models import ShippingLabel
from orders.models import Order, Shipment
from orders.services import privacy
from orders.services.shipping import Parcel, ship_order
from tests import factories
from tests.integrations.easypost_server import EasyPostServer
from tests.integrations.receiver import DROP, Listening
from tests.shop import BERLIN, order_of

pytestmark = pytest.mark.django_db

WISH = Wish(units={"MUG": 2}, weight_grams=800)
LABEL = {
    "carrier": "UPS",
    "service": "Ground",
    "tracking_number": "1Z999AA10123456784",
    "tracking_url": None,
    "amount": "7.58",
    "currency": "USD",
    "label_url": "https://labels.test/1.pdf",
}


@pytest.fixture
def receiver():
    with Listening() as listening:
        yield listening


@pytest.fixture
def easypost(receiver, settings):
    settings.EASYPOST_API_KEY = "EZAK-sesame"
    settings.EASYPOST_BASE_URL = receiver.url
    settings.EASYPOST_FROM_ADDRESS = "adr_1"
    server = EasyPostServer()
    receiver.usual = server
    return server


@pytest.fixture
def generic(receiver, settings):
    """Knows labels by the id they were asked for with."""
    settings.FULFILMENT_BASE_URL = receiver.url
    settings.FULFILMENT_TOKEN = "sesame-of-the-warehouse"
    bought = {}

    def answer(request):
        if request.method == "GET":
            found = bought.get(request.path.rpartition("/")[2])
            return (200, found) if found else (404, {})
        bought.setdefault(request.headers["Idempotency-Key"], LABEL)
        return 201, LABEL

    receiver.usual = answer
    return bought


@pytest.fixture
def order(provider, shopper):
    factories.ProductFactory(sku="MUG", on_hand=10, weight_grams=350)
    return order_of(shopper.order(("MUG", 3)))


def buy(order, wish=WISH, key="press-1"):
    return labels.buy_label(order_id=order.pk, wish=wish, request_key=key, deadline=Deadline(12.0))


def ask_again(label):
    return labels.ask_again(label_id=label.pk, deadline=Deadline(12.0))


def audited(event_type):
    return [row.data for row in AuditLog.objects.filter(event_type=event_type)]


class TestBuyFromEasyPost:
    def test_takes_the_cheapest_and_keeps_what_it_costs(self, easypost, receiver, order):
        label = buy(order)

        assert label.status == "bought"
        assert (label.carrier, label.service) == ("USPS", "GroundAdvantage")
        assert (label.amount, label.currency) == (Decimal("5.49"), "USD")
        assert label.tracking_number == "9400100000000000000001"
        assert label.label_url == "https://labels.test/shp_1.png"
        assert easypost.purchases == ["shp_1"]
        assert audited("LABEL_BOUGHT")[0]["amount"] == "5.49"

    def test_says_where_it_goes_and_what_it_weighs(self, easypost, receiver, order):
        buy(order, Wish(units={"MUG": 2}, weight_grams=800, size_mm=(300, 200, 101)))

        created = receiver.got[0]
        assert (created.method, created.path) == ("POST", "/shipments")
        assert created.headers["Authorization"] == "Basic RVpBSy1zZXNhbWU6"
        assert created.body["shipment"] == {
            "to_address": {
                "name": "Ada Lovelace",
                "street1": "1 Main Street",
                "city": "New York",
                "state": "NY",
                "zip": "10001",
                "country": "US",
            },
            "from_address": {"id": "adr_1"},
            "parcel": {"weight": 28.3, "length": 11.9, "width": 7.9, "height": 4.0},
            "reference": str(ShippingLabel.objects.get().uuid),
            "options": {"print_custom_1": order.order_number},
        }

    @pytest.mark.parametrize("service", ["priority", "USPS Priority"])
    def test_takes_the_service_that_was_asked_for(self, easypost, order, service):
        label = buy(order, Wish(units={"MUG": 1}, weight_grams=1, service=service))

        assert (label.service, label.amount) == ("Priority", Decimal("8.10"))

    def test_tells_which_services_there_are(self, easypost, order):
        with pytest.raises(LabelRefusedError) as refused:
            buy(order, Wish(units={"MUG": 1}, weight_grams=1, service="Dragon"))

        assert "UPS Ground, USPS GroundAdvantage, USPS Priority" in refused.value.message
        assert "Nothing was bought" in refused.value.message
        assert easypost.purchases == []

    @pytest.mark.parametrize(
        ("status", "body", "told"),
        [
            (402, {"error": {"code": "PAYMENT_REQUIRED", "message": "no funds"}}, "PAYMENT_REQ"),
            (
                422,
                {
                    "error": {
                        "code": "ADDRESS.VERIFY.FAILURE",
                        "message": "1 Main Street is not known",
                        "errors": [{"field": "street1", "message": "1 Main Street is not known"}],
                    }
                },
                "ADDRESS.VERIFY.FAILURE street1",
            ),
        ],
    )
    def test_tells_why_it_is_refused_without_the_address(self, easypost, order, status, body, told):
        easypost.refuse = (status, body)

        with pytest.raises(LabelRefusedError) as refused:
            buy(order)

        assert told in refused.value.message
        assert "Main Street" not in refused.value.message
        label = ShippingLabel.objects.get()
        assert (label.status, label.amount) == ("failed", None)
        assert audited("LABEL_REFUSED")[0]["label"] == label.pk

    @pytest.mark.parametrize("rates", [[], None, [{"id": "rate_1", "rate": "free"}]])
    def test_buys_nothing_without_a_rate(self, easypost, order, rates):
        easypost.rates = rates

        with pytest.raises(LabelRefusedError):
            buy(order)

        assert easypost.purchases == []


class TestTheSamePress:
    def test_is_one_label(self, easypost, order):
        first = buy(order)

        again = buy(order)

        assert again == first
        assert easypost.purchases == ["shp_1"]

    def test_with_another_parcel_is_refused(self, easypost, order):
        buy(order)

        with pytest.raises(RequestKeyReusedError):
            buy(order, Wish(units={"MUG": 1}, weight_grams=800))

    def test_after_a_refusal_says_so_again(self, easypost, order):
        easypost.refuse = (422, {"error": {"code": "NO"}})
        for _ in range(2):
            with pytest.raises(LabelRefusedError):
                buy(order)
        assert ShippingLabel.objects.count() == 1


class TestLostAnswers:
    def test_a_purchase_whose_answer_was_lost_is_found_and_not_repeated(
        self, easypost, receiver, order
    ):
        easypost.lose = {"buy"}

        label = buy(order)
        assert (label.status, label.amount) == ("asked", None)
        assert "did not answer" in label.last_error

        label = ask_again(label)

        assert (label.status, label.amount) == ("bought", Decimal("5.49"))
        assert easypost.purchases == ["shp_1"]

    def test_the_same_press_again_finds_it_too(self, easypost, order):
        easypost.lose = {"buy"}
        buy(order)

        assert buy(order).status == "bought"
        assert easypost.purchases == ["shp_1"]

    def test_a_parcel_whose_making_was_lost_is_made_again_and_bought_once(self, easypost, order):
        easypost.lose = {"create"}
        label = buy(order)
        assert (label.status, label.provider_id) == ("asked", "")

        assert ask_again(label).status == "bought"
        assert (len(easypost.shipments), easypost.purchases) == (2, ["shp_2"])

    def test_a_worker_that_died_after_the_purchase_is_followed_by_one_who_looks(
        self, easypost, order, monkeypatch
    ):
        keep = labels._keep

        def dies(*_):
            raise RuntimeError("killed")

        monkeypatch.setattr(labels, "_keep", dies)
        with pytest.raises(RuntimeError):
            buy(order)
        monkeypatch.setattr(labels, "_keep", keep)
        label = ShippingLabel.objects.get()
        with pytest.raises(LabelBusyError):
            ask_again(label)
        ShippingLabel.objects.update(leased_until=timezone.now())

        assert ask_again(label).status == "bought"
        assert easypost.purchases == ["shp_1"]

    def test_a_refusal_of_a_second_purchase_is_no_refusal(self, easypost, order, monkeypatch):
        """The first purchase came through after we had looked."""
        easypost.lose = {"buy"}
        label = buy(order)
        find, blind = EasyPost.find, iter([True])
        monkeypatch.setattr(
            EasyPost,
            "find",
            lambda *about: None if next(blind, False) else find(*about),
        )

        label = ask_again(label)

        assert label.status == "bought"
        assert easypost.purchases == ["shp_1"]

    def test_an_answer_that_is_junk_is_looked_up_later(self, easypost, receiver, order):
        receiver.answers.append((201, {"object": "Shipment"}))

        label = buy(order)

        assert (label.status, label.last_error) == ("asked", "the answer is no label")

    def test_a_provider_that_does_not_let_us_in_has_sold_nothing(self, easypost, receiver, order):
        receiver.answers.append((401, {"error": {"code": "APIKEY.INACTIVE"}}))

        label = buy(order)

        assert label.status == "asked"
        assert "APIKEY.INACTIVE" in label.last_error
        assert ask_again(label).status == "bought"


class TestLookUp:
    def of_a_minute_ago(self):
        ShippingLabel.objects.update(created_at=timezone.now() - timedelta(minutes=2))

    def look(self):
        return labels.look_up_open(deadline=Deadline(50.0))

    def test_finds_what_was_bought_and_buys_nothing(self, easypost, order):
        easypost.lose = {"buy"}
        label = buy(order)
        self.of_a_minute_ago()

        assert self.look() == 1

        label.refresh_from_db()
        assert (label.status, label.amount) == ("bought", Decimal("5.49"))
        assert self.look() == 0

    def test_leaves_one_that_was_not_bought_to_staff(self, easypost, receiver, order):
        receiver.answers.extend([easypost, easypost, (500, {})])  # the purchase fails
        label = buy(order)
        self.of_a_minute_ago()

        assert self.look() == 0

        label.refresh_from_db()
        assert label.status == "asked"
        assert easypost.purchases == []
        assert ask_again(label).status == "bought"

    def test_leaves_one_alone_that_somebody_is_at(self, easypost, receiver, order):
        easypost.lose = {"buy"}
        buy(order)
        asked = len(receiver.got)

        assert self.look() == 0  # of this minute
        self.of_a_minute_ago()
        ShippingLabel.objects.update(leased_until=timezone.now() + timedelta(seconds=20))
        assert self.look() == 0
        assert len(receiver.got) == asked


class TestBuyFromTheWarehouse:
    def test_asks_in_our_dialect(self, generic, receiver, order):
        label = buy(order)

        [got] = receiver.got
        assert (got.method, got.path) == ("POST", "/labels")
        assert got.headers["Idempotency-Key"] == str(label.uuid)
        assert got.body["items"] == [{"sku": "MUG", "quantity": 2}]
        assert got.body["address"]["name"] == "Ada Lovelace"
        assert (label.status, label.amount, label.carrier) == ("bought", Decimal("7.58"), "UPS")

    def test_finds_what_was_bought_before_it_asks_again(self, generic, receiver, order):
        lost = iter([True])
        usual = receiver.usual

        def lose_the_first(request):
            answer = usual(request)
            return DROP if request.method == "POST" and next(lost, False) else answer

        receiver.usual = lose_the_first
        label = buy(order)
        assert label.status == "asked"

        assert ask_again(label).status == "bought"
        assert [got.method for got in receiver.got] == ["POST", "GET"]

    @pytest.mark.parametrize(
        "junk",
        [
            {"amount": "cheap"},
            {"amount": 7.58},
            {"currency": "dollars"},
            {"tracking_number": ""},
            {"label_url": "javascript:alert(1)"},
            {"label_url": "https://x.test/" + "x" * 600},
            {"carrier": None},
        ],
    )
    def test_believes_no_junk(self, generic, receiver, order, junk):
        receiver.answers.append((201, LABEL | junk))

        label = buy(order)

        assert (label.status, label.amount) == ("asked", None)


class TestRefusedBeforeAnybodyIsAsked:
    def test_without_a_provider(self, order):
        with pytest.raises(LabelsOffError):
            buy(order)

    @pytest.mark.parametrize(
        "wish",
        [
            Wish(units={}, weight_grams=1),
            Wish(units={"MUG": 4}, weight_grams=1),
            Wish(units={"MUG": 0}, weight_grams=1),
            Wish(units={"POT": 1}, weight_grams=1),
            Wish(units={"MUG": 1}, weight_grams=0),
            Wish(units={"MUG": 1}, weight_grams=70_001),
            Wish(units={"MUG": 1}, weight_grams=1, size_mm=(1, 1)),
            Wish(units={"MUG": 1}, weight_grams=1, size_mm=(1, 1, 3_001)),
        ],
    )
    def test_for_a_parcel_that_makes_no_sense(self, easypost, receiver, order, wish):
        with pytest.raises(ValidationFailedError):
            buy(order, wish)

        assert receiver.got == []
        assert not ShippingLabel.objects.exists()

    def test_for_units_that_have_a_label(self, easypost, order):
        buy(order)

        with pytest.raises(ValidationFailedError):
            buy(order, key="press-2")
        assert buy(order, Wish(units={"MUG": 1}, weight_grams=400), key="press-3")

    def test_for_units_whose_label_is_not_known_yet(self, easypost, order):
        easypost.lose = {"buy"}
        buy(order)

        with pytest.raises(ValidationFailedError):
            buy(order, key="press-2")

    def test_for_an_order_that_has_left(self, easypost, order):
        ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS"))

        with pytest.raises(InvalidTransitionError):
            buy(order)

    def test_for_a_parcel_abroad(self, easypost, receiver, order, shopper):
        Order.objects.filter(pk=order.pk).update(shipping_address=BERLIN)

        with pytest.raises(InvalidTransitionError, match="customs"):
            buy(order)
        assert receiver.got == []


class TestUse:
    def test_sends_the_parcel_with_its_number_once(self, easypost, order):
        label = buy(order)

        for _ in range(2):
            labels.send_with(label_id=label.pk)

        shipment = Shipment.objects.get()
        label.refresh_from_db()
        assert (shipment.carrier, shipment.tracking_number) == ("USPS", label.tracking_number)
        assert label.shipment == shipment
        assert {item.quantity for item in shipment.items.all()} == {2}

    def test_of_one_that_is_not_bought_is_refused(self, easypost, order):
        easypost.lose = {"buy"}

        with pytest.raises(InvalidTransitionError):
            labels.send_with(label_id=buy(order).pk)

    def test_a_discarded_one_frees_its_units(self, easypost, order):
        label = buy(order)

        for _ in range(2):
            assert labels.discard(label_id=label.pk).status == "discarded"

        assert buy(order, key="press-2").status == "bought"
        with pytest.raises(InvalidTransitionError):
            labels.send_with(label_id=label.pk)

    def test_one_that_a_parcel_left_with_is_not_discarded(self, easypost, order):
        label = buy(order)
        labels.send_with(label_id=label.pk)
        ShippingLabel.objects.update(shipment=None)  # who sent it died before that was noted

        with pytest.raises(InvalidTransitionError):
            labels.discard(label_id=label.pk)

    def test_of_none_is_refused(self):
        for use in (labels.discard, labels.send_with):
            with pytest.raises(NotFoundError):
                use(label_id=1)

    def test_an_erasure_forgets_where_it_shows_the_address(self, easypost, order):
        label = buy(order, Wish(units={"MUG": 3}, weight_grams=1))
        labels.send_with(label_id=label.pk)

        privacy.erase_orders_of(customer_id=order.customer_id)
        outbox.relay()

        label.refresh_from_db()
        assert (label.label_url, label.tracking_url) == ("", "")
        assert (label.amount, label.tracking_number != "") == (Decimal("5.49"), True)


class TestAdmin:
    @pytest.fixture
    def browser(self, client):
        client.force_login(Customer.objects.create_superuser("b@example.com", None))
        return client

    def url(self, order):
        return reverse("admin:orders_order_do", args=[order.pk, "buy_label"])

    def said(self, order, **more):
        line = order.items.get()
        return {
            "request_key": "5f2b6c1e-0000-4000-8000-000000000001",
            "weight_grams": 800,
            "service": "",
            f"line_{line.pk}": 2,
            **more,
        }

    def test_knows_what_the_products_weigh(self, browser, easypost, order):
        page = browser.get(self.url(order))

        assert 'value="1050"' in page.content.decode()

    def test_buys_once_and_says_what_it_cost(self, browser, easypost, order):
        answers = [
            browser.post(self.url(order), self.said(order), follow=True).content.decode()
            for _ in range(2)
        ]

        assert all("5.49 USD" in answer for answer in answers)
        assert easypost.purchases == ["shp_1"]
        asked = audited("STAFF_ACTION_ASKED")[0]["asked"]
        assert asked["weight_grams"] == "800"

    def test_shows_why_it_was_refused(self, browser, easypost, order):
        easypost.refuse = (402, {"error": {"code": "INSUFFICIENT_FUNDS"}})

        page = browser.post(self.url(order), self.said(order)).content.decode()

        assert "INSUFFICIENT_FUNDS" in page
        assert "Nothing was bought" in page

    def test_says_when_nobody_knows_yet(self, browser, easypost, order):
        easypost.lose = {"buy"}

        page = browser.post(self.url(order), self.said(order), follow=True).content.decode()

        assert "Not known yet" in page

    def test_asks_for_all_sizes_or_none(self, browser, easypost, order):
        page = browser.post(self.url(order), self.said(order, length_mm=10)).content.decode()

        assert "all three, or none" in page
        assert not ShippingLabel.objects.exists()

    def test_is_not_offered_where_nobody_sells(self, browser, order):
        page = browser.get(reverse("admin:orders_order_change", args=[order.pk]))

        assert "Buy label" not in page.content.decode()

    def test_shows_the_label_and_uses_it(self, browser, easypost, order):
        label = buy(order)
        page = browser.get(
            reverse("admin:integrations_shippinglabel_change", args=[label.pk])
        ).content.decode()
        assert 'href="https://labels.test/shp_1.png"' in page

        browser.post(
            reverse("admin:integrations_shippinglabel_do", args=[label.pk, "send"]),
            {"request_key": "5f2b6c1e-0000-4000-8000-000000000002"},
        )

        assert Shipment.objects.get().tracking_number == label.tracking_number


@pytest.mark.concurrency
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("keys", [["press-1"] * 4, [f"press-{n}" for n in range(4)]])
def test_presses_at_once_buy_one_label(easypost, order, keys):
    """The same page four times, or four people with the same parcel in hand."""
    start, ends = threading.Barrier(4), []

    def run(key):
        start.wait()
        try:
            ends.append(buy(order, key=key).status)
        except (LabelBusyError, ValidationFailedError) as exc:
            ends.append(type(exc).__name__)
        finally:
            connection.close()

    presses = [threading.Thread(target=run, args=[key]) for key in keys]
    for press in presses:
        press.start()
    for press in presses:
        press.join(30)

    assert len(ends) == 4
    assert "bought" in ends
    assert len(easypost.purchases) == 1
    assert ShippingLabel.objects.filter(status="bought").count() == 1
