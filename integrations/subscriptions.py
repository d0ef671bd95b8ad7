"""Who is told of what: the one list of subscribers to outbox facts."""

from __future__ import annotations

from django.conf import settings

from audit import outbox
from audit.outbox import Measure
from customers import mail
from integrations.analytics import collecting
from integrations.crm import deliver
from integrations.email import (
    about_orders,
    accounts,
    back_in_stock,
    erasure,
    payment_link,
    repetition,
)
from integrations.fulfilment import labels, order_feed, tracking
from integrations.marketing import campaigns, contacts
from integrations.support import matters, tickets
from integrations.webhooks import delivery as webhooks
from integrations.webhooks import log as webhook_log
from orders.services import payment_links, stock_alerts
from orders.services.letters import RESEND


def subscribe_all() -> None:
    """Enter every subscriber; repeating it changes nothing."""
    outbox.measure("email", Measure(per_second=settings.EMAIL_PER_SECOND))
    outbox.measure("fulfilment", Measure(per_second=settings.FULFILMENT_PER_SECOND))
    for fact in about_orders.FACTS:
        outbox.subscribe(fact, "email", about_orders.send)
    outbox.subscribe(RESEND, "email", repetition.send)
    outbox.subscribe(payment_links.SEND, "email", payment_link.send)
    outbox.subscribe(stock_alerts.DUE, "email", back_in_stock.send)
    outbox.subscribe("customer.erased", "email", erasure.delete_letters)
    outbox.subscribe("order.erased", "email", erasure.delete_letters_of_order)
    outbox.subscribe("payment_link.erased", "email", erasure.delete_letters_of_link)
    outbox.subscribe("shipment.sent", "tracking", tracking.match)
    outbox.subscribe("order.erased", "labels", labels.forget_address)
    order_feed.subscribe()
    outbox.add_family(webhooks.FAMILY)
    for erased in ("customer.erased", "order.erased"):
        outbox.subscribe(erased, "webhook_log", webhook_log.forget_answers)
    for fact in mail.FACTS:
        outbox.subscribe(fact, "email", accounts.send)
    if settings.MARKETING_BASE_URL:
        outbox.measure(contacts.SUBSCRIBER, Measure(per_second=settings.MARKETING_PER_SECOND))
        for fact in contacts.FACTS:
            outbox.subscribe(fact, contacts.SUBSCRIBER, contacts.tell)
        outbox.subscribe("cart.abandoned", contacts.SUBSCRIBER, campaigns.trigger)
    if settings.SUPPORT_BASE_URL:
        outbox.measure("support", Measure(per_second=settings.SUPPORT_PER_SECOND))
        for fact in matters.FACTS:
            outbox.subscribe(fact, "support", tickets.tell)
        outbox.subscribe("order.erased", "support", tickets.erase)
    if settings.CRM_BASE_URL:
        outbox.measure(deliver.SUBSCRIBER, Measure(per_second=settings.CRM_PER_SECOND))
        for fact in deliver.FACTS:
            outbox.subscribe(fact, deliver.SUBSCRIBER, deliver.tell)
    if settings.ANALYTICS_BASE_URL:
        _subscribe_analytics()


def _subscribe_analytics() -> None:
    limits = Measure(per_second=settings.ANALYTICS_PER_SECOND, batch=settings.ANALYTICS_BATCH)
    if limits.batch > 1:
        outbox.subscribe_batch(
            collecting.FACTS, collecting.SUBSCRIBER, collecting.tell, measure=limits
        )
        return
    outbox.measure(collecting.SUBSCRIBER, limits)
    for fact in collecting.FACTS:
        outbox.subscribe(fact, collecting.SUBSCRIBER, collecting.tell_one)
