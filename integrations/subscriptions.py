"""Who is told of what: the one list of subscribers to outbox facts."""

from __future__ import annotations

from audit import outbox
from customers import mail
from integrations.email import accounts, confirmation, erasure


def subscribe_all() -> None:
    """Enter every subscriber; repeating it changes nothing."""
    outbox.subscribe("order.confirmed", "email", confirmation.send)
    outbox.subscribe("customer.erased", "email", erasure.delete_letters)
    outbox.subscribe("order.erased", "email", erasure.delete_letters_of_order)
    for fact in mail.FACTS:
        outbox.subscribe(fact, "email", accounts.send)
