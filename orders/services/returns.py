"""Takes shipped units back: asked for by the buyer, decided, counted and refunded by staff."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db.models import F
from django.db.models.functions import Now

from audit import services as audit
from config.kernel.db import short_transaction
from config.kernel.errors import InvalidTransitionError, NotFoundError, ValidationFailedError
from inventory import services as stock
from orders import selectors
from orders.errors import NotReturnableError
from orders.models import Order, Return, ReturnItem, ReturnReceipt, ShipmentItem
from orders.services import refunds
from orders.services.refunds import RefundWish
from payments.models import Refund

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping

    from config.kernel.clock import Deadline
    from orders.models import OrderItem
    from orders.selectors import LockedOrder
    from payments.alone import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """Units of a line that came back; `restocked` of them can be sold again, the rest is scrap."""

    quantity: int
    restocked: int


def request_return(*, order_id: int, units: Mapping[str, int], reason: str) -> Return:
    """The buyer wants to send units back. Opens its own transaction.

    Args:
        units: how many of each SKU, above zero.
        reason: the buyer's own words, at most 500 characters.

    Raises:
        NotReturnableError: nothing was shipped, or the time to return it is over.
        ValidationFailedError: no such line, or more units than were shipped and not returned yet.
    """
    with short_transaction():
        locked = selectors.lock_order(order_id=order_id)
        _check_returnable(locked)
        chosen = _checked_units(locked.order, units)
        wish = Return.objects.create(order=locked.order, reason=reason)
        ReturnItem.objects.bulk_create(
            ReturnItem(parent=wish, order_item=item, quantity=quantity)
            for item, quantity in chosen.items()
        )
        _tell(wish)
    return wish


def accept_return(*, return_id: int, user_id: int | None = None) -> None:
    """The goods may be sent back. Opens its own transaction; repeating is refused.

    Raises:
        InvalidTransitionError: it is decided already.
    """
    with short_transaction():
        _, wish = lock_return(return_id=return_id)
        _move(wish, to=Return.Status.ACCEPTED, decided_at=Now(), decided_by_id=user_id)


def refuse_return(*, return_id: int, reason: str, user_id: int | None = None) -> None:
    """The goods may not be sent back; their units can be asked for again. Likewise."""
    with short_transaction():
        _, wish = lock_return(return_id=return_id)
        _move(
            wish,
            to=Return.Status.REFUSED,
            refusal=reason[:500],
            decided_at=Now(),
            decided_by_id=user_id,
        )


def receive_return(
    *, return_id: int, arrived: Mapping[str, Arrived] | None = None, user_id: int | None = None
) -> None:
    """The parcel is here and counted: what can be sold again goes back on the shelf.

    Args:
        arrived: by SKU; a line that is not named did not arrive. None: all of it, fit for sale.

    Raises:
        InvalidTransitionError: it was not accepted, or has been received already.
        ValidationFailedError: no such line, or more than was announced.
    """
    with short_transaction():
        _, wish = lock_return(return_id=return_id)
        items = list(wish.items.select_related("order_item").order_by("order_item_id"))
        counted = _checked_arrival(items, arrived)
        _move(wish, to=Return.Status.RECEIVED, received_at=Now())
        ReturnReceipt.objects.bulk_create(
            ReturnReceipt(item=item, quantity=came.quantity, restocked=came.restocked)
            for item, came in counted
        )
        restocked = {
            item.order_item.product_id: came.restocked for item, came in counted if came.restocked
        }
        if restocked:
            stock.take_back(
                order_id=wish.order_id,
                units=restocked,
                reason=f"return {wish.public_id}",
                user_id=user_id,
            )


def receive_as_scrap(*, return_id: int, user_id: int | None = None) -> None:
    """All of it arrived, and nothing can be sold again; otherwise like `receive_return`."""
    announced = ReturnItem.objects.filter(parent_id=return_id)
    arrived = {
        sku: Arrived(quantity=quantity, restocked=0)
        for sku, quantity in announced.values_list("order_item__product_sku", "quantity")
    }
    receive_return(return_id=return_id, arrived=arrived, user_id=user_id)


def refund_return(
    *,
    return_id: int,
    deadline: Deadline,
    user_id: int | None = None,
    limits: Limits | None = None,
) -> bool:
    """Give the money for what arrived back, through the ordinary refund by units.

    Opens its own transactions; never call it inside one. Repeating it is the same refund.

    Args:
        limits: what `user_id` may give back of the order alone; None: see `payments.alone`.

    Returns:
        Whether the money is back. If not, the sweeper carries it on.

    Raises:
        InvalidTransitionError: it was not received, nothing arrived, what arrived cost nothing, or
            nothing is left to refund.
        SecondPersonNeededError: more than `limits` allow.
        ValidationFailedError: units of it were refunded in another way.
    """
    with short_transaction():
        locked, wish = lock_return(return_id=return_id)
        refund = decide_locked(locked, wish, user_id=user_id, limits=limits)
    return refunds.finish_refund(refund_id=refund.pk, deadline=deadline)


def decide_locked(
    locked: LockedOrder, wish: Return, *, user_id: int | None, limits: Limits | None
) -> Refund:
    """Decide the refund of `refund_return` in the caller's transaction, which has the locks."""
    if wish.status not in {Return.Status.RECEIVED, Return.Status.REFUNDED}:
        raise InvalidTransitionError
    units = {
        receipt.item.order_item.product_sku: receipt.quantity
        for receipt in ReturnReceipt.objects.filter(
            item__parent=wish, quantity__gt=0
        ).select_related("item__order_item")
    }
    if not units:
        raise InvalidTransitionError("Nothing arrived that could be refunded.")
    refund = refunds.decide_locked(
        locked,
        RefundWish(
            reason="returned",
            units=units,
            request_key=_refund_key(wish),
            requested_by_id=user_id,
            limits=limits,
        ),
    )
    if wish.status == Return.Status.RECEIVED:
        _move(wish, to=Return.Status.REFUNDED, refund_id=refund.pk)
    elif wish.refund_id != refund.pk:
        Return.objects.filter(pk=wish.pk).update(refund_id=refund.pk)
    return refund


