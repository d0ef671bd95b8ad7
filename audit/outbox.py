"""Carries the facts in the outbox to everyone who subscribed to them: at least once, never lost.

Every fact becomes one Delivery a subscriber. A delivery is leased by one statement, handed over
outside any transaction, and marked by another; whoever dies in between leaves a lease that ends.
"""

from __future__ import annotations

import random
import traceback
from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import orjson
import structlog
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from audit.models import AuditLog, Delivery, OutboxMessage
from audit.nudger import Nudger
from config.kernel import sql

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from config.kernel.clock import Deadline

    Handler = Callable[[OutboxMessage], str | None]

LEASE = timedelta(seconds=40)
"""How long one hand-over may take before another relay tries, too: longer than the task's limit."""
MAX_ATTEMPTS: Final = 12
FIRST_WAIT_SECONDS: Final = 30.0
LONGEST_WAIT_SECONDS: Final = 20 * 60.0
FAN_OUT_BATCH: Final = 500
TOLD: Final = """
    FROM outbox_messages AS message
    WHERE occurred_at < %(before)s AND fanned_out_at IS NOT NULL AND NOT EXISTS (
        SELECT FROM deliveries
        WHERE deliveries.message_id = message.id AND deliveries.status <> 'delivered'
    )
"""
COUNT_TOLD: Final = f"SELECT count(*) {TOLD}"
FORGET_TOLD: Final = f"""
    WITH told AS MATERIALIZED (
        SELECT id {TOLD} ORDER BY occurred_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ), deliveries_gone AS (
        DELETE FROM deliveries USING told WHERE deliveries.message_id = told.id
    )
    DELETE FROM outbox_messages AS message USING told WHERE message.id = told.id
"""  # noqa: S608 - our own constant
LAST_ERROR_LENGTH: Final = 500

log = structlog.get_logger(__name__)


class DeliveryFailedError(Exception):
    """A subscriber could not be told; the text goes into `last_error`: no personal data in it."""


class DuplicateSubscriptionError(Exception):
    """Two handlers want to be the same subscriber of the same fact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayReport:
    """What one run of the relay did. `failed` includes those that are `dead` now."""

    fanned_out: int = 0
    delivered: int = 0
    failed: int = 0
    dead: int = 0

    def __add__(self, other: RelayReport) -> RelayReport:
        return RelayReport(
            fanned_out=self.fanned_out + other.fanned_out,
            delivered=self.delivered + other.delivered,
            failed=self.failed + other.failed,
            dead=self.dead + other.dead,
        )

    @property
    def attempted(self) -> int:
        """How many deliveries were tried."""
        return self.delivered + self.failed


# --- subscribing ------------------------------------------------------------------------------
_handlers: dict[str, dict[str, Handler]] = defaultdict(dict)


def subscribe(fact: str, subscriber: str, handler: Handler) -> None:
    """Have `handler` called with every message that states `fact`; called in an app's `ready()`.

    The handler runs outside any transaction, possibly more than once for one message: the
    receiver deduplicates by `message.uuid`. It returns nothing, or a note that says why it did
    not need to do anything. It raises what it likes; `DeliveryFailedError` keeps its text.

    Args:
        fact: dotted, past tense: `order.confirmed`.
        subscriber: stable name, kept with each delivery: `email`.
        handler: the same one again is fine.

    Raises:
        DuplicateSubscriptionError: another handler already has that name for that fact.
    """
    if _handlers[fact].setdefault(subscriber, handler) is not handler:
        raise DuplicateSubscriptionError(f"{subscriber} has already subscribed to {fact}")


# --- nudging ----------------------------------------------------------------------------------
_nudger: Nudger | None = None


def set_nudge(send: Callable[[], None] | None) -> None:
    """Say how the relay is woken in this process; None: it is not, and comes by by itself."""
    global _nudger  # noqa: PLW0603 - one bell a process
    _nudger = Nudger(send) if send is not None else None


def nudge_on_commit() -> None:
    """Wake the relay once the caller's transaction has committed; the committer does not wait."""
    if _nudger is not None:
        # robust: a bell that cannot ring must not turn a committed order into an error.
        transaction.on_commit(_nudger.ring, robust=True)


# --- delivering -------------------------------------------------------------------------------
def relay(
    *,
    limit: int | None = None,
    deadline: Deadline | None = None,
    jitter: Callable[[], float] = random.random,
) -> RelayReport:
    """Fan out new facts, then deliver what is due, one by one, by the database's clock.

    Opens its own transactions; never call it inside one. Any number may run at once: they share
    the work. One subscriber's failure never stops another's delivery.

    Args:
        limit: no more hand-overs than this; None: everything due.
        deadline: no hand-over begins after it; None: none.
        jitter: a number from 0 to 1, for the waiting time after a failure.
    """
    report = RelayReport(fanned_out=_fan_out())
    done: _Done | None = None
    while limit is None or report.attempted < limit:
        if deadline is not None and deadline.remaining() <= 0:
            break
        delivery = _lease_next(done=done)
        done = None
        if delivery is None:
            return report
        outcome = _deliver(delivery, jitter=jitter)
        if isinstance(outcome, _Done):
            done, outcome = outcome, RelayReport(delivered=1)
        report += outcome
    if done is not None:
        _mark_delivered(done)
    return report


