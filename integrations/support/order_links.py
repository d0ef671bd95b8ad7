"""Shows an order's tickets on its page for staff."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from integrations.support.models import SupportTicket
from orders.order_page import Link

if TYPE_CHECKING:
    from orders.models import Order

RIGHT: Final = "integrations.view_supportticket"


def links_of(order: Order) -> list[Link]:
    """The tickets about an order, oldest first. One statement."""
    tickets = SupportTicket.objects.filter(order=order, erased_at=None).exclude(ticket_id="")
    return [
        Link(
            text=f"Support ticket {ticket.ticket_id}{', settled' if ticket.is_settled else ''}",
            url=ticket.url,
        )
        for ticket in tickets.order_by("pk")
    ]
