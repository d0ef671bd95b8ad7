"""Holds the audit log against its seals, the seals against each other and against their copies.

Every statement is short and on its own: what is sealed does not change, so that no snapshot has to
be kept open. The digests of rows are made and put together by the database, many seals at a time;
rows are looked at one by one only where a seal's root is another.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import structlog
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from audit.models import AuditSeal, AuditVerification
from audit.seals import chain, copies, keys
from audit.seals.content import LEAF, XID, parsed, prepare_reading, written
from audit.seals.sealing import Lag, find_lag
from config.kernel import sql
from config.kernel.errors import NotFoundError, ServiceUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from audit.seals.chain import Seal

    Progress = Callable[[int, int | None], None]

KINDS: Final = {
    "row_altered": "the row is not what it was when it was sealed",
    "row_missing": "the row was sealed and is gone",
    "row_unknown": "the row was put in among sealed ones later",
    "row_from_the_future": "the row names a transaction that has not been yet",
    "rows_differ": "rows of the seal are not what they were; which, its leaves cannot tell",
    "leaves_altered": "what the seal keeps of each row is not what was signed",
    "leaves_missing": "what the seal keeps of each row is gone, and the rows are not retired",
    "seal_altered": "the seal is not what it was when it was made",
    "seal_missing": "the seal is gone from the database",
    "signature_wrong": "the seal's signature is not of the key that it names",
    "key_unknown": "the seal was signed by a key that is not believed",
    "chain_broken": "the seal does not continue the one before",
    "copy_missing": "the seal is not in the copies outside",
    "copy_altered": "the copy outside is not what it was when it was made",
    "copy_differs": "seal and copy are both signed, and are not the same",
    "copy_damaged": "the line in the copies is none",
    "copy_out_of_order": "the line in the copies stands behind a later one",
}
"""What can be found, in words."""
MOST_KEPT: Final = 1_000
MOST_RECORDED: Final = 20
ROWS_AT_ONCE: Final = 20_000
SEALS_AT_ONCE: Final = 2_000
COPY_LAG: Final = timedelta(minutes=1)
"""So old may a seal be that is not in the copies yet."""
NOBODY_THERE: Final = "The workers cannot be asked: run verify_audit --record on a server."

_ROOTS: Final = f"""
    SELECT nth, count(*) AS rows,
           sha256(string_agg(leaf, ''::bytea ORDER BY id, created_at)) AS root
    FROM (SELECT width_bucket({XID}, %(begins)s::bigint[]) AS nth, a.id, a.created_at,
                 {LEAF} AS leaf
          FROM audit_logs a WHERE {XID} >= %(begin)s AND {XID} < %(end)s) covered
    GROUP BY nth
"""  # noqa: S608 - our own expressions
_LEAVES: Final = """
    SELECT number, length(leaves) AS length, sha256(leaves) AS root
    FROM audit_seals WHERE number = ANY(%(numbers)s)
"""
_ROWS: Final = f"""
    SELECT string_agg({LEAF}, ''::bytea ORDER BY a.id, a.created_at) AS leaves
    FROM audit_logs a WHERE {XID} >= %(begin)s AND {XID} < %(end)s
"""  # noqa: S608 - our own expressions
_FROM_THE_FUTURE: Final = f"""
    WITH future AS MATERIALIZED (
        SELECT a.id FROM audit_logs a
        WHERE {XID} >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint LIMIT %(most)s
    )
    SELECT id FROM future ORDER BY id
"""  # noqa: S608 - our own expression

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it was sealed: its kind (see `KINDS`), and where.

    Seals by number; of a stretch of them `seal` is the first and `last_seal` the last. `place` is
    a line in the copies.
    """

    kind: str
    seal: int | None = None
    last_seal: int | None = None
    row: int | None = None
    place: str = ""

    def __str__(self) -> str:
        seals = f"seal {self.seal}" if self.seal is not None else ""
        if self.last_seal not in {None, self.seal}:
            seals = f"seals {self.seal} to {self.last_seal}"
        row = f"row {self.row}" if self.row is not None else ""
        where = ", ".join(part for part in (seals, row, self.place) if part)
        return f"{self.kind} ({where})"

    def as_json(self) -> dict[str, Any]:
        """What of it there is, for programs."""
        told = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in told.items() if value not in {None, ""}}


