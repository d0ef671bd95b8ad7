"""Follows the server's write-ahead log, and tells how far what was received reaches.

`pg_receivewal` does the receiving. It has a replication slot: the server keeps what was not
received yet, so nothing is missing however long it was away, as long as the server's disk holds it.
"""

from __future__ import annotations

import re
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from config.backups.directory import PARTIAL, SEGMENT, lsn, position, readable_by_owner_alone
from config.backups.errors import BackupError, UnavailableError
from config.backups.programs import Programs, quiet
from config.processes import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from config.backups.directory import Archive, BackupDirectory, BaseBackup
    from config.backups.server import Server

FIRST_DELAY_SECONDS: Final = 0.5
LONGEST_DELAY_SECONDS: Final = 30.0
STEADY_SECONDS: Final = 30.0  # one that ran so long had begun well: its end is a new story
STOP_SECONDS: Final = 10.0
POLL_SECONDS: Final = 0.1
LAGS: Final = 4  # segments: a busy server writes one in a second or two

COMMIT: Final = re.compile(r"desc: COMMIT (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+) UTC")
FAILED_AT: Final = re.compile(r"at ([0-9A-F]+/[0-9A-F]+)")


# --- receiving ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """Whether somebody receives the log into this directory: `is_active`, now.

    `is_wanted`: somebody did once. `lag_bytes` is what the server keeps for it.
    """

    is_wanted: bool
    is_active: bool
    is_lost: bool
    lag_bytes: int
    segment_bytes: int

    @property
    def is_well(self) -> bool:
        """Nobody wanted it, or it is close behind."""
        lags = self.lag_bytes > LAGS * self.segment_bytes
        return not self.is_wanted or (self.is_active and not lags)


def following(directory: BackupDirectory, archive: Archive, *, server: Server) -> Following:
    """Look at the server's slot of this directory.

    Raises:
        UnavailableError: the server is away.
    """
    has_log = directory.has_log()
    with server.cursor() as cursor:
        cursor.execute(
            """
            SELECT active, wal_status IS NOT DISTINCT FROM 'lost',
                   coalesce(pg_wal_lsn_diff(pg_current_wal_flush_lsn(), restart_lsn), 0)::bigint
            FROM pg_replication_slots WHERE slot_name = %s
            """,
            [archive.slot],
        )
        row = cursor.fetchone()
    is_active, is_lost, lag_bytes = row or (False, has_log, 0)
    return Following(
        is_wanted=row is not None or has_log,
        is_active=is_active,
        is_lost=is_lost,
        lag_bytes=lag_bytes,
        segment_bytes=archive.segment_bytes,
    )


def follow(
    directory: BackupDirectory,
    *,
    server: Server,
    is_over: Callable[[], bool],
    say: Callable[[str], None],
) -> int:
    """Receive the log until asked to stop, whatever happens to the server or the receiver.

    Args:
        directory: made if there is none.
        server: the primary. It gets a replication slot of the archive's name.
        is_over: whether somebody has asked us to stop; looked at often.
        say: takes a line for who watches.

    Returns:
        How often the receiver had to be started again.

    Raises:
        UnavailableError: the server or PostgreSQL's programs are missing at the start.
        BackupError: what comes now would not join what is there; or another one follows.
    """
    origin = server.origin()
    programs = Programs(major=origin.major)
    with directory.following(), readable_by_owner_alone():
        archive = directory.adopt(origin)
        _have_slot(directory, archive, server)
        say(f"Following the database's log into {directory.wal}")
        restarts, delay = 0, FIRST_DELAY_SECONDS
        while True:
            began = time.monotonic()
            code = _receive(programs, archive, directory, server, is_over)
            if is_over():
                return restarts
            if time.monotonic() - began > STEADY_SECONDS:
                delay = FIRST_DELAY_SECONDS
            say(f"pg_receivewal ended (exit code {code}); again in {delay:.1f} s")
            _wait(delay, is_over)
            if is_over():
                return restarts
            delay = min(2 * delay, LONGEST_DELAY_SECONDS)
            restarts += 1
            try:
                directory.adopt(server.origin())  # another may be at its address by now
                _have_slot(directory, archive, server)
            except UnavailableError as exc:
                say(str(exc))


def _have_slot(directory: BackupDirectory, archive: Archive, server: Server) -> None:
    """Make the slot at the very beginning; later on its absence means a gap."""
    state = following(directory, archive, server=server)
    if state.is_lost:
        raise BackupError(
            f"what comes now would not join what is in {directory.wal}: the server has dropped"
            f" what it kept for the slot {archive.slot}, or has not got this slot any more. Put"
            " this directory aside and begin a new one with a base backup; what is in this one"
            " can be restored still"
        )
    if not state.is_wanted:
        with server.cursor() as cursor:
            cursor.execute("SELECT pg_create_physical_replication_slot(%s, true)", [archive.slot])


def _receive(
    programs: Programs,
    archive: Archive,
    directory: BackupDirectory,
    server: Server,
    is_over: Callable[[], bool],
) -> int:
    """Run one receiver until it ends or we are asked to stop; returns its exit code."""
    arguments = [f"--dbname={server.dsn}", f"--directory={directory.wal}", f"--slot={archive.slot}"]
    # At once, and told at once: at the end of a segment it waits for its turn to tell.
    arguments += ["--synchronous", "--status-interval=1", "--no-loop", "--no-password"]
    process = subprocess.Popen(  # noqa: S603 - PostgreSQL's own
        [programs.directory / "pg_receivewal", *arguments],
        env=quiet(server.environment),
        stdin=subprocess.DEVNULL,
        preexec_fn=die_with_parent(signal.SIGINT),  # noqa: PLW1509 - we have no threads
    )
    try:
        while process.poll() is None and not is_over():
            time.sleep(POLL_SECONDS)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)  # it finishes what it is writing
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
    return process.wait()


def _wait(seconds: float, is_over: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not is_over():
        time.sleep(POLL_SECONDS)


# --- what was received --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far one can go from a base backup without a gap.

    `until` is the last commit that is there (or the beginning of the base backup, if there is none
    since), and `obstacle` what stands in the way of more, if there is more. `partial` is the file
    of the segment that was being received last.
    """

    until: datetime
    obstacle: str | None
    partial: Path | None


