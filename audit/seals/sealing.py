"""Seals what the audit log holds so far. Never on the way of an order: a worker comes by.

A row is covered once no transaction runs any more that began before its own was numbered
(`pg_snapshot_xmin`): only then can nothing be added to the stretch. So a transaction that stays
open holds the sealing up, and never makes it miss a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog
from django.db import connection

from audit.models import LEAF_BYTES, AuditSeal
from audit.seals import chain, copies
from audit.seals.content import LEAF, PREPARE_READING, XID, prepare_reading
from config.kernel import sql
from config.kernel.db import short_transaction
from config.kernel.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from config.kernel.clock import Deadline

ROWS_AT_ONCE: Final = 10_000
"""Of a seal, about: it takes whole transactions."""
MOST_COUNTED: Final = 100_000
LOCK: Final = 0x1490_40  # any number that nothing else locks by

_NEXT: Final = f"""
    SELECT count(*) AS found, max(xid) AS newest
    FROM (SELECT {XID} AS xid FROM audit_logs a
          WHERE {XID} >= %(begin)s AND {XID} < %(horizon)s AND a.id > %(after_row)s
          ORDER BY a.id LIMIT %(most)s) next
"""  # noqa: S608 - our own expressions
# Somebody may have written a moment that Python cannot tell: it must not keep us from sealing it.
_ROWS: Final = f"""
    SELECT count(*) AS row_count,
           greatest(least(max(created_at), '9999-01-01'), '1970-01-01') AS newest_at,
           clock_timestamp() AS now,
           string_agg(leaf, ''::bytea ORDER BY id, created_at) AS leaves
    FROM (SELECT a.id, a.created_at, {LEAF} AS leaf FROM audit_logs a
          WHERE {XID} >= %(begin)s AND {XID} < %(end)s) covered
"""  # noqa: S608 - our own expressions
_HORIZON: Final = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xid"
_WAITING: Final = f"""
    WITH waiting AS MATERIALIZED (
        SELECT a.id, a.created_at FROM audit_logs a
        WHERE {XID} >= coalesce((SELECT to_xid FROM audit_seals ORDER BY number DESC LIMIT 1), 0)
        LIMIT %(most)s
    )
    SELECT count(*) AS rows,
           CASE WHEN count(*) > 0
                THEN greatest(least(min(created_at), '9999-01-01'), '1970-01-01') END AS oldest_at,
           (array_agg(id ORDER BY created_at, id))[1] AS oldest_row
    FROM waiting
"""  # noqa: S608 - our own expressions

log = structlog.get_logger(__name__)


class TransactionsBeganAnewError(DomainError):
    """The database numbers its transactions below the last seal: it is not the one that made it."""

    code = "TRANSACTIONS_BEGAN_ANEW"
    status = 409
    message = (
        "The database's transaction numbers lie below the last seal's: it was loaded from a dump."
        " docs/audit.md says how to raise them."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """What one run did. `copy_error` says why the copies are not complete; empty if they are."""

    seals: int = 0
    rows: int = 0
    copied: int = 0
    copy_error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """Rows that no seal covers yet, up to `MOST_COUNTED`, and the one that waits longest."""

    rows: int
    oldest_row: int | None
    oldest_at: datetime | None


def seal_all(
    *, deadline: Deadline | None = None, on_progress: Callable[[int], None] = lambda _rows: None
) -> Sealed:
    """Seal until nothing is left that may be sealed, and copy the seals outside.

    Opens its own transactions, one a seal; never call it inside one. Any number may run at once:
    one of them seals, the others do nothing. Without rows there is no seal.

    Args:
        deadline: after this no further seal is begun.
        on_progress: is told how many rows are sealed so far.

    Raises:
        TransactionsBeganAnewError: nothing may be sealed in this database; nothing was.
    """
    seals = rows = 0
    while deadline is None or deadline.remaining() > 0:
        seal = _seal_next()
        if seal is None:
            break
        seals, rows = seals + 1, rows + seal.row_count
        on_progress(rows)
    try:
        copied, copy_error = copies.catch_up(), ""
    except OSError as exc:
        copied, copy_error = 0, exc.strerror or type(exc).__name__
        log.error("audit_seals_not_copied", error=copy_error)  # noqa: TRY400 - the cause is told
    return Sealed(seals=seals, rows=rows, copied=copied, copy_error=copy_error)


def lock_chain(*, wait: bool) -> bool:
    """Be the only one who adds seals, until the end of the transaction; False: somebody else is."""
    if wait:
        sql.execute("SELECT pg_advisory_xact_lock(%(lock)s)", lock=LOCK)
        return True
    found = sql.fetch_one("SELECT pg_try_advisory_xact_lock(%(lock)s) AS mine", lock=LOCK)
    assert found is not None  # noqa: S101 - one row always
    return bool(found.mine)


def find_lag() -> Lag:
    """How far the sealing is behind; one round trip, for a page that everybody opens."""
    found: Any = sql.fetch_one(f"{PREPARE_READING}; {_WAITING}", most=MOST_COUNTED)
    return Lag(rows=found.rows, oldest_row=found.oldest_row, oldest_at=found.oldest_at)


def _sealed_up_to() -> int:
    """The first transaction that the last seal does not cover."""
    return AuditSeal.objects.order_by("-number").values_list("to_xid", flat=True).first() or 0


def is_sealed(*, row_id: int) -> bool:
    """Whether a seal covers a row."""
    found = sql.fetch_one(
        f"SELECT {XID} < %(end)s AS is_sealed FROM audit_logs a WHERE a.id = %(row_id)s",  # noqa: S608 - our own expression
        end=_sealed_up_to(),
        row_id=row_id,
    )
    return bool(found and found.is_sealed)


def _seal_next() -> AuditSeal | None:
    """One seal more; None if there is nothing to seal, or somebody else is at it."""
    with short_transaction():
        if not lock_chain(wait=False):
            return None
        prepare_reading()
        last = chain.last()
        begin = last.to_xid if last else 0
        end = _end(begin)
        if end <= begin:
            return None
        found: Any = sql.fetch_one(_ROWS, begin=begin, end=end)
        if not found.row_count:
            return None
        return chain.add(
            after=last,
            to_xid=end,
            row_count=found.row_count,
            newest_at=found.newest_at,
            retired_before=None,
            leaves=bytes(found.leaves),
            created_at=found.now,
        )


def _end(begin: int) -> int:
    """Where the next seal ends: about `ROWS_AT_ONCE` rows on, or where transactions still run.

    Rows are numbered nearly in the order of their transactions. It need not be exact: whatever the
    end, all rows of the transactions before it are covered.
    """
    horizon: Any = sql.fetch_one(_HORIZON)
    if horizon.xid < begin:
        raise TransactionsBeganAnewError
    found: Any = sql.fetch_one(
        _NEXT,
        begin=begin,
        horizon=horizon.xid,
        after_row=_last_row(),
        most=ROWS_AT_ONCE,
    )
    return int(horizon.xid if found.found < ROWS_AT_ONCE else found.newest + 1)


def _last_row() -> int:
    """The highest id in the last seal that covers rows; 0 if its leaves are gone."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT substr(leaves, length(leaves) + 1 - %s, 8) FROM audit_seals"
            " WHERE row_count > 0 ORDER BY number DESC LIMIT 1",
            [LEAF_BYTES],
        )
        found = cursor.fetchone()
    return int.from_bytes(bytes(found[0]), signed=True) if found else 0
