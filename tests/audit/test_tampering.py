"""Whoever owns the database changes the log behind the application: all of it is found and named.

Each state of the database is tampered with in many places at a time, verified, and rolled back.
What is found has to be exactly what was done: nothing is missed, and nobody else is accused.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction

from audit.models import AuditLog, AuditSeal
from audit.seals import chain, content, keys, verification
from config.kernel import request_context, sql
from config.kernel.request_context import RequestContext
from tests.audit.seals import execute, seal_everything, switch_triggers_off, write

SEED = 20_261_128
STATES = 28
ROWS = 480


class Log:
    """A sealed log that is about to be tampered with."""

    def __init__(self, outside, rng):
        self.rng = rng
        (self.path,) = outside.glob("seals-*.jsonl")
        self.lines = self.path.read_bytes().splitlines(keepends=True)
        self.seals = {seal.number: seal for seal in AuditSeal.objects.order_by("number")}
        self.rows = {
            number: [leaf.row for leaf in content.parsed(bytes(seal.leaves))]
            for number, seal in self.seals.items()
        }
        self.last = max(self.seals)
        self.next_row = 10_000_000

    def a_row(self, seal):
        return self.rng.choice(self.rows[seal])

    def new_row(self):
        self.next_row += 1
        return self.next_row

    def an_xid(self, seal):
        """Of a transaction that the seal covers; the first one's begin at zero."""
        kept = self.seals[seal]
        return self.rng.randrange(max(kept.from_xid, kept.to_xid - 5), kept.to_xid)

    def write_copies(self):
        self.path.write_bytes(b"".join(self.lines))


def flipped(rng, value):
    """The value with one bit of it the other way round."""
    if isinstance(value, datetime):
        return value + timedelta(microseconds=1 << rng.randrange(16))
    if isinstance(value, int):
        return value ^ (1 << rng.randrange(20))
    if isinstance(value, bytes | memoryview):
        changed = bytearray(value)
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        return bytes(changed)
    at = rng.randrange(len(value))
    return f"{value[:at]}{chr(ord(value[at]) ^ 1)}{value[at + 1 :]}"


def set_column(table, column, value, **where):
    ((key, row),) = where.items()
    return execute(
        f"UPDATE {table} SET {column} = %s WHERE {key} = %s",  # noqa: S608 - names from below
        [value, row],
    )


def flip_in_a_row(column):
    def tamper(log, seal, _other):
        row = log.a_row(seal)
        was = AuditLog.objects.filter(pk=row).values_list(column, flat=True).get()
        if column == "data":
            changed = json.dumps(was | {"amount": flipped(log.rng, was["amount"])})
        elif column == "ip_address":
            changed = f"10.0.{log.rng.randrange(1, 255)}.9"
        else:
            changed = flipped(log.rng, was)
        assert set_column("audit_logs", column, changed, id=row)
        return {("row_altered", seal, row)}

    return tamper


def blank_in_a_row(column):
    """From nothing to an empty text, which look the same."""

    def tamper(log, seal, _other):
        row = log.a_row(seal)
        assert set_column("audit_logs", column, None, id=row)
        return {("row_altered", seal, row)}

    return tamper


def give_a_row_another_id(log, seal, _other):
    row, new = log.a_row(seal), log.new_row()
    execute("UPDATE audit_logs SET id = %s WHERE id = %s", [new, row])
    return {("row_missing", seal, row), ("row_unknown", seal, new)}


def move_a_row_to_another_transaction(log, seal, other):
    row = log.a_row(seal)
    execute("UPDATE audit_logs SET xid = %s WHERE id = %s", [str(log.an_xid(other)), row])
    return {("row_missing", seal, row), ("row_unknown", other, row)}


def move_a_row_to_another_transaction_of_its_seal(log, seal, _other):
    row = log.a_row(seal)
    (found,) = sql.fetch("SELECT xid::text AS xid FROM audit_logs WHERE id = %(row)s", row=row)
    kept = log.seals[seal]
    xids = range(max(kept.from_xid, kept.to_xid - 5), kept.to_xid)
    new = log.rng.choice([xid for xid in xids if xid != int(found.xid)])
    execute("UPDATE audit_logs SET xid = %s WHERE id = %s", [str(new), row])
    return {("row_altered", seal, row)}


