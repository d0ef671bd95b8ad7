"""The pump: takes what is due, hands it over on several threads, and marks what came of it.

The thread that calls `relay` leases, marks and renews, and never waits for a receiver; hands do.
"""

from __future__ import annotations

import os
import random
import time
import traceback
from collections import Counter, deque
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import structlog
from django.db import connection, transaction
from django.db.models.functions import Now
from prometheus_client import Counter as Metric

from audit.models import AuditLog, Delivery
from audit.outbox import deliveries, subscribers
from audit.outbox.subscribers import DeliveryFailedError, ReceiverAwayError, RejectedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from audit.outbox.deliveries import Leased
    from config.kernel.clock import Deadline

MAX_ATTEMPTS: Final = 12
FIRST_WAIT_SECONDS: Final = 30.0
LONGEST_WAIT_SECONDS: Final = 20 * 60.0
RENEWAL_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 1.0
"""However much one subscriber has due, others are looked for so often."""
LAST_ERROR_LENGTH: Final = 500
NOBODY_THERE: Final = (ReceiverAwayError, ConnectionError, TimeoutError)
"""What says nothing of the message: no other would fare better."""
DELIVERIES: Final = Metric(
    "orderkeep_deliveries_total",
    "Tries to tell a subscriber of a fact: delivered, failed, or given up for good (dead).",
    ["subscriber", "outcome"],
)

log = structlog.get_logger(__name__)


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


def relay(
    *,
    limit: int | None = None,
    deadline: Deadline | None = None,
    jitter: Callable[[], float] = random.random,
    threads: int = 1,
) -> RelayReport:
    """Fan out new facts, then deliver what is due, by the database's clock.

    Opens its own transactions; never call it inside one. Any number may run at once: they share
    the work. One subscriber's failure never stops another's delivery.

    Args:
        limit: no more deliveries than this; None: everything due.
        deadline: no hand-over begins after it; None: none.
        jitter: a number from 0 to 1, for the waiting time after a failure.
        threads: so many hand-overs at the same time; 1: on the caller's own thread.
    """
    return _Run(limit=limit, deadline=deadline, jitter=jitter, threads=threads).to_its_end()


