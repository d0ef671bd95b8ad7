"""Files that have to be on the disk: lines appended to, names kept, none half written."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO


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


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which gets its name only when the block has ended and it is on the disk.

    Until then, and if anything goes wrong, whatever had the name before keeps it. Who is killed
    in between leaves `.NAME.….part` behind.

    Raises:
        OSError: it cannot be written there, or something that is not a file has the name.
    """
    final = path.resolve()  # a link stays a link
    if final.exists() and not final.is_file():
        raise OSError(f"{path} is not a file")
    part = final.with_name(f".{final.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(final)
    except BaseException:  # whoever is interrupted leaves no half file either; passed on
        part.unlink(missing_ok=True)
        raise
    sync_names(final.parent)


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
