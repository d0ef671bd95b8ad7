"""The warehouse's system hears what to pack and when to stop; what it accepts is processing."""

from __future__ import annotations

import threading

import pytest
from django.db import connection

from audit import outbox
from audit.models import Delivery, OutboxMessage, Receiver
from audit.outbox import ReceiverAwayError, RejectedError, subscribers
from config.kernel.clock import Deadline
from integrations.fulfilment import order_feed
from orders.services import refunds
from orders.services.disputes import sync_dispute
from orders.services.refunds import RefundWish
from orders.services.shipping import Parcel, ship_order
from payments.models import Dispute, Payment
from tests import factories
from tests.integrations.receiver import DROP, Listening
from tests.shop import order_of

pytestmark = pytest.mark.django_db

TOKEN = "sesame-of-the-warehouse"


@pytest.fixture
def warehouse(settings):
    with Listening() as receiver:
        settings.FULFILMENT_BASE_URL = receiver.url
        settings.FULFILMENT_TOKEN = TOKEN
        yield receiver


@pytest.fixture
def order(provider, shopper):
    factories.ProductFactory(sku="MUG", name="Mug", on_hand=10, weight_grams=350)
    factories.ProductFactory(sku="POT", name="Pot", on_hand=10)
    return order_of(shopper.order(("MUG", 3), ("POT", 1), notes="Ring twice."))


@pytest.fixture
def subscribed(warehouse):
    """The warehouse is told by the relay, as it is where an address is set."""
    order_feed.subscribe()
    yield warehouse
    for handlers in subscribers._handlers.values():
        handlers.pop(order_feed.SUBSCRIBER, None)


def confirmed(order):
    return OutboxMessage.objects.get(fact="order.confirmed", aggregate_id=order.pk)


def status(order):
    order.refresh_from_db()
    return order.status


class TestAskToPack:
    def test_tells_what_to_pack_and_whom_it_goes_to(self, warehouse, order):
        message = confirmed(order)

        assert order_feed.ask_to_pack(message) is None

        [got] = warehouse.got
        assert (got.method, got.path) == ("POST", "/events")
        assert got.headers["Idempotency-Key"] == str(message.uuid)
        assert got.headers["Authorization"] == f"Bearer {TOKEN}"
        assert got.body == {
            "id": str(message.uuid),
            "type": "order.confirmed",
            "occurred_at": message.occurred_at.isoformat(),
            "data": {
                "order_number": order.order_number,
                "status": "confirmed",
                "is_held": False,
                "placed_at": order.created_at.isoformat(),
                "shipping_method": "standard",
                "estimated_delivery": order.estimated_delivery.isoformat(),
                "notes": "Ring twice.",
                "shipping_address": {
                    "name": "Ada Lovelace",
                    "line1": "1 Main Street",
                    "line2": "",
                    "city": "New York",
                    "state": "NY",
                    "postal_code": "10001",
                    "country": "US",
                    "phone": "",
                },
                "items": [
                    {
                        "sku": "MUG",
                        "name": "Mug",
                        "quantity": 3,
                        "to_pack": 3,
                        "from": [{"warehouse": "MAIN", "quantity": 3}],
                        "weight_grams": 350,
                    },
                    {
                        "sku": "POT",
                        "name": "Pot",
                        "quantity": 1,
                        "to_pack": 1,
                        "from": [{"warehouse": "MAIN", "quantity": 1}],
                        "weight_grams": None,
                    },
                ],
            },
        }

    def test_moves_what_is_accepted_to_processing_once(self, warehouse, order):
        message = confirmed(order)

        for _ in range(2):
            assert order_feed.ask_to_pack(message) is None

        assert status(order) == "processing"
        assert len(set(warehouse.keys())) == 1
        assert OutboxMessage.objects.filter(fact="order.processing").count() == 1

    @pytest.mark.parametrize(
        ("answer", "error"),
        [
            ((500, {}), ReceiverAwayError),
            ((429, {}), ReceiverAwayError),
            ((401, {}), ReceiverAwayError),
            (DROP, ReceiverAwayError),
            ((422, {"error": {"code": "UNKNOWN_SKU", "message": "Ada wants MUG"}}), RejectedError),
            ((302, {}), ReceiverAwayError),
        ],
    )
    def test_moves_nothing_that_is_not_accepted(self, warehouse, order, answer, error):
        warehouse.usual = answer

        with pytest.raises(error) as refused:
            order_feed.ask_to_pack(confirmed(order))

        assert status(order) == "confirmed"
        assert "Ada" not in str(refused.value)
        if answer is not DROP and answer[0] == 422:
            assert "UNKNOWN_SKU" in str(refused.value)

    def test_says_nothing_of_what_was_cancelled_before(self, warehouse, order, shopper):
        shopper.post(f"/orders/{order.order_number}/cancel")

        assert order_feed.ask_to_pack(confirmed(order)) == "not sent: the order is cancelled"
        assert warehouse.got == []

    @pytest.mark.django_db(transaction=True)
    def test_never_revives_what_was_cancelled_while_the_warehouse_thought(
        self, warehouse, order, shopper
    ):
        def cancelled_meanwhile(_):
            try:
                shopper.post(f"/orders/{order.order_number}/cancel")
            finally:
                connection.close()
            return 200, {}

        warehouse.usual = cancelled_meanwhile

        note = order_feed.ask_to_pack(confirmed(order))

        assert note.startswith("accepted, and not processing")
        assert status(order) == "cancelled"

    def test_leaves_a_disputed_order_where_it_is(self, warehouse, order):
        dispute(order)

        note = order_feed.ask_to_pack(confirmed(order))

        assert note.startswith("accepted, and not processing")
        assert warehouse.got[0].body["data"]["is_held"] is True
        assert status(order) == "confirmed"

    def test_of_what_has_left_already_says_nothing(self, warehouse, order):
        ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS"))

        assert order_feed.ask_to_pack(confirmed(order)) == "not sent: the order is shipped"
        assert warehouse.got == []


