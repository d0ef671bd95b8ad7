"""Deletes the letters to whoever was erased, where letters are kept as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings

from orders.models import Order

if TYPE_CHECKING:
    from audit.models import OutboxMessage


def delete_letters(message: OutboxMessage) -> str | None:
    """Delete every letter about this account and its orders. Any repetition is harmless.

    Returns:
        Why there was nothing to do, if so.
    """
    customer_id = message.aggregate_id
    order_ids = Order.objects.filter(customer_id=customer_id).values_list("pk", flat=True)
    return _delete({f"customer-{customer_id}", *(f"order-{order_id}" for order_id in order_ids)})


def delete_letters_of_order(message: OutboxMessage) -> str | None:
    """Delete every letter about this order, a guest's for one; likewise."""
    return _delete({f"order-{message.aggregate_id}"})


def delete_letters_of_link(message: OutboxMessage) -> str | None:
    """Delete every letter that carried this payment link; likewise."""
    return _delete({f"payment-link-{message.aggregate_id}"})


def _delete(about: set[str]) -> str | None:
    directory = Path(settings.MAIL_DIR)
    if not directory.is_dir():
        return "no letters are kept here"
    for file in directory.glob("*.eml"):
        _, _, rest = file.name.partition("_")
        if rest.partition("_")[0] in about:
            file.unlink(missing_ok=True)
    return None
