"""How long a request waited for somebody else, told to its client in the `Server-Timing` header.

https://www.w3.org/TR/server-timing/: storefront developers see it beside the request.
"""

from __future__ import annotations

import contextlib
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_waits: ContextVar[dict[str, float] | None] = ContextVar("server_timing", default=None)


@contextlib.contextmanager
def measured() -> Iterator[dict[str, float]]:
    """Run a request: hands out the seconds waited, by whom for, as they add up."""
    waits: dict[str, float] = {}
    token = _waits.set(waits)
    try:
        yield waits
    finally:
        _waits.reset(token)


@contextlib.contextmanager
def waiting_for(name: str) -> Iterator[None]:
    """Count this block as time waited for `name`, a token of letters; nothing outside a request."""
    waits = _waits.get()
    if waits is None:
        yield
        return
    started = time.perf_counter()
    try:
        yield
    finally:
        waits[name] = waits.get(name, 0.0) + time.perf_counter() - started


def header(waits: dict[str, float]) -> str:
    """The header's value, in milliseconds: `provider;dur=12.3`."""
    return ", ".join(f"{name};dur={seconds * 1000:.1f}" for name, seconds in waits.items())
