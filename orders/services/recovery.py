"""The sweeper: finishes what requests left behind. Any number of them may run at once.

It claims rows in one statement (SKIP LOCKED), which is committed before it asks the provider; what
it hears goes through the same settlement as everybody's. It never POSTs for an order whose hold is
over, except cancel and refund (rule 9).
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import structlog
from django.db import InterfaceError, OperationalError, connection
from django.utils import timezone

from config.kernel import sql
from config.kernel.clock import Deadline
from config.kernel.db import WENT_AWAY, short_transaction
from orders import selectors
from orders.models import Order
from orders.services import events, refunds, settlement
from payments import services as payments
from payments.gateway import Intent
from payments.models import Payment, Refund
from payments.services import NotCreated, Superseded, Told

if TYPE_CHECKING:
    from collections.abc import Callable

    from orders.selectors import LockedOrder
    from payments.gateway import Unknown

BATCH: Final = 20
SWEEP_SECONDS: Final = 30.0  # a sweep is over by then, the last call included; the next goes on
CLAIM: Final = timedelta(seconds=35)  # a worker that died gives the row back after this
DATABASE_PAUSE_SECONDS: Final = 0.5
# Of a request that died without an answer: its client has long ceased to retry, and with a pause of
# the sweeper's no stock is held, and nothing in doubt, for more than two minutes.
ABANDONED_AFTER: Final = timedelta(seconds=90)
MAY_STILL_BE_PAID: Final = frozenset(
    {"requires_confirmation", "requires_action", "requires_capture"}
)
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
    """Work off orders in doubt, expired holds, refunds due, keys left open, and webhooks.

    Opens its own transactions; never call it inside one. One order's trouble does not keep the
    others waiting: it is logged, noted on its payment, and tried again later. Goes on, batch by
    batch, while more may be due and `SWEEP_SECONDS` are not over. Webhooks come last: they have a
    task of their own as well.

    Args:
        limit: the most orders, and the most refunds, to claim at a time.
        ignore_backoff: take also those whose next try is not due yet, each once, and end what a
            dead request left behind as soon as its lease is over.
    """
    report = SweepReport()
    deadline = Deadline(SWEEP_SECONDS)
    while _sweep_batch(report, deadline, limit=limit, ignore_backoff=ignore_backoff):
        if ignore_backoff or deadline.remaining() < CALL_SECONDS:
            break
    report.events_done = events.process_due(deadline=deadline, ignore_backoff=ignore_backoff)
    return report


def release_expired(*, on_progress: Callable[[int], None] | None = None) -> SweepReport:
    """End every order whose hold is over, and settle those that were paid after all; each once.

    Opens its own transactions; never call it inside one. A bank debit keeps its stock until the
    provider decides.

    Args:
        on_progress: told how many were looked at.
    """
    report = SweepReport()
    seen = 0
    while True:
        claimed = selectors.claim_orders_in_doubt(
            limit=BATCH, ignore_backoff=True, lease=CLAIM, expired_only=True, after=seen
        )
        if not claimed:
            return report
        for payment in claimed:
            report.orders_seen += 1
            report.orders_settled += _attempt(report, _recover, payment, patience=timedelta(0))
        seen = claimed[-1].pk
        if on_progress is not None:
            on_progress(report.orders_seen)


def _sweep_batch(
    report: SweepReport, deadline: Deadline, *, limit: int, ignore_backoff: bool
) -> bool:
    """Claim a batch and work it off; returns whether more may be due.

    After a full one there may be; and a refund whose number went up is due again at once.
    """
    patience = timedelta(0) if ignore_backoff else ABANDONED_AFTER
    payments_due = selectors.claim_orders_in_doubt(
        limit=limit, ignore_backoff=ignore_backoff, lease=CLAIM
    )
    refunds_due = selectors.claim_refunds_due(
        limit=limit, ignore_backoff=ignore_backoff, lease=CLAIM
    )
    may_be_more = len(payments_due) == limit or bool(refunds_due)
    for order in selectors.find_unanswered_final_orders(limit=limit):
        report.keys_answered += _attempt(report, _answer_key, order)
    while payments_due and deadline.remaining() > CALL_SECONDS and _database_answers(deadline):
        report.orders_seen += 1
        payment = payments_due.pop(0)
        report.orders_settled += _attempt(report, _recover, payment, patience=patience)
    while refunds_due and deadline.remaining() > CALL_SECONDS and _database_answers(deadline):
        report.refunds_seen += 1
        report.refunds_done += _attempt(report, _finish_refund, refunds_due.pop(0))
    selectors.give_back_claimed(*payments_due, *refunds_due)
    return may_be_more


def _database_answers(deadline: Deadline) -> bool:
    """Wait for one that went away: else the whole batch fails at once, and waits for its claim."""
    while connection.connection is None:
        try:
            connection.ensure_connection()
        except (OperationalError, InterfaceError):
            if deadline.remaining() < CALL_SECONDS:
                return False
            time.sleep(DATABASE_PAUSE_SECONDS)
    return True


def settle_now(*, order_id: int, deadline: Deadline) -> bool:
    """Whatever is open about an order, its refunds included: ask the provider, at somebody's wish.

    Opens its own transactions; never call it inside one. Repeating it is harmless.

    Returns:
        Whether nothing is open any more.

    Raises:
        CommitOutcomeUnknownError, OperationalError: the database went away; repeating is safe.
    """
    payment = Payment.objects.filter(order_id=order_id).order_by("-pk").first()
    if payment is not None and payment.status == Payment.Status.QUARANTINED:
        settlement.settle_afresh(payment=payment, deadline=deadline)
        payment.refresh_from_db()
        is_settled = payment.status != Payment.Status.QUARANTINED
    else:
        is_settled = recover_order(order_id=order_id, deadline=deadline, patience=timedelta(0))
    open_ones = Refund.objects.filter(
        payment__order_id=order_id, status__in=[Refund.Status.DUE, Refund.Status.PENDING]
    )
    for refund_id in open_ones.order_by("pk").values_list("pk", flat=True):
        is_settled &= refunds.finish_refund(refund_id=refund_id, deadline=deadline)
    return is_settled


def recover_order(
    *, order_id: int, deadline: Deadline, patience: timedelta = ABANDONED_AFTER
) -> bool:
    """Bring one pending order on, as far as the provider's word and its hold allow.

    Args:
        patience: how long an order that nobody was told of is left to a retry, and to its lease.

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
        if give_up and answer.status in MAY_STILL_BE_PAID:
            answer = payments.cancel(payment=payment, deadline=deadline)
        elif answer.status == "requires_confirmation" and was_promised:
            return payments.confirm(payment=payment, deadline=deadline)
    return payments.close_failed_attempt(payment=payment, answer=answer, deadline=deadline)


