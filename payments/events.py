"""Takes in what the provider tells by webhook: checked, stored once, and worked off later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.db.models.functions import Now

from payments import gateway
from payments.models import ProviderEvent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from payments.gateway import Event

INTENT_EVENTS: Final = frozenset(
    {
        "payment_intent.succeeded",
        "payment_intent.payment_failed",
        "payment_intent.canceled",
        "payment_intent.processing",
    }
)
REFUND_EVENTS: Final = frozenset(
    {"charge.refunded", "refund.created", "refund.updated", "refund.failed"}
)
DISPUTE_EVENTS: Final = frozenset(
    {
        "charge.dispute.created",
        "charge.dispute.updated",
        "charge.dispute.closed",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.funds_reinstated",
    }
)
HANDLED: Final = INTENT_EVENTS | REFUND_EVENTS | DISPUTE_EVENTS
"""What the endpoint at the provider should be subscribed to; anything else is ignored."""


def receive(*, payload: bytes, signature: str) -> None:
    """Check a webhook and keep it; the same one again changes nothing.

    One statement, so that the provider has its answer at once; nothing of it is believed yet.

    Raises:
        WebhookRefusedError: not the provider's, not of these minutes, or no event.
    """
    store([gateway.read_webhook(payload=payload, signature=signature)])


def store(events: Sequence[Event]) -> None:
    """Keep events that are not kept already, in one statement."""
    ProviderEvent.objects.bulk_create(
        [
            ProviderEvent(
                stripe_event_id=event.id,
                event_type=event.type,
                object_id=event.object_id,
                payment_intent_id=event.payment_intent_id,
                payload=_storable(event.payload),
            )
            for event in events
        ],
        ignore_conflicts=True,
    )


def store_missing(events: Sequence[Event]) -> int:
    """Keep those of many events that are not kept already; returns how many that were."""
    ids = [event.id for event in events]
    kept = set(
        ProviderEvent.objects.filter(stripe_event_id__in=ids).values_list(
            "stripe_event_id", flat=True
        )
    )
    missing = [event for event in events if event.id not in kept]
    store(missing)
    return len(missing)


def work_off_again(*, event_ids: Sequence[int]) -> int:
    """Make events due now, whatever became of them before; returns how many.

    Harmless: what is done already is found done.
    """
    return ProviderEvent.objects.filter(pk__in=event_ids).update(
        status=ProviderEvent.Status.RECEIVED,
        processed_at=None,
        attempts=0,
        next_attempt_at=Now(),
        last_error="",
    )


def _storable(value: Any) -> Any:
    """The same without U+0000, which JSON may hold and PostgreSQL does not take."""
    if isinstance(value, str):
        return value.replace("\x00", "")
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    return value
