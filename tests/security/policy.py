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


def its_customer(status: int, *, body: dict[str, Any] | None = None, suspended: int = 0) -> Policy:
    """The customer to whom the object in the path belongs; a guest has no such thing."""
    return Policy({**its_owner(status, suspended=suspended).statuses, "guest": 401}, body)


def its_shopper(status: int, *, body: dict[str, Any] | None = None, suspended: int = 0) -> Policy:
    """Whoever the cart in the path belongs to, or a guest who knows its id. Nobody has to log in.

    To all others a customer's cart does not exist.
    """
    return Policy({**its_owner(status, suspended=suspended).statuses, "anonymous": 404}, body)


LINE = {"sku": "APPLE", "quantity": 1}
ADDRESS = {
    "name": "Ada Lovelace",
    "line1": "1 Main Street",
    "city": "New York",
    "state": "NY",
    "postal_code": "10001",
    "country": "US",
}
GUEST_TOKEN = "h0VtWqgXcZ3nJ5dQ2mYb8sKfRr1uLx7AoEiPpTvNw6M"

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
    # Staff accounts are closed by staff.
    "DELETE /api/v1/me": Policy(
        {**customers(204, suspended=403).statuses, "clerk": 409, "superuser": 409}
    ),
    "GET /api/v1/me/export": customers(200),
    "GET /api/v1/me/addresses": customers(200),
    "POST /api/v1/me/addresses": customers(201, body=ADDRESS, suspended=403),
    "GET /api/v1/me/addresses/{address_id}": its_customer(200),
    "PATCH /api/v1/me/addresses/{address_id}": its_customer(
        200, body={"line1": "2 Main Street"}, suspended=403
    ),
    "DELETE /api/v1/me/addresses/{address_id}": its_customer(204, suspended=403),
    "GET /api/v1/me/payment-methods": customers(200),
    "POST /api/v1/me/payment-methods": customers(
        201, body={"payment_method_id": "pm_card_visa"}, suspended=403
    ),
    "DELETE /api/v1/me/payment-methods/{payment_method_id}": its_customer(204, suspended=403),
    "POST /api/v1/carts": anybody(201, body={"items": [LINE]}, suspended=403),
    "GET /api/v1/carts/{cart_id}": its_shopper(200),
    "DELETE /api/v1/carts/{cart_id}": its_shopper(204, suspended=403),
    "PUT /api/v1/carts/{cart_id}/items/{sku}": its_shopper(
        200, body={"quantity": 2}, suspended=403
    ),
    "PUT /api/v1/carts/{cart_id}/coupon": its_shopper(
        200, body={"coupon_code": None}, suspended=403
    ),
    # Knowing the link is having it.
    "GET /api/v1/payment-links/{payment_link_id}": anybody(200),
    "GET /api/v1/orders": customers(200),
    # Let in, and told that the key is missing: tests/api/test_orders_input.py goes further.
    "POST /api/v1/orders": customers(400, body={"items": [LINE]}, suspended=403),
    "GET /api/v1/orders/{order_number}": its_owner(200),
    "POST /api/v1/orders/{order_number}/confirm": its_owner(200, suspended=403),
    "POST /api/v1/orders/{order_number}/cancel": its_owner(200, suspended=403),
    "POST /api/v1/orders/{order_number}/reorder": its_owner(201, suspended=403),
    # The token is that of no order: whoever has it already, has it.
    "POST /api/v1/orders/{order_number}/claim": its_customer(
        200, body={"guest_token": GUEST_TOKEN}, suspended=403
    ),
    "GET /api/v1/orders/{order_number}/returns": its_owner(200),
    "POST /api/v1/orders/{order_number}/returns": its_owner(
        201, body={"items": [LINE], "reason": "Too sour."}, suspended=403
    ),
    "GET /api/v1/orders/{order_number}/returns/{return_id}": its_owner(200),
    "GET /api/v1/orders/{order_number}/timeline": its_owner(200),
    "GET /api/v1/orders/{order_number}/invoice": its_owner(200),
    "GET /api/v1/orders/{order_number}/documents": its_owner(200),
    "GET /api/v1/orders/{order_number}/documents/{document_number}": its_owner(200),
    # A signature says who it is, whatever token comes with it: tests/api/test_webhooks.py.
    "POST /api/v1/webhooks/stripe": anybody(400),
    # Not there before the shop has named a secret: tests/integrations/test_unsubscribe.py.
    "POST /api/v1/webhooks/marketing": anybody(404),
    # Knowing the link is having it.
    "GET /api/v1/unsubscribe/{unsubscribe_token}": anybody(200),
    "POST /api/v1/unsubscribe/{unsubscribe_token}": anybody(
        200, body={"List-Unsubscribe": "One-Click"}
    ),
    # A chat tool's token, and no person's: tests/integrations/test_support_context.py.
    "GET /api/v1/support/context": anybody(401),
    # Likewise: tests/integrations/test_tracking.py.
    "POST /api/v1/webhooks/tracking/generic": anybody(400),
    "POST /api/v1/webhooks/tracking/easypost": anybody(400),
    # A warehouse's token, and no person's: tests/integrations/test_stock_feed.py.
    "POST /api/v1/feeds/stock": anybody(401),
    # Of what is there to be ordered there is nothing to tell.
    "POST /api/v1/products/{sku}/stock-alerts": customers(409, suspended=403),
    "DELETE /api/v1/products/{sku}/stock-alerts": customers(204, suspended=403),
    # So does a secret, which this shop has none of: tests/integrations/test_bounces.py.
    "POST /api/v1/webhooks/email/{provider}": anybody(404),
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
