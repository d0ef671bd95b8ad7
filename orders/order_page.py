"""What an order's page shows: who, what, where the money and the goods are, and all that happened.

Read with a constant number of statements. What somebody may not read elsewhere is not told here
either, and what they may not open has no link.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from config.kernel.admin import url_of
from orders.models import Return
from orders.services import history, overview

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orders.models import Order

RIGHTS: Final = {
    "payment": "payments.view_payment",
    "refund": "payments.view_refund",
    "dispute": "payments.view_dispute",
    "webhook": "payments.view_providerevent",
    "document": "orders.view_invoice",
    "delivery": "audit.view_outboxmessage",
    "letter": "orders.view_letter",
    "note": "orders.view_ordernote",
    "link": "orders.view_paymentlink",
}
"""What of an order's story is for those alone who may read where it stands, by its kind."""
ADDRESS_LINES: Final = ("name", "line1", "line2", "city", "state", "postal_code", "country")


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Where else something about an order stands; without `url` it is told of alone."""

    text: str
    url: str


_links: Final[dict[Callable[[Order], Sequence[Link]], str]] = {}


def add_links(links_of: Callable[[Order], Sequence[Link]], *, right: str) -> None:
    """Have the page show these links to whoever has a right; called in an app's `ready()`.

    Args:
        links_of: takes a constant number of statements; the same one again is fine.
    """
    _links[links_of] = right


def shown(order: Order, *, may: Callable[[str], bool]) -> dict[str, Any]:
    """The page's context.

    Args:
        may: whether whoever looks has a permission.
    """
    open_returns = Return.objects.filter(order=order).exclude(
        status__in=[Return.Status.REFUSED, Return.Status.REFUNDED]
    )
    may_see_money = may(RIGHTS["payment"])
    return {
        "order": order,
        "payment": overview.find_payment(order) if may_see_money else None,
        "money": overview.money_of(order) if may_see_money else None,
        "lines": overview.lines_of(order),
        "may_see_customer": may("customers.view_customer"),
        "buyer_url": url_of("customers.customer", order.customer_id, may),
        "addresses": [
            ("Shipping address", _address(order.shipping_address)),
            ("Billing address", _address(order.billing_address)),
        ],
        "open_returns": [
            (wish, url_of("orders.return", wish.pk, may)) for wish in open_returns.order_by("pk")
        ],
        "links": [
            link for links_of, right in _links.items() if may(right) for link in links_of(order)
        ],
        "history": [
            (one, url_of(*one.target, may) if one.target else None)
            for one in history.history(order)
            if one.kind not in RIGHTS or may(RIGHTS[one.kind])
        ],
    }


def _address(address: Mapping[str, Any]) -> list[str]:
    return [str(address[name]) for name in ADDRESS_LINES if address.get(name)]
