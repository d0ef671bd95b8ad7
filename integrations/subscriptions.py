"""Who is told of what: the one list of subscribers to outbox facts."""

from __future__ import annotations

from audit import outbox
from customers import mail
from integrations.email import (
    about_orders,
    accounts,
    back_in_stock,
    erasure,
    payment_link,
    repetition,
)
from orders.services import payment_links, stock_alerts
from orders.services.letters import RESEND


def subscribe_all() -> None:
    """Enter every subscriber; repeating it changes nothing."""
    for fact in about_orders.FACTS:
        outbox.subscribe(fact, "email", about_orders.send)
    outbox.subscribe(RESEND, "email", repetition.send)
    outbox.subscribe(payment_links.SEND, "email", payment_link.send)
    outbox.subscribe(stock_alerts.DUE, "email", back_in_stock.send)
    outbox.subscribe("customer.erased", "email", erasure.delete_letters)
    outbox.subscribe("order.erased", "email", erasure.delete_letters_of_order)
    outbox.subscribe("payment_link.erased", "email", erasure.delete_letters_of_link)
    for fact in mail.FACTS:
        outbox.subscribe(fact, "email", accounts.send)
