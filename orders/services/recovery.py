"""The sweeper: finishes what requests left behind. Any number of them may run at once.

It claims rows in one short transaction (SKIP LOCKED), COMMITs, and only then asks the provider;
what it hears goes through the same settlement as everybody's. It never POSTs for an order whose
hold is over, except cancel and refund (rule 9).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
from django.db import InterfaceError, OperationalError, connection
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from config.kernel.clock import Deadline
from config.kernel.db import CommitOutcomeUnknownError, short_transaction
from orders import selectors
from orders.models import Order
from orders.services import events, refunds, settlement
from payments import services as payments
from payments.gateway import Intent
from payments.models import Payment
from payments.services import NotCreated, Superseded, Told

if TYPE_CHECKING:
    from orders.selectors import LockedOrder
    from payments.gateway import Unknown

BATCH: Final = 20
SWEEP_SECONDS: Final = 60.0  # a sweep is over by then, the last call included; the next goes on
CLAIM: Final = timedelta(seconds=60)  # a worker that died gives the row back after this
ABANDONED_AFTER: Final = timedelta(minutes=2)  # of a request that died without an answer
CALL_SECONDS: Final = 20.0
LONGEST_PAUSE_SECONDS: Final = 60  # nothing stays in doubt longer than two minutes
LONGEST_DOUBT: Final = timedelta(hours=23)  # then the provider forgets our keys: a person decides
# A bank debit takes days, and its webhook tells: it is asked ever more rarely, by its age.
DEBIT_PAUSE_SECONDS: Final = (60, 3_600)
DEBIT_PAUSE_BY_AGE: Final = 0.1

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class SweepReport:
    """How many orders and refunds were looked at, and how many of them are settled now."""

    orders_seen: int = 0
    orders_settled: int = 0
    refunds_seen: int = 0
    refunds_done: int = 0
    events_done: int = 0
    keys_answered: int = 0
    problems: int = 0

    def add(self, other: SweepReport) -> None:
        """Sum up several sweeps."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def sweep(*, limit: int = BATCH, ignore_backoff: bool = False) -> SweepReport:
    """Work off webhooks, orders in doubt, expired holds, refunds due and keys left open.

    Opens its own transactions; never call it inside one. One order's trouble does not keep the
    others waiting: it is logged, noted on its payment, and tried again later. Goes on, batch by
    batch, until nothing is due or `SWEEP_SECONDS` are over.

    Args:
        limit: the most orders, and the most refunds, to claim at a time.
        ignore_backoff: take also those whose next try is not due yet, each once, and end what a
            dead request left behind as soon as its lease is over.
    """
    report = SweepReport()
    deadline = Deadline(SWEEP_SECONDS)
    report.events_done = events.process_due(deadline=deadline, ignore_backoff=ignore_backoff)
    while _sweep_batch(report, deadline, limit=limit, ignore_backoff=ignore_backoff):
        if ignore_backoff or deadline.remaining() < CALL_SECONDS:
            break
    return report


def release_expired(*, limit: int) -> SweepReport:
    """End the orders whose hold is over, and settle those that were paid after all; each once.

    Opens its own transactions; never call it inside one. A bank debit keeps its stock until the
    provider decides.
    """
    report = SweepReport()
    with short_transaction():
        claimed = selectors.claim_orders_in_doubt(
            limit=limit, ignore_backoff=True, lease=CLAIM, expired_only=True
        )
    for payment in claimed:
        report.orders_seen += 1
        report.orders_settled += _guarded(report, partial(_recover, payment, timedelta(0)))
    return report


def _sweep_batch(
    report: SweepReport, deadline: Deadline, *, limit: int, ignore_backoff: bool
) -> bool:
    """Claim a batch and work it off; returns whether there was anything to claim."""
    patience = timedelta(0) if ignore_backoff else ABANDONED_AFTER
    with short_transaction():
        claimed = selectors.claim_orders_in_doubt(
            limit=limit, ignore_backoff=ignore_backoff, lease=CLAIM
        )
        refund_ids = selectors.claim_refunds_due(
            limit=limit, ignore_backoff=ignore_backoff, lease=CLAIM
        )
    unanswered = selectors.find_unanswered_keys_of_final_orders(limit=limit)
    for payment in claimed:
        if deadline.remaining() < CALL_SECONDS:
            break
        report.orders_seen += 1
        report.orders_settled += _guarded(report, partial(_recover, payment, patience))
    for refund_id in refund_ids:
        if deadline.remaining() < CALL_SECONDS:
            break
        report.refunds_seen += 1
        report.refunds_done += _guarded(report, partial(_finish_refund, refund_id))
    for order_id in unanswered:
        report.keys_answered += _guarded(report, partial(_answer_key, order_id))
    return bool(claimed or refund_ids)


