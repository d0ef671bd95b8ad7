"""What merchants' systems can be told of: the public kinds of events, and what each carries.

`data` is looked up when it is sent, so a late try tells the present. It names no person: ids,
numbers and amounts, and orders as the API shows them without addresses, notes and tokens.
A new kind needs its line here and in docs/outgoing-webhooks.md. What is sent is version 1:
fields may come, and none goes or changes its meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.db.models import prefetch_related_objects

from orders import answers, selectors
from orders.models import Cart, Shipment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from audit.models import OutboxMessage

    Data = dict[str, Any]

PAYLOAD_VERSION: Final = "1"
TEST: Final = "webhook.test"
SHOWN_OF_ORDERS: Final = (
    *("id", "order_number", "status", "payment_status", "currency", "items"),
    *("subtotal", "discount_amount", "shipping_amount", "tax_amount", "total_amount"),
    *("tax_included", "refunded_amount", "shipping_method", "estimated_delivery", "shipments"),
    *("created_at", "updated_at", "shipped_at", "delivered_at"),
)
"""Named one by one: a field that the API gains later is not sent to others by itself."""


@dataclass(frozen=True, slots=True)
class Event:
    """A kind of event: the fact behind it, when it happens in words, and what it carries.

    `data` answers None if what it is about is gone: then there is nothing to tell.
    """

    kind: str
    happens: str
    data: Callable[[OutboxMessage], Data | None]


def kind_of(fact: str) -> str:
    """What receivers are told as `type`; a test's fact carries its endpoint's number."""
    return TEST if fact.startswith(f"{TEST}.") else fact


def test_fact(endpoint_id: int) -> str:
    """The fact that this endpoint alone is told of."""
    return f"{TEST}.{endpoint_id}"


def envelope(message: OutboxMessage) -> Data | None:
    """All that is sent, as CONTRACT's generic envelope has it; None if nothing is left to tell.

    Raises:
        KeyError: the message states no public fact.
    """
    kind = kind_of(message.fact)
    data = BY_KIND[kind].data(message)
    if data is None:
        return None
    return {
        "id": str(message.uuid),
        "type": kind,
        "occurred_at": _instant(message.occurred_at),
        "data": data,
    }


# --- what they carry --------------------------------------------------------------------------


def _order(message: OutboxMessage) -> Data:
    number = message.payload["order_number"]
    order, payment = selectors.get_order(order_number=number)
    prefetch_related_objects([order], *selectors.SHIPMENTS)
    items = selectors.list_items(order_id=order.pk)
    held = answers.order_json(order, payment=payment, items=items)
    return {
        "order_number": number,
        "customer_id": order.customer_id,
        "order": {name: held[name] for name in SHOWN_OF_ORDERS},
    }


def _order_with(name: str, fields: Mapping[str, str]) -> Callable[[OutboxMessage], Data]:
    """An order, and under `name` what else the fact says; `fields`: theirs by ours."""

    def data(message: OutboxMessage) -> Data:
        told = {theirs: message.payload[ours] for theirs, ours in fields.items()}
        return {**_order(message), name: told}

    return data


def _number_alone(message: OutboxMessage) -> Data:
    return {"order_number": message.payload["order_number"]}


def _parcel(message: OutboxMessage) -> Data:
    shipment = Shipment.objects.prefetch_related("items__order_item").get(
        pk=message.payload["shipment"]
    )
    told = {
        "id": shipment.pk,
        "carrier": shipment.carrier,
        "tracking_number": shipment.tracking_number,
        "tracking_url": shipment.tracking_url,
        "shipped_at": _instant(shipment.shipped_at),
        "items": [
            {"sku": item.order_item.product_sku, "quantity": item.quantity}
            for item in sorted(shipment.items.all(), key=lambda item: item.pk)
        ],
    }
    return {**_order(message), "shipment": told}


def _return(message: OutboxMessage) -> Data:
    wish = selectors.get_return(order_id=message.aggregate_id, public_id=message.payload["return"])
    held = answers.return_json(wish)
    del held["reason"]  # a person's words
    return {**_order(message), "return": held}


def _cart(message: OutboxMessage) -> Data | None:
    # Not its public id: whoever knows that may use the cart.
    cart = Cart.objects.filter(pk=message.aggregate_id).first()
    if cart is None:
        return None
    items = cart.items.select_related("product").order_by("pk")
    return {
        "cart": cart.pk,
        "customer_id": cart.customer_id,
        "currency": cart.currency,
        "items": [{"sku": item.product.sku, "quantity": item.quantity} for item in items],
        "changed_at": _instant(cart.changed_at),
    }


def _consent(message: OutboxMessage) -> Data:
    names = ("customer_id", "marketing_consent")
    return {name: message.payload[name] for name in names}


def _customer(message: OutboxMessage) -> Data:
    return {"customer_id": message.aggregate_id}


def _test(message: OutboxMessage) -> Data:  # noqa: ARG001 - as its siblings
    return {"says": "This is a test. Nothing has happened."}


def _instant(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


_REFUND: Final = _order_with("refund", {"id": "refund", "amount": "amount", "currency": "currency"})
_DISPUTE: Final = _order_with(
    "dispute",
    {"id": "dispute", "status": "status", "amount": "amount", "currency": "currency"},
)
EVENTS: Final[Sequence[Event]] = (
    Event("order.confirmed", "An order is paid; its stock is committed.", _order),
    Event("order.processing", "The warehouse has taken up an order.", _order),
    Event("order.shipped", "All of an order has left.", _order),
    Event("order.delivered", "The last parcel of an order has arrived.", _order),
    Event("order.cancelled", "An order ended unpaid, or was cancelled before it left.", _order),
    Event("order.refunded", "Money went back, all of it or a part.", _REFUND),
    Event("order.refund_failed", "Money that should go back did not arrive.", _REFUND),
    Event("order.disputed", "The customer's bank takes the money back.", _DISPUTE),
    Event("order.erased", "Whom an order was for was erased: forget them, too.", _number_alone),
    Event("shipment.sent", "A parcel has left.", _parcel),
    Event("shipment.delivered", "A parcel has arrived.", _parcel),
    Event("return.requested", "A customer wants to send units back.", _return),
    Event("return.accepted", "Staff has accepted a return.", _return),
    Event("return.refused", "Staff has refused a return.", _return),
    Event("return.received", "What was sent back has arrived.", _return),
    Event("return.refunded", "What was sent back is paid back.", _return),
    Event("cart.abandoned", "Nobody has touched a cart for a while.", _cart),
    Event(
        "customer.marketing_consent_changed",
        "A customer allows or forbids to be written to.",
        _consent,
    ),
    Event("customer.erased", "A customer was erased: forget them, too.", _customer),
)
KINDS: Final = tuple(event.kind for event in EVENTS)
"""What staff can choose."""
BY_KIND: Final = {
    event.kind: event for event in (*EVENTS, Event(TEST, "Staff tries an endpoint.", _test))
}
