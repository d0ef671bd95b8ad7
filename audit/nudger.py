"""Tells the relay, soon after a commit, that there is work; the committer does not wait for it."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Counter

if TYPE_CHECKING:
    from collections.abc import Callable

GAP_SECONDS = 0.2
"""Between two nudges of one process. One nudge delivers everything; a busy shop needs no more."""
COMPLAINT_SECONDS = 60.0
"""Between two log lines about a broker that is away: it may be away for long."""

NUDGES_LOST = Counter(
    "orderkeep_relay_nudges_lost_total",
    "Nudges that the broker did not take; the periodic relay delivers instead.",
)
log = structlog.get_logger(__name__)


class Nudger:
    """A bell with one daemon thread behind it; ringing takes microseconds, come what may.

    Rings that come while the thread is busy melt into one. The thread is started by the first
    ring, so that a server which forks its workers gets one in each of them.

    Args:
        send: passes the nudge on; may block or raise as long as it likes.
        gap_seconds: pause after every nudge.
    """

    def __init__(self, send: Callable[[], None], *, gap_seconds: float = GAP_SECONDS) -> None:
        self._send = send
        self._gap_seconds = gap_seconds
        self._complained_at: float | None = None
        self._start_afresh()
        os.register_at_fork(after_in_child=self._start_afresh)

    def ring(self) -> None:
        """Ask for a nudge; returns at once."""
        if self._thread is None:
            self._start_thread()
        self._rung.set()

    def _start_afresh(self) -> None:
        # Locks may have been held by a thread of the parent, which does not exist here.
        self._rung = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def _start_thread(self) -> None:
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="relay-nudger", daemon=True)
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        while True:
            self._rung.wait()
            self._rung.clear()
            try:
                self._send()
            except Exception as exc:  # noqa: BLE001 - whatever the broker does, the bell goes on
                NUDGES_LOST.inc()
                self._complain(exc)
            time.sleep(self._gap_seconds)

    def _complain(self, exc: Exception) -> None:
        now = time.monotonic()
        if self._complained_at is None or now - self._complained_at >= COMPLAINT_SECONDS:
            self._complained_at = now
            log.warning("relay_nudge_lost", error=type(exc).__name__)
