"""Sends an order's units out, parcel by parcel, and notes that they arrived."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from audit import services as audit
from config.kernel.db import short_transaction
from config.kernel.errors import InvalidTransitionError, NotFoundError, ValidationFailedError
from inventory import services as stock
from orders import selectors
from orders.errors import ShipmentRequestReusedError
from orders.models import Order, RefundLine, Shipment, ShipmentItem
from orders.services import settlement
from payments.errors import PaymentDisputedError
from payments.models import Payment, Refund

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from orders.models import OrderItem
    from orders.selectors import LockedOrder

TRACKING_PAGES: Final = {
    "ups": "https://www.ups.com/track?tracknum={number}",
    "fedex": "https://www.fedex.com/fedextrack/?trknbr={number}",
    "usps": "https://tools.usps.com/go/TrackConfirmAction?tLabels={number}",
    "dhl": "https://www.dhl.com/en/express/tracking.html?AWB={number}",
    "royalmail": "https://www.royalmail.com/track-your-item#/tracking-results/{number}",
}
LONGEST = {"carrier": 50, "tracking_number": 100, "tracking_url": 500, "request_key": 255}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """What staff says of a parcel.

    `units` is how many of which SKU lie in it; None: all that is still to be sent. Without a
    `tracking_url` that of a well-known carrier is made from the number. The same `request_key` on
    the same order is the same parcel.
    """

    carrier: str
    tracking_number: str = ""
    tracking_url: str = ""
    units: Mapping[str, int] | None = None
    request_key: str | None = None


def ship_order(*, order_id: int, parcel: Parcel, user_id: int | None = None) -> Shipment:
    """Send units of a paid order out; with its last ones the order is shipped.

    A first part moves it to processing. Units whose money was given back are not sent: a refund by
    units counts against what has not left before it counts against what has. Opens its own
    transaction.

    Args:
        user_id: the member of staff, if a person did it.

    Returns:
        The parcel; an earlier one where the key was used before.

    Raises:
        InvalidTransitionError: not paid, cancelled, or nothing is left to ship.
        PaymentDisputedError: the customer's bank has taken the money.
        ShipmentRequestReusedError: the key stands for another parcel of this order.
        ValidationFailedError: no such line, more units than are left, or a bad parcel.
        CommitOutcomeUnknownError: the COMMIT was lost; repeat it with the same key.
    """
    _check_parcel(parcel)
    with short_transaction():
        locked = selectors.lock_order(order_id=order_id)
        return _sent_before(locked.order, parcel) or _send(locked, parcel, user_id=user_id)


def begin_processing(*, order_id: int) -> None:
    """The warehouse has taken up a paid order. Opens its own transaction; repeating is harmless.

    It can still be cancelled until a part of it has left.

    Raises:
        InvalidTransitionError: not paid, or shipped, cancelled or refunded.
        PaymentDisputedError: the customer's bank has taken the money.
        CommitOutcomeUnknownError: the COMMIT was lost; repeating is harmless.
    """
    with short_transaction():
        locked = selectors.lock_order(order_id=order_id)
        if locked.order.status == Order.Status.PROCESSING:
            return
        check_shippable(locked)
        _move(locked, to=Order.Status.PROCESSING, event_type="ORDER_PROCESSING_BEGUN")
        settlement.announce(locked.order)


def note_transit(*, shipment_id: int) -> bool:
    """The carrier has a parcel. Opens its own transaction; repeating changes nothing.

    Returns:
        Whether that was news: a parcel that has arrived is not on its way any more.

    Raises:
        NotFoundError: there is no such parcel.
        CommitOutcomeUnknownError: the COMMIT was lost; repeating is harmless.
    """
    with short_transaction():
        locked, shipment = _locked_shipment(shipment_id)
        if shipment.status != Shipment.Status.SENT:
            return False
        _note(locked, shipment, status=Shipment.Status.IN_TRANSIT)
        return True


def note_arrival(*, shipment_id: int, at: datetime) -> bool:
    """A parcel has arrived; with the last one of a shipped order the order is delivered.

    Opens its own transaction; repeating changes nothing.

    Args:
        at: when, as the carrier says; a time before it was sent, or still to come, is not believed.

    Returns:
        Whether that was news.

    Raises:
        NotFoundError: there is no such parcel.
        CommitOutcomeUnknownError: the COMMIT was lost; repeating is harmless.
    """
    with short_transaction():
        locked, shipment = _locked_shipment(shipment_id)
        if shipment.status == Shipment.Status.DELIVERED:
            return False
        _arrive(locked, shipment, at=at)
        _deliver_if_all_arrived(locked)
        return True


def deliver_order(*, order_id: int) -> None:
    """All parcels have arrived. Opens its own transaction; repeating changes nothing.

    Raises:
        InvalidTransitionError: the order has not been shipped, or is refunded.
        CommitOutcomeUnknownError: the COMMIT was lost; repeating is harmless.
    """
    with short_transaction():
        locked = selectors.lock_order(order_id=order_id)
        if locked.order.status == Order.Status.DELIVERED:
            return
        if locked.order.status != Order.Status.SHIPPED:
            raise InvalidTransitionError
        for shipment in _under_way(locked.order):
            _arrive(locked, shipment, at=locked.at)
        _deliver(locked)


def complete_if_nothing_is_left(locked: LockedOrder) -> None:
    """An order in parts whose last units were refunded is shipped with what has left already.

    Requires the locks.
    """
    order = locked.order
    if order.status == Order.Status.PROCESSING:
        left = left_to_ship(selectors.list_items(order_id=order.pk))
        if not any(left.values()):
            _complete(locked)
            _deliver_if_all_arrived(locked)


def left_to_ship(items: list[OrderItem]) -> Counter[int]:
    """How many units of each line are still to be sent, by the line's id."""
    refunded = RefundLine.objects.filter(order_item__in=items)
    gone = selectors.units_by_line(ShipmentItem.objects.filter(order_item__in=items))
    gone += selectors.units_by_line(refunded.exclude(refund__status=Refund.Status.FAILED))
    return Counter({item.pk: max(0, item.quantity - gone[item.pk]) for item in items})


