"""Files that have to be on the disk: lines appended to, names kept."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def append_lines(path: Path, lines: bytes) -> None:
    """Append whole lines to a file for its owner alone; they are on the disk when this returns.

    One write: lines of two processes do not mix. A line whose writer did not come to its end is
    ended first, so that it spoils no other.

    Raises:
        OSError: they cannot be written, or only a part of them was.
    """
    is_new = not path.exists()
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        if _is_torn(file):
            lines = b"\n" + lines
        if os.write(file, lines) < len(lines):
            raise OSError(errno.ENOSPC, "The disk took a part of the lines", str(path))
        os.fsync(file)
    finally:
        os.close(file)
    if is_new:
        sync_names(path.parent)


def sync_names(directory: Path) -> None:
    """Have the names in a directory on the disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_torn(file: int) -> bool:
    """Whether the last writer did not come to the end of its line."""
    size = os.fstat(file).st_size
    return size > 0 and os.pread(file, 1, size - 1) != b"\n"
