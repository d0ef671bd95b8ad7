"""Takes base backups, and removes old ones.

A base backup appears under its name only when it is complete, verified and on the disk. One that
was killed lies under another name, and the next one clears it away.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from config.backups import wal_archive
from config.backups.directory import (
    UNFINISHED,
    read_base,
    readable_by_owner_alone,
    write_base,
)
from config.backups.programs import Programs
from config.kernel.files import sync_names

if TYPE_CHECKING:
    from pathlib import Path

    from config.backups.directory import Archive, BackupDirectory, BaseBackup
    from config.backups.server import Server
    from config.backups.wal_archive import Following
    from config.kernel.commands import ShowStep

KEPT: Final = 7
NAME: Final = "%Y%m%dT%H%M%S.%fZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What came of it; `removed` are the names of base backups that were too many."""

    base: BaseBackup
    kept: int
    removed: list[str]
    segments_removed: int
    following: Following


def take(directory: BackupDirectory, *, server: Server, keep: int, on_progress: ShowStep) -> Taken:
    """Take a base backup, verify it, and only then remove what is too old.

    The shop goes on meanwhile; the server is asked for a checkpoint and its files.

    Args:
        directory: made if there is none.
        server: the primary.
        keep: so many base backups are left, this one among them, and the log since the oldest.
        on_progress: takes the step, bytes done, bytes to be done.

    Raises:
        UnavailableError: the server or PostgreSQL's programs are missing.
        BackupError: it is not complete, or not sound; nothing looks as if it were.
    """
    origin = server.origin()
    programs = Programs(major=origin.major)
    with directory.changing(), readable_by_owner_alone():
        archive = directory.adopt(origin)
        _clear_unfinished(directory)
        began_at = server.now()
        name = began_at.strftime(NAME)
        unfinished = directory.base / f"{UNFINISHED}{name}"
        unfinished.mkdir()
        try:
            _copy(programs, server, unfinished, on_progress=on_progress)
            ended_at = server.now()
            verify(programs, unfinished, on_progress=on_progress)
            write_base(unfinished, began_at=began_at, ended_at=ended_at, major=origin.major)
            sync_names(unfinished)
            unfinished.rename(directory.base / name)
        except BaseException:  # whoever is interrupted leaves no half copy either; passed on
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        sync_names(directory.base)
        removed = _remove_old_bases(directory, keep=keep)
        segments_removed = _remove_old_segments(directory, archive)
        return Taken(
            base=read_base(directory.base / name),
            kept=len(directory.bases()),
            removed=removed,
            segments_removed=segments_removed,
            following=wal_archive.following(directory, archive, server=server),
        )


def verify(programs: Programs, base: Path, *, on_progress: ShowStep) -> None:
    """Hold every file against PostgreSQL's manifest, and read the log that belongs to it.

    Raises:
        BackupError: it is not what was copied; the message names the first file that differs.
    """
    programs.run(
        "pg_verifybackup",
        "--progress",
        str(base / "data"),
        on_progress=lambda done, total: on_progress("Verifying", done, total),
    )


def _copy(programs: Programs, server: Server, unfinished: Path, *, on_progress: ShowStep) -> None:
    programs.run(
        "pg_basebackup",
        f"--dbname={server.dsn}",
        f"--pgdata={unfinished / 'data'}",
        "--checkpoint=fast",
        "--wal-method=stream",  # so that it can be restored without the archive
        "--label=orderkeep",
        "--progress",
        "--no-password",
        environment=server.environment,
        on_progress=lambda done, total: on_progress("Copying", done, total),
    )


def _clear_unfinished(directory: BackupDirectory) -> None:
    for path in directory.base.glob(f"{UNFINISHED}*"):
        shutil.rmtree(path)


def _remove_old_bases(directory: BackupDirectory, *, keep: int) -> list[str]:
    too_many = directory.bases()[:-keep]
    for base in too_many:
        doomed = directory.base / f"{UNFINISHED}{base.name}"
        base.path.rename(doomed)  # killed half-way, what is left of it looks like nothing
        shutil.rmtree(doomed)
    return [base.name for base in too_many]


def _remove_old_segments(directory: BackupDirectory, archive: Archive) -> int:
    oldest_needed = archive.name_of(archive.number_of(directory.bases()[0].start))
    too_old = [name for name in directory.segments() if name < oldest_needed]
    for name in too_old:
        (directory.wal / name).unlink()
    return len(too_old)
