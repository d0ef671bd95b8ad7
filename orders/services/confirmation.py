"""`/confirm`: the customer says 3-D Secure is done; the provider says whether it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.kernel.db import CommitOutcomeUnknownError
from config.kernel.errors import InvalidTransitionError
from orders import answers
from orders.idempotency import busy_means_in_progress
from orders.models import Order
from orders.services import settlement
from payments import gateway
from payments import services as payments
from payments.models import Payment
from payments.services import Told

if TYPE_CHECKING:
    from config.kernel.clock import Deadline


def confirm_order(*, order: Order, payment: Payment, deadline: Deadline) -> bool:
    """Ask the provider how the payment stands and settle what it says. Repeating is harmless.

    Opens its own transaction; never call it inside one.

    Returns:
        True: the order is paid. False: not decided yet, ask again (202).

    Raises:
        PaymentRequiresActionError: the customer is not done yet.
        CardDeclinedError, PaymentFailedError, PaymentProviderRefusedError: it failed.
        InvalidTransitionError: the order was cancelled.
        OrderInProgressError: somebody else is settling it just now.
    """
    if order.status == Order.Status.PENDING and payment.payment_intent_id:
        told = _ask(payment, deadline)
        if told is not None:
            try:
                with busy_means_in_progress():
                    locked = settlement.settle(order_id=order.pk, told=told)
            except CommitOutcomeUnknownError:
                return False
            order, payment = locked.order, locked.payment
            if payment.status == Payment.Status.REQUIRES_ACTION:
                raise answers.action_required(order, told.intent)
    if order.status == Order.Status.PENDING:
        return False
    if payment.status == Payment.Status.FAILED:
        raise answers.failure_of(order, payment)
    if order.status == Order.Status.CANCELLED:
        raise InvalidTransitionError("This order was cancelled.")
    return True


def _ask(payment: Payment, deadline: Deadline) -> Told | None:
    """How the payment stands; None where the provider does not say, or too many ask it already."""
    with gateway.bulkhead().place() as has_place:
        if not has_place:
            return None
        answer = payments.retrieve(payment=payment, deadline=deadline)
        told = payments.close_failed_attempt(payment=payment, answer=answer, deadline=deadline)
        return told if isinstance(told, Told) else None