@dataclass(frozen=True, slots=True)
class _Unit:
    """What is handed over in one go: one delivery, or a batch of them, of one subscriber."""

    leased: Sequence[Leased]

    @property
    def subscriber(self) -> str:
        return self.leased[0].subscriber

    @property
    def is_suspect(self) -> bool:
        return self.leased[0].is_suspect

    @property
    def is_trial(self) -> bool:
        return self.leased[0].is_trial


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What came of it: told, with a note why that was not needed, or not, with the error."""

    unit: _Unit
    note: str = ""
    error: Exception | None = None


class _Run:
    """One run of the relay."""

    def __init__(
        self,
        *,
        limit: int | None,
        deadline: Deadline | None,
        jitter: Callable[[], float],
        threads: int,
    ) -> None:
        self._left = limit
        self._deadline = deadline
        self._jitter = jitter
        self._size = threads
        self._reserve = threads // 3
        self._hands: Executor = _pool_of(threads) if threads > 1 else _OwnHand()
        self._lanes: deque[str] = deque()  # subscribers that may have something due
        self._resting: set[str] = set()  # those of them that are given one, to see
        self._looked_at = -LOOK_SECONDS
        self._waiting: deque[_Unit] = deque()  # leased, and not yet begun
        self._in_flight: dict[Future[_Outcome], _Unit] = {}
        self._renewed_at = time.monotonic()
        self._report = RelayReport()

    def to_its_end(self) -> RelayReport:
        """Until nothing is due, or no more may begin, and all that was begun has ended."""
        while self._begin() or self._in_flight:
            self._collect()
        return self._report

    # --- beginning --------------------------------------------------------------------------
    def _begin(self) -> bool:
        """Take and begin what there is room for; returns whether anything was."""
        self._look_around()
        began = self._begin_waiting()
        for _ in range(len(self._lanes)):
            if not self._may_take() or len(self._in_flight) >= self._size:
                break
            subscriber = self._lanes.popleft()
            room = self._room_for(subscriber)
            taken, asked = self._lease(subscriber, room=room) if room else ([], 0)
            if len(taken) >= asked:
                self._lanes.append(subscriber)  # there may be more
            self._take(taken)
            began += len(taken)
            self._begin_waiting()
        return began > 0

    def _look_around(self) -> None:
        """Fan out what is new, and see who has something due; each second, or when all is taken."""
        now = time.monotonic()
        if self._lanes and now < self._looked_at + LOOK_SECONDS:
            return
        self._looked_at = now
        self._report += RelayReport(fanned_out=deliveries.fan_out())
        if self._may_take():
            due = deliveries.subscribers_with_something_due()
            self._lanes.extend(name for name in due if name not in self._lanes)
            self._resting = {name for name, is_trial in due.items() if is_trial}

    def _may_take(self) -> bool:
        is_in_time = self._deadline is None or self._deadline.remaining() > 0
        return is_in_time and self._left != 0

    def _room_for(self, subscriber: str) -> int:
        """How many hand-overs to it may begin.

        The last third of the hands is for receivers that have none yet, one each: those that stall
        leave room for others.
        """
        mine = self._held_of()[subscriber]
        free = self._size - len(self._in_flight)
        room = min(subscribers.measure_of(subscriber).at_once - mine, free - self._reserve)
        return max(room, 0 if mine else min(free, 1))

    def _lease(self, subscriber: str, *, room: int) -> tuple[list[Leased], int]:
        """Take what there is room for; returns how many were asked for, too.

        A batch is of fresh ones; what has failed comes alone, and spoils it for no other.
        """
        if subscriber in self._resting:
            self._resting.discard(subscriber)
            return deliveries.lease(subscriber, most=1, is_trial=True), 1
        batch = subscribers.measure_of(subscriber).batch
        if batch == 1:
            asked = self._within_limit(room)
            taken = deliveries.lease(subscriber, most=asked, suspects=False)
        else:
            asked = self._within_limit(batch)
            taken = deliveries.lease(subscriber, most=asked, fresh=True)
            if more := self._within_limit(room - bool(taken), less=len(taken)):
                taken += deliveries.lease(subscriber, most=more, fresh=False, suspects=False)
        if len(taken) < asked and not self._holds_a_suspect():
            # One at a time, and taken for it: a try that never began would count as one.
            taken += deliveries.lease(subscriber, most=1, suspects=True)
        return taken, asked

    def _holds_a_suspect(self) -> bool:
        held = (*self._in_flight.values(), *self._waiting)
        return any(unit.is_suspect for unit in held)

    def _within_limit(self, wanted: int, *, less: int = 0) -> int:
        return wanted if self._left is None else max(0, min(wanted, self._left - less))

    def _held_of(self) -> Counter[str]:
        return Counter(unit.subscriber for unit in (*self._in_flight.values(), *self._waiting))

    def _take(self, leased: list[Leased]) -> None:
        if self._left is not None:
            self._left -= len(leased)
        fresh = []
        for one in leased:
            if one.attempts > MAX_ATTEMPTS:
                self._fail([one], error=DeliveryFailedError("every try ended without a word"))
            elif one.attempts == 1 and subscribers.measure_of(one.subscriber).batch > 1:
                fresh.append(one)
            else:
                self._waiting.append(_Unit([one]))
        if fresh:
            self._waiting.append(_Unit(fresh))

    def _begin_waiting(self) -> int:
        """Begin what is leased already."""
        began = 0
        while self._waiting and len(self._in_flight) < self._size:
            unit = self._waiting.popleft()
            self._in_flight[self._hands.submit(_hand_over, unit)] = unit
            began += 1
        return began

    # --- collecting -------------------------------------------------------------------------
    def _collect(self) -> None:
        """Wait for some to end, mark them, and hold on to the others."""
        next_renewal = max(0.0, self._renewed_at + RENEWAL_SECONDS - time.monotonic())
        done, _ = wait(self._in_flight, timeout=next_renewal, return_when=FIRST_COMPLETED)
        outcomes = [future.result() for future in done]
        for future in done:
            del self._in_flight[future]
        if told := [outcome for outcome in outcomes if outcome.error is None]:
            self._mark_delivered(told)
        for outcome in outcomes:
            if outcome.error is not None:
                self._fail(outcome.unit.leased, error=outcome.error)
        if time.monotonic() >= self._renewed_at + RENEWAL_SECONDS:
            self._renew()

    def _renew(self) -> None:
        held = [one for unit in (*self._in_flight.values(), *self._waiting) for one in unit.leased]
        if held:
            deliveries.renew(held)
        self._renewed_at = time.monotonic()

    def _mark_delivered(self, told: Sequence[_Outcome]) -> None:
        notes = {one.id: _clip(each.note) for each in told for one in each.unit.leased}
        deliveries.mark_delivered(notes, subscribers=[each.unit.subscriber for each in told])
        for each in told:
            _count(each.unit.subscriber, "delivered", len(each.unit.leased))
        self._report += RelayReport(delivered=len(notes))

    def _fail(self, leased: Sequence[Leased], *, error: Exception) -> None:
        first = leased[0]
        if len(leased) > 1 and isinstance(error, RejectedError):
            error = DeliveryFailedError(str(error))  # of which of them? Each is asked of alone
        if isinstance(error, NOBODY_THERE):
            deliveries.receiver_failed(
                first.subscriber,
                error=_clip(describe(error)),
                is_trial=first.is_trial,
                retry_after=getattr(error, "retry_after", None),
            )
        else:
            deliveries.receiver_answered(first.subscriber)  # or it is we who cannot
        for one in leased:
            is_dead = _mark_failed(one, error=error, jitter=self._jitter)
            self._report += RelayReport(failed=1, dead=int(is_dead))


# --- on a hand --------------------------------------------------------------------------------
def _hand_over(unit: _Unit) -> _Outcome:
    try:
        note = _tell(unit)
    except Exception as exc:  # noqa: BLE001 - a subscriber may fail in any way; others go on
        return _Outcome(unit, error=exc)
    return _Outcome(unit, note=note or "")


def _tell(unit: _Unit) -> str | None:
    first = unit.leased[0]
    if len(unit.leased) > 1:
        handler = subscribers.batch_handler_of(first.subscriber)
        assert handler is not None  # noqa: S101 - a measure by batches comes with it
        return handler([one.message for one in unit.leased])
    tell = subscribers.handler_of(subscriber=first.subscriber, fact=first.message.fact)
    return tell(first.message)


class _OwnHand(Executor):
    """Hands over on the caller's thread, at once."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


