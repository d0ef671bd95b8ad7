"""Disputes: kept as the provider tells them, shown on the order, and booked to the cent."""

from __future__ import annotations

import dataclasses
import threading
from datetime import timedelta
from decimal import ROUND_HALF_UP, Decimal

import pytest
from django.db import connection, transaction
from django.utils import timezone

from audit.models import AuditLog, OutboxMessage
from config.kernel.clock import Deadline
from orders import tasks
from orders.books import check_invariants, reconciliation
from orders.models import Order
from orders.services import events, recovery, settlement
from orders.services.disputes import keep_dispute, remind_of_evidence, sync_dispute
from orders.services.refunds import RefundWish, decide_refund, finish_refund
from payments import bookkeeping, gateway
from payments.errors import ProviderUnavailableError
from payments.gateway import Refused, Unknown
from payments.models import Dispute, LedgerEntry, ReconciliationCase
from payments.services import Told
from tests import factories
from tests.orders.mismatches import intent_form, tamper
from tests.shop import order_of
from tests.webhooks import SECRET, event, send

pytestmark = pytest.mark.django_db


@pytest.fixture
def paid(shop, provider, shopper):
    provider.reset()
    product = factories.ProductFactory(on_hand=50)
    return order_of(shopper.order((product.sku, 1)))


@pytest.fixture
def dispute(paid, provider):
    return provider.dispute(paid.payments.get().payment_intent_id)


def sync(dispute):
    return sync_dispute(dispute_id=dispute["id"], deadline=Deadline(5))


def balance():
    legs = LedgerEntry.objects.filter(account="stripe_balance").values_list("amount", flat=True)
    return sum(legs, start=Decimal(0))


def at_provider(provider):
    return Decimal(provider.balance().get("usd", 0)) / 100


class TestTheWorld:
    """Whoever talks to customers hears how a dispute ended, once."""

    def test_hears_that_a_dispute_is_closed(self, paid, dispute, provider):
        sync(dispute)
        assert not OutboxMessage.objects.filter(fact="order.dispute_closed").exists()
        provider.decide_dispute(dispute["id"], "win")

        sync(dispute)
        sync(dispute)

        [fact] = OutboxMessage.objects.filter(fact="order.dispute_closed")
        assert fact.aggregate_id == paid.pk
        assert (fact.payload["dispute"], fact.payload["status"]) == (dispute["id"], "won")

    def test_hears_both_of_one_that_was_closed_when_it_came_to_be_known(self, dispute, provider):
        provider.decide_dispute(dispute["id"], "lose")

        sync(dispute)

        facts = OutboxMessage.objects.filter(fact__startswith="order.dispute").order_by("pk")
        assert list(facts.values_list("fact", flat=True)) == [
            "order.disputed",
            "order.dispute_closed",
        ]


class TestADispute:
    def test_is_kept_and_shown(self, paid, dispute):
        assert sync(dispute) is None

        kept = Dispute.objects.get()
        assert (kept.stripe_dispute_id, kept.status) == (dispute["id"], "needs_response")
        assert (kept.amount, kept.currency) == (paid.total_amount, "USD")
        assert kept.evidence_due_at > kept.opened_at
        paid.refresh_from_db()
        assert (paid.status, paid.payment_status) == ("confirmed", "disputed")

    def test_is_told_once_however_often_it_is_heard(self, dispute):
        for _ in range(3):
            sync(dispute)
        assert Dispute.objects.count() == 1
        assert OutboxMessage.objects.filter(fact="order.disputed").count() == 1
        assert AuditLog.objects.filter(event_type="DISPUTE_OPENED").count() == 1
        assert not OutboxMessage.objects.filter(fact="order.dispute_closed").exists()

    @pytest.mark.parametrize(
        ("outcome", "status", "shown"), [("win", "won", "succeeded"), ("lose", "lost", "disputed")]
    )
    def test_ends_as_the_bank_decides(self, paid, dispute, provider, outcome, status, shown):
        sync(dispute)
        provider.decide_dispute(dispute["id"], outcome)
        sync(dispute)
        paid.refresh_from_db()
        assert (Dispute.objects.get().status, paid.payment_status) == (status, shown)
        assert AuditLog.objects.filter(event_type="DISPUTE_MOVED").count() == 1
        closed = OutboxMessage.objects.get(fact="order.dispute_closed")
        assert (closed.aggregate_id, closed.payload["status"]) == (paid.pk, status)

    def test_of_a_refunded_part_shows_it_again_when_it_is_won(self, paid, provider):
        wish = RefundWish(reason="x", amount=Decimal("1.00"))
        refund = decide_refund(order_id=paid.pk, wish=wish)
        finish_refund(refund_id=refund.pk, deadline=Deadline(5))
        dispute = provider.dispute(paid.payments.get().payment_intent_id, amount=100)
        sync(dispute)
        provider.decide_dispute(dispute["id"], "win")
        sync(dispute)
        paid.refresh_from_db()
        assert paid.payment_status == "partially_refunded"

    def test_that_only_asks_moves_nothing(self, paid, provider):
        sync(provider.dispute(paid.payments.get().payment_intent_id, inquiry=True))
        paid.refresh_from_db()
        assert paid.payment_status == "succeeded"
        assert Dispute.objects.get().status == "warning_needs_response"

    def test_of_nobody_of_ours_is_left_alone(self, provider, paid):
        params = {**paid.payments.get().create_params, "metadata": {"app": "blog"}}
        stranger = provider.dispute(provider.charge_anew(params)["id"])
        assert sync(stranger) is None
        assert not Dispute.objects.exists()

    def test_the_provider_does_not_tell_of_is_for_later(self, dispute, provider):
        provider.fail("drop", path="/v1/disputes/*", method="GET")
        assert isinstance(sync(dispute), Unknown)
        assert isinstance(sync({"id": "dp_none"}), Refused)
        assert not Dispute.objects.exists()

    def test_is_heard_of_by_webhook(self, paid, dispute, settings):
        settings.STRIPE_WEBHOOK_SECRETS = [SECRET]
        send(event("charge.dispute.created", dispute))
        assert events.process_due(deadline=Deadline(60)) == 1
        assert Dispute.objects.count() == 1


