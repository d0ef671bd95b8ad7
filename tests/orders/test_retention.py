"""What is kept no longer goes; what is unfinished stays, and the books hold afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta

import pgtrigger
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from audit import outbox
from audit.models import AuditLog, Delivery, OutboxMessage
from config.kernel.clock import Deadline
from customers.models import Session
from orders import books, tasks
from orders.models import (
    BackgroundJob,
    Cart,
    CartItem,
    IdempotencyKey,
    Invoice,
    Letter,
    Order,
    PaymentLink,
)
from orders.services import events, letters, retention
from payments.models import Dispute, LedgerEntry, Payment, ProviderEvent, Refund
from tests import factories
from tests.admin.plans import read_without_an_index
from tests.concurrency.test_races import at_once
from tests.orders.busy_shop import open_busy_shop
from tests.shop import Shopper, access_token, order_of, payment_link

pytestmark = pytest.mark.django_db

BY_AGE = {
    "IDEMPOTENCY_KEY_DAYS": 30,
    "OUTBOX_DAYS": 90,
    "PROVIDER_EVENT_DAYS": 90,
    "LETTER_DAYS": 730,
    "WEBHOOK_LOG_DAYS": 30,
    "AUDIT_LOG_DAYS": 400,
}
A_MOMENT = timedelta(minutes=1)


def in_days(days):
    """So many days from now, less a moment: what was made now is not quite as old."""
    return timezone.now() + timedelta(days=days) - A_MOMENT


def prune(table, *, days, **more):
    """How many rows of a table went, when everything is so many days old."""
    return retention.prune(now=in_days(days) + 2 * A_MOMENT, tables=[table], **more)[table]


def violated():
    with connection.cursor() as cursor:
        return [one.name for one in books.check_invariants(cursor) if one.violations]


@pytest.fixture
def apple(shop):
    return factories.ProductFactory(sku="APPLE")


@pytest.fixture
def paid(shopper, apple):
    order = order_of(shopper.order(("APPLE", 1), key="mine"))
    outbox.relay()
    return order


@pytest.fixture
def no_time(settings):
    """Everything has had its time as soon as it is there."""
    for name in BY_AGE:
        setattr(settings, name, 0)


def test_the_periods_are_these():
    assert {policy.setting for policy in retention.POLICIES if policy.setting} == set(BY_AGE)
    assert {name: getattr(settings, name) for name in BY_AGE} == BY_AGE


@pytest.mark.parametrize(
    ("name", "days"),
    [("IDEMPOTENCY_KEY_DAYS", 29), ("OUTBOX_DAYS", 35), ("PROVIDER_EVENT_DAYS", 31)],
)
def test_no_period_is_shorter_than_what_others_build_on(name, days):
    """The contract's thirty days, the books' thirty-five, the provider's own thirty."""
    ended = subprocess.run(
        [sys.executable, "-c", "import config.settings.base"],
        cwd=settings.BASE_DIR,
        env={**os.environ, name: str(days)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 1
    assert f"{name}: must be a whole number from {days + 1} to" in ended.stderr


@pytest.mark.parametrize("name", ["idempotency_keys", "outbox_messages", "letters"])
def test_what_is_too_young_stays(paid, name):
    policy = next(policy for policy in retention.POLICIES if policy.table == name)
    days = BY_AGE[policy.setting]

    assert retention.prune(now=in_days(days), tables=[name]) == {name: 0}
    assert retention.count(now=in_days(days), tables=[name]) == {name: 0}

    assert retention.count(now=in_days(days) + 2 * A_MOMENT, tables=[name])[name] > 0
    assert prune(name, days=days) > 0


class TestKeys:
    def test_of_decided_orders_go_and_leave_the_order_as_it_was(self, paid):
        before = Order.objects.values().get(pk=paid.pk)

        assert prune("idempotency_keys", days=30) == 1

        after = Order.objects.values().get(pk=paid.pk)
        assert not IdempotencyKey.objects.exists()
        assert after.pop("idempotency_key_id") is None
        del before["idempotency_key_id"]
        assert after == before  # updated_at as well

    def test_mean_another_order_from_then_on(self, shopper, paid):
        again = shopper.order(("APPLE", 1), key="mine")
        assert (again["Idempotent-Replayed"], order_of(again)) == ("true", paid)
        prune("idempotency_keys", days=30)

        other = shopper.order(("APPLE", 1), key="mine")

        assert other.status_code == 201
        assert "Idempotent-Replayed" not in other
        assert order_of(other) != paid

    def test_that_are_open_or_of_a_pending_order_stay(self, shopper, apple):
        waiting = shopper.order(("APPLE", 1), payment_method_id="pm_card_threeDSecure2Required")
        debit = shopper.order(("APPLE", 1), payment_method_id="pm_usBankAccount_success")
        assert (waiting.status_code, debit.status_code) == (402, 202)
        Order.objects.filter(pk=order_of(debit).pk).update(hold_expires_at=timezone.now())

        assert prune("idempotency_keys", days=3_000) == 0

        assert IdempotencyKey.objects.count() == 2

    def test_that_nobody_has_answered_yet_stay_whatever_the_order(self, paid):
        with pgtrigger.ignore():  # as between a settlement and what it says
            IdempotencyKey.objects.update(response_status=None, response_body="", answered_at=None)

        assert prune("idempotency_keys", days=3_000) == 0

    def test_can_still_be_read_from_without_them(self, shopper, paid):
        prune("idempotency_keys", days=30)

        assert shopper.get(f"/orders/{paid.order_number}").status_code == 200
        cancelled = shopper.post(f"/orders/{paid.order_number}/cancel")
        assert cancelled.status_code == 200
        assert violated() == []


class TestFacts:
    def test_go_with_their_deliveries_once_everybody_was_told(self, paid):
        assert Delivery.objects.exists()

        prune("outbox_messages", days=90)

        assert not OutboxMessage.objects.exists()
        assert not Delivery.objects.exists()

    @pytest.mark.parametrize("status", ["pending", "dead"])
    def test_that_somebody_was_not_told_of_stay_whole(self, paid, status):
        untold = OutboxMessage.objects.get(fact="order.confirmed")
        Delivery.objects.filter(message=untold, subscriber="email").update(
            status=status, delivered_at=None
        )
        deliveries = Delivery.objects.filter(message=untold).count()

        prune("outbox_messages", days=3_000)

        assert OutboxMessage.objects.get() == untold
        assert Delivery.objects.count() == deliveries > 1

    def test_that_are_not_fanned_out_stay(self, shopper, apple):
        shopper.order(("APPLE", 1))

        assert prune("outbox_messages", days=3_000) == 0
        assert OutboxMessage.objects.exists()

    def test_that_nobody_wants_go(self, db):
        OutboxMessage.objects.create(
            fact="nobody.cares",
            aggregate_type="x",
            aggregate_id=1,
            dedupe_key="x",
            payload={},
            fanned_out_at=timezone.now(),
        )

        assert prune("outbox_messages", days=90) == 1

    def test_that_are_gone_are_not_missed_by_the_books_but_younger_ones_are(self, shopper, paid):
        prune("outbox_messages", days=90)
        assert violated() == []

        with pgtrigger.ignore():
            AuditLog.objects.filter(event_type="PRUNING_BEGAN").delete()

        assert violated() == ["transitions_are_announced_once"]

    def test_of_refunds_are_not_missed_either(self, shopper, paid):
        shopper.post(f"/orders/{paid.order_number}/cancel")
        outbox.relay()
        assert Refund.objects.get().status == "succeeded"

        prune("outbox_messages", days=90)
        assert violated() == []

        with pgtrigger.ignore():
            AuditLog.objects.filter(event_type="PRUNING_BEGAN").delete()
        assert violated() == ["transitions_are_announced_once", "refunds_are_announced_once"]


class TestWebhooks:
    def event(self, status, n=1):
        return ProviderEvent.objects.create(
            stripe_event_id=f"evt_{status}_{n}",
            event_type="payment_intent.succeeded",
            payload={},
            status=status,
            processed_at=None if status == "received" else timezone.now(),
        )

    def test_that_are_done_go_and_all_others_stay(self, db):
        for status in ProviderEvent.Status.values:
            self.event(status)
        assert prune("provider_events", days=89) == 0

        assert prune("provider_events", days=90) == 2

        assert set(ProviderEvent.objects.values_list("status", flat=True)) == {
            "received",
            "quarantined",
        }

    def test_that_are_fetched_once_more_change_nothing(self, orders, no_time):
        def state():
            return (
                list(Order.objects.order_by("pk").values("pk", "status", "payment_status")),
                list(Payment.objects.order_by("pk").values("pk", "status", "amount_refunded")),
                list(Refund.objects.order_by("pk").values("pk", "status", "amount")),
                LedgerEntry.objects.count(),
            )

        since = timezone.now() - timedelta(hours=1)
        fetched = events.backfill(since=since)
        events.process_due(deadline=Deadline(60), ignore_backoff=True)
        before = state()
        done = ProviderEvent.objects.filter(status__in=["processed", "ignored"]).count()
        assert fetched >= done > 0
        assert prune("provider_events", days=0) == done

        assert events.backfill(since=since) == done
        events.process_due(deadline=Deadline(60), ignore_backoff=True)

        assert state() == before
        assert ProviderEvent.objects.filter(status__in=["processed", "ignored"]).count() == done


class TestLetters:
    def test_are_blanked_and_stay_as_sent(self, paid):
        letter = Letter.objects.get()

        assert prune("letters", days=730) == 1
        assert prune("letters", days=730) == 0

        blank = Letter.objects.get()
        assert (blank.recipient, blank.body_text, blank.body_html) == ("", "", "")
        assert (blank.subject, blank.sent_at) == (letter.subject, letter.sent_at)

    def test_are_not_sent_again_without_words(self, paid):
        letter = Letter.objects.get()
        prune("letters", days=730)

        with pytest.raises(letters.InvalidTransitionError, match="its time was over"):
            letters.resend_letter(letter_id=letter.pk, request_key="k")

    def test_are_not_sent_a_second_time_for_being_blank(self, paid):
        prune("letters", days=730)
        Delivery.objects.filter(subscriber="email").update(
            status="pending", delivered_at=None, next_attempt_at=timezone.now()
        )

        outbox.relay()

        assert Letter.objects.count() == 1


class TestADispute:
    @pytest.fixture
    def tables(self, paid):
        """Each with a row about the payment that is disputed."""
        payment = paid.payments.get()
        ProviderEvent.objects.create(
            stripe_event_id="evt_paid",
            event_type="payment_intent.succeeded",
            payment_intent_id=payment.payment_intent_id,
            payload={},
            status="processed",
            processed_at=timezone.now(),
        )
        Dispute.objects.create(
            payment=payment,
            stripe_dispute_id="dp_1",
            status="needs_response",
            reason="fraudulent",
            currency="USD",
            amount=1,
            opened_at=timezone.now(),
        )
        return ["idempotency_keys", "provider_events", "letters"]

    def test_keeps_what_may_be_asked_for(self, tables):
        now = in_days(3_000)

        assert retention.count(now=now, tables=tables) == dict.fromkeys(tables, 0)
        assert retention.prune(now=now, tables=tables) == dict.fromkeys(tables, 0)

    @pytest.mark.parametrize("status", Dispute.CLOSED)
    def test_that_is_decided_keeps_nothing(self, tables, status):
        Dispute.objects.update(status=status)

        assert retention.prune(now=in_days(3_000), tables=tables) == dict.fromkeys(tables, 1)


class TestWhatHasAnEndOfItsOwn:
    """Their own tests say which: here is seen that they are called."""

    def test_carts_links_sessions_and_jobs(self, shopper, apple):
        long_ago = timezone.now() - timedelta(days=60)
        shopper.post("/carts")
        link = payment_link()
        access_token(shopper.customer)
        BackgroundJob.objects.create(
            kind="export",
            subject="orders",
            owner=shopper.customer,
            request_key="k",
            status="queued",
            expires_at=long_ago,
        )
        BackgroundJob.objects.update(status="cancelled", finished_at=long_ago)
        Cart.objects.update(expires_at=long_ago)
        PaymentLink.objects.filter(pk=link.pk).update(expires_at=long_ago)
        Session.objects.update(expire_date=long_ago)
        expected = {"sessions": 2, "carts": 2, "payment_links": 1, "background_jobs": 1}

        assert retention.count(now=timezone.now(), tables=expected) == expected
        assert retention.prune(now=timezone.now(), tables=expected) == expected

        assert retention.count(now=timezone.now(), tables=expected) == dict.fromkeys(expected, 0)
        assert not CartItem.objects.exists()

    def test_a_session_of_staff_is_over_by_the_hour(self, settings):
        clerk = factories.CustomerFactory(is_staff=True)
        access_token(clerk)
        Session.objects.update(
            staff_since=timezone.now() - timedelta(hours=settings.STAFF_SESSION_HOURS, minutes=1)
        )

        assert prune("sessions", days=0) == 1


class TestAll:
    def test_leaves_the_books_right_and_the_money_whole(self, provider, no_time, settings):
        provider.reset()
        orders = open_busy_shop(provider)
        events.backfill(since=timezone.now() - timedelta(hours=1))
        events.process_due(deadline=Deadline(60), ignore_backoff=True)
        outbox.relay()
        kept = {
            model: model.objects.count() for model in (Order, Payment, Refund, LedgerEntry, Invoice)
        }
        assert violated() == []

        rows = retention.prune(now=timezone.now() + timedelta(days=1))

        assert violated() == []
        assert {model: model.objects.count() for model in kept} == kept
        gone = ("idempotency_keys", "outbox_messages", "provider_events", "letters")
        assert all(rows[table] for table in gone), rows
        assert retention.count(now=timezone.now() + timedelta(days=1)) == dict.fromkeys(
            retention.tables(), 0
        )
        open_ones = {orders["waiting"].pk, orders["debit"].pk}
        keyed = Order.objects.filter(idempotency_key__isnull=False)
        assert set(keyed.values_list("pk", flat=True)) == open_ones

    def test_is_written_down_before_and_after(self, paid, no_time):
        now = timezone.now() + A_MOMENT

        rows = retention.prune(now=now)

        began, ended = AuditLog.objects.filter(event_type__startswith="PRUN").order_by("pk")
        assert (began.event_type, ended.event_type) == ("PRUNING_BEGAN", "PRUNED")
        assert set(began.data["before"]) == set(retention.tables())
        assert began.data["before"]["letters"] == now.isoformat()
        assert ended.data == {"rows": rows}

    def test_goes_in_batches(self, shopper, apple, no_time, monkeypatch):
        for _ in range(5):
            shopper.order(("APPLE", 1))
        monkeypatch.setattr(retention, "BATCH", 2)
        told = []

        went = prune(
            "idempotency_keys", days=0, on_progress=lambda *progress: told.append(progress)
        )

        assert went == 5
        assert told == [("idempotency_keys", n, 5) for n in (2, 4, 5, 5)]

    def test_takes_the_oldest_first_and_may_be_killed(self, shopper, apple, no_time, monkeypatch):
        keys = [f"k{n}" for n in range(3)]
        for n, key in enumerate(keys):
            shopper.order(("APPLE", 1), key=key)
            with pgtrigger.ignore():  # what was answered is frozen
                IdempotencyKey.objects.filter(key=key).update(
                    created_at=timezone.now() - timedelta(days=9 - n)
                )
        monkeypatch.setattr(retention, "BATCH", 1)

        def die(_table, went, _total):
            if went == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            retention.prune(now=timezone.now(), on_progress=die)

        assert IdempotencyKey.objects.get().key == keys[-1]
        assert AuditLog.objects.filter(event_type="PRUNING_BEGAN").exists()
        assert violated() == []

    def test_stops_when_its_time_is_over(self, paid, no_time):
        assert prune("idempotency_keys", days=0, deadline=Deadline(0)) == 0
        assert IdempotencyKey.objects.exists()

    def test_by_night(self, paid, no_time, settings):
        tasks.prune()

        assert AuditLog.objects.get(event_type="PRUNED").data["rows"]["letters"] == 1
        scheduled = [entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()]
        assert tasks.prune.name in scheduled

    def test_has_an_index_for_each_of_its_statements(self, paid, no_time):
        now = timezone.now() + A_MOMENT
        with CaptureQueriesContext(connection) as queries:
            retention.count(now=now)
            retention.prune(now=now)

        statements = [
            query
            for query in queries.captured_queries
            if query["sql"].lstrip().startswith(("SELECT", "WITH", "DELETE", "UPDATE"))
        ]

        assert len(statements) > 2 * len(retention.POLICIES)
        assert read_without_an_index(statements) == {}


class TestTheCommand:
    @pytest.fixture
    def run(self, capsys):
        def run(*arguments):
            call_command("prune", *arguments)
            return capsys.readouterr().out

        return run

    def test_counts_and_changes_nothing_by_a_dry_run(self, run, paid, no_time):
        audited = AuditLog.objects.count()

        told = json.loads(run("--dry-run", "--json"))
        page = run("--dry-run")

        assert told["dry_run"] is True
        assert (told["rows"]["idempotency_keys"], told["rows"]["letters"]) == (1, 1)
        assert "rows would go" in page
        assert IdempotencyKey.objects.exists()
        assert AuditLog.objects.count() == audited

    def test_prunes_one_table_alone(self, run, paid, no_time):
        told = json.loads(run("--table", "letters", "--json"))

        assert told == {"dry_run": False, "rows": {"letters": 1}}
        assert IdempotencyKey.objects.exists()

    def test_shows_what_is_kept_how_long(self, run, shop):
        page = run()

        assert all(table in page for table in retention.tables())
        assert "730 days" in page


@pytest.mark.django_db(transaction=True)
@pytest.mark.concurrency
class TestAtOnce:
    def facts(self, number):
        messages = OutboxMessage.objects.bulk_create(
            OutboxMessage(
                fact="x.happened",
                aggregate_type="x",
                aggregate_id=n,
                dedupe_key=f"x.{n}",
                payload={},
                fanned_out_at=timezone.now(),
            )
            for n in range(number)
        )
        Delivery.objects.bulk_create(
            Delivery(
                message=message,
                subscriber="email",
                status="delivered",
                attempts=1,
                delivered_at=timezone.now(),
            )
            for message in messages
        )

    def test_many_share_the_work(self, transactional_db, no_time, monkeypatch):
        self.facts(200)
        monkeypatch.setattr(retention, "BATCH", 7)
        now = timezone.now() + A_MOMENT

        counts = at_once(
            *[lambda: retention.prune(now=now, tables=["outbox_messages"])["outbox_messages"]] * 4
        )
        rest = retention.prune(now=now, tables=["outbox_messages"])["outbox_messages"]

        assert sum(counts) + rest == 200
        assert not OutboxMessage.objects.exists()
        assert not Delivery.objects.exists()

    def test_what_somebody_holds_is_left_and_not_waited_for(
        self, transactional_db, provider, no_time
    ):
        factories.open_shop()
        factories.ProductFactory(sku="APPLE")
        shopper = Shopper(factories.CustomerFactory())
        held, free = (order_of(shopper.order(("APPLE", 1))) for _ in range(2))
        now = timezone.now() + A_MOMENT

        def keys():
            return retention.prune(now=now, tables=["idempotency_keys"])["idempotency_keys"]

        with transaction.atomic():
            Order.objects.select_for_update().get(pk=held.pk)
            assert at_once(keys) == [1]
        held.refresh_from_db()
        free.refresh_from_db()
        assert (held.idempotency_key_id is None, free.idempotency_key_id) == (False, None)
        assert keys() == 1

    def test_orders_go_on_meanwhile(self, transactional_db, provider, no_time):
        factories.open_shop()
        factories.ProductFactory(sku="APPLE")
        shoppers = [Shopper(factories.CustomerFactory()) for _ in range(3)]

        def buy(shopper):
            return [shopper.order(("APPLE", 1)).status_code for _ in range(4)]

        def forget():
            for _ in range(10):
                retention.prune(now=timezone.now())
                outbox.relay()

        *answers, _, _ = at_once(
            *[lambda shopper=shopper: buy(shopper) for shopper in shoppers], forget, forget
        )

        outbox.relay()
        assert answers == [[201] * 4] * 3
        assert retention.prune(now=timezone.now())["idempotency_keys"] < 12
        assert not IdempotencyKey.objects.exists()
        assert violated() == []
