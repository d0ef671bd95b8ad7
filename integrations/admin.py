"""The admin pages of all parts, where Django looks for them."""

from integrations.marketing import admin as marketing
from integrations.support import admin as support

__all__ = ["marketing", "support"]
