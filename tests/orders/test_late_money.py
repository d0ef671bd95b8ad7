"""Money that comes late, or not as agreed: it is kept for a living order or goes back by itself."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest
from django.utils import timezone

from audit.models import AuditLog
from config.kernel.clock import Deadline
from orders.models import IdempotencyKey, Order
from orders.services import events, recovery, settlement
from orders.services.refunds import RefundWish, decide_refund
from payments import gateway
from payments import services as payments
from payments.models import Payment, ProviderEvent, Refund
from tests import factories
from tests.shop import order_of
from tests.webhooks import SECRET, event, send

pytestmark = pytest.mark.django_db

ASKS_FOR_3DS = "pm_card_threeDSecure2Required"
CANCEL = "/v1/payment_intents/*/cancel"
RETRIEVE = "/v1/payment_intents/*"


@pytest.fixture(autouse=True)
def _secrets(settings):
    settings.STRIPE_WEBHOOK_SECRETS = [SECRET]


@pytest.fixture
def product(shop):
    return factories.ProductFactory(on_hand=5)


@pytest.fixture
def waiting(shopper, product):
    """An order that waits for 3-D Secure."""
    return order_of(shopper.order((product.sku, 1), key="k", payment_method_id=ASKS_FOR_3DS))


def intent_id(order):
    return order.payments.get().payment_intent_id


def sweep():
    return recovery.sweep(ignore_backoff=True)


def hear(kind, about):
    send(event(kind, about))
    events.process_due(deadline=Deadline(60), ignore_backoff=True)


def expire(order):
    Order.objects.filter(pk=order.pk).update(hold_expires_at=timezone.now() - timedelta(minutes=1))


def is_cancelled_unpaid(order, product):
    order.refresh_from_db()
    assert order.status == "cancelled"
    assert product.stock_levels.get().allocated == 0
    assert not Refund.objects.exists()


class TestThreeDSecureAfterTheHold:
    def test_is_confirmed_while_nobody_has_ended_the_order(self, waiting, provider, product):
        provider.act(intent_id(waiting), "succeed")
        expire(waiting)
        sweep()
        waiting.refresh_from_db()
        assert waiting.status == "confirmed"
        assert product.stock_levels.get().allocated == 1

    def test_comes_to_nothing_once_the_intent_was_cancelled(self, waiting, provider, product):
        expire(waiting)
        sweep()
        assert provider.intent(intent_id(waiting))["status"] == "canceled"
        is_cancelled_unpaid(waiting, product)

    def test_wins_where_the_bank_was_faster_than_our_cancel(self, waiting, provider, monkeypatch):
        """The sweeper saw "requires_action"; before its cancel arrives the customer is done."""
        expire(waiting)
        cancel = payments.cancel

        def too_late(**arguments):
            provider.act(intent_id(waiting), "succeed")
            return cancel(**arguments)

        monkeypatch.setattr(payments, "cancel", too_late)
        sweep()
        waiting.refresh_from_db()
        assert waiting.status == "confirmed"

    def test_confirm_says_so_whichever_way_it_went(self, shopper, waiting, provider):
        provider.act(intent_id(waiting), "succeed")
        expire(waiting)
        answer = shopper.post(f"/orders/{waiting.order_number}/confirm")
        assert (answer.status_code, answer.json()["status"]) == (200, "confirmed")


class TestSucceededOnACancelledOrder:
    @pytest.fixture
    def dead(self, waiting, provider):
        """Cancelled here on the provider's own word, which it then contradicts."""
        told = gateway.retrieve_intent(intent_id=intent_id(waiting), deadline=Deadline(5))
        untrue = dataclasses.replace(told, status="canceled")
        settlement.settle(order_id=waiting.pk, told=payments.Told(intent=untrue))
        provider.act(intent_id(waiting), "succeed")
        waiting.refresh_from_db()
        assert waiting.status == "cancelled"
        return waiting

    def test_is_refunded_by_itself(self, dead, provider):
        hear("payment_intent.succeeded", provider.intent(intent_id(dead)))

        payment = dead.payments.get()
        assert (payment.status, payment.amount_received) == ("succeeded", dead.total_amount)
        assert Refund.objects.get().amount == dead.total_amount
        assert AuditLog.objects.filter(event_type="PAYMENT_CAME_LATE").count() == 1
        sweep()
        dead.refresh_from_db()
        assert (dead.status, dead.payment_status) == ("cancelled", "refunded")
        given_back = provider.refunds_of(intent_id(dead))
        assert [refund["amount"] for refund in given_back] == [payment.create_params["amount"]]

    def test_is_refunded_once_however_often_it_is_told(self, dead, provider):
        for _ in range(3):
            hear("payment_intent.succeeded", provider.intent(intent_id(dead)))
            sweep()
        assert len(provider.refunds_of(intent_id(dead))) == 1

    def test_leaves_the_keys_answer_as_it_was(self, dead, shopper, product, provider):
        before = IdempotencyKey.objects.get().response_body
        hear("payment_intent.succeeded", provider.intent(intent_id(dead)))
        again = shopper.order((product.sku, 1), key="k", payment_method_id=ASKS_FOR_3DS)
        assert (again.status_code, again.content.decode()) == (402, before)


