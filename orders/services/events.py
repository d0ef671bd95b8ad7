"""Works off webhooks: each names an object, which is fetched afresh and brought to settlement.

However often, in whatever order and however late they come, they say only "look there". What
cannot be done now is tried again; what is signed and yet not right is put before a person.
"""

from __future__ import annotations

import random
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import structlog
from django.conf import settings
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from audit import services as audit
from audit.nudger import Nudger
from config.kernel.clock import Deadline
from config.kernel.db import WENT_AWAY, short_transaction
from orders import selectors
from orders.services import disputes, refunds, settlement
from payments import events, gateway, strangers
from payments import services as payments
from payments.gateway import Refused, Unknown
from payments.models import Payment, ProviderEvent
from payments.selectors import EVENTS_BACKFILLED, events_read_until, first_payment_at

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

BATCH: Final = 100
CLAIM: Final = timedelta(seconds=35)  # a worker that died gives the event back after this
CALL_SECONDS: Final = 10.0
LONGEST_PAUSE_SECONDS: Final = 60  # nothing stays in doubt longer than two minutes
LONGEST_WAIT: Final = timedelta(hours=23)  # a provider that is away for so long is a person's
KEPT: Final = timedelta(days=29)  # by the provider: 30
OVERLAP: Final = timedelta(hours=1)  # clocks differ, and the list may show an event a little later
# The list is read window by window, each twice as long as the one before: however little of a gap
# can be read before somebody is stopped, he has got on.
FIRST_WINDOW: Final = timedelta(minutes=15)
LONGEST_WINDOW: Final = timedelta(hours=6)
MOST_TRIES: Final = 10  # at least so many; and no more where it says no, or where we stumble

Status = ProviderEvent.Status

log = structlog.get_logger(__name__)


class TryLaterError(Exception):
    """The provider does not say now what the event is about, or (`is_refusal`) says no."""

    def __init__(self, problem: str, *, is_refusal: bool = False) -> None:
        super().__init__(problem)
        self.is_refusal = is_refusal


class QuarantinedError(Exception):
    """The event is signed and contradicts what we know: the text says how, for staff."""


# --- taking in --------------------------------------------------------------------------------
_nudger: Nudger | None = None


def set_nudge(nudge: Callable[[], None]) -> None:
    """Have `nudge` called, on a thread of its own, soon after an event came in."""
    global _nudger  # noqa: PLW0603 - one bell a process
    _nudger = Nudger(nudge)


def receive(*, payload: bytes, signature: str) -> None:
    """Keep a webhook and have it worked off soon; the same one again changes nothing.

    Raises:
        WebhookRefusedError: not the provider's, not of these minutes, or no event.
    """
    events.receive(payload=payload, signature=signature)
    if _nudger is not None:
        _nudger.ring()


def backfill(*, since: datetime, on_progress: Callable[[int], None] | None = None) -> int:
    """Fetch the provider's events since then and keep those that no webhook brought.

    From further back if that is unread: however long nobody called this, no event is left out,
    unless the provider has forgotten it. Oldest first, and how far it got is written down on the
    way: whoever dies is followed by one who goes on from there. Must not be called inside a
    transaction; any number may run at once.

    Args:
        since: the provider has none older than 30 days.
        on_progress: told how many were looked at.

    Returns:
        How many were new.

    Raises:
        ProviderUnavailableError: the list could not be read to its end; what was read is kept.
    """
    began = timezone.now()
    types = sorted(events.HANDLED)
    read_until = events_read_until(types=types)
    begin, length = _reaching_back(since, read_until=read_until, now=began), FIRST_WINDOW
    new = seen = 0
    while True:
        end = begin + length
        is_last = end >= began
        found = gateway.list_events(
            types=types,
            created_since=int(begin.timestamp()),
            created_before=None if is_last else int(end.timestamp()),
        )
        while page := list(islice(found, BATCH)):
            new += events.store_missing(page)
            seen += len(page)
            if on_progress is not None:
                on_progress(seen)
        until = min(end, began - OVERLAP)  # of what is younger the list may show more yet
        if read_until is None or until > read_until:
            _note_read(since=begin, until=until, types=types, seen=seen, new=new)
            read_until = until
        if is_last:
            return new
        begin, length = end, min(2 * length, LONGEST_WINDOW)


