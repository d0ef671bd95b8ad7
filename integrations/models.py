"""The tables of all parts, where Django looks for them."""

from integrations.fulfilment.models import ShippingLabel, TrackingEvent
from integrations.marketing.models import MarketingContact
from integrations.support.models import SupportTicket
from integrations.webhooks.models import (
    WebhookAttempt,
    WebhookEndpoint,
    WebhookReplay,
    WebhookSecret,
)

__all__ = [
    "MarketingContact",
    "ShippingLabel",
    "SupportTicket",
    "TrackingEvent",
    "WebhookAttempt",
    "WebhookEndpoint",
    "WebhookReplay",
    "WebhookSecret",
]
