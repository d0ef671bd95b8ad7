"""Lists what is not decided yet, each with the reason: for people who ask why an order waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db.models import Q
from django.db.models.functions import Now

from orders.models import Order
from payments.models import Payment, Refund

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOrder:
    """An order that is not decided, or whose refund is not done.

    `is_waiting`: nothing is wrong, the customer or the bank has to act next. `needs_staff`: no
    machine can bring it on.
    """

    order_number: str
    reason: str
    is_waiting: bool = False
    needs_staff: bool = False


def list_open_orders() -> list[OpenOrder]:
    """Everything undecided, oldest first."""
    return [*_pending_orders(), *_open_refunds(), *_unanswered_orders()]


def _pending_orders() -> list[OpenOrder]:
    payments = (
        Payment.objects.filter(order__status=Order.Status.PENDING)
        .filter(Q(status__in=Payment.OPEN) | Q(status=Payment.Status.QUARANTINED))
        .select_related("order__idempotency_key")
        .annotate(at=Now())
        .order_by("order_id", "id")
    )
    return [_why_pending(payment, at=payment.at) for payment in payments]


def _why_pending(payment: Payment, *, at: datetime) -> OpenOrder:
    order, key = payment.order, payment.order.idempotency_key
    number, told = order.order_number, payment.last_error
    if payment.status == Payment.Status.QUARANTINED:
        return OpenOrder(order_number=number, reason=f"quarantined: {told}", needs_staff=True)
    if payment.status == Payment.Status.PROCESSING:
        return OpenOrder(order_number=number, reason="the bank takes its time", is_waiting=True)
    if order.hold_expires_at <= at:
        return OpenOrder(order_number=number, reason=_with("its hold is over", told))
    if payment.status == Payment.Status.REQUIRES_ACTION:
        until = f"{order.hold_expires_at:%Y-%m-%d %H:%M:%S} UTC"
        return OpenOrder(
            order_number=number, reason=f"the customer has to act until {until}", is_waiting=True
        )
    if payment.in_doubt_since is not None:
        return OpenOrder(order_number=number, reason=_with("the provider has not said yet", told))
    if key is not None and key.response_status is None and key.lease_until > at:
        return OpenOrder(order_number=number, reason="a request is working on it")
    return OpenOrder(order_number=number, reason=_with("its request ended without an answer", told))


def _open_refunds() -> list[OpenOrder]:
    refunds = (
        Refund.objects.filter(status__in=[Refund.Status.DUE, Refund.Status.PENDING])
        .select_related("payment__order")
        .order_by("id")
    )
    return [
        OpenOrder(
            order_number=refund.payment.order.order_number,
            reason="the bank takes its time with the refund"
            if refund.status == Refund.Status.PENDING
            else _with("its refund is not sent", refund.last_error),
            is_waiting=refund.status == Refund.Status.PENDING,
        )
        for refund in refunds
    ]


def _unanswered_orders() -> list[OpenOrder]:
    numbers = (
        Order.objects.exclude(status=Order.Status.PENDING)
        .filter(idempotency_key__isnull=False, idempotency_key__response_status=None)
        .order_by("id")
        .values_list("order_number", flat=True)
    )
    return [
        OpenOrder(order_number=number, reason="its key has no answer yet") for number in numbers
    ]


def _with(reason: str, told: str) -> str:
    return f"{reason}: {told}" if told else reason
