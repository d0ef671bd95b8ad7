"""Cancels an order: with the provider's consent while it is unpaid, with a refund once paid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db.models.functions import Now

from config.kernel.db import CommitOutcomeUnknownError, short_transaction
from config.kernel.errors import InvalidTransitionError
from orders import selectors
from orders.errors import OrderInProgressError
from orders.idempotency import busy_means_in_progress
from orders.models import Order
from orders.services import refunds, settlement
from payments import gateway
from payments import services as payments
from payments.errors import PaymentDisputedError
from payments.gateway import Intent
from payments.models import Payment, Refund

if TYPE_CHECKING:
    from config.kernel.clock import Deadline
    from orders.selectors import LockedOrder
    from payments.alone import Limits

TRIES: Final = 3  # the provider may say "succeeded" instead: then it is a paid order to cancel


def cancel_order(
    *,
    order_id: int,
    reason: str,
    deadline: Deadline,
    requested_by_id: int | None = None,
    limits: Limits | None = None,
) -> bool:
    """End an order that has not been shipped; its full refund is the same thing (rule 8).

    The provider decides the race against a payment, never our clock. Opens its own transactions;
    never call it inside one. Repeating is harmless.

    Args:
        reason: for people; at most 200 characters are kept, on the order and its refund alone.
        requested_by_id: the member of staff or customer who asked.
        limits: how much of what was paid that person may give back alone; None: all of it.

    Returns:
        True: cancelled, and whatever was paid is back. False: the provider's answer or the
        refund is still on its way (202); the sweeper sees to both.

    Raises:
        InvalidTransitionError: shipped or later, or a payment is being processed or disputed.
        SecondPersonNeededError: more would go back than `limits` allow; it is not cancelled.
        OrderInProgressError: somebody else is settling it just now.
    """
    with gateway.bulkhead().place() as has_place:
        for _ in range(TRIES):
            try:
                with busy_means_in_progress():
                    with short_transaction():
                        locked = selectors.lock_order(order_id=order_id)
                        refund_ids = _cancel_locked(locked, reason[:200], requested_by_id, limits)
                    if locked.order.status == Order.Status.CANCELLED:
                        return not refund_ids or (has_place and _finish(refund_ids, deadline))
                    if not (has_place and _settle_cancelled(locked, reason[:200], deadline)):
                        return False
            except CommitOutcomeUnknownError:
                continue
    raise OrderInProgressError


def _settle_cancelled(locked: LockedOrder, reason: str, deadline: Deadline) -> bool:
    """Cancel the intent at the provider and settle what it says; False: it does not say."""
    answer = payments.cancel(payment=locked.payment, deadline=deadline)
    if not isinstance(answer, Intent):
        return False
    if answer.status == "processing":
        raise InvalidTransitionError("The payment is being processed; try later.")
    if answer.status not in {"succeeded", "canceled"}:
        return False
    settlement.settle(order_id=locked.order.pk, told=payments.Told(intent=answer), note=reason)
    return True


def _cancel_locked(
    locked: LockedOrder, reason: str, requested_by_id: int | None, limits: Limits | None
) -> list[int]:
    """What can be done without the provider. Returns the refunds that are on their way."""
    order, payment = locked.order, locked.payment
    if order.status == Order.Status.CANCELLED:
        if not locked.is_disputed:
            _check_alone(locked, requested_by_id, limits)
            # The provider may have failed the last refund: a dead order keeps no money.
            payments.request_refund_of_rest(payment, reason=reason, requested_by_id=requested_by_id)
        return _open_refunds(payment)
    if locked.is_disputed:
        raise PaymentDisputedError
    if order.shipped_at is not None:
        raise InvalidTransitionError("A part of this order has been shipped.")
    if order.status in Order.PAID_UNSHIPPED:
        _check_alone(locked, requested_by_id, limits)
        settlement.cancel_paid(locked, note=reason, requested_by_id=requested_by_id)
        return _open_refunds(payment)
    if order.status != Order.Status.PENDING or payment.status == Payment.Status.QUARANTINED:
        raise InvalidTransitionError
    if payment.payment_intent_id is None:
        settlement.close_without_intent(locked, cause="cancel_requested", note=reason)
    else:
        # Whoever cancels gives up the hold: should the provider not answer, the sweeper ends it.
        Order.objects.filter(pk=order.pk).update(hold_expires_at=locked.at)
        Payment.objects.filter(pk=payment.pk).update(next_attempt_at=Now())
    return []


def _check_alone(locked: LockedOrder, requested_by_id: int | None, limits: Limits | None) -> None:
    """Only where something would go back: all of it may be back or on its way already."""
    if limits is None:
        return
    left = payments.not_given_back(locked.payment)
    if left:
        refunds.check_alone(locked, left, person_id=requested_by_id, limits=limits)


def _open_refunds(payment: Payment) -> list[int]:
    under_way = [Refund.Status.DUE, Refund.Status.PENDING]
    return list(payment.refunds.filter(status__in=under_way).values_list("pk", flat=True))


def _finish(refund_ids: list[int], deadline: Deadline) -> bool:
    """Send the refunds now; what cannot be finished is the sweeper's."""
    try:
        done = [refunds.finish_refund(refund_id=pk, deadline=deadline) for pk in refund_ids]
    except CommitOutcomeUnknownError:
        return False
    return all(done)
