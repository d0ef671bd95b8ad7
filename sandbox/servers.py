"""What an embedded server must tell so that it can be started, awaited and started again."""

from __future__ import annotations

import contextlib
import secrets
import time
from typing import TYPE_CHECKING, Protocol

from config.processes import write_private
from sandbox.processes import Child, Register, StartError, spawn, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandbox.processes import Command

# After a crash the old process's lock file or shared memory may stand for a moment.
RETRY_SECONDS = 8.0
# Replaying a long log after a crash takes a while; a server that still runs is waited for.
READY_SECONDS = 120.0


class Server(Protocol):
    """A server that keeps its state in one directory and listens on 127.0.0.1."""

    name: str

    def prepare(self) -> None:
        """Make whatever must exist before the first start; called before every attempt."""

    def command(self) -> Command:
        """How to run it in the foreground."""

    def is_ready(self) -> bool:
        """Whether it answers."""

    def after_start(self) -> None:
        """Complete what needs the running server; idempotent."""


def start(server: Server, *, register: Register | None = None) -> Child:
    """Start a server and return once it answers.

    Raises:
        StartError: it does not come up; the message carries what it said last.
        StopRequestedError: a stop signal came; nothing of it is left running.
    """
    give_up_at = time.monotonic() + RETRY_SECONDS
    while True:
        server.prepare()
        child = spawn(server.command())
        if register is not None:
            register.add(child)
        try:
            if answers(server, child):
                server.after_start()
                return child
        except BaseException:
            child.stop()
            raise
        child.stop()
        if time.monotonic() > give_up_at:
            said = child.last_words() or f"exit code {child.exit_code()}"
            raise StartError(f"{server.name} does not start: {said} (log: {child.command.log})")


def answers(server: Server, child: Child) -> bool:
    """Wait until the server answers; False once the child has ended or time is up."""
    wait_until(lambda: child.exit_code() is not None or server.is_ready(), seconds=READY_SECONDS)
    return child.exit_code() is None and server.is_ready()


@contextlib.contextmanager
def running(server: Server) -> Iterator[Child]:
    """Have a server for the length of a `with` block."""
    child = start(server)
    try:
        yield child
    finally:
        child.stop()


def secret(path: Path) -> str:
    """The secret kept in a file only its owner can read; made at the first call."""
    with contextlib.suppress(FileNotFoundError):
        if kept := path.read_text().strip():
            return kept
    made = secrets.token_urlsafe(32)
    write_private(path, made)
    return made
