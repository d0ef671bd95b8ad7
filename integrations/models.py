"""The tables of all parts, where Django looks for them."""

from integrations.fulfilment.models import ShippingLabel, TrackingEvent

__all__ = ["ShippingLabel", "TrackingEvent"]
