"""Analytics is told what was sold, sent, given back and left behind, once, and nothing of whom."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from audit import outbox
from audit.models import Delivery
from customers.privacy import erase_account
from integrations.analytics import collecting, pseudonyms, segment
from orders.models import Cart, CartItem, Order
from tests import factories
from tests.admin import rows
from tests.integrations.told import (
    only_these_subscribers,
    outcomes,
    paid_order,
    refund,
    relay_for_a_while,
    relay_until_told,
    state,
)

pytestmark = pytest.mark.django_db

# Words that stand nowhere but where this person wrote them.
CANARIES = (
    "canary",
    "Zuleika",
    "Quillfeather",
    "Marzipan",
    "Plumpton",
    "5550177986",
    "555 0177 986",
    "203.0.113.9",
)
ADDRESS = {
    "name": "Zuleika Quillfeather",
    "line1": "7 Marzipan Lane",
    "city": "Plumpton",
    "postal_code": "EC1A 1BB",
    "country": "GB",
    "phone": "555 0177 986",
}


@pytest.fixture
def subscribed(settings, monkeypatch):
    """Subscribe with these settings."""

    def subscribe(**changes):
        for name, value in changes.items():
            setattr(settings, f"ANALYTICS_{name}", value)
        only_these_subscribers(monkeypatch, "analytics")

    return subscribe


@pytest.fixture(params=["one", "batch", "segment"])
def collector(request, sinks, settings, subscribed):
    """Each kind; returns the name of its sink and what it was told, as Segment's or plain."""
    settings.ANALYTICS_PER_SECOND = 10_000
    name = "segment" if request.param == "segment" else "analytics"
    subscribed(
        BASE_URL=sinks.base_url(name),
        TOKEN=sinks.token,
        ADAPTER="segment" if name == "segment" else "generic",
        BATCH=1 if request.param == "one" else 100,
    )
    return Collector(sinks, name)


class Collector:
    def __init__(self, sinks, name):
        self.sinks, self.name = sinks, name

    @property
    def received(self):
        return self.sinks.received(self.name)

    @property
    def ids(self):
        key = "messageId" if self.name == "segment" else "id"
        return [body[key] for body in self.received.bodies]

    @property
    def calls(self):
        return self.sinks.journal(receiver=self.name)

    def fail(self, kind, **more):
        self.sinks.fail(self.name, kind, **more)


def abandoned_cart(customer=None):
    cart = Cart.objects.create(
        customer=customer, currency="USD", expires_at=timezone.now() + timedelta(days=1)
    )
    product = factories.ProductFactory(on_hand=0)
    CartItem.objects.create(cart=cart, product=product, quantity=3, unit_price="19.99")
    return cart


