"""Makes a data directory of a backup: the database as it was at a moment, or at the very end.

The files are copied here; the log is replayed by the server when it is started on them, and ends
at that moment. From then on it writes a history of its own (a new timeline).
"""

from __future__ import annotations

import os
import shlex
import shutil
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Final

from config.backups.base_backup import verify
from config.backups.directory import (
    OF_THE_FILE_SYSTEM,
    OWNER_ONLY,
    PARTIAL,
    readable_by_owner_alone,
)
from config.backups.errors import BackupError
from config.backups.programs import Programs
from config.backups.wal_archive import reach

if TYPE_CHECKING:
    from datetime import datetime

    from config.backups.directory import Archive, BackupDirectory, BaseBackup
    from config.backups.wal_archive import Reach
    from config.kernel.commands import ShowStep

# Without it no server starts: it is copied when everything else is in its place.
CONTROL_FILE: Final = Path("global/pg_control")


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A data directory on which a server may be started: it will be as of `until`."""

    data_directory: Path
    base: BaseBackup
    until: datetime


def restore(
    directory: BackupDirectory,
    *,
    to: datetime | None,
    data_directory: Path,
    on_progress: ShowStep,
) -> Restored:
    """Make a data directory; the server that is started on it replays the log and then serves.

    Starts nothing, and touches neither the backup nor any server.

    Args:
        directory: with a base backup and, unless that is enough, the log since.
        to: an aware instant: whatever was committed later is left out. None: all there is.
        data_directory: made; empty if it is there already.
        on_progress: takes the step, bytes done, bytes to be done.

    Raises:
        UnavailableError: the programs of the database's version are missing.
        BackupError: there is no way to that moment, the backup is damaged, or something is in the
            way; nothing is left behind.
    """
    archive = directory.archive()
    target = data_directory.absolute()
    _refuse_what_is_there(target)
    with directory.reading(), readable_by_owner_alone():
        base = _newest_before(directory, to, archive=archive)
        programs = Programs(major=base.major)
        _verify(directory, base, programs, on_progress=on_progress)
        found = reach(directory, base, archive=archive, programs=programs)
        _refuse_what_cannot_be(directory, found, to)
        was_there = target.exists()
        try:
            _make(target, directory, base, archive, found, to, on_progress)
        except BaseException as exc:
            _remove(target, keep_itself=was_there)
            if isinstance(exc, OSError):
                raise BackupError(f"{target} could not be made: {exc.strerror or exc}") from exc
            raise
    return Restored(data_directory=target, base=base, until=to or found.until)


# --- may it be? ---------------------------------------------------------------------------------


def _refuse_what_is_there(target: Path) -> None:
    if not target.exists():
        return
    if not target.is_dir() or {entry.name for entry in target.iterdir()} - OF_THE_FILE_SYSTEM:
        raise BackupError(f"{target} is not empty: name a new directory, or move that one aside")


def _newest_before(
    directory: BackupDirectory, to: datetime | None, *, archive: Archive
) -> BaseBackup:
    bases = directory.bases()
    if not bases:
        raise BackupError(f"there is no complete base backup in {directory.root}")
    for base in reversed(bases):
        if to is None or base.ended_at <= to:
            return base
        # The end of all there is lies within this one's making.
        if base.began_at <= to:
            programs = Programs(major=base.major)
            if to == reach(directory, base, archive=archive, programs=programs).until:
                return base
    raise BackupError(
        f"the oldest base backup in {directory.root} ended at {told(bases[0].ended_at)}: it is not"
        " possible to go back further"
    )


def _verify(
    directory: BackupDirectory, base: BaseBackup, programs: Programs, *, on_progress: ShowStep
) -> None:
    try:
        verify(programs, base.path, on_progress=on_progress)
    except BackupError as exc:
        way_out = "it is the only one, or the oldest"
        if directory.bases()[0] != base:
            way_out = "the one before and the log since lead to the same: move it out and try again"
        raise BackupError(f"{base.path} is damaged ({way_out}): {exc}") from exc


def _refuse_what_cannot_be(directory: BackupDirectory, found: Reach, to: datetime | None) -> None:
    until = told(found.until)
    if to is None and found.obstacle is not None:
        raise BackupError(f"{found.obstacle}; what was committed before can be had by --to {until}")
    if to is not None and to > found.until:
        why = found.obstacle or f"nothing later is in {directory.root}"
        raise BackupError(f"{why}: the last moment to go to from there is --to {until}")


def told(instant: datetime) -> str:
    """An instant as `--to` takes it."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _existing(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.exists())


