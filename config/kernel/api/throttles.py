"""Counts requests in fixed windows; atomic in the cache, and open when the cache is away."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.cache import cache
from rest_framework.throttling import BaseThrottle

from config.kernel import request_context
from config.kernel.errors import RateLimitExceededError

if TYPE_CHECKING:
    from rest_framework.request import Request
    from rest_framework.views import APIView


class RequestThrottle(BaseThrottle):
    """So many requests in a window for each customer, or address where nobody is logged in.

    The rates are `settings.THROTTLE_RATES`, by scope: `(requests, seconds)`. A view chooses its
    own with `throttle_scope`; the others share `customer` and `anonymous`.
    """

    wait_seconds: float | None = None

    def allow_request(self, request: Request, view: APIView) -> bool:
        customer_id = request.user.pk if request.user.is_authenticated else None
        scope = getattr(view, "throttle_scope", None) or (
            "anonymous" if customer_id is None else "customer"
        )
        identity = (
            f"customer:{customer_id}"
            if customer_id is not None
            else f"address:{request_context.subscriber()}"
        )
        self.wait_seconds = seconds_to_wait(scope=scope, identity=identity)
        return self.wait_seconds is None

    def wait(self) -> float | None:
        return self.wait_seconds


def check(*, scope: str, identity: str) -> None:
    """Count one use by this identity; for limits that a use case sets itself.

    Raises:
        RateLimitExceededError: too many in the window; tells when it ends.
    """
    wait = seconds_to_wait(scope=scope, identity=identity)
    if wait is not None:
        error = RateLimitExceededError()
        error.retry_after_seconds = wait
        raise error


def seconds_to_wait(*, scope: str, identity: str) -> int | None:
    """Count one use; None while there are few enough, else the seconds until the window ends."""
    if not settings.THROTTLE:
        return None
    key, allowed, window_seconds, ends_in = _window(scope, identity)
    uses = cache.count(key, window_seconds)  # type: ignore[attr-defined]  # ForgivingRedisCache
    return None if uses <= allowed else ends_in


def note(*, scope: str, identity: str) -> None:
    """Count one use without asking; for what is counted only when it has gone wrong."""
    seconds_to_wait(scope=scope, identity=identity)


def refuse_if_used_up(*, scope: str, identity: str) -> None:
    """Ask without counting.

    Raises:
        RateLimitExceededError: as many as allowed were noted in the window; tells when it ends.
    """
    if not settings.THROTTLE:
        return
    key, allowed, _, ends_in = _window(scope, identity)
    if cache.get(key, 0) >= allowed:
        error = RateLimitExceededError()
        error.retry_after_seconds = ends_in
        raise error


def _window(scope: str, identity: str) -> tuple[str, int, int, int]:
    """The counter's key, what it may reach, its length and its remaining seconds."""
    allowed, window_seconds = settings.THROTTLE_RATES[scope]
    now = time.time()
    window = int(now // window_seconds)
    # Hashed: an identity may hold an address, and keys show in the server's monitoring.
    digest = hashlib.sha256(f"{scope}:{identity}".encode()).hexdigest()[:32]
    ends_in = max(1, int((window + 1) * window_seconds - now) + 1)
    return f"throttle:{digest}:{window}", allowed, window_seconds, ends_in
