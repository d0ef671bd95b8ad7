"""Webhooks worked off: once, whatever their order or number, by asking the provider afresh."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone

from audit.models import AuditLog, OutboxMessage
from config.kernel.clock import Deadline
from orders.models import IdempotencyKey, Order
from orders.services import events, recovery
from orders.services.refunds import RefundWish, decide_refund, finish_refund
from payments import events as webhooks
from payments.breaker import FAILURES_TO_OPEN
from payments.models import ProviderEvent, Refund
from tests import factories
from tests.shop import order_of
from tests.webhooks import SECRET, event, send

pytestmark = pytest.mark.django_db

CONFIRM = "/v1/payment_intents/*/confirm"
RETRIEVE = "/v1/payment_intents/*"


@pytest.fixture(autouse=True)
def _secrets(settings):
    settings.STRIPE_WEBHOOK_SECRETS = [SECRET]


@pytest.fixture
def product(shop):
    return factories.ProductFactory(on_hand=5)


def process():
    return events.process_due(deadline=Deadline(60), ignore_backoff=True)


def tell(kind, about, **changes):
    told = event(kind, about, **changes)
    assert send(told).status_code == 200
    process()
    return ProviderEvent.objects.get(stripe_event_id=told["id"])


def intent_id(order):
    return order.payments.get().payment_intent_id


def intent_of(order, provider, *, bare=False):
    """As the provider tells it; `bare`: without asking."""
    if not bare:
        return provider.intent(intent_id(order))
    params = order.payments.get().create_params
    return {"object": "payment_intent", "id": intent_id(order), **params}


@pytest.fixture
def waiting(shopper, product):
    """An order that waits for 3-D Secure."""
    answer = shopper.order(
        (product.sku, 2), key="k", payment_method_id="pm_card_threeDSecure2Required"
    )
    assert answer.status_code == 402
    return order_of(answer)


@pytest.fixture
def paid(shopper, product):
    return order_of(shopper.order((product.sku, 2), key="k"))


class TestSucceeded:
    def test_confirms_an_order_that_nobody_came_back_for(self, waiting, provider):
        provider.act(waiting.payments.get().payment_intent_id, "succeed")

        kept = tell("payment_intent.succeeded", intent_of(waiting, provider))

        waiting.refresh_from_db()
        assert (waiting.status, waiting.payment_status) == ("confirmed", "succeeded")
        assert waiting.reservations.get().status == "committed"
        assert (kept.status, kept.last_error) == ("processed", "")
        assert kept.processed_at is not None

    def test_gives_the_key_its_answer_where_the_request_died(self, shopper, product, provider):
        provider.fail("answer_lost", path=CONFIRM)
        provider.fail("drop", path=RETRIEVE, method="GET")
        order = order_of(shopper.order((product.sku, 1), key="k"))

        tell("payment_intent.succeeded", intent_of(order, provider))

        assert IdempotencyKey.objects.get().response_status == 201
        replay = shopper.order((product.sku, 1), key="k")
        assert (replay.status_code, replay["Idempotent-Replayed"]) == (201, "true")

    def test_is_not_believed_but_asked_for(self, waiting, provider):
        lie = {**intent_of(waiting, provider), "status": "succeeded", "amount_received": 9}

        assert tell("payment_intent.succeeded", lie).status == "processed"

        waiting.refresh_from_db()
        assert (waiting.status, waiting.payment_status) == ("pending", "requires_action")

    def test_asks_nothing_where_it_brings_no_news(self, paid, provider):
        provider.fail("drop", path=RETRIEVE, method="GET", times=None)

        kept = tell(
            "payment_intent.succeeded",
            {
                **paid.payments.get().create_params,
                "id": paid.payments.get().payment_intent_id,
                "object": "payment_intent",
            },
        )

        assert kept.status == "processed"


@pytest.mark.parametrize("seed", range(6))
def test_any_order_and_number_of_events_ends_alike(waiting, provider, seed):
    intent_id = waiting.payments.get().payment_intent_id
    asked = provider.intent(intent_id)
    provider.act(intent_id, "succeed")
    done = provider.intent(intent_id)
    told = [
        event("payment_intent.payment_failed", {**asked, "status": "requires_payment_method"}),
        event("payment_intent.succeeded", done),
        event("payment_intent.processing", {**asked, "status": "processing"}),
        event("payment_intent.canceled", {**asked, "status": "canceled"}),
    ] * 3
    random.Random(seed).shuffle(told)  # noqa: S311 - repeatable, not secret
    for one in told:
        send(one)
        process()

    waiting.refresh_from_db()
    assert (waiting.status, waiting.payment_status) == ("confirmed", "succeeded")
    assert ProviderEvent.objects.filter(status="processed").count() == 4
    assert OutboxMessage.objects.filter(fact="order.confirmed").count() == 1


class TestFailed:
    def test_ends_an_order_whose_3d_secure_failed(self, waiting, provider, product):
        provider.act(waiting.payments.get().payment_intent_id, "fail")

        tell("payment_intent.payment_failed", intent_of(waiting, provider))

        waiting.refresh_from_db()
        assert (waiting.status, waiting.payment_status) == ("cancelled", "failed")
        # Cancelled at the provider first: it could still be paid with another card.
        assert intent_of(waiting, provider)["status"] == "canceled"
        assert product.stock_levels.get().allocated == 0

    def test_never_undoes_a_payment_that_succeeded(self, paid, provider):
        stale = {**intent_of(paid, provider), "status": "requires_payment_method"}
        tell("payment_intent.payment_failed", stale)
        paid.refresh_from_db()
        assert paid.status == "confirmed"


class TestBankDebit:
    @pytest.fixture
    def debit(self, shopper, product):
        answer = shopper.order(
            (product.sku, 1), key="d", payment_method_id="pm_usBankAccount_success"
        )
        assert answer.status_code == 202
        return order_of(answer)

    def test_is_confirmed_when_the_bank_says_so(self, debit, provider):
        provider.act(debit.payments.get().payment_intent_id, "succeed")
        tell("payment_intent.succeeded", intent_of(debit, provider))
        debit.refresh_from_db()
        assert debit.status == "confirmed"

    def test_ends_when_the_bank_says_no(self, debit, provider):
        provider.act(debit.payments.get().payment_intent_id, "fail")
        tell("payment_intent.payment_failed", intent_of(debit, provider))
        debit.refresh_from_db()
        assert (debit.status, debit.payment_status) == ("cancelled", "failed")


class TestBankDebitAndPayPal:
    """Methods that take their time keep the stock while they do, however late it is."""

    @pytest.fixture(params=["pm_usBankAccount_success", "pm_paypal"])
    def slow(self, request, shopper, product, provider):
        return order_of(shopper.order((product.sku, 1), payment_method_id=request.param))

    def outlive_the_hold(self, order, provider):
        """Days go by, `processing` all the time; PayPal's is so by an altered answer alone."""
        processing = {"status": "processing", "next_action": None}
        provider.fail("altered", path=RETRIEVE, method="GET", times=None, fields=processing)
        tell("payment_intent.processing", intent_of(order, provider))
        Order.objects.update(hold_expires_at=timezone.now() - timedelta(days=2))
        recovery.sweep(ignore_backoff=True)
        provider.clear_faults()
        order.refresh_from_db()

    def test_hold_their_stock_while_processing(self, slow, product, provider):
        self.outlive_the_hold(slow, provider)

        assert (slow.status, slow.payment_status) == ("pending", "processing")
        assert slow.reservations.get().status == "held"
        assert product.stock_levels.get().allocated == 1

    @pytest.mark.parametrize("by_webhook", [True, False], ids=["webhook", "sweeper"])
    def test_release_it_when_they_fail(self, slow, product, provider, by_webhook):
        self.outlive_the_hold(slow, provider)
        provider.act(intent_id(slow), "fail")

        if by_webhook:
            tell("payment_intent.payment_failed", intent_of(slow, provider))
        else:
            recovery.sweep(ignore_backoff=True)

        slow.refresh_from_db()
        assert (slow.status, slow.payment_status) == ("cancelled", "failed")
        assert slow.reservations.get().status == "released"
        assert product.stock_levels.get().allocated == 0
        assert intent_of(slow, provider)["status"] == "canceled"

    @pytest.mark.parametrize("by_webhook", [True, False], ids=["webhook", "sweeper"])
    def test_commit_it_when_they_succeed(self, slow, product, provider, by_webhook):
        self.outlive_the_hold(slow, provider)
        provider.act(intent_id(slow), "succeed")

        if by_webhook:
            tell("payment_intent.succeeded", intent_of(slow, provider))
        else:
            recovery.sweep(ignore_backoff=True)

        slow.refresh_from_db()
        assert (slow.status, slow.payment_status) == ("confirmed", "succeeded")
        assert slow.reservations.get().status == "committed"
        assert product.stock_levels.get().allocated == 1


