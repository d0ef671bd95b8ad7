"""What analytics is told: what was bought, sent, given back or left behind, and nothing of whom.

An event is made of the fact and of what never changes about an order, so each try makes the same,
but for whose it was: an order that was claimed between two tries is its new owner's by then.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from config.kernel import money
from integrations.analytics import pseudonyms
from orders.models import Cart, CartItem, Order, OrderItem
from payments.models import Payment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from audit.models import OutboxMessage

ABANDONED: Final = "cart.abandoned"
FACTS: Final = (
    "order.confirmed",
    "order.refunded",
    "order.cancelled",
    "shipment.sent",
    ABANDONED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened.

    `customer`: the pseudonym of an account; `anonymous`: of somebody without one. One of the two
    is empty. `data`: amounts as text in major units, beside their currency.
    """

    id: uuid.UUID
    fact: str
    occurred_at: datetime
    customer: str
    anonymous: str
    data: Mapping[str, Any]
    items: Sequence[Mapping[str, Any]]


def of(messages: Sequence[OutboxMessage]) -> list[Event]:
    """The events of some messages, in their order; a constant number of queries.

    Those of orders that were never paid are left out: to analytics they never were.
    """
    about_carts = [each for each in messages if each.fact == ABANDONED]
    orders = _orders({each.aggregate_id for each in messages if each.fact != ABANDONED})
    carts = _carts({each.aggregate_id for each in about_carts})
    events = []
    for message in messages:
        if message.fact == ABANDONED:
            events.append(_of_cart(message, carts.get(message.aggregate_id)))
        elif message.aggregate_id in orders:
            events.append(_of_order(message, *orders[message.aggregate_id]))
    return events


def key_of_call(ids: Sequence[str]) -> str:
    """The key of a call: its event's id, or of several one that these have together alone."""
    return ids[0] if len(ids) == 1 else str(uuid.uuid5(uuid.UUID(ids[0]), " ".join(ids)))


def _of_order(message: OutboxMessage, order: Order, items: Sequence[Mapping[str, Any]]) -> Event:
    owner = order.customer_id
    data: dict[str, Any] = {"order_number": order.order_number, "currency": order.currency}
    shown: Sequence[Mapping[str, Any]] = ()
    if message.fact == "order.refunded":
        data |= {"refund": message.payload["refund"], "amount": message.payload["amount"]}
    elif message.fact == "shipment.sent":
        data["shipment"] = message.payload["shipment"]
    else:
        shown = items
        data |= {
            name: money.format_amount(getattr(order, name), order.currency)
            for name in (
                *("total_amount", "subtotal", "discount_amount"),
                *("shipping_amount", "tax_amount"),
            )
        }
    return Event(
        id=message.uuid,
        fact=message.fact,
        occurred_at=message.occurred_at,
        customer="" if owner is None else pseudonyms.of_customer(owner),
        anonymous=pseudonyms.of_order(order.pk) if owner is None else "",
        data=data,
        items=shown,
    )


def _of_cart(
    message: OutboxMessage, found: tuple[Cart, Sequence[Mapping[str, Any]]] | None
) -> Event:
    """A cart that is gone by now was abandoned all the same. Its public id would open it."""
    owner = message.payload["customer_id"]
    data: dict[str, Any] = {"cart": message.aggregate_id}
    if found is not None:
        data["currency"] = found[0].currency
    return Event(
        id=message.uuid,
        fact=message.fact,
        occurred_at=message.occurred_at,
        customer="" if owner is None else pseudonyms.of_customer(owner),
        anonymous=pseudonyms.of_cart(message.aggregate_id) if owner is None else "",
        data=data,
        items=() if found is None else found[1],
    )


def _orders(order_ids: set[int]) -> dict[int, tuple[Order, Sequence[Mapping[str, Any]]]]:
    """Those that were paid, with their lines."""
    paid = Payment.objects.filter(order_id__in=order_ids, status=Payment.Status.SUCCEEDED)
    orders = Order.objects.in_bulk(paid.values_list("order_id", flat=True))
    lines = defaultdict(list)
    for item in OrderItem.objects.filter(order_id__in=orders).order_by("pk"):
        lines[item.order_id].append(
            {
                "sku": item.product_sku,
                "product_name": item.product_name,
                "quantity": item.quantity,
                "unit_price": money.format_amount(item.unit_price, orders[item.order_id].currency),
            }
        )
    return {order_id: (order, lines[order_id]) for order_id, order in orders.items()}


def _carts(cart_ids: set[int]) -> dict[int, tuple[Cart, Sequence[Mapping[str, Any]]]]:
    carts = Cart.objects.in_bulk(cart_ids)
    lines = defaultdict(list)
    for item in CartItem.objects.filter(cart__in=carts).select_related("product").order_by("pk"):
        line: dict[str, Any] = {
            "sku": item.product.sku,
            "product_name": item.product.name,
            "quantity": item.quantity,
        }
        if item.unit_price is not None:
            currency = carts[item.cart_id].currency
            line["unit_price"] = money.format_amount(item.unit_price, currency)
        lines[item.cart_id].append(line)
    return {cart_id: (cart, lines[cart_id]) for cart_id, cart in carts.items()}
