"""Ends what a person has looked into: a payment in quarantine, its money given back.

A payment is put into quarantine where the provider tells another story of it than we do, an amount
that is not ours for one. No machine decides about it; a person may, and this is how.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from audit import services as audit
from config.kernel import money
from config.kernel.db import short_transaction
from config.kernel.errors import InvalidTransitionError
from config.kernel.models import new_uuid
from orders import selectors
from orders.models import Order
from orders.services import settlement
from payments import alone, gateway
from payments import services as payments
from payments.gateway import Intent, Refused, Unknown
from payments.models import Payment

if TYPE_CHECKING:
    from config.kernel.clock import Deadline
    from payments.alone import Limits


def end_quarantined(*, order_id: int, deadline: Deadline, limits: Limits | None = None) -> bool:
    """Cancel an order whose payment is in quarantine, and give back whatever came in for it.

    The intent is cancelled at the provider or, if it was paid, all that is left of it refunded;
    then the order is cancelled and its stock released. Should the provider tell a story by now
    that fits, it is settled instead. Opens its own transactions; never call it inside one.
    Repeating it is safe: the provider gives back no more than came in.

    Args:
        limits: what the person who says so may give back alone; None: see `payments.alone`.

    Returns:
        Whether it has ended. If not, the provider does not say; try again.

    Raises:
        InvalidTransitionError: it is not in quarantine, or a bank is about to decide.
        SecondPersonNeededError: more would go back than `limits` allow; it stays in quarantine.
    """
    payment = Payment.objects.filter(order_id=order_id).order_by("-pk").first()
    if payment is None or payment.status != Payment.Status.QUARANTINED:
        raise InvalidTransitionError("No payment of this order is in quarantine.")
    problem = settlement.settle_afresh(payment=payment, deadline=deadline)
    if isinstance(problem, Unknown):
        return False
    if isinstance(problem, Refused):
        if problem.code != gateway.MISSING:
            raise InvalidTransitionError(f"The provider refuses: {problem.code}.")
        _close(order_id, intent=None)  # what does not exist cannot be paid
        return True
    payment.refresh_from_db()
    if payment.status != Payment.Status.QUARANTINED:
        return True
    answer = payments.cancel(payment=payment, deadline=deadline)
    if isinstance(answer, Refused):
        raise InvalidTransitionError(f"The provider refuses: {answer.code}.")
    if isinstance(answer, Unknown):
        return False
    if answer.status == "succeeded":
        if not _give_back(payment, answer, deadline, limits):
            return False
    elif answer.status != "canceled":
        raise InvalidTransitionError(f"The payment is {answer.status}; try later.")
    _close(order_id, intent=answer)
    return True


def _give_back(payment: Payment, intent: Intent, deadline: Deadline, limits: Limits | None) -> bool:
    """All that came in, whatever it was; what staff gave back by hand already counts."""
    left = _not_given_back(payment, intent, deadline)
    if not left:
        return left is not None
    alone.check(
        amount=money.from_minor(left, intent.currency),
        currency=intent.currency,
        before=Decimal(0),
        limits=limits,
    )
    gateway.create_refund(
        params={"payment_intent": intent.id, "metadata": {"app": gateway.MARK}},
        idempotency_key=f"rq-{new_uuid()}",  # nothing of ours to remember: the list decides
        deadline=deadline,
    )
    return _not_given_back(payment, intent, deadline) == 0


def _not_given_back(payment: Payment, intent: Intent, deadline: Deadline) -> int | None:
    """What is neither back nor on its way, in minor units; None: the provider does not say."""
    listed = payments.list_refunds(payment=payment, deadline=deadline)
    if not isinstance(listed, list):
        return None
    given = sum(told.amount_minor for told in listed if told.status not in gateway.REFUND_DEAD)
    return max(0, intent.amount_received_minor - given)


def _close(order_id: int, *, intent: Intent | None) -> None:
    with short_transaction():
        locked = selectors.lock_order(order_id=order_id)
        if locked.payment.status != Payment.Status.QUARANTINED:
            return
        payments.record_end_unpaid(locked.payment, failure=None)
        audit.record(
            "QUARANTINE_ENDED",
            entity_type="order",
            entity_id=order_id,
            data={
                "order_number": locked.order.order_number,
                "payment": str(locked.payment.uuid),
                "intent_status": intent.status if intent else gateway.MISSING,
                "given_back_minor": intent.amount_received_minor if intent else 0,
            },
        )
        settlement.announce_quarantine(locked, fact=settlement.QUARANTINE_ENDED)
        if locked.order.status == Order.Status.PENDING:
            settlement.end_unpaid(locked, cause="quarantine_ended")
        settlement.answer_if_final(locked)
