"""A shop and a shopper for tests over HTTP: the API as a storefront calls it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

from allauth.headless.tokens.strategies.jwt import internal as tokens
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.test import Client
from django.utils import timezone

from customers.models import Customer
from customers.sessions import SessionStore
from orders.models import Order, PaymentLink
from orders.services.payment_links import PhoneOrder, make_link
from orders.services.placement import Guest
from orders.services.quoting import BasketLine

ADDRESS = {
    "name": "Ada Lovelace",
    "line1": "1 Main Street",
    "city": "New York",
    "state": "NY",
    "postal_code": "10001",
    "country": "US",
}
BERLIN = {**ADDRESS, "state": "", "city": "Berlin", "postal_code": "10115", "country": "DE"}
APPLE = (("APPLE", 1),)
_keys = itertools.count()


class Shopper:
    """Somebody with a browser: a customer with a token, or a guest."""

    def __init__(self, customer: Customer | None = None) -> None:
        self.client = Client()
        self.customer = customer
        self.headers: dict[str, str] = {}
        if customer:
            self.headers["Authorization"] = f"Bearer {access_token(customer)}"

    def order(self, *items: tuple[str, int], key: str | None = None, **changes: Any) -> Any:
        """POST /orders; a `None` in `changes` leaves the field out."""
        body: dict[str, Any] = {
            "items": [{"sku": sku, "quantity": quantity} for sku, quantity in items],
            "payment_method_id": "pm_card_visa",
            "shipping_address": ADDRESS,
        }
        if self.customer is None:
            body["customer"] = {
                "email": "guest@example.com",
                "first_name": "Grace",
                "last_name": "Hopper",
            }
        body = {name: value for name, value in {**body, **changes}.items() if value is not None}
        return self.post("/orders", body, **{"Idempotency-Key": key or f"test-{next(_keys)}"})

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self.client.post(
            f"/api/v1{path}",
            data={} if body is None else body,
            content_type="application/json",
            headers={**self.headers, **headers},
        )

    def get(self, path: str, **params: str) -> Any:
        return self.client.get(f"/api/v1{path}", params, headers=self.headers)


def access_token(customer: Customer) -> str:
    """A real token on a real session, as a log-in leaves them; without the log-in's time."""
    session = SessionStore()
    session[SESSION_KEY] = str(customer.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = customer.get_session_auth_hash()
    session.save()
    return str(tokens.create_access_token(customer, session, {}))


def order_of(answer: Any) -> Order:
    """The row behind an answer, an error's `order_number` included."""
    body = answer.json()
    number = body.get("order_number") or body["error"]["details"]["order_number"]
    return Order.objects.get(order_number=number)


def payment_link(*items: tuple[str, int], **changes: Any) -> PaymentLink:
    """A guest's order, taken by telephone; of one APPLE if nothing is said."""
    wish = PhoneOrder(
        customer_id=None,
        guest=Guest(email="guest@example.com", first_name="Grace", last_name="Hopper"),
        lines=[BasketLine(sku=sku, quantity=quantity) for sku, quantity in items or APPLE],
        shipping_address=ADDRESS,
    )
    clerk, _ = Customer.objects.get_or_create(
        email="clerk@example.com", first_name="Clara", last_name="Clerk", is_staff=True
    )
    return make_link(
        wish=replace(wish, **changes),
        request_key=f"test-{next(_keys)}",
        user_id=clerk.pk,
        is_sent=False,
        now=timezone.now(),
    )
