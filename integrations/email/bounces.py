"""Hears from the e-mail provider which mail came back, and who called a letter spam.

Anymail knows each provider's words. What they come to is kept by `customers.suppressions`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from anymail.exceptions import AnymailConfigurationError, AnymailWebhookValidationFailure
from anymail.signals import EventType, RejectReason
from anymail.webhooks.brevo import BrevoTrackingWebhookView
from anymail.webhooks.mailgun import MailgunTrackingWebhookView
from anymail.webhooks.postmark import PostmarkTrackingWebhookView
from django.conf import settings

from config.kernel.errors import NotFoundError, ValidationFailedError
from customers import suppressions
from customers.suppressions import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anymail.signals import AnymailTrackingEvent
    from anymail.webhooks.base import AnymailBaseWebhookView
    from django.http import HttpRequest

PROVIDERS: Final[Mapping[str, type[AnymailBaseWebhookView]]] = {
    "brevo": BrevoTrackingWebhookView,
    "mailgun": MailgunTrackingWebhookView,
    "postmark": PostmarkTrackingWebhookView,
}
GONE: Final = frozenset({RejectReason.BOUNCED, RejectReason.INVALID})
# A full mailbox is none that is gone. Anymail calls these bounces all the same.
SOFT: Final = ("soft_bounce", "SoftBounce")
# What anymail ends in over a body that is not what its provider sends.
UNREADABLE: Final = (
    *(AnymailConfigurationError, AttributeError, LookupError, TypeError, ValueError),
)


def receive(*, provider: str, request: HttpRequest) -> int:
    """Take what a provider tells, if it is ours and knows the secret. Repeating is harmless.

    Opens a transaction for each address that is suppressed.

    Args:
        provider: its name, as in `EMAIL_URL`.
        request: as it came in: the signature is over its very bytes.

    Returns:
        How many addresses are not written to because of it that were written to before.

    Raises:
        NotFoundError: the shop does not send by this provider, or has no secret with it.
        ValidationFailedError: it does not know the secret, or this is not its language.
    """
    if provider != settings.EMAIL_PROVIDER or not settings.EMAIL_WEBHOOK_SECRET:
        raise NotFoundError
    hook = PROVIDERS[provider]()
    try:
        hook.run_validators(request)
        events = hook.parse_events(request)
    except AnymailWebhookValidationFailure as exc:
        raise ValidationFailedError("The signature is not valid.") from exc
    except UNREADABLE as exc:
        raise ValidationFailedError("This is no event about a letter.") from exc
    return sum(_suppress(event, provider=provider) for event in events)


def _suppress(event: AnymailTrackingEvent, *, provider: str) -> bool:
    reason = _reason(event)
    if reason is None or not event.recipient:
        return False
    return suppressions.suppress(address=event.recipient, reason=reason, provider=provider)


def _reason(event: AnymailTrackingEvent) -> Reason | None:
    if event.event_type == EventType.COMPLAINED or event.reject_reason == RejectReason.SPAM:
        return Reason.COMPLAINED
    is_soft = any(event.esp_event.get(name) in SOFT for name in ("event", "Type"))
    is_refused = event.event_type in {EventType.BOUNCED, EventType.REJECTED}
    return Reason.BOUNCED if is_refused and event.reject_reason in GONE and not is_soft else None
