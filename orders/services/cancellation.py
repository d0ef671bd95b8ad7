"""Cancels an order: with the provider's consent while it is unpaid, with a refund once paid."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from config.kernel.db import CommitOutcomeUnknownError, short_transaction
from config.kernel.errors import InvalidTransitionError
from inventory import services as stock
from orders import selectors
from orders.errors import OrderInProgressError
from orders.models import Order
from orders.services import refunds, settlement
from payments import services as payments
from payments.gateway import Intent
from payments.models import Payment, Refund

if TYPE_CHECKING:
    from config.kernel.clock import Deadline
    from orders.selectors import LockedOrder

TRIES: Final = 3  # the provider may say "succeeded" instead: then it is a paid order to cancel
PAID_UNSHIPPED: Final = frozenset({Order.Status.CONFIRMED, Order.Status.PROCESSING})


def cancel_order(
    *, order_id: int, reason: str, deadline: Deadline, requested_by_id: int | None = None
) -> bool:
    """End an order that has not been shipped; its full refund is the same thing (rule 8).

    The provider decides the race against a payment, never our clock. Opens its own transactions;
    never call it inside one. Repeating is harmless.

    Args:
        reason: for people; at most 200 characters are kept.
        requested_by_id: the member of staff or customer who asked.

    Returns:
        True: cancelled, and whatever was paid is back. False: the provider's answer or the
        refund is still on its way (202); the sweeper sees to the refund.

    Raises:
        InvalidTransitionError: shipped or later, or a payment is being processed.
    """
    for _ in range(TRIES):
        try:
            with short_transaction():
                locked = selectors.lock_order(order_id=order_id)
                refund_id = _cancel_locked(locked, reason[:200], requested_by_id)
        except CommitOutcomeUnknownError:
            continue
        if locked.order.status == Order.Status.CANCELLED:
            return refund_id is None or refunds.finish_refund(
                refund_id=refund_id, deadline=deadline
            )
        answer = payments.cancel(payment=locked.payment, deadline=deadline)
        if not isinstance(answer, Intent):
            return False
        if answer.status == "processing":
            raise InvalidTransitionError("The payment is being processed; try again later.")
        if answer.status not in {"succeeded", "canceled"}:
            return False
        settlement.settle(order_id=order_id, told=payments.Told(intent=answer))
    raise OrderInProgressError


def _cancel_locked(locked: LockedOrder, reason: str, requested_by_id: int | None) -> int | None:
    """What can be done without the provider. Returns the refund that is on its way, if any."""
    order, payment = locked.order, locked.payment
    if order.status in PAID_UNSHIPPED:
        refund = _cancel_paid(locked, reason, requested_by_id)
        return refund.pk if refund else None
    if order.status == Order.Status.CANCELLED:
        return _refund_on_its_way(payment, reason, requested_by_id)
    if order.status != Order.Status.PENDING or payment.status == Payment.Status.QUARANTINED:
        raise InvalidTransitionError
    if payment.payment_intent_id is None:
        settlement.close_without_intent(locked, reason=reason)
    return None


def _refund_on_its_way(payment: Payment, reason: str, requested_by_id: int | None) -> int | None:
    """The open refund of a cancelled order; a new one where the provider failed the last."""
    for refund in payment.refunds.all():
        if refund.status in {Refund.Status.DUE, Refund.Status.PENDING}:
            return refund.pk
    refund_now = _refund_the_rest(payment, reason, requested_by_id)
    return refund_now.pk if refund_now else None


def _refund_the_rest(payment: Payment, reason: str, requested_by_id: int | None) -> Refund | None:
    """Decide a refund of all that came in and is neither back nor on its way."""
    given = sum(
        (r.amount for r in payment.refunds.all() if r.status != Refund.Status.FAILED), Decimal(0)
    )
    rest = payment.amount_received - given
    if not rest:
        return None
    return payments.request_refund(
        payment, amount=rest, reason=reason, requested_by_id=requested_by_id
    )


def _cancel_paid(locked: LockedOrder, reason: str, requested_by_id: int | None) -> Refund | None:
    """Order cancelled, stock released and refund row: one transaction (rule 8)."""
    refund = _refund_the_rest(locked.payment, reason, requested_by_id)
    settlement.move(
        locked,
        to=Order.Status.CANCELLED,
        payment_status=Order.PaymentStatus(locked.order.payment_status),
        event_type="ORDER_CANCELLED",
        reason=reason,
    )
    settlement.release_coupon(locked.order)
    stock.release(order_id=locked.order.pk)
    settlement.announce(locked.order)
    return refund