def move_a_row_into_the_future(log, seal, _other):
    row = log.a_row(seal)
    execute("UPDATE audit_logs SET xid = %s WHERE id = %s", [str(2**50), row])
    return {("row_missing", seal, row), ("row_from_the_future", None, row)}


def delete_a_row(log, seal, _other):
    row = log.a_row(seal)
    assert execute("DELETE FROM audit_logs WHERE id = %s", [row]) == 1
    return {("row_missing", seal, row)}


def delete_all_rows(log, seal, _other):
    for row in log.rows[seal]:
        execute("DELETE FROM audit_logs WHERE id = %s", [row])
    return {("row_missing", seal, row) for row in log.rows[seal]}


def swap_two_rows(log, seal, _other):
    one, two = log.rng.sample(log.rows[seal], 2)
    for old, new in ((one, -1), (two, one), (-1, two)):
        execute("UPDATE audit_logs SET id = %s WHERE id = %s", [new, old])
    return {("row_altered", seal, one), ("row_altered", seal, two)}


def insert_a_row(log, seal, _other):
    new = log.new_row()
    execute(
        "INSERT INTO audit_logs (id, event_type, xid) VALUES (%s, 'FORGED', %s)",
        [new, str(log.an_xid(seal))],
    )
    return {("row_unknown", seal, new)}


def flip_in_a_seal(column, kind="seal_altered"):
    def tamper(log, seal, _other):
        changed = flipped(log.rng, getattr(log.seals[seal], column))
        assert set_column("audit_seals", column, changed, number=seal)
        return {(kind, seal, None)}

    return tamper


def set_to_an_odd_moment(column):
    """One that Python cannot tell."""

    def tamper(log, seal, _other):
        odd = log.rng.choice(["infinity", "-infinity", "20000-01-01", "0044-03-15 BC"])
        assert set_column("audit_seals", column, odd, number=seal)
        return {("seal_altered", seal, None)}

    return tamper


def move_a_row_to_an_odd_moment(log, seal, _other):
    row = log.a_row(seal)
    odd = log.rng.choice(["infinity", "20000-01-01", "0044-03-15 BC"])
    assert set_column("audit_logs", "created_at", odd, id=row)
    return {("row_altered", seal, row)}


def retire_by_hand(log, seal, _other):
    execute("UPDATE audit_seals SET retired_before = now() WHERE number = %s", [seal])
    return {("seal_altered", seal, None)}


def forget_leaves(log, seal, _other):
    execute("UPDATE audit_seals SET leaves = '' WHERE number = %s", [seal])
    return {("leaves_missing", seal, None)}


def forget_leaves_and_change_a_row(log, seal, _other):
    forget_leaves(log, seal, None)
    execute("UPDATE audit_logs SET user_id = 99 WHERE id = %s", [log.a_row(seal)])
    return {("leaves_missing", seal, None), ("rows_differ", seal, None)}


def delete_a_seal(log, seal, _other):
    execute("DELETE FROM audit_seals WHERE number = %s", [seal])
    return {("seal_missing", seal, None)}


def edit_a_line(log, seal, _other):
    said = json.loads(log.lines[seal - 1])
    column = log.rng.choice(["root", "digest", "previous", "signature"])
    digit = "0" if said[column][0] != "0" else "1"
    said[column] = digit + said[column][1:]
    log.lines[seal - 1] = json.dumps(said).encode() + b"\n"
    return {("copy_altered", seal, None)}


def spoil_a_line(log, seal, _other):
    log.lines[seal - 1] = b"{" + log.lines[seal - 1]
    return {("copy_damaged", None, None), ("copy_missing", seal, None)}


def cut_a_line(log, seal, _other):
    log.lines[seal - 1] = log.lines[seal - 1][:100] + b"\n"
    return {("copy_damaged", None, None), ("copy_missing", seal, None)}


