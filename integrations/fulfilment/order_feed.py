"""Tells the warehouse's system what to pack, and when to stop: `POST {FULFILMENT_BASE_URL}/events`.

Each message says how the order stands when it is handed over, not how it stood when the fact was
stated: whoever takes the last one is right. An order that the warehouse has accepted is processing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.conf import settings

from audit import outbox
from config.kernel.errors import DomainError
from integrations import envelopes
from inventory.models import Product
from orders.models import Order, OrderTransition
from orders.services import overview, shipping
from payments import services as payments

if TYPE_CHECKING:
    from audit.models import OutboxMessage
    from orders.services.overview import Line

SUBSCRIBER: Final = "fulfilment"
STOPS: Final = (
    "order.cancelled",
    "order.refunded",
    "order.disputed",
    "order.dispute_closed",
)
"""What may change or stop the packing of an order that the warehouse knows."""
ADDRESS_FIELDS: Final = (
    *("name", "line1", "line2", "city", "state", "postal_code", "country", "phone"),
)


def subscribe() -> None:
    """Have the warehouse's system be told, if there is one."""
    if settings.FULFILMENT_BASE_URL:
        outbox.subscribe("order.confirmed", SUBSCRIBER, ask_to_pack)
        for fact in STOPS:
            outbox.subscribe(fact, SUBSCRIBER, tell_how_it_stands)


def ask_to_pack(message: OutboxMessage) -> str | None:
    """Hand a paid order over; accepted, it is processing. Must not be called in a transaction.

    Returns:
        Why it was not handed over, or not moved: it was cancelled, shipped or is disputed.

    Raises:
        DeliveryFailedError: the warehouse did not take it.
        CommitOutcomeUnknownError: the COMMIT was lost; the same message again is harmless.
    """
    order = Order.objects.get(pk=message.payload["order_id"])
    if order.status not in Order.PAID_UNSHIPPED:
        return f"not sent: the order is {order.status}"
    _post(message, order)
    return _take_up(order)


def tell_how_it_stands(message: OutboxMessage) -> str | None:
    """Say that something has changed for an order that may lie in the warehouse.

    Returns:
        Why it was not said: nothing of the order is there, or ever was.
    """
    order = Order.objects.get(pk=message.payload["order_id"])
    if message.fact == "order.cancelled":
        if not _was_confirmed(order):
            return "not sent: the warehouse never had it"
    elif order.status not in Order.PAID_UNSHIPPED:
        return f"not sent: the order is {order.status}"
    _post(message, order)
    if message.fact == "order.dispute_closed":  # it was held when it was handed over
        return _take_up(order)
    return None


def standing_of(order: Order) -> dict[str, Any]:
    """What a warehouse needs of an order. No prices, and of the buyer no more than the label has.

    `is_held`: do not send it for now, its payment is disputed. `to_pack`: units of a line that are
    still to be sent; `from`: how many of them wait in which building.
    """
    lines = overview.lines_of(order)
    payment = overview.find_payment(order)
    address = order.shipping_address
    weights = dict(
        Product.objects.filter(pk__in=[line.item.product_id for line in lines]).values_list(
            "pk", "weight_grams"
        )
    )
    is_packable = order.status in Order.PAID_UNSHIPPED
    return {
        "order_number": order.order_number,
        "status": order.status,
        "is_held": payment is not None and payments.is_disputed(payment),
        "placed_at": order.created_at.isoformat(),
        "shipping_method": order.shipping_method,
        "estimated_delivery": order.estimated_delivery and order.estimated_delivery.isoformat(),
        "notes": order.notes if is_packable else "",
        "shipping_address": {name: address.get(name) or "" for name in ADDRESS_FIELDS}
        if is_packable and address
        else None,
        "items": [
            {
                "sku": line.item.product_sku,
                "name": line.item.product_name,
                "quantity": line.item.quantity,
                "to_pack": line.to_ship if is_packable else 0,
                "from": _places(line) if is_packable else [],
                "weight_grams": weights.get(line.item.product_id),
            }
            for line in lines
        ],
    }


def _take_up(order: Order) -> str | None:
    """The warehouse has accepted it. Opens its own transaction; repeating is harmless."""
    try:
        shipping.begin_processing(order_id=order.pk)
    except DomainError as exc:
        # What came in between has a fact of its own, which tells the warehouse to stop.
        return f"accepted, and not processing: {exc.message}"
    return None


def _was_confirmed(order: Order) -> bool:
    moves = OrderTransition.objects.filter(order=order, to_status=Order.Status.CONFIRMED)
    return moves.exists()


def _places(line: Line) -> list[dict[str, Any]]:
    return [
        {"warehouse": place.warehouse, "quantity": place.still_there}
        for place in line.places
        if place.still_there
    ]


def _post(message: OutboxMessage, order: Order) -> None:
    if not settings.FULFILMENT_BASE_URL:
        raise outbox.DeliveryFailedError("FULFILMENT_BASE_URL is not set any more")
    client = envelopes.receiver(
        name="The warehouse",
        base_url=settings.FULFILMENT_BASE_URL,
        token=settings.FULFILMENT_TOKEN,
    )
    envelopes.post(
        client,
        key=message.uuid,
        kind=message.fact,
        occurred_at=message.occurred_at,
        content=standing_of(order),
    )
