"""Who was erased, in a file beside the database: a restored backup has not heard of it.

One line of JSON an erasure, appended and on the disk before anything is removed. It holds numbers,
nothing of a person. Keep it where backups of the database do not overwrite it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import orjson
from django.conf import settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An account, or a guest's order, by its primary key."""

    kind: Literal["customer", "order"]
    id: int


def append(entry: Entry, *, at: datetime) -> None:
    """Write it down; it is on the disk when this returns.

    Raises:
        OSError: it cannot be written: then nothing may be erased.
    """
    line = orjson.dumps({"kind": entry.kind, "id": entry.id, "at": at}) + b"\n"
    path = Path(settings.ERASURE_JOURNAL)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line)  # one write: lines of two processes do not mix
        os.fsync(file)
    finally:
        os.close(file)


def read() -> Iterator[Entry]:
    """All of it, oldest first; a line that its writer did not finish is passed over."""
    path = Path(settings.ERASURE_JOURNAL)
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                told = orjson.loads(line)
                yield Entry(kind=told["kind"], id=told["id"])
