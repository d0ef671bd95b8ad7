"""Takes in what the provider tells by webhook: checked, stored once, and worked off later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.db.models.functions import Now

from config.kernel import sql
from payments import gateway
from payments.models import ProviderEvent
from payments.selectors import OPEN_DISPUTE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

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

# Of a webhook's body only this is kept: a charge also holds its payer's name, address and e-mail.
OF_THE_EVENT: Final = ("id", "object", "type", "api_version", "created", "livemode", "account")
OF_THE_OBJECT: Final = (
    *("id", "object", "status", "created", "livemode", "payment_intent", "charge", "currency"),
    *("amount", "amount_received", "amount_captured", "amount_refunded"),
)
OF_THE_METADATA: Final = ("app", "payment", "order_id", "order_number", "refund")  # our own marks

WORKED_OFF: Final = f"""
    FROM provider_events AS event
    WHERE received_at < %(before)s AND status IN ('processed', 'ignored')
      AND NOT EXISTS ({OPEN_DISPUTE} AND payments.payment_intent_id = event.payment_intent_id)
"""
COUNT_WORKED_OFF: Final = f"SELECT count(*) {WORKED_OFF}"
FORGET_WORKED_OFF: Final = f"""
    WITH old AS MATERIALIZED (
        SELECT id {WORKED_OFF} ORDER BY received_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    )
    DELETE FROM provider_events AS event USING old WHERE event.id = old.id
"""  # noqa: S608 - our own constant


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
                payload=_without_people(event.payload),
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


def count_worked_off(*, before: datetime) -> int:
    """How many events `forget_worked_off` would forget."""
    return sql.count(COUNT_WORKED_OFF, before=before)


def forget_worked_off(*, before: datetime, limit: int) -> int:
    """Forget events that came in before then and are done with; oldest first.

    One statement, which waits for nobody. What is not worked off, lies in quarantine or is about a
    payment in an open dispute stays, however old. Let it be longer ago than the provider's own
    memory: what its list still shows would be fetched once more, and found done.

    Returns:
        How many.
    """
    return sql.execute(FORGET_WORKED_OFF, before=before, limit=limit)


def _without_people(payload: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked of an event afterwards, and nothing that the provider knows of a person."""
    about = payload["data"]["object"]
    kept = _scalars(about, OF_THE_OBJECT)
    metadata = about.get("metadata")
    if isinstance(metadata, dict):
        kept["metadata"] = _scalars(metadata, OF_THE_METADATA)
    return {**_scalars(payload, OF_THE_EVENT), "data": {"object": kept}}


def _scalars(found: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {
        name: _storable(found[name])
        for name in names
        if name in found and not isinstance(found[name], (dict, list))
    }


def _storable(value: Any) -> Any:
    """The same without U+0000, which JSON may hold and PostgreSQL does not take."""
    return value.replace("\x00", "") if isinstance(value, str) else value