def retry(*, delivery_ids: Sequence[int] | None = None, include_dead: bool = False) -> int:
    """Make waiting deliveries due now; dead ones, if wanted, begin a new series of tries.

    Those being handed over at this moment are left to their lease. Idempotent.

    Args:
        delivery_ids: only these; None: all.
        include_dead: also those that were given up.

    Returns:
        How many are due now that were not before.
    """
    wanted = Q() if delivery_ids is None else Q(pk__in=delivery_ids)
    waiting = Delivery.objects.filter(wanted, status=Delivery.Status.PENDING)
    # A leased one has no last_error: the lease erases it.
    retried = waiting.exclude(last_error="").update(next_attempt_at=Now())
    if include_dead:
        retried += Delivery.objects.filter(wanted, status=Delivery.Status.DEAD).update(
            status=Delivery.Status.PENDING, attempts=0, next_attempt_at=Now()
        )
    return retried


# --- forgetting -------------------------------------------------------------------------------
def count_told(*, before: datetime) -> int:
    """How many messages `forget_told` would forget."""
    return sql.count(COUNT_TOLD, before=before)


def forget_told(*, before: datetime, limit: int) -> int:
    """Forget facts from before then that everybody was told of, and their deliveries.

    The oldest first. One statement, which waits for nobody. What still waits or was given up stays,
    however old. A fact that is gone could be stated again: who states one looks at their rows.

    Returns:
        How many messages.
    """
    return sql.execute(FORGET_TOLD, before=before, limit=limit)


# --- how a delivery goes ----------------------------------------------------------------------
def _fan_out() -> int:
    fanned_out = 0
    while batch := _fan_out_batch():
        fanned_out += batch
    return fanned_out


def _fan_out_batch() -> int:
    """One delivery for each new fact and subscriber: one statement, so all of it or nothing."""
    wanted = [(fact, name) for fact, handlers in _handlers.items() for name in handlers]
    return sql.execute(
        """
        WITH batch AS (
            SELECT id, fact FROM outbox_messages WHERE fanned_out_at IS NULL
            ORDER BY id LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
        ), told AS (
            INSERT INTO deliveries (message_id, subscriber)
            SELECT batch.id, wanted.subscriber
            FROM batch JOIN unnest(%(facts)s::text[], %(subscribers)s::text[])
                AS wanted (fact, subscriber) ON wanted.fact = batch.fact
            ON CONFLICT DO NOTHING
        )
        UPDATE outbox_messages AS message SET fanned_out_at = statement_timestamp()
        FROM batch WHERE message.id = batch.id
        """,
        limit=FAN_OUT_BATCH,
        facts=[fact for fact, _ in wanted],
        subscribers=[name for _, name in wanted],
    )


@dataclass(frozen=True, slots=True)
class _Done:
    """A delivery that was handed over; `note`: why that was not needed, if so."""

    delivery_id: int
    note: str


def _lease_next(*, done: _Done | None) -> Delivery | None:
    """Mark one delivered, and take the one that has been due for longest, for a lease's length.

    One at a time: a slow receiver then never outlives the leases of others behind it, and a
    message that kills its worker uses up its own tries only. Both in one statement: each would
    cost a round trip and a COMMIT of its own.
    """
    leased = sql.fetch_one(
        """
        WITH marked AS (
            UPDATE deliveries SET status = 'delivered', delivered_at = statement_timestamp(),
                last_error = %(note)s
            WHERE id = %(done)s AND status <> 'delivered'
        ), leased AS (
            UPDATE deliveries
            SET attempts = attempts + 1, last_error = '',
                next_attempt_at = statement_timestamp() + %(lease)s
            WHERE id = (
                SELECT id FROM deliveries
                WHERE status = 'pending' AND next_attempt_at <= statement_timestamp()
                    AND id IS DISTINCT FROM %(done)s
                ORDER BY next_attempt_at, id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
            )
            RETURNING id, message_id, subscriber, attempts
        )
        SELECT leased.id AS delivery_id, leased.subscriber, leased.attempts,
            message.id, message.uuid, message.fact, message.aggregate_type, message.aggregate_id,
            message.dedupe_key, message.payload::text, message.occurred_at, message.fanned_out_at
        FROM leased JOIN outbox_messages AS message ON message.id = leased.message_id
        """,
        lease=LEASE,
        done=done and done.delivery_id,
        note=done.note if done else "",
    )
    if leased is None:
        return None
    message = OutboxMessage(
        id=leased.id,
        uuid=leased.uuid,
        fact=leased.fact,
        aggregate_type=leased.aggregate_type,
        aggregate_id=leased.aggregate_id,
        dedupe_key=leased.dedupe_key,
        payload=orjson.loads(leased.payload),
        occurred_at=leased.occurred_at,
        fanned_out_at=leased.fanned_out_at,
    )
    return Delivery(
        id=leased.delivery_id,
        message=message,
        subscriber=leased.subscriber,
        attempts=leased.attempts,
    )