class _Hands(ThreadPoolExecutor):
    """Threads that stay, each with a database connection that stays good."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(_with_good_connection, fn, *args, **kwargs)


def _with_good_connection(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    connection.close_if_unusable_or_obsolete()  # as a request does; a server may be a new one
    return fn(*args, **kwargs)


_pools: dict[int, _Hands] = {}
os.register_at_fork(after_in_child=_pools.clear)  # threads stay behind


def _pool_of(threads: int) -> _Hands:
    if threads not in _pools:
        _pools[threads] = _Hands(threads, thread_name_prefix="relay")
    return _pools[threads]


def let_hands_go() -> None:
    """End the threads of this process's relays, and with them their database connections."""
    while _pools:
        _pools.popitem()[1].shutdown()


# --- failures ---------------------------------------------------------------------------------
def _mark_failed(leased: Leased, *, error: Exception, jitter: Callable[[], float]) -> bool:
    """Write down that a try failed; returns whether it was the last one.

    A try that only showed that the receiver is still away costs none: its messages are not given
    up for what is not their fault, however long it takes.
    """
    text = _clip(describe(error))
    asked = getattr(error, "retry_after", None)
    is_free = isinstance(error, NOBODY_THERE) and leased.is_trial
    is_dead = isinstance(error, RejectedError) or (leased.attempts >= MAX_ATTEMPTS and not is_free)
    seconds = max(asked or 0.0, wait_seconds(attempts=leased.attempts, jitter=jitter()))
    with transaction.atomic(durable=True):
        # `attempts` is the fence: after the lease another relay may have tried, even succeeded.
        marked = Delivery.objects.filter(
            pk=leased.id, status=Delivery.Status.PENDING, attempts=leased.attempts
        ).update(
            status=Delivery.Status.DEAD if is_dead else Delivery.Status.PENDING,
            attempts=leased.attempts - is_free,
            next_attempt_at=Now() + timedelta(seconds=seconds),
            last_error=text,
        )
        if marked and (is_dead or (leased.attempts == 1 and not is_free)):
            _record_failure(leased, error=text, is_dead=is_dead)
    _count(leased.subscriber, "dead" if is_dead else "failed")
    log.warning(
        "delivery_failed",
        delivery_id=leased.id,
        subscriber=leased.subscriber,
        fact=leased.message.fact,
        attempts=leased.attempts,
        error=text,
        dead=is_dead,
    )
    return is_dead


def _record_failure(leased: Leased, *, error: str, is_dead: bool) -> None:
    # Not by services.record: services stand above the outbox, and no request is behind this.
    AuditLog.objects.create(
        event_type="POST_ORDER_ERROR",
        entity_type=leased.message.aggregate_type,
        entity_id=leased.message.aggregate_id,
        data={
            "delivery_id": leased.id,
            "message": str(leased.message.uuid),
            "fact": leased.message.fact,
            "subscriber": leased.subscriber,
            "attempts": leased.attempts,
            "error": error,
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


def _count(subscriber: str, outcome: str, times: int = 1) -> None:
    DELIVERIES.labels(subscribers.kind_of(subscriber), outcome).inc(times)
