"""Hands an event over to a merchant's system: one signed POST, and what its answer means."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import orjson
from django.conf import settings
from django.utils import timezone

from audit.models import Delivery
from audit.outbox import (
    DeliveryFailedError,
    Family,
    Measure,
    ReceiverAwayError,
    RejectedError,
)
from config.kernel.clock import Deadline
from config.kernel.dialling import ForbiddenAddressError
from config.kernel.transport import NoAnswerError, Transport
from integrations.rest import AWAY, seconds_asked_for, trusted_authorities
from integrations.webhooks import addresses, events, log, services, signing
from integrations.webhooks.models import LONGEST_EXCERPT, WebhookAttempt, WebhookEndpoint

if TYPE_CHECKING:
    from datetime import timedelta

    from audit.models import OutboxMessage
    from config.kernel.dialling import PublicDial
    from config.kernel.transport import Response

PREFIX: Final = "webhook:"
CALL_SECONDS: Final = 8.0
USER_AGENT: Final = "Orderkeep-Webhooks/1"
GONE: Final = 410
MEASURE: Final = Measure(per_second=50, at_once=4)
"""Somebody's own system, which has other work: a replay must not bring it down."""
_READ_FOR_EXCERPT: Final = 4_096


def wanted() -> list[tuple[str, str]]:
    """Every enabled endpoint with each of its events; and all of them with their own tests."""
    pairs = []
    for endpoint in WebhookEndpoint.objects.only("pk", "status", "events").order_by("pk"):
        pairs.append((events.test_fact(endpoint.pk), endpoint.subscriber))
        if endpoint.status == WebhookEndpoint.Status.ENABLED:
            pairs += [(kind, endpoint.subscriber) for kind in endpoint.events]
    return pairs


def tell(subscriber: str, message: OutboxMessage) -> str | None:
    """Send one event to one endpoint; the relay's handler. Must not be called in a transaction.

    Any 2xx is a yes. 410 disables the endpoint, and so does taking nothing for
    `WEBHOOK_FAILING_DAYS`; all else is tried again.

    Returns:
        Why nothing was sent, if so.

    Raises:
        DeliveryFailedError: it was not taken; what kind of it says how to go on.
    """
    endpoint = _endpoint(subscriber)
    if events.kind_of(message.fact) != events.TEST:
        if endpoint.status == WebhookEndpoint.Status.DISABLED:
            return "not sent: the endpoint is disabled"
        if message.fact not in endpoint.events:
            return "not sent: the endpoint wants this kind no more"
    content = events.envelope(message)
    if content is None:
        return "not sent: what it is about is gone"
    secrets = signing.valid_secrets(endpoint_id=endpoint.pk)
    if not secrets:
        raise DeliveryFailedError("it has no secret to sign with: give it one")
    _post(endpoint, message, orjson.dumps(content), secrets)
    return None


FAMILY: Final = Family(prefix=PREFIX, wanted=wanted, tell=tell, measure=MEASURE)


def _endpoint(subscriber: str) -> WebhookEndpoint:
    number = subscriber.removeprefix(PREFIX)
    found = WebhookEndpoint.objects.filter(pk=number).first() if number.isdigit() else None
    if found is None:
        raise RejectedError("there is no such endpoint")
    return found


def _post(
    endpoint: WebhookEndpoint, message: OutboxMessage, body: bytes, secrets: list[bytes]
) -> None:
    """One request, and its row in the log."""
    headers = {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "Idempotency-Key": str(message.uuid),
        "Orderkeep-Payload-Version": events.PAYLOAD_VERSION,
        **signing.headers(
            message_id=message.uuid, timestamp=int(time.time()), body=body, secrets=secrets
        ),
    }
    began = time.monotonic()
    response: Response | None = None
    problem: DeliveryFailedError | None = None
    try:
        response = _transport(addresses.dial_for(urlsplit(endpoint.url).scheme)).exchange(
            "POST", endpoint.url, headers=headers, body=body, deadline=Deadline(CALL_SECONDS)
        )
        problem = _problem_of(response)
    except NoAnswerError as exc:
        problem = _without_answer(exc)
    log.note(
        WebhookAttempt(
            endpoint=endpoint,
            delivery_id=_delivery_id(endpoint, message),
            message_uuid=message.uuid,
            event=events.kind_of(message.fact),
            outcome=WebhookAttempt.Outcome.FAILED if problem else WebhookAttempt.Outcome.DELIVERED,
            http_status=response.status if response else None,
            duration_ms=round((time.monotonic() - began) * 1_000),
            error=str(problem or ""),
            excerpt=excerpt(response.body) if problem and response else "",
        ),
        is_failing=endpoint.failing_since is not None,
    )
    if problem is not None:
        raise _final_or(problem, endpoint, response)


def _problem_of(response: Response) -> DeliveryFailedError | None:
    """Why an answer is none that we hoped for; its words stay in the log of tries."""
    status = response.status
    if 200 <= status < 300:  # noqa: PLR2004 - HTTP's success
        return None
    if 300 <= status < 400:  # noqa: PLR2004 - HTTP's redirections
        return DeliveryFailedError(
            f"answered {status}, which leads elsewhere: that is not followed, enter the URL itself"
        )
    if status in AWAY or status >= 500:  # noqa: PLR2004 - HTTP's server errors
        return ReceiverAwayError(f"answered {status}", retry_after=seconds_asked_for(response))
    return DeliveryFailedError(f"answered {status}")


def _without_answer(failure: NoAnswerError) -> DeliveryFailedError:
    if isinstance(failure.__cause__, ForbiddenAddressError):
        return ReceiverAwayError("its name leads to an address that is not allowed: nothing sent")
    return ReceiverAwayError(f"gave no whole answer: {failure}")


def _final_or(
    problem: DeliveryFailedError, endpoint: WebhookEndpoint, response: Response | None
) -> DeliveryFailedError:
    """The problem, or that this was the last one: then the endpoint is disabled."""
    because = ""
    if response is not None and response.status == GONE:
        because = "it answered 410 Gone"
    elif _failing_for(endpoint).days >= settings.WEBHOOK_FAILING_DAYS:
        because = f"it has taken nothing for {settings.WEBHOOK_FAILING_DAYS} days"
    if because and services.disable(endpoint_id=endpoint.pk, because=because):
        return RejectedError(f"{because}: the endpoint is disabled")
    return problem


def _failing_for(endpoint: WebhookEndpoint) -> timedelta:
    now = timezone.now()
    return now - (endpoint.failing_since or now)


def _delivery_id(endpoint: WebhookEndpoint, message: OutboxMessage) -> int:
    found = Delivery.objects.filter(message=message, subscriber=endpoint.subscriber)
    return found.values_list("pk", flat=True).get()


@functools.lru_cache
def _transport(dial: PublicDial) -> Transport:
    return Transport(ca_file=trusted_authorities(), dial=dial)


def excerpt(body: bytes) -> str:
    """What an answer begins with, as plain words: no control or direction characters, no NUL."""
    text = body[:_READ_FOR_EXCERPT].decode("utf-8", errors="replace")
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(shown.split())[:LONGEST_EXCERPT]
