"""The admin pages of all parts, where Django looks for them."""

from integrations.fulfilment import admin as fulfilment

__all__ = ["fulfilment"]