def recover_order(
    *, order_id: int, deadline: Deadline, patience: timedelta = ABANDONED_AFTER
) -> bool:
    """Bring one pending order on, as far as the provider's word and its hold allow.

    Args:
        patience: how long after its lease an order that nobody was told of is left to a retry.

    Returns:
        Whether the order is decided now.

    Raises:
        CommitOutcomeUnknownError, OperationalError: the database went away; repeating is safe.
    """
    with short_transaction():
        locked = selectors.lock_order(order_id=order_id)
        if locked.order.status != Order.Status.PENDING:
            return True
        abandoned = _is_abandoned(locked, patience)
        if locked.payment.payment_intent_id is None and (locked.hold_is_over or abandoned):
            settlement.close_without_intent(locked, cause="no_payment_in_time")
            return True
    outcome = _ask(locked, give_up=locked.hold_is_over or abandoned, deadline=deadline)
    if isinstance(outcome, Told):
        locked = settlement.settle(order_id=order_id, told=outcome)
    elif isinstance(outcome, NotCreated):
        with short_transaction():
            locked = selectors.lock_order(order_id=order_id)
            settlement.close_refused(locked, outcome.failure)
    elif outcome is not None and not isinstance(outcome, Superseded):
        _note_doubt(locked, reason=outcome.reason)
    return locked.order.status != Order.Status.PENDING


def _ask(
    locked: LockedOrder, *, give_up: bool, deadline: Deadline
) -> Told | NotCreated | Superseded | Unknown | None:
    """Outside any transaction: find out where the payment stands, and push or end it.

    Only an order whose customer was told 202 is pushed on; what a dead request left behind is
    first left alone, for a retry to take over, and then ended. None: nothing to do yet.
    """
    payment = locked.payment
    was_promised = payment.in_doubt_since is not None
    if payment.payment_intent_id is None:
        if not was_promised:
            return None
        return payments.charge(payment=payment, hold_is_over=False, deadline=deadline)
    answer = payments.retrieve(payment=payment, deadline=deadline)
    if isinstance(answer, Intent):
        may_still_be_paid = answer.status in {"requires_confirmation", "requires_action"}
        if may_still_be_paid and give_up:
            answer = payments.cancel(payment=payment, deadline=deadline)
        elif answer.status == "requires_confirmation" and was_promised:
            return payments.confirm(payment=payment, deadline=deadline)
    return payments.close_failed_attempt(payment=payment, answer=answer, deadline=deadline)


def _note_doubt(locked: LockedOrder, *, reason: str) -> None:
    """What kept it from being settled, for staff; after a day of it, they have to decide."""
    if locked.at - locked.payment.created_at < LONGEST_DOUBT:
        Payment.objects.filter(pk=locked.payment.pk, status__in=Payment.OPEN).update(
            last_error=reason[:500]
        )
        return
    with short_transaction():
        fresh = selectors.lock_order(order_id=locked.order.pk)
        if fresh.payment.status in Payment.OPEN:
            problem = f"the provider has not said for a day how it stands: {reason}"
            settlement.quarantine(fresh, problem=problem[:500])


def _is_abandoned(locked: LockedOrder, patience: timedelta) -> bool:
    """A request died on it without an answer, and nobody came back."""
    key = locked.key
    if key is None or key.response_status is not None or locked.payment.in_doubt_since:
        return False
    return key.lease_until + patience <= locked.at


def _recover(payment: Payment, patience: timedelta) -> bool:
    try:
        return recover_order(
            order_id=payment.order_id, deadline=Deadline(CALL_SECONDS), patience=patience
        )
    finally:
        _schedule_next(payment)


def _finish_refund(target_id: int) -> bool:
    return refunds.finish_refund(refund_id=target_id, deadline=Deadline(CALL_SECONDS))


def _answer_key(target_id: int) -> bool:
    with short_transaction():
        settlement.answer_if_final(selectors.lock_order(order_id=target_id))
    return True


def _guarded(report: SweepReport, work: partial[bool]) -> bool:
    """Run one piece; trouble with it is told and left for the next sweep."""
    try:
        return work()
    except (CommitOutcomeUnknownError, OperationalError, InterfaceError):
        connection.close()
        report.problems += 1
        log.warning("sweep_database_trouble", work=work.func.__name__, target=str(work.args[0]))
    except Exception:  # whatever it is, the other orders must not wait for it
        report.problems += 1
        log.exception("sweep_failed", work=work.func.__name__, target=str(work.args[0]))
    return False


def _schedule_next(payment: Payment) -> None:
    """Exponential backoff with jitter; only matters while the payment stays open."""
    longest = min(LONGEST_PAUSE_SECONDS, 5 * 2 ** min(payment.attempts, 6))
    if payment.status == Payment.Status.PROCESSING:
        age = (timezone.now() - payment.created_at).total_seconds()
        shortest, most = DEBIT_PAUSE_SECONDS
        longest = int(min(most, max(shortest, age * DEBIT_PAUSE_BY_AGE)))
    pause = random.uniform(longest / 2, longest)  # noqa: S311 - spreads load, no secret
    Payment.objects.filter(pk=payment.pk, status__in=Payment.OPEN).update(
        attempts=F("attempts") + 1, next_attempt_at=Now() + timedelta(seconds=pause)
    )
