"""Writes a period of the audit log with its seals, so that an auditor needs neither us nor ours.

A ZIP: `log.jsonl` has the rows of whole seals, each seal behind its rows, and with it what tells
rows that were dropped on purpose from rows that are missing; `manifest.json` says what there is,
`manifest.sig` is its signature, and `verify.py` (`audit.seals.offline`) verifies all of it. Rows
come in the order of their transactions: the first and last seals may have some from before or
after the period, without which they could not be verified.

Every statement is short and on its own: what is sealed does not change. Memory does not grow with
the period.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Max, Min, Q, Sum
from django.utils import timezone

from audit.models import AuditSeal
from audit.seals import chain, keys, offline
from audit.seals.content import XID, parsed, prepare_reading, written
from audit.seals.verification import ROWS_AT_ONCE, SEALS_AT_ONCE
from config.kernel import sql
from config.kernel.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from typing import IO

    from audit.seals.chain import Seal

    Progress = Callable[[int, int], None]

STATEMENT_SECONDS: Final = 60
"""The role's own limits suit requests."""
NOTHING_SEALED: Final = (
    "no row of this period is sealed: is it one in which something happened? seal_audit seals now"
)
README: Final = """\
The audit log of {shop} from {begin} to {end}, as it was sealed.

log.jsonl      one JSON object a line: the rows of a seal, then the seal
manifest.json  what there is, its digest, and the public keys
manifest.sig   the signature of the manifest
verify.py      verifies all of it:

    pip install cryptography
    python verify.py FILE.zip --key PUBLIC-KEY

Ask the shop for its public key by another way than this file. verify.py says at its beginning
what it does; it is short enough to be read, or to be written anew.
"""

_PERIOD: Final = f"""
    SELECT min({XID}) AS oldest, max({XID}) FILTER (WHERE {XID} < %(sealed)s) AS newest,
           count(*) FILTER (WHERE {XID} >= %(sealed)s) AS unsealed
    FROM audit_logs a WHERE a.created_at >= %(begin)s AND a.created_at < %(end)s
"""  # noqa: S608 - our own expression
_ROWS: Final = f"""
    SELECT width_bucket({XID}, %(begins)s::bigint[]) AS nth, a.id,
           to_char(a.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')
               AS created_at,
           {XID} AS xid, a.event_type, a.entity_type, a.entity_id, a.user_id,
           a.ip_address::text AS ip_address, a.user_agent, a.data::text AS data, a.request_id
    FROM audit_logs a WHERE {XID} >= %(begin)s AND {XID} < %(end)s
    ORDER BY 1, a.id, a.created_at
"""  # noqa: S608 - our own expression


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """What a period comes to: seals by number, about how many rows, and how many have no seal."""

    begin: datetime
    end: datetime
    first_seal: int
    last_seal: int
    rows: int
    unsealed: int


