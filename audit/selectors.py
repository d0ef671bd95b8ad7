"""Reads the log and the outbox: what happened to an account, and what is waiting for how many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Count, Q
from django.db.models.functions import Now

from audit.models import AuditLog, Delivery, OutboxMessage
from config.kernel import sql

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from django.db.backends.utils import CursorWrapper

ACTIVITY: Final = ("created_at", "event_type", "ip_address", "user_agent")
WHEREFROM: Final = ("ip_address", "user_agent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What has not been delivered. `due` ones are part of the `waiting` ones."""

    unannounced: int
    due: int
    waiting: int
    dead: int


@dataclass(frozen=True, slots=True)
class ReceiverBacklog:
    """What one receiver has not been told. `lag`: seconds since the oldest of it was stated."""

    subscriber: str
    is_resting: bool
    is_paused: bool
    waiting: int
    lag: float
    dead: int


def get_backlog() -> Backlog:
    """Count what is left to deliver, by the database's clock."""
    waiting = Delivery.objects.filter(status=Delivery.Status.PENDING).aggregate(
        all=Count("pk"), due=Count("pk", filter=Q(next_attempt_at__lte=Now()))
    )
    return Backlog(
        unannounced=OutboxMessage.objects.filter(fanned_out_at__isnull=True).count(),
        due=waiting["due"],
        waiting=waiting["all"],
        dead=Delivery.objects.filter(status=Delivery.Status.DEAD).count(),
    )


BACKLOGS: Final = """
    SELECT receiver.subscriber, receiver.retry_at IS NOT NULL AS is_resting,
        receiver.paused_at IS NOT NULL AS is_paused,
        pending.number AS waiting, coalesce(pending.lag, 0)::float AS lag, dead.number AS dead
    FROM receivers AS receiver
    CROSS JOIN LATERAL (
        SELECT count(*) AS number, extract(epoch FROM statement_timestamp() - min(created_at))
            AS lag
        FROM deliveries WHERE subscriber = receiver.subscriber AND status = 'pending'
    ) AS pending
    CROSS JOIN LATERAL (
        SELECT count(*) AS number FROM deliveries
        WHERE subscriber = receiver.subscriber AND status = 'dead'
    ) AS dead
    ORDER BY receiver.subscriber
"""


def list_backlogs(cursor: CursorWrapper) -> list[ReceiverBacklog]:
    """How it stands with every receiver; three short looks at partial indexes for each."""
    cursor.execute(BACKLOGS)
    return [ReceiverBacklog(*row) for row in cursor.fetchall()]


def list_activity(*, customer_id: int) -> list[dict[str, Any]]:
    """What the log says of an account: when, what, and from where. Oldest first.

    Of what somebody else did to it, staff for one, it is not told from where: that is theirs.
    """
    rows = AuditLog.objects.filter(entity_type="customer", entity_id=customer_id)
    told = []
    for row in rows.order_by("created_at", "pk").values("user_id", *ACTIVITY):
        if row.pop("user_id") not in {None, customer_id}:
            row.update(dict.fromkeys(WHEREFROM))
        told.append(dict(row))
    return told


def rows_by_day(*, cuts: Sequence[datetime], begin: datetime, end: datetime) -> dict[int, int]:
    """How many rows of the log were written from `begin` on and before `end`, by day.

    Args:
        cuts: the instants at which the days begin, the first one being number 1.
    """
    found = sql.fetch(
        """
        SELECT width_bucket(created_at, %(cuts)s::timestamptz[]) AS nth, count(*) AS rows
        FROM audit_logs WHERE created_at >= %(begin)s AND created_at < %(end)s GROUP BY 1
        """,
        cuts=list(cuts),
        begin=begin,
        end=end,
    )
    return {row.nth: row.rows for row in found}
