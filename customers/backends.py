"""Checks a password: the one way in, for customers and staff, over the API and in the admin."""

from __future__ import annotations

import functools
import secrets
from typing import TYPE_CHECKING, Any

from allauth.account.auth_backends import AuthenticationBackend
from django.contrib.auth.hashers import get_hasher

from customers import selectors, throttling
from customers.models import Customer

if TYPE_CHECKING:
    from django.contrib.auth.hashers import BasePasswordHasher
    from django.http import HttpRequest


class PasswordBackend(AuthenticationBackend):  # type: ignore[misc]  # allauth has no types
    """Does the same work for an address without an account as for a wrong password.

    One SELECT finds the account, one hash is computed: nobody can tell the two apart by waiting.
    """

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> Customer | None:
        """The customer behind an address and a password, if both are right and they are active.

        Raises:
            RateLimitExceededError: too many tries have failed.
            TooManyLogInsError: more at this moment than the processors bear.
        """
        if not credentials.get("password"):
            return None
        email = str(credentials.get("email") or credentials.get("username") or "").lower()
        attempt = throttling.admit_log_in(email=email)
        customer: Customer | None = super().authenticate(request, **credentials)
        if customer is not None:
            attempt.give_back()
            throttling.remember_address(email=email)
        return customer

    def _authenticate_by_email(self, email: str, password: str) -> Customer | None:
        found = selectors.find_customer_by_email(email=email)
        customer: Customer | None = self._check_password(found, password)
        return customer

    def _mitigate_timing_attack(self, password: str) -> None:
        """Check it all the same where there is no account.

        allauth would have a hash made, which takes 5 % less time: enough to tell after some tries.
        """
        Customer(password=_nobodys_password(get_hasher())).check_password(password)


@functools.lru_cache(maxsize=1)
def _nobodys_password(hasher: BasePasswordHasher) -> str:
    return hasher.encode(secrets.token_urlsafe(), hasher.salt())
