"""What happened to an order, as its buyer is told: in time order, without staff or internals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.db.models import Min, Prefetch, Q

from config.kernel import money
from orders.models import Return, ReturnItem, Shipment, ShipmentItem
from payments.models import LedgerEntry, Payment, Refund

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from orders.models import Order

    Entry = tuple[datetime, str, dict[str, Any]]

MOVES: Final = {
    "pending": "placed",
    "confirmed": "confirmed",
    "cancelled": "cancelled",
    "delivered": "delivered",
}
"""Parcels and refunds tell more than the moves to processing, shipped and refunded do."""


def timeline(order: Order) -> list[dict[str, Any]]:
    """Every event with its instant, oldest first; a constant number of statements."""
    entries = [*_moves(order), *_parcels(order), *_refunds(order), *_returns(order)]
    entries.sort(key=lambda entry: entry[0])  # stable: what one transaction did stays in order
    return [
        {
            "at": at.isoformat().replace("+00:00", "Z"),
            "event": event,
            **({"data": data} if data else {}),
        }
        for at, event, data in entries
    ]


def _moves(order: Order) -> Iterator[Entry]:
    payment = Payment.objects.filter(order=order).order_by("-id").first()
    for move in order.transitions.order_by("version"):
        if move.to_status == "cancelled" and payment and payment.status == Payment.Status.FAILED:
            yield move.at, "payment_failed", {}
        if event := MOVES.get(move.to_status):
            yield move.at, event, {}


def _parcels(order: Order) -> Iterator[Entry]:
    items = ShipmentItem.objects.select_related("order_item").order_by("order_item_id")
    parcels = Shipment.objects.filter(order=order).prefetch_related(Prefetch("items", items))
    for parcel in parcels.order_by("id"):
        yield (
            parcel.shipped_at,
            "shipped",
            {
                "carrier": parcel.carrier,
                "tracking_number": parcel.tracking_number,
                "tracking_url": parcel.tracking_url,
                "items": _items(parcel.items.all()),
            },
        )


def _refunds(order: Order) -> Iterator[Entry]:
    booked = Q(ledger_entries__kind=LedgerEntry.Kind.REFUND)
    found = Refund.objects.filter(payment__order=order).order_by("id")
    for refund in found.annotate(succeeded_at=Min("ledger_entries__created_at", filter=booked)):
        data = {
            "amount": money.format_amount(refund.amount, refund.currency),
            "currency": refund.currency,
        }
        yield refund.created_at, "refund_requested", data
        if refund.succeeded_at is not None:
            yield refund.succeeded_at, "refunded", data


def _returns(order: Order) -> Iterator[Entry]:
    items = ReturnItem.objects.select_related("order_item").order_by("order_item_id")
    returns = Return.objects.filter(order=order).prefetch_related(Prefetch("items", items))
    for wish in returns.order_by("id"):
        data = {"return_id": str(wish.public_id)}
        yield wish.created_at, "return_requested", {**data, "items": _items(wish.items.all())}
        if wish.decided_at is not None:
            is_refused = wish.status == Return.Status.REFUSED
            yield wish.decided_at, "return_refused" if is_refused else "return_accepted", data
        if wish.received_at is not None:
            yield wish.received_at, "return_received", data


def _items(rows: Any) -> list[dict[str, Any]]:
    return [{"sku": row.order_item.product_sku, "quantity": row.quantity} for row in rows]
