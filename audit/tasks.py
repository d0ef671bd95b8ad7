"""What Celery runs for the outbox and the audit log: thin, repeatable, limited in time."""

from __future__ import annotations

from typing import Any

from celery import shared_task
from django.db import connection

from audit import outbox
from config.kernel.clock import Deadline

RELAY_SECONDS = 10.0
"""After this a run begins no other hand-over: the sweeper shares the workers with the relay."""
NUDGE_EXPIRES_SECONDS = 5
"""A nudge older than this is worth nothing: beat's relay comes by, and none must pile up."""
MONTHS_AHEAD = 3


@shared_task(name="audit.tasks.relay", ignore_result=True, soft_time_limit=35, time_limit=45)
def relay(**_: Any) -> None:
    """Deliver what is due."""
    outbox.relay(deadline=Deadline(RELAY_SECONDS))


@shared_task(
    name="audit.tasks.extend_partitions", ignore_result=True, soft_time_limit=30, time_limit=60
)
def extend_partitions(**_: Any) -> None:
    """Make the audit log's partitions for this month and the next ones; idempotent."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT audit_make_partition((now() + make_interval(months => ahead))::date)"
            " FROM generate_series(0, %s) AS ahead",
            [MONTHS_AHEAD],
        )


def nudge_relay() -> None:
    """Ask the broker, once, for a run of the relay; raises or blocks as the broker pleases."""
    relay.apply_async(expires=NUDGE_EXPIRES_SECONDS, retry=False)
