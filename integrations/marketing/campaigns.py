"""Tells the marketing tool of a cart that was left alone, if its owner wants to be written to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from integrations import envelopes
from integrations.marketing import contacts, selectors, unsubscribe
from orders.models import Cart, Order
from orders.services.carts import abandonment_key

if TYPE_CHECKING:
    from audit.models import OutboxMessage

ABANDONED: Final = "cart.abandoned"


def trigger(message: OutboxMessage) -> str | None:
    """Tell of it, unless it is no more so at this moment. Opens no transaction.

    What is told: which goods, and the way to the cart; neither its id nor a price, which may move.

    Returns:
        Why it was not told, if so.

    Raises:
        DeliveryFailedError: it was not told; says so without personal data.
    """
    cart = Cart.objects.filter(pk=message.aggregate_id).first()
    if cart is None or message.dedupe_key != abandonment_key(cart):
        return "not told: the cart was changed or is gone"
    if cart.customer_id is None:
        return "not told: a guest's cart"
    contact = selectors.find_contact(customer_id=cart.customer_id, now=timezone.now())
    if contact is None:
        return "not told: its owner has not agreed to be written to"
    since = Q(cart_id=cart.public_id) | Q(
        customer_id=cart.customer_id, created_at__gte=cart.changed_at
    )
    if Order.objects.filter(since).exclude(status=Order.Status.CANCELLED).exists():
        return "not told: its owner has ordered meanwhile"
    items = cart.items.select_related("product").order_by("pk")
    envelopes.post(
        contacts.receiver(),
        key=message.uuid,
        kind=ABANDONED,
        occurred_at=message.occurred_at,
        content={
            "contact_id": str(contact.customer_id),
            "email": contact.email,
            "first_name": contact.first_name,
            "currency": cart.currency,
            "items": [
                {
                    "sku": item.product.sku,
                    "product_name": item.product.name,
                    "quantity": item.quantity,
                }
                for item in items
            ],
            "cart_url": f"{settings.PUBLIC_URL}/cart",
            "unsubscribe_url": unsubscribe.link_for(customer_id=contact.customer_id),
        },
    )
    return None
