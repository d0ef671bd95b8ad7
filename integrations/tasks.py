"""Celery's way into the integrations: thin, repeatable, limited in time."""

from __future__ import annotations

from typing import Any

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from integrations.marketing import refresh


@shared_task(soft_time_limit=3_000, time_limit=3_300, acks_late=False)
def refresh_segments(**_: Any) -> None:
    """Have the marketing tool told whose segment has changed; beat calls it each night."""
    if settings.MARKETING_BASE_URL:
        refresh.refresh_segments(now=timezone.now())
