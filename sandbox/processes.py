"""Starts, watches and ends child processes, and tells our own from everybody else's.

Every child leads a session of its own, so that a Ctrl-C at the terminal reaches only us and the
whole of a child's family can be ended together. What was started is written down with its start
time: after a kill -9 the next start finds what was left over and ends that, and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from config.processes import (
    POLL_SECONDS,
    await_end,
    die_with_parent,
    free_port,
    is_zombie,
    kill_all,
    lives,
    write_private,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

LOG_BYTES_KEPT = 10 * 1024 * 1024
EXCEPTION_CLASS = re.compile(r"^(?:\w+\.)+\w+: ")
SAME_START_SECONDS = 0.5  # psutil derives start times from the boot time, good to a clock tick


class StartError(Exception):
    """Something cannot be started; the message says why in one line."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to run and how to end it."""

    name: str
    argv: Sequence[str]
    cwd: Path
    log: Path
    env: Mapping[str, str] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    user: tuple[int, int] | None = None  # uid and gid to drop to, when root starts a server
    stop_seconds: float = 3.0
    niceness: int = 0  # 1 to 19: how readily it leaves the processor to others
    # Ends what a killed one left behind, called before it is started again.
    clear_away: Callable[[], None] | None = None


@dataclass(kw_only=True)
class Child:
    """A running command."""

    command: Command
    process: subprocess.Popen[bytes]
    log_offset: int
    started_at: float = field(default_factory=time.monotonic)

    @property
    def name(self) -> str:
        """The command's name, for messages."""
        return self.command.name

    def exit_code(self) -> int | None:
        """None while it runs; negative is the signal that ended it."""
        return self.process.poll()

    def last_words(self) -> str:
        """The last line it logged since it was started; empty if it said nothing."""
        return last_line(self.command.log, offset=self.log_offset)

    def ask_to_stop(self) -> None:
        """Send the signal that means an orderly stop."""
        if self.exit_code() is None:
            self.process.send_signal(self.command.stop_signal)

    def finish(self, *, deadline: float) -> None:
        """Wait for it until `deadline` (monotonic seconds), then kill it and all of its family."""
        family: list[psutil.Process] = []
        try:
            self.process.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            family = descendants(self.process.pid)  # some lead sessions of their own
        kill_all([*family, *session_members(self.process.pid)])
        self.process.wait()

    def stop(self) -> None:
        """Ask, wait as long as the command may take, then kill."""
        self.ask_to_stop()
        self.finish(deadline=time.monotonic() + self.command.stop_seconds)


