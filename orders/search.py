"""Finds orders by whatever staff have in hand: a number, an address, a SKU, a reference.

What was typed is told apart by its form, and each kind is one look into an index: a shop of a
million orders is searched as fast as one of a hundred.
"""

from __future__ import annotations

import re
from typing import Final

from django.db.models import Q, QuerySet

from customers.models import Customer
from orders.models import Order, OrderItem, Shipment
from payments.models import Dispute, Payment, Refund

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
        email = text.lower()
        customers = Customer.objects.filter(email=email)
        return Order.objects.filter(Q(customer__in=customers) | Q(guest_email__in=[email, text]))
    if text.startswith("pi_"):
        return _of_payments(Payment.objects.filter(payment_intent_id=text))
    if text.startswith(("re_", "pyr_")):
        refunds = Refund.objects.filter(stripe_refund_id=text)
        return _of_payments(Payment.objects.filter(pk__in=refunds.values("payment_id")))
    if text.startswith(("dp_", "du_")):
        disputes = Dispute.objects.filter(stripe_dispute_id=text)
        return _of_payments(Payment.objects.filter(pk__in=disputes.values("payment_id")))
    for find in (_by_number, _by_parcel, _by_sku):
        found = find(text)
        if found.exists():
            return found
    return Order.objects.none()


def _of_payments(payments: QuerySet[Payment]) -> QuerySet[Order]:
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