class TestTheBooks:
    def test_equal_the_providers_balance_to_the_cent(self, paid, provider, shopper):
        other = order_of(shopper.order((paid.items.get().product_sku, 2)))
        refund = decide_refund(
            order_id=other.pk, wish=RefundWish(reason="x", amount=Decimal("1.00"))
        )
        finish_refund(refund_id=refund.pk, deadline=Deadline(5))
        won = provider.dispute(paid.payments.get().payment_intent_id)
        provider.decide_dispute(won["id"], "win")
        third = order_of(shopper.order((paid.items.get().product_sku, 1)))
        sync(provider.dispute(third.payments.get().payment_intent_id, amount=150))

        report = bookkeeping.book_balance_transactions()

        assert balance() == at_provider(provider)
        # Three charges with a fee each, the refund without, two disputes with one, one reversal.
        assert (report.seen, report.booked, report.foreign) == (7, 6, 0)
        fees = LedgerEntry.objects.filter(kind="fee", account="provider_fees")
        assert fees.count() == 5
        assert LedgerEntry.objects.filter(kind="dispute").count() == 4
        assert LedgerEntry.objects.filter(kind="dispute_reversal").count() == 2

    @pytest.mark.parametrize(("outcome", "kept"), [("win", True), ("lose", False)])
    def test_follow_the_banks_decision_fees_included(self, paid, dispute, provider, outcome, kept):
        sync(dispute)
        bookkeeping.book_balance_transactions()
        provider.decide_dispute(dispute["id"], outcome)
        sync(dispute)
        bookkeeping.book_balance_transactions()

        def on(account):
            legs = LedgerEntry.objects.filter(account=account).values_list("amount", flat=True)
            return sum(legs, start=Decimal(0))

        assert balance() == at_provider(provider)
        assert on("disputed_receipts") == (0 if kept else paid.total_amount)
        assert on("customer_receipts") == -paid.total_amount
        # The charge's fee and the dispute's, which no victory brings back.
        dispute_fee = Decimal("15.00")
        charge_fee = (paid.total_amount * Decimal("0.029") + Decimal("0.30")).quantize(
            Decimal("0.01"), rounding=ROUND_HALF_UP
        )
        assert on("provider_fees") == charge_fee + dispute_fee
        with connection.cursor() as cursor:
            found = check_invariants(cursor)
        assert [each.name for each in found if each.violations] == []

    def test_book_each_movement_once(self, paid, dispute, provider):
        for _ in range(3):
            bookkeeping.book_balance_transactions()
        assert balance() == at_provider(provider)
        assert LedgerEntry.objects.filter(kind="fee").count() == 4

    def test_go_on_where_a_killed_run_stood(self, paid, dispute, provider, monkeypatch):
        really, booked = bookkeeping._book, []

        def dies(payment, told):
            if booked:
                raise KeyboardInterrupt
            booked.append(told)
            return really(payment, told)

        monkeypatch.setattr(bookkeeping, "_book", dies)
        with pytest.raises(KeyboardInterrupt):
            bookkeeping.book_balance_transactions()
        monkeypatch.setattr(bookkeeping, "_book", really)
        bookkeeping.book_balance_transactions()
        assert balance() == at_provider(provider)

    def test_bear_the_providers_day(self, paid):
        bookkeeping.book_balance_transactions()
        fee = LedgerEntry.objects.filter(kind="fee").first()
        assert fee.created_at.microsecond == 0  # the provider counts in seconds
        assert fee.payment.order == paid

    def test_leave_the_money_of_others_alone(self, paid, provider):
        params = {**paid.payments.get().create_params, "metadata": {"app": "blog"}}
        provider.charge_anew(params)
        report = bookkeeping.book_balance_transactions()
        assert (report.booked, report.foreign) == (1, 1)

    def test_put_another_currency_before_a_person(self, paid, provider, monkeypatch):
        provider.fail(
            "altered",
            path="/v1/balance_transactions",
            method="GET",
            fields={"data": [{**provider.transactions()[0], "currency": "eur"}]},
        )
        bookkeeping.book_balance_transactions()
        assert not LedgerEntry.objects.filter(kind="fee").exists()
        assert ReconciliationCase.objects.get().problem == "settled in EUR, the payment is in USD"


