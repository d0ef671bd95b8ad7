"""Refunds: whole, in part, by line; repeatable at every point; never above what came in."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from audit.models import OutboxMessage
from config.kernel.clock import Deadline
from config.kernel.errors import InvalidTransitionError, ValidationFailedError
from orders.errors import RefundRequestReusedError
from orders.models import Order, RefundLine, TaxDestination
from orders.services import recovery
from orders.services.refunds import RefundWish, decide_refund, finish_refund, sync_refunds
from payments.errors import PaymentDisputedError, RefundExceedsPaymentError
from payments.models import Dispute, LedgerEntry, ReconciliationCase, Refund
from tests import factories
from tests.shop import order_of

pytestmark = pytest.mark.django_db

REFUNDS = "/v1/refunds"


@pytest.fixture
def products(shop):
    return [factories.ProductFactory(on_hand=50, price=Decimal("10.01")) for _ in range(2)]


@pytest.fixture
def paid(shopper, products):
    """Three of the one product, one of the other; taxed and shipped for money."""
    first, second = products
    return order_of(shopper.order((first.sku, 3), (second.sku, 1)))


def decide(order, **wish):
    return decide_refund(order_id=order.pk, wish=RefundWish(**{"reason": "broken", **wish}))


def refund(order, **wish):
    decided = decide(order, **wish)
    finish_refund(refund_id=decided.pk, deadline=Deadline(10))
    decided.refresh_from_db()
    order.refresh_from_db()
    return decided


def ship(order):
    """As the warehouse will: the goods are gone."""
    for status in ("shipped",):
        Order.objects.filter(pk=order.pk).update(status=status)


def balance():
    legs = LedgerEntry.objects.filter(account="stripe_balance").values_list("amount", flat=True)
    return sum(legs, start=Decimal(0))


class TestAPart:
    def test_is_given_back_and_the_order_goes_on(self, paid, provider):
        done = refund(paid, amount=Decimal("5.00"))

        assert (done.status, done.reason) == ("succeeded", "broken")
        assert (paid.status, paid.payment_status) == ("confirmed", "partially_refunded")
        intent = paid.payments.get().payment_intent_id
        assert [told["amount"] for told in provider.refunds_of(intent)] == [500]
        assert balance() == paid.total_amount - 5

    def test_after_part_until_nothing_is_left(self, paid):
        refund(paid, amount=Decimal("5.00"))
        last = refund(paid)
        assert last.amount == paid.total_amount - 5
        assert (paid.status, paid.payment_status) == ("cancelled", "refunded")
        assert balance() == 0
        with pytest.raises(InvalidTransitionError, match="nothing left"):
            decide(paid)

    @pytest.mark.parametrize("amount", ["0", "-1", "0.001", "1.005"])
    def test_must_be_an_amount_of_its_currency(self, paid, amount):
        with pytest.raises(ValidationFailedError):
            decide(paid, amount=Decimal(amount))
        assert not Refund.objects.exists()

    def test_is_never_above_what_is_left(self, paid):
        refund(paid, amount=Decimal("5.00"))
        with pytest.raises(RefundExceedsPaymentError) as refused:
            decide(paid, amount=paid.total_amount - Decimal("4.99"))
        assert refused.value.details["left"] == str(paid.total_amount - 5)


class TestTheWhole:
    def test_of_an_order_not_shipped_is_its_cancellation(self, paid, products):
        refund(paid)
        assert (paid.status, paid.payment_status) == ("cancelled", "refunded")
        assert [product.stock_levels.get().allocated for product in products] == [0, 0]
        assert OutboxMessage.objects.filter(fact="order.cancelled").count() == 1

    def test_of_a_shipped_one_moves_it_to_refunded_when_the_money_is_back(self, paid, provider):
        ship(paid)
        provider.fail("drop", path=REFUNDS, method="POST")
        first = refund(paid)
        assert (first.status, paid.status) == ("due", "shipped")
        finish_refund(refund_id=first.pk, deadline=Deadline(10))
        paid.refresh_from_db()
        assert (paid.status, paid.payment_status) == ("refunded", "refunded")
        assert OutboxMessage.objects.filter(fact="order.refunded").count() == 1

    def test_of_an_unpaid_one_is_none(self, shopper, products):
        answer = shopper.order(
            (products[0].sku, 1), payment_method_id="pm_card_threeDSecure2Required"
        )
        with pytest.raises(InvalidTransitionError, match="Nothing has been paid"):
            decide(order_of(answer))


class TestByLine:
    def test_gives_back_what_was_paid_for_the_units(self, paid, products):
        line = paid.items.get(product=products[0])
        done = refund(paid, units={products[0].sku: 3})
        assert done.amount == line.total_price - line.discount_amount + line.tax_amount
        kept = RefundLine.objects.get()
        assert (kept.order_item, kept.quantity, kept.amount) == (line, 3, done.amount)

    def test_bit_by_bit_adds_up_to_the_cent(self, paid, products):
        line = paid.items.get(product=products[0])
        parts = [refund(paid, units={products[0].sku: 1}).amount for _ in range(3)]
        assert sum(parts) == line.total_price - line.discount_amount + line.tax_amount

    def test_gives_no_tax_on_top_of_a_price_that_includes_it(self, shopper, products):
        TaxDestination.objects.create(country="US", prices_include_tax=True)
        gross = order_of(shopper.order((products[0].sku, 3), (products[1].sku, 1)))

        parts = [refund(gross, units={products[0].sku: 1}).amount for _ in range(3)]

        assert gross.items.get(product=products[0]).tax_amount > 0
        assert parts == [Decimal("10.01")] * 3
        rest = refund(gross)
        assert sum(parts) + rest.amount == gross.total_amount
        assert balance() == 0

    @pytest.mark.parametrize("units", [{"NOPE": 1}, {"first": 4}, {"first": 0}, {"first": -1}])
    def test_knows_what_was_bought(self, paid, products, units):
        wished = {products[0].sku if sku == "first" else sku: n for sku, n in units.items()}
        with pytest.raises(ValidationFailedError):
            decide(paid, units=wished)

    def test_never_gives_a_unit_back_twice(self, paid, products):
        refund(paid, units={products[1].sku: 1})
        with pytest.raises(ValidationFailedError) as refused:
            decide(paid, units={products[1].sku: 1})
        assert products[1].sku in refused.value.details["units"]

    def test_gives_a_unit_back_again_whose_refund_failed(self, paid, products, provider):
        first = decide(paid, units={products[1].sku: 1})
        Refund.objects.filter(pk=first.pk).update(status="failed")
        assert refund(paid, units={products[1].sku: 1}).status == "succeeded"

    def test_of_all_units_before_any_was_sent_is_refused(self, paid, products):
        """Its order would wait for ever for a parcel, and promise its stock to nobody."""
        refund(paid, units={products[0].sku: 2})

        with pytest.raises(InvalidTransitionError, match="refund all of the order"):
            decide(paid, units={products[0].sku: 1, products[1].sku: 1})

        refund(paid)
        assert (paid.status, paid.payment_status) == ("cancelled", "refunded")


class TestARepeatedWish:
    def test_with_the_same_key_is_the_same_refund(self, paid, provider):
        first = refund(paid, amount=Decimal("5.00"), request_key="desk-1")
        again = refund(paid, amount=Decimal("5.00"), request_key="desk-1")
        assert first == again
        assert len(provider.refunds_of(paid.payments.get().payment_intent_id)) == 1

    def test_for_everything_stays_the_same_when_nothing_is_left(self, paid):
        assert refund(paid, request_key="desk-1") == refund(paid, request_key="desk-1")

    @pytest.mark.parametrize("other", [{"amount": Decimal("4.00")}, {"units": {"X": 1}}])
    def test_that_is_another_is_refused(self, paid, other):
        refund(paid, amount=Decimal("5.00"), request_key="desk-1")
        with pytest.raises(RefundRequestReusedError):
            decide(paid, request_key="desk-1", **other)

    @pytest.mark.parametrize("fault", ["drop", "answer_lost", "error_before", "error_after"])
    def test_after_any_trouble_gives_the_money_back_once(self, paid, provider, fault):
        provider.fail(fault, path=REFUNDS, method="POST")
        for _ in range(3):
            done = refund(paid, amount=Decimal("5.00"), request_key="desk-1")
        assert done.status == "succeeded"
        assert len(provider.refunds_of(paid.payments.get().payment_intent_id)) == 1
        assert balance() == paid.total_amount - 5


class TestADisputedPayment:
    def test_is_not_given_back_too(self, paid, shopper):
        payment = paid.payments.get()
        Dispute.objects.create(
            payment=payment,
            stripe_dispute_id="dp_1",
            status="needs_response",
            reason="fraudulent",
            currency=payment.currency,
            amount=payment.amount,
            opened_at=payment.created_at,
        )
        with pytest.raises(PaymentDisputedError):
            decide(paid)
        answer = shopper.post(f"/orders/{paid.order_number}/cancel")
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "INVALID_TRANSITION")
        Dispute.objects.update(status="won")
        assert refund(paid).status == "succeeded"


class TestARefundThatFailsLate:
    def test_is_taken_back_in_books_and_order(self, paid, provider):
        done = refund(paid, amount=Decimal("5.00"))
        provider.fail(
            "altered",
            path=REFUNDS,
            method="GET",
            fields={
                "data": [
                    {
                        **provider.refunds_of(paid.payments.get().payment_intent_id)[0],
                        "status": "failed",
                    }
                ]
            },
        )
        for _ in range(2):
            assert sync_refunds(payment_id=paid.payments.get().pk, deadline=Deadline(5)) is None
            done.refresh_from_db()
            paid.refresh_from_db()
            assert done.status == "failed"
            assert paid.payment_status == "succeeded"
            assert paid.payments.get().amount_refunded == 0
            assert balance() == paid.total_amount
        assert OutboxMessage.objects.filter(fact="order.refund_failed").count() == 1


class TestAKeyStandsForOneWish:
    def test_all_that_is_left_is_not_a_part(self, paid):
        decide(paid, amount=Decimal("1.00"), request_key="k")
        with pytest.raises(RefundRequestReusedError):
            decide(paid, request_key="k")

    def test_all_that_is_left_is_itself(self, paid):
        decide(paid, amount=Decimal("1.00"))
        rest = decide(paid, request_key="k")
        assert decide(paid, request_key="k") == rest


class TestWhatThePersonAtTheProviderWasFasterWith:
    def test_stands_in_for_ours_even_if_it_was_told_first(self, paid, provider):
        ours = decide(paid)
        provider.refund(paid.payments.get().payment_intent_id)
        payment_id = paid.payments.get().pk
        sync_refunds(payment_id=payment_id, deadline=Deadline(5))
        assert ReconciliationCase.objects.filter(resolved_at=None).count() == 1

        assert finish_refund(refund_id=ours.pk, deadline=Deadline(5))

        ours.refresh_from_db()
        paid.refresh_from_db()
        assert (ours.status, paid.payment_status) == ("succeeded", "refunded")

    def test_is_found_by_its_id_while_it_is_pending(self, shopper, products, provider):
        order = order_of(
            shopper.order((products[0].sku, 1), payment_method_id="pm_card_pendingRefund")
        )
        made = provider.refund(order.payments.get().payment_intent_id)
        sync_refunds(payment_id=order.payments.get().pk, deadline=Deadline(5))
        adopted = Refund.objects.get()
        assert adopted.status == "pending"
        provider.decide_refund(made["id"], "succeed")

        assert finish_refund(refund_id=adopted.pk, deadline=Deadline(5))


class TestARefundInDoubt:
    def test_is_asked_about_every_minute_at_most(self, paid, provider):
        decided = decide(paid)
        Refund.objects.update(attempts=50)
        provider.fail("drop", path=REFUNDS, method="POST")

        finish_refund(refund_id=decided.pk, deadline=Deadline(5))

        decided.refresh_from_db()
        pause = decided.next_attempt_at - timezone.now()
        assert timedelta(seconds=20) < pause <= timedelta(seconds=60)

    @pytest.mark.django_db(transaction=True)
    def test_whose_number_goes_up_is_sent_by_the_same_sweep(self, paid, provider):
        """Two minutes are all it has: what is stored would cost it one more pause."""
        provider.fail("error_before", path=REFUNDS, method="POST")
        decided = refund(paid)
        Refund.objects.update(next_attempt_at=timezone.now())

        recovery.sweep()

        decided.refresh_from_db()
        assert decided.status == "succeeded"
