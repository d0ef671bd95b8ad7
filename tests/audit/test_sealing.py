"""What a seal covers, what it says, and that nothing about the session changes that."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import struct
import time
from datetime import UTC, datetime, timedelta

import pgtrigger
import pytest
from django.db import connection, transaction

from audit import services as audit
from audit import tasks
from audit.models import AuditLog, AuditSeal
from audit.seals import chain, content, copies, keys, sealing, verification
from config.kernel import request_context, sql
from config.kernel.clock import Deadline
from config.kernel.request_context import RequestContext
from tests.audit.seals import execute, seal_everything, write

pytestmark = pytest.mark.usefixtures("outside")

ROOTS = f"SELECT a.id, {content.LEAF} AS leaf FROM audit_logs a ORDER BY a.id"  # noqa: S608


def leaves_now():
    with transaction.atomic():
        content.prepare_reading()
        return [(row.id, bytes(row.leaf)) for row in sql.fetch(ROOTS)]


class TestSealing:
    def test_covers_every_row_once(self):
        rows = write(7)

        sealed = seal_everything()

        assert sealed.rows == 7
        kept = [
            leaf.row for seal in AuditSeal.objects.all() for leaf in content.parsed(seal.leaves)
        ]
        assert sorted(kept) == rows

    def test_makes_no_seal_of_nothing(self):
        assert sealing.seal_all() == sealing.Sealed()
        write(1)
        seal_everything()

        assert sealing.seal_all() == sealing.Sealed()
        assert AuditSeal.objects.count() == 1

    def test_goes_on_where_it_ended(self):
        for _ in range(3):
            write(2)
            seal_everything()

        seals = list(chain.read(after=0))

        assert [seal.number for seal in seals] == list(range(1, len(seals) + 1))
        assert seals[0].from_xid == 0
        assert seals[0].previous == bytes(32)
        for before, after in itertools.pairwise(seals):
            assert (after.from_xid, after.previous) == (before.to_xid, before.digest)
        assert all(seal.is_authentic for seal in seals)

    def test_takes_whole_transactions(self, monkeypatch):
        monkeypatch.setattr(sealing, "ROWS_AT_ONCE", 10)
        write(64, at_once=4)

        seal_everything()

        counts = list(AuditSeal.objects.order_by("number").values_list("row_count", flat=True))
        assert sum(counts) == 64
        assert len(counts) >= 5
        assert all(count % 4 == 0 for count in counts)

    def test_waits_for_transactions_that_run_and_loses_nothing_of_them(self):
        write(1)
        seal_everything()
        other = connection.copy()
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("INSERT INTO audit_logs (event_type) VALUES ('SLOW') RETURNING id")
            slow = cursor.fetchone()[0]
            (quick,) = write(1)

            assert sealing.seal_all().rows == 0
            assert sealing.find_lag().oldest_row == quick

            cursor.execute("COMMIT")
        other.close()
        assert seal_everything().rows == 2
        assert sealing.is_sealed(row_id=slow)
        assert verification.verify().count == 0

    @pytest.mark.parametrize("odd", ["infinity", "-infinity", "20000-01-01", "0044-03-15 BC"])
    def test_takes_rows_of_moments_that_python_cannot_tell(self, odd):
        execute("INSERT INTO audit_logs (event_type, created_at) VALUES ('ODD', %s)", [odd])
        assert sealing.find_lag().rows == 1

        seal_everything()

        report = verification.verify()
        assert (report.findings, report.rows) == ([], 1)

    def test_stops_at_its_deadline(self):
        write(1)
        assert sealing.seal_all(deadline=Deadline(0)).seals == 0

    def test_is_done_by_the_task_too(self):
        write(1)

        ends_at = time.monotonic() + 60
        while sealing.find_lag().rows and time.monotonic() < ends_at:
            tasks.seal(something_new=1)

        assert AuditSeal.objects.count() == len(list(copies.read())) == 1

    def test_refuses_a_database_whose_transactions_began_anew(self):
        write(1)
        seal_everything()
        last = chain.last()
        with transaction.atomic():
            chain.add(
                after=last,
                to_xid=2**60,
                row_count=1,
                newest_at=datetime.now(tz=UTC),
                retired_before=None,
                leaves=bytes(48),
                created_at=datetime.now(tz=UTC),
            )

        with pytest.raises(sealing.TransactionsBeganAnewError):
            sealing.seal_all()


class TestALag:
    def test_is_of_the_rows_since_the_last_seal(self):
        write(2)
        seal_everything()
        first, _ = write(2)

        lag = sealing.find_lag()

        assert (lag.rows, lag.oldest_row) == (2, first)
        assert datetime.now(tz=UTC) - lag.oldest_at < timedelta(minutes=1)
        assert not sealing.is_sealed(row_id=first)

    def test_is_none_where_all_is_sealed(self):
        write(1)
        seal_everything()
        assert sealing.find_lag() == sealing.Lag(rows=0, oldest_row=None, oldest_at=None)


FULL = {
    "event_type": "ORDER_CREATED",
    "entity_type": "order",
    "entity_id": 7,
    "user_id": 8,
    "ip_address": "2001:db8::1",
    "user_agent": "Grüße, 10 €",
    "data": {"b": "1.50", "a": None, "n": 1.10},
    "request_id": "r-1",
}


def as_bytes(row, xid, data):
    """A row as PostgreSQL sends it, put together by hand: (type, length, bytes) of each column."""
    int8, bytea, timestamptz = 20, 17, 1184
    written = (row.created_at - datetime(2000, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)

    def number(value):
        return None if value is None else struct.pack(">q", value)

    def text(value):
        return None if value is None else value.encode()

    address = row.ip_address and row.ip_address + ("/128" if ":" in row.ip_address else "/32")
    columns = [
        (int8, number(row.pk)),
        (timestamptz, number(written)),
        (int8, number(xid)),
        (int8, number(row.entity_id)),
        (int8, number(row.user_id)),
        *(
            (bytea, text(value))
            for value in (
                *(row.event_type, row.entity_type, address),
                *(row.user_agent, data, row.request_id),
            )
        ),
    ]
    packed = struct.pack(">i", len(columns))
    for kind, value in columns:
        packed += struct.pack(">Ii", kind, -1 if value is None else len(value)) + (value or b"")
    return struct.pack(">qq", row.pk, written) + hashlib.sha256(packed).digest()


class TestContent:
    @pytest.mark.parametrize("values", [FULL, {"event_type": "X"}])
    def test_is_what_is_put_together_by_hand(self, values):
        row = AuditLog.objects.create(**values)
        row.refresh_from_db()
        (found,) = sql.fetch("SELECT xid::text AS xid, data::text AS data FROM audit_logs")

        assert leaves_now() == [(row.pk, as_bytes(row, int(found.xid), found.data))]

    @pytest.mark.parametrize("column", ["entity_type", "user_agent", "request_id"])
    def test_tells_nothing_from_an_empty_text(self, column):
        AuditLog.objects.create(event_type="X")
        before = leaves_now()

        with pgtrigger.ignore():
            execute(f"UPDATE audit_logs SET {column} = ''")  # noqa: S608

        assert leaves_now() != before

    @pytest.mark.parametrize(
        "setting",
        [
            "TimeZone = 'Asia/Kathmandu'",
            "DateStyle = 'German, DMY'",
            "IntervalStyle = 'iso_8601'",
            "extra_float_digits = -15",
            "bytea_output = 'escape'",
            "client_encoding = 'LATIN9'",
            "standard_conforming_strings = off",
            "lc_monetary = 'C'",
        ],
    )
    def test_is_the_same_whatever_the_session_says(self, setting):
        AuditLog.objects.create(**FULL)
        before = leaves_now()

        execute(f"SET {setting}")
        try:
            assert leaves_now() == before
        finally:
            connection.close()

    def test_is_not_made_by_functions_of_somebody_else(self):
        AuditLog.objects.create(**FULL)
        before = leaves_now()
        execute("CREATE SCHEMA evil")
        try:
            execute(
                "CREATE FUNCTION evil.sha256(bytea) RETURNS bytea LANGUAGE sql"
                " AS 'SELECT $1'; SET search_path = evil, pg_catalog, public"
            )
            (found,) = sql.fetch("SELECT sha256('x'::bytea) AS it")
            assert bytes(found.it) == b"x"

            assert leaves_now() == before
        finally:
            connection.close()
            execute("DROP SCHEMA evil CASCADE")

    def test_knows_each_column_of_the_table(self):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = 'audit_logs'::regclass"
                " AND attnum > 0 AND NOT attisdropped"
            )
            columns = {name for (name,) in cursor.fetchall()}

        assert set(re.findall(r"\ba\.(\w+)", content.LEAF)) == columns


class TestAKey:
    def test_of_another_shop_is_not_believed(self, settings):
        write(1)
        seal_everything()
        settings.AUDIT_SEAL_KEY = b"x" * 32

        assert [finding.kind for finding in verification.verify().findings] == ["key_unknown"]

    def test_that_was_replaced_is_still_believed_by_its_public_half(self, settings):
        write(1)
        seal_everything()
        former = keys.public_key()
        settings.AUDIT_SEAL_KEY = b"x" * 32
        settings.AUDIT_SEAL_TRUSTED_KEYS = [base64.b64decode(former)]
        write(1)
        seal_everything()

        assert verification.verify().count == 0
        assert len(set(AuditSeal.objects.values_list("key_id", flat=True))) == 2

    def test_that_is_new_signs_what_its_public_half_says(self, settings):
        made = keys.new_key()
        settings.AUDIT_SEAL_KEY = base64.b64decode(made.seed)

        assert keys.public_key() == made.public
        assert keys.sign(b"x")[1] == made.key_id
        assert made.seed not in repr(made)


class TestCopies:
    def test_say_all_of_a_seal_and_are_the_owners_alone(self, outside):
        write(3)
        seal_everything()

        (line, *_) = (outside / f"seals-{datetime.now(tz=UTC):%Y-%m}.jsonl").read_text().split("\n")

        seal = AuditSeal.objects.get(number=1)
        said = json.loads(line)
        assert said["number"] == 1
        assert said["row_count"] == seal.row_count
        assert bytes.fromhex(said["digest"]) == bytes(seal.digest)
        assert outside.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in outside.iterdir()} == {0o600}

    def test_are_made_up_for_by_the_next_sealer(self, monkeypatch):
        def dies():
            if AuditSeal.objects.exists():
                raise SystemExit
            return 0

        write(1)
        with monkeypatch.context() as broken:
            broken.setattr(copies, "catch_up", dies)
            with pytest.raises(SystemExit):
                seal_everything()
        assert list(copies.read()) == []

        sealed = seal_everything()

        assert sealed.copied >= 1
        assert [line.seal for line in copies.read()] == list(chain.read(after=0))

    @pytest.mark.parametrize("kept", [0, 1, 40, -2, -1])
    def test_with_a_torn_last_line_are_mended(self, outside, kept):
        write(1)
        seal_everything()
        write(1)
        seal_everything()
        (path,) = outside.glob("*.jsonl")
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:-1]) + lines[-1][:kept])
        assert all(line.seal for line in copies.read())

        write(1)
        seal_everything()

        assert [line.seal for line in copies.read()] == list(chain.read(after=0))

    def test_of_a_seal_without_a_time_are_not_written_again_and_again(self, outside):
        write(1)
        seal_everything()
        (path,) = outside.glob("*.jsonl")
        path.unlink()
        with pgtrigger.ignore():
            execute("UPDATE audit_seals SET created_at = 'infinity'")

        assert [copies.catch_up(), copies.catch_up()] == [1, 0]

    def test_that_cannot_be_written_are_told_and_keep_nobody_from_sealing(self, outside):
        outside.write_text("in the way")
        write(1)

        sealed = seal_everything()

        assert sealed.rows == 1
        assert sealed.copy_error == "File exists"

    def test_go_into_no_earlier_file_when_the_clock_is_set_back(self, outside):
        write(1)
        seal_everything()
        (path,) = outside.glob("*.jsonl")
        path.rename(outside / "seals-2999-01.jsonl")
        write(1)
        seal_everything()

        assert [path.name for path in outside.glob("*.jsonl")] == ["seals-2999-01.jsonl"]
        assert [line.seal.number for line in copies.read()] == [
            seal.number for seal in chain.read(after=0)
        ]


class TestThePlan:
    """Of a hundred thousand rows, what the sealer asks every few seconds reads next to none."""

    @pytest.fixture
    def many(self):
        with transaction.atomic():
            execute("""
                INSERT INTO audit_logs (event_type, data, xid)
                SELECT 'MANY', '{"amount": "12.00", "to": "confirmed"}', (1000 + n)::text::xid8
                FROM generate_series(1, 100000) n
            """)
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT brin_summarize_new_values(indexrelid) FROM pg_index"
                    " JOIN pg_class ON pg_class.oid = indexrelid"
                    " JOIN pg_inherits ON inhrelid = indexrelid"
                    " WHERE inhparent = 'idx_audit_logs_xid'::regclass"
                )
            yield
            transaction.set_rollback(True)  # quicker than to delete them

    def pages_read(self, statement, **values):
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", values)
            (plan,) = cursor.fetchone()[0]
        return plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]

    @pytest.mark.parametrize("analyzed", [True, False])
    def test_looks_at_few_pages(self, many, analyzed):
        if analyzed:
            execute("ANALYZE audit_logs")
        in_all = self.pages_read("SELECT count(data) FROM audit_logs")
        assert in_all > 1_000

        content.prepare_reading()
        chain.add(
            after=None,
            to_xid=101_000,
            row_count=1,
            leaves=bytes(48),
            **dict.fromkeys(["newest_at", "created_at"], datetime.now(tz=UTC)),
            retired_before=None,
        )
        ends = {"begin": 90_000, "end": 90_100}
        looked_at = {
            "rows": self.pages_read(sealing._ROWS, **ends),
            "lag": self.pages_read(sealing._WAITING, most=1_000),
            "next": self.pages_read(
                sealing._NEXT, begin=101_000, horizon=102_000, after_row=10**12, most=10
            ),
        }

        assert max(looked_at.values()) < in_all / 4, (looked_at, in_all)


def test_the_context_of_a_request_is_sealed_too():
    with request_context.bound(RequestContext(request_id="r", user_id=1, ip_address="10.0.0.1")):
        audit.record("TESTED")
    seal_everything()

    assert verification.verify().rows == 1
