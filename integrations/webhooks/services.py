"""What is done to webhook endpoints: secrets, on and off, tests, and everything once more."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.db.models import Min
from django.db.models.functions import Now
from django.utils import timezone

from audit import outbox
from audit import services as audit
from audit.models import Delivery, OutboxMessage
from config.kernel import sql
from config.kernel.db import short_transaction
from config.kernel.errors import InvalidTransitionError, ValidationFailedError
from config.kernel.models import new_uuid
from integrations.webhooks import events, signing
from integrations.webhooks.models import WebhookEndpoint, WebhookReplay, WebhookSecret

if TYPE_CHECKING:
    from datetime import datetime

OVERLAP: Final = timedelta(hours=24)
"""So long the former secret signs, too: time to bring the new one to where it is checked."""
REPLAYED_AT_ONCE: Final = 10_000
"""Events of one replay: one statement, a fraction of a second."""
UNDER_WAY: Final = timedelta(minutes=10)
"""Longer than any transaction: what is not to be seen yet was stated no earlier."""
ENTITY: Final = "webhook_endpoint"

# What waits for its next try is due now, too; what is on its way (leased, or not tried yet: it has
# no error) is left to it.
_REPLAY: Final = """
    WITH chosen AS MATERIALIZED (
        SELECT id, aggregate_type, aggregate_id,
            statement_timestamp() + row_number() OVER (ORDER BY id) * interval '1 microsecond'
                AS due_at
        FROM outbox_messages
        WHERE fact = ANY (%(facts)s) AND fanned_out_at IS NOT NULL
            AND occurred_at >= %(since)s AND occurred_at < %(until)s
    ), held AS MATERIALIZED (
        SELECT deliveries.id, chosen.due_at
        FROM deliveries JOIN chosen ON chosen.id = deliveries.message_id
        WHERE subscriber = %(subscriber)s
            AND CASE status
                WHEN 'pending' THEN last_error <> ''
                WHEN 'delivered' THEN last_error <> '' OR NOT %(missed_alone)s
                ELSE true
            END
        ORDER BY deliveries.id FOR NO KEY UPDATE OF deliveries
    ), again AS (
        UPDATE deliveries SET status = 'pending', attempts = 0, last_error = '',
            delivered_at = NULL, next_attempt_at = held.due_at
        FROM held WHERE deliveries.id = held.id
    )
    INSERT INTO deliveries
        (message_id, subscriber, aggregate_type, aggregate_id, next_attempt_at)
    SELECT id, %(subscriber)s, aggregate_type, aggregate_id, due_at FROM chosen ORDER BY id
    ON CONFLICT DO NOTHING
"""
_COUNT: Final = """
    SELECT count(*) FROM outbox_messages
    WHERE fact = ANY (%(facts)s) AND fanned_out_at IS NOT NULL
        AND occurred_at >= %(since)s AND occurred_at < %(until)s
"""
_SEND_AGAIN: Final = """
    UPDATE deliveries SET status = 'pending', attempts = 0, last_error = '', delivered_at = NULL,
        next_attempt_at = statement_timestamp()
    WHERE id = %(id)s AND status <> 'pending' AND subscriber LIKE 'webhook:%%'
