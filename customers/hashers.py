"""How passwords are hashed: slowly, one at a time, and never at the shop's expense."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher

from customers.errors import TooManyLogInsError

if TYPE_CHECKING:
    from collections.abc import Callable

WAIT_SECONDS: Final = 2.0
NICENESS: Final = 10  # of 19, a tenth of the weight: whatever else wants the processor goes first
Result = TypeVar("Result")


class Argon2idHasher(Argon2PasswordHasher):
    """Argon2id as the OWASP Password Storage Cheat Sheet recommends: 19 MiB, 2 passes, 1 lane.

    Django's own default takes 100 MiB and 8 lanes: a few log-ins at once would be an attack.
    """

    memory_cost = 19_456  # KiB
    time_cost = 2
    parallelism = 1

    def encode(self, password: str, salt: str) -> str:
        """See Django. Waits for its turn.

        Raises:
            TooManyLogInsError: too many wait already.
        """
        return workshop.do(lambda: super(Argon2idHasher, self).encode(password, salt))

    def verify(self, password: str, encoded: str) -> bool:
        """See Django. Likewise."""
        return workshop.do(lambda: super(Argon2idHasher, self).verify(password, encoded))


class Workshop:
    """One thread of this process that hashes, half of the time, and a short queue before it.

    Whoever waits occupies a thread of the web server, so only some may: the others are told to
    come back, and the catalogue is served as if nothing were going on.
    """

    def __init__(self, *, places: int, wait_seconds: float = WAIT_SECONDS) -> None:
        self._places_count = places
        self._wait_seconds = wait_seconds
        self._start_afresh()
        os.register_at_fork(after_in_child=self._start_afresh)

    def do(self, work: Callable[[], Result]) -> Result:
        """Have it done and wait for it.

        Raises:
            TooManyLogInsError: every place is taken, or it takes too long.
        """
        if not self._places.acquire(blocking=False):
            raise TooManyLogInsError
        try:
            promised: Future[Result] = Future()
            self._worker.submit(_work_and_rest, work, promised)
            try:
                return promised.result(self._wait_seconds)
            except TimeoutError:
                promised.cancel()
                raise TooManyLogInsError from None
        finally:
            self._places.release()

    def is_full(self) -> bool:
        """Whether who comes now is turned away: to be asked before any other work is done."""
        if not self._places.acquire(blocking=False):
            return True
        self._places.release()
        return False

    def _start_afresh(self) -> None:
        # A thread of the parent does not exist here. The executor starts its own when it must.
        self._places = threading.BoundedSemaphore(self._places_count)
        self._worker = ThreadPoolExecutor(1, "hashing", initializer=_step_back)


def _work_and_rest(work: Callable[[], Result], promised: Future[Result]) -> None:
    """Do it unless nobody waits any more; then leave the processor for as long as it took."""
    if not promised.set_running_or_notify_cancel():
        return
    began = time.thread_time()
    try:
        result = work()
    except Exception as exc:  # noqa: BLE001 - whoever waits is told, whatever it is
        promised.set_exception(exc)
    else:
        promised.set_result(result)
    time.sleep(time.thread_time() - began)


def _step_back() -> None:
    """Let every other thread go first. Linux alone has priorities by thread."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


workshop = Workshop(places=settings.HASHING_PLACES)
