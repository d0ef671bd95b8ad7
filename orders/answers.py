"""What clients hear about an order: its JSON, and the answers remembered on idempotency keys."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
from django.core import signing

from config.kernel import money, request_context
from config.kernel.errors import DomainError, error_body
from config.kernel.models import new_uuid
from orders.errors import (
    CardDeclinedError,
    PaymentFailedError,
    PaymentProviderRefusedError,
    PaymentRequiresActionError,
)
from payments.models import Payment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from decimal import Decimal

    from orders.models import Invoice, Order, OrderItem, Return
    from payments.gateway import Intent


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer as it is remembered: status and body, to the byte.

    `order_number` is for the `Location` header of an answer that is not the last one (202).
    """

    status: int
    body: str
    replayed: bool = False
    order_number: str | None = None


def settled(order: Order, *, payment: Payment, items: Sequence[OrderItem]) -> Answer:
    """The last word on an order: 201 if its payment ever succeeded, else 402 (or 502)."""
    if payment.amount_received:
        return Answer(status=201, body=_dump(order_json(order, payment=payment, items=items)))
    return refused(failure_of(order, payment))


def open_still(order: Order, *, payment: Payment, items: Sequence[OrderItem]) -> Answer:
    """202: the order exists, its payment is not decided. Never remembered."""
    return Answer(
        status=202,
        body=_dump(order_json(order, payment=payment, items=items)),
        order_number=order.order_number,
    )


def refused(error: DomainError) -> Answer:
    """An error as an answer to remember; it keeps the request id it was first given under."""
    request_id = request_context.current().request_id or str(new_uuid())
    body = error_body(
        code=error.code, message=error.message, details=error.details, request_id=request_id
    )
    return Answer(status=error.status, body=_dump(body))


def failure_of(order: Order, payment: Payment) -> DomainError:
    """Why an unpaid order is dead, as the client's error."""
    details: dict[str, Any] = {"order_number": order.order_number}
    if payment.failure_code in {Payment.PROVIDER_REFUSED, Payment.CUSTOMER_GONE}:
        return PaymentProviderRefusedError(details=details)
    if payment.decline_code:
        return CardDeclinedError(details={"decline_code": payment.decline_code, **details})
    return PaymentFailedError(details=details)


def action_required(order: Order, intent: Intent) -> PaymentRequiresActionError:
    """What the storefront needs to let the customer finish 3-D Secure or a redirect."""
    details: dict[str, Any] = {
        "client_secret": intent.client_secret,
        "payment_intent_id": intent.id,
        "next_action": intent.next_action,
        "order_number": order.order_number,
        "expires_at": _instant(order.hold_expires_at),
    }
    if order.customer_id is None:
        details["guest_token"] = guest_token(order)
    return PaymentRequiresActionError(details=details)


def order_json(
    order: Order, *, payment: Payment | None, items: Sequence[OrderItem]
) -> dict[str, Any]:
    """The order as the contract shows it: money as strings, instants in UTC.

    Reads `order.shipments` (prefetched by the selectors) only where there can be some.
    """

    def amount(value: Decimal) -> str:
        return money.format_amount(value, order.currency)

    found: dict[str, Any] = {
        "id": str(order.public_id),
        "order_number": order.order_number,
        "status": order.status,
        "payment_status": order.payment_status,
        "currency": order.currency,
        "items": [
            {
                "sku": item.product_sku,
                "product_name": item.product_name,
                "quantity": item.quantity,
                "unit_price": amount(item.unit_price),
                "discount_amount": amount(item.discount_amount),
                "tax_amount": amount(item.tax_amount),
                "total_price": amount(item.total_price),
            }
            for item in items
        ],
        "subtotal": amount(order.subtotal),
        "discount_amount": amount(order.discount_amount),
        "shipping_amount": amount(order.shipping_amount),
        "tax_amount": amount(order.tax_amount),
        "total_amount": amount(order.total_amount),
        "tax_included": order.tax_included,
        "refunded_amount": amount(payment.amount_refunded if payment else money.zero("USD")),
        "shipping_address": order.shipping_address,
        "billing_address": order.billing_address,
        "shipping_method": order.shipping_method,
        "estimated_delivery": order.estimated_delivery and order.estimated_delivery.isoformat(),
        "notes": order.notes,
        "shipments": _shipments_json(order),
        "created_at": _instant(order.created_at),
        "updated_at": _instant(order.updated_at),
        "shipped_at": _instant(order.shipped_at),
        "delivered_at": _instant(order.delivered_at),
    }
    if order.customer_id is None:
        found["guest_token"] = guest_token(order)
    return found


def return_json(wish: Return) -> dict[str, Any]:
    """A return as the contract shows it; its items are at hand (`selectors.list_returns`)."""
    return {
        "id": str(wish.public_id),
        "status": wish.status,
        "items": [
            {"sku": item.order_item.product_sku, "quantity": item.quantity}
            for item in wish.items.all()
        ],
        "reason": wish.reason,
        "created_at": _instant(wish.created_at),
    }


def document_json(document: Invoice) -> dict[str, Any]:
    """An invoice, credit note or reversal in a list; the document itself is a PDF."""
    return {
        "document_number": document.document_number,
        "kind": document.kind,
        "total_amount": money.format_amount(document.total_amount, document.currency),
        "currency": document.currency,
        "issued_at": _instant(document.issued_at),
    }


def guest_token(order: Order) -> str:
    """What lets a guest read this one order: a signature over its id, stored nowhere."""
    return signing.Signer(salt="orders.guest").signature(str(order.public_id))


def is_guest_token(order: Order, token: str) -> bool:
    """Compare in constant time; only what a guest has placed has one, claimed since or not."""
    digests = (hashlib.sha256(text.encode()).digest() for text in (token, guest_token(order)))
    return order.guest_email is not None and hmac.compare_digest(*digests)


def _shipments_json(order: Order) -> list[dict[str, Any]]:
    if order.shipped_at is None:
        return []
    return [
        {
            "carrier": shipment.carrier,
            "tracking_number": shipment.tracking_number,
            "tracking_url": shipment.tracking_url,
            "shipped_at": _instant(shipment.shipped_at),
            "items": [
                {"sku": item.order_item.product_sku, "quantity": item.quantity}
                for item in shipment.items.all()
            ],
        }
        for shipment in order.shipments.all()
    ]


def _instant(at: datetime | None) -> str | None:
    return at.isoformat().replace("+00:00", "Z") if at else None


def _dump(body: dict[str, Any]) -> str:
    return orjson.dumps(body).decode()