def _reaching_back(since: datetime, *, read_until: datetime | None, now: datetime) -> datetime:
    """As far as the list was read before; never read, as far as our first payment."""
    begin = read_until or first_payment_at()
    if begin is None:
        return since
    oldest_kept = now - KEPT
    if read_until is None:
        begin -= OVERLAP
    elif read_until < oldest_kept:
        log.error("events_forgotten", since=read_until.isoformat(), until=oldest_kept.isoformat())
    return min(since, max(begin, oldest_kept))


def _note_read(*, since: datetime, until: datetime, types: list[str], seen: int, new: int) -> None:
    """`seen` and `new`: by this run so far."""
    read = {"since": since.isoformat(), "until": until.isoformat(), "types": types}
    audit.record(EVENTS_BACKFILLED, data={**read, "seen": seen, "new": new})


# --- working off ------------------------------------------------------------------------------


def process_due(*, deadline: Deadline, ignore_backoff: bool = False) -> int:
    """Work off what came in, until nothing is due or time runs out. Any number may run at once.

    Opens its own transactions; never call it inside one. One event's trouble does not keep the
    others waiting.

    Returns:
        How many events are done with.
    """
    done = 0
    while deadline.remaining() > CALL_SECONDS:
        claimed = selectors.claim_events_due(
            limit=BATCH, ignore_backoff=ignore_backoff, lease=CLAIM
        )
        if not claimed:
            break
        done_now = _process(claimed, deadline)
        done += done_now
        if ignore_backoff or not done_now:
            break  # else those that could not be done would be claimed for ever
    return done


def _process(claimed: list[ProviderEvent], deadline: Deadline) -> int:
    intent_ids = {event.payment_intent_id for event in claimed if event.payment_intent_id}
    found = Payment.objects.filter(payment_intent_id__in=intent_ids)
    payments_by_intent = {payment.payment_intent_id: payment for payment in found}
    finished: dict[str, list[int]] = {Status.PROCESSED: [], Status.IGNORED: []}
    left = list(claimed)
    while left and deadline.remaining() > CALL_SECONDS:
        event = left.pop(0)
        try:
            status = _work_off(event, payments_by_intent.get(event.payment_intent_id))
        except WENT_AWAY:
            connection.close()  # its lease ends, and it is tried again
            log.warning("webhook_database_trouble", stripe_event=event.stripe_event_id)
        else:
            if status is not None:
                finished[status].append(event.pk)
            elif gateway.breaker().is_open():
                break  # the provider is away: it need not be asked about each of them
    selectors.give_back_claimed(*left)
    for status, ids in finished.items():
        if ids:
            ProviderEvent.objects.filter(pk__in=ids, status=Status.RECEIVED).update(
                status=status, processed_at=Now(), last_error=""
            )
    return sum(map(len, finished.values()))


def _work_off(event: ProviderEvent, payment: Payment | None) -> str | None:
    """One event; whatever is wrong with it, the others must not wait. None: it is not finished."""
    try:
        return _look_there(event, payment)
    except QuarantinedError as exc:
        _quarantine(event, payment, problem=str(exc))
    except TryLaterError as exc:
        _try_later(event, payment, problem=str(exc), is_refusal=exc.is_refusal)
    except WENT_AWAY:
        raise
    except Exception as exc:
        log.exception("webhook_failed", stripe_event=event.stripe_event_id)
        _try_later(event, payment, problem=type(exc).__name__, is_refusal=True)
    return None


def _look_there(event: ProviderEvent, payment: Payment | None) -> str:
    """Bring about what the event gives reason for.

    Returns:
        PROCESSED or IGNORED.

    Raises:
        QuarantinedError, TryLaterError
    """
    if event.event_type not in events.HANDLED:
        return Status.IGNORED
    _check_origin(event.payload)
    about = event.payload["data"]["object"]
    if payment is None:
        return _judge_stranger(event, about)
    if event.event_type in events.INTENT_EVENTS:
        _settle(event, payment)
        _check_amount(about, payment)
    elif event.event_type in events.REFUND_EVENTS:
        if _may_be_news(about, payment):
            _sync(refunds.sync_refunds(payment_id=payment.pk, deadline=Deadline(CALL_SECONDS)))
    else:
        _sync(disputes.sync_dispute(dispute_id=event.object_id, deadline=Deadline(CALL_SECONDS)))
    return Status.PROCESSED