class TestAWrongAmount:
    def test_is_quarantined_whoever_hears_of_it(self, waiting, provider, product):
        provider.act(intent_id(waiting), "succeed")
        told = provider.intent(intent_id(waiting))
        provider.fail("wrong_amount", path=RETRIEVE, method="GET")

        hear("payment_intent.succeeded", told)

        payment = waiting.payments.get()
        assert payment.status == Payment.Status.QUARANTINED
        waiting.refresh_from_db()
        assert (waiting.status, waiting.payment_status) == ("pending", "processing")
        assert product.stock_levels.get().allocated == 1
        # Nobody moves it by time alone...
        expire(waiting)
        sweep()
        assert waiting.payments.get().status == Payment.Status.QUARANTINED
        # ...but a true account of it settles it.
        hear("payment_intent.succeeded", told)
        waiting.refresh_from_db()
        assert waiting.status == "confirmed"


class TestTwoIntentsForOneOrder:
    def test_the_second_is_put_before_a_person_and_found_in_the_books(
        self, shopper, product, provider
    ):
        order = order_of(shopper.order((product.sku, 1)))
        params = order.payments.get().create_params
        second = provider.charge_anew(params)
        assert second["status"] == "succeeded"

        hear("payment_intent.succeeded", second)

        kept = ProviderEvent.objects.get(payment_intent_id=second["id"])
        assert (kept.status, kept.last_error) == (
            "quarantined",
            "it names a payment that is not here",
        )
        order.refresh_from_db()
        assert (order.status, order.payments.get().status) == ("confirmed", "succeeded")


class TestDoubtOfADay:
    def test_is_put_before_a_person_not_tried_for_ever(self, shopper, product, provider):
        provider.fail("answer_lost", path="/v1/payment_intents/*/confirm")
        provider.fail("drop", path=RETRIEVE, method="GET", times=None)
        order = order_of(shopper.order((product.sku, 1)))
        sweep()
        payment = order.payments.get()
        assert (payment.status, payment.attempts) == ("created", 1)
        assert payment.last_error
        assert payment.next_attempt_at > timezone.now()

        a_day_ago = timezone.now() - recovery.LONGEST_DOUBT - timedelta(hours=1)
        Payment.objects.update(created_at=a_day_ago)
        sweep()

        payment.refresh_from_db()
        assert payment.status == Payment.Status.QUARANTINED
        assert payment.last_error.startswith("the provider has not said for a day how it stands: ")
        assert product.stock_levels.get().allocated == 1

    def test_is_not_what_a_slow_bank_is_in(self, shopper, product, provider):
        answer = shopper.order((product.sku, 1), payment_method_id="pm_usBankAccount_success")
        order = order_of(answer)
        Payment.objects.update(created_at=timezone.now() - timedelta(days=5))

        sweep()

        payment = order.payments.get()
        assert payment.status == Payment.Status.PROCESSING
        # Asked ever more rarely: the webhook tells.
        assert payment.next_attempt_at > timezone.now() + timedelta(minutes=29)

    def test_of_a_debit_is_none_though_one_answer_is_lost(self, shopper, product, provider):
        answer = shopper.order((product.sku, 1), payment_method_id="pm_usBankAccount_success")
        order = order_of(answer)
        Payment.objects.update(created_at=timezone.now() - timedelta(days=5))
        provider.fail("drop", path=RETRIEVE, method="GET")

        sweep()

        payment = order.payments.get()
        assert payment.status == Payment.Status.PROCESSING
        assert payment.last_error


class TestStoredRefusalsAnd500s:
    def test_of_a_cancel_keep_nothing_for_ever(self, waiting, provider, product):
        """Each cancel has a key of its own, so that no stored 500 is replayed (rule 6)."""
        provider.fail("error_before", path=CANCEL)
        expire(waiting)
        sweep()
        waiting.refresh_from_db()
        assert waiting.status == "pending"
        sweep()
        is_cancelled_unpaid(waiting, product)


class TestASweepWithoutTime:
    def test_gives_back_what_it_did_not_come_to(self, waiting, shopper, product, monkeypatch):
        paid = order_of(shopper.order((product.sku, 1)))
        refund = decide_refund(order_id=paid.pk, wish=RefundWish(reason="x"))
        Refund.objects.update(next_attempt_at=timezone.now())
        Payment.objects.update(next_attempt_at=timezone.now())
        monkeypatch.setattr(recovery, "SWEEP_SECONDS", recovery.CALL_SECONDS - 1)

        report = recovery.sweep()

        assert (report.orders_seen, report.refunds_seen) == (0, 0)
        refund.refresh_from_db()
        assert refund.attempts == 0
        assert refund.next_attempt_at <= timezone.now()
        assert waiting.payments.get().next_attempt_at <= timezone.now()

    def test_notes_on_the_payment_what_it_stumbled_over(self, waiting, monkeypatch):
        def stumble(**_):
            raise LookupError("with somebody's address in it")

        monkeypatch.setattr(payments, "retrieve", stumble)

        assert sweep().problems == 1

        assert waiting.payments.get().last_error == "failed: LookupError"


class TestAnIntentThatWaitsForItsCapture:
    def test_is_cancelled_once_the_hold_is_over(self, waiting, provider, product, monkeypatch):
        expire(waiting)
        retrieve = payments.retrieve

        def uncaptured(**arguments):
            return dataclasses.replace(retrieve(**arguments), status="requires_capture")

        monkeypatch.setattr(payments, "retrieve", uncaptured)
        sweep()
        is_cancelled_unpaid(waiting, product)
