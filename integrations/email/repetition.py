"""Sends a letter about an order once more, because staff was asked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from integrations.email import letters
from orders import selectors
from orders.models import Letter
from orders.services.letters import WORDS_GONE

if TYPE_CHECKING:
    from audit.models import OutboxMessage


def send(message: OutboxMessage) -> str | None:
    """Send the same words to the address that the buyer has now; opens no transaction.

    Returns:
        Why nothing was sent, if nothing was.

    Raises:
        DeliveryFailedError: the mail server refused it; says its code, never the address.
    """
    letter = Letter.objects.get(pk=message.payload["letter"])
    order = selectors.get_order_and_buyer(order_id=letter.order_id)
    recipient = selectors.address_of_buyer(order)
    if problem := letters.why_unreachable(recipient):
        return f"not sent: {problem}"
    if not letter.body_text:
        return f"not sent: {WORDS_GONE}"
    return letters.send_again(letter=letter, order=order, recipient=recipient, message=message)