def reach(
    directory: BackupDirectory, base: BaseBackup, *, archive: Archive, programs: Programs
) -> Reach:
    """Read the log since a base backup, all of it: what cannot be read, cannot be restored."""
    # In this order: what becomes complete between the two looks is in both.
    partials = directory.partials()
    complete = directory.segments()
    number, files = archive.number_of(base.end), []
    while (name := archive.name_of(number)) in complete:
        files.append(directory.wal / name)
        number += 1
    has_more = any(archive.number_in(other) > number for other in complete | partials)
    obstacle = f"the segment {name} is missing in {directory.wal}" if has_more else None
    partial = directory.wal / f"{name}{PARTIAL}" if name in partials else None
    try:
        if partial is not None and is_empty(partial):
            partial = None
    except FileNotFoundError:  # it has become complete since: somebody follows
        return reach(directory, base, archive=archive, programs=programs)
    if partial is not None:
        files.append(partial)
    until, damaged = _read_log(files, base, archive=archive, programs=programs)
    if damaged is not None:
        obstacle, partial = f"the segment {damaged} in {directory.wal} is damaged", None
    return Reach(until=until, obstacle=obstacle, partial=partial)


def is_empty(file: Path) -> bool:
    """Whether nothing was received into a segment's file yet: it is made in its full size."""
    return not file.read_bytes().strip(b"\0")


def _read_log(
    files: list[Path], base: BaseBackup, *, archive: Archive, programs: Programs
) -> tuple[datetime, str | None]:
    """The last commit that is there, and the name of a damaged segment."""
    first = archive.number_of(base.end)
    last, damaged, commit = first + len(files) - 1, None, None
    if files:
        with tempfile.TemporaryDirectory(prefix="orderkeep-wal-") as scratch:
            # The program wants one directory in which every segment has its proper name.
            for file in files:
                Path(scratch, file.name.removesuffix(PARTIAL)).symlink_to(file)
            end = _first_unreadable(base.end, last, archive, programs, scratch)
            # A record may begin in the segment before the one that was being received.
            if end is not None and end < last - 1:
                damaged, last = archive.name_of(end), end
            names = [archive.name_of(number) for number in range(last, first - 1, -1)]
            commit = _last_commit(names, programs, scratch)
    if commit is None:
        own = base.data / "pg_wal"
        names = sorted(each.name for each in own.iterdir() if SEGMENT.match(each.name))
        commit = _last_commit(reversed(names), programs, str(own))
    return max(commit or base.began_at, base.began_at), damaged


def _first_unreadable(
    start: int, last: int, archive: Archive, programs: Programs, scratch: str
) -> int | None:
    """The number of the segment with the first record that cannot be read; None: there is none.

    It is told to stop behind the last segment, or it would wait five seconds for the next one.
    """
    _, complaint = programs.read(
        "pg_waldump",
        "--quiet",
        f"--path={scratch}",
        f"--timeline={archive.timeline}",
        f"--start={lsn(start)}",
        f"--end={lsn((last + 1) * archive.segment_bytes)}",
    )
    failed_at = FAILED_AT.findall(complaint)
    return archive.number_of(position(failed_at[-1])) if failed_at else None


def _last_commit(names: Iterable[str], programs: Programs, scratch: str) -> datetime | None:
    """The latest commit in the first of these segments that has any."""
    for name in names:
        told, _ = programs.read("pg_waldump", "--rmgr=Transaction", f"--path={scratch}", name)
        if commits := COMMIT.findall(told):
            return max(datetime.fromisoformat(f"{each}+00:00") for each in commits)
    return None