class TestGeneric:
    @pytest.fixture(autouse=True)
    def _plain(self, sinks, settings, subscribed):
        sinks.configure(settings, "analytics")
        subscribed(ADAPTER="generic", BATCH=1)

    def test_is_told_what_was_bought(self, sinks):
        order = paid_order()
        message = state("order.confirmed", order)

        relay_until_told()

        [body] = sinks.received("analytics").bodies
        assert (body["id"], body["type"]) == (str(message.uuid), "order.confirmed")
        assert body["data"] == {
            "order_number": order.order_number,
            "currency": "USD",
            "total_amount": "25.66",
            "subtotal": "20.00",
            "discount_amount": "1.00",
            "shipping_amount": "5.00",
            "tax_amount": "1.66",
            "customer": pseudonyms.of_customer(order.customer_id),
            "anonymous": None,
            "items": [
                {
                    "sku": order.items.get().product_sku,
                    "product_name": order.items.get().product_name,
                    "quantity": 2,
                    "unit_price": "10.00",
                }
            ],
        }

    def test_is_told_of_a_guest_as_of_nobody_who_comes_again(self, sinks):
        first = paid_order(1, guest_email="grace@example.com")
        second = paid_order(2, guest_email="grace@example.com")
        for order in (first, second):
            state("order.confirmed", order)

        relay_until_told()

        one, other = (body["data"] for body in sinks.received("analytics").bodies)
        assert (one["customer"], other["customer"]) == (None, None)
        assert one["anonymous"] != other["anonymous"]

    def test_is_told_what_went_back_what_was_sent_and_what_was_left(self, sinks):
        order = paid_order()
        given = refund(order, "5.00")
        state("shipment.sent", order, shipment=12)
        cart = abandoned_cart(order.customer)
        state("cart.abandoned", cart, customer_id=cart.customer_id)

        relay_until_told()

        told = {body["type"]: body["data"] for body in sinks.received("analytics").bodies}
        assert told["order.refunded"]["amount"] == "5.00"
        assert told["order.refunded"]["refund"] == str(given.uuid)
        assert told["shipment.sent"]["shipment"] == 12
        left = told["cart.abandoned"]
        assert left["customer"] == pseudonyms.of_customer(order.customer_id)
        assert [(item["quantity"], item["unit_price"]) for item in left["items"]] == [(3, "19.99")]
        assert str(cart.public_id) not in json.dumps(left)

    def test_is_told_of_a_cart_that_is_gone_by_now(self, sinks):
        cart = abandoned_cart()
        state("cart.abandoned", cart, customer_id=None)
        number = cart.pk
        cart.delete()

        relay_until_told()

        [body] = sinks.received("analytics").bodies
        assert body["data"] == {
            "cart": number,
            "customer": None,
            "anonymous": pseudonyms.of_cart(number),
        }

    def test_is_not_told_of_what_was_never_paid(self, sinks):
        state("order.cancelled", rows.make_order())

        relay_until_told()

        assert sinks.received("analytics").kept == 0
        assert outcomes() == [("delivered", "not told: nothing was ever paid for it")]