class TestTrouble:
    def test_with_the_provider_is_tried_again(self, waiting, provider):
        provider.act(waiting.payments.get().payment_intent_id, "succeed")
        about = intent_of(waiting, provider)
        provider.fail("drop", path=RETRIEVE, method="GET")

        kept = tell("payment_intent.succeeded", about)

        assert (kept.status, kept.attempts) == ("received", 1)
        assert kept.last_error
        assert kept.next_attempt_at > timezone.now()
        assert events.process_due(deadline=Deadline(60)) == 0  # not due yet
        assert process() == 1
        waiting.refresh_from_db()
        assert waiting.status == "confirmed"

    def test_with_one_does_not_keep_the_others_waiting(self, waiting, provider, monkeypatch):
        provider.act(waiting.payments.get().payment_intent_id, "succeed")
        send(
            event(
                "payment_intent.succeeded",
                {"object": "payment_intent", "id": "pi_x", "metadata": 7},
            )
        )
        send(event("payment_intent.succeeded", intent_of(waiting, provider)))
        broken = events._judge_stranger
        monkeypatch.setattr(events, "_judge_stranger", lambda *_: 1 / 0)

        process()

        waiting.refresh_from_db()
        assert waiting.status == "confirmed"
        left = ProviderEvent.objects.get(payment_intent_id="pi_x")
        assert (left.status, left.last_error) == ("received", "ZeroDivisionError")
        monkeypatch.setattr(events, "_judge_stranger", broken)
        process()
        left.refresh_from_db()
        assert left.status == "ignored"

    def test_a_worker_that_dies_gives_the_event_back(self, waiting, provider):
        send(event("payment_intent.succeeded", intent_of(waiting, provider)))
        ProviderEvent.objects.update(next_attempt_at=timezone.now() + events.CLAIM)
        assert events.process_due(deadline=Deadline(60)) == 0
        ProviderEvent.objects.update(next_attempt_at=F("next_attempt_at") - events.CLAIM)
        assert events.process_due(deadline=Deadline(60)) == 1


