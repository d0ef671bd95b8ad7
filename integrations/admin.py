"""The admin pages of all parts, where Django looks for them."""

from integrations.webhooks import admin as webhooks

__all__ = ["webhooks"]
