"""Tells the buyer, by e-mail, that an order is confirmed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date
from babel.numbers import format_currency
from django.conf import settings

from integrations.email import letters
from orders import answers, selectors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date
    from decimal import Decimal

    from audit.models import OutboxMessage
    from orders.models import Order, OrderItem

ADDRESS_FIELDS = ("name", "line1", "line2", "city", "state", "postal_code", "country", "phone")


def send(message: OutboxMessage) -> str | None:
    """Send one confirmation; opens no transaction and must not be called inside one.

    Returns:
        Why nothing was sent, if nothing was.

    Raises:
        DeliveryFailedError: the mail server refused it; says its code, never the address.
    """
    order = selectors.get_order_and_buyer(order_id=message.payload["order_id"])
    recipient = selectors.address_of_buyer(order)
    if not letters.is_deliverable(recipient):
        return "not sent: no address left to send it to"
    return letters.send_about_order(
        order_id=order.pk,
        recipient=recipient,
        subject=f"Order {order.order_number} confirmed",
        template="order_confirmed",
        context=_context(order, selectors.list_items(order_id=order.pk)),
        message=message,
    )


def _context(order: Order, items: Sequence[OrderItem]) -> dict[str, Any]:
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
        "order_page": _page_of(order),
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
            for item in items
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


def _page_of(order: Order) -> str:
    """Where the buyer sees the order; a guest is let in by the link alone."""
    page = f"{settings.PUBLIC_URL}/orders/{order.order_number}"
    return page if order.customer_id else f"{page}?token={answers.guest_token(order)}"


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