@dataclass(slots=True, kw_only=True)
class Exported:
    """What was written.

    `gone` are rows that were dropped on purpose, `differing` seals whose other rows are not those
    that were sealed.
    """

    seals: int = 0
    rows: int = 0
    gone: int = 0
    differing: int = 0
    unsealed: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether it has all of the period, and an auditor will find it as it was sealed."""
        return not (self.differing or self.unsealed)


def find_extent(*, begin: datetime, end: datetime) -> Extent:
    """Which seals cover the rows written from `begin` on and before `end`.

    Opens its own transaction.

    Raises:
        NotFoundError: none does.
    """
    with _patiently():
        last = chain.last()
        found: Any = sql.fetch_one(_PERIOD, begin=begin, end=end, sealed=last.to_xid if last else 0)
        # By the rows that are there, and by what seals say: rows may have been taken away.
        covering = Q(newest_at__gte=begin, newest_at__lt=end)
        if found.newest is not None:
            covering |= Q(to_xid__gt=found.oldest, from_xid__lte=found.newest)
        seals = AuditSeal.objects.filter(row_count__gt=0)
        numbers = seals.filter(covering).aggregate(first=Min("number"), last=Max("number"))
        later = seals.filter(newest_at__gte=end, number__gt=numbers["last"] or 0)
        for number, leaves in later.order_by("number").values_list("number", "leaves")[:1]:
            first, until = written(begin), written(end)
            if any(first <= leaf.written < until for leaf in parsed(bytes(leaves))):
                numbers = {"first": numbers["first"] or number, "last": number}
        if numbers["first"] is None:
            raise NotFoundError(NOTHING_SEALED)
        covered = seals.filter(number__range=(numbers["first"], numbers["last"]))
        rows = covered.aggregate(rows=Sum("row_count"))["rows"]
    return Extent(
        begin=begin,
        end=end,
        first_seal=numbers["first"],
        last_seal=numbers["last"],
        rows=rows,
        unsealed=found.unsealed,
    )


def write(
    file: IO[bytes], extent: Extent, *, on_progress: Progress = lambda _rows, _total: None
) -> Exported:
    """Write the export; `file` need not be seekable.

    Opens its own transactions, short ones; never call it inside one.

    Args:
        file: takes the ZIP.
        extent: of the period.
        on_progress: is told how many of how many rows are written.
    """
    done = Exported(unsealed=extent.unsealed)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        with packed.open(offline.LOG, "w", force_zip64=True) as raw:
            log = _Log(raw)
            first = last = None
            for seal, rows in _seals_with_rows(extent):
                first, last = first or seal, seal
                _write_seal(log, seal, rows, done)
                on_progress(min(done.rows, extent.rows), extent.rows)
        assert first is not None  # noqa: S101 - the extent has seals
        assert last is not None  # noqa: S101 - likewise
        manifest = json.dumps(_manifest(extent, done, log, first, last), indent=2).encode()
        signature, key_id = keys.sign(digest := offline.manifest_digest(manifest))
        said = {"digest": digest.hex(), "signature": signature.hex(), "key_id": key_id}
        packed.writestr(offline.MANIFEST, manifest)
        packed.writestr(offline.SIGNATURE, json.dumps(said, indent=2))
        packed.writestr("verify.py", Path(offline.__file__).read_bytes())
        packed.writestr(
            "README.txt",
            README.format(shop=settings.SHOP_NAME, begin=extent.begin, end=extent.end),
        )
    return done


class _Log:
    """Lines on their way into the file, counted and digested."""

    def __init__(self, raw: IO[bytes]) -> None:
        self.digest = hashlib.sha256()
        self.size = self.lines = 0
        self._raw = raw

    def write(self, said: dict[str, Any]) -> None:
        line = json.dumps(said, separators=(",", ":")).encode() + b"\n"
        self._raw.write(line)
        self.digest.update(line)
        self.size, self.lines = self.size + len(line), self.lines + 1


def _write_seal(log: _Log, seal: Seal, rows: list[dict[str, Any]], done: Exported) -> None:
    """The rows of a seal, and the seal.

    If they are not all as they were sealed, with what it keeps of each row, and with the seal that
    says which rows were dropped on purpose.
    """
    for row in rows:
        log.write({"row": row})
    said = _as_json(seal)
    leaves = [_leaf(row) for row in rows]
    if hashlib.sha256(offline.in_order(leaves)).digest() != seal.root:
        kept = AuditSeal.objects.filter(pk=seal.number).values_list("leaves", flat=True).get()
        said["leaves"] = bytes(kept).hex()
        limit = None
        # Asked after the rows were read: a month goes with the seal that says so.
        if retiring := chain.retiring():
            said["retired_by"] = _as_json(retiring)
            limit = said["retired_by"]["retired_before"]
        wrong, gone = offline.compare(said, leaves, retired_before=limit)
        done.gone += gone
        done.differing += bool(wrong)
    log.write({"seal": said})
    done.seals += 1
    done.rows += len(rows)


def _leaf(row: dict[str, Any]) -> bytes:
    try:
        return offline.leaf_of(row)
    except (TypeError, ValueError):  # a moment that Python cannot tell, a tamperer's
        return offline.leaf_of_nothing(row["id"])


def _seals_with_rows(extent: Extent) -> Iterator[tuple[Seal, list[dict[str, Any]]]]:
    """Each seal with its rows; those of many seals are read together."""
    batch: list[Seal] = []
    rows = 0
    for seal in chain.read(after=extent.first_seal - 1, up_to=extent.last_seal):
        is_full = rows + seal.row_count > ROWS_AT_ONCE or len(batch) >= SEALS_AT_ONCE
        if batch and (is_full or batch[-1].to_xid != seal.from_xid):
            yield from _read_rows(batch)
            batch, rows = [], 0
        batch.append(seal)
        rows += seal.row_count
    yield from _read_rows(batch)


def _read_rows(batch: list[Seal]) -> Iterator[tuple[Seal, list[dict[str, Any]]]]:
    covering = [seal for seal in batch if seal.row_count]  # one that retires rows has none
    by_seal: dict[int, list[dict[str, Any]]] = {seal.number: [] for seal in batch}
    if covering:
        with _patiently():
            found = sql.fetch(
                _ROWS,
                begins=[seal.from_xid for seal in covering],
                begin=covering[0].from_xid,
                end=covering[-1].to_xid,
            )
        for row in found:
            said = row._asdict()
            by_seal[covering[said.pop("nth") - 1].number].append(said)
    for seal in batch:
        yield seal, by_seal[seal.number]


@contextlib.contextmanager
def _patiently() -> Iterator[None]:
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('statement_timeout', %s, true)", [f"{STATEMENT_SECONDS}s"]
        )
        prepare_reading()
        yield


def _as_json(seal: Seal) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for name in seal.__slots__:
        value = getattr(seal, name)
        if isinstance(value, bytes):
            value = value.hex()
        elif name in chain.INSTANTS and value is not None:
            value = value.isoformat()
        said[name] = value
    return said


def _manifest(extent: Extent, done: Exported, log: _Log, first: Seal, last: Seal) -> dict[str, Any]:
    return {
        "format": offline.FORMAT,
        "shop": settings.SHOP_NAME,
        "from": extent.begin.isoformat(),
        "to": extent.end.isoformat(),
        "made_at": timezone.now().isoformat(),
        "seals": {
            "first": first.number,
            "last": last.number,
            "count": done.seals,
            "previous": first.previous.hex(),
            "last_digest": last.digest.hex(),
        },
        "rows": done.rows,
        "unsealed": done.unsealed,
        "log": {
            "name": offline.LOG,
            "sha256": log.digest.hexdigest(),
            "bytes": log.size,
            "lines": log.lines,
        },
        "public_keys": keys.believed(),
    }
