"""The tables of all parts, where Django looks for them."""

from integrations.fulfilment.models import TrackingEvent

__all__ = ["TrackingEvent"]
