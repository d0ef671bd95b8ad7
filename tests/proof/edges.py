"""Every I/O boundary of a piece of code, found as it is passed: nothing is planted in production.

What a process does to the world goes through few places: SQL statements and COMMITs, HTTP to the
payment provider, nudges to the broker, e-mails. They are wrapped here once, and whoever watches
the present thread is told before and after each. So a new statement is a new boundary without
anybody remembering it. A ROLLBACK is none: it is what the server does by itself.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import threading
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from django.core.mail import EmailMessage
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from audit.nudger import Nudger
from config.kernel.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Kind(Enum):
    """What is on the other side of a boundary."""

    STATEMENT = "statement"
    COMMIT = "commit"
    PROVIDER = "provider"
    BROKER = "broker"
    MAIL = "mail"


@dataclass(frozen=True, slots=True)
class Edge:
    """One passage to the outside; `name` tells it from its neighbours for a person who reads.

    `commits`: what it does is there for good once it has come back, whatever becomes of us.
    """

    kind: Kind
    name: str
    commits: bool = False

    def __str__(self) -> str:
        return self.name


class Watcher(Protocol):
    """Told of each boundary as it is passed; `before` may prevent it by raising."""

    def before(self, edge: Edge) -> None: ...
    def after(self, edge: Edge) -> None:
        """The call has come back, or has raised."""


class _Watching(threading.local):
    watcher: Watcher | None = None


_watching = _Watching()


@contextlib.contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Tell `watcher` of every boundary that this thread passes in the block."""
    _install()
    _watching.watcher = watcher
    try:
        with connection.execute_wrapper(_statement):
            yield
    finally:
        _watching.watcher = None


@contextlib.contextmanager
def unwatched() -> Iterator[None]:
    """What a watcher itself does to the world is nobody's boundary."""
    watcher, _watching.watcher = _watching.watcher, None
    try:
        yield
    finally:
        _watching.watcher = watcher


def _pass(edge: Edge, really: Callable[[], Any]) -> Any:
    watcher = _watching.watcher
    if watcher is None:
        return really()
    with unwatched():
        watcher.before(edge)
    try:
        return really()
    finally:
        with unwatched():
            watcher.after(edge)


def _statement(execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
    summary = _summary(sql)
    commits = connection.autocommit and not summary.startswith("SELECT")
    edge = Edge(Kind.STATEMENT, summary, commits=commits)
    return _pass(edge, lambda: execute(sql, params, many, context))


_TABLE = re.compile(
    r"\b(?:INSERT INTO|UPDATE|DELETE FROM|FROM)\s+(?:ONLY\s+)?\"?(\w+)", re.IGNORECASE
)


def _summary(sql: Any) -> str:
    """The last statement of those sent along: its verb and its table."""
    text = sql.decode(errors="replace") if isinstance(sql, bytes) else str(sql)
    last = text.strip().rsplit(";", 1)[-1].strip() or text.strip()
    verb = last.split(maxsplit=1)[0].upper()
    table = _TABLE.search(last)
    lock = " FOR UPDATE" if verb == "SELECT" and " FOR UPDATE" in last.upper() else ""
    return f"{verb} {table.group(1)}{lock}" if table else verb


def _path(url: str) -> str:
    """The address without what differs from one object to the next."""
    path = re.sub(r"^https?://[^/]+", "", url).partition("?")[0]
    return re.sub(r"/(?:pi|re|ch|dp|du|evt|txn)_\w+", "/*", path)


_installing = threading.Lock()
_installed = False


def _install() -> None:
    """Wrap the places, once in a process; without a watcher they do what they always did."""
    global _installed  # noqa: PLW0603 - the classes are the process's own
    with _installing:
        if _installed:
            return
        _installed = True
        _wrap(BaseDatabaseWrapper, "_commit", lambda *_: Edge(Kind.COMMIT, "COMMIT", commits=True))
        _wrap(
            Transport,
            "exchange",
            lambda _self, method, url: Edge(Kind.PROVIDER, f"{method} {_path(url)}"),
        )
        _wrap(Nudger, "ring", lambda *_: Edge(Kind.BROKER, "nudge"))
        _wrap(EmailMessage, "send", lambda *_: Edge(Kind.MAIL, "send e-mail"))


def _wrap(owner: type, name: str, edge_of: Callable[..., Edge]) -> None:
    really = getattr(owner, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        return _pass(edge_of(*args), lambda: really(*args, **kwargs))

    setattr(owner, name, call)


# --- watchers ---------------------------------------------------------------------------------


class Recorder:
    """Writes down which boundaries there are."""

    def __init__(self) -> None:
        self.edges: list[Edge] = []

    def before(self, edge: Edge) -> None:
        self.edges.append(edge)

    def after(self, edge: Edge) -> None:
        """Nothing to add."""


class Blow(Enum):
    """What happens to a process at a boundary."""

    KILLED_BEFORE = "killed before"
    KILLED_AFTER = "killed after"
    EXCEPTION = "exception"
    CUT_BEFORE = "database lost before"
    CUT_AFTER = "database lost after"
    STOPPED = "stopped past its lease"

    @property
    def kills(self) -> bool:
        """Whether nothing of the process is left: it has to be a child."""
        return self in {Blow.KILLED_BEFORE, Blow.KILLED_AFTER}


class StruckError(Exception):
    """Anything that can go wrong in a process: a bug, a time limit, no memory left."""


class Striker:
    """Lets the blow fall at the n-th boundary, and at no other."""

    def __init__(self, blow: Blow, *, at: int) -> None:
        self.blow = blow
        self.at = at
        self.passed = 0
        self.has_struck = False

    def before(self, edge: Edge) -> None:
        self.passed += 1
        if self.passed - 1 != self.at or self.has_struck:
            return
        if self.blow is Blow.KILLED_BEFORE:
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.blow is Blow.EXCEPTION:
            self.has_struck = True
            raise StruckError(f"at {edge}")
        elif self.blow is Blow.CUT_BEFORE:
            self.has_struck = True
            cut_connection()

    def after(self, edge: Edge) -> None:
        if self.passed - 1 != self.at or self.has_struck:
            return
        if self.blow is Blow.KILLED_AFTER:
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.blow is Blow.CUT_AFTER:
            self.has_struck = True
            cut_connection()
            if edge.kind in {Kind.STATEMENT, Kind.COMMIT} and connection.connection is not None:
                # It was carried out; the client alone does not hear so.
                with connection.wrap_database_errors, connection.connection.cursor() as cursor:
                    cursor.execute("SELECT 1")


def cut_connection() -> None:
    """The network between this thread and PostgreSQL is gone; neither side is told."""
    raw = connection.connection
    if raw is None or raw.closed:
        return
    line = socket.socket(fileno=os.dup(raw.fileno()))
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
    line.close()