def dispute(order, **changes):
    payment = Payment.objects.get(order=order)
    return Dispute.objects.create(
        payment=payment,
        stripe_dispute_id="dp_1",
        status="needs_response",
        reason="fraudulent",
        currency="USD",
        amount=order.total_amount,
        opened_at=payment.created_at,
        **changes,
    )


class TestByTheRelay:
    def test_packs_then_stops(self, subscribed, order, shopper):
        outbox.relay()
        assert status(order) == "processing"

        shopper.post(f"/orders/{order.order_number}/cancel")
        outbox.relay()

        told = [(got.body["type"], got.body["data"]["status"]) for got in subscribed.got]
        assert told == [("order.confirmed", "confirmed"), ("order.cancelled", "cancelled")]
        cancelled = subscribed.got[-1].body["data"]
        assert cancelled["shipping_address"] is None
        assert {item["to_pack"] for item in cancelled["items"]} == {0}
        assert len(set(subscribed.keys())) == 2

    def test_says_how_many_are_left_when_units_are_refunded(self, subscribed, order):
        outbox.relay()
        refund = refunds.decide_refund(
            order_id=order.pk, wish=RefundWish(reason="gone", units={"MUG": 1}, request_key="k")
        )
        refunds.finish_refund(refund_id=refund.pk, deadline=Deadline(10.0))
        outbox.relay()

        last = subscribed.got[-1].body
        assert last["type"] == "order.refunded"
        assert {item["sku"]: item["to_pack"] for item in last["data"]["items"]} == {
            "MUG": 2,
            "POT": 1,
        }

    def test_takes_a_held_order_up_when_its_dispute_is_over(self, subscribed, order, provider):
        told = provider.dispute(order.payments.get().payment_intent_id)
        sync_dispute(dispute_id=told["id"], deadline=Deadline(5.0))
        outbox.relay()
        assert status(order) == "confirmed"

        provider.decide_dispute(told["id"], "win")
        sync_dispute(dispute_id=told["id"], deadline=Deadline(5.0))
        outbox.relay()

        held = [(got.body["type"], got.body["data"]["is_held"]) for got in subscribed.got]
        assert held == [
            ("order.confirmed", True),
            ("order.disputed", True),
            ("order.dispute_closed", False),
        ]
        assert status(order) == "processing"

    def test_does_not_speak_of_orders_that_were_never_paid(self, subscribed, shopper, order):
        waiting = order_of(
            shopper.order(("MUG", 1), payment_method_id="pm_card_threeDSecure2Required")
        )
        shopper.post(f"/orders/{waiting.order_number}/cancel")

        outbox.relay()

        numbers = {got.body["data"]["order_number"] for got in subscribed.got}
        assert numbers == {order.order_number}

    def test_asks_again_with_the_same_key_until_it_is_taken(self, subscribed, order):
        subscribed.answers.extend([DROP, (503, {})])
        outbox.relay()
        assert status(order) == "confirmed"

        for _ in range(2):
            Receiver.objects.update(retry_at=None, failing_since=None, failures=0)
            outbox.retry(include_dead=True)
            Delivery.objects.filter(status="pending").update(next_attempt_at="2020-01-01T00:00Z")
            outbox.relay()

        assert status(order) == "processing"
        assert len(set(subscribed.keys())) == 1
        assert len(subscribed.got) == 3

    def test_is_off_without_an_address(self, settings, order):
        settings.FULFILMENT_BASE_URL = ""

        order_feed.subscribe()
        outbox.relay()

        assert order_feed.SUBSCRIBER not in {
            name for handlers in subscribers._handlers.values() for name in handlers
        }


@pytest.mark.concurrency
@pytest.mark.django_db(transaction=True)
def test_an_acceptance_and_a_cancellation_at_once_end_cancelled(warehouse, order, shopper):
    message, start = confirmed(order), threading.Barrier(2)

    def in_a_thread(do):
        def run():
            start.wait()
            try:
                do()
            finally:
                connection.close()

        return threading.Thread(target=run)

    both = [
        in_a_thread(lambda: order_feed.ask_to_pack(message)),
        in_a_thread(lambda: shopper.post(f"/orders/{order.order_number}/cancel")),
    ]
    for one in both:
        one.start()
    for one in both:
        one.join(30)

    assert status(order) == "cancelled"