class TestQuarantine:
    def quarantined(self, kept, problem):
        assert (kept.status, kept.last_error) == ("quarantined", problem)
        assert AuditLog.objects.filter(event_type="WEBHOOK_QUARANTINED").count() == 1

    def test_of_the_other_mode(self, waiting, provider):
        kept = tell("payment_intent.succeeded", intent_of(waiting, provider), livemode=True)
        self.quarantined(kept, "it is of the provider's other mode (test or live)")

    def test_of_another_account(self, waiting, provider):
        kept = tell("payment_intent.succeeded", intent_of(waiting, provider), account="acct_x")
        self.quarantined(kept, "it is about another account")

    @pytest.mark.parametrize("changed", [{"amount": 1}, {"currency": "eur"}])
    def test_of_another_amount_or_currency(self, waiting, provider, changed):
        provider.act(waiting.payments.get().payment_intent_id, "succeed")
        about = {**intent_of(waiting, provider), **changed}

        kept = tell("payment_intent.succeeded", about)

        self.quarantined(kept, "its amount or currency is not the payment's")
        # What the provider says when asked is right, and counts.
        waiting.refresh_from_db()
        assert waiting.status == "confirmed"

    def test_of_a_payment_that_is_not_here(self, shop):
        about = {"id": "pi_lost", "object": "payment_intent", "metadata": {"app": "orderkeep"}}
        self.quarantined(
            tell("payment_intent.succeeded", about), "it names a payment that is not here"
        )

    def test_not_of_somebody_elses_on_the_same_account(self, shop):
        about = {"id": "pi_theirs", "object": "payment_intent", "metadata": {"app": "blog"}}
        assert tell("payment_intent.succeeded", about).status == "ignored"

    def test_not_of_types_nobody_asked_for(self, waiting, provider):
        about = intent_of(waiting, provider)
        assert tell("payment_intent.created", about, livemode=True).status == "ignored"


