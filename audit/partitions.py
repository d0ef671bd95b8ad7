"""The audit log's months: made ahead, and dropped once they are sealed and nobody needs them."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from django.db import OperationalError, connection, transaction

from audit import services as audit
from audit.seals import chain, copies
from audit.seals.content import XID, prepare_reading
from audit.seals.sealing import lock_chain
from config.kernel import sql
from config.kernel.db import is_lock_timeout, short_transaction
from config.kernel.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

MONTHS_AHEAD: Final = 3
# Whoever writes into the log waits behind the lock that a DROP waits for: shortly, and again.
LOCK_WAIT: Final = "200ms"
TRIES: Final = 50
PAUSE_SECONDS: Final = 0.2
SEALS_AT_ONCE: Final = 1_000
_MONTH: Final = re.compile(r"audit_logs_(\d{4})_(\d{2})")


class NotSealedError(DomainError):
    """Rows that no seal covers would be gone without anybody knowing what they were."""

    code = "NOT_SEALED"
    status = 409


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A month that is gone, and how many rows it had."""

    partition: str
    rows: int


def make_ahead(*, months: int = MONTHS_AHEAD) -> int:
    """Make the partitions for this month and the next ones; returns how many were missing."""
    found: Any = sql.fetch_one(
        "SELECT count(*) FILTER (WHERE was_made) AS made FROM ("
        " SELECT audit_make_partition((now() + make_interval(months => ahead))::date) AS was_made"
        " FROM generate_series(0, %(months)s) AS ahead) months",
        months=months,
    )
    return int(found.made)


def count_before(month: date) -> int:
    """How many rows lie in the partitions of months before this one."""
    stays = datetime(month.year, month.month, 1, tzinfo=UTC)
    old = [partition for partition, until in _months() if until <= stays]
    return sum(sql.count(f"SELECT count(*) FROM {partition}") for partition in old)  # noqa: S608 - our own names


def drop_before(month: date) -> list[Dropped]:
    """Drop the partitions of all months before this one, oldest first; the seals stay.

    A month goes whole, once a seal covers each of its rows, in one transaction with the seal that
    says so (`retired_before`) and an audit row. Then the leaves of seals without a row left go,
    too: they are digests of what is not to be kept. Opens its own transactions; never call it
    inside one. Needs the tables' owner. Repeating it goes on where it ended. What lies in the
    default partition stays.

    Args:
        month: any day of the first month that stays; not later than the running month.

    Raises:
        NotSealedError: a month has rows that are not sealed; it and the later ones stay.
        OperationalError: the log was busy for all of `TRIES` tries; likewise.
        OSError: what was done is not in the copies of the seals yet; the next sealing makes up.
        ValueError: the month is yet to come.
    """
    stays = datetime(month.year, month.month, 1, tzinfo=UTC)
    if stays > datetime.now(tz=UTC):
        raise ValueError("only months that are over can be dropped")
    dropped = [_drop(partition, until=until) for partition, until in _months() if until <= stays]
    copies.catch_up()
    _forget_leaves()
    return dropped


def _months() -> Sequence[tuple[str, datetime]]:
    """The monthly partitions, oldest first, each with the moment at which its month ends (UTC)."""
    found = []
    for row in sql.fetch(
        "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
        " WHERE inhparent = 'audit_logs'::regclass ORDER BY relname"
    ):
        if named := _MONTH.fullmatch(row.relname):
            year, number = int(named[1]), int(named[2])
            until = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)
            found.append((row.relname, until))
    return found


def _drop(partition: str, *, until: datetime) -> Dropped:
    rows = _count(partition)
    for attempt in range(TRIES):
        try:
            _try_to_drop(partition, until=until, rows=rows)
        except OperationalError as exc:
            if not is_lock_timeout(exc) or attempt == TRIES - 1:
                raise
            time.sleep(PAUSE_SECONDS)  # the orders that waited behind us go first
        else:
            break
    return Dropped(partition=partition, rows=rows)


def _count(partition: str) -> int:
    """How many rows there are; of a large month it takes its time, and is in nobody's way."""
    with transaction.atomic():
        sql.execute("SET LOCAL statement_timeout = 0")
        return sql.count(f"SELECT count(*) FROM {partition}")  # noqa: S608 - our own name


def _try_to_drop(partition: str, *, until: datetime, rows: int) -> None:
    with short_transaction():
        sql.execute("SELECT set_config('lock_timeout', %(most)s, true)", most=LOCK_WAIT)
        lock_chain(wait=True)
        prepare_reading()
        last = chain.last()
        end = last.to_xid if last else 0
        held: Any = sql.fetch_one(
            f"""
            SELECT EXISTS (SELECT FROM {partition}) AS any_rows, clock_timestamp() AS now,
                   EXISTS (SELECT FROM {partition} a WHERE {XID} >= %(end)s) AS any_unsealed
            """,  # noqa: S608 - our own names
            end=end,
        )
        if held.any_unsealed:
            raise NotSealedError(f"Rows of {partition} are not sealed: run seal_audit first.")
        if held.any_rows:
            chain.add(
                after=last,
                to_xid=end,
                row_count=0,
                newest_at=None,
                retired_before=until,
                leaves=b"",
                created_at=held.now,
            )
        audit.record("AUDIT_PARTITION_DROPPED", data={"partition": partition, "rows": rows})
        sql.execute(f"DROP TABLE {partition}")


def _forget_leaves() -> None:
    """Blank the leaves of seals all of whose rows are retired and gone."""
    retired_before = chain.retired_before()
    if retired_before is None:
        return
    for numbers, begin, end in _pages(retired_before):
        with short_transaction():
            prepare_reading()
            sql.execute(
                f"""
                UPDATE audit_seals SET leaves = ''
                WHERE number = ANY(%(numbers)s) AND NOT EXISTS (
                    SELECT FROM (
                        SELECT DISTINCT {XID} AS xid FROM audit_logs a
                        WHERE {XID} >= %(begin)s AND {XID} < %(end)s
                    ) left_over WHERE xid >= from_xid AND xid < to_xid
                )
                """,  # noqa: S608 - our own expression
                numbers=numbers,
                begin=begin,
                end=end,
            )


def _pages(retired_before: datetime) -> Iterator[tuple[list[int], int, int]]:
    """Seals that still have leaves and whose newest row is retired, with their transactions."""
    after = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT number, from_xid, to_xid FROM audit_seals
                WHERE number > %s AND newest_at < %s AND length(leaves) > 0
                ORDER BY number LIMIT %s
                """,
                [after, retired_before, SEALS_AT_ONCE],
            )
            page = cursor.fetchall()
        if not page:
            return
        numbers = [number for number, _, _ in page]
        after = numbers[-1]
        yield numbers, page[0][1], page[-1][2]
