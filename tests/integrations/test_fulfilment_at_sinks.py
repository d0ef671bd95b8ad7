"""The way of a parcel against the sinks: handed over, labelled, sent, tracked; through a storm."""

from __future__ import annotations

import json

import pytest

from audit import outbox
from audit.models import Delivery, OutboxMessage, Receiver
from audit.outbox import subscribers
from config.kernel.clock import Deadline
from integrations.fulfilment import labels, order_feed, tracking
from integrations.fulfilment.labels import Wish
from integrations.fulfilment.models import ShippingLabel, TrackingEvent
from sandbox.sinks.easypost.hooks import sign
from tests import factories
from tests.integrations.carriers import EASYPOST_SECRET, post
from tests.sandbox.sink_calls import http
from tests.shop import order_of

pytestmark = pytest.mark.django_db

ORIGIN = {"street1": "417 Montgomery Street", "city": "San Francisco", "zip": "94104"}
TROUBLE = (
    {"kind": "answer_lost"},
    {"kind": "drop"},
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 500, "applied": True},
    {"kind": "status", "status": 429, "retry_after": 1},
    {"kind": "junk", "form": "html"},
    {"kind": "junk", "form": "truncated", "status": 502},
)


@pytest.fixture
def warehouse(sinks, settings):
    sinks.configure(settings, "fulfilment")
    order_feed.subscribe()
    yield sinks
    for handlers in subscribers._handlers.values():
        handlers.pop(order_feed.SUBSCRIBER, None)


@pytest.fixture
def easypost(sinks, settings):
    settings.EASYPOST_API_KEY = sinks.token
    settings.EASYPOST_BASE_URL = f"{sinks.url}/easypost/v2"
    settings.EASYPOST_WEBHOOK_SECRETS = [EASYPOST_SECRET]
    origin = http.request(
        "POST",
        f"{sinks.url}/easypost/v2/addresses",
        json={"address": {"name": "Shop", "country": "US", **ORIGIN}},
        auth=(sinks.token, ""),
    ).json()
    settings.EASYPOST_FROM_ADDRESS = origin["id"]
    return sinks


@pytest.fixture
def order(provider, shopper):
    factories.ProductFactory(sku="MUG", on_hand=10, weight_grams=350)
    return order_of(shopper.order(("MUG", 3)))


def buy(order, key="press-1", **changes):
    wish = {"units": {"MUG": 3}, "weight_grams": 1_100, **changes}
    return labels.buy_label(
        order_id=order.pk, wish=Wish(**wish), request_key=key, deadline=Deadline(12.0)
    )


def insist(label):
    """Find out until it is known."""
    for _ in range(5):
        if label.status != ShippingLabel.Status.ASKED:
            break
        label = labels.ask_again(label_id=label.pk, deadline=Deadline(12.0))
    return label


def bought_at(sinks):
    """What EasyPost has sold."""
    listed = http.request(
        "GET", f"{sinks.url}/easypost/v2/shipments", auth=(sinks.token, "")
    ).json()
    return [one for one in listed["shipments"] if one["postage_label"]]


class TestEasyPost:
    def test_sells_the_cheapest_label_and_tells_how_far_the_parcel_is(self, easypost, order):
        label = buy(order)
        shipment = labels.send_with(label_id=label.pk)
        for status in ("in_transit", "delivered"):
            moved = easypost.ask(
                "POST", f"/_test/trackers/{label.tracking_number}", {"status": status}
            )
            told = json.dumps(moved["event"]).encode()
            answer = post(
                "easypost", told, {"X-Hmac-Signature": sign(told, secret=EASYPOST_SECRET)}
            )
            assert answer.status_code == 200

        tracking.process_due(deadline=Deadline(30.0))

        [sold] = bought_at(easypost)
        assert (label.service, str(label.amount)) == (
            "GroundAdvantage",
            sold["selected_rate"]["rate"],
        )
        assert label.label_url == sold["postage_label"]["label_url"]
        shipment.refresh_from_db()
        order.refresh_from_db()
        assert (order.status, shipment.status) == ("delivered", "delivered")
        assert not TrackingEvent.objects.exclude(status="processed").exists()

    @pytest.mark.parametrize("path", ["/v2/shipments", "/v2/shipments/*/buy"])
    @pytest.mark.parametrize(
        "trouble", TROUBLE, ids=lambda fault: "-".join(map(str, fault.values()))
    )
    def test_sells_one_label_whatever_goes_wrong(self, easypost, order, trouble, path):
        easypost.fail("easypost", method="POST", path=path, **trouble)

        label = buy(order)
        if label.status != ShippingLabel.Status.BOUGHT:
            label = insist(label)

        assert label.status == "bought"
        assert len(bought_at(easypost)) == 1
        assert bought_at(easypost)[0]["tracking_code"] == label.tracking_number


class TestTheWarehouse:
    def test_sells_one_label_whatever_goes_wrong(self, warehouse, order):
        for n, trouble in enumerate(TROUBLE):
            warehouse.fail("fulfilment", method="POST", path="/labels", **trouble)
            label = insist(buy(order, key=f"press-{n}"))
            assert label.status == "bought", trouble
            labels.discard(label_id=label.pk)

        assert len(warehouse.received("fulfilment", kind="labels").items) == len(TROUBLE)

    def test_is_told_of_every_order_once_through_a_storm(self, warehouse, shopper, order):
        orders = [order, *(order_of(shopper.order(("MUG", 1))) for _ in range(6))]
        for trouble in TROUBLE:
            warehouse.fail("fulfilment", path="/events", **trouble)

        for _ in range(12):
            outbox.relay()
            Receiver.objects.update(retry_at=None, failing_since=None, failures=0)
            Delivery.objects.filter(status="pending").update(next_attempt_at="2020-01-01T00:00Z")

        wanted = OutboxMessage.objects.filter(fact="order.confirmed")
        told = warehouse.received("fulfilment").bodies
        assert sorted(one["id"] for one in told) == sorted(str(one.uuid) for one in wanted)
        numbers = {one["data"]["order_number"] for one in told}
        assert numbers == {one.order_number for one in orders}
        for one in orders:
            one.refresh_from_db()
        assert {one.status for one in orders} == {"processing"}
        assert (
            not Delivery.objects.filter(subscriber="fulfilment")
            .exclude(status="delivered")
            .exists()
        )
