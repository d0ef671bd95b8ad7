"""The tables of all parts, where Django looks for them."""

from integrations.webhooks.models import (
    WebhookAttempt,
    WebhookEndpoint,
    WebhookReplay,
    WebhookSecret,
)

__all__ = ["WebhookAttempt", "WebhookEndpoint", "WebhookReplay", "WebhookSecret"]