class TestSegment:
    @pytest.fixture(autouse=True)
    def _segment(self, sinks, settings, subscribed):
        settings.ANALYTICS_BASE_URL = sinks.base_url("segment")
        settings.ANALYTICS_TOKEN = sinks.token
        subscribed(ADAPTER="segment", BATCH=100)

    def test_is_told_of_many_in_one_call(self, sinks):
        orders = [paid_order(n) for n in range(1, 31)]
        messages = [state("order.confirmed", order) for order in orders]

        relay_until_told()

        received = sinks.received("segment")
        assert len(sinks.journal(receiver="segment")) == 1
        assert [body["messageId"] for body in received.bodies] == [
            str(message.uuid) for message in messages
        ]
        first = received.bodies[0]
        assert (first["type"], first["event"]) == ("track", "Order Completed")
        assert first["userId"] == pseudonyms.of_customer(orders[0].customer_id)
        assert "anonymousId" not in first
        assert first["timestamp"] == messages[0].occurred_at.isoformat()
        assert first["properties"]["order_id"] == orders[0].order_number
        assert first["properties"]["total"] == 25.66
        [product] = first["properties"]["products"]
        assert (product["price"], product["quantity"]) == (10.0, 2)

    def test_knows_us_by_the_write_key(self, sinks, settings):
        settings.ANALYTICS_TOKEN = "wrong"
        state("order.confirmed", paid_order())

        relay_until_told()

        received = sinks.received("segment")
        assert (received.kept, received.refused) == (0, 1)  # Segment answers 200 all the same

    def test_is_told_of_a_guest_without_an_account(self, sinks):
        order = paid_order(guest_email="grace@example.com")
        state("order.confirmed", order)

        relay_until_told()

        [body] = sinks.received("segment").bodies
        assert body["anonymousId"] == pseudonyms.of_order(order.pk)
        assert "userId" not in body

    def test_an_event_that_is_too_large_does_without_names_and_then_without_products(self):
        def event(lines, letters):
            item = {"sku": "S" * 90, "product_name": "é" * letters, "quantity": 1}
            return collecting.events.Event(
                id=uuid.uuid4(),
                fact="order.confirmed",
                occurred_at=rows.NOW,
                customer="c",
                anonymous="",
                data={"order_number": "ABCD", "currency": "USD", "total_amount": "1.00"},
                items=[item] * lines,
            )

        whole = segment._track(event(10, 20))["properties"]
        nameless = segment._track(event(100, 255))["properties"]
        bare = segment._track(event(1_000, 20))["properties"]

        assert whole["products"][0]["name"] == "é" * 20
        assert "name" not in nameless["products"][0]
        assert len(nameless["products"]) == 100
        assert (bare["products"], bare["product_count"]) == ([], 1_000)
        for properties in (whole, nameless, bare):
            assert len(json.dumps(properties).encode()) <= segment.MAX_EVENT_BYTES

    def test_a_call_that_would_be_too_large_is_several(self, sinks, monkeypatch):
        monkeypatch.setattr(segment, "MAX_CALL_BYTES", 2_000)
        messages = [state("order.confirmed", paid_order(n)) for n in range(1, 11)]

        relay_until_told()

        calls = sinks.journal(receiver="segment")
        assert 1 < len(calls) < 10
        assert sinks.received("segment").kept == len(messages)
        assert len({call["idempotency_key"] for call in calls}) == len(calls)

    def test_a_part_of_a_call_keeps_its_key_whatever_came_before_it(self, sinks, monkeypatch):
        """Told again after the first part had no answer, each part is known by its own events."""
        monkeypatch.setattr(segment, "MAX_CALL_BYTES", 2_000)
        messages = [state("order.confirmed", paid_order(n)) for n in range(1, 7)]
        for _ in range(2):
            collecting.tell(messages)

        calls = sinks.journal(receiver="segment")
        keys = [call["idempotency_key"] for call in calls]
        half = len(calls) // 2
        assert keys[:half] == keys[half:]
        assert len(set(keys)) == half

    def test_batches_fill_what_there_is_room_for_and_no_more(self):
        tracks = [{"text": "x" * size} for size in (31_000,) * 40]

        batches = [*segment._within_the_limits(tracks)]

        assert [track for batch in batches for track in batch] == tracks
        assert [len(batch) for batch in batches] == [16, 16, 8]
        for batch in batches:
            assert len(json.dumps({"batch": batch}, separators=(",", ":"))) <= 500_000


class TestBatch:
    def test_of_which_one_is_refused_tells_the_others_and_kills_that_one(
        self, sinks, settings, subscribed
    ):
        sinks.configure(settings, "analytics")
        subscribed(ADAPTER="generic", BATCH=100, PER_SECOND=10_000)
        orders = [paid_order(n) for n in range(1, 6)]
        poison = orders[2].order_number
        sinks.fail("analytics", "status", status=422, times=None, contains=poison)
        for order in orders:
            state("order.confirmed", order)

        relay_until_told()

        [dead] = Delivery.objects.filter(status="dead")
        assert dead.aggregate_id == orders[2].pk
        assert dead.last_error == "Analytics answered 422 to POST /events/batch: http_422"
        told = {body["data"]["order_number"] for body in sinks.received("analytics").bodies}
        assert told == {order.order_number for order in orders} - {poison}