class TestADisputeBeforeTheSettlement:
    """C2's answer is lost; the dispute's webhook is faster than the sweeper."""

    @pytest.fixture
    def doubtful(self, shop, provider, shopper):
        provider.reset()
        product = factories.ProductFactory(on_hand=50)
        provider.fail("answer_lost", path="/v1/payment_intents/*/confirm")
        provider.fail("drop", path="/v1/payment_intents/*", method="GET")
        answer = shopper.order((product.sku, 1))
        assert answer.status_code == 202
        return order_of(answer)

    def test_is_not_forgotten_when_the_order_is_confirmed(self, doubtful, provider):
        sync(provider.dispute(doubtful.payments.get().payment_intent_id))

        recovery.sweep(ignore_backoff=True)

        doubtful.refresh_from_db()
        assert (doubtful.status, doubtful.payment_status) == ("confirmed", "disputed")

    @pytest.fixture
    def dead(self, doubtful, provider):
        """Cancelled here on a word of the provider's that was not true."""
        payment = doubtful.payments.get()
        told = gateway.retrieve_intent(intent_id=payment.payment_intent_id, deadline=Deadline(5))
        untrue = dataclasses.replace(told, status="canceled")
        settlement.settle(order_id=doubtful.pk, told=Told(intent=untrue))
        return doubtful

    def test_of_a_dead_order_is_not_paid_twice(self, dead, provider):
        payment = dead.payments.get()
        sync(provider.dispute(payment.payment_intent_id))

        settlement.settle_afresh(payment=payment, deadline=Deadline(5))

        dead.refresh_from_db()
        assert (dead.status, dead.payment_status) == ("cancelled", "disputed")
        assert not payment.refunds.exists()

    def test_of_a_dead_order_is_given_back_once_it_is_won(self, dead, provider):
        payment = dead.payments.get()
        dispute = provider.dispute(payment.payment_intent_id)
        sync(dispute)
        settlement.settle_afresh(payment=payment, deadline=Deadline(5))

        provider.decide_dispute(dispute["id"], "win")
        sync(dispute)
        sync(dispute)

        assert payment.refunds.get().amount == payment.amount


class TestAnOlderAccountOfADispute:
    def test_does_not_open_it_again(self, paid, dispute, provider):
        older = gateway.retrieve_dispute(dispute_id=dispute["id"], deadline=Deadline(5))
        provider.decide_dispute(dispute["id"], "win")
        sync(dispute)

        assert not keep_dispute(older)

        paid.refresh_from_db()
        assert (Dispute.objects.get().status, paid.payment_status) == ("won", "succeeded")


class TestADisputeThatChanges:
    def test_in_its_amount_alone_is_followed(self, paid, dispute):
        told = gateway.retrieve_dispute(dispute_id=dispute["id"], deadline=Deadline(5))
        keep_dispute(told)
        less = dataclasses.replace(told, amount_minor=told.amount_minor - 1)

        assert keep_dispute(less)
        assert not keep_dispute(less)

        assert Dispute.objects.get().amount == paid.total_amount - Decimal("0.01")


