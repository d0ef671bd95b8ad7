"""Follows disputes: the customer's bank has taken a payment back, or asks why it should not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from audit import services as audit
from audit.models import OutboxMessage
from config.kernel import money
from config.kernel.db import short_transaction
from config.kernel.one_by_one import by_itself
from orders import selectors
from orders.models import Order
from orders.services import settlement
from payments import gateway
from payments import services as payments
from payments.gateway import ProviderDispute
from payments.models import Dispute, Payment
from payments.selectors import disputes_due_soon, disputes_to_answer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

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
        locked.is_disputed = payments.is_disputed(locked.payment)
        if locked.payment.status == Payment.Status.SUCCEEDED:
            settlement.show_money(locked)
            _give_back_what_a_dead_order_won(locked)
        _tell(locked, dispute, is_new=known is None)
    return True


def remind_of_evidence(*, now: datetime) -> int:
    """Tell staff of every dispute whose evidence is due within three days; once for each due date.

    By log, audit log and the fact `order.dispute_due`. One that cannot be told of now, its order
    being locked for one, does not keep back the others. Opens its own transactions; never call it
    inside one. Repeating it is harmless.

    Returns:
        Of how many was told now.
    """
    due = disputes_due_soon(now=now).select_related("payment").order_by("evidence_due_at", "id")
    told = 0
    for one in due:
        with by_itself(one.stripe_dispute_id):
            told += _remind(dispute_id=one.pk, order_id=one.payment.order_id)
    return told


def _remind(*, dispute_id: int, order_id: int) -> bool:
    with short_transaction():
        locked = selectors.lock_order(order_id=order_id)
        dispute = disputes_to_answer().filter(pk=dispute_id).first()
        if dispute is None or dispute.evidence_due_at is None:
            return False  # answered meanwhile
        due_at = dispute.evidence_due_at.isoformat(timespec="seconds")
        dedupe_key = f"dispute.{dispute.stripe_dispute_id}.due.{due_at}"
        if OutboxMessage.objects.filter(dedupe_key=dedupe_key).exists():
            return False
        data = {**_about(locked, dispute), "evidence_due_at": due_at}
        audit.record(
            "DISPUTE_EVIDENCE_DUE", entity_type="order", entity_id=locked.order.pk, data=data
        )
        _publish("order.dispute_due", dedupe_key, locked, data)
    log.error(
        "dispute_evidence_due", order_number=locked.order.order_number, evidence_due_at=due_at
    )
    return True


def _give_back_what_a_dead_order_won(locked: LockedOrder) -> None:
    """A dead order keeps no money, not even that of a dispute it has won."""
    if locked.order.status == Order.Status.CANCELLED and not locked.is_disputed:
        payments.request_refund_of_rest(locked.payment, reason="the dispute was won")


def _tell(locked: LockedOrder, dispute: Dispute, *, is_new: bool) -> None:
    data = _about(locked, dispute)
    audit.record(
        "DISPUTE_OPENED" if is_new else "DISPUTE_MOVED",
        entity_type="order",
        entity_id=locked.order.pk,
        data=data,
    )
    if is_new:
        log.error("payment_disputed", order_number=locked.order.order_number)  # to be answered
        _publish("order.disputed", f"dispute.{dispute.stripe_dispute_id}", locked, data)
    elif dispute.status == Dispute.Status.LOST:
        log.error("dispute_lost", order_number=locked.order.order_number)  # the money is gone
    if dispute.status in Dispute.CLOSED:
        dedupe_key = f"dispute.{dispute.stripe_dispute_id}.{dispute.status}.{locked.at.isoformat()}"
        _publish("order.dispute_closed", dedupe_key, locked, data)


def _about(locked: LockedOrder, dispute: Dispute) -> dict[str, str]:
    return {
        "order_number": locked.order.order_number,
        "dispute": dispute.stripe_dispute_id,
        "status": dispute.status,
        "amount": money.format_amount(dispute.amount, dispute.currency),
        "currency": dispute.currency,
    }


def _publish(fact: str, dedupe_key: str, locked: LockedOrder, data: Mapping[str, str]) -> None:
    audit.publish(
        fact,
        aggregate_type="order",
        aggregate_id=locked.order.pk,
        dedupe_key=dedupe_key,
        payload={"order_id": locked.order.pk, **data},
    )
