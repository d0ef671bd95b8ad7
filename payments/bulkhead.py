"""Keeps some of a process's threads out of the provider's reach.

However slowly the provider answers, the rest go on serving the catalogue.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT_SECONDS: Final = 2.0


class Bulkhead:
    """So many requests at a time may be busy with the provider; others wait a little, or go.

    Whoever finds that no place has become free for `WAIT_SECONDS` does not wait at all: the
    provider hangs, and waiting threads would be as lost to the catalogue as busy ones.
    """

    def __init__(self, *, places: int, wait_seconds: float = WAIT_SECONDS) -> None:
        self._places = threading.BoundedSemaphore(places)
        self._wait_seconds = wait_seconds
        self._moved_at = time.monotonic()  # when a place was last taken at once, or given back

    @contextlib.contextmanager
    def place(self) -> Iterator[bool]:
        """Take a place for as long as the context lasts; False: there is none.

        May take up to `wait_seconds`: never call it inside a transaction.
        """
        has_place = self._take()
        try:
            yield has_place
        finally:
            if has_place:
                self._moved_at = time.monotonic()
                self._places.release()

    def _take(self) -> bool:
        if self._places.acquire(blocking=False):
            self._moved_at = time.monotonic()
            return True
        if time.monotonic() - self._moved_at > self._wait_seconds:
            return False
        return self._places.acquire(timeout=self._wait_seconds)
