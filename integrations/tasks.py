"""What beat and nudges have workers do for the integrations; each may be repeated at any time."""

from __future__ import annotations

from typing import Any, Final

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from config.kernel.clock import Deadline
from integrations.fulfilment import labels, tracking
from integrations.marketing import refresh

TRACKING_SECONDS: Final = 25.0  # others wait for the worker
LABELS_SECONDS: Final = 50.0
NUDGE_EXPIRES_SECONDS: Final = 5  # beat comes by anyway, and none must pile up


@shared_task(soft_time_limit=3_000, time_limit=3_300, acks_late=False)
def refresh_segments(**_: Any) -> None:
    """Have the marketing tool told whose segment has changed; beat calls it each night."""
    if settings.MARKETING_BASE_URL:
        refresh.refresh_segments(now=timezone.now())


@shared_task(soft_time_limit=90, time_limit=120, acks_late=False)
def work_off_tracking(**_: Any) -> None:
    """Move parcels by what carriers told; beat calls it every 15 seconds."""
    tracking.process_due(deadline=Deadline(TRACKING_SECONDS))


@shared_task(soft_time_limit=90, time_limit=120, acks_late=False)
def look_up_labels(**_: Any) -> None:
    """See what became of labels whose purchase has no known end; beat calls it every minute."""
    labels.look_up_open(deadline=Deadline(LABELS_SECONDS))


def nudge_tracking() -> None:
    """Ask the broker, once, to work off what came in; raises or blocks as the broker pleases."""
    work_off_tracking.apply_async(expires=NUDGE_EXPIRES_SECONDS, retry=False)