def _note_doubt(locked: LockedOrder, *, reason: str) -> None:
    """What kept it from being settled, for staff; after a day of it, they have to decide.

    A bank debit is not in doubt: days are what it takes, and asking about it needs no key.
    """
    is_debit = locked.payment.status == Payment.Status.PROCESSING
    if is_debit or locked.at - locked.payment.created_at < LONGEST_DOUBT:
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
    is_old = locked.order.created_at + patience <= locked.at
    return is_old and key.lease_until <= locked.at


def _recover(payment: Payment, *, patience: timedelta) -> bool:
    try:
        return recover_order(
            order_id=payment.order_id, deadline=Deadline(CALL_SECONDS), patience=patience
        )
    finally:
        _schedule_next(payment)


def _finish_refund(refund: Refund) -> bool:
    return refunds.finish_refund(refund_id=refund.pk, deadline=Deadline(CALL_SECONDS))


def _answer_key(order: Order) -> bool:
    with short_transaction():
        settlement.answer_if_final(selectors.lock_order(order_id=order.pk))
    return True


def _attempt(
    report: SweepReport, work: Callable[..., bool], row: Payment | Refund | Order, **options: Any
) -> bool:
    """Work on one row; trouble with it is told, noted on it, and left for the next sweep."""
    try:
        return work(row, **options)
    except WENT_AWAY:
        connection.close()
        report.problems += 1
        log.warning("sweep_database_trouble", work=work.__name__, target=str(row))
    except Exception as exc:  # whatever it is, the other orders must not wait for it
        report.problems += 1
        log.exception("sweep_failed", work=work.__name__, target=str(row))
        _note_failure(row, exc)
    return False


def _note_failure(row: Payment | Refund | Order, exc: Exception) -> None:
    if isinstance(row, Order):
        return  # its key's answer is all that is missing
    try:
        type(row)._default_manager.filter(pk=row.pk).update(  # noqa: SLF001 - documented API
            last_error=f"failed: {type(exc).__name__}"
        )
    except (OperationalError, InterfaceError):
        connection.close()


def _schedule_next(payment: Payment) -> None:
    """Exponential backoff with jitter; only matters while the payment stays open."""
    longest = min(LONGEST_PAUSE_SECONDS, 5 * 2 ** min(payment.attempts, 6))
    if payment.status == Payment.Status.PROCESSING:
        age = (timezone.now() - payment.created_at).total_seconds()
        shortest, most = DEBIT_PAUSE_SECONDS
        longest = int(min(most, max(shortest, age * DEBIT_PAUSE_BY_AGE)))
    pause = random.uniform(longest / 2, longest)  # noqa: S311 - spreads load, no secret
    until_abandoned = (payment.created_at + ABANDONED_AFTER - timezone.now()).total_seconds()
    if 0 < until_abandoned < pause:
        pause = until_abandoned + 0.5  # what nobody came back for is not to wait any longer
    sql.execute(
        """
        UPDATE payments SET attempts = attempts + 1, next_attempt_at = now() + %(pause)s
        WHERE id = %(id)s AND status = ANY(%(open)s)
        """,
        id=payment.pk,
        pause=timedelta(seconds=pause),
        open=list(Payment.OPEN),
    )