def _deliver(delivery: Delivery, *, jitter: Callable[[], float]) -> _Done | RelayReport:
    """Hand it over. A failure is marked at once; a success by whoever comes next."""
    if delivery.attempts > MAX_ATTEMPTS:
        return _mark_failed(delivery, error="every try ended without a word", jitter=jitter)
    try:
        note = _hand_over(delivery)
    except Exception as exc:  # noqa: BLE001 - a subscriber may fail in any way; others go on
        return _mark_failed(delivery, error=describe(exc), jitter=jitter)
    return _Done(delivery.pk, _clip(note or ""))


def _hand_over(delivery: Delivery) -> str | None:
    handler = _handlers.get(delivery.message.fact, {}).get(delivery.subscriber)
    if handler is None:
        raise DeliveryFailedError("nobody has subscribed by this name")
    return handler(delivery.message)


def _mark_delivered(done: _Done) -> None:
    # Whoever holds the lease by now: told is told.
    sql.execute(
        """
        UPDATE deliveries SET status = 'delivered', delivered_at = statement_timestamp(),
            last_error = %(note)s
        WHERE id = %(id)s AND status <> 'delivered'
        """,
        id=done.delivery_id,
        note=done.note,
    )


def _mark_failed(delivery: Delivery, *, error: str, jitter: Callable[[], float]) -> RelayReport:
    is_dead = delivery.attempts >= MAX_ATTEMPTS
    wait = timedelta(seconds=wait_seconds(attempts=delivery.attempts, jitter=jitter()))
    with transaction.atomic(durable=True):
        # `attempts` is the fence: after the lease another relay may have tried, even succeeded.
        marked = Delivery.objects.filter(
            pk=delivery.pk, status=Delivery.Status.PENDING, attempts=delivery.attempts
        ).update(
            status=Delivery.Status.DEAD if is_dead else Delivery.Status.PENDING,
            next_attempt_at=Now() + wait,
            last_error=_clip(error),
        )
        if marked and (is_dead or delivery.attempts == 1):
            _record_failure(delivery, error=error, is_dead=is_dead)
    log.warning(
        "delivery_failed",
        delivery_id=delivery.pk,
        subscriber=delivery.subscriber,
        fact=delivery.message.fact,
        attempts=delivery.attempts,
        error=error,
        dead=is_dead,
    )
    return RelayReport(failed=1, dead=int(is_dead))


def _record_failure(delivery: Delivery, *, error: str, is_dead: bool) -> None:
    # Not by services.record: services stand above the outbox, and no request is behind this.
    AuditLog.objects.create(
        event_type="POST_ORDER_ERROR",
        entity_type=delivery.message.aggregate_type,
        entity_id=delivery.message.aggregate_id,
        data={
            "delivery_id": delivery.pk,
            "message": str(delivery.message.uuid),
            "fact": delivery.message.fact,
            "subscriber": delivery.subscriber,
            "attempts": delivery.attempts,
            "error": _clip(error),
            "dead": is_dead,
        },
    )


def wait_seconds(*, attempts: int, jitter: float) -> float:
    """How long to wait after so many failed tries: doubled each time, half of it by chance.

    The fixed halves of all eleven waits add up to 65 minutes, so a receiver that is away for
    an hour never costs a delivery its last try.
    """
    longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** (attempts - 1))
    return float(longest * (1 + jitter) / 2)


def describe(exc: Exception) -> str:
    """Name an error and its place; its text may quote personal data, so only ours is kept."""
    if isinstance(exc, DeliveryFailedError):
        return str(exc)
    last_frame = traceback.extract_tb(exc.__traceback__)[-1:]
    where = "".join(f" at {frame.name}:{frame.lineno}" for frame in last_frame)
    if isinstance(exc, OSError) and exc.strerror:
        return f"{type(exc).__name__}{where}: {exc.strerror}"
    return f"{type(exc).__name__}{where}"


def _clip(text: str) -> str:
    return text[:LAST_ERROR_LENGTH]
