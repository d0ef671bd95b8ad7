"""The provider drops, delays, garbles and loses answers: never a second charge, never a loss."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone

from audit.models import AuditLog
from orders.models import IdempotencyKey, Order
from orders.services import recovery
from payments import gateway
from payments.models import Payment
from tests import factories
from tests.shop import order_of

CREATE = "/v1/payment_intents"
CONFIRM = "/v1/payment_intents/*/confirm"
CANCEL = "/v1/payment_intents/*/cancel"
RETRIEVE = "/v1/payment_intents/*"


@pytest.fixture
def product(shop):
    return factories.ProductFactory(on_hand=5)


def sweep():
    return recovery.sweep(ignore_backoff=True)


def one_paid_order(provider, order: Order) -> None:
    """One order, one charge, the stock committed once."""
    order.refresh_from_db()
    assert (order.status, order.payment_status) == ("confirmed", "succeeded")
    assert [i["status"] for i in provider.intents_of(str(order.public_id))] == ["succeeded"]
    assert order.reservations.get().status == "committed"
    assert order.reservations.get().stock_level.allocated == order.items.get().quantity


def expire_hold(order: Order) -> None:
    long_ago = timezone.now() - timedelta(hours=1)
    Order.objects.filter(pk=order.pk).update(hold_expires_at=long_ago)
    IdempotencyKey.objects.filter(order=order, response_status=None).update(lease_until=long_ago)


class TestWhenTheCreateIsLost:
    @pytest.mark.parametrize("kind", ["drop", "answer_lost", "error_before", "error_after"])
    def test_the_client_hears_202_and_the_same_key_settles_it(
        self, shopper, provider, product, kind
    ):
        provider.fail(kind, path=CREATE)

        first = shopper.order((product.sku, 2), key="k")

        assert first.status_code == 202
        assert first["Location"].endswith(first.json()["order_number"])
        assert first.json()["status"] == "pending"
        if kind.startswith("error"):
            # The stored 500 is replayed for a day: nobody can create that intent any more.
            again = shopper.order((product.sku, 2), key="k")
            assert (again.status_code, again.json()["error"]["code"]) == (502, "PAYMENT_ERROR")
            assert order_of(first).status == "cancelled"
            assert product.stock_levels.get().allocated == 0
        else:
            assert shopper.order((product.sku, 2), key="k").status_code == 201
            one_paid_order(provider, order_of(first))

    @pytest.mark.parametrize("kind", ["error_before", "error_after"])
    def test_for_good_the_sweeper_ends_the_order_soon(self, shopper, provider, product, kind):
        provider.fail(kind, path=CREATE)
        first = shopper.order((product.sku, 2), key="k")

        sweep()

        order = order_of(first)
        assert (order.status, order.payment_status) == ("cancelled", "failed")
        assert product.stock_levels.get().allocated == 0
        intents = provider.intents_of(str(order.public_id))
        assert {intent["status"] for intent in intents} <= {"requires_confirmation"}

    def test_the_sweeper_finishes_what_was_promised(self, shopper, provider, product):
        provider.fail("answer_lost", path=CREATE)
        first = shopper.order((product.sku, 2), key="k")

        sweep()

        one_paid_order(provider, order_of(first))
        replay = shopper.order((product.sku, 2), key="k")
        assert (replay.status_code, replay["Idempotent-Replayed"]) == (201, "true")


class TestWhenTheConfirmIsLost:
    @pytest.mark.parametrize("kind", ["answer_lost", "error_after", "malformed"])
    def test_an_applied_one_is_found_out_by_asking(self, shopper, provider, product, kind):
        provider.fail(kind, path=CONFIRM)

        answer = shopper.order((product.sku, 1))

        assert answer.status_code == 201
        one_paid_order(provider, order_of(answer))

    def test_one_that_was_never_applied_is_confirmed_by_a_retry(self, shopper, provider, product):
        provider.fail("drop", path=CONFIRM)
        first = shopper.order((product.sku, 1), key="k")
        assert first.status_code == 202

        assert shopper.order((product.sku, 1), key="k").status_code == 201
        one_paid_order(provider, order_of(first))

    def test_a_stored_500_takes_the_next_number_and_only_then(self, shopper, provider, product):
        provider.fail("error_before", path=CONFIRM)
        first = shopper.order((product.sku, 1), key="k")
        assert first.status_code == 202
        payment = Payment.objects.get()
        assert payment.confirm_attempt == 1  # not replayed yet: it might still be under way

        second = shopper.order((product.sku, 1), key="k")
        assert second.status_code == 202  # the same key again: now it is known to be stored
        payment.refresh_from_db()
        assert payment.confirm_attempt == 2

        assert shopper.order((product.sku, 1), key="k").status_code == 201
        one_paid_order(provider, order_of(first))

    def test_and_the_question_too_the_sweeper_asks_again(self, shopper, provider, product):
        provider.fail("answer_lost", path=CONFIRM)
        provider.fail("drop", path=RETRIEVE, method="GET")

        first = shopper.order((product.sku, 1))

        assert first.status_code == 202
        assert Payment.objects.get().in_doubt_since is not None
        sweep()
        one_paid_order(provider, order_of(first))

    def test_a_decline_is_found_out_and_closed(self, shopper, provider, product):
        provider.fail("answer_lost", path=CONFIRM)

        answer = shopper.order((product.sku, 1), payment_method_id="pm_card_visa_chargeDeclined")

        assert answer.status_code == 402
        assert answer.json()["error"]["code"] == "CARD_DECLINED"
        assert product.stock_levels.get().allocated == 0
        intents = provider.intents_of(str(order_of(answer).public_id))
        assert [intent["status"] for intent in intents] == ["canceled"]


class TestAFailedAttempt:
    def test_keeps_its_stock_until_the_provider_says_canceled(self, shopper, provider, product):
        provider.fail("error_before", path=CANCEL)

        first = shopper.order(
            (product.sku, 1), key="k", payment_method_id="pm_card_visa_chargeDeclined"
        )

        assert first.status_code == 202  # it could still be paid with another card
        assert product.stock_levels.get().allocated == 1
        sweep()
        order = order_of(first)
        assert order.status == "cancelled"
        assert product.stock_levels.get().allocated == 0
        replay = shopper.order(
            (product.sku, 1), key="k", payment_method_id="pm_card_visa_chargeDeclined"
        )
        assert replay.json()["error"]["code"] == "CARD_DECLINED"


class TestARateLimit:
    def test_is_waited_for_within_the_request(self, shopper, provider, product):
        provider.fail("rate_limit", path=CREATE, times=2)

        assert shopper.order((product.sku, 1)).status_code == 201


class TestAWrongAmount:
    def test_is_quarantined_and_nothing_moves(self, shopper, provider, product):
        provider.fail("wrong_amount", path=CONFIRM, amount=1)

        answer = shopper.order((product.sku, 1), key="k")

        assert answer.status_code == 202
        assert answer.json()["payment_status"] == "processing"
        payment = Payment.objects.get()
        assert payment.status == "quarantined"
        assert product.stock_levels.get().allocated == 1
        assert shopper.order((product.sku, 1), key="k").status_code == 202
        expire_hold(payment.order)
        sweep()
        payment.refresh_from_db()
        assert payment.status == "quarantined"


class TestARefusedRequest:
    def test_is_our_fault_and_says_certainly_not_charged(self, shopper):
        product_of_a_fortune = factories.ProductFactory(price="9999.99", on_hand=1000)

        answer = shopper.order((product_of_a_fortune.sku, 900))  # above the provider's maximum

        assert answer.status_code == 502
        error = answer.json()["error"]
        assert error["code"] == "PAYMENT_ERROR"
        order = order_of(answer)
        assert (order.status, order.payment_status) == ("cancelled", "failed")
        assert product_of_a_fortune.stock_levels.get().allocated == 0


class TestABankDebit:
    PM = "pm_usBankAccount_success"

    def test_is_202_until_the_bank_decides(self, shopper, provider, product):
        first = shopper.order((product.sku, 1), key="k", payment_method_id=self.PM)
        assert first.status_code == 202
        order = order_of(first)
        expire_hold(order)
        sweep()
        order.refresh_from_db()
        assert (order.status, order.payment_status) == ("pending", "processing")

        provider.act(Payment.objects.get().payment_intent_id, "succeed")
        sweep()

        one_paid_order(provider, order)

    def test_that_fails_gives_the_stock_back(self, shopper, provider, product):
        first = shopper.order((product.sku, 1), key="k", payment_method_id=self.PM)

        provider.act(Payment.objects.get().payment_intent_id, "fail")
        sweep()

        order = order_of(first)
        assert order.status == "cancelled"
        assert product.stock_levels.get().allocated == 0


class TestAnAbandonedRequest:
    """The process died after T1, after C1, after T1b: what it left is what these rows say."""

    @pytest.fixture
    def left_behind(self, shopper, provider, product):
        """An order whose request never answered, with or without an intent."""

        def leave(*, fault: str, path: str) -> Order:
            provider.fail(fault, path=path)
            provider.fail("drop", path=RETRIEVE, method="GET")
            order = order_of(shopper.order((product.sku, 1), key="k"))
            provider.clear_faults()
            Payment.objects.update(in_doubt_since=None)  # nobody was told 202
            IdempotencyKey.objects.update(lease_until=timezone.now() + timedelta(seconds=20))
            return order

        return leave

    @pytest.mark.parametrize(("fault", "path"), [("drop", CREATE), ("drop", CONFIRM)])
    def test_is_left_alone_while_its_lease_runs(self, left_behind, shopper, product, fault, path):
        order = left_behind(fault=fault, path=path)

        assert sweep().orders_seen == 0
        again = shopper.order((product.sku, 1), key="k")

        assert again.status_code == 409
        assert again.json()["error"]["code"] == "ORDER_IN_PROGRESS"
        assert again["Retry-After"]
        order.refresh_from_db()
        assert order.status == "pending"

    @pytest.mark.parametrize(("lease_left", "wait"), [(19, "2"), (10, "10"), (1, "1")])
    def test_tells_when_its_key_is_free(self, left_behind, shopper, product, lease_left, wait):
        """Done within two seconds, or most likely never: then the lease is what is waited for."""
        left_behind(fault="drop", path=CREATE)
        free_at = timezone.now() + timedelta(seconds=lease_left)
        IdempotencyKey.objects.update(lease_until=free_at)

        again = shopper.order((product.sku, 1), key="k")

        assert again.json()["error"]["code"] == "ORDER_IN_PROGRESS"
        assert again["Retry-After"] == wait

    @pytest.mark.parametrize(("fault", "path"), [("drop", CREATE), ("drop", CONFIRM)])
    def test_is_taken_over_once_the_lease_is_over(
        self, left_behind, shopper, provider, product, fault, path
    ):
        order = left_behind(fault=fault, path=path)
        IdempotencyKey.objects.update(lease_until=timezone.now() - timedelta(seconds=1))

        assert shopper.order((product.sku, 1), key="k").status_code == 201
        one_paid_order(provider, order)

    @pytest.mark.parametrize(("fault", "path"), [("drop", CREATE), ("drop", CONFIRM)])
    def test_is_ended_not_charged_when_nobody_comes_back(
        self, left_behind, provider, product, fault, path
    ):
        order = left_behind(fault=fault, path=path)
        IdempotencyKey.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        Payment.objects.update(next_attempt_at=timezone.now())
        recovery.sweep()
        order.refresh_from_db()
        assert order.status == "pending"  # a retry may still come

        Order.objects.update(created_at=F("created_at") - recovery.ABANDONED_AFTER)
        Payment.objects.update(next_attempt_at=timezone.now())
        recovery.sweep()

        order.refresh_from_db()
        assert order.status == "cancelled"
        assert product.stock_levels.get().allocated == 0
        assert IdempotencyKey.objects.get().response_status == 402
        statuses = {intent["status"] for intent in provider.intents_of(str(order.public_id))}
        assert statuses <= {"canceled", "requires_confirmation"}

    def test_is_ended_at_once_when_staff_asks_for_it(self, left_behind, product):
        order = left_behind(fault="drop", path=CONFIRM)
        IdempotencyKey.objects.update(lease_until=timezone.now() - timedelta(seconds=1))

        sweep()

        order.refresh_from_db()
        assert order.status == "cancelled"
        assert product.stock_levels.get().allocated == 0

    def test_that_was_paid_is_found_and_kept(self, shopper, provider, product):
        provider.fail("answer_lost", path=CONFIRM)
        provider.fail("drop", path=RETRIEVE, method="GET")
        order = order_of(shopper.order((product.sku, 1), key="k"))
        Payment.objects.update(in_doubt_since=None)
        expire_hold(order)

        sweep()

        one_paid_order(provider, order)


class TestAnExpiredHold:
    def test_cancels_the_intent_first(self, shopper, provider, product):
        first = shopper.order((product.sku, 1), payment_method_id="pm_card_threeDSecure2Required")
        order = order_of(first)
        expire_hold(order)

        sweep()

        order.refresh_from_db()
        assert (order.status, order.payment_status) == ("cancelled", "cancelled")
        assert product.stock_levels.get().allocated == 0
        intents = provider.intents_of(str(order.public_id))
        assert [intent["status"] for intent in intents] == ["canceled"]
        assert shopper.post(f"/orders/{order.order_number}/confirm").status_code == 409

    def test_loses_to_a_payment_that_was_faster(self, shopper, provider, product):
        first = shopper.order((product.sku, 1), payment_method_id="pm_card_threeDSecure2Required")
        order = order_of(first)
        provider.act(first.json()["error"]["details"]["payment_intent_id"], "succeed")
        expire_hold(order)

        sweep()

        one_paid_order(provider, order)


class TestAProviderThatIsDown:
    def test_is_503_before_anything_is_held(self, shopper, product, settings):
        settings.STRIPE_API_BASE = "http://127.0.0.1:9"
        gateway.breaker.cache_clear()

        answer = shopper.order((product.sku, 1), key="k")

        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "SERVICE_UNAVAILABLE"
        assert int(answer["Retry-After"]) > 0
        assert not Order.objects.exists()
        assert product.stock_levels.get().allocated == 0

    def test_still_replays_what_was_answered(self, shopper, product, settings):
        first = shopper.order((product.sku, 1), key="k")
        settings.STRIPE_API_BASE = "http://127.0.0.1:9"
        gateway.breaker.cache_clear()

        assert shopper.order((product.sku, 1), key="k").content == first.content


class TestACancellation:
    PM = "pm_card_threeDSecure2Required"

    def test_without_an_answer_is_finished_by_the_sweeper(self, shopper, provider, product):
        order = order_of(shopper.order((product.sku, 1), payment_method_id=self.PM))
        provider.fail("drop", path=CANCEL)

        answer = shopper.post(f"/orders/{order.order_number}/cancel", {"reason": "changed my mind"})

        assert (answer.status_code, answer.json()["status"]) == (202, "pending")
        sweep()
        order.refresh_from_db()
        assert order.status == "cancelled"
        assert product.stock_levels.get().allocated == 0

    @pytest.mark.parametrize("payment_method_id", ["pm_card_visa", PM])
    def test_keeps_the_customers_words_on_the_order_alone(
        self, shopper, product, payment_method_id
    ):
        order = order_of(shopper.order((product.sku, 1), payment_method_id=payment_method_id))

        shopper.post(f"/orders/{order.order_number}/cancel", {"reason": "my son Tim is allergic"})

        order.refresh_from_db()
        assert order.cancellation_reason == "my son Tim is allergic"
        told = [row.data for row in AuditLog.objects.filter(entity_id=order.pk)]
        assert len(told) >= 2
        assert "Tim" not in str(told)


class TestAnotherIntentThatWantsAction:
    def test_hands_out_no_secret(self, shopper, provider, product):
        provider.fail("wrong_amount", path=CONFIRM, amount=1)

        answer = shopper.order((product.sku, 1), payment_method_id=TestACancellation.PM)

        assert answer.status_code == 202
        assert "client_secret" not in answer.text
        assert Payment.objects.get().status == "quarantined"


class TestARefundTheProviderRefused:
    def test_for_good_under_one_key_is_tried_under_the_next(self, shopper, provider, product):
        order = order_of(shopper.order((product.sku, 1)))
        provider.fail("error_before", path="/v1/refunds", status=402)
        path = f"/orders/{order.order_number}/cancel"

        assert shopper.post(path).status_code == 202
        assert shopper.post(path).status_code in {200, 202}  # replayed: the next number
        sweep()

        order.refresh_from_db()
        assert (order.status, order.payment_status) == ("cancelled", "refunded")
        assert len(provider.refunds_of(order.payments.get().payment_intent_id)) == 1
