"""A payment in quarantine: a person asks again, or ends it and gives the money back."""

from __future__ import annotations

import pytest

from audit.models import AuditLog, OutboxMessage
from config.kernel.clock import Deadline
from config.kernel.errors import InvalidTransitionError
from orders.models import IdempotencyKey
from orders.services import recovery
from orders.services.quarantine import end_quarantined
from orders.services.settlement import settle_afresh
from payments.models import Refund
from tests import factories
from tests.orders.mismatches import tamper
from tests.shop import order_of

pytestmark = pytest.mark.django_db

RETRIEVE = "/v1/payment_intents/*"


@pytest.fixture
def product(shop):
    return factories.ProductFactory(on_hand=5)


@pytest.fixture
def odd(shopper, product):
    """An order that waits for 3-D Secure; what was asked for it is not what the provider says."""
    answer = shopper.order(
        (product.sku, 1), key="k", payment_method_id="pm_card_threeDSecure2Required"
    )
    order = order_of(answer)
    payment = order.payments.get()
    params = {**payment.create_params, "amount": payment.create_params["amount"] + 1}
    tamper(payment, status="quarantined", create_params=params)
    return order


def intent_id(order) -> str:
    return order.payments.get().payment_intent_id


def end(order) -> bool:
    return end_quarantined(order_id=order.pk, deadline=Deadline(10))


def is_over(order, product) -> bool:
    order.refresh_from_db()
    assert (order.status, order.payment_status) == ("cancelled", "cancelled")
    assert order.payments.get().status == "cancelled"
    assert product.stock_levels.get().allocated == 0
    assert AuditLog.objects.filter(event_type="QUARANTINE_ENDED").count() == 1
    return True


class TestEnding:
    def test_cancels_what_is_not_paid(self, odd, product, provider):
        assert end(odd)

        assert is_over(odd, product)
        assert provider.intent(intent_id(odd))["status"] == "canceled"

    def test_gives_back_what_was_paid(self, odd, product, provider):
        provider.act(intent_id(odd), "succeed")

        assert end(odd)

        assert is_over(odd, product)
        [given] = provider.refunds_of(intent_id(odd))
        assert given["amount"] == provider.intent(intent_id(odd))["amount_received"]
        assert not Refund.objects.exists()  # it never was money of ours

    def test_counts_what_staff_gave_back_by_hand(self, odd, product, provider):
        provider.act(intent_id(odd), "succeed")
        provider.refund(intent_id(odd))

        assert end(odd)

        assert is_over(odd, product)
        assert len(provider.refunds_of(intent_id(odd))) == 1

    def test_gives_back_once_however_often_it_is_tried(self, odd, product, provider):
        provider.act(intent_id(odd), "succeed")
        provider.fail("answer_lost", path="/v1/refunds", method="POST")
        provider.fail("drop", path="/v1/refunds", method="GET", times=2)

        assert not end(odd)
        provider.clear_faults()
        assert end(odd)

        assert is_over(odd, product)
        assert len(provider.refunds_of(intent_id(odd))) == 1

    def test_changes_nothing_while_the_provider_is_away(self, odd, provider):
        provider.fail("drop", path=RETRIEVE, method="*", times=None)

        assert not end(odd)

        odd.refresh_from_db()
        assert (odd.status, odd.payments.get().status) == ("pending", "quarantined")

    def test_settles_instead_where_the_story_fits_by_now(self, odd, product, provider):
        payment = odd.payments.get()
        provider.act(intent_id(odd), "succeed")
        amount = provider.intent(intent_id(odd))["amount"]
        tamper(payment, create_params={**payment.create_params, "amount": amount})

        assert end(odd)

        odd.refresh_from_db()
        assert odd.status == "confirmed"

    def test_answers_the_key(self, odd, shopper, product):
        key = IdempotencyKey.objects.get()
        tamper(key, response_status=None, response_body="", answered_at=None)

        end(odd)

        assert IdempotencyKey.objects.get().response_status == 402

    def test_of_an_intent_that_the_provider_does_not_know(self, odd, product, provider):
        provider.reset()

        assert end(odd)

        assert is_over(odd, product)

    def test_waits_for_a_bank_that_is_about_to_decide(self, shopper, product, provider):
        answer = shopper.order((product.sku, 1), payment_method_id="pm_usBankAccount_success")
        debit = order_of(answer)
        payment = debit.payments.get()
        tamper(payment, status="quarantined", create_params={**payment.create_params, "amount": 1})

        with pytest.raises(InvalidTransitionError, match="processing"):
            end(debit)

    def test_is_for_payments_in_quarantine_alone(self, shopper, product):
        paid = order_of(shopper.order((product.sku, 1)))
        with pytest.raises(InvalidTransitionError, match="quarantine"):
            end(paid)
        paid.refresh_from_db()
        assert paid.status == "confirmed"


