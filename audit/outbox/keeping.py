"""What becomes of deliveries beside being delivered: tried again by hand, forgotten in time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db.models import Q
from django.db.models.functions import Now

from audit.models import Delivery, Receiver
from config.kernel import sql

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

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


def retry(*, delivery_ids: Sequence[int] | None = None, include_dead: bool = False) -> int:
    """Make waiting deliveries due now; dead ones, if wanted, begin a new series of tries.

    Those being handed over at this moment are left to their lease. A receiver that was given a
    rest is tried at once, too. Idempotent.

    Args:
        delivery_ids: only these; None: all.
        include_dead: also those that were given up.

    Returns:
        How many are due now that were not before.
    """
    wanted = Q() if delivery_ids is None else Q(pk__in=delivery_ids)
    receivers = Delivery.objects.filter(wanted).exclude(status=Delivery.Status.DELIVERED)
    Receiver.objects.filter(
        retry_at__gt=Now(), subscriber__in=receivers.values("subscriber")
    ).update(retry_at=Now())
    waiting = Delivery.objects.filter(wanted, status=Delivery.Status.PENDING)
    # A leased one has no last_error: the lease erases it.
    retried = waiting.exclude(last_error="").update(next_attempt_at=Now())
    if include_dead:
        retried += Delivery.objects.filter(wanted, status=Delivery.Status.DEAD).update(
            status=Delivery.Status.PENDING, attempts=0, next_attempt_at=Now()
        )
    return retried


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
