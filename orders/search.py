"""Finds orders by whatever staff have in hand: a number, an address, a SKU, a reference.

What was typed is told apart by its form, and each kind is one look into an index: a shop of a
million orders is searched as fast as one of a hundred.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from customers.models import Customer
from orders.models import Order, OrderItem, Shipment
from payments.models import Dispute, Payment, Refund

if TYPE_CHECKING:
    from django.db.models import QuerySet

MOST_OF_A_PRODUCT: Final = 10_000
"""Of a best-seller's orders the newest so many are found; nobody reads further."""
HINT: Final = "Order number, e-mail, SKU, tracking number, payment intent, refund or dispute"

_NUMBER: Final = re.compile(r"[A-Z0-9]{4}-?[A-Z0-9]{4}-?[A-Z0-9]{2}")


def search_orders(text: str) -> QuerySet[Order]:
    """Orders that what was typed stands for, in no order; none if it stands for nothing.

    Takes an order number (also in lower case, also without its dashes), an e-mail address in full,
    a SKU, a tracking number, or the provider's id of a payment intent (`pi_`), a refund (`re_`,
    `pyr_`) or a dispute (`dp_`, `du_`).
    """
    text = text.strip()
    if not text:
        return Order.objects.none()
    if "@" in text:
        return _by_email(text)
    for find in (_by_reference, _by_number, _by_parcel, _by_sku):
        found = find(text)
        if found.exists():
            return found
    return Order.objects.none()


def _by_email(text: str) -> QuerySet[Order]:
    # Put together, not joined by OR: that would read all orders.
    of_customers = Order.objects.filter(
        customer__in=Customer.objects.filter(email=text.lower()).values("pk")
    )
    of_guests = Order.objects.filter(guest_email__in=[text.lower(), text])
    both = of_customers.order_by().values("pk").union(of_guests.order_by().values("pk"))
    return Order.objects.filter(pk__in=both)


def _by_reference(text: str) -> QuerySet[Order]:
    """By what the provider calls a payment, a refund or a dispute."""
    payments = Payment.objects.none()
    if text.startswith("pi_"):
        payments = Payment.objects.filter(payment_intent_id=text)
    elif text.startswith(("re_", "pyr_")):
        refunds = Refund.objects.filter(stripe_refund_id=text)
        payments = Payment.objects.filter(pk__in=refunds.values("payment_id"))
    elif text.startswith(("dp_", "du_")):
        disputes = Dispute.objects.filter(stripe_dispute_id=text)
        payments = Payment.objects.filter(pk__in=disputes.values("payment_id"))
    return Order.objects.filter(pk__in=payments.values("order_id"))


def _by_number(text: str) -> QuerySet[Order]:
    told = {text.upper()}
    if _NUMBER.fullmatch(text.upper()):
        plain = text.upper().replace("-", "")
        told.add(f"{plain[:4]}-{plain[4:8]}-{plain[8:]}")
    return Order.objects.filter(order_number__in=told)


def _by_parcel(text: str) -> QuerySet[Order]:
    parcels = Shipment.objects.filter(tracking_number=text).exclude(tracking_number="")
    return Order.objects.filter(pk__in=parcels.values("order_id"))


def _by_sku(text: str) -> QuerySet[Order]:
    lines = OrderItem.objects.filter(product__sku=text.upper()).order_by("-order_id")
    return Order.objects.filter(pk__in=lines.values("order_id")[:MOST_OF_A_PRODUCT])
