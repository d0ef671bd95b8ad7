"""Who may do what: one line a route. A route that is not here fails the suite by its name.

Read by `test_authorisation.py`, which asks every route as everybody, over HTTP, with real rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ACTORS = ("anonymous", "owner", "other", "suspended", "clerk", "superuser", "guest")
"""`owner` has the order the paths name; `suspended` too, but may only look. `clerk` is staff
without a permission, `superuser` staff with all. `guest` has no token, but the token of the order.
"""


@dataclass(frozen=True)
class Policy:
    """The status that each actor gets, and the body that is sent."""

    statuses: dict[str, int]
    body: dict[str, Any] | None = None


def anybody(status: int, *, body: dict[str, Any] | None = None, suspended: int = 0) -> Policy:
    """The same for everybody; `suspended` where a suspended customer gets another."""
    return Policy({**dict.fromkeys(ACTORS, status), "suspended": suspended or status}, body)


def customers(status: int, *, body: dict[str, Any] | None = None, suspended: int = 0) -> Policy:
    """Whoever is logged in, about what is their own."""
    statuses = dict.fromkeys(ACTORS, status)
    return Policy(
        {**statuses, "anonymous": 401, "guest": 401, "suspended": suspended or status}, body
    )


def its_owner(status: int, *, body: dict[str, Any] | None = None, suspended: int = 0) -> Policy:
    """The owner of the object in the path, and the guest with its token; staff is nobody special.

    To all others it does not exist.
    """
    statuses = {**dict.fromkeys(ACTORS, 404), "anonymous": 401, "owner": status, "guest": status}
    return Policy({**statuses, "suspended": suspended or status}, body)


LINE = {"sku": "APPLE", "quantity": 1}

API = {
    "GET /api/schema": anybody(200),
    "GET /api/docs": anybody(200),
    "GET /api/docs/start.js": anybody(200),
    "GET /api/v1/categories": anybody(200),
    "GET /api/v1/products": anybody(200),
    "GET /api/v1/products/{sku}": anybody(200),
    "POST /api/v1/quotes": anybody(200, body={"items": [LINE]}, suspended=403),
    "GET /api/v1/me": customers(200),
    "PATCH /api/v1/me": customers(200, body={"first_name": "Eve", "version": 1}, suspended=403),
    "GET /api/v1/orders": customers(200),
    # Let in, and told that the key is missing: tests/api/test_orders_input.py goes further.
    "POST /api/v1/orders": customers(400, body={"items": [LINE]}, suspended=403),
    "GET /api/v1/orders/{order_number}": its_owner(200),
    "POST /api/v1/orders/{order_number}/confirm": its_owner(200, suspended=403),
    "POST /api/v1/orders/{order_number}/cancel": its_owner(200, suspended=403),
    # A signature says who it is, whatever token comes with it: tests/api/test_webhooks.py.
    "POST /api/v1/webhooks/stripe": anybody(400),
    "GET /healthz": anybody(200),
    "GET /readyz": anybody(200),
    "GET /metrics": anybody(200),  # from 127.0.0.1, as a test's client is
}

OPEN, SESSION, GONE = "for those who are not logged in yet", "wants a session", "is not offered"
ACCOUNTS = {
    "config": OPEN,
    "auth/session": SESSION,
    "auth/reauthenticate": SESSION,
    "auth/code/confirm": GONE,
    "auth/password/request": OPEN,
    "auth/password/reset": OPEN,
    "auth/login": OPEN,
    "auth/signup": OPEN,
    "auth/email/verify": OPEN,
    "auth/email/verify/resend": OPEN,
    "auth/phone/verify": GONE,
    "auth/phone/verify/resend": GONE,
    "account/password/change": SESSION,
    "account/email": SESSION,
    "account/phone": GONE,
    "auth/2fa/authenticate": SESSION,
    "auth/2fa/reauthenticate": SESSION,
    "account/authenticators": SESSION,
    "account/authenticators/totp": SESSION,
    "account/authenticators/recovery-codes": SESSION,
    "tokens/refresh": OPEN,
}