def remove_a_line(log, seal, _other):
    log.lines[seal - 1] = b""
    return {("copy_missing", seal, None)}


def change_seal_and_line(log, seal, _other):
    """The same lie in both places, without the key."""
    said = json.loads(log.lines[seal - 1])
    said["row_count"] += 1
    log.lines[seal - 1] = json.dumps(said).encode() + b"\n"
    execute("UPDATE audit_seals SET row_count = row_count + 1 WHERE number = %s", [seal])
    return {("seal_altered", seal, None)}


IN_ONE_PLACE = [
    *(
        flip_in_a_row(column)
        for column in (
            *("event_type", "entity_type", "entity_id", "user_id", "ip_address", "user_agent"),
            *("data", "request_id", "created_at"),
        )
    ),
    *(
        blank_in_a_row(column)
        for column in ("entity_type", "entity_id", "user_id", "ip_address", "user_agent", "data")
    ),
    give_a_row_another_id,
    move_a_row_to_another_transaction,
    move_a_row_to_another_transaction_of_its_seal,
    move_a_row_into_the_future,
    delete_a_row,
    delete_all_rows,
    swap_two_rows,
    insert_a_row,
    *(
        flip_in_a_seal(column)
        for column in (
            *("from_xid", "to_xid", "row_count", "newest_at", "created_at"),
            *("root", "previous", "digest"),
        )
    ),
    flip_in_a_seal("leaves", kind="leaves_altered"),
    flip_in_a_seal("signature", kind="signature_wrong"),
    flip_in_a_seal("key_id", kind="key_unknown"),
    set_to_an_odd_moment("newest_at"),
    set_to_an_odd_moment("created_at"),
    move_a_row_to_an_odd_moment,
    retire_by_hand,
    forget_leaves,
    forget_leaves_and_change_a_row,
    delete_a_seal,
    edit_a_line,
    spoil_a_line,
    cut_a_line,
    remove_a_line,
    change_seal_and_line,
]


@pytest.fixture
def log(strictly):
    """A log of many seals, each row with something in every column."""
    who = RequestContext(request_id="req-1", user_id=4, ip_address="10.0.0.9", user_agent="Agent")
    with request_context.bound(who):
        write(ROWS, at_once=3)
    seal_everything()
    assert AuditSeal.objects.count() >= 24
    return strictly


def found_now():
    """(kind, seal, row) of all that is found, each seal of a stretch by itself."""
    found = set()
    for finding in verification.verify().findings:
        last = finding.seal if finding.last_seal is None else finding.last_seal
        stretch = [None] if finding.seal is None else range(finding.seal, last + 1)
        found |= {(finding.kind, number, finding.row) for number in stretch}
    return found


def test_nothing_is_found_where_nothing_was_done(log):
    report = verification.verify()

    assert report.findings == []
    assert (report.seals, report.rows) == (AuditSeal.objects.count(), ROWS)
    assert report.lag.rows == 0


def test_a_thousand_tampers_are_all_found_and_located(log, tmp_path):
    rng = random.Random(SEED)  # noqa: S311 - it is to be the same again
    kept = tmp_path / "kept"
    shutil.copytree(log, kept)
    done = 0
    turn = iter(IN_ONE_PLACE * 1_000)
    for state in range(STATES):
        with transaction.atomic():
            switch_triggers_off()
            it = Log(log, rng)
            free = rng.sample(sorted(it.seals), len(it.seals))
            expected = set()
            while len(free) >= 2:
                tamper = next(turn)
                seal = free.pop()
                needs_another = tamper is move_a_row_to_another_transaction
                expected |= tamper(it, seal, free.pop() if needs_another else None)
                done += 1
            it.write_copies()

            assert found_now() == expected, f"state {state} of seed {SEED}"
            transaction.set_rollback(True)
        shutil.copytree(kept, log, dirs_exist_ok=True)

    assert done >= 1_000
    assert verification.verify().findings == []


# --- the chain as a whole -------------------------------------------------------------------------


