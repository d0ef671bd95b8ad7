"""What staff writes down about an order, for the others to know."""

from __future__ import annotations

from audit import services as audit
from config.kernel.api import text as texts
from config.kernel.db import short_transaction
from config.kernel.errors import InvalidTransitionError, RequestKeyReusedError
from customers import services as customers
from orders import selectors
from orders.idempotency import busy_means_in_progress
from orders.models import OrderNote


def add_note(*, order_id: int, text: str, user_id: int, request_key: str) -> OrderNote:
    """Keep a note about an order. Opens its own transaction; audited without its words.

    Args:
        text: up to 2,000 characters, newlines and tabs among them.
        request_key: at most 64 characters; the same again on the same order is the same note.

    Returns:
        The note; an earlier one where the key was used before.

    Raises:
        NotFoundError: there is no such order.
        InvalidTransitionError: its buyer was erased: nothing more is kept of them.
        ValidationFailedError: nothing in it, too long, control characters, or a card number.
        RequestKeyReusedError: the key stands for another note of this order.
        OrderInProgressError: somebody works on the order for longer than a lock is waited for.
    """
    kept = texts.checked(text, field="text", longest=customers.LONGEST_NOTE, multiline=True)
    key = texts.checked(request_key, field="request_key", longest=64)
    with short_transaction():
        with busy_means_in_progress():
            order = selectors.lock_order(order_id=order_id).order
        earlier = OrderNote.objects.filter(order=order, request_key=key).first()
        if earlier is not None:
            if earlier.text != kept:
                raise RequestKeyReusedError
            return earlier
        if order.erased_at is not None:
            raise InvalidTransitionError("Its buyer was erased; nothing more is kept of them.")
        note = OrderNote.objects.create(order=order, author_id=user_id, text=kept, request_key=key)
        audit.record(
            "ORDER_NOTE_ADDED",
            entity_type="order",
            entity_id=order.pk,
            data={"order_number": order.order_number, "note": note.pk, "length": len(kept)},
        )
    return note