@dataclass(kw_only=True)
class Report:
    """What was found. `findings` are the first `MOST_KEPT` of `count`.

    `rows` are as they were sealed; `retired` ones were dropped on purpose. `lag` says what no seal
    covers yet, and therefore nobody can vouch for.
    """

    first_seal: int
    seals: int = 0
    rows: int = 0
    retired: int = 0
    count: int = 0
    findings: list[Finding] = field(default_factory=list)
    lag: Lag = field(default_factory=lambda: Lag(rows=0, oldest_row=None, oldest_at=None))
    seconds: float = 0.0

    def add(self, kind: str, **where: Any) -> None:
        """Note a finding."""
        self.count += 1
        if len(self.findings) < MOST_KEPT:
            self.findings.append(Finding(kind=kind, **where))


def verify(*, first_seal: int = 1, on_progress: Progress = lambda _done, _total: None) -> Report:
    """Hold everything against everything; changes nothing. Sealing and orders go on meanwhile.

    Args:
        first_seal: begin with this one; it still has to continue the one before.
        on_progress: is told how many of how many sealed rows were looked at.

    Raises:
        NotFoundError: there is no seal of that number or a higher one.
        OSError: the copies outside cannot be read.
    """
    started = time.monotonic()
    report = Report(first_seal=first_seal)
    _Verification(report, on_progress).run()
    if first_seal > 1 and not (report.seals or report.count):
        raise NotFoundError(f"there is no seal {first_seal}")
    report.lag = find_lag()
    report.seconds = time.monotonic() - started
    return report


def keep(report: Report) -> AuditVerification:
    """Keep the outcome for staff, and say it aloud if something was found."""
    if report.count:
        kinds = Counter(finding.kind for finding in report.findings)
        log.error("audit_log_is_not_as_sealed", findings=report.count, kinds=dict(kinds))
    else:
        log.info("audit_log_is_as_sealed", seals=report.seals, rows=report.rows)
    return AuditVerification.objects.create(
        seconds=round(report.seconds, 3),
        first_seal=report.first_seal,
        seals=report.seals,
        rows=report.rows,
        findings=report.count,
        examples=[finding.as_json() for finding in report.findings[:MOST_RECORDED]],
    )


# --- by a worker ----------------------------------------------------------------------------------
_start: Callable[[], None] | None = None


def set_starter(start: Callable[[], None]) -> None:
    """Say how a worker of this process's shop is asked to verify; it raises if nobody hears it."""
    global _start  # noqa: PLW0603 - one a process
    _start = start


def request_verification() -> None:
    """Have a worker verify everything and keep the outcome: it takes longer than a request may.

    Raises:
        ServiceUnavailableError: nobody could be asked.
    """
    if _start is None:
        raise ServiceUnavailableError(NOBODY_THERE)
    try:
        _start()
    except Exception as exc:  # the broker fails in ways of its own
        raise ServiceUnavailableError(NOBODY_THERE) from exc


# --- how it is done -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Basis:
    """What the rows of a seal are held against, and whether that can be believed."""

    seal: Seal
    is_authentic: bool


@dataclass(slots=True)
class _Stretch:
    """Numbers that something is wrong with one after the other: one finding, not a million."""

    report: Report
    kind: str
    first: int | None = None
    last: int = 0

    def add(self, first: int, last: int) -> None:
        if self.first is not None and first > self.last + 1:
            self.end()
        if self.first is None:
            self.first = first
        self.last = last

    def end(self) -> None:
        if self.first is not None:
            self.report.add(self.kind, seal=self.first, last_seal=self.last)
        self.first = None