# --- making it ----------------------------------------------------------------------------------


def _make(
    target: Path,
    directory: BackupDirectory,
    base: BaseBackup,
    archive: Archive,
    found: Reach,
    to: datetime | None,
    on_progress: ShowStep,
) -> None:
    if shutil.disk_usage(_existing(target)).free < base.size:
        raise BackupError(f"{target}: {base.size} bytes are needed, and less is free there")
    target.mkdir(parents=True, exist_ok=True)
    target.chmod(OWNER_ONLY)
    _copy(base.data, target, total=base.size, on_progress=on_progress)
    if found.partial is not None:
        _put_partial(found.partial, target / "pg_wal", archive=archive)
    # At the very end of the log there is no later commit that would tell the server to stop.
    moment = None if to is None or to == found.until else to
    with (target / "postgresql.auto.conf").open("a") as settings:
        settings.write(_settings(directory.wal, moment))
    (target / "recovery.signal").touch()
    shutil.copyfile(base.data / CONTROL_FILE, target / CONTROL_FILE)
    os.sync()


def _copy(source: Path, target: Path, *, total: int, on_progress: ShowStep) -> None:
    done = 0

    def copy(one: str, other: str) -> None:
        nonlocal done
        shutil.copyfile(one, other)
        done += os.path.getsize(other)  # noqa: PTH202 - names, not paths, are what we get
        on_progress("Restoring", done, total)

    def leave_out(directory: str, names: list[str]) -> set[str]:
        here = Path(directory).relative_to(source)
        return {name for name in names if here / name == CONTROL_FILE}

    shutil.copytree(source, target, copy_function=copy, ignore=leave_out, dirs_exist_ok=True)


def _put_partial(partial: Path, pg_wal: Path, *, archive: Archive) -> None:
    """Where the base backup ends in the same segment, it may have more of it than the archive."""
    try:
        received = partial.read_bytes().ljust(archive.segment_bytes, b"\0")
    except FileNotFoundError:  # somebody follows, and it is complete now: the server fetches it
        return
    segment = pg_wal / partial.name.removesuffix(PARTIAL)
    if segment.exists() and len(_written(segment.read_bytes())) >= len(_written(received)):
        return
    segment.write_bytes(received)


def _written(segment: bytes) -> bytes:
    return segment.rstrip(b"\0")


def _settings(wal: Path, moment: datetime | None) -> str:
    """All of them each time: an older restore has left its own in the backup."""
    source = f"{shlex.quote(str(wal).replace('%', '%%'))}/%f"
    values = {
        "restore_command": f'test -f {source} && cp {source} "%p"',
        "recovery_target_time": "" if moment is None else moment.astimezone(UTC).isoformat(" "),
        "recovery_target_inclusive": "on",
        "recovery_target_timeline": "current",
        "recovery_target_action": "promote",
    }
    lines = [f"{name} = '{_escaped(value)}'\n" for name, value in values.items()]
    return "".join(["# Written by restore\n", *lines])


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''")


def _remove(target: Path, *, keep_itself: bool) -> None:
    if not target.exists():
        return
    if not keep_itself:
        shutil.rmtree(target, ignore_errors=True)
        return
    for entry in target.iterdir():
        if entry.name in OF_THE_FILE_SYSTEM:
            continue
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink()
