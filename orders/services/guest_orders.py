"""Gives guests' orders to the account of whoever placed them.

By itself, where the account has verified the address that the guest gave: all of them once the
address is verified, later ones as they are confirmed. By request, whatever the address, where the
order's guest token is shown. An order keeps its guest: `guest_email` goes on saying that, and
under which address, it was placed; so its key, its coupon and its guest token stay what they were,
and the link that the guest was given goes on working.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from audit import outbox
from audit import services as audit
from config.kernel.db import short_transaction
from config.kernel.errors import NotFoundError
from customers import selectors as customers
from orders import selectors
from orders.idempotency import busy_means_in_progress
from orders.models import Order

if TYPE_CHECKING:
    from audit.models import OutboxMessage

SUBSCRIBER: Final = "guest_orders"


def subscribe() -> None:
    """Follow the facts; called once the app is ready."""
    outbox.subscribe("customer.email_verified", SUBSCRIBER, claim_earlier)
    outbox.subscribe("order.confirmed", SUBSCRIBER, claim_confirmed)


def claim_earlier(message: OutboxMessage) -> str | None:
    """Give a customer what was ordered under an address before they verified it.

    Opens one transaction an order. Any repetition is harmless.

    Returns:
        Why there was nothing to do, if so.
    """
    customer_id = message.payload["customer_id"]
    email = customers.find_verified_email(
        customer_id=customer_id, email_address_id=message.payload["email_address_id"]
    )
    if email is None:
        return "nothing to claim: the address was removed"
    for order_id in selectors.list_unclaimed_order_ids(guest_email=email):
        claim_order(order_id=order_id, customer_id=customer_id)
    return None


def claim_confirmed(message: OutboxMessage) -> str | None:
    """Give a guest's new order to the account that has verified the guest's address; likewise."""
    guests = Order.objects.filter(pk=message.aggregate_id, customer_id__isnull=True)
    guest_email = guests.values_list("guest_email", flat=True).first()
    if guest_email is None:
        return "nothing to claim: a customer's order"
    owner_id = customers.find_owner_of_verified_email(email=guest_email)
    if owner_id is None:
        return "nothing to claim: no account has verified the guest's address"
    claim_order(order_id=message.aggregate_id, customer_id=owner_id)
    return None


def claim_order(*, order_id: int, customer_id: int) -> None:
    """Make a guest's order this customer's; idempotent. Whether they may is for the caller to know.

    Opens its own transaction. States `order.claimed`.

    Raises:
        NotFoundError: it is another customer's by now, or its guest was erased.
        OrderInProgressError: somebody works on it for longer than a lock is waited for.
    """
    with short_transaction():
        with busy_means_in_progress():
            order = selectors.lock_order(order_id=order_id).order
        if order.customer_id == customer_id:
            return
        if order.customer_id is not None or order.erased_at is not None:
            raise NotFoundError
        Order.objects.filter(pk=order.pk).update(customer_id=customer_id)
        audit.record(
            "ORDER_CLAIMED",
            entity_type="order",
            entity_id=order.pk,
            data={"order_number": order.order_number, "customer_id": customer_id},
        )
        audit.publish(
            "order.claimed",
            aggregate_type="order",
            aggregate_id=order.pk,
            dedupe_key=f"order.{order.pk}.claimed",
            payload={"order_id": order.pk, "order_number": order.order_number},
        )