class TestCancellingADisputedOrder:
    def test_is_refused_until_it_is_cancelled_and_then_repeats(self, paid, dispute, shopper):
        sync(dispute)
        assert shopper.post(f"/orders/{paid.order_number}/cancel").status_code == 409

        tamper(paid, status="cancelled")

        again = shopper.post(f"/orders/{paid.order_number}/cancel")
        assert (again.status_code, again.json()["payment_status"]) == (200, "disputed")


class TestStaff:
    def test_is_told_of_a_new_one_and_of_one_that_is_lost(self, paid, dispute, provider, caplog):
        sync(dispute)
        assert "payment_disputed" in caplog.text
        caplog.clear()
        provider.decide_dispute(dispute["id"], "lose")
        sync(dispute)
        assert "dispute_lost" in caplog.text
        assert paid.order_number in caplog.text

    def due(self, dispute):
        return Dispute.objects.get(stripe_dispute_id=dispute["id"]).evidence_due_at

    def remind(self, dispute, *, before):
        return remind_of_evidence(now=self.due(dispute) - before)

    def test_is_reminded_three_days_before_evidence_is_due(self, paid, dispute):
        sync(dispute)

        assert self.remind(dispute, before=timedelta(days=3, seconds=1)) == 0
        assert not OutboxMessage.objects.filter(fact="order.dispute_due").exists()
        assert self.remind(dispute, before=timedelta(days=3)) == 1

        due_at = self.due(dispute).isoformat(timespec="seconds")
        told = AuditLog.objects.get(event_type="DISPUTE_EVIDENCE_DUE")
        assert (told.entity_id, told.data["evidence_due_at"]) == (paid.pk, due_at)
        fact = OutboxMessage.objects.get(fact="order.dispute_due")
        assert fact.payload == {"order_id": paid.pk, **told.data}

    def test_is_reminded_once_and_again_when_the_date_moves(self, dispute, caplog):
        sync(dispute)
        assert self.remind(dispute, before=timedelta(days=1)) == 1
        assert self.remind(dispute, before=timedelta(hours=1)) == 0
        assert caplog.text.count("dispute_evidence_due") == 1

        told = gateway.retrieve_dispute(dispute_id=dispute["id"], deadline=Deadline(5))
        keep_dispute(
            dataclasses.replace(told, evidence_due_at=told.evidence_due_at + timedelta(days=9))
        )

        assert self.remind(dispute, before=timedelta(days=4)) == 0
        assert self.remind(dispute, before=timedelta(days=1)) == 1

    def test_is_reminded_late_rather_than_never(self, dispute):
        """The shop was down while it became due."""
        sync(dispute)
        assert self.remind(dispute, before=timedelta(days=-1)) == 1

    @pytest.mark.parametrize("status", ["under_review", "won", "lost", "warning_closed"])
    def test_is_not_reminded_of_what_is_answered(self, dispute, status):
        sync(dispute)
        Dispute.objects.update(status=status)
        assert self.remind(dispute, before=timedelta(days=1)) == 0

    def test_is_reminded_of_a_banks_question(self, paid, provider):
        inquiry = provider.dispute(paid.payments.get().payment_intent_id, inquiry=True)
        sync(inquiry)
        assert self.remind(inquiry, before=timedelta(days=1)) == 1

    @pytest.mark.django_db(transaction=True)
    def test_is_reminded_by_the_nightly_comparison(self, dispute):
        sync(dispute)
        Dispute.objects.update(evidence_due_at=timezone.now() + timedelta(days=2))

        for _ in range(2):
            reconciliation.reconcile(repair=True, on_progress=lambda *_: None)

        assert OutboxMessage.objects.filter(fact="order.dispute_due").count() == 1

    @pytest.mark.django_db(transaction=True)
    def test_is_not_reminded_by_a_mere_look(self, dispute):
        sync(dispute)
        Dispute.objects.update(evidence_due_at=timezone.now())

        reconciliation.reconcile(repair=False, on_progress=lambda *_: None)

        assert not AuditLog.objects.filter(event_type="DISPUTE_EVIDENCE_DUE").exists()


