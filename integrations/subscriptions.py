"""Who is told of what: the one list of subscribers to outbox facts."""

from __future__ import annotations

from audit import outbox
from customers import mail
from integrations.email import accounts, confirmation, erasure, payment_link, repetition
from integrations.webhooks import delivery as webhooks
from integrations.webhooks import log as webhook_log
from orders.services import payment_links
from orders.services.letters import RESEND


def subscribe_all() -> None:
    """Enter every subscriber; repeating it changes nothing."""
    outbox.subscribe("order.confirmed", "email", confirmation.send)
    outbox.subscribe(RESEND, "email", repetition.send)
    outbox.subscribe(payment_links.SEND, "email", payment_link.send)
    outbox.subscribe("customer.erased", "email", erasure.delete_letters)
    outbox.subscribe("order.erased", "email", erasure.delete_letters_of_order)
    outbox.subscribe("payment_link.erased", "email", erasure.delete_letters_of_link)
    outbox.add_family(webhooks.FAMILY)
    for erased in ("customer.erased", "order.erased"):
        outbox.subscribe(erased, "webhook_log", webhook_log.forget_answers)
    for fact in mail.FACTS:
        outbox.subscribe(fact, "email", accounts.send)
