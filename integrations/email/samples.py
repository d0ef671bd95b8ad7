"""Every letter of the shop with made-up particulars, or with those of an order: to be looked at.

Nothing here is sent, and nothing is written down.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from django.conf import settings

from customers.models import Customer
from integrations.email import about_orders, accounts, back_in_stock, payment_link
from integrations.email.about_orders import Occasion
from integrations.email.reader import Reader
from inventory.models import Product
from orders import selectors
from orders.models import Order, OrderItem, Shipment
from orders.services.payment_links import SEND
from orders.services.stock_alerts import DUE
from orders.services.waiting_payments import ACTION_NEEDED

if TYPE_CHECKING:
    from integrations.email.content import Letter

LETTERS: Final = (*about_orders.LETTERS, *accounts.NOTICES, SEND, DUE)
"""All of them, by name."""

PLACED_AT: Final = datetime(2026, 5, 4, 15, 0, tzinfo=UTC)
A_LINK: Final = "{shop}/account/example/Mg:1vTxyz:f7Qd0rJ2n9sK4wLbYc8uXeHaPzV5mTgE1iRo6jBqN3k"
KETTLE: Final = "Kettle with a whistle, brushed stainless steel, 1 litre"
REFUSAL: Final = "The seal of the box is broken."
ADDRESS: Final = {
    "name": "Ann Lee",
    "line1": "1 Main Street",
    "line2": "Apartment 4",
    "city": "Springfield",
    "state": "IL",
    "postal_code": "62701",
    "country": "US",
    "phone": "+1 217 555 0100",
}


def compose(name: str, *, reader: Reader, occasion: Occasion | None = None) -> Letter:
    """One of `LETTERS`, in the reader's language.

    Args:
        occasion: of an order; None: a made-up one. Letters about accounts need none.
    """
    if name in about_orders.LETTERS:
        return about_orders.compose(name, occasion or made_up(name), reader=reader)
    page = A_LINK.format(shop=settings.PUBLIC_URL)
    if name == SEND:
        return payment_link.compose(
            page=page, expires_at=PLACED_AT + timedelta(days=7), reader=reader
        )
    if name == DUE:
        product = Product(sku="KETTLE-1L", name=KETTLE)
        return back_in_stock.compose(product, first_name="Ann", reader=reader)
    return accounts.compose(name, link=page, reader=reader)


def made_up(name: str) -> Occasion:
    """What a letter could be about; of an order that is nowhere."""
    lines = [
        _line("TEA-GREEN-250", "Green tea, loose, 250 g", 2, "12.50"),
        _line("KETTLE-1L", KETTLE, 1, "1049.00"),
    ]
    subtotal = sum((line.total_price for line in lines), Decimal(0))
    discount, shipping, tax = Decimal("10.00"), Decimal("4.90"), Decimal("87.12")
    order = Order(
        order_number="ABCD-EFGH-23",
        customer=Customer(first_name="Ann"),
        status=Order.Status.PROCESSING,
        payment_status=_payment_status(name),
        currency=settings.SHOP_CURRENCY,
        subtotal=subtotal,
        discount_amount=discount,
        shipping_amount=shipping,
        tax_amount=tax,
        total_amount=subtotal - discount + shipping + tax,
        shipping_address=ADDRESS,
        billing_address=ADDRESS,
        estimated_delivery=(PLACED_AT + timedelta(days=4)).date(),
        hold_expires_at=PLACED_AT + timedelta(minutes=settings.HOLD_MINUTES),
        created_at=PLACED_AT,
    )
    parcel = Shipment(
        carrier="UPS",
        tracking_number="1Z999AA10123456784",
        tracking_url="https://www.ups.com/track?tracknum=1Z999AA10123456784",
    )
    return Occasion(
        order=order,
        lines=lines,
        units=[(line, line.quantity) for line in lines],
        parcel=parcel,
        amount=order.total_amount,
        refusal=REFUSAL,
    )


def of_order(order: Order, *, name: str) -> Occasion:
    """The same with the particulars of an order, its customer at hand.

    What it has not come to yet, a parcel for one, is made up.
    """
    lines = selectors.list_items(order_id=order.pk)
    shipments = order.shipments.order_by("pk").prefetch_related("items__order_item")
    parcel = shipments.last()
    units = [(item.order_item, item.quantity) for item in parcel.items.all()] if parcel else []
    sample = made_up(name)
    return replace(
        sample,
        order=order,
        lines=lines,
        units=units or [(line, line.quantity) for line in lines],
        parcel=parcel or sample.parcel,
        amount=order.total_amount,
    )


def reader_of(language: str, *, order: Order | None = None) -> Reader:
    """Who reads a language where an order goes, or in the shop's country."""
    country = order.shipping_address.get("country", "") if order else ""
    return Reader.in_language(language, country=country)


def _line(sku: str, name: str, quantity: int, price: str) -> OrderItem:
    return OrderItem(
        product_sku=sku,
        product_name=name,
        quantity=quantity,
        unit_price=Decimal(price),
        total_price=Decimal(price) * quantity,
    )


def _payment_status(name: str) -> Order.PaymentStatus:
    if name == ACTION_NEEDED:
        return Order.PaymentStatus.REQUIRES_ACTION
    if name == about_orders.PAYMENT_FAILED:
        return Order.PaymentStatus.FAILED
    return Order.PaymentStatus.SUCCEEDED
