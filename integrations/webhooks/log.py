"""The log of tries: what each endpoint was sent, and what it answered; kept for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models.functions import Now

from config.kernel import sql
from integrations.webhooks.models import WebhookAttempt, WebhookEndpoint
from orders.services import retention

if TYPE_CHECKING:
    from datetime import datetime

    from audit.models import OutboxMessage


def note(attempt: WebhookAttempt, *, is_failing: bool) -> None:
    """Keep what came of a try, and whether its endpoint takes anything at all.

    Args:
        is_failing: what the endpoint's row said before the try.
    """
    attempt.save(force_insert=True)
    endpoints = WebhookEndpoint.objects.filter(pk=attempt.endpoint_id)
    if attempt.outcome == WebhookAttempt.Outcome.FAILED:
        endpoints.filter(failing_since__isnull=True).update(failing_since=Now())
    elif is_failing:
        endpoints.update(failing_since=None)


def forget_answers(_message: OutboxMessage) -> str | None:
    """Blank whatever endpoints answered: it may name somebody who was erased. Repeatable."""
    blanked = WebhookAttempt.objects.exclude(excerpt="").update(excerpt="")
    return None if blanked else "nothing is kept of what endpoints answered"


def count_old(*, before: datetime) -> int:
    """How many tries `forget_old` would forget."""
    return WebhookAttempt.objects.filter(attempted_at__lt=before).count()


def forget_old(*, before: datetime, limit: int) -> int:
    """Forget tries from before then, the oldest first; one statement, which waits for nobody.

    Returns:
        How many.
    """
    return sql.execute(
        """
        DELETE FROM webhook_attempts WHERE id IN (
            SELECT id FROM webhook_attempts WHERE attempted_at < %(before)s
            ORDER BY attempted_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
        )
        """,
        before=before,
        limit=limit,
    )


POLICY = retention.Policy(
    table="webhook_attempts",
    what="tries to tell webhooks, with what they answered",
    setting="WEBHOOK_LOG_DAYS",
    count=lambda before: count_old(before=before),
    forget=lambda before: forget_old(before=before, limit=retention.BATCH),
)