def forge(after, key, settings):
    """Make roots, digests and signatures anew, from a seal on, of the rows as they are now."""
    settings.AUDIT_SEAL_KEY = key
    previous = None
    for seal in AuditSeal.objects.order_by("number"):
        if seal.number < after:
            previous = seal
            continue
        (found,) = sql.fetch(verification._ROWS, begin=seal.from_xid, end=seal.to_xid)
        seal.leaves = bytes(found.leaves or b"")
        seal.root = hashlib.sha256(seal.leaves).digest()
        seal.previous = previous.digest if previous else chain.BEFORE_THE_FIRST
        seal.digest = chain.digest_of(seal)
        seal.signature, seal.key_id = keys.sign(seal.digest)
        seal.save(force_update=True)
        previous = seal


@pytest.fixture
def tampered(log):
    """The log, its triggers off, in a transaction that is rolled back."""
    with transaction.atomic():
        switch_triggers_off()
        yield Log(log, random.Random(SEED))  # noqa: S311 - likewise
        transaction.set_rollback(True)


@pytest.mark.parametrize("number", [1, 2, 11, 23])
class TestARowChangedAndTheChainMadeAnew:
    def change(self, it, number):
        assert execute("UPDATE audit_logs SET user_id = 99 WHERE id = %s", [it.a_row(number)])

    def test_with_another_key(self, tampered, number, settings):
        right = settings.AUDIT_SEAL_KEY
        self.change(tampered, number)
        forge(1, b"x" * 32, settings)
        settings.AUDIT_SEAL_KEY = right

        found = found_now()

        assert {seal for kind, seal, _ in found if kind == "key_unknown"} == set(tampered.seals)
        assert ("rows_differ", number, None) in found

    def test_with_another_key_and_no_copies(self, tampered, number, settings, outside):
        right = settings.AUDIT_SEAL_KEY
        self.change(tampered, number)
        forge(1, b"x" * 32, settings)
        settings.AUDIT_SEAL_KEY = right
        tampered.path.unlink()

        found = found_now()

        assert {seal for kind, seal, _ in found if kind == "key_unknown"} == set(tampered.seals)
        assert {seal for kind, seal, _ in found if kind == "copy_missing"} == set(tampered.seals)

    def test_with_the_right_key(self, tampered, number, settings):
        self.change(tampered, number)
        forge(number, settings.AUDIT_SEAL_KEY, settings)

        found = found_now()

        since = set(range(number, tampered.last + 1))
        assert {seal for kind, seal, _ in found if kind == "copy_differs"} == since
        assert {seal for kind, seal, _ in found if kind != "copy_differs"} == {number}
        assert ("rows_differ", number, None) in found


class TestTheEnd:
    @pytest.mark.parametrize("lost", [1, 3, 20])
    def test_cut_off_is_known_from_the_copies(self, tampered, lost):
        execute("DELETE FROM audit_seals WHERE number > %s", [tampered.last - lost])

        assert found_now() == {("seal_missing", tampered.last - n, None) for n in range(lost)}

    @pytest.mark.parametrize("lost", [1, 5])
    def test_cut_off_with_its_rows(self, tampered, lost):
        gone = range(tampered.last - lost + 1, tampered.last + 1)
        for number in gone:
            delete_all_rows(tampered, number, None)
        execute("DELETE FROM audit_seals WHERE number >= %s", [gone[0]])

        assert found_now() == {("seal_missing", number, None) for number in gone} | {
            ("rows_differ", number, None) for number in gone
        }

    def test_of_the_rows_alone_cut_off(self, tampered):
        expected = delete_all_rows(tampered, tampered.last, None)
        expected |= delete_all_rows(tampered, tampered.last - 1, None)

        assert found_now() == expected

    def test_cut_off_in_the_copies(self, tampered):
        tampered.lines = tampered.lines[:-4]
        tampered.write_copies()

        assert found_now() == {("copy_missing", tampered.last - n, None) for n in range(4)}

    def test_of_everything_at_once(self, tampered):
        execute("DELETE FROM audit_seals")
        execute("DELETE FROM audit_logs")

        found = found_now()

        assert {seal for kind, seal, _ in found if kind == "seal_missing"} == set(tampered.seals)
        assert {seal for kind, seal, _ in found if kind == "rows_differ"} == set(tampered.seals)

    def test_with_a_seal_more_by_another_key(self, tampered, settings):
        right = settings.AUDIT_SEAL_KEY
        last = chain.last()
        settings.AUDIT_SEAL_KEY = b"x" * 32
        new = tampered.new_row()
        execute(
            "INSERT INTO audit_logs (id, event_type, xid) VALUES (%s, 'FORGED', %s)",
            [new, str(last.to_xid)],
        )
        (found,) = sql.fetch(verification._ROWS, begin=last.to_xid, end=last.to_xid + 1)
        chain.add(
            after=last,
            to_xid=last.to_xid + 1,
            row_count=1,
            newest_at=datetime.now(tz=UTC),
            retired_before=None,
            leaves=bytes(found.leaves),
            created_at=datetime.now(tz=UTC),
        )
        settings.AUDIT_SEAL_KEY = right

        assert ("key_unknown", tampered.last + 1, None) in found_now()