class TestRefundsMadeAtTheProvider:
    def refund(self, provider, order, **params):
        return provider.refund(order.payments.get().payment_intent_id, **params)

    def test_of_a_part_stand_in_the_books(self, paid, provider):
        made = self.refund(provider, paid, amount=100)

        assert tell("refund.created", made).status == "processed"

        refund = Refund.objects.get()
        assert (refund.status, refund.stripe_refund_id) == ("succeeded", made["id"])
        assert refund.reason == "made at the provider"
        paid.refresh_from_db()
        assert (paid.status, paid.payment_status) == ("confirmed", "partially_refunded")

    def test_of_the_whole_cancel_an_order_that_is_not_shipped(self, paid, provider, product):
        made = self.refund(provider, paid)
        tell("refund.created", made)
        paid.refresh_from_db()
        assert (paid.status, paid.payment_status) == ("cancelled", "refunded")
        assert product.stock_levels.get().allocated == 0

    def test_are_taken_once_whatever_tells_of_them(self, paid, provider):
        made = self.refund(provider, paid, amount=100)
        for _ in range(2):
            tell("refund.created", made)
            tell("refund.updated", made)
            tell("charge.refunded", provider.charge(made["charge"]))
        assert Refund.objects.count() == 1
        assert OutboxMessage.objects.filter(fact="order.refunded").count() == 1

    def test_stand_in_for_one_of_ours_that_the_provider_refuses(self, paid, provider):
        provider.fail("drop", path="/v1/refunds", method="POST")
        ours = decide_refund(order_id=paid.pk, wish=RefundWish(reason="broken"))
        finish_refund(refund_id=ours.pk, deadline=Deadline(5))
        made = self.refund(provider, paid)  # impatient staff at the provider's own site
        assert finish_refund(refund_id=ours.pk, deadline=Deadline(5))

        tell("refund.created", made)

        ours.refresh_from_db()
        assert (ours.status, ours.stripe_refund_id) == ("succeeded", made["id"])
        assert Refund.objects.count() == 1


class TestARefundOfAPaymentThatIsNotSettledYet:
    def test_waits_until_it_is(self, shopper, product, provider):
        """Staff gave the money back at the provider while we were still in doubt."""
        provider.fail("answer_lost", path=CONFIRM)
        provider.fail("drop", path=RETRIEVE, method="GET")
        order = order_of(shopper.order((product.sku, 1)))
        made = provider.refund(order.payments.get().payment_intent_id)

        kept = tell("refund.created", made)
        assert (kept.status, kept.last_error) == ("received", "the payment is not settled here yet")
        recovery.sweep(ignore_backoff=True)

        kept.refresh_from_db()
        order.refresh_from_db()
        assert kept.status == "processed"
        assert (order.status, order.payment_status) == ("cancelled", "refunded")
        assert product.stock_levels.get().allocated == 0


class TestAnEventThatNeverEnds:
    def test_comes_before_a_person_after_so_many_refusals(self, paid, provider):
        unknown = {"object": "dispute", "id": "dp_unheard", "payment_intent": intent_id(paid)}
        kept = tell("charge.dispute.created", unknown)
        assert (kept.status, kept.last_error) == ("received", "resource_missing")

        ProviderEvent.objects.update(attempts=events.MOST_TRIES - 1)
        process()

        kept.refresh_from_db()
        assert (kept.status, kept.last_error) == ("quarantined", "given up: resource_missing")
        assert AuditLog.objects.filter(event_type="WEBHOOK_QUARANTINED").count() == 1

    def test_comes_before_a_person_after_a_day_without_an_answer(self, waiting, provider):
        provider.fail("drop", path=RETRIEVE, method="GET", times=None)
        kept = tell("payment_intent.succeeded", intent_of(waiting, provider, bare=True))
        assert kept.status == "received"
        ProviderEvent.objects.update(attempts=1_000)
        process()
        kept.refresh_from_db()
        assert kept.status == "received"  # an hour's outage is no reason

        ProviderEvent.objects.update(
            attempts=1_000, received_at=timezone.now() - events.LONGEST_WAIT
        )
        process()

        kept.refresh_from_db()
        assert kept.status == "quarantined"

    def test_is_worked_off_again_when_a_person_says_so(self, paid, provider):
        kept = tell("payment_intent.succeeded", intent_of(paid, provider), livemode=True)
        assert kept.status == "quarantined"

        assert webhooks.work_off_again(event_ids=[kept.pk]) == 1

        kept.refresh_from_db()
        assert (kept.status, kept.attempts, kept.last_error) == ("received", 0, "")


class TestAProviderThatIsAway:
    def test_is_not_asked_about_event_after_event(self, waiting, provider):
        about = intent_of(waiting, provider)
        for _ in range(8):
            send(event("payment_intent.succeeded", about))
        provider.fail("drop", path=RETRIEVE, method="GET", times=None)
        provider.clear_journal()

        process()

        asked = provider.journal(path=f"/v1/payment_intents/{about['id']}")
        assert len(asked) == FAILURES_TO_OPEN
        waiting_still = ProviderEvent.objects.filter(status="received", attempts=0)
        assert waiting_still.count() == 8 - FAILURES_TO_OPEN
        assert waiting_still.filter(next_attempt_at__lte=timezone.now()).count() == (
            8 - FAILURES_TO_OPEN
        )
