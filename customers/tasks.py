"""What Celery runs for accounts: thin, repeatable, limited in time."""

from __future__ import annotations

from typing import Any, Final

from celery import shared_task
from django.utils import timezone

from customers import services

SESSIONS_AT_ONCE: Final = 500


@shared_task(soft_time_limit=280, time_limit=300, acks_late=False)
def forget_dead_sessions(**_: Any) -> None:
    """Delete sessions that are over; beat calls it every hour."""
    now = timezone.now()
    while services.forget_dead_sessions(now=now, limit=SESSIONS_AT_ONCE) == SESSIONS_AT_ONCE:
        pass