def test_a_seal_under_another_number_is_gone_and_false(tampered):
    execute("UPDATE audit_seals SET number = %s WHERE number = 5", [tampered.last + 10**9])

    found = verification.verify().findings

    assert ("seal_missing", 5) in {(finding.kind, finding.seal) for finding in found}
    assert ("seal_altered", tampered.last + 10**9) in {
        (finding.kind, finding.seal) for finding in found
    }
    assert len(found) < 10  # a stretch of a milliard is one finding


def test_lines_that_changed_places_are_found(tampered):
    tampered.lines[3:5] = reversed(tampered.lines[3:5])
    tampered.write_copies()

    assert found_now() == {("copy_out_of_order", 4, None), ("copy_missing", 4, None)}


def test_lines_that_stand_twice_are_found(tampered):
    tampered.lines.insert(4, tampered.lines[3])
    tampered.write_copies()

    assert found_now() == {("copy_out_of_order", 4, None)}


def test_what_is_before_the_asked_for_seal_is_not_looked_at(tampered):
    delete_a_row(tampered, 3, None)

    assert verification.verify(first_seal=4).count == 0
    assert verification.verify(first_seal=3).count == 1
    assert verification.verify(first_seal=4).seals == tampered.last - 3


def test_the_asked_for_seal_still_continues_the_one_before(tampered, settings):
    execute("UPDATE audit_seals SET previous = %s WHERE number = 4", [b"x" * 32])
    seal = AuditSeal.objects.get(number=4)
    seal.digest = chain.digest_of(seal)
    seal.signature, seal.key_id = keys.sign(seal.digest)
    seal.save(force_update=True)
    tampered.path.unlink()

    found = {(finding.kind, finding.seal) for finding in verification.verify(first_seal=4).findings}

    assert ("chain_broken", 4) in found


def test_many_findings_are_counted_and_the_first_kept(tampered, monkeypatch):
    monkeypatch.setattr(verification, "MOST_KEPT", 3)
    execute("DELETE FROM audit_logs")

    report = verification.verify()

    assert report.count == ROWS
    assert len(report.findings) == 3


class TestWhatIsKept:
    def test_is_numbers_alone(self, tampered):
        delete_a_row(tampered, 3, None)

        row = verification.keep(verification.verify())

        assert row.findings == 1
        (told,) = row.examples
        assert told["kind"] == "row_missing"
        assert set(told) == {"kind", "seal", "row"}

    def test_is_some_of_many(self, tampered):
        execute("DELETE FROM audit_logs")

        row = verification.keep(verification.verify())

        assert row.findings == ROWS
        assert len(row.examples) == verification.MOST_RECORDED


def test_verifying_needs_no_transaction_and_writes_nothing(log):
    assert not connection.in_atomic_block
    before = AuditLog.objects.count()

    verification.verify()

    assert AuditLog.objects.count() == before
