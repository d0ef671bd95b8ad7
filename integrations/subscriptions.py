"""Who is told of what: the one list of subscribers to outbox facts."""

from __future__ import annotations

from audit import outbox
from customers import mail
from integrations.email import accounts, confirmation


def subscribe_all() -> None:
    """Enter every subscriber; repeating it changes nothing."""
    outbox.subscribe("order.confirmed", "email", confirmation.send)
    for fact in mail.FACTS:
        outbox.subscribe(fact, "email", accounts.send)