def _refund_key(wish: Return) -> str:
    """The same refund, however often it is asked for; another one once that has failed."""
    if wish.refund is None:
        return f"return-{wish.public_id}"
    if wish.refund.status == Refund.Status.FAILED:
        return f"return-{wish.public_id}-after-{wish.refund.pk}"
    return str(wish.refund.request_key)


def _check_returnable(locked: LockedOrder) -> None:
    order = locked.order
    if order.status not in Order.SHIPPED or order.shipped_at is None:
        raise NotReturnableError
    since = order.delivered_at or order.shipped_at
    if locked.at > since + timedelta(days=settings.RETURN_DAYS):
        raise NotReturnableError


def _checked_units(order: Order, units: Mapping[str, int]) -> dict[OrderItem, int]:
    items = {item.product_sku: item for item in selectors.list_items(order_id=order.pk)}
    left = _left_to_return(order)
    problems: list[dict[str, list[str]]] = []
    for sku, quantity in units.items():
        item = items.get(sku)
        if item is None:
            problems.append({"sku": ["This order has no such line."]})
        elif quantity > left[item.pk]:
            problems.append({"quantity": [f"At most {left[item.pk]} units can be returned."]})
        else:
            problems.append({})
    if any(problems):
        raise ValidationFailedError(details={"items": problems})
    return {items[sku]: quantity for sku, quantity in units.items()}


def _left_to_return(order: Order) -> Counter[int]:
    """Units shipped that neither came back nor are on their way back, by the line's id."""
    left = selectors.units_by_line(ShipmentItem.objects.filter(order_item__order=order))
    announced = ReturnItem.objects.filter(parent__order=order, parent__status__in=Return.ANNOUNCED)
    left.subtract(selectors.units_by_line(announced))
    arrived = ReturnReceipt.objects.filter(item__parent__order=order)
    left.subtract(selectors.units_by_line(arrived, line="item__order_item_id"))
    return left


def _checked_arrival(
    items: list[ReturnItem], arrived: Mapping[str, Arrived] | None
) -> list[tuple[ReturnItem, Arrived]]:
    if arrived is None:
        return [(item, Arrived(quantity=item.quantity, restocked=item.quantity)) for item in items]
    by_sku = {item.order_item.product_sku: item for item in items}
    problems = {
        sku: ["Not that many of this were announced."]
        for sku, came in arrived.items()
        if sku not in by_sku or not 0 <= came.restocked <= came.quantity <= by_sku[sku].quantity
    }
    if problems:
        raise ValidationFailedError(details={"items": problems})
    nothing = Arrived(quantity=0, restocked=0)
    return [(item, arrived.get(sku, nothing)) for sku, item in by_sku.items()]


def lock_return(*, return_id: int) -> tuple[LockedOrder, Return]:
    """Lock key → order → payment → return; stock levels come after. Requires a transaction.

    Raises:
        NotFoundError: there is no such return.
    """
    order_id = Return.objects.filter(pk=return_id).values_list("order_id", flat=True).first()
    if order_id is None:
        raise NotFoundError
    locked = selectors.lock_order(order_id=order_id)
    wish = Return.objects.select_for_update(of=["self"]).select_related("refund").get(pk=return_id)
    wish.order = locked.order
    return locked, wish


def _move(wish: Return, *, to: Return.Status, **changes: Any) -> None:
    """Move a return along its legal edges (a trigger knows them). Requires its lock."""
    if wish.status == to:
        raise InvalidTransitionError
    Return.objects.filter(pk=wish.pk).update(status=to, version=F("version") + 1, **changes)
    wish.status = to
    _tell(wish)


def _tell(wish: Return) -> None:
    order = wish.order
    data = {"order_number": order.order_number, "return": str(wish.public_id)}
    audit.record(
        f"RETURN_{wish.status.upper()}", entity_type="order", entity_id=order.pk, data=data
    )
    audit.publish(
        f"return.{wish.status}",
        aggregate_type="order",
        aggregate_id=order.pk,
        dedupe_key=f"return.{wish.public_id}.{wish.status}",
        payload={"order_id": order.pk, **data},
    )
