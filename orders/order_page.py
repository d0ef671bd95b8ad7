"""What an order's page shows: who, what, where the money and the goods are, and all that happened.

Read with a constant number of statements. What somebody may not open is told without a link.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.urls import reverse

from orders.models import Return
from orders.services import history, overview

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orders.models import Order

ADDRESS_LINES: Final = ("name", "line1", "line2", "city", "state", "postal_code", "country")


def shown(order: Order, *, may: Callable[[str], bool]) -> dict[str, Any]:
    """The page's context.

    Args:
        may: whether whoever looks has a permission.
    """
    open_returns = Return.objects.filter(order=order).exclude(
        status__in=[Return.Status.REFUSED, Return.Status.REFUNDED]
    )
    return {
        "order": order,
        "payment": overview.find_payment(order),
        "money": overview.money_of(order),
        "lines": overview.lines_of(order),
        "buyer_url": _url("customers.customer", order.customer_id, may),
        "addresses": [
            ("Shipping address", _address(order.shipping_address)),
            ("Billing address", _address(order.billing_address)),
        ],
        "open_returns": [
            (wish, _url("orders.return", wish.pk, may)) for wish in open_returns.order_by("pk")
        ],
        "history": [
            (one, _url(*one.target, may) if one.target else None) for one in history.history(order)
        ],
    }


def _address(address: Mapping[str, Any]) -> list[str]:
    return [str(address[name]) for name in ADDRESS_LINES if address.get(name)]


def _url(model: str, pk: int | None, may: Callable[[str], bool]) -> str | None:
    app, name = model.split(".")
    if pk is None or not may(f"{app}.view_{name}"):
        return None
    return reverse(f"admin:{app}_{name}_change", args=(pk,))
