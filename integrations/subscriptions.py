"""Who is told of what: the one list of subscribers to outbox facts."""

from __future__ import annotations

from audit import outbox
from integrations.email import confirmation


def subscribe_all() -> None:
    """Enter every subscriber; repeating it changes nothing."""
    outbox.subscribe("order.confirmed", "email", confirmation.send)
