"""Takes in what carriers tell and moves parcels by it: each once, in whatever order they come.

A webhook is stored by one statement and answered; a worker does the rest. An event whose parcel is
not known yet waits for it: whoever puts a parcel on record states `shipment.sent`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog
from django.db import connection
from django.db.models import Q
from django.db.models.functions import Now

from audit import services as audit
from audit.nudger import Nudger
from config.kernel import sql
from config.kernel.db import WENT_AWAY, short_transaction
from integrations.fulfilment import webhooks
from integrations.fulfilment.models import TrackingEvent
from orders.models import Shipment
from orders.services import shipping

if TYPE_CHECKING:
    from collections.abc import Callable

    from audit.models import OutboxMessage
    from config.kernel.clock import Deadline
    from integrations.fulfilment.webhooks import News

BATCH: Final = 100
LEASE: Final = timedelta(seconds=35)  # a worker that died gives the event back after this
LEAST_SECONDS: Final = 2.0
FIRST_WAIT_SECONDS: Final = 5
LONGEST_WAIT_SECONDS: Final = 600
NUMBERS_COME_AGAIN: Final = timedelta(days=30)
"""Carriers give a number out again after months: what happened so long before is not about ours."""
CLAIM_DUE: Final = """
    UPDATE tracking_events
    SET attempts = attempts + 1, next_attempt_at = statement_timestamp() + %(lease)s
    WHERE id IN (
        SELECT id FROM tracking_events
        WHERE status = 'received' AND next_attempt_at <= statement_timestamp()
        ORDER BY next_attempt_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    )
    RETURNING *
"""

Stage = TrackingEvent.Stage
Status = TrackingEvent.Status

log = structlog.get_logger(__name__)


# --- taking in --------------------------------------------------------------------------------
_nudger: Nudger | None = None


def set_nudge(nudge: Callable[[], None]) -> None:
    """Have `nudge` called, on a thread of its own, soon after an event came in."""
    global _nudger  # noqa: PLW0603 - one bell a process
    _nudger = Nudger(nudge)


def receive_generic(*, payload: bytes, signature: str) -> None:
    """Keep a webhook in our own dialect; the same event again changes nothing.

    Raises:
        ValidationFailedError: see `webhooks.read_generic`; nothing is kept.
    """
    _keep(webhooks.read_generic(payload=payload, signature=signature))


def receive_easypost(*, payload: bytes, signature: str) -> None:
    """Keep EasyPost's webhook, if it is about a parcel; likewise."""
    news = webhooks.read_easypost(payload=payload, signature=signature)
    if news is not None:
        _keep(news)


def _keep(news: News) -> None:
    TrackingEvent.objects.bulk_create(
        [
            TrackingEvent(
                source=news.source,
                event_id=news.event_id,
                tracking_number=news.tracking_number,
                carrier=news.carrier,
                stage=news.stage,
                told=news.told,
                happened_at=news.happened_at,
            )
        ],
        ignore_conflicts=True,
    )
    if _nudger is not None:
        _nudger.ring()


# --- working off ------------------------------------------------------------------------------


def process_due(*, deadline: Deadline) -> int:
    """Work off what came in, until nothing is due or time runs out. Any number may run at once.

    Opens its own transactions; never call it inside one. One event's trouble keeps none waiting.

    Returns:
        How many events moved their parcel, or have been found to have none yet.
    """
    done = 0
    while deadline.remaining() > LEAST_SECONDS:
        claimed = sql.fetch_models(TrackingEvent, CLAIM_DUE, lease=LEASE, limit=BATCH)
        if not claimed:
            break
        for event in claimed:
            if deadline.remaining() <= LEAST_SECONDS:
                return done  # what is left is due again when its lease ends
            done += _work_off(event)
    return done


def match(message: OutboxMessage) -> str | None:
    """A parcel is on record: what its carrier told before is about it. A subscriber."""
    shipment = Shipment.objects.get(pk=message.payload["shipment"])
    if not shipment.tracking_number:
        return "it has no tracking number"
    early = TrackingEvent.objects.filter(
        tracking_number__in=_spellings(shipment.tracking_number),
        status__in=[Status.RECEIVED, Status.UNMATCHED],
    )
    for event in early.order_by("happened_at", "pk"):
        _apply(event)
    return None


def _work_off(event: TrackingEvent) -> bool:
    try:
        _apply(event)
    except WENT_AWAY:
        connection.close()  # its lease ends, and it is tried again
        log.warning("tracking_database_trouble", tracking_event=event.pk)
        return False
    except Exception as exc:  # whatever is wrong with one of them, the others go on
        log.exception("tracking_event_failed", tracking_event=event.pk)
        wait = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** min(event.attempts, 10))
        TrackingEvent.objects.filter(pk=event.pk, status=Status.RECEIVED).update(
            next_attempt_at=Now() + timedelta(seconds=wait), last_error=type(exc).__name__
        )
        return False
    return True


def _apply(event: TrackingEvent) -> None:
    """Move the parcels that it is about, and note that it is done; repeating changes nothing."""
    parcels = _parcels_of(event)
    if not parcels:
        # Whoever puts the parcel on record at this moment finds the event in either state.
        TrackingEvent.objects.filter(pk=event.pk, status=Status.RECEIVED).update(
            status=Status.UNMATCHED, last_error=""
        )
        return
    for parcel in parcels:
        if event.stage == Stage.DELIVERED:
            shipping.note_arrival(shipment_id=parcel.pk, at=event.happened_at)
        elif event.stage in {Stage.IN_TRANSIT, Stage.OUT_FOR_DELIVERY}:
            shipping.note_transit(shipment_id=parcel.pk)
    with short_transaction():
        is_done = TrackingEvent.objects.filter(
            pk=event.pk, status__in=[Status.RECEIVED, Status.UNMATCHED]
        ).update(status=Status.PROCESSED, shipment=parcels[0], processed_at=Now(), last_error="")
        if is_done and event.stage == Stage.TROUBLE:
            _tell_of_trouble(event, parcels)


def _parcels_of(event: TrackingEvent) -> list[Shipment]:
    """Newest first. Several orders may lie in one parcel."""
    return list(
        Shipment.objects.filter(
            Q(tracking_number__in=_spellings(event.tracking_number)),
            shipped_at__lt=event.happened_at + NUMBERS_COME_AGAIN,
        ).order_by("-pk")
    )


def _spellings(number: str) -> list[str]:
    return sorted({number, number.upper()})


def _tell_of_trouble(event: TrackingEvent, parcels: list[Shipment]) -> None:
    """For the order's history, where staff sees it."""
    for parcel in parcels:
        audit.record(
            "SHIPMENT_IN_TROUBLE",
            entity_type="order",
            entity_id=parcel.order_id,
            data={"shipment": parcel.pk, "tracking_event": event.pk, "told": event.told},
        )