class _Verification:
    """One run: seals by number, those of the database beside their copies."""

    def __init__(self, report: Report, on_progress: Progress) -> None:
        self._report = report
        self._on_progress = on_progress
        self._missing = _Stretch(report, "seal_missing")
        self._uncopied = _Stretch(report, "copy_missing")
        self._batch: list[_Basis] = []
        self._rows_of_batch = 0
        self._looked_at = 0
        last = chain.last()
        self._top = last.number if last else 0
        self._retired_before = chain.retired_before()

    def run(self) -> None:
        first = self._report.first_seal
        covered = AuditSeal.objects.filter(number__gte=first, number__lte=self._top)
        total = covered.aggregate(rows=Sum("row_count"))["rows"] or 0
        self._on_progress(0, total)
        before = next(chain.read(after=first - 2, up_to=first - 1), None)
        previous = _Basis(before, is_authentic=before.is_authentic) if before else None
        expected = first
        for number, seal, copy in self._side_by_side():
            if number > expected:  # in neither
                self._missing.add(expected, number - 1)
                self._uncopied.add(expected, number - 1)
            basis = self._judge(number, seal, copy)
            self._check_link(previous, basis)
            self._hold_rows_against(basis)
            self._on_progress(min(self._looked_at, total), total)
            previous, expected = basis, number + 1
        self._flush()
        self._on_progress(total, total)
        self._missing.end()
        self._uncopied.end()
        self._look_for_the_future()

    # --- seals and copies ---

    def _side_by_side(self) -> Iterator[tuple[int, Seal | None, Seal | None]]:
        """Each number that is in the database or in the copies, with what is there."""
        ours = chain.read(after=self._report.first_seal - 1, up_to=self._top)
        theirs = self._copies()
        seal, copy = next(ours, None), next(theirs, None)
        while seal or copy:
            number = min(one.number for one in (seal, copy) if one)
            here = seal if seal and seal.number == number else None
            there = copy if copy and copy.number == number else None
            if here is None and number > self._top and _exists(number):
                return  # made since
            yield number, here, there
            seal = next(ours, None) if here else seal
            copy = next(theirs, None) if there else copy

    def _copies(self) -> Iterator[Seal]:
        """The copies, each with a higher number than the one before."""
        latest = 0
        for line in copies.read(after=self._report.first_seal - 1):
            if line.seal is None:
                self._report.add("copy_damaged", place=line.place)
            elif line.seal.number <= latest:
                self._report.add("copy_out_of_order", seal=line.seal.number, place=line.place)
            else:
                latest = line.seal.number
                yield line.seal

    def _judge(self, number: int, seal: Seal | None, copy: Seal | None) -> _Basis:
        """Say what is wrong with a seal or its copy; returns what to hold its rows against."""
        is_authentic = seal is not None and self._is_authentic(seal)
        if seal is None:
            self._missing.add(number, number)
        else:
            self._report.seals += 1
        if copy is None:
            if seal is None or _is_before(seal.created_at, timezone.now() - COPY_LAG):
                self._uncopied.add(number, number)
        elif copy != seal:
            if copy.is_authentic:
                if is_authentic:
                    self._report.add("copy_differs", seal=number)
                return _Basis(copy, is_authentic=True)
            self._report.add("copy_altered", seal=number)
        basis = seal or copy
        assert basis is not None  # noqa: S101 - a number comes from one of them
        return _Basis(basis, is_authentic=is_authentic)

    def _is_authentic(self, seal: Seal) -> bool:
        if not seal.is_whole:
            self._report.add("seal_altered", seal=seal.number)
        elif not keys.is_known(seal.key_id):
            self._report.add("key_unknown", seal=seal.number)
        elif not seal.is_signed:
            self._report.add("signature_wrong", seal=seal.number)
        else:
            return True
        return False

    def _check_link(self, previous: _Basis | None, basis: _Basis) -> None:
        seal = basis.seal
        if not basis.is_authentic:
            return
        if seal.number == 1:
            follows = (seal.previous, seal.from_xid) == (chain.BEFORE_THE_FIRST, 0)
        elif previous and previous.is_authentic and previous.seal.number == seal.number - 1:
            before = previous.seal
            follows = (seal.previous, seal.from_xid) == (before.digest, before.to_xid)
        else:  # said of the one before
            return
        if not follows:
            self._report.add("chain_broken", seal=seal.number)

    # --- rows ---

    def _hold_rows_against(self, basis: _Basis) -> None:
        """Put a seal to those that are looked at together: they lie side by side, and are few."""
        seal = basis.seal
        if not seal.row_count or seal.from_xid >= seal.to_xid:
            return
        fits = (
            self._rows_of_batch + seal.row_count <= ROWS_AT_ONCE
            and len(self._batch) < SEALS_AT_ONCE
        )
        if self._batch and not (fits and self._batch[-1].seal.to_xid == seal.from_xid):
            self._flush()
        self._batch.append(basis)
        self._rows_of_batch += seal.row_count

    @transaction.atomic
    def _flush(self) -> None:
        """Look at the rows of the seals that wait for it."""
        batch, self._batch, self._rows_of_batch = self._batch, [], 0
        if not batch:
            return
        prepare_reading()
        found = {
            row.nth: (row.rows, bytes(row.root))
            for row in sql.fetch(
                _ROOTS,
                begins=[basis.seal.from_xid for basis in batch],
                begin=batch[0].seal.from_xid,
                end=batch[-1].seal.to_xid,
            )
        }
        leaves = {
            row.number: (row.length, bytes(row.root))
            for row in sql.fetch(_LEAVES, numbers=[basis.seal.number for basis in batch])
        }
        for nth, basis in enumerate(batch, start=1):
            rows, root = found.get(nth, (0, chain.NO_ROWS))
            self._looked_at += basis.seal.row_count
            self._compare(basis, rows, root, *leaves.get(basis.seal.number, (0, None)))

    def _compare(
        self, basis: _Basis, rows: int, root: bytes, length: int, leaves_root: bytes | None
    ) -> None:
        seal = basis.seal
        is_retired = _is_before(seal.newest_at, self._retired_before)
        # A seal that is not to be believed is no measure: then its leaves are all there is.
        signed = leaves_root if length and not basis.is_authentic else seal.root
        if leaves_root is not None and not length and not is_retired:
            self._report.add("leaves_missing", seal=seal.number)
        elif length and leaves_root != signed:
            self._report.add("leaves_altered", seal=seal.number)
        if root == signed:
            self._report.rows += rows
        elif length:
            self._name_rows(seal, are_signed=leaves_root == signed)
        elif not is_retired:
            self._report.add("rows_differ", seal=seal.number)
        elif rows:
            self._name_rows(seal, are_signed=True)
        else:
            self._report.retired += seal.row_count

    def _name_rows(self, seal: Seal, *, are_signed: bool) -> None:
        """Say which rows are not what the seal's leaves say."""
        kept = AuditSeal.objects.filter(pk=seal.number).values_list("leaves", flat=True).get()
        row: Any = sql.fetch_one(_ROWS, begin=seal.from_xid, end=seal.to_xid)
        known = {(leaf.row, leaf.written): leaf.sha256 for leaf in parsed(bytes(kept))}
        found = {(leaf.row, leaf.written): leaf.sha256 for leaf in parsed(bytes(row.leaves or b""))}
        if not are_signed:
            self._report.add("rows_differ", seal=seal.number)
        before = self._retired_before
        retired = None if before is None else written(before)
        altered = {key for key, sha256 in found.items() if known.get(key, sha256) != sha256}
        gone = dict(known.keys() - found.keys())
        new = {row_id for row_id, _ in found.keys() - known.keys()}
        for row_id in sorted({row_id for row_id, _ in altered} | (gone.keys() & new)):
            self._report.add("row_altered", seal=seal.number, row=row_id)
        for row_id in sorted(gone.keys() - new):
            if retired is not None and gone[row_id] < retired:
                self._report.retired += 1
            else:
                self._report.add("row_missing", seal=seal.number, row=row_id)
        for row_id in sorted(new - gone.keys()):
            self._report.add("row_unknown", seal=seal.number, row=row_id)
        self._report.rows += len(found.keys() & known.keys()) - len(altered)

    def _look_for_the_future(self) -> None:
        with transaction.atomic():
            prepare_reading()
            found = sql.fetch(_FROM_THE_FUTURE, most=MOST_KEPT)
        for row in found:
            self._report.add("row_from_the_future", row=row.id)


def _exists(number: int) -> bool:
    return AuditSeal.objects.filter(pk=number).exists()


def _is_before(instant: datetime | None, limit: datetime | None) -> bool:
    return instant is not None and limit is not None and instant < limit
