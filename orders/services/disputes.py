"""Follows disputes: the customer's bank has taken a payment back, or asks why it should not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from audit import services as audit
from config.kernel import money
from config.kernel.db import short_transaction
from orders import selectors
from orders.models import Order
from orders.services import settlement
from payments import gateway
from payments import services as payments
from payments.gateway import ProviderDispute
from payments.models import Dispute, Payment

if TYPE_CHECKING:
    from config.kernel.clock import Deadline
    from orders.selectors import LockedOrder
    from payments.gateway import Refused, Unknown

log = structlog.get_logger(__name__)


def sync_dispute(*, dispute_id: str, deadline: Deadline) -> Refused | Unknown | None:
    """Fetch a dispute and keep it as it stands; whoever tells of it, and however often.

    Opens its own transaction; never call it inside one.

    Returns:
        None when it is done; else what the provider answered instead of the dispute.
    """
    told = gateway.retrieve_dispute(dispute_id=dispute_id, deadline=deadline)
    if not isinstance(told, ProviderDispute):
        return told
    keep_dispute(told)
    return None


def keep_dispute(told: ProviderDispute) -> bool:
    """Write down what the provider just said of a dispute; one of nobody of ours is left alone.

    Opens its own transaction; never call it inside one.

    Returns:
        Whether this changed anything.
    """
    payment = Payment.objects.filter(payment_intent_id=told.payment_intent_id).first()
    if payment is None:
        return False
    with short_transaction():
        locked = selectors.lock_order(order_id=payment.order_id)
        known = Dispute.objects.filter(stripe_dispute_id=told.id).first()
        amount = money.from_minor(told.amount_minor, told.currency)
        if known is not None:
            news = (told.status, told.currency, amount, told.evidence_due_at)
            if news == (known.status, known.currency, known.amount, known.evidence_due_at):
                return False
            if known.status in Dispute.CLOSED and told.status not in Dispute.CLOSED:
                return False  # an older account of it
        dispute = known or Dispute(payment=payment, stripe_dispute_id=told.id)
        dispute.status = Dispute.Status(told.status)
        dispute.reason = told.reason
        dispute.currency = told.currency
        dispute.amount = amount
        dispute.evidence_due_at = told.evidence_due_at
        dispute.opened_at = told.opened_at
        dispute.save()
        if locked.payment.status == Payment.Status.SUCCEEDED:
            settlement.show_money(locked)
            _give_back_what_a_dead_order_won(locked)
        _tell(locked, dispute, is_new=known is None)
    return True


def _give_back_what_a_dead_order_won(locked: LockedOrder) -> None:
    """A dead order keeps no money, not even that of a dispute it has won."""
    if locked.order.status == Order.Status.CANCELLED and not payments.is_disputed(locked.payment):
        payments.request_refund_of_rest(locked.payment, reason="the dispute was won")


def _tell(locked: LockedOrder, dispute: Dispute, *, is_new: bool) -> None:
    order = locked.order
    data = {
        "order_number": order.order_number,
        "dispute": dispute.stripe_dispute_id,
        "status": dispute.status,
        "amount": money.format_amount(dispute.amount, dispute.currency),
        "currency": dispute.currency,
    }
    audit.record(
        "DISPUTE_OPENED" if is_new else "DISPUTE_MOVED",
        entity_type="order",
        entity_id=order.pk,
        data=data,
    )
    if not is_new:
        return
    log.error("payment_disputed", order_number=order.order_number)  # a person has to answer it
    audit.publish(
        "order.disputed",
        aggregate_type="order",
        aggregate_id=order.pk,
        dedupe_key=f"dispute.{dispute.stripe_dispute_id}",
        payload={"order_id": order.pk, **data},
    )
