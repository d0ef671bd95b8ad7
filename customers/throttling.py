"""Who may try a password, a code or a reset how often: `settings.ACCOUNT_LIMITS`.

Failed log-ins are counted three times. By account and address: whoever guesses from one place is
slowed down, more so the longer it goes on. By address: one place that tries many accounts. By
account, from wherever: many places that try one account; an address from which the owner has
logged in lately is exempt, so that nobody is locked out of an account by others.
"""

from __future__ import annotations

import hashlib
from typing import Final

from django.conf import settings
from django.core.cache import cache

from config.kernel import limits, request_context
from config.kernel.limits import Limit, Use

KNOWN_FOR_SECONDS: Final = 30 * 24 * 3_600


def admit_log_in(*, email: str) -> Use:
    """Count a try to log in, before the password is looked at; give it back if it was right.

    Raises:
        RateLimitExceededError: too many have failed.
    """
    address = request_context.subscriber()
    wanted = _by_pair(email, address) + _limits("log_in_address", address)
    if cache.get(_known_key(email, address)) is None:
        wanted += _limits("log_in_account", email)
    return limits.take(wanted)


def remember_address(*, email: str) -> None:
    """The owner of this account is at the address of this request."""
    cache.set(_known_key(email, request_context.subscriber()), 1, KNOWN_FOR_SECONDS)


def welcome_back(*, email: str) -> None:
    """The owner has shown to read the account's mail here: what failed before is forgotten."""
    remember_address(email=email)
    limits.forget(_by_pair(email, request_context.subscriber()))


def admit(scope: str, *, identity: str | None = None) -> Use:
    """Count one use of something by this identity, or by the address of this request.

    Raises:
        RateLimitExceededError: too many.
    """
    return limits.take(_limits(scope, identity or request_context.subscriber()))


def _by_pair(email: str, address: str) -> list[Limit]:
    return _limits("log_in", f"{email}|{address}")


def _limits(scope: str, identity: str) -> list[Limit]:
    return [
        Limit(scope=scope, identity=identity, allowed=allowed, seconds=seconds)
        for allowed, seconds in settings.ACCOUNT_LIMITS[scope]
    ]


def _known_key(email: str, address: str) -> str:
    return f"known:{hashlib.sha256(f'{email}|{address}'.encode()).hexdigest()[:32]}"
