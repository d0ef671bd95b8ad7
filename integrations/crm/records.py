"""The present state of customers and orders, as a CRM is to know it: by our names of fields.

What is read here may be older than what another delivery reads a moment later: `deliver` looks
again once it is told.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db.models import Sum

from config.kernel import money
from customers.models import Customer
from orders.models import Order, OrderItem
from payments.models import Payment, Refund

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """Why records are told now: a fact of the outbox, or a full re-sync.

    `key`: a receiver that deduplicates knows a repetition by it. `fact`: dotted, past tense.
    `details`: what the fact says beside the records, ids and amounts.
    """

    key: uuid.UUID
    fact: str
    occurred_at: datetime
    details: Mapping[str, Any] = field(default_factory=dict)

    def again(self, number: int) -> Occasion:
        """The same with newer words, so under a key of its own."""
        return replace(self, key=uuid.uuid5(self.key, str(number)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """A customer, or a guest, who has no number; of an erased one nothing but the number is left.

    `fields` is empty for an erased one; else values by our names, amounts as text.
    """

    customer_id: int | None
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def number(self) -> str:
        """By which the CRM knows a customer; empty for a guest."""
        return "" if self.customer_id is None else str(self.customer_id)

    @property
    def is_erased(self) -> bool:
        return not self.fields

    def __str__(self) -> str:
        return f"customer {self.number}" if self.number else "a guest"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRecord:
    """An order that was paid. Nothing in `fields` tells of a person.

    `buyer`: None for a guest, unless the shop wants them as contacts; and once they were erased.
    """

    order_id: int
    number: str
    is_erased: bool
    fields: Mapping[str, Any]
    refunds: Sequence[Mapping[str, Any]]
    buyer: Contact | None

    def __str__(self) -> str:
        return f"order {self.number}"


def find_contact(customer_id: int) -> Contact | None:
    """One customer as they are now."""
    customer = Customer.objects.filter(pk=customer_id).first()
    return None if customer is None else _contact(customer)


def find_contacts(customer_ids: Collection[int]) -> list[Contact]:
    """Several, by number."""
    return [*map(_contact, Customer.objects.filter(pk__in=customer_ids).order_by("pk"))]


def find_order(order_id: int) -> OrderRecord | None:
    """One order as it is now; None if nothing was ever paid for it."""
    return next(iter(find_orders([order_id])), None)


def find_orders(order_ids: Collection[int]) -> list[OrderRecord]:
    """Those of the orders that were paid, by id; a constant number of queries."""
    orders = Order.objects.filter(pk__in=order_ids).select_related("customer").order_by("pk")
    paid = {
        payment.order_id: payment
        for payment in Payment.objects.filter(
            order_id__in=order_ids, status=Payment.Status.SUCCEEDED
        )
    }
    refunds = defaultdict(list)
    for refund in Refund.objects.filter(payment__in=paid.values()).order_by("pk"):
        refunds[refund.payment_id].append(refund)
    units = dict(
        OrderItem.objects.filter(order_id__in=paid)
        .values_list("order_id")
        .annotate(units=Sum("quantity"))
    )
    return [
        _order(order, paid[order.pk], refunds[paid[order.pk].pk], units=units.get(order.pk, 0))
        for order in orders
        if order.pk in paid
    ]


def _contact(customer: Customer) -> Contact:
    if customer.erased_at is not None:
        return Contact(customer_id=customer.pk)
    return Contact(
        customer_id=customer.pk,
        fields={
            "customer.number": str(customer.pk),
            "customer.email": customer.email,
            "customer.email_verified": customer.email_verified,
            "customer.first_name": customer.first_name,
            "customer.last_name": customer.last_name,
            "customer.phone": customer.phone or "",
            "customer.marketing_consent": customer.marketing_consent,
            "customer.tier": customer.tier,
            "customer.signed_up_at": _instant(customer.created_at),
        },
    )


def _buyer(order: Order) -> Contact | None:
    if order.customer is not None:
        return _contact(order.customer)
    if not settings.CRM_GUESTS or not order.guest_email or order.erased_at is not None:
        return None
    return Contact(
        customer_id=None,
        fields={
            "customer.email": order.guest_email,
            "customer.first_name": order.guest_first_name,
            "customer.last_name": order.guest_last_name,
        },
    )


def _order(order: Order, payment: Payment, refunds: Sequence[Refund], *, units: int) -> OrderRecord:
    def amount(value: Any) -> str:
        return money.format_amount(value, order.currency)

    return OrderRecord(
        order_id=order.pk,
        number=order.order_number,
        is_erased=order.erased_at is not None,
        fields={
            "order.number": order.order_number,
            "order.title": f"Order {order.order_number}",
            "order.stage": settings.CRM_STAGES.get(order.status),
            "order.pipeline": settings.CRM_PIPELINE,
            "order.status": order.status,
            "order.payment_status": order.payment_status,
            "order.currency": order.currency,
            "order.total_amount": amount(order.total_amount),
            "order.refunded_amount": amount(payment.amount_refunded),
            "order.item_count": units,
            "order.placed_at": _instant(order.created_at),
            "order.shipped_at": _instant(order.shipped_at),
            "order.delivered_at": _instant(order.delivered_at),
        },
        refunds=[
            {
                "refund": str(refund.uuid),
                "status": refund.status,
                "amount": amount(refund.amount),
                "currency": refund.currency,
            }
            for refund in refunds
        ],
        buyer=_buyer(order),
    )


def _instant(moment: datetime | None) -> str | None:
    """RFC 3339 with milliseconds: HubSpot reads no more digits."""
    if moment is None:
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
