"""Everything that happened to an order: from every table, once, in time, and by whom."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audit import outbox
from audit import services as audit
from audit.models import AuditLog, Delivery
from config.kernel import request_context
from config.kernel.clock import Deadline
from config.kernel.errors import InvalidTransitionError
from inventory.models import StockLevel
from orders.models import Letter, Order
from orders.services.cancellation import cancel_order
from orders.services.history import GUEST, PROVIDER, SYSTEM, Severity, history
from orders.services.invoicing import issue_invoice
from orders.services.letters import resend_letter
from orders.services.notes import add_note
from orders.services.refunds import RefundWish, decide_refund, finish_refund
from orders.services.returns import accept_return, receive_return, request_return
from orders.services.shipping import Parcel, begin_processing, deliver_order, ship_order
from payments.models import Payment, ProviderEvent
from tests import factories
from tests.shop import Shopper, order_of, payment_link

pytestmark = pytest.mark.django_db

CLERK = "Clara Clerk (clara@example.com)"


@pytest.fixture
def clerk(db):
    return factories.CustomerFactory(
        is_staff=True, email="clara@example.com", first_name="Clara", last_name="Clerk"
    )


@pytest.fixture
def order(shopper, provider):
    factories.ProductFactory(sku="APPLE", on_hand=50)
    return order_of(shopper.order(("APPLE", 3)))


@pytest.fixture
def by_clerk(clerk):
    """What is done inside is done by the clerk."""
    with request_context.bound(request_context.RequestContext(user_id=clerk.pk)):
        yield clerk


def told(order, kind=None):
    order.refresh_from_db()
    return [one for one in history(order) if kind in {None, one.kind}]


def titles(order, kind=None):
    return [one.title for one in told(order, kind)]


class TestMoves:
    def test_are_told_once_though_two_tables_have_them(self, order):
        assert titles(order, "order") == ["Placed", "Paid and confirmed"]
        assert order.transitions.count() == 2
        assert AuditLog.objects.filter(entity_type="order", entity_id=order.pk).count() == 2

    def test_are_told_where_the_log_has_been_dropped(self, order):
        with_log = titles(order, "order")
        Order.objects.filter(pk=order.pk).update(created_at=order.created_at + timedelta(days=1))

        assert titles(order, "order") == with_log

    def test_say_who(self, order, by_clerk, shopper):
        begin_processing(order_id=order.pk)

        by = {one.title: one.who for one in told(order, "order")}

        assert by["Placed"] == "the customer"
        assert by["Taken up by the warehouse"] == CLERK

    def test_say_that_a_guest_did_it(self, guest, provider):
        factories.ProductFactory(sku="APPLE")
        order = order_of(guest.order(("APPLE", 1)))

        assert told(order, "order")[0].who == GUEST

    def test_are_the_shops_where_nobody_asked(self, order):
        with request_context.bound(request_context.NO_REQUEST):
            deliver_what_is_shipped(order)

        assert told(order, "order")[-1].who == SYSTEM

    def test_tell_why_it_was_cancelled(self, order):
        cancel_order(order_id=order.pk, reason="ordered twice", deadline=Deadline(9))

        (cancelled,) = [one for one in told(order) if one.title == "Cancelled"]

        assert (cancelled.detail, cancelled.severity) == ("ordered twice", Severity.ODD)


def deliver_what_is_shipped(order):
    ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS", tracking_number="1Z9"))
    deliver_order(order_id=order.pk)


class TestEverythingElse:
    def test_parcels_with_what_lies_in_them(self, order, by_clerk):
        ship_order(
            order_id=order.pk,
            parcel=Parcel(carrier="UPS", tracking_number="1Z9", units={"APPLE": 2}),
        )

        (parcel,) = told(order, "parcel")

        assert (parcel.title, parcel.detail) == ("Parcel sent with UPS", "1Z9; 2 × APPLE")
        assert (parcel.who, parcel.target) == (
            CLERK,
            ("orders.shipment", order.shipments.get().pk),
        )

    def test_refunds_from_the_decision_to_the_money(self, order, by_clerk):
        wish = RefundWish(reason="one was bad", amount=Decimal("1.50"), requested_by_id=by_clerk.pk)
        refund = decide_refund(order_id=order.pk, wish=wish)
        finish_refund(refund_id=refund.pk, deadline=Deadline(9))

        decided, back = told(order, "refund")

        assert (decided.title, decided.detail, decided.who) == (
            "Refund of 1.50 USD decided",
            "one was bad",
            CLERK,
        )
        assert (back.title, back.severity) == ("Refund of 1.50 USD is back", Severity.GOOD)
        assert decided.target == back.target == ("payments.refund", refund.pk)

    def test_returns_step_by_step(self, order, by_clerk):
        ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS"))
        wish = request_return(order_id=order.pk, units={"APPLE": 1}, reason="too sour")
        accept_return(return_id=wish.pk, user_id=by_clerk.pk)
        receive_return(return_id=wish.pk, user_id=by_clerk.pk)

        steps = told(order, "return")

        assert [one.title for one in steps] == [
            "Wants to send something back",
            "Return accepted",
            "Return received",
        ]
        assert steps[0].detail == "1 × APPLE; too sour"

    def test_papers(self, order):
        issue_invoice(order_id=order.pk)

        (paper,) = told(order, "document")

        assert paper.title.startswith("Invoice INV-")
        assert paper.detail == f"{order.total_amount} USD"

    def test_payments_with_how_they_stand(self, shopper, order):
        declined = order_of(shopper.order(("APPLE", 1), payment_method_id="pm_card_chargeDeclined"))

        (payment,) = told(declined, "payment")

        assert payment.title == f"Payment of {declined.total_amount} USD begun"
        assert payment.detail == "now failed; card_declined; generic_decline"

    def test_a_payment_in_quarantine_in_red(self, order):
        waiting = order_of(
            Shopper(factories.CustomerFactory()).order(
                ("APPLE", 1), payment_method_id="pm_card_threeDSecure2Required"
            )
        )
        Payment.objects.filter(order=waiting).update(
            status="quarantined", last_error="another amount"
        )

        (payment,) = told(waiting, "payment")

        assert (payment.severity, payment.detail) == (
            Severity.BAD,
            "now quarantined; another amount",
        )

    def test_webhooks_about_its_intent(self, order):
        ProviderEvent.objects.create(
            stripe_event_id="evt_1",
            event_type="payment_intent.succeeded",
            payment_intent_id=order.payments.get().payment_intent_id,
            payload={"id": "evt_1"},
        )

        (webhook,) = told(order, "webhook")

        assert (webhook.title, webhook.who) == (
            "The provider says payment_intent.succeeded",
            PROVIDER,
        )
        assert webhook.detail == "received"

    def test_notes_with_their_words(self, order, clerk):
        note = add_note(order_id=order.pk, text="Ring twice.", user_id=clerk.pk, request_key="k")

        (told_note,) = told(order, "note")

        assert (told_note.who, told_note.text) == (CLERK, "Ring twice.")
        assert told_note.target == ("orders.ordernote", note.pk)
        assert "Order note added" not in titles(order)

    def test_the_telephone_call_it_began_with(self, shop, provider):
        factories.ProductFactory(sku="APPLE")
        link = payment_link()
        order = order_of(Shopper().order(items=None, cart_id=str(link.cart_id)))

        first = told(order)[0]

        assert (first.kind, first.target) == ("link", ("orders.paymentlink", link.pk))
        assert first.who == "Clara Clerk (clerk@example.com)"

    def test_which_buttons_staff_pressed_and_what_was_refused(self, order, by_clerk):
        about = {"entity_type": "order", "entity_id": order.pk}
        asked = {"action": "ship", "state": {}, "asked": {"carrier": "UPS"}}
        audit.record("STAFF_ACTION_ASKED", data=asked, **about)
        audit.record("STAFF_ACTION_REFUSED", data={"action": "refund", "code": "NO"}, **about)
        audit.record("STAFF_ACTION_DONE", data={"action": "settle"}, **about)
        audit.record("STAFF_ACTION_UNKNOWN", data={"action": "ship", "state": {}}, **about)

        pressed, refused, unknown = told(order, "staff")

        assert (pressed.title, pressed.detail, pressed.who) == (
            "Pressed “ship”",
            "carrier: UPS",
            CLERK,
        )
        assert unknown.title == "“ship” may have been done: the database went away"
        assert (refused.title, refused.detail, refused.severity) == (
            "“refund” was refused",
            "NO",
            Severity.ODD,
        )

    def test_what_no_table_here_knows(self, order):
        audit.record(
            "SOMETHING_NEW", entity_type="order", entity_id=order.pk, data={"a_thing": "7"}
        )

        last = told(order)[-1]

        assert (last.title, last.detail) == ("Something new", "a thing: 7")
        assert last.target == ("audit.auditlog", AuditLog.objects.latest("pk").pk)


class TestMessages:
    def test_an_e_mail_that_arrived_is_its_letter(self, order, shopper):
        outbox.relay()

        (letter,) = told(order, "letter")
        (fact,) = told(order, "delivery")

        assert letter.title == f"E-mail sent: Order {order.order_number} confirmed"
        assert letter.detail == f"to {shopper.customer.email}"
        assert "Product APPLE" in letter.text
        assert letter.target == ("orders.letter", Letter.objects.get().pk)
        assert "email" not in {one.subscriber for one in fact.handovers}
        assert {one.status for one in fact.handovers} == {"delivered"}

    def test_one_sent_again_says_so(self, order, by_clerk):
        outbox.relay()
        resend_letter(letter_id=Letter.objects.get().pk, request_key="once")
        outbox.relay()

        assert [one.title.split(":")[0] for one in told(order, "letter")] == [
            "E-mail sent",
            "E-mail sent again",
        ]
        assert "Asked for a letter to be sent again" in titles(order)

    def test_one_that_was_given_up_is_red_and_says_why(self, order):
        outbox.relay()
        crm = Delivery.objects.exclude(subscriber="email").first()
        Delivery.objects.filter(pk=crm.pk).update(status="dead", attempts=12, last_error="503")

        (fact,) = told(order, "delivery")

        assert fact.severity == Severity.BAD
        assert f"{crm.subscriber}: dead after 12 tries (503)" in fact.detail
        assert crm.pk in {one.delivery_id for one in fact.handovers}

    def test_one_that_is_tried_again_is_odd(self, order):
        outbox.relay()
        waiting = Delivery.objects.exclude(subscriber="email").first()
        Delivery.objects.filter(pk=waiting.pk).update(status="pending", last_error="503")

        assert told(order, "delivery")[0].severity == Severity.ODD


class TestTheWhole:
    def test_is_in_time(self, order):
        outbox.relay()
        deliver_what_is_shipped(order)

        at = [one.at for one in told(order)]

        assert at == sorted(at)
        assert len(at) > 8

    def test_tells_of_this_order_alone(self, order, shopper):
        other = order_of(shopper.order(("APPLE", 1)))
        outbox.relay()

        assert all(other.order_number not in one.title + one.detail for one in told(order))

    def test_names_no_secret_of_a_guest(self, guest, provider):
        factories.ProductFactory(sku="APPLE")
        answer = guest.order(("APPLE", 1))
        outbox.relay()

        assert answer.json()["guest_token"] not in str(told(order_of(answer)))

    def test_takes_as_many_statements_however_much_has_happened(self, order, clerk, shopper):
        outbox.relay()
        with CaptureQueriesContext(connection) as few:
            told(order)
        for n in range(3):
            ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS", units={"APPLE": 1}))
            add_note(order_id=order.pk, text=f"note {n}", user_id=clerk.pk, request_key=f"k{n}")
            decide_refund(
                order_id=order.pk, wish=RefundWish(reason=f"r{n}", amount=Decimal("0.10"))
            )
        outbox.relay()

        with CaptureQueriesContext(connection) as many:
            told(order)

        assert len(many) == len(few) <= 21


class TestProcessing:
    def test_begins_with_an_audit_row_and_a_fact_and_once(self, order, by_clerk):
        begin_processing(order_id=order.pk)
        begin_processing(order_id=order.pk)

        order.refresh_from_db()
        row = AuditLog.objects.get(event_type="ORDER_PROCESSING_BEGUN")
        assert order.status == "processing"
        assert (row.user_id, row.data["from"], row.data["to"]) == (
            by_clerk.pk,
            "confirmed",
            "processing",
        )
        assert StockLevel.objects.get().allocated == 3

    @pytest.mark.parametrize("method", ["pm_card_chargeDeclined", "pm_card_threeDSecure2Required"])
    def test_of_what_is_not_paid_is_refused(self, shopper, order, method):
        unpaid = order_of(shopper.order(("APPLE", 1), payment_method_id=method))
        before = unpaid.status

        with pytest.raises(InvalidTransitionError, match=r"current state|Nothing has been paid"):
            begin_processing(order_id=unpaid.pk)

        unpaid.refresh_from_db()
        assert unpaid.status == before

    def test_of_what_has_left_is_refused(self, order):
        deliver_what_is_shipped(order)

        with pytest.raises(InvalidTransitionError, match="current state"):
            begin_processing(order_id=order.pk)

    def test_can_still_be_cancelled(self, order):
        begin_processing(order_id=order.pk)

        assert cancel_order(order_id=order.pk, reason="", deadline=Deadline(9))
        assert StockLevel.objects.get().allocated == 0
