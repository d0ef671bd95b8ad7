"""The tables of all parts, where Django looks for them."""

from integrations.fulfilment.models import ShippingLabel, TrackingEvent
from integrations.marketing.models import MarketingContact
from integrations.support.models import SupportTicket

__all__ = ["MarketingContact", "ShippingLabel", "SupportTicket", "TrackingEvent"]