class TestPseudonym:
    def test_is_the_same_for_a_person_and_another_for_another_salt(self, settings):
        first = pseudonyms.of_customer(1)

        assert pseudonyms.of_customer(1) == first
        assert pseudonyms.of_customer(2) != first
        assert pseudonyms.of_order(1) != first
        settings.ANALYTICS_SALT = bytes(range(32))
        assert pseudonyms.of_customer(1) != first

    def test_is_the_accounts_once_it_has_claimed_the_order(self, sinks, settings, subscribed):
        sinks.configure(settings, "analytics")
        subscribed(ADAPTER="generic", BATCH=1)
        order = paid_order(guest_email="grace@example.com")
        message = state("order.confirmed", order)
        customer = factories.CustomerFactory(email="grace@example.com", email_verified=True)
        relay_until_told()
        Order.objects.filter(pk=order.pk).update(customer=customer)

        [again] = collecting.events.of([message])

        [body] = sinks.received("analytics").bodies
        assert body["data"]["anonymous"] == pseudonyms.of_order(order.pk)
        assert (again.id, again.customer, again.anonymous) == (
            message.uuid,
            pseudonyms.of_customer(customer.pk),
            "",
        )

    def test_outlives_an_erasure(self, sinks, settings, subscribed):
        sinks.configure(settings, "analytics")
        subscribed(ADAPTER="generic", BATCH=1)
        order = paid_order()
        state("order.confirmed", order)
        relay_until_told()
        erase_account(customer_id=order.customer_id, at=timezone.now())
        refund(order, "1.00")

        relay_until_told()

        before, after = (body["data"]["customer"] for body in sinks.received("analytics").bodies)
        assert before == after


def test_nothing_that_tells_who_somebody_is_leaves_the_house(collector):
    customer = factories.CustomerFactory(
        email="canary-zuleika@example.com",
        first_name="Zuleika",
        last_name="Quillfeather",
        phone="5550177986",
        email_verified=True,
    )
    own = paid_order(
        1,
        customer=customer,
        shipping_address=ADDRESS,
        billing_address=ADDRESS,
        notes="canary for Zuleika",
    )
    guests = paid_order(
        2,
        guest_email="canary-guest@example.com",
        guest_first_name="Zuleika",
        guest_last_name="Quillfeather",
        shipping_address=ADDRESS,
        billing_address=ADDRESS,
    )
    for order in (own, guests):
        state("order.confirmed", order)
        state("shipment.sent", order, shipment=order.pk)
        refund(order, "1.00")
        Order.objects.filter(pk=order.pk).update(
            status="cancelled", cancellation_reason="canary said so"
        )
        state("order.cancelled", order)
    cart = abandoned_cart(customer)
    state("cart.abandoned", cart, customer_id=customer.pk)

    relay_until_told()

    assert collector.received.kept == 9
    sent = json.dumps([collector.calls, collector.received.items])
    for canary in (*CANARIES, str(cart.public_id), f'"{customer.pk}"'):
        assert canary not in sent


def test_a_storm_leaves_each_event_there_once(collector):
    orders = [paid_order(n) for n in range(1, 26)]
    collector.fail("answer_lost")
    for fault in (
        {"kind": "status", "status": 500, "applied": True},
        {"kind": "status", "status": 503},
        {"kind": "status", "status": 429, "retry_after": 1},
        {"kind": "answer_lost"},
        {"kind": "hang", "seconds": 0.1},
        {"kind": "drop", "reset": True},
        {"kind": "junk", "form": "html", "status": 502},
    ):
        collector.fail(times=None, probability=0.1, seed=11, **fault)
    messages = [state("order.confirmed", order) for order in orders]
    messages += [state("shipment.sent", order, shipment=order.pk) for order in orders]

    relay_for_a_while()
    collector.sinks.clear_faults()
    outbox.retry(include_dead=True)
    relay_until_told()

    assert sorted(collector.ids) == sorted(str(message.uuid) for message in messages)
    assert Delivery.objects.filter(status="delivered").count() == 50
    assert collector.received.duplicates > 0


@pytest.mark.parametrize("fault", ["answer_lost", "drop", "hang", "junk"])
def test_an_answer_that_is_none_has_it_told_again_and_kept_once(collector, fault):
    more = {"hang": {"seconds": 0.2}, "junk": {"form": "truncated", "status": 500}}.get(fault, {})
    messages = [state("order.confirmed", paid_order(n)) for n in range(1, 4)]
    collector.fail(fault, **more)

    relay_until_told()

    assert sorted(collector.ids) == sorted(str(message.uuid) for message in messages)


def test_without_an_address_nobody_is_subscribed(settings, subscribed):
    subscribed(BASE_URL="")
    state("order.confirmed", paid_order())

    outbox.relay()

    assert outcomes() == []
