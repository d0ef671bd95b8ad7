"""Who asks, from where, in which request: set at the edge, read wherever something is recorded."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """What an audit row, a log line and an error report say about the request behind them."""

    request_id: str | None = None
    user_id: int | None = None
    ip_address: str | None = None
    user_agent: str = ""


NO_REQUEST = RequestContext()
_current: ContextVar[RequestContext] = ContextVar("request_context", default=NO_REQUEST)


def current() -> RequestContext:
    """The context of the running request; empty in workers and commands."""
    return _current.get()


@contextlib.contextmanager
def bound(context: RequestContext) -> Iterator[None]:
    """Run a block as part of this request."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


def set_user(*, user_id: int | None) -> None:
    """Note who the request turned out to be, once authentication has said so."""
    _current.set(replace(_current.get(), user_id=user_id))