def tracking_page(*, carrier: str, number: str) -> str:
    """Where a well-known carrier shows a parcel; empty for the others, or without a number."""
    page = TRACKING_PAGES.get(re.sub(r"[^a-z]", "", carrier.lower()))
    return page.format(number=quote(number, safe="")) if page and number else ""


def _check_parcel(parcel: Parcel) -> None:
    problems = {
        name: [f"At most {longest} characters."]
        for name, longest in LONGEST.items()
        if len(getattr(parcel, name) or "") > longest
    }
    if not parcel.carrier.strip():
        problems["carrier"] = ["Who carries it?"]
    if parcel.tracking_url and not _is_web_page(parcel.tracking_url):
        problems["tracking_url"] = ["Must begin with https:// or http://."]
    if problems:
        raise ValidationFailedError(details=problems)


def _as_carriers_write(tracking_number: str) -> str:
    """Without the gaps that people read it by: their webhooks name parcels by it."""
    return "".join(tracking_number.split())


def _is_web_page(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and url.isprintable()


def _sent_before(order: Order, parcel: Parcel) -> Shipment | None:
    if parcel.request_key is None:
        return None
    shipment = order.shipments.filter(request_key=parcel.request_key).first()
    if shipment is None:
        return None
    units = {item.order_item.product_sku: item.quantity for item in shipment.items.all()}
    is_same = parcel.units is None or units == dict(parcel.units)
    if not is_same or shipment.tracking_number != _as_carriers_write(parcel.tracking_number):
        raise ShipmentRequestReusedError
    return shipment


def _send(locked: LockedOrder, parcel: Parcel, *, user_id: int | None) -> Shipment:
    order = locked.order
    check_shippable(locked)
    items = selectors.list_items(order_id=order.pk)
    left = left_to_ship(items)
    if not any(left.values()):
        raise InvalidTransitionError("Nothing is left to ship: what had not left was refunded.")
    units = _checked_units(items, left, parcel)
    number = _as_carriers_write(parcel.tracking_number)
    shipment = Shipment.objects.create(
        order=order,
        carrier=parcel.carrier,
        tracking_number=number,
        tracking_url=parcel.tracking_url or tracking_page(carrier=parcel.carrier, number=number),
        request_key=parcel.request_key,
    )
    ShipmentItem.objects.bulk_create(
        ShipmentItem(shipment=shipment, order_item=item, quantity=units[item.pk])
        for item in items
        if units[item.pk]
    )
    if order.shipped_at is None:
        Order.objects.filter(pk=order.pk).update(shipped_at=shipment.shipped_at)
        order.shipped_at = shipment.shipped_at
    _tell(order, shipment)
    stock.ship(
        order_id=order.pk,
        units={item.product_id: units[item.pk] for item in items if units[item.pk]},
        user_id=user_id,
    )
    if left == units:
        _complete(locked)
    elif order.status == Order.Status.CONFIRMED:
        _move(locked, to=Order.Status.PROCESSING, event_type="ORDER_PART_SHIPPED")
    return shipment


def _complete(locked: LockedOrder) -> None:
    """All that was to be sent has left; what was refunded instead can be sold to others."""
    _move(locked, to=Order.Status.SHIPPED, event_type="ORDER_SHIPPED")
    settlement.announce(locked.order)
    stock.release(order_id=locked.order.pk)


def _locked_shipment(shipment_id: int) -> tuple[LockedOrder, Shipment]:
    """The order comes first, as everywhere; its lock is the parcels', too."""
    found = Shipment.objects.filter(pk=shipment_id).values_list("order_id", flat=True).first()
    if found is None:
        raise NotFoundError
    locked = selectors.lock_order(order_id=found)
    return locked, Shipment.objects.get(pk=shipment_id)


def _under_way(order: Order) -> list[Shipment]:
    missing = order.shipments.exclude(status=Shipment.Status.DELIVERED)
    return list(missing.order_by("pk"))


def _arrive(locked: LockedOrder, shipment: Shipment, *, at: datetime) -> None:
    shipment.delivered_at = max(min(at, locked.at), shipment.shipped_at)
    _note(locked, shipment, status=Shipment.Status.DELIVERED)
    audit.publish(
        "shipment.delivered",
        aggregate_type="order",
        aggregate_id=locked.order.pk,
        dedupe_key=f"shipment.{shipment.pk}.delivered",
        payload={
            "order_id": locked.order.pk,
            "order_number": locked.order.order_number,
            "shipment": shipment.pk,
        },
    )


def _note(locked: LockedOrder, shipment: Shipment, *, status: Shipment.Status) -> None:
    came_from, shipment.status = shipment.status, status
    shipment.save(update_fields=["status", "delivered_at"])
    audit.record(
        f"SHIPMENT_{status.upper()}",
        entity_type="order",
        entity_id=locked.order.pk,
        data={
            "order_number": locked.order.order_number,
            "shipment": shipment.pk,
            "from": came_from,
            "to": status,
        },
    )


def _deliver_if_all_arrived(locked: LockedOrder) -> None:
    if locked.order.status == Order.Status.SHIPPED and not _under_way(locked.order):
        _deliver(locked)


def _deliver(locked: LockedOrder) -> None:
    _move(locked, to=Order.Status.DELIVERED, event_type="ORDER_DELIVERED")
    Order.objects.filter(pk=locked.order.pk).update(delivered_at=locked.at)
    settlement.announce(locked.order)


def check_shippable(locked: LockedOrder) -> None:
    """Whether parcels of an order may leave. Requires the locks.

    Raises:
        InvalidTransitionError: not paid, cancelled, or all of it has left.
        PaymentDisputedError: the customer's bank has taken the money.
    """
    if locked.order.status not in Order.PAID_UNSHIPPED:
        raise InvalidTransitionError
    if locked.payment.status != Payment.Status.SUCCEEDED:
        raise InvalidTransitionError("Nothing has been paid for this order.")
    if locked.is_disputed:
        raise PaymentDisputedError


def _checked_units(items: list[OrderItem], left: Counter[int], parcel: Parcel) -> Counter[int]:
    """What lies in the parcel, by the line's id."""
    if parcel.units is None:
        return left
    by_sku = {item.product_sku: item for item in items}
    problems: dict[str, list[str]] = {}
    units: Counter[int] = Counter()
    for sku, quantity in parcel.units.items():
        item = by_sku.get(sku)
        if item is None:
            problems[sku] = ["This order has no such line."]
        elif not 1 <= quantity <= left[item.pk]:
            problems[sku] = [f"Between 1 and {left[item.pk]} units can still be shipped."]
        else:
            units[item.pk] = quantity
    if problems or not units:
        raise ValidationFailedError(details={"units": problems or ["The parcel is empty."]})
    return units


def _move(locked: LockedOrder, *, to: Order.Status, event_type: str) -> None:
    settlement.move(
        locked,
        to=to,
        payment_status=Order.PaymentStatus(locked.order.payment_status),
        event_type=event_type,
    )


def _tell(order: Order, shipment: Shipment) -> None:
    data = {"order_number": order.order_number, "shipment": shipment.pk}
    audit.record("SHIPMENT_SENT", entity_type="order", entity_id=order.pk, data=data)
    audit.publish(
        "shipment.sent",
        aggregate_type="order",
        aggregate_id=order.pk,
        dedupe_key=f"shipment.{shipment.pk}",
        payload={"order_id": order.pk, **data},
    )
