"""Carries decided refunds to the provider and back into order and books."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import structlog
from django.db.models.functions import Now

from audit import services as audit
from config.kernel import money
from config.kernel.db import short_transaction
from orders import selectors
from orders.models import Order
from payments import services as payments
from payments.gateway import ProviderRefund, Refused
from payments.models import Refund

if TYPE_CHECKING:
    from config.kernel.clock import Deadline
    from orders.selectors import LockedOrder


PENDING_PAUSE = timedelta(minutes=10)  # the bank takes days

log = structlog.get_logger(__name__)


def finish_refund(*, refund_id: int, deadline: Deadline) -> bool:
    """Send a decided refund, or find out what became of it; repeating it is safe (rule 7).

    Opens its own transactions; never call it inside one.

    Returns:
        Whether the money is back. If not, the sweeper comes again.
    """
    refund = Refund.objects.select_related("payment").get(pk=refund_id)
    if refund.status in {Refund.Status.SUCCEEDED, Refund.Status.FAILED}:
        return refund.status == Refund.Status.SUCCEEDED
    told = payments.send_refund(refund=refund, deadline=deadline)
    if not isinstance(told, ProviderRefund):
        problem = f"refused: {told.code}" if isinstance(told, Refused) else told.reason
        if isinstance(told, Refused) and refund.last_error != problem:
            _tell_staff(refund, problem)
        pause = timedelta(seconds=min(600, 5 * 2 ** min(refund.attempts, 7)))
        Refund.objects.filter(pk=refund.pk).update(
            last_error=problem, next_attempt_at=Now() + pause
        )
        return False
    with short_transaction():
        locked = selectors.lock_order(order_id=refund.payment.order_id)
        refund = Refund.objects.select_for_update().get(pk=refund_id)
        if payments.record_refund(locked.payment, refund, told):
            _tell(locked, refund)
        if refund.status == Refund.Status.PENDING:
            Refund.objects.filter(pk=refund.pk).update(next_attempt_at=Now() + PENDING_PAUSE)
    return refund.status == Refund.Status.SUCCEEDED


def _tell_staff(refund: Refund, problem: str) -> None:
    """The provider says no: it is asked again, ever more rarely, and a person should look."""
    log.error("refund_refused", refund=str(refund.uuid), problem=problem)
    with short_transaction():
        audit.record(
            "REFUND_REFUSED",
            entity_type="order",
            entity_id=refund.payment.order_id,
            data={"refund": str(refund.uuid), "problem": problem},
        )


def _tell(locked: LockedOrder, refund: Refund) -> None:
    order, payment = locked.order, locked.payment
    data = {
        "order_number": order.order_number,
        "refund": str(refund.uuid),
        "amount": money.format_amount(refund.amount, refund.currency),
        "currency": refund.currency,
    }
    audit.record(
        f"REFUND_{refund.status.upper()}", entity_type="order", entity_id=order.pk, data=data
    )
    if refund.status == Refund.Status.FAILED:
        log.error("refund_failed", refund=str(refund.uuid))  # a person has to find another way
    if refund.status != Refund.Status.SUCCEEDED:
        return
    is_whole = payment.amount_refunded == payment.amount_received
    Order.objects.filter(pk=order.pk).update(
        payment_status=Order.PaymentStatus.REFUNDED
        if is_whole
        else Order.PaymentStatus.PARTIALLY_REFUNDED
    )
    audit.publish(
        "order.refunded",
        aggregate_type="order",
        aggregate_id=order.pk,
        dedupe_key=f"refund.{refund.uuid}",
        payload={"order_id": order.pk, **data},
    )
