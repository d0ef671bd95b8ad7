"""What of a seal counts, and how each continues the one before."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Case, F, When

from audit.models import DIGEST_BYTES, SEAL_FIELDS, AuditSeal
from audit.seals import keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.models import QuerySet

BEFORE_THE_FIRST: Final = bytes(DIGEST_BYTES)
"""What the first seal has for the digest before it."""
NO_ROWS: Final = hashlib.sha256(b"").digest()
"""The root of a seal that covers nothing."""
PAGE: Final = 2_000
INSTANTS: Final = ("newest_at", "retired_before", "created_at")
_KNOWN: Final = (datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC))
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER: Final = -(2**63)
# The name comes first, so that the key signs nothing that could be taken for something else.
_FIELDS: Final = struct.Struct(">23s32sqqqqqqq32s")
_NAME: Final = b"orderkeep audit seal 1\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """A seal without its leaves: as the database has it, or the copy outside."""

    number: int
    from_xid: int
    to_xid: int
    row_count: int
    newest_at: datetime | None
    retired_before: datetime | None
    root: bytes
    previous: bytes
    digest: bytes
    signature: bytes
    key_id: str
    created_at: datetime | None

    @property
    def is_whole(self) -> bool:
        """Whether the digest is that of the other columns."""
        return self.digest == digest_of(self)

    @property
    def is_signed(self) -> bool:
        """Whether a key that is believed signed the digest."""
        return keys.is_signed(self.digest, signature=self.signature, key_id=self.key_id)

    @property
    def is_authentic(self) -> bool:
        """Whether it is as it was made."""
        return self.is_whole and self.is_signed


def digest_of(seal: Any) -> bytes:
    """SHA-256 of all that a seal says, whatever its digest and its signature are."""
    said = _FIELDS.pack(
        _NAME,
        bytes(seal.previous),
        seal.number,
        seal.from_xid,
        seal.to_xid,
        seal.row_count,
        _microseconds(seal.newest_at),
        _microseconds(seal.retired_before),
        _microseconds(seal.created_at),
        bytes(seal.root),
    )
    return hashlib.sha256(said).digest()


def add(
    *,
    after: Seal | None,
    to_xid: int,
    row_count: int,
    newest_at: datetime | None,
    retired_before: datetime | None,
    leaves: bytes,
    created_at: datetime,
) -> AuditSeal:
    """Write the seal that continues `after` (None: the first one), signed.

    Requires an open transaction that has locked the chain.
    """
    seal = AuditSeal(
        number=after.number + 1 if after else 1,
        from_xid=after.to_xid if after else 0,
        to_xid=to_xid,
        row_count=row_count,
        newest_at=newest_at,
        retired_before=retired_before,
        leaves=leaves,
        root=hashlib.sha256(leaves).digest(),
        previous=after.digest if after else BEFORE_THE_FIRST,
        created_at=created_at,
    )
    seal.digest = digest_of(seal)
    seal.signature, seal.key_id = keys.sign(seal.digest)
    seal.save(force_insert=True)
    return seal


def last() -> Seal | None:
    """The end of the chain."""
    return next(_read(AuditSeal.objects.order_by("-number")[:1]), None)


def retiring() -> Seal | None:
    """Of the seals that say rows were dropped on purpose and can be believed, the furthest one."""
    saying = _read(AuditSeal.objects.filter(retired_before__isnull=False))
    found = (seal for seal in saying if seal.retired_before and seal.is_authentic)
    return max(found, key=lambda seal: seal.retired_before or _KNOWN[0], default=None)


def retired_before() -> datetime | None:
    """Which rows were dropped on purpose, by what seals say that can be believed; None: no rows."""
    seal = retiring()
    return seal.retired_before if seal else None


def read(*, after: int, up_to: int | None = None) -> Iterator[Seal]:
    """All with a higher number than `after`, up to the other, in their order, page by page."""
    seals = AuditSeal.objects.order_by("number")
    if up_to is not None:
        seals = seals.filter(number__lte=up_to)
    while True:
        found = list(_read(seals.filter(number__gt=after)[:PAGE]))
        yield from found
        if len(found) < PAGE:
            return
        after = found[-1].number


def _read(seals: QuerySet[AuditSeal]) -> Iterator[Seal]:
    """Without leaves. Instants that Python does not know, a tamperer's, are read as none."""
    instants: dict[str, Any] = {
        f"{name}_read": Case(When(**{f"{name}__range": _KNOWN}, then=F(name))) for name in INSTANTS
    }
    plain = [name for name in SEAL_FIELDS if name not in INSTANTS]
    for values in seals.annotate(**instants).values(*plain, *instants):
        read: dict[str, Any] = {
            name.removesuffix("_read"): bytes(value) if isinstance(value, memoryview) else value
            for name, value in values.items()
        }
        yield Seal(**read)


def _microseconds(instant: datetime | None) -> int:
    return _NEVER if instant is None else (instant - _EPOCH) // timedelta(microseconds=1)
