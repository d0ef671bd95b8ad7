"""Counts uses against several limits at once; safe where a limit protects a secret.

Each use is counted twice: in this process, and in the cache for all of them. Both look at every
counter and count on all of them or on none, in one step, so that however many ask at once, no more
are let through than allowed, and whoever is refused uses nothing up. While the cache is away, or
comes and goes, each process lets through as many as the limit says: more than all of them
together should, and never without end.
"""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.core.cache import cache

from config.kernel.errors import RateLimitExceededError

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_REMEMBERED: Final = 10_000
"""Counters in a process's own memory; beyond, those that end soonest are forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """So many uses by one identity, in so many seconds from the first of them."""

    scope: str
    identity: str
    allowed: int
    seconds: int

    @property
    def key(self) -> str:
        """Hashed: an identity may be an e-mail address; keys show in the server's monitoring."""
        told = f"{self.scope}:{self.seconds}:{self.identity}"
        return f"limit:{hashlib.sha256(told.encode()).hexdigest()[:32]}"


@dataclass(frozen=True, slots=True)
class Use:
    """One use that was counted."""

    limits: Sequence[Limit]

    def give_back(self) -> None:
        """It was a good one, which does not count."""
        keys = [limit.key for limit in self.limits]
        memory.give_back(keys)
        cache.give_back(keys)  # type: ignore[attr-defined]  # ForgivingRedisCache


def take(limits: Sequence[Limit]) -> Use:
    """Count one use on every limit, or, if one of them is reached, on none.

    Raises:
        RateLimitExceededError: tells when to come back.
    """
    if not settings.THROTTLE:
        return Use(())
    asked = [(limit.key, limit.allowed, limit.seconds) for limit in limits]
    wait = memory.take(asked)
    if not wait and (wait := cache.take(asked)):  # type: ignore[attr-defined]  # ForgivingRedisCache
        memory.give_back([key for key, _, _ in asked])
    if wait:
        error = RateLimitExceededError()
        error.retry_after_seconds = wait
        raise error
    return Use(tuple(limits))


def forget(limits: Sequence[Limit]) -> None:
    """Begin to count anew; what other processes have counted by themselves ends in its time."""
    keys = [limit.key for limit in limits]
    memory.forget(keys)
    cache.delete_many(keys)


class Memory:
    """The same counters, in this process alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[str, tuple[int, float]] = {}

    def take(self, asked: Sequence[tuple[str, int, int]]) -> int:
        """0 if the use was counted, else the seconds to wait."""
        now = time.monotonic()
        with self._lock:
            waits = [
                self._ends_at(key, now) - now
                for key, allowed, _ in asked
                if self._count(key, now) >= allowed
            ]
            if waits:
                return max(1, round(max(waits)))
            for key, _, seconds in asked:
                count = self._count(key, now)
                ends_at = self._ends_at(key, now) if count else now + seconds
                self._counters[key] = (count + 1, ends_at)
            self._tidy(now)
        return 0

    def give_back(self, keys: Sequence[str]) -> None:
        """One use less."""
        with self._lock:
            for key in keys:
                count, ends_at = self._counters.get(key, (0, 0.0))
                if count:
                    self._counters[key] = (count - 1, ends_at)

    def forget(self, keys: Sequence[str]) -> None:
        """No uses any more."""
        with self._lock:
            for key in keys:
                self._counters.pop(key, None)

    def clear(self) -> None:
        """No uses by anybody."""
        with self._lock:
            self._counters.clear()

    def _count(self, key: str, now: float) -> int:
        count, ends_at = self._counters.get(key, (0, now))
        return count if ends_at > now else 0

    def _ends_at(self, key: str, now: float) -> float:
        return self._counters.get(key, (0, now))[1]

    def _tidy(self, now: float) -> None:
        if len(self._counters) <= MOST_REMEMBERED:
            return
        living = [item for item in self._counters.items() if item[1][1] > now]
        living.sort(key=lambda item: item[1][1])
        self._counters = dict(living[-MOST_REMEMBERED // 2 :])


memory = Memory()
