"""Writes down what happened (`record`) and what the world should hear of it (`publish`).

Both write in the caller's transaction: they are true exactly when the change is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.db.models.functions import Now

from audit import outbox
from audit.models import Delivery, Receiver
from config.kernel import request_context, sql
from config.kernel.db import short_transaction
from config.kernel.models import new_uuid

if TYPE_CHECKING:
    from collections.abc import Mapping

REVIVED_AT_ONCE: Final = 5_000
"""So many given-up deliveries are tried again by one press: one short statement."""


def record(
    event_type: str,
    *,
    entity_type: str | None = None,
    entity_id: int | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    """Add a row to the audit log; who, from where and in which request comes from the context.

    Args:
        event_type: upper case, past tense: `ORDER_CREATED`.
        entity_type: what it happened to: `order`, `payment`, `customer` …
        entity_id: that row's primary key.
        data: ids and amounts (as strings); never personal data.
    """
    context = request_context.current()
    sql.later(
        """
        INSERT INTO audit_logs (event_type, entity_type, entity_id, user_id, ip_address,
            user_agent, request_id, data)
        VALUES (%(event_type)s, %(entity_type)s, %(entity_id)s, %(user_id)s, %(ip_address)s,
            %(user_agent)s, %(request_id)s, %(data)s)
        """,
        event_type=event_type,
        entity_type=entity_type,
        entity_id=entity_id,
        user_id=context.user_id,
        ip_address=context.ip_address,
        user_agent=context.user_agent or None,
        request_id=context.request_id,
        data=sql.json(data or {}),
    )


def publish(
    fact: str,
    *,
    aggregate_type: str,
    aggregate_id: int,
    dedupe_key: str,
    payload: Mapping[str, Any],
) -> None:
    """State a fact once; after COMMIT the relay carries it to every subscriber.

    Requires an open transaction. If that rolls back, the fact was never stated.

    Args:
        fact: dotted, past tense: `order.confirmed`.
        aggregate_type: what it is about: `order`.
        aggregate_id: that row's primary key.
        dedupe_key: the same fact stated twice has the same key; the second is refused.
        payload: ids and amounts; subscribers look the rest up.
    """
    sql.later(
        """
        INSERT INTO outbox_messages (uuid, fact, aggregate_type, aggregate_id, dedupe_key, payload)
        VALUES (%(uuid)s, %(fact)s, %(aggregate_type)s, %(aggregate_id)s, %(dedupe_key)s,
            %(payload)s)
        """,
        uuid=new_uuid(),
        fact=fact,
        aggregate_type=aggregate_type,
        aggregate_id=aggregate_id,
        dedupe_key=dedupe_key,
        payload=sql.json(payload),
    )
    outbox.nudge_on_commit()


def retry_deliveries(*, aggregate_type: str, aggregate_id: int) -> int:
    """Have all that waits or was given up of what was told of a thing tried again now; audited.

    Opens its own transaction. Repeating is harmless.

    Returns:
        How many deliveries are due now that were not before.
    """
    with short_transaction():
        about = Delivery.objects.filter(
            message__aggregate_type=aggregate_type, message__aggregate_id=aggregate_id
        )
        ids = list(about.exclude(status=Delivery.Status.DELIVERED).values_list("pk", flat=True))
        retried = outbox.retry(delivery_ids=ids, include_dead=True)
        if retried:
            record(
                "DELIVERIES_RETRIED",
                entity_type=aggregate_type,
                entity_id=aggregate_id,
                data={"delivery_ids": ids, "retried": retried},
            )
            outbox.nudge_on_commit()
    return retried


def pause_receiver(*, subscriber: str) -> bool:
    """Deliver nothing to a receiver until `resume_receiver`; what comes in waits. Audited.

    What is being handed over at this moment goes through. Opens its own transaction; repeating is
    harmless.

    Returns:
        Whether it was not paused yet.
    """
    return _set_paused(subscriber, at=Now(), event_type="RECEIVER_PAUSED")


def resume_receiver(*, subscriber: str) -> bool:
    """Deliver to a paused receiver again, at once. Audited; likewise.

    Returns:
        Whether it was paused.
    """
    return _set_paused(subscriber, at=None, event_type="RECEIVER_RESUMED")


def _set_paused(subscriber: str, *, at: Now | None, event_type: str) -> bool:
    with short_transaction():
        rows = Receiver.objects.filter(subscriber=subscriber, paused_at__isnull=at is not None)
        changed = rows.update(paused_at=at)
        if changed:
            record(event_type, entity_type="receiver", data={"subscriber": subscriber})
            outbox.nudge_on_commit()
    return bool(changed)


def retry_receiver(*, subscriber: str) -> int:
    """Have all that waits for a receiver tried now, and the oldest that was given up. Audited.

    Of what was given up no more than `REVIVED_AT_ONCE`. Opens its own transaction; repeating goes
    on with the rest.

    Returns:
        How many deliveries are due now that were not before.
    """
    with short_transaction():
        mine = Delivery.objects.filter(subscriber=subscriber)
        dead = mine.filter(status=Delivery.Status.DEAD).order_by("pk")
        ids = list(dead.values_list("pk", flat=True)[:REVIVED_AT_ONCE])
        waiting = mine.filter(status=Delivery.Status.PENDING).exclude(last_error="")
        ids += waiting.order_by("pk").values_list("pk", flat=True)[:REVIVED_AT_ONCE]
        retried = outbox.retry(delivery_ids=ids, include_dead=True)
        Receiver.objects.filter(subscriber=subscriber, retry_at__gt=Now()).update(retry_at=Now())
        record(
            "RECEIVER_RETRIED",
            entity_type="receiver",
            data={"subscriber": subscriber, "retried": retried},
        )
        outbox.nudge_on_commit()
    return retried