class TestAskingAgain:
    def test_settles_what_fits_by_now(self, odd, provider):
        payment = odd.payments.get()
        provider.act(intent_id(odd), "succeed")
        amount = provider.intent(intent_id(odd))["amount"]
        tamper(payment, create_params={**payment.create_params, "amount": amount})

        assert recovery.settle_now(order_id=odd.pk, deadline=Deadline(10))

        odd.refresh_from_db()
        assert odd.status == "confirmed"

    def test_leaves_alone_what_does_not(self, odd, product):
        """The intent waits for its customer: no reason to fail, none to leave quarantine."""
        assert not recovery.settle_now(order_id=odd.pk, deadline=Deadline(10))

        odd.refresh_from_db()
        assert (odd.status, odd.payments.get().status) == ("pending", "quarantined")
        assert product.stock_levels.get().allocated == 1

    def test_finds_an_order_that_had_ended_before_the_odd_answer(self, shopper, product, provider):
        declined = order_of(
            shopper.order((product.sku, 1), payment_method_id="pm_card_chargeDeclined")
        )
        tamper(declined.payments.get(), status="quarantined")

        assert recovery.settle_now(order_id=declined.pk, deadline=Deadline(10))

        payment = declined.payments.get()
        assert (payment.status, payment.failure_code, payment.last_error) == (
            "failed",
            "card_declined",
            "",
        )
        declined.refresh_from_db()
        assert (declined.status, declined.payment_status) == ("cancelled", "failed")


class TestTheWorld:
    """Whoever talks to customers hears that somebody may be waiting, and that it is over."""

    def test_hears_of_a_payment_that_went_into_quarantine(self, shopper, product):
        payment = self.waiting(shopper, product)
        self.tell_another_story(payment)

        for _ in range(2):
            settle_afresh(payment=payment, deadline=Deadline(10))

        [fact] = OutboxMessage.objects.filter(fact="payment.quarantined")
        assert (fact.aggregate_type, fact.aggregate_id) == ("order", payment.order_id)
        assert fact.payload == {
            "order_id": payment.order_id,
            "order_number": payment.order.order_number,
            "payment": str(payment.uuid),
        }

    def test_hears_that_it_was_ended(self, odd):
        end(odd)

        [fact] = OutboxMessage.objects.filter(fact="payment.quarantine_ended")
        assert fact.payload["payment"] == str(odd.payments.get().uuid)

    def test_hears_that_the_story_fits_by_now(self, odd, provider):
        payment = odd.payments.get()
        provider.act(intent_id(odd), "succeed")
        amount = provider.intent(intent_id(odd))["amount"]
        tamper(payment, create_params={**payment.create_params, "amount": amount})

        end(odd)

        assert OutboxMessage.objects.filter(fact="payment.quarantine_ended").count() == 1

    def test_hears_each_time_of_what_happens_twice(self, shopper, product):
        payment = self.waiting(shopper, product)
        amount = payment.create_params["amount"]
        for _ in range(2):
            self.tell_another_story(payment)
            settle_afresh(payment=payment, deadline=Deadline(10))
            payment.refresh_from_db()
            assert payment.status == "quarantined"
            tamper(
                payment,
                status="requires_action",
                create_params={**payment.create_params, "amount": amount},
            )

        assert OutboxMessage.objects.filter(fact="payment.quarantined").count() == 2

    def waiting(self, shopper, product):
        answer = shopper.order((product.sku, 1), payment_method_id="pm_card_threeDSecure2Required")
        return order_of(answer).payments.get()

    def tell_another_story(self, payment) -> None:
        params = {**payment.create_params, "amount": payment.create_params["amount"] + 1}
        tamper(payment, create_params=params)
