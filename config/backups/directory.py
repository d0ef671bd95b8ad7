"""A backup directory: what lies where in it, and whose history it holds.

    archive.json            whose: one server, one timeline; and the name of its replication slot
    base/NAME/data          a copy of the data directory, with PostgreSQL's own manifest
    base/NAME/backup.json   from when to when it was made; it is written last
    wal/                    the segments of the write-ahead log, as `pg_receivewal` writes them

One directory is one unbroken history. A server that was restored writes another one, and gets
another directory: what was before stays as it is. The names of base backups sort by their age.
Only their owner may read any of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from config.backups.errors import BackupError
from config.kernel.files import sync_names
from config.processes import FileLock, write_private

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from config.backups.server import Origin

FORMAT: Final = 1
LOG_FILE_BYTES: Final = 2**32  # the segments of one have the same middle part in their names
SEGMENT: Final = re.compile(r"^[0-9A-F]{24}$")
PARTIAL: Final = ".partial"
UNFINISHED: Final = ".unfinished-"
OWNER_ONLY: Final = 0o700
FOR_OWNER_ALONE: Final = 0o077  # as a mask of what others may not
# A file system's own, and our locks; everything else in a directory is somebody's.
OF_THE_FILE_SYSTEM: Final = frozenset({"lost+found"})
NOBODYS: Final = OF_THE_FILE_SYSTEM | {"archive.lock", "backup.lock", "follow.lock"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """Whose history the directory holds."""

    system_identifier: str
    timeline: int
    segment_bytes: int
    slot: str

    def number_of(self, position: int) -> int:
        """The number of the segment with this position (in bytes) of the log."""
        return position // self.segment_bytes

    def name_of(self, number: int) -> str:
        """The file of a segment, by its number."""
        high, low = divmod(number, LOG_FILE_BYTES // self.segment_bytes)
        return f"{self.timeline:08X}{high:08X}{low:08X}"

    def number_in(self, name: str) -> int:
        """The number of a segment, by its file."""
        return int(name[8:16], 16) * (LOG_FILE_BYTES // self.segment_bytes) + int(name[16:24], 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseBackup:
    """One complete base backup.

    Times are those of the server's clock; positions in the log are in bytes. What was committed
    before `began_at` is in it, and nothing that was committed after `ended_at`.
    """

    path: Path
    began_at: datetime
    ended_at: datetime
    start: int
    end: int
    major: int
    size: int

    @property
    def name(self) -> str:
        """Its directory's."""
        return self.path.name

    @property
    def data(self) -> Path:
        """The copy of the data directory."""
        return self.path / "data"