def spawn(command: Command) -> Child:
    """Start a command in a session of its own, its output appended to its log.

    Raises:
        StartError: the program cannot be run at all.
    """
    command.log.parent.mkdir(parents=True, exist_ok=True)
    roll(command.log)
    uid, gid = command.user or (None, None)
    with command.log.open("ab") as log:
        offset = log.tell()
        try:
            process = subprocess.Popen(
                list(command.argv),
                cwd=command.cwd,
                env=None if command.env is None else dict(command.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=uid,
                group=gid,
                extra_groups=None if command.user is None else [],
                preexec_fn=preparation(command),  # noqa: PLW1509  # we have no threads
            )
        except OSError as error:
            raise StartError(f"{command.name}: cannot run {command.argv[0]}: {error}") from error
    return Child(command=command, process=process, log_offset=offset)


def preparation(command: Command) -> Callable[[], None]:
    """What the child does before it becomes the command."""
    arm = die_with_parent(command.stop_signal)

    def prepare() -> None:
        if arm is not None:
            arm()
        if command.niceness:
            os.nice(command.niceness)
            # Linux weighs sessions against each other, and processes only within theirs.
            with contextlib.suppress(OSError):
                Path("/proc/self/autogroup").write_text(str(command.niceness))

    return prepare


def roll(log: Path) -> None:
    """Put a log that has grown large aside, so that at most two pieces are kept."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > LOG_BYTES_KEPT:
            log.replace(log.with_suffix(".log.1"))


def last_line(log: Path, *, offset: int = 0) -> str:
    """The last line of a log that says something."""
    try:
        with log.open("rb") as file:
            file.seek(offset)
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    spoken = [line for line in lines if line.strip()]
    # Indented lines continue the one before: a traceback's frames, a driver's hint.
    unindented = [line for line in spoken if not line[0].isspace()]
    # An exception's message is for the person, its class is in the log.
    return EXCEPTION_CLASS.sub("", (unindented or spoken or [""])[-1]).strip()


# --- families of processes --------------------------------------------------------------------


def session_members(leader: int) -> list[psutil.Process]:
    """The processes of a session, zombies left out."""
    members = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process)
    return members


def descendants(pid: int) -> list[psutil.Process]:
    """A process's children and theirs."""
    try:
        found: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return found


def is_running(pid: int, started_at: float) -> bool:
    """Whether this very process still runs: the same number and the same start time."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started_at) < SAME_START_SECONDS
    except psutil.Error:
        return False
    return same and lives(process)


def works_under(process: psutil.Process, directories: Sequence[Path]) -> bool:
    """Whether its working directory is one of ours."""
    try:
        cwd = Path(process.cwd())
    except (psutil.Error, OSError):
        return False
    return any(cwd.is_relative_to(directory) for directory in directories)


class Register:
    """The file that remembers which processes were started, for the start after a crash."""

    def __init__(self, path: Path) -> None:
        """Keep the register in `path`."""
        self.path = path
        self._entries: dict[str, dict[str, float]] = {}

    def add(self, child: Child) -> None:
        """Write a child down."""
        with contextlib.suppress(psutil.NoSuchProcess):
            started_at = psutil.Process(child.process.pid).create_time()
            self._entries[child.name] = {
                "pid": child.process.pid,
                "started_at": started_at,
                "stop_signal": int(child.command.stop_signal),
            }
            self._write()

    def remove(self, child: Child) -> None:
        """Forget a child that has ended."""
        if self._entries.pop(child.name, None):
            self._write()

    def clear(self) -> None:
        """Forget everything: all of it was stopped."""
        self._entries = {}
        self.path.unlink(missing_ok=True)

    def end_leftovers(self, *, directories: Sequence[Path]) -> list[str]:
        """End what an earlier run left behind; returns the names of what was found.

        A leader counts as ours by its number and start time. Of a dead leader's session only
        processes that work in one of our directories do: its number may be somebody else's now.
        """
        found = []
        everybody = []
        for name, entry in self._read().items():
            pid, started_at = int(entry["pid"]), entry["started_at"]
            leader_is_ours = is_running(pid, started_at)
            if not leader_is_ours and psutil.pid_exists(pid) and not is_zombie(pid):
                continue  # the number was given out again, so the session is long gone
            family = [
                process
                for process in session_members(pid)
                if (leader_is_ours and process.pid == pid) or works_under(process, directories)
            ]
            if family:
                found.append(name)
                everybody += family
                for process in family:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.send_signal(int(entry["stop_signal"]))
        end_all(everybody)
        self.clear()
        return found

    def _read(self) -> dict[str, dict[str, float]]:
        try:
            entries: dict[str, dict[str, float]] = json.loads(self.path.read_text())
        except (FileNotFoundError, ValueError):  # ValueError: a crash of the machine while writing
            return {}
        return entries

    def _write(self) -> None:
        write_private(self.path, json.dumps(self._entries))


def end_all(processes: Sequence[psutil.Process], *, seconds: float = 3.0) -> None:
    """Wait for processes that were asked to stop, then kill those that have not."""
    await_end(processes, seconds=seconds)
    kill_all(processes)
    await_end(processes, seconds=seconds)


# --- locks, ports, files ------------------------------------------------------------------------


def port_is_free(port: int, *, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def accepts_connections(port: int, *, host: str = "127.0.0.1") -> bool:
    """Whether somebody listens there."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def remembered_port(path: Path) -> int:
    """The port used last time if it is still free, else a new one; remembered in `path`."""
    try:
        port = int(path.read_text())
    except (FileNotFoundError, ValueError):
        port = 0
    if not port or not port_is_free(port):
        port = free_port()
        write_private(path, str(port))
    return port


# --- being asked to stop ------------------------------------------------------------------------


class StopRequestedError(Exception):
    """A signal asked us to stop while we were waiting for something else."""


_stop_signals: list[int] = []


def catch_stop_signals() -> None:
    """From here on SIGINT, SIGTERM and SIGHUP are noted, in place of ending us half-way."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: _stop_signals.append(received))


def ignore_stop_signals() -> None:
    """From here on nothing interrupts us: we are stopping already, within bounded time."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def stop_was_requested() -> bool:
    """Whether a stop signal came."""
    return bool(_stop_signals)


def wait_until(condition: Callable[[], bool], *, seconds: float) -> bool:
    """Poll until the condition holds; False if it never did.

    Raises:
        StopRequestedError: a stop signal came meanwhile.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if stop_was_requested():
            raise StopRequestedError
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
