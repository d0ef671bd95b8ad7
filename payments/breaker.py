"""Remembers, for one process, whether the payment provider answers.

New orders are refused before anything is written while it does not (503, nothing held).
"""

from __future__ import annotations

import socket
import threading
import time
from urllib.parse import urlsplit

FAILURES_TO_OPEN = 5  # fewer in a row are bad luck where a quarter of calls fail
OPEN_SECONDS = 5.0
FRESH_SECONDS = 5.0  # an answer this recent needs no further proof of life
PROBE_SECONDS = 1.0


class Breaker:
    """Closed while calls are answered; open after `FAILURES_TO_OPEN` failures in a row.

    While open, one order every `OPEN_SECONDS` may try its luck. Where nothing was heard for
    `FRESH_SECONDS`, a bare TCP connection is tried first: a provider that is down is found out
    before an order exists, not after.
    """

    def __init__(self, *, address: str) -> None:
        parts = urlsplit(address)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._lock = threading.Lock()
        self._failures = 0
        self._answered_at = float("-inf")
        self._next_trial_at = float("-inf")

    def note_answer(self) -> None:
        """The provider answered, whatever it said."""
        with self._lock:
            self._failures = 0
            self._answered_at = time.monotonic()

    def note_failure(self) -> None:
        """No answer, or a 5xx."""
        with self._lock:
            self._failures += 1
            self._answered_at = float("-inf")
            self._next_trial_at = time.monotonic() + OPEN_SECONDS

    def is_open(self) -> bool:
        """Whether the provider is away and no new order should begin.

        May take up to `PROBE_SECONDS`: never call it inside a transaction.
        """
        now = time.monotonic()
        with self._lock:
            if now - self._answered_at < FRESH_SECONDS:
                return False
            if self._failures >= FAILURES_TO_OPEN:
                if now < self._next_trial_at:
                    return True
                self._next_trial_at = now + OPEN_SECONDS
        try:
            socket.create_connection((self._host, self._port), timeout=PROBE_SECONDS).close()
        except OSError:
            self.note_failure()
            return True
        return False
