"""What several letters about orders say alike: lines, amounts, addresses, and where to look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils.translation import gettext as _

from integrations.email.content import Line, one_line
from orders import answers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from integrations.email.reader import Reader
    from orders.models import Order, OrderItem

ADDRESS_FIELDS = ("name", "line1", "line2", "city", "state", "postal_code", "country", "phone")


def name_of_buyer(order: Order) -> str:
    """How the buyer is greeted, by the order's customer at hand."""
    return one_line(order.customer.first_name if order.customer else order.guest_first_name)


def page_of(order: Order) -> str:
    """Where the buyer sees the order; a guest is let in by the link alone."""
    page = f"{settings.PUBLIC_URL}/orders/{order.order_number}"
    return page if order.customer_id else f"{page}?token={answers.guest_token(order)}"


def priced_lines(items: Iterable[OrderItem], *, currency: str, reader: Reader) -> list[Line]:
    """What was ordered, and what it costs."""
    return [
        Line(
            name=one_line(item.product_name),
            sku=item.product_sku,
            units=f"{item.quantity} × {reader.money(item.unit_price, currency)}",
            amount=reader.money(item.total_price, currency),
        )
        for item in items
    ]


def counted_lines(units: Iterable[tuple[OrderItem, int]]) -> list[Line]:
    """What is in a parcel, or comes back: how many of what."""
    return [
        Line(name=one_line(item.product_name), sku=item.product_sku, amount=f"× {quantity}")
        for item, quantity in units
        if quantity
    ]


def amounts_of(order: Order, *, reader: Reader) -> list[tuple[str, str]]:
    """How the total comes about."""
    amounts = [(_("Subtotal"), order.subtotal)]
    if order.discount_amount:
        amounts.append((_("Discount"), -order.discount_amount))
    amounts.append((_("Shipping"), order.shipping_amount))
    amounts.append((_("Tax included") if order.tax_included else _("Tax"), order.tax_amount))
    return [(label, reader.money(amount, order.currency)) for label, amount in amounts]


def addresses_of(order: Order, *, reader: Reader) -> list[tuple[str, list[str]]]:
    """Where it goes, and to whom it is billed."""
    return [
        (title, lines)
        for title, address in (
            (_("Shipping address"), order.shipping_address),
            (_("Billing address"), order.billing_address),
        )
        if (lines := _address_lines(address, reader=reader))
    ]


def _address_lines(address: Mapping[str, Any], *, reader: Reader) -> list[str]:
    part = {name: one_line(address.get(name) or "") for name in ADDRESS_FIELDS}
    lines = [
        part["name"],
        part["line1"],
        part["line2"],
        " ".join(filter(None, [part["city"], part["state"], part["postal_code"]])),
        reader.country(part["country"]),
        part["phone"],
    ]
    return [line for line in lines if line]
