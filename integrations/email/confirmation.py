"""Tells the buyer, by e-mail, that an order is confirmed."""

from __future__ import annotations

import smtplib
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date
from babel.numbers import format_currency
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.mail import EmailMultiAlternatives
from django.core.validators import validate_email
from django.template.loader import render_to_string

from audit.outbox import DeliveryFailedError
from orders.models import Order

if TYPE_CHECKING:
    import uuid
    from collections.abc import Mapping
    from datetime import date
    from decimal import Decimal

    from audit.models import OutboxMessage

# RFC 2606: no mail ever goes to this domain; an erased account's address ends in it.
UNDELIVERABLE_DOMAIN = ".invalid"
ADDRESS_FIELDS = ("name", "line1", "line2", "city", "state", "postal_code", "country", "phone")


def send(message: OutboxMessage) -> str | None:
    """Send one confirmation; opens no transaction and must not be called inside one.

    The `Message-ID` is made from the message's uuid, so that a repetition (the relay died after
    sending, before noting it) can be recognised as the same e-mail.

    Returns:
        Why nothing was sent, if nothing was.

    Raises:
        DeliveryFailedError: the mail server refused it; says its code, never the address.
    """
    order = (
        Order.objects.select_related("customer")
        .prefetch_related("items")
        .get(pk=message.payload["order_id"])
    )
    recipient = _recipient(order)
    if recipient is None:
        return "not sent: no address left to send it to"
    email = _compose(order, recipient=recipient, message_uuid=message.uuid)
    try:
        email.send()
    except smtplib.SMTPRecipientsRefused as exc:
        codes = sorted({code for code, _ in exc.recipients.values()})
        raise DeliveryFailedError(f"recipient refused: SMTP {codes}") from exc
    except smtplib.SMTPResponseException as exc:
        raise DeliveryFailedError(f"{type(exc).__name__}: SMTP {exc.smtp_code}") from exc
    return None


def _recipient(order: Order) -> str | None:
    address = order.customer.email if order.customer else (order.guest_email or "")
    try:
        validate_email(address)
    except ValidationError:
        return None
    return None if address.endswith(UNDELIVERABLE_DOMAIN) else address


def _compose(order: Order, *, recipient: str, message_uuid: uuid.UUID) -> EmailMultiAlternatives:
    context = _context(order)
    email = EmailMultiAlternatives(
        subject=f"Order {order.order_number} confirmed",
        body=render_to_string("email/order_confirmed.txt", context),
        from_email=settings.DEFAULT_FROM_EMAIL,
        to=[recipient],
        headers={
            "Message-ID": f"<{message_uuid}@{_message_id_domain()}>",
            "Auto-Submitted": "auto-generated",  # RFC 3834: no out-of-office answers, please
        },
    )
    email.attach_alternative(render_to_string("email/order_confirmed.html", context), "text/html")
    return email


def _message_id_domain() -> str:
    host = urlsplit(settings.PUBLIC_URL).hostname or "orderkeep"
    try:
        address = ip_address(host)
    except ValueError:
        return host
    return f"[IPv6:{address}]" if address.version == 6 else f"[{address}]"  # noqa: PLR2004 - RFC 5322 domain literal


def _context(order: Order) -> dict[str, Any]:
    """Everything the templates show, as text in the shop's language, one line a piece."""
    locale = Locale.parse(settings.LANGUAGE_CODE, sep="-")

    def money(amount: Decimal) -> str:
        return format_currency(amount, order.currency, locale=locale)

    def day(value: date) -> str:
        return format_date(value, format="full", locale=locale)

    placed_at = order.created_at.astimezone(ZoneInfo(settings.SHOP_TIME_ZONE))
    return {
        "language": locale.language,
        "order_number": order.order_number,
        "first_name": _one_line(
            order.customer.first_name if order.customer else order.guest_first_name
        ),
        "placed_on": day(placed_at.date()),
        "items": [
            {
                "name": _one_line(item.product_name),
                "sku": item.product_sku,
                "quantity": item.quantity,
                "unit_price": money(item.unit_price),
                "total_price": money(item.total_price),
            }
            for item in sorted(order.items.all(), key=lambda item: item.pk)
        ],
        "amounts": [
            ("Subtotal", money(order.subtotal)),
            *([("Discount", money(-order.discount_amount))] if order.discount_amount else []),
            ("Shipping", money(order.shipping_amount)),
            ("Tax included" if order.tax_included else "Tax", money(order.tax_amount)),
        ],
        "total": money(order.total_amount),
        "estimated_delivery": day(order.estimated_delivery) if order.estimated_delivery else "",
        "addresses": [
            (title, lines)
            for title, address in (
                ("Shipping address", order.shipping_address),
                ("Billing address", order.billing_address),
            )
            if (lines := _address_lines(address, locale=locale))
        ],
    }


def _address_lines(address: Mapping[str, Any], *, locale: Locale) -> list[str]:
    part = {name: _one_line(address.get(name) or "") for name in ADDRESS_FIELDS}
    lines = [
        part["name"],
        part["line1"],
        part["line2"],
        " ".join(filter(None, [part["city"], part["state"], part["postal_code"]])),
        locale.territories.get(part["country"], part["country"]),
        part["phone"],
    ]
    return [line for line in lines if line]


def _one_line(text: str) -> str:
    """A name with a line break in it must not write lines of its own into the letter."""
    return " ".join(str(text).split())