class BackupDirectory:
    """One that is there, or is to be."""

    def __init__(self, root: Path) -> None:
        """Nothing is read or made yet."""
        self.root = root.absolute()
        self.base = self.root / "base"
        self.wal = self.root / "wal"

    # --- whose it is ---

    def archive(self) -> Archive:
        """Whose history it holds.

        Raises:
            BackupError: it is no backup directory.
        """
        try:
            told = json.loads((self.root / "archive.json").read_text())
        except FileNotFoundError:
            raise BackupError(f"{self.root} is no backup directory") from None
        except (OSError, ValueError) as exc:
            raise BackupError(f"{self.root}/archive.json cannot be read: {exc}") from exc
        if told.pop("format", None) != FORMAT:
            raise BackupError(f"{self.root} was written by another version of Orderkeep")
        return Archive(**told)

    def adopt(self, origin: Origin) -> Archive:
        """Make the directory if there is none, and make sure that it is this server's.

        Raises:
            BackupError: something else lies there, or another history.
        """
        # Whoever copies and whoever follows may be the first, both at once.
        beginning = FileLock(self.root / "archive.lock")
        beginning.acquire()
        try:
            if not (self.root / "archive.json").exists():
                self._begin(origin)
        finally:
            beginning.release()
        archive = self.archive()
        ours = (archive.system_identifier, archive.timeline)
        if ours != (origin.system_identifier, origin.timeline):
            raise BackupError(
                f"{self.root} holds the history of another server, or of this one before it was"
                " restored: begin a new directory, and keep this one as long as you may want to go"
                " back there"
            )
        for directory in (self.base, self.wal):
            directory.mkdir(mode=OWNER_ONLY, exist_ok=True)
        return archive

    def _begin(self, origin: Origin) -> None:
        try:
            if {entry.name for entry in self.root.iterdir()} - NOBODYS:
                raise BackupError(
                    f"{self.root} is not empty and no backup directory: name a new one"
                )
            self.root.chmod(OWNER_ONLY)
        except OSError as exc:
            raise BackupError(f"{self.root} cannot be used: {exc.strerror}") from exc
        archive = Archive(
            system_identifier=origin.system_identifier,
            timeline=origin.timeline,
            segment_bytes=origin.segment_bytes,
            slot=f"orderkeep_{secrets.token_hex(4)}",
        )
        told = {"format": FORMAT, **asdict(archive)}
        write_private(self.root / "archive.json", json.dumps(told, indent=1) + "\n")
        sync_names(self.root)

    # --- who is at work in it ---

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Have it for oneself, except for who follows the log.

        Raises:
            BackupError: another backup, restore or drill is at work, or it cannot be written to.
        """
        with self._locked("backup.lock", shared=False):
            yield

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Have nothing removed meanwhile; a copy that cannot be written to needs no lock.

        Raises:
            BackupError: a backup is at work.
        """
        if not os.access(self.root, os.W_OK):
            yield
            return
        with self._locked("backup.lock", shared=True):
            yield

    @contextlib.contextmanager
    def following(self) -> Iterator[None]:
        """Be the one who receives the log.

        Raises:
            BackupError: another one does already.
        """
        with self._locked("follow.lock", shared=False):
            yield

    @contextlib.contextmanager
    def _locked(self, name: str, *, shared: bool) -> Iterator[None]:
        lock = FileLock(self.root / name)
        try:
            if not self.root.exists():
                self.root.mkdir(mode=OWNER_ONLY, parents=True)
            is_ours = lock.acquire(shared=shared, wait=False)
        except OSError as exc:
            raise BackupError(f"{self.root} cannot be used: {exc.strerror}") from exc
        if not is_ours:
            raise BackupError(f"{self.root} is in use: another command is at work there")
        try:
            yield
        finally:
            lock.release()

    # --- what is in it ---

    def bases(self) -> list[BaseBackup]:
        """The complete base backups, oldest first."""
        if not self.base.is_dir():
            return []
        complete = [
            path
            for path in self.base.iterdir()
            if not path.name.startswith(UNFINISHED) and (path / "backup.json").exists()
        ]
        return [read_base(path) for path in sorted(complete)]

    def segments(self) -> set[str]:
        """The complete segments of the log, by file name."""
        return {name for name in self._in_wal() if SEGMENT.match(name)}

    def partials(self) -> set[str]:
        """The segments that are being received, without the ending of their files."""
        names = {name.removesuffix(PARTIAL) for name in self._in_wal() if name.endswith(PARTIAL)}
        return {name for name in names if SEGMENT.match(name)}

    def has_log(self) -> bool:
        """Whether anything of the log was received ever."""
        return bool(self.segments() or self.partials())

    def _in_wal(self) -> list[str]:
        return [entry.name for entry in self.wal.iterdir()] if self.wal.is_dir() else []


def read_base(path: Path) -> BaseBackup:
    """What `write_base` wrote."""
    told = json.loads((path / "backup.json").read_text())
    return BaseBackup(
        path=path,
        began_at=datetime.fromisoformat(told["began_at"]),
        ended_at=datetime.fromisoformat(told["ended_at"]),
        start=position(told["start"]),
        end=position(told["end"]),
        major=told["postgresql"],
        size=told["bytes"],
    )


def write_base(path: Path, *, began_at: datetime, ended_at: datetime, major: int) -> None:
    """Write down what a base backup is; from PostgreSQL's manifest where that tells it."""
    manifest = json.loads((path / "data" / "backup_manifest").read_text())
    [needed] = manifest["WAL-Ranges"]
    told: dict[str, Any] = {
        "began_at": began_at.isoformat(),
        "ended_at": ended_at.isoformat(),
        "start": needed["Start-LSN"],
        "end": needed["End-LSN"],
        "postgresql": major,
        "bytes": sum(file["Size"] for file in manifest["Files"]),
    }
    write_private(path / "backup.json", json.dumps(told, indent=1) + "\n")


def position(told: str) -> int:
    """A position in the log, `0/2000028`, in bytes."""
    high, _, low = told.partition("/")
    return int(high, 16) * LOG_FILE_BYTES + int(low, 16)


def lsn(position: int) -> str:
    """The same the other way round, as PostgreSQL's programs take it."""
    high, low = divmod(position, LOG_FILE_BYTES)
    return f"{high:X}/{low:X}"


@contextlib.contextmanager
def readable_by_owner_alone() -> Iterator[None]:
    """Whatever is made meanwhile is for nobody else's eyes."""
    before = os.umask(FOR_OWNER_ALONE)
    try:
        yield
    finally:
        os.umask(before)
