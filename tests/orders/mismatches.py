"""Ways to make our books and the provider's tell different stories."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pgtrigger

if TYPE_CHECKING:
    from payments.models import Payment


def tamper(row, **values) -> None:
    with pgtrigger.ignore():
        type(row).objects.filter(pk=row.pk).update(**values)


def forget(rows) -> None:
    with pgtrigger.ignore():
        rows.delete()


def intent_form(payment: Payment | None = None, **changes) -> dict[str, Any]:
    return {
        "amount": 1999,
        "currency": "usd",
        "payment_method": "pm_card_visa",
        "automatic_payment_methods[enabled]": "true",
        "metadata[app]": "orderkeep",
        "metadata[payment]": str(payment.uuid if payment else uuid.uuid4()),
        "metadata[order_number]": payment.order.order_number if payment else "NONE",
        **changes,
    }


def charge_outside(stripe, payment: Payment | None = None) -> dict[str, Any]:
    return stripe(
        "/v1/payment_intents",
        **intent_form(payment, confirm="true", return_url="https://shop.example"),
    )