"""


class TooManyEventsError(ValidationFailedError):
    """More than one replay takes; the message says how many, and what to do."""


def give_secret(
    *, endpoint_id: int, request_key: str, user_id: int, old_ends_now: bool = False
) -> str:
    """Make a new secret for an endpoint and tell it, once; the former signs for 24 hours more.

    Opens its own transaction. The same request again is the same secret.

    Args:
        old_ends_now: the former has leaked: it and those before sign nothing more.

    Returns:
        `whsec_…`; nothing that we keep tells it without our key.

    Raises:
        InvalidTransitionError: the page was sent before, and another secret was made since.
    """
    with short_transaction():
        _lock(endpoint_id)
        secrets = WebhookSecret.objects.filter(endpoint_id=endpoint_id)
        made = secrets.filter(request_key=request_key).first()
        if made is not None:
            if made.expires_at is not None:
                raise InvalidTransitionError("Another secret was made since; make a new one.")
            return signing.shown(made)
        secrets.filter(expires_at__isnull=True).update(expires_at=Now() + OVERLAP)
        if old_ends_now:
            secrets.filter(expires_at__gt=Now()).update(expires_at=Now())
        secret = WebhookSecret.objects.create(
            endpoint_id=endpoint_id,
            nonce=new_uuid(),
            key_id=signing.key_id(settings.WEBHOOK_KEY),
            request_key=request_key,
            created_by_id=user_id,
        )
        _record("WEBHOOK_SECRET_MADE", endpoint_id, secret=secret.pk, old_ends_now=old_ends_now)
    return signing.shown(secret)


def enable(*, endpoint_id: int, request_key: str, user_id: int, send_missed: bool) -> int:
    """Tell an endpoint of events from now on; opens its own transaction, repeating is harmless.

    Args:
        send_missed: also those that it missed while it was disabled, and what waited then.

    Returns:
        How many of those are sent.

    Raises:
        InvalidTransitionError: it has no secret that could sign.
        TooManyEventsError: it missed more than one replay takes; nothing was changed.
    """
    with short_transaction():
        endpoint = _lock(endpoint_id)
        if endpoint.status == WebhookEndpoint.Status.ENABLED:
            return 0
        if not signing.valid_secrets(endpoint_id=endpoint_id):
            raise InvalidTransitionError("Give it a secret first: without one nothing is sent.")
        missed_since = endpoint.missed_since
        WebhookEndpoint.objects.filter(pk=endpoint_id).update(
            status=WebhookEndpoint.Status.ENABLED,
            disabled_because="",
            missed_since=None,
            failing_since=None,
        )
        sent = 0
        if send_missed and missed_since is not None:
            sent = _replay(
                endpoint,
                since=missed_since,
                until=timezone.now(),
                request_key=request_key,
                user_id=user_id,
                missed_alone=True,
            ).events
        _record("WEBHOOK_ENDPOINT_ENABLED", endpoint_id, sent=sent)
    return sent


def disable(*, endpoint_id: int, because: str) -> bool:
    """Tell an endpoint nothing more; what waits for it is passed over, and noted as missed.

    Opens its own transaction; repeating changes nothing.

    Args:
        because: for staff; nothing of a person, and nothing that the endpoint has said.

    Returns:
        Whether it was enabled.
    """
    with short_transaction():
        endpoint = _lock(endpoint_id)
        if endpoint.status == WebhookEndpoint.Status.DISABLED:
            return False
        WebhookEndpoint.objects.filter(pk=endpoint_id).update(
            status=WebhookEndpoint.Status.DISABLED,
            disabled_because=because,
            missed_since=_misses_since(endpoint),
        )
        _record("WEBHOOK_ENDPOINT_DISABLED", endpoint_id, because=because)
    return True


def send_test(*, endpoint_id: int, request_key: str) -> None:
    """Have a test event sent to an endpoint, enabled or not; as all events, by the relay.

    Opens its own transaction. The same request again sends no other.

    Raises:
        InvalidTransitionError: it has no secret that could sign.
    """
    with short_transaction():
        _lock(endpoint_id)
        if not signing.valid_secrets(endpoint_id=endpoint_id):
            raise InvalidTransitionError("Give it a secret first: without one nothing is sent.")
        fact = events.test_fact(endpoint_id)
        dedupe_key = f"{fact}.{request_key}"
        if not OutboxMessage.objects.filter(dedupe_key=dedupe_key).exists():
            audit.publish(
                fact,
                aggregate_type=ENTITY,
                aggregate_id=endpoint_id,
                dedupe_key=dedupe_key,
                payload={"endpoint_id": endpoint_id},
            )


def send_again(*, delivery_id: int) -> None:
    """Send one event to its endpoint once more, with the same `webhook-id`; audited.

    Opens its own transaction.

    Raises:
        InvalidTransitionError: it is on its way already, or is for no webhook.
    """
    with short_transaction():
        if not sql.execute(_SEND_AGAIN, id=delivery_id):
            raise InvalidTransitionError("It is on its way already, or is for no webhook.")
        audit.record("WEBHOOK_SENT_AGAIN", entity_type="delivery", entity_id=delivery_id)
        outbox.nudge_on_commit()


def replay(
    *,
    endpoint_id: int,
    since: datetime,
    until: datetime | None,
    request_key: str,
    user_id: int,
) -> WebhookReplay:
    """Send everything of a span that an endpoint wants, whether it was delivered before or not.

    Opens its own transaction. The same request again is the same replay. What is on its way is
    left to it.

    Args:
        since: inclusive.
        until: exclusive; None: up to now.

    Raises:
        InvalidTransitionError: the endpoint is disabled.
        TooManyEventsError: more than `REPLAYED_AT_ONCE`; nothing was changed.
        ValidationFailedError: the span is empty, or begins before what is kept.
    """
    now = timezone.now()
    until = min(until or now, now)
    if since >= until:
        raise ValidationFailedError("It must begin before it ends, and in the past.")
    if since < now - timedelta(days=settings.OUTBOX_DAYS):
        raise ValidationFailedError(
            f"Events are kept for {settings.OUTBOX_DAYS} days; begin no earlier."
        )
    with short_transaction():
        endpoint = _lock(endpoint_id)
        made = WebhookReplay.objects.filter(endpoint=endpoint, request_key=request_key).first()
        if made is not None:
            return made
        if endpoint.status != WebhookEndpoint.Status.ENABLED:
            raise InvalidTransitionError("Enable it first: a disabled endpoint is sent nothing.")
        return _replay(
            endpoint,
            since=since,
            until=until,
            request_key=request_key,
            user_id=user_id,
            missed_alone=False,
        )


# --- shared -----------------------------------------------------------------------------------


def _replay(
    endpoint: WebhookEndpoint,
    *,
    since: datetime,
    until: datetime,
    request_key: str,
    user_id: int,
    missed_alone: bool,
) -> WebhookReplay:
    """Requires a transaction and the endpoint's lock.

    Args:
        missed_alone: what was delivered is not sent again; a note says of the rest that it was not.
    """
    span = {"facts": endpoint.events, "since": since, "until": until}
    count = sql.count(_COUNT, **span)
    if count > REPLAYED_AT_ONCE:
        raise TooManyEventsError(
            f"These are {count:,} events; at most {REPLAYED_AT_ONCE:,} are sent again at once:"
            " choose a shorter span, then the next one."
        )
    sql.execute(_REPLAY, subscriber=endpoint.subscriber, missed_alone=missed_alone, **span)
    made = WebhookReplay.objects.create(
        endpoint=endpoint,
        since=since,
        until=until,
        events=count,
        request_key=request_key,
        created_by_id=user_id,
    )
    _record(
        "WEBHOOK_REPLAYED",
        endpoint.pk,
        replay=made.pk,
        events=count,
        since=since.isoformat(),
        until=until.isoformat(),
    )
    outbox.nudge_on_commit()
    return made


def _misses_since(endpoint: WebhookEndpoint) -> datetime:
    """Before what is not delivered to it: by those that wait, or are not even fanned out."""
    waiting = OutboxMessage.objects.filter(
        deliveries__subscriber=endpoint.subscriber, deliveries__status=Delivery.Status.PENDING
    )
    unannounced = OutboxMessage.objects.filter(fanned_out_at__isnull=True)
    since = timezone.now()
    for rows in (waiting, unannounced):
        since = min(since, rows.aggregate(since=Min("occurred_at"))["since"] or since)
    return since - UNDER_WAY


def _lock(endpoint_id: int) -> WebhookEndpoint:
    return WebhookEndpoint.objects.select_for_update(no_key=True).get(pk=endpoint_id)


def _record(event_type: str, endpoint_id: int, **data: Any) -> None:
    audit.record(event_type, entity_type=ENTITY, entity_id=endpoint_id, data=data)
