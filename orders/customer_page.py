"""What a customer's page shows: who they are, what they bought, what is open, what happened.

Read with a constant number of statements. What somebody may not read elsewhere is not told here
either, and what they may not open has no link. No call to the payment provider.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator

from audit.models import AuditLog
from config.kernel.admin import list_url_of, url_of
from customers import selectors as customers
from orders.models import Order, PaymentLink, Return
from orders.services.account_history import account_history

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from customers.models import Customer

MOST_ORDERS: Final = 20
MOST_OF_A_KIND: Final = 10
"""Open returns and payment links: the newest; the lists have all of them."""
CONSENT: Final = ("MARKETING_CONSENT_GIVEN", "MARKETING_CONSENT_WITHDRAWN")


def shown(customer: Customer, *, may: Callable[[str], bool], now: datetime) -> dict[str, Any]:
    """The page's context.

    Args:
        may: whether whoever looks has a permission.
    """
    about = {"customer__id__exact": customer.pk}
    may_see_orders = may("orders.view_order")
    orders = _orders(customer) if may_see_orders else []
    # What colleagues do at work is told to those alone who read the log.
    may_see_history = may("audit.view_auditlog") or not customer.is_staff
    return {
        "customer": customer,
        "emails": _emails(customer) if may("account.view_emailaddress") else None,
        "consent_since": _consent_since(customer),
        "sessions": customers.count_sessions(customer_id=customer.pk, now=now),
        "has_second_factor": Authenticator.objects.filter(
            user=customer, type=Authenticator.Type.TOTP
        ).exists(),
        "metrics": list(customer.metrics.order_by("currency"))
        if may("customers.view_customermetrics")
        else None,
        "addresses_url": list_url_of("customers.address", about, may),
        "may_see_orders": may_see_orders,
        "orders": [
            (order, url_of("orders.order", order.pk, may)) for order in orders[:MOST_ORDERS]
        ],
        "has_more_orders": len(orders) > MOST_ORDERS,
        "orders_url": list_url_of("orders.order", about, may),
        "open_returns": [
            (wish, url_of("orders.return", wish.pk, may)) for wish in _open_returns(customer, may)
        ],
        "links": [
            (link, state, url_of("orders.paymentlink", link.pk, may))
            for link, state in _links(customer, now, may)
        ],
        "notes": list(
            customer.staff_notes.exclude(text="").select_related("author").order_by("-pk")
        )
        if may("customers.view_customernote")
        else None,
        "may_see_history": may_see_history,
        "history": [
            (one, url_of(*one.target, may) if one.target else None)
            for one in account_history(customer)
        ]
        if may_see_history
        else [],
    }


def _emails(customer: Customer) -> list[EmailAddress]:
    return list(EmailAddress.objects.filter(user_id=customer.pk).order_by("-primary", "pk"))


def _consent_since(customer: Customer) -> datetime | None:
    """When they last said a word on being written to, as far as the log goes back."""
    said = AuditLog.objects.filter(
        entity_type="customer", entity_id=customer.pk, event_type__in=CONSENT
    )
    return said.order_by("-created_at").values_list("created_at", flat=True).first()


def _orders(customer: Customer) -> list[Order]:
    orders = Order.objects.filter(customer=customer).order_by("-created_at", "-pk")
    return list(orders[: MOST_ORDERS + 1])


def _open_returns(customer: Customer, may: Callable[[str], bool]) -> list[Return]:
    if not may("orders.view_return"):
        return []
    over = [Return.Status.REFUSED, Return.Status.REFUNDED]
    found = Return.objects.filter(order__customer=customer).exclude(status__in=over)
    return list(found.select_related("order").order_by("-pk")[:MOST_OF_A_KIND])


def _links(
    customer: Customer, now: datetime, may: Callable[[str], bool]
) -> list[tuple[PaymentLink, str]]:
    """Orders that were taken by telephone, and what became of them."""
    if not may("orders.view_paymentlink"):
        return []
    links = list(PaymentLink.objects.filter(customer=customer).order_by("-pk")[:MOST_OF_A_KIND])
    living = Order.objects.filter(cart_id__in=[link.cart_id for link in links])
    used = dict(
        living.exclude(status=Order.Status.CANCELLED).values_list("cart_id", "order_number")
    )
    return [(link, _state(link, used.get(link.cart_id), now)) for link in links]


def _state(link: PaymentLink, order_number: str | None, now: datetime) -> str:
    if link.withdrawn_at is not None:
        return "withdrawn"
    if order_number:
        return f"order {order_number}"
    return "expired" if link.expires_at <= now else "waits for the customer"
