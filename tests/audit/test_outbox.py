"""The relay: what it delivers, what it does when told no, and what a dead relay leaves behind."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.db import connection, transaction
from django.utils import timezone

from audit import outbox
from audit import services as audit
from audit.models import AuditLog, Delivery, OutboxMessage
from audit.models import Receiver as ReceiverRow
from audit.outbox import subscribers
from config.kernel.clock import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("nobody_listens")]

FACT = "parcel.sent"


class Receiver:
    """A subscriber that remembers what it was told, and can be told to fail."""

    def __init__(self) -> None:
        self.told: list[OutboxMessage] = []
        self.error: BaseException | None = None
        self.note: str | None = None
        self.before: Callable[[OutboxMessage], None] = lambda _: None

    def __call__(self, message: OutboxMessage) -> str | None:
        self.before(message)
        if self.error is not None:
            raise self.error
        self.told.append(message)
        return self.note


@pytest.fixture
def crm():
    receiver = Receiver()
    outbox.subscribe(FACT, "crm", receiver)
    return receiver


@pytest.fixture
def desk():
    receiver = Receiver()
    outbox.subscribe(FACT, "desk", receiver)
    return receiver


def publish(number: int = 1) -> OutboxMessage:
    audit.publish(
        FACT,
        aggregate_type="order",
        aggregate_id=number,
        dedupe_key=f"parcel.{number}.sent",
        payload={"order_id": number},
    )
    return OutboxMessage.objects.get(dedupe_key=f"parcel.{number}.sent")


def make_due() -> None:
    a_second_ago = timezone.now() - timedelta(seconds=1)
    Delivery.objects.update(next_attempt_at=a_second_ago)
    ReceiverRow.objects.filter(retry_at__isnull=False).update(retry_at=a_second_ago)


class TestSubscribe:
    def test_takes_the_same_handler_twice(self, crm):
        outbox.subscribe(FACT, "crm", crm)

        publish()

        assert outbox.relay() == outbox.RelayReport(fanned_out=1, delivered=1)

    def test_refuses_another_handler_under_the_same_name(self, crm):
        with pytest.raises(outbox.DuplicateSubscriptionError):
            outbox.subscribe(FACT, "crm", Receiver())


class TestRelay:
    def test_tells_every_subscriber_once(self, crm, desk):
        message = publish()

        report = outbox.relay()
        again = outbox.relay()

        assert report == outbox.RelayReport(fanned_out=1, delivered=2)
        assert again == outbox.RelayReport()
        assert [told.uuid for told in crm.told] == [message.uuid]
        assert [told.uuid for told in desk.told] == [message.uuid]
        deliveries = Delivery.objects.order_by("subscriber")
        assert [(d.subscriber, d.status, d.attempts) for d in deliveries] == [
            ("crm", "delivered", 1),
            ("desk", "delivered", 1),
        ]
        assert all(d.delivered_at is not None for d in deliveries)
        assert not AuditLog.objects.exists()

    def test_notes_a_fact_that_nobody_wants(self):
        message = publish()

        report = outbox.relay()

        message.refresh_from_db()
        assert report == outbox.RelayReport(fanned_out=1)
        assert message.fanned_out_at is not None
        assert not Delivery.objects.exists()

    def test_does_not_announce_what_was_rolled_back(self, crm):
        with transaction.atomic():
            publish()
            transaction.set_rollback(True)

        assert outbox.relay() == outbox.RelayReport()
        assert crm.told == []

    def test_hands_over_outside_any_transaction_of_its_own(self, crm):
        depths = []
        crm.before = lambda _: depths.append(len(connection.atomic_blocks))
        outside = len(connection.atomic_blocks)  # of the test itself
        publish()

        outbox.relay()

        assert depths == [outside]

    def test_keeps_the_note_of_a_delivery_that_was_not_needed(self, crm):
        crm.note = "not sent: no address left"
        publish()

        outbox.relay()

        delivery = Delivery.objects.get()
        assert (delivery.status, delivery.last_error) == ("delivered", "not sent: no address left")

    def test_goes_on_when_one_subscriber_fails(self, crm, desk):
        crm.error = RuntimeError("no")
        for number in range(3):
            publish(number)

        report = outbox.relay()

        assert report == outbox.RelayReport(fanned_out=3, delivered=3, failed=3)
        assert len(desk.told) == 3
        assert Delivery.objects.filter(subscriber="crm", status="pending").count() == 3

    def test_begins_nothing_after_its_deadline(self, crm):
        publish()

        report = outbox.relay(deadline=Deadline(0))

        assert report == outbox.RelayReport(fanned_out=1)
        assert crm.told == []

    def test_stops_at_its_limit(self, crm):
        for number in range(3):
            publish(number)

        assert outbox.relay(limit=2).delivered == 2
        assert outbox.relay(limit=2).delivered == 1

    def test_fails_a_delivery_whose_subscriber_has_gone(self, crm):
        publish()
        outbox.relay(limit=0)
        subscribers._handlers[FACT].clear()

        report = outbox.relay()

        assert report == outbox.RelayReport(failed=1)
        assert Delivery.objects.get().last_error == "nobody has subscribed by this name"


class TestFailing:
    def test_waits_longer_each_time_by_the_databases_clock(self, crm):
        crm.error = RuntimeError("no")
        publish()
        waits = []

        for _ in range(outbox.MAX_ATTEMPTS - 1):
            outbox.relay(jitter=lambda: 1.0)
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT extract(epoch FROM next_attempt_at - statement_timestamp())"
                    " FROM deliveries"
                )
                waits.append(round(cursor.fetchone()[0]))
            make_due()

        assert waits == [30, 60, 120, 240, 480, 960, 1200, 1200, 1200, 1200, 1200]

    def test_outlasts_a_receiver_that_is_away_for_an_hour(self):
        shortest = sum(
            outbox.wait_seconds(attempts=attempts, jitter=0.0)
            for attempts in range(1, outbox.MAX_ATTEMPTS)
        )

        assert shortest > 3600

    def test_is_not_tried_again_before_its_time(self, crm):
        crm.error = RuntimeError("no")
        publish()
        outbox.relay()
        crm.error = None

        assert outbox.relay() == outbox.RelayReport()

    def test_gives_up_after_twelve_tries_and_says_so_twice(self, crm):
        crm.error = RuntimeError("no")
        message = publish(7)

        reports = []
        for _ in range(outbox.MAX_ATTEMPTS):
            reports.append(outbox.relay())
            make_due()
        after = outbox.relay()

        assert [report.dead for report in reports] == [0] * 11 + [1]
        assert after == outbox.RelayReport()
        delivery = Delivery.objects.get()
        assert (delivery.status, delivery.attempts) == ("dead", 12)
        rows = AuditLog.objects.order_by("pk")
        assert [(r.event_type, r.entity_type, r.entity_id) for r in rows] == [
            ("POST_ORDER_ERROR", "order", 7)
        ] * 2
        assert [(r.data["attempts"], r.data["dead"]) for r in rows] == [(1, False), (12, True)]
        assert rows[0].data["message"] == str(message.uuid)
        assert rows[0].data["subscriber"] == "crm"

    def test_keeps_no_text_that_may_be_personal(self, crm):
        crm.error = RuntimeError("cannot reach ann@example.com")
        publish()

        outbox.relay()

        error = Delivery.objects.get().last_error
        assert error.startswith("RuntimeError at __call__:")
        assert "ann" not in error
        assert "ann" not in str(AuditLog.objects.get().data)

    def test_keeps_the_text_that_a_subscriber_vouches_for(self, crm):
        crm.error = outbox.DeliveryFailedError("x" * 600)
        publish()

        outbox.relay()

        assert Delivery.objects.get().last_error == "x" * 500

    def test_says_what_the_operating_system_said(self, crm):
        crm.error = ConnectionRefusedError(111, "Connection refused")
        publish()

        outbox.relay()

        assert Delivery.objects.get().last_error.endswith(": Connection refused")


class TestDyingRelay:
    """Row 6 of the fault matrix, F16-F19: killed between the lease and the mark."""

    def test_leaves_a_lease_that_ends(self, crm):
        message = publish()
        crm.error = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            outbox.relay()
        crm.error = None

        too_early = outbox.relay()
        make_due()
        after_the_lease = outbox.relay()

        assert too_early == outbox.RelayReport()
        assert after_the_lease == outbox.RelayReport(delivered=1)
        assert [told.uuid for told in crm.told] == [message.uuid]
        assert Delivery.objects.get().attempts == 2

    def test_does_not_kill_for_ever(self, crm):
        publish()
        crm.error = SystemExit()
        for _ in range(outbox.MAX_ATTEMPTS):
            with pytest.raises(SystemExit):
                outbox.relay()
            make_due()

        report = outbox.relay()

        assert report == outbox.RelayReport(failed=1, dead=1)
        assert Delivery.objects.get().last_error == "every try ended without a word"
        assert AuditLog.objects.get().data["dead"] is True

    def test_finding_that_another_one_delivered_changes_nothing(self, crm):
        def outlived_by_another(message: OutboxMessage) -> None:
            crm.before = lambda _: None
            make_due()
            outbox.relay()
            crm.error = RuntimeError("too late")

        crm.before = outlived_by_another
        publish()

        outbox.relay()

        delivery = Delivery.objects.get()
        assert (delivery.status, delivery.attempts, delivery.last_error) == ("delivered", 2, "")
        assert not AuditLog.objects.exists()


class TestRetry:
    @pytest.fixture
    def waiting(self, crm):
        crm.error = RuntimeError("no")
        publish()
        outbox.relay()
        crm.error = None
        return Delivery.objects.get()

    def test_makes_a_waiting_delivery_due(self, waiting):
        assert outbox.retry() == 1
        assert outbox.relay() == outbox.RelayReport(delivered=1)

    def test_leaves_a_dead_one_alone_unless_asked(self, waiting):
        Delivery.objects.update(status="dead", attempts=12)

        assert outbox.retry() == 0
        assert outbox.retry(include_dead=True) == 1
        assert outbox.relay() == outbox.RelayReport(delivered=1)
        assert Delivery.objects.get().attempts == 1

    def test_does_not_break_a_lease(self, waiting, crm):
        make_due()
        crm.before = lambda _: retried.append(outbox.retry(include_dead=True))
        retried: list[int] = []

        outbox.relay()

        assert retried == [0]

    def test_takes_only_the_wanted_ones(self, waiting):
        assert outbox.retry(delivery_ids=[waiting.pk + 1]) == 0
        assert outbox.retry(delivery_ids=[waiting.pk]) == 1
