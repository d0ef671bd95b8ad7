"""Who asks, from where, in which request: set at the edge, read wherever something is recorded."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Final

from config.kernel import languages

if TYPE_CHECKING:
    from collections.abc import Iterator

IPV6_SUBSCRIBER_BITS: Final = 64
"""One subscriber has as many IPv6 addresses as these bits leave; they count as one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """What an audit row, a log line and an error report say about the request behind them.

    `accept_language` is the header as it was sent; `language()` makes sense of it.
    """

    request_id: str | None = None
    user_id: int | None = None
    ip_address: str | None = None
    user_agent: str = ""
    accept_language: str = ""


NO_REQUEST = RequestContext()
_current: ContextVar[RequestContext] = ContextVar("request_context", default=NO_REQUEST)


def current() -> RequestContext:
    """The context of the running request; empty in workers and commands."""
    return _current.get()


def subscriber() -> str:
    """Where the running request comes from, as far as one subscriber can be told from another.

    What is counted by address is counted by this.
    """
    told = _current.get().ip_address or "unknown"
    try:
        address = ip_address(told)
    except ValueError:
        return told
    if isinstance(address, IPv6Address):
        return str(ip_network((int(address), IPV6_SUBSCRIBER_BITS), strict=False))
    return told


def language() -> str:
    """Which of our languages whoever asks wants to read; empty if none, or nobody asks."""
    return languages.preferred(_current.get().accept_language)


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
