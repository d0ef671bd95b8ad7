"""Tells customer service of matters: one ticket each, and one comment for every further fact.

Which message was told stands with the ticket. What had no answer is looked for before it is told
again, so that a call whose answer was lost makes no second ticket, and no second comment.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

from django.db.models.functions import Now

from audit.outbox import DeliveryFailedError
from config.kernel.clock import Deadline
from config.kernel.db import short_transaction
from integrations.support import matters
from integrations.support.adapters import LOOK_SECONDS, TELL_SECONDS, adapter
from integrations.support.models import SupportTicket

if TYPE_CHECKING:
    from audit.models import OutboxMessage
    from integrations.support.adapters import Opened
    from integrations.support.matters import Entry

NO_TICKET: Final = "nothing to add to: no ticket was opened for this matter"
TOLD_ALREADY: Final = "it was told already"
HAND_OVER_SECONDS: Final = 9.0  # the relay gives it ten
ERASED: Final = "the customer was erased"


def tell(message: OutboxMessage) -> str | None:
    """Open the ticket of a fact's matter, or add to it. Opens its own transactions.

    Returns:
        Why there was nothing to tell, if so.

    Raises:
        DeliveryFailedError: it was not told; says so without personal data.
    """
    entry = matters.read(message)
    ticket = _begin(message.uuid, entry)
    if ticket is None:
        return NO_TICKET
    if ticket.erased_at:
        return ERASED
    if message.uuid in ticket.told:
        return TOLD_ALREADY
    system = adapter()
    earlier = ticket.begun
    if not ticket.ticket_id and earlier and (found := system.find(matter=entry.matter)):
        _keep(ticket, found)
    if ticket.ticket_id:
        system.add(
            ticket,
            entry,
            key=message.uuid,
            at=message.occurred_at,
            is_repetition=message.uuid in earlier,
        )
    elif entry.opens:
        _keep(ticket, system.open(entry, key=message.uuid, at=message.occurred_at))
    else:
        return NO_TICKET
    _note_told(ticket, message.uuid, entry)
    return None


def erase(message: OutboxMessage) -> str | None:
    """Have the tickets about an erased order be deleted. Any repetition is harmless.

    Returns:
        Why there was nothing to do, if so.

    Raises:
        DeliveryFailedError: it was not done; says so without personal data.
    """
    living = SupportTicket.objects.filter(order_id=message.aggregate_id, erased_at=None)
    tickets = list(living.order_by("pk"))
    deadline = Deadline(HAND_OVER_SECONDS)
    for ticket in tickets:
        if deadline.remaining() < LOOK_SECONDS + TELL_SECONDS:
            raise DeliveryFailedError("some tickets are still to be deleted")
        key = uuid.uuid5(message.uuid, ticket.matter)  # one message, and a call for each ticket
        adapter().erase(ticket, key=key, at=message.occurred_at)
        SupportTicket.objects.filter(pk=ticket.pk).update(erased_at=Now(), url="")
    return None if tickets else "no ticket was opened for it"


def export(customer_id: int) -> list[dict[str, Any]]:
    """The matters about a customer's orders that were told, for the export; oldest first."""
    told = SupportTicket.objects.filter(order__customer_id=customer_id, erased_at=None)
    return [
        {"matter": ticket.matter, "settled": ticket.is_settled} for ticket in told.order_by("pk")
    ]


def _begin(message_uuid: uuid.UUID, entry: Entry) -> SupportTicket | None:
    """Note that a message is being told, before it is; returns the ticket as it was before that.

    None where there is none, and the entry is not worth one.
    """
    with short_transaction():
        if entry.opens:
            SupportTicket.objects.get_or_create(
                matter=entry.matter, defaults={"order_id": entry.order_id}
            )
        ticket = _locked(matter=entry.matter)
        if ticket is not None and message_uuid not in ticket.begun:
            SupportTicket.objects.filter(pk=ticket.pk).update(begun=[*ticket.begun, message_uuid])
    return ticket


def _keep(ticket: SupportTicket, opened: Opened) -> None:
    ticket.ticket_id, ticket.url = opened.ticket_id, opened.url
    ticket.save(update_fields=["ticket_id", "url"])


def _note_told(ticket: SupportTicket, message_uuid: uuid.UUID, entry: Entry) -> None:
    with short_transaction():
        fresh = _locked(matter=ticket.matter)
        if fresh is not None and message_uuid not in fresh.told:
            fresh.told.append(message_uuid)
            fresh.is_settled = entry.settles
            fresh.save(update_fields=["told", "is_settled"])


def _locked(*, matter: str) -> SupportTicket | None:
    return SupportTicket.objects.select_for_update().filter(matter=matter).first()
