"""Who was erased, in a file beside the database: a restored backup has not heard of it.

One line of JSON an erasure, appended and on the disk before anything is removed. It holds numbers
and an instant, nothing of a person. Keep it where backups of the database do not overwrite it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import orjson
import structlog
from django.conf import settings

from config.kernel.files import append_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An account, or a guest's order: its primary key, and a mark that no other will ever bear.

    The key alone is not enough: a restore sets sequences back, and it is given to somebody new.
    """

    kind: Literal["customer", "order"]
    id: int
    mark: str


def append(entry: Entry, *, at: datetime) -> None:
    """Write it down; it is on the disk when this returns.

    Raises:
        OSError: it cannot be written: then nothing may be erased.
    """
    line = orjson.dumps({**asdict(entry), "at": at}) + b"\n"
    path = Path(settings.ERASURE_JOURNAL)
    path.parent.mkdir(parents=True, exist_ok=True)
    append_lines(path, line)


def read() -> Iterator[Entry]:
    """All of it, oldest first; a line that says nothing is passed over, and logged."""
    path = Path(settings.ERASURE_JOURNAL)
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            entry = _parsed(line)
            if entry is None:
                log.warning("erasure_journal_line_skipped", line=number)
            else:
                yield entry


def _parsed(line: bytes) -> Entry | None:
    try:
        told = orjson.loads(line)
    except orjson.JSONDecodeError:  # its writer did not finish it
        return None
    match told:
        case {"kind": "customer" | "order" as kind, "id": int(key), "mark": str(mark)}:
            return Entry(kind=kind, id=key, mark=mark)
        case _:
            return None
