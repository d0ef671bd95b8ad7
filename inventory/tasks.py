"""What Celery runs for the catalogue: thin, repeatable, limited in time."""

from __future__ import annotations

from typing import Any

from celery import shared_task
from django.utils import timezone

from inventory import scheduled_prices


@shared_task(ignore_result=True, soft_time_limit=25, time_limit=30)
def apply_scheduled_prices(**_: Any) -> None:
    """Begin and end the scheduled prices that are due; beat calls it every 10 seconds."""
    scheduled_prices.apply_due_prices(now=timezone.now())
