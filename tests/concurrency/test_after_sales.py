"""Staff and buyers who click at once after the sale: one of them wins, and nothing is doubled."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from django.db import connection, transaction

from config.kernel.clock import Deadline
from config.kernel.errors import DomainError
from inventory.models import StockLevel, StockMovement
from orders import selectors
from orders.models import Invoice, InvoiceSeries, Order, RefundProposal, Return, Shipment
from orders.services import invoicing, refund_approval, returns
from orders.services.cancellation import cancel_order
from orders.services.refunds import RefundWish, decide_refund, finish_refund, sync_refunds
from orders.services.shipping import Parcel, ship_order
from payments.models import Refund
from tests import factories
from tests.concurrency.test_races import at_once
from tests.shop import Shopper, order_of

ONE = Decimal("1.00")

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.concurrency]


@pytest.fixture
def product(transactional_db):
    factories.open_shop()
    return factories.ProductFactory(on_hand=100)


def bought(product, quantity=2):
    return order_of(Shopper(factories.CustomerFactory()).order((product.sku, quantity)))


def told(call):
    """Whether it went well, or the code of the refusal."""

    def run():
        try:
            call()
        except DomainError as exc:
            return exc.code
        return "done"

    return run


def ship(order, **changes):
    return told(lambda: ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS", **changes)))


def test_an_order_is_shipped_or_cancelled_never_both(product, provider):
    order = bought(product)
    cancel = told(lambda: cancel_order(order_id=order.pk, reason="", deadline=Deadline(10)))

    outcomes = at_once(ship(order), cancel)

    assert sorted(outcomes) == ["INVALID_TRANSITION", "done"]
    order.refresh_from_db()
    level = StockLevel.objects.get()
    is_shipped = outcomes[0] == "done"
    assert order.status == ("shipped" if is_shipped else "cancelled")
    assert (level.on_hand, level.allocated) == (98 if is_shipped else 100, 0)
    assert Refund.objects.count() == (0 if is_shipped else 1)


def test_eight_clicks_ship_one_parcel(product, provider):
    order = bought(product)

    assert Counter(at_once(*[ship(order) for _ in range(4)])) == {
        "done": 1,
        "INVALID_TRANSITION": 3,
    }
    other = bought(product)
    assert at_once(*[ship(other, request_key="click") for _ in range(4)]) == ["done"] * 4

    assert Shipment.objects.count() == 2
    assert sum(StockMovement.objects.filter(kind="ship").values_list("quantity", flat=True)) == -4


def test_a_return_and_a_refund_of_the_same_units_pay_once(product, provider):
    order = bought(product)
    ship(order)()
    wish = returns.request_return(order_id=order.pk, units={product.sku: 2}, reason="broken")
    returns.accept_return(return_id=wish.pk)
    assert Counter(
        at_once(*[told(lambda: returns.receive_return(return_id=wish.pk)) for _ in range(3)])
    ) == {"done": 1, "INVALID_TRANSITION": 2}
    by_hand = RefundWish(reason="by hand", units={product.sku: 2})

    outcomes = at_once(
        told(lambda: returns.refund_return(return_id=wish.pk, deadline=Deadline(10))),
        told(lambda: decide_refund(order_id=order.pk, wish=by_hand)),
    )

    assert sorted(outcomes) == ["VALIDATION_FAILED", "done"]
    assert Refund.objects.count() == 1
    assert StockLevel.objects.get().on_hand == 100


def test_a_return_is_asked_for_once(product, provider):
    order = bought(product)
    ship(order)()
    ask = told(
        lambda: returns.request_return(order_id=order.pk, units={product.sku: 2}, reason="x")
    )

    assert Counter(at_once(*[ask] * 4)) == {"done": 1, "VALIDATION_FAILED": 3}
    assert Return.objects.count() == 1


def test_invoices_issued_twice_at_once_have_no_gap(product, provider):
    orders = [bought(product, 1) for _ in range(25)]
    assert Order.objects.filter(status="confirmed").count() == 25
    calls = [told(lambda pk=order.pk: invoicing.issue_invoice(order_id=pk)) for order in orders]

    outcomes = at_once(*calls, *calls)  # everybody twice: worker and download

    assert outcomes == ["done"] * 50
    numbers = list(Invoice.objects.order_by("number").values_list("number", flat=True))
    assert numbers == list(range(1, 26))
    assert InvoiceSeries.objects.get().last_number == 25
    issued = list(Invoice.objects.order_by("number").values_list("issued_at", flat=True))
    assert issued == sorted(issued)


def test_a_refund_that_fails_while_its_credit_note_is_issued_leaves_none_standing(
    product, provider
):
    refunds = []
    for _ in range(8):
        order = bought(product)
        refund = decide_refund(order_id=order.pk, wish=RefundWish(reason="broken", amount=ONE))
        finish_refund(refund_id=refund.pk, deadline=Deadline(10))
        refund.refresh_from_db()
        provider.decide_refund(refund.stripe_refund_id, "fail")
        refunds.append(refund)
    for refund in refunds[:2]:  # known to have one
        invoicing.issue_credit_note(refund_id=refund.pk)
    issue = [told(lambda pk=r.pk: invoicing.issue_credit_note(refund_id=pk)) for r in refunds]
    fail = [
        told(lambda pk=r.payment_id: sync_refunds(payment_id=pk, deadline=Deadline(30)))
        for r in refunds
    ]

    assert at_once(*issue, *fail, *fail) == ["done"] * 24  # the webhook comes twice

    assert set(Refund.objects.values_list("status", flat=True)) == {"failed"}
    notes = Invoice.objects.filter(kind="credit_note")
    reversals = Invoice.objects.filter(kind="reversal").order_by("number")
    assert {r.reverses_id for r in reversals} == {note.pk for note in notes}
    assert [r.number for r in reversals] == list(range(1, notes.count() + 1))
    assert notes.count() >= 2


def test_a_credit_note_waits_for_news_of_its_refund_and_is_then_not_issued(product, provider):
    order = bought(product)
    refund = decide_refund(order_id=order.pk, wish=RefundWish(reason="broken", amount=ONE))
    finish_refund(refund_id=refund.pk, deadline=Deadline(10))
    invoicing.issue_invoice(order_id=order.pk)

    with ThreadPoolExecutor(max_workers=1) as pool:
        with transaction.atomic():
            selectors.lock_order(order_id=order.pk)
            issued = pool.submit(alone(lambda: invoicing.issue_credit_note(refund_id=refund.pk)))
            wait_for_somebody_to_wait()
            Refund.objects.filter(pk=refund.pk).update(status="failed")
            invoicing.reverse_credit_note(refund_id=refund.pk)
        assert issued.result(timeout=30) is None

    assert list(Invoice.objects.values_list("kind", flat=True)) == ["invoice"]


def alone(call):
    """On a connection that is closed afterwards."""

    def run():
        try:
            return call()
        finally:
            connection.close()

    return run


def wait_for_somebody_to_wait():
    for _ in range(1000):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_clear_snapshot()")  # kept for a transaction's length
            cursor.execute(
                "SELECT FROM pg_stat_activity"
                " WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            if cursor.rowcount:
                return
        time.sleep(0.01)
    pytest.fail("nobody waits for the lock")


class TestTwoPeople:
    @pytest.fixture
    def staff(self, transactional_db):
        return [factories.CustomerFactory(is_staff=True) for _ in range(5)]

    @pytest.fixture(autouse=True)
    def _limits(self, settings):
        settings.REFUND_LIMITS = {"USD": Decimal("5.00")}

    def refund(self, order, who, amount, key):
        return lambda: refund_approval.refund(
            order_id=order.pk,
            wish=RefundWish(reason="x", amount=Decimal(amount), request_key=key),
            user_id=who.pk,
            deadline=Deadline(20),
        )

    def test_who_approve_at_once_give_back_once(self, product, staff, provider):
        order = bought(product)
        proposer, *others = staff
        self.refund(order, proposer, "5.01", "page")()
        proposal = RefundProposal.objects.get()

        outcomes = at_once(
            *[
                told(
                    lambda who=who: refund_approval.approve(
                        proposal_id=proposal.pk, user_id=who.pk, deadline=Deadline(20)
                    )
                )
                for who in others
            ]
        )

        assert Counter(outcomes) == {"done": 1, "INVALID_TRANSITION": 3}
        assert Refund.objects.get().amount == Decimal("5.01")
        assert len(provider.refunds_of(order.payments.get().payment_intent_id)) == 1

    def test_who_approve_and_refuse_at_once_do_one_of_it(self, product, staff, provider):
        order = bought(product)
        proposer, yes, no, *_ = staff
        self.refund(order, proposer, "5.01", "page")()
        pk = RefundProposal.objects.get().pk

        outcomes = at_once(
            told(
                lambda: refund_approval.approve(
                    proposal_id=pk, user_id=yes.pk, deadline=Deadline(20)
                )
            ),
            told(lambda: refund_approval.refuse(proposal_id=pk, user_id=no.pk, reason="")),
        )

        assert sorted(outcomes) == ["INVALID_TRANSITION", "done"]
        is_approved = outcomes[0] == "done"
        assert RefundProposal.objects.get().status == ("approved" if is_approved else "refused")
        assert Refund.objects.count() == is_approved

    def test_one_person_in_many_tabs_stays_below_the_limit(self, product, staff, provider):
        order = bought(product)
        clerk = staff[0]

        outcomes = at_once(*[self.refund(order, clerk, "2.00", f"tab {n}") for n in range(6)])

        assert Counter(outcomes) == {"done": 2, "proposed": 4}
        assert [refund.amount for refund in Refund.objects.all()] == [Decimal("2.00")] * 2
        assert RefundProposal.objects.count() == 1

    def test_one_page_sent_by_many_hands_is_one_proposal(self, product, staff, provider):
        order = bought(product)

        outcomes = at_once(*[self.refund(order, staff[0], "6.00", "page") for _ in range(4)])

        assert outcomes == ["proposed"] * 4
        assert RefundProposal.objects.count() == 1
