"""Ends processes that we started and no others, locks files, writes them whole or not at all.

`config.backups` needs it in production, and `sandbox` wherever it starts servers.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Sequence

POLL_SECONDS: Final = 0.05
PR_SET_PDEATHSIG: Final = 1


def die_with_parent(stop_signal: signal.Signals) -> Callable[[], None] | None:
    """On Linux the kernel stops the child when we are killed; elsewhere the next start does."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def arm() -> None:
        prctl(PR_SET_PDEATHSIG, int(stop_signal))
        if os.getppid() != parent:  # killed in the moment between fork and prctl
            os._exit(1)

    return arm


def find_working_in(directory: Path, *, program: str) -> list[psutil.Process]:
    """The processes of this program whose working directory is exactly this one."""
    found = []
    for process in psutil.process_iter(["name"]):
        with contextlib.suppress(psutil.Error, OSError):
            if process.info["name"] == program and Path(process.cwd()) == directory:
                found.append(process)
    return found


def kill_all(processes: Sequence[psutil.Process]) -> None:
    """Kill processes that we started; psutil makes sure that each is still the same one."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def await_end(processes: Sequence[psutil.Process], *, seconds: float) -> None:
    """Wait until none of them runs any more; whether somebody reaped them is no matter."""
    deadline = time.monotonic() + seconds
    while any(lives(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def lives(process: psutil.Process) -> bool:
    """Whether it runs: neither gone nor a zombie."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def is_zombie(pid: int) -> bool:
    """Whether a process is dead and only waits to be reaped."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


# --- locks, ports, files ------------------------------------------------------------------------


class FileLock:
    """A kernel lock on a file: gone with its holder, however that ends."""

    def __init__(self, path: Path) -> None:
        """Lock `path`, which is made if needed and stays."""
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, *, shared: bool = False, wait: bool = True) -> bool:
        """Take the lock; False if it is held by another and we were not to wait."""
        self.release()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(descriptor, mode if wait else mode | fcntl.LOCK_NB)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return False
            raise
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Give the lock back; harmless if it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def write_holder(self, holder: str) -> None:
        """Say in the file who holds it."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, holder.encode(), 0)

    def read_holder(self) -> str:
        """What the present or last holder wrote."""
        try:
            return self.path.read_text()
        except FileNotFoundError:
            return ""

    def keep_over_exec(self) -> None:
        """Let the program that replaces us go on holding the lock."""
        if self._descriptor is not None:
            os.set_inheritable(self._descriptor, True)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
