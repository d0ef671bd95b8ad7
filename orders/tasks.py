"""Celery's way into the sweeper."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from orders.services import recovery


@shared_task(soft_time_limit=90, time_limit=120)
def sweep(**_: Any) -> None:
    """Settle what is in doubt; beat calls it every 15 seconds."""
    recovery.sweep()
