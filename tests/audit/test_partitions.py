"""Months are dropped once they are sealed, and only so; what is gone on purpose is not lost."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from audit import partitions
from audit.models import AuditLog, AuditSeal
from audit.seals import chain, copies, verification
from orders.services import retention
from tests.audit.seals import execute, seal_everything, switch_triggers_off, write

pytestmark = pytest.mark.usefixtures("strictly")

OLD = (date(2020, 1, 1), date(2020, 2, 1))


def rows_of(month, count):
    made = [
        AuditLog.objects.create(
            event_type="OLD",
            created_at=datetime(month.year, month.month, 15, tzinfo=UTC) + timedelta(seconds=n),
        )
        for n in range(count)
    ]
    return [row.pk for row in made]


def is_there(partition):
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [partition])
        return cursor.fetchone()[0]


@pytest.fixture(autouse=True)
def _months(strictly):
    for month in OLD:
        execute("SELECT audit_make_partition(%s)", [month])
    yield
    for month in OLD:
        execute(f"DROP TABLE IF EXISTS audit_logs_{month:%Y_%m}")


class TestPruning:
    """Months go by the table of policies, as all else does."""

    def test_takes_the_months_that_are_old_and_sealed(self, settings):
        settings.AUDIT_LOG_DAYS = 400
        rows_of(OLD[0], 5)
        rows_of(OLD[1], 3)
        seal_everything()
        now = datetime(2020, 2, 20, tzinfo=UTC) + timedelta(days=400)

        assert retention.count(now=now, tables=["audit_logs"]) == {"audit_logs": 5}
        assert retention.prune(now=now, tables=["audit_logs"]) == {"audit_logs": 5}

        assert not is_there("audit_logs_2020_01")
        assert is_there("audit_logs_2020_02")
        assert retention.prune(now=now, tables=["audit_logs"]) == {"audit_logs": 0}

    def test_leaves_what_no_seal_covers_and_says_so(self):
        rows_of(OLD[0], 5)

        with pytest.raises(partitions.NotSealedError, match="run seal_audit first"):
            retention.prune(now=datetime.now(tz=UTC), tables=["audit_logs"])

        assert is_there("audit_logs_2020_01")


class TestDropping:
    def test_takes_whole_months_and_leaves_the_seals(self):
        rows_of(OLD[0], 25)
        rows_of(OLD[1], 12)
        new = write(15)
        seal_everything()

        dropped = partitions.drop_before(date(2020, 2, 9))

        assert dropped == [partitions.Dropped(partition="audit_logs_2020_01", rows=25)]
        assert not is_there("audit_logs_2020_01")
        assert is_there("audit_logs_2020_02")
        told = AuditLog.objects.get(event_type="AUDIT_PARTITION_DROPPED")
        assert told.data == {"partition": "audit_logs_2020_01", "rows": 25}
        seal_everything()
        report = verification.verify()
        assert report.findings == []
        assert report.retired == 25
        assert report.rows == 12 + len(new) + 1

    def test_forgets_the_leaves_of_seals_that_have_no_row_left(self):
        rows_of(OLD[0], 40)
        write(20)
        seal_everything()
        before = {seal.number: bytes(seal.leaves) for seal in AuditSeal.objects.all()}

        partitions.drop_before(date(2020, 2, 1))

        limit = datetime(2020, 2, 1, tzinfo=UTC)
        for seal in AuditSeal.objects.filter(row_count__gt=0):
            gone = seal.newest_at < limit
            assert bytes(seal.leaves) == (b"" if gone else before[seal.number])
        assert AuditSeal.objects.filter(newest_at__lt=limit).count() >= 3
        assert verification.verify().findings == []

    def test_keeps_the_leaves_of_old_rows_that_are_still_there(self):
        stays = AuditLog.objects.create(
            event_type="OLD", created_at=datetime(2001, 1, 1, tzinfo=UTC)
        )
        rows_of(OLD[0], 3)
        seal_everything()

        partitions.drop_before(date(2020, 2, 1))

        assert AuditLog.objects.filter(pk=stays.pk).exists()  # in the default partition
        report = verification.verify()
        assert (report.findings, report.retired, report.rows) == ([], 3, 1)

    def test_refuses_a_month_with_rows_that_are_not_sealed(self):
        rows_of(OLD[0], 2)
        seal_everything()
        rows_of(OLD[0], 1)

        with pytest.raises(partitions.NotSealedError, match="Rows of audit_logs_2020_01"):
            partitions.drop_before(date(2020, 2, 1))

        assert AuditLog.objects.count() == 3
        assert not AuditSeal.objects.filter(retired_before__isnull=False).exists()

    def test_refuses_months_to_come(self):
        with pytest.raises(ValueError, match="over"):
            partitions.drop_before(timezone.now().date() + timedelta(days=32))

    def test_is_done_once(self):
        rows_of(OLD[0], 2)
        seal_everything()

        assert len(partitions.drop_before(date(2020, 2, 1))) == 1
        assert partitions.drop_before(date(2020, 2, 1)) == []
        assert AuditSeal.objects.filter(retired_before__isnull=False).count() == 1

    def test_of_an_empty_month_needs_no_seal(self):
        assert [one.rows for one in partitions.drop_before(date(2020, 3, 1))] == [0, 0]
        assert not AuditSeal.objects.exists()

    def test_is_copied_outside(self):
        rows_of(OLD[0], 2)
        seal_everything()

        partitions.drop_before(date(2020, 2, 1))

        assert [line.seal for line in copies.read()] == list(chain.read(after=0))
        assert chain.last().retired_before == datetime(2020, 2, 1, tzinfo=UTC)

    def test_goes_on_sealing_afterwards(self):
        rows_of(OLD[0], 2)
        seal_everything()
        partitions.drop_before(date(2020, 2, 1))
        write(3)

        seal_everything()

        report = verification.verify()
        assert (report.findings, report.retired, report.rows) == ([], 2, 4)

    def test_lets_writers_go_first_and_tries_again(self, monkeypatch):
        rows_of(OLD[0], 2)
        seal_everything()
        monkeypatch.setattr(partitions, "LOCK_WAIT", "20ms")
        monkeypatch.setattr(partitions, "PAUSE_SECONDS", 0.05)
        writes, may_end = threading.Event(), threading.Event()

        def writer():
            with transaction.atomic():
                AuditLog.objects.create(event_type="X")
                writes.set()
                may_end.wait(30)
            connection.close()

        thread = threading.Thread(target=writer)
        thread.start()
        writes.wait(30)
        threading.Timer(0.3, may_end.set).start()

        dropped = partitions.drop_before(date(2020, 2, 1))

        thread.join(30)
        assert len(dropped) == 1
        assert AuditLog.objects.filter(event_type="X").exists()

    def test_gives_up_where_the_log_stays_busy(self, monkeypatch):
        rows_of(OLD[0], 2)
        seal_everything()
        monkeypatch.setattr(partitions, "LOCK_WAIT", "10ms")
        monkeypatch.setattr(partitions, "TRIES", 2)
        other = connection.copy()
        with other.cursor() as cursor:
            cursor.execute("BEGIN; LOCK TABLE audit_logs IN ROW EXCLUSIVE MODE")
            with pytest.raises(OperationalError):
                partitions.drop_before(date(2020, 2, 1))
            cursor.execute("ROLLBACK")
        other.close()

        assert is_there("audit_logs_2020_01")
        assert not AuditSeal.objects.filter(retired_before__isnull=False).exists()


class TestWhatIsFoundAfterwards:
    @pytest.fixture
    def retired(self):
        """A month dropped, the next one still there."""
        rows_of(OLD[0], 14)
        kept = rows_of(OLD[1], 14)
        seal_everything()
        partitions.drop_before(date(2020, 2, 1))
        return kept

    def test_a_row_lost_of_a_month_that_stays(self, retired):
        with transaction.atomic():
            switch_triggers_off()
            execute("DELETE FROM audit_logs WHERE id = %s", [retired[3]])

            (finding,) = verification.verify().findings
            transaction.set_rollback(True)

        assert (finding.kind, finding.row) == ("row_missing", retired[3])

    def test_a_month_dropped_by_hand(self, retired):
        execute("DROP TABLE audit_logs_2020_02")

        found = verification.verify().findings

        assert {finding.row for finding in found if finding.kind == "row_missing"} == set(retired)

    def test_a_month_dropped_by_hand_and_retired_without_the_key(self, retired, settings):
        right = settings.AUDIT_SEAL_KEY
        settings.AUDIT_SEAL_KEY = b"x" * 32
        partitions.drop_before(date(2020, 3, 1))
        settings.AUDIT_SEAL_KEY = right

        kinds = {finding.kind for finding in verification.verify().findings}

        assert "key_unknown" in kinds
        assert kinds & {"row_missing", "leaves_missing"}

    def test_a_month_dropped_by_hand_keeps_its_leaves(self, retired, settings):
        """Else the next month that is dropped would take away what tells of it."""
        right = settings.AUDIT_SEAL_KEY
        execute("DROP TABLE audit_logs_2020_02")
        settings.AUDIT_SEAL_KEY = b"x" * 32
        last = chain.last()
        with transaction.atomic():
            chain.add(
                after=last,
                to_xid=last.to_xid,
                row_count=0,
                leaves=b"",
                newest_at=None,
                retired_before=datetime(2020, 3, 1, tzinfo=UTC),
                created_at=timezone.now(),
            )
        settings.AUDIT_SEAL_KEY = right

        partitions.drop_before(date(2020, 3, 1))

        found = verification.verify().findings
        assert {finding.row for finding in found if finding.kind == "row_missing"} == set(retired)

    def test_a_row_put_among_those_that_are_retired(self, retired):
        first = AuditSeal.objects.get(number=1)
        assert bytes(first.leaves) == b""
        execute(
            "INSERT INTO audit_logs (id, event_type, xid) VALUES (10000000, 'FORGED', %s)",
            [str(first.to_xid - 1)],
        )

        (finding,) = verification.verify().findings

        assert (finding.kind, finding.seal, finding.row) == ("row_unknown", 1, 10_000_000)


def test_the_next_months_are_made_once():
    assert partitions.make_ahead() == 0
    assert partitions.make_ahead(months=4) == 1
    later = timezone.now().date().replace(day=1)
    for _ in range(4):
        later = (later + timedelta(days=32)).replace(day=1)
    execute(f"DROP TABLE audit_logs_{later:%Y_%m}")


def test_a_new_month_is_looked_up_by_transaction_too():
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexdef FROM pg_indexes WHERE tablename = 'audit_logs_2020_01'")
        assert any("USING brin" in definition for (definition,) in cursor.fetchall())


def test_every_months_index_belongs_to_that_of_all():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indisvalid, (SELECT count(*) FROM pg_inherits WHERE inhparent = indexrelid),"
            " (SELECT count(*) FROM pg_inherits WHERE inhparent = 'audit_logs'::regclass)"
            " FROM pg_index WHERE indexrelid = 'idx_audit_logs_xid'::regclass"
        )
        valid, attached, months = cursor.fetchone()
    assert valid
    assert attached == months >= 5