@pytest.mark.django_db(transaction=True)
class TestAReminderThatCannotBeGivenNow:
    """Somebody holds the order's lock for longer than anybody waits for it."""

    @pytest.fixture
    def due(self, paid, dispute, provider, shopper):
        """The locked one's is due first."""
        other = order_of(shopper.order((paid.items.get().product_sku, 1)))
        sync(dispute)
        sync(provider.dispute(other.payments.get().payment_intent_id))
        soon = timezone.now() + timedelta(days=2)
        Dispute.objects.update(evidence_due_at=soon)
        Dispute.objects.filter(stripe_dispute_id=dispute["id"]).update(
            evidence_due_at=soon - timedelta(days=1)
        )
        return paid, other

    @pytest.fixture
    def locked(self, due):
        is_held, may_end = threading.Event(), threading.Event()

        def hold():
            with transaction.atomic():
                Order.objects.select_for_update().get(pk=due[0].pk)
                is_held.set()
                may_end.wait(60)
            connection.close()

        holder = threading.Thread(target=hold)
        holder.start()
        assert is_held.wait(10)

        def release():
            may_end.set()
            holder.join(10)

        yield release
        release()

    def told(self):
        rows = AuditLog.objects.filter(event_type="DISPUTE_EVIDENCE_DUE").order_by("id")
        return list(rows.values_list("entity_id", flat=True))

    def test_keeps_back_none_of_the_others_and_is_given_later(self, due, locked):
        assert remind_of_evidence(now=timezone.now()) == 1
        assert self.told() == [due[1].pk]
        locked()

        assert remind_of_evidence(now=timezone.now()) == 1

        assert self.told() == [due[1].pk, due[0].pk]

    def test_does_not_stop_the_night(self, due, locked, provider, stripe):
        orphan = stripe("/v1/payment_intents", **intent_form())

        tasks.reconcile_payments()

        assert provider.intent(orphan["id"])["status"] == "canceled"
        assert self.told() == [due[1].pk]

    def test_is_given_by_a_night_that_could_not_compare(self, due, provider):
        provider.fail("drop", path="/v1/refunds", method="GET", times=None)

        with pytest.raises(ProviderUnavailableError):
            tasks.reconcile_payments()

        assert self.told() == [due[0].pk, due[1].pk]


class TestARefundThatTheBankHasOvertaken:
    """The order is cancelled; before its refund is sent the customer's bank takes the money."""

    @pytest.fixture
    def overtaken(self, paid, provider):
        refund = decide_refund(order_id=paid.pk, wish=RefundWish(reason="broken"))
        dispute = provider.dispute(paid.payments.get().payment_intent_id)
        sync(dispute)
        recovery.sweep(ignore_backoff=True)
        return paid, refund, dispute

    def test_waits_while_the_dispute_is_open(self, overtaken):
        _, refund, _ = overtaken

        refund.refresh_from_db()
        assert refund.status == "due"
        assert refund.last_error == "refused: charge_disputed"

    def test_is_given_up_once_it_is_lost(self, overtaken, provider):
        order, refund, dispute = overtaken
        sync(provider.decide_dispute(dispute["id"], "lose"))

        recovery.sweep(ignore_backoff=True)

        refund.refresh_from_db()
        assert (refund.status, refund.stripe_refund_id) == ("failed", None)
        assert refund.last_error == "a lost dispute took it back"
        order.refresh_from_db()
        assert (order.status, order.payment_status) == ("cancelled", "disputed")
        assert AuditLog.objects.filter(event_type="REFUND_FAILED").count() == 1
        assert recovery.sweep(ignore_backoff=True).refunds_seen == 0

    def test_of_which_it_took_a_part_is_a_persons(self, paid, provider):
        refund = decide_refund(order_id=paid.pk, wish=RefundWish(reason="broken"))
        dispute = provider.dispute(paid.payments.get().payment_intent_id, amount=100)
        sync(dispute)
        sync(provider.decide_dispute(dispute["id"], "lose"))

        recovery.sweep(ignore_backoff=True)
        recovery.sweep(ignore_backoff=True)

        refund.refresh_from_db()
        assert refund.status == "due"
        case = ReconciliationCase.objects.get()
        assert case.subject == str(refund.uuid)
        assert "refuses the rest" in case.problem

    def test_is_not_given_up_for_another_refusal(self, overtaken, provider, monkeypatch):
        _, refund, dispute = overtaken
        sync(provider.decide_dispute(dispute["id"], "lose"))
        refused = Refused(code="AuthenticationError")
        monkeypatch.setattr(gateway, "create_refund", lambda **_: refused)

        recovery.sweep(ignore_backoff=True)

        refund.refresh_from_db()
        assert refund.status == "due"

    def test_is_sent_once_it_is_won(self, overtaken, provider):
        order, refund, dispute = overtaken
        sync(provider.decide_dispute(dispute["id"], "win"))

        recovery.sweep(ignore_backoff=True)  # hears the stored refusal once more
        recovery.sweep(ignore_backoff=True)

        refund.refresh_from_db()
        assert refund.status == "succeeded"
        order.refresh_from_db()
        assert (order.status, order.payment_status) == ("cancelled", "refunded")
