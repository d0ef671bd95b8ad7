"""Copies of the seals outside the database: who rewrites the log and its seals cannot reach them.

A file a month in `AUDIT_SEAL_DIR`, a line of JSON a seal, in the order of their numbers. Lines are
only ever appended, under a lock, by whichever sealer comes first: it writes all that are missing,
its own and those of a sealer that died before it came to this.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
from django.conf import settings

from audit.models import DIGEST_BYTES, SEAL_FIELDS, SIGNATURE_BYTES
from audit.seals import chain
from audit.seals.chain import Seal
from config.kernel.files import append_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

AT_ONCE: Final = 1_000
_FILES: Final = "seals-????-??.jsonl"
_LOCK: Final = "lock"
_TAIL_BYTES: Final = 16_384
_BINARY: Final = {
    "root": DIGEST_BYTES,
    "previous": DIGEST_BYTES,
    "digest": DIGEST_BYTES,
    "signature": SIGNATURE_BYTES,
}
_NUMBERS: Final = ("number", "from_xid", "to_xid", "row_count")
_BIGGEST: Final = 2**63 - 1
_NO_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Line(NamedTuple):
    """A line of a copy. `seal` is None where it is none."""

    place: str
    seal: Seal | None


def catch_up() -> int:
    """Append every seal that the copies lack; they are on the disk when this returns.

    Waits for whoever is doing the same. Repeating it appends nothing.

    Returns:
        How many were appended.

    Raises:
        OSError: they cannot be written. What was written stays, the rest follows another time.
    """
    appended = 0
    directory = _directory()
    with _locked(directory):
        missing = chain.read(after=_last_number(directory))
        while page := list(itertools.islice(missing, AT_ONCE)):
            _append(directory, page)
            appended += len(page)
    return appended


def read(*, after: int = 0) -> Iterator[Line]:
    """All lines, in the order of the files, without seals up to the number `after`.

    What a writer that died left of a line is passed over: it stands at the end of its file, or the
    next writer wrote the whole of it behind it.
    """
    for path in _files(Path(settings.AUDIT_SEAL_DIR)):
        unread: tuple[str, bytes] | None = None
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if unread and not line.startswith(unread[1].rstrip(b"\n")):
                    yield Line(unread[0], None)
                unread = None
                place = f"{path.name}:{number}"
                seal = _parsed(line)
                if seal is None:
                    unread = (place, line)
                elif seal.number > after:
                    yield Line(place, seal)
        if unread and unread[1].endswith(b"\n"):
            yield Line(unread[0], None)


# --- writing --------------------------------------------------------------------------------------


def _directory() -> Path:
    directory = Path(settings.AUDIT_SEAL_DIR)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    lock = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)  # and with it the lock goes


def _append(directory: Path, seals: Sequence[Seal]) -> None:
    latest = max((path.name for path in _files(directory)), default="")
    by_file: dict[str, bytes] = {}
    for seal in seals:
        # Never into an earlier file, should the clock have been set back.
        latest = max(latest, f"seals-{seal.created_at or _NO_TIME:%Y-%m}.jsonl")
        by_file[latest] = by_file.get(latest, b"") + _line(seal)
    for name, lines in by_file.items():
        append_lines(directory / name, lines)


def _last_number(directory: Path) -> int:
    for path in reversed(_files(directory)):
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(max(0, size - _TAIL_BYTES))
            for line in reversed(file.read().splitlines()):
                if seal := _parsed(line):
                    return seal.number
    return 0


def _files(directory: Path) -> list[Path]:
    return sorted(directory.glob(_FILES))


# --- a line ---------------------------------------------------------------------------------------


def _line(seal: Seal) -> bytes:
    said = asdict(seal)
    for name in _BINARY:
        said[name] = said[name].hex()
    return orjson.dumps(said) + b"\n"


def _parsed(line: bytes) -> Seal | None:
    try:
        said = orjson.loads(line)
        if not isinstance(said, dict) or set(said) != set(SEAL_FIELDS):
            return None
        return Seal(**{name: _value(name, value) for name, value in said.items()})
    except (ValueError, TypeError):
        return None


def _value(name: str, value: Any) -> Any:
    if name in _NUMBERS:
        if type(value) is not int or not 0 <= value <= _BIGGEST:
            raise ValueError(name)
        return value
    if name in _BINARY:
        found = bytes.fromhex(value)
        if len(found) != _BINARY[name]:
            raise ValueError(name)
        return found
    if name in chain.INSTANTS:
        if value is None:
            return None
        instant = datetime.fromisoformat(value)
        if instant.tzinfo is None:
            raise ValueError(name)
        return instant
    return str(value)
