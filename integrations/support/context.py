"""Tells a chat tool of a customer's orders, so that an agent need not ask for their numbers.

It is told as little as finds the orders: numbers, states, totals, and where staff reads more, after
a log-in. Who asks has a token of the shop's own, or the signed link of a ticket, which is about one
order and ends. Every answer is audited; nothing is here until `SUPPORT_CONTEXT_TOKEN` is set.
"""

from __future__ import annotations

import hmac
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core.signing import BadSignature, TimestampSigner
from django.db.models import Q
from django.urls import reverse

from audit import services as audit
from config.kernel import money
from config.kernel.db import short_transaction
from config.kernel.errors import NotFoundError, ValidationFailedError
from customers import selectors as customers
from integrations.support.matters import order_url_of
from orders.models import Order

if TYPE_CHECKING:
    from django.db.models import QuerySet

MOST_ORDERS: Final = 10
LINK_LIFE: Final = timedelta(days=7)
SALT: Final = "integrations.support.context"


def is_offered() -> bool:
    """Whether the shop wants this at all."""
    return bool(settings.SUPPORT_CONTEXT_TOKENS)


def knows(token: str) -> bool:
    """Whether a token is one of ours; takes as long whichever it is."""
    ours = settings.SUPPORT_CONTEXT_TOKENS
    matches = [hmac.compare_digest(token.encode(), one.encode()) for one in ours]
    return any(matches)


def link_for(*, order_number: str) -> str:
    """A link to the context of one order, good for a week; empty where none is offered."""
    if not is_offered():
        return ""
    signed = _signer().sign(order_number)
    return f"{settings.PUBLIC_URL}{reverse('support-context')}?link={signed}"


def order_of_link(link: str) -> str:
    """The number of the order that a link is about.

    Raises:
        NotFoundError: we have not made it, or its week is over.
    """
    try:
        return _signer().unsign(link, max_age=LINK_LIFE)
    except BadSignature:
        raise NotFoundError from None


def of_order(*, order_number: str, how: str) -> dict[str, Any]:
    """The context of one order. Opens its own transaction, for the audit row.

    Args:
        how: how whoever asks has shown that they may: `token`, `link`.

    Raises:
        NotFoundError: there is no such order.
    """
    orders = list(_orders().filter(order_number=order_number.strip().upper()))
    if not orders:
        raise NotFoundError
    _note(how, orders, customer_id=orders[0].customer_id)
    return _context(orders[0].customer_id, orders)


def of_email(*, email: str, how: str) -> dict[str, Any]:
    """The context of whoever has an address: their account's latest orders, and a guest's.

    Nobody with that address: no customer, and no orders. Opens its own transaction, as above.
    """
    address = email.strip().lower()
    if "@" not in address:
        raise ValidationFailedError(details={"email": ["Enter an e-mail address."]})
    customer_id = customers.find_customer_id(email=address)
    mine = Q(guest_email=address, customer=None)
    if customer_id is not None:
        mine |= Q(customer_id=customer_id)
    orders = list(_orders().filter(mine)[:MOST_ORDERS])
    _note(how, orders, customer_id=customer_id)
    return _context(customer_id, orders)


def _orders() -> QuerySet[Order]:
    return Order.objects.order_by("-created_at", "-pk")


def _context(customer_id: int | None, orders: list[Order]) -> dict[str, Any]:
    return {
        "customer_url": _customer_url(customer_id),
        "orders": [
            {
                "order_number": order.order_number,
                "status": order.status,
                "payment_status": order.payment_status,
                "total_amount": money.format_amount(order.total_amount, order.currency),
                "currency": order.currency,
                "created_at": order.created_at,
                "url": order_url_of(order),
            }
            for order in orders
        ],
    }


def _customer_url(customer_id: int | None) -> str | None:
    if customer_id is None:
        return None
    path = reverse("admin:customers_customer_change", args=[customer_id])
    return f"{settings.PUBLIC_URL}{path}"


def _note(how: str, orders: list[Order], *, customer_id: int | None) -> None:
    with short_transaction():
        audit.record(
            "SUPPORT_CONTEXT_READ",
            entity_type="customer" if customer_id else "order",
            entity_id=customer_id or (orders[0].pk if orders else None),
            data={"how": how, "orders": [order.order_number for order in orders]},
        )


def _signer() -> TimestampSigner:
    return TimestampSigner(salt=SALT)