def _check_origin(payload: dict[str, Any]) -> None:
    if payload["livemode"] != settings.STRIPE_IS_LIVE:
        raise QuarantinedError("it is of the provider's other mode (test or live)")
    if payload.get("account"):
        raise QuarantinedError("it is about another account")


def _check_amount(about: dict[str, Any], payment: Payment) -> None:
    asked = payment.create_params
    if (about.get("amount"), about.get("currency")) != (asked["amount"], asked["currency"]):
        raise QuarantinedError("its amount or currency is not the payment's")


def _judge_stranger(event: ProviderEvent, about: dict[str, Any]) -> str:
    """About no payment of ours: somebody else's on the same account, or a charge without an order.

    An intent's id is durable here before it is confirmed (rule 3), so there is nothing to wait for.
    """
    metadata = about.get("metadata") or {}
    is_ours = isinstance(metadata, dict) and metadata.get("app") == gateway.MARK
    if event.event_type in events.REFUND_EVENTS and event.payment_intent_id is not None:
        return _judge_strangers_refund(event, about, is_ours=is_ours)
    if is_ours and event.event_type != "payment_intent.canceled":
        raise QuarantinedError("it names a payment that is not here")
    return Status.IGNORED


def _judge_strangers_refund(event: ProviderEvent, about: dict[str, Any], *, is_ours: bool) -> str:
    """Money of a charge without an order goes back, or comes back: then a person is asked again."""
    if not is_ours and about.get("status") not in gateway.REFUND_DEAD:
        return Status.IGNORED
    deadline = Deadline(CALL_SECONDS)
    _sync(strangers.look_again(intent_id=event.payment_intent_id or "", deadline=deadline))
    return Status.PROCESSED


def _settle(event: ProviderEvent, payment: Payment) -> None:
    """The fourth caller of `settle`; nothing is asked where the event can bring no news."""
    is_final = payment.status not in (*Payment.OPEN, Payment.Status.QUARANTINED)
    if is_final and (
        payment.status == Payment.Status.SUCCEEDED or event.event_type != "payment_intent.succeeded"
    ):
        return
    _sync(settlement.settle_afresh(payment=payment, deadline=Deadline(CALL_SECONDS)))


def _may_be_news(about: dict[str, Any], payment: Payment) -> bool:
    """A charge whose refunds are all in the books needs no look; our own come back as events."""
    if about.get("object") == "charge":
        return bool(about.get("amount_refunded") != payments.refunded_minor(payment))
    return not payment.refunds.filter(
        stripe_refund_id=about.get("id"), status=about.get("status")
    ).exists()


def _sync(outcome: Refused | Unknown | None) -> None:
    if isinstance(outcome, Refused):
        raise TryLaterError(outcome.code, is_refusal=True)
    if outcome is not None:
        raise TryLaterError(outcome.reason)


def _quarantine(event: ProviderEvent, payment: Payment | None, *, problem: str) -> None:
    log.error("webhook_quarantined", stripe_event=event.stripe_event_id, problem=problem)
    with short_transaction():
        moved = ProviderEvent.objects.filter(pk=event.pk, status=Status.RECEIVED).update(
            status=Status.QUARANTINED, processed_at=Now(), last_error=problem
        )
        if moved:
            audit.record(
                "WEBHOOK_QUARANTINED",
                entity_type="order" if payment else None,
                entity_id=payment.order_id if payment else None,
                data={"event": event.stripe_event_id, "problem": problem},
            )


def _try_later(
    event: ProviderEvent, payment: Payment | None, *, problem: str, is_refusal: bool
) -> None:
    """Ever more rarely; in the end a person has to look. `attempts` counts the earlier tries."""
    is_old = timezone.now() - event.received_at > LONGEST_WAIT
    if (is_old or is_refusal) and event.attempts + 1 >= MOST_TRIES:
        _quarantine(event, payment, problem=f"given up: {problem}"[:500])
        return
    longest = min(LONGEST_PAUSE_SECONDS, 2 ** min(event.attempts + 2, 6))
    pause = timedelta(seconds=random.uniform(longest / 2, longest))  # noqa: S311 - spreads load
    ProviderEvent.objects.filter(pk=event.pk).update(
        last_error=problem[:500], next_attempt_at=Now() + pause
    )
