"""What of an audit row counts: all of it, as bytes that no setting of a session changes.

The statement is ours and not a function in the database, which whoever owns that could replace.
`record_send` puts each column behind its length, NULL as a length of -1: no two rows have the same
bytes. Texts go in as UTF-8 bytes, whatever the client's encoding; times as microseconds.
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from audit.models import LEAF_BYTES
from config.kernel import sql

if TYPE_CHECKING:
    from collections.abc import Iterator

XID: Final = "((a.xid)::text)::bigint"
"""The writing transaction's number, as `idx_audit_logs_xid` has it: a BRIN index knows no xid8."""
_TEXTS: Final = ("event_type", "entity_type", "ip_address", "user_agent", "data", "request_id")
_COLUMNS: Final = ", ".join(f"convert_to(a.{name}::text, 'UTF8')" for name in _TEXTS)
_HASH: Final = f"""
    sha256(record_send(ROW(a.id, a.created_at, {XID}, a.entity_id, a.user_id, {_COLUMNS})))
"""
LEAF: Final = f"int8send(a.id) || timestamptz_send(a.created_at) || {_HASH}"
"""SQL: what a seal keeps of row `a`, `LEAF_BYTES` long."""
PREPARE_READING: Final = """
    SELECT pg_catalog.set_config(
        'search_path',
        pg_catalog.concat('pg_catalog, ', pg_catalog.current_setting('search_path')),
        true
    ), pg_catalog.set_config('enable_seqscan', 'off', true)
"""
"""SQL: for the rest of the transaction, rows are looked up as statements of this package mean it.

Names mean PostgreSQL's own functions and operators, whatever the role's search path; and rows are
found by the index over their transactions, also where a month has no statistics yet and PostgreSQL
would rather read all of it.
"""
_LEAF: Final = struct.Struct(">qq32s")
assert _LEAF.size == LEAF_BYTES  # noqa: S101 - for who reads
_2000: Final = datetime(2000, 1, 1, tzinfo=UTC)  # where PostgreSQL's microseconds begin


class Leaf(NamedTuple):
    """A row as its seal knows it: its id, its microseconds since 2000, the SHA-256 of all of it."""

    row: int
    written: int
    sha256: bytes


def parsed(leaves: bytes) -> Iterator[Leaf]:
    """The leaves of a seal, by row; what a tamperer left over at the end is passed over."""
    whole = len(leaves) // LEAF_BYTES * LEAF_BYTES
    return (Leaf(*found) for found in _LEAF.iter_unpack(leaves[:whole]))


def written(instant: datetime) -> int:
    """An instant as leaves have it."""
    return (instant - _2000) // timedelta(microseconds=1)


def prepare_reading() -> None:
    """Run `PREPARE_READING`; requires a transaction."""
    sql.execute(PREPARE_READING)
