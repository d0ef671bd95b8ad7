"""Keeps the marketing tool's contacts those customers who want to be written to, and no others.

Whatever a fact says, the tool is sent what holds at that moment, and after each call it is looked
whether that still holds: consent that is withdrawn while the call is under way is followed by a
removal, whoever of the two is faster. So facts may come twice, late or side by side with a re-sync.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.db.models.functions import Now
from django.utils import timezone

from audit.outbox import DeliveryFailedError
from config.kernel.clock import Deadline
from config.kernel.db import short_transaction
from integrations import envelopes
from integrations.marketing import segments, selectors, unsubscribe
from integrations.marketing.models import MarketingContact
from integrations.rest import CALL_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from audit.models import OutboxMessage
    from integrations.marketing.selectors import Contact
    from integrations.rest import RestClient

SUBSCRIBER: Final = "marketing"
SEGMENTS_CHANGED: Final = "customer.segments_changed"
ENDS: Final = ("customer.marketing_consent_changed", "customer.erased")
"""After these the tool is told to remove whoever is no contact, whether it knows them or not."""
FACTS: Final = (*ENDS, "customer.email_verified", SEGMENTS_CHANGED)
MOST_ROUNDS: Final = 3
"""So often what is told may have changed by the time it is told, before others get their turn."""
HAND_OVER_SECONDS: Final = 9.0  # all rounds together: the relay gives a hand-over ten
LEAST_SECONDS: Final = 1.0  # with less, no call is begun
NOT_KNOWN: Final = "nothing to tell: no contact of the marketing tool"


def receiver() -> RestClient:
    """The marketing tool."""
    return envelopes.receiver(
        name="Marketing", base_url=settings.MARKETING_BASE_URL, token=settings.MARKETING_TOKEN
    )


def tell(message: OutboxMessage) -> str | None:
    """Have the tool know of a customer what it should. Opens its own transactions.

    Returns:
        Why there was nothing to tell, if so.

    Raises:
        DeliveryFailedError: it was not told; says so without personal data.
    """
    was_told = bring_up_to_date(
        customer_id=message.aggregate_id,
        key=message.uuid,
        occurred_at=message.occurred_at,
        is_end=message.fact in ENDS,
    )
    return None if was_told else NOT_KNOWN


def bring_up_to_date(
    *, customer_id: int, key: uuid.UUID, occurred_at: datetime, is_end: bool = False
) -> bool:
    """Tell the tool how a customer stands: a contact, or none. Never call it in a transaction.

    Args:
        key: the same one for a repetition of the same attempt.
        is_end: whether it is told of one who is no contact, even if it should not know of any.

    Returns:
        Whether it was told anything.

    Raises:
        DeliveryFailedError: it was not told; repeating is harmless.
    """
    now, deadline = timezone.now(), Deadline(HAND_OVER_SECONDS)
    contact = selectors.find_contact(customer_id=customer_id, now=now)
    known = MarketingContact.objects.filter(pk=customer_id)
    if contact is None and not is_end and not known.exists():
        return False
    for number in range(MOST_ROUNDS):
        call = _Call(
            key=uuid.uuid5(key, str(number)) if number else key,
            occurred_at=occurred_at,
            seconds=min(deadline.remaining(), CALL_SECONDS),
        )
        if call.seconds < LEAST_SECONDS:
            break
        if contact is None:
            _remove(customer_id, call)
        else:
            _upsert(contact, call)
        told, contact = contact, selectors.find_contact(customer_id=customer_id, now=now)
        if contact == told:
            return True
    raise DeliveryFailedError("it changes faster than it can be told")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """One call to the tool: by what it is known, what time it tells of, how long it may take."""

    key: uuid.UUID
    occurred_at: datetime
    seconds: float

    def tell(self, kind: str, content: Mapping[str, Any]) -> None:
        envelopes.post(
            receiver(),
            key=self.key,
            kind=kind,
            occurred_at=self.occurred_at,
            content=content,
            seconds=self.seconds,
        )


def _upsert(contact: Contact, call: _Call) -> None:
    is_repetition = _begin(contact.customer_id, call.key)
    link = unsubscribe.link_for(customer_id=contact.customer_id)
    call.tell("contact.upserted", contact.told(unsubscribe_url=link))
    # Under the same key the first words count: what they were on a try without an answer is not
    # known any more. The night's refresh tells it once more.
    sure = "" if is_repetition else segments.written(contact.segments)
    MarketingContact.objects.filter(pk=contact.customer_id, telling=call.key).update(
        segments=sure, telling=None, told_at=Now()
    )


def _begin(customer_id: int, key: uuid.UUID) -> bool:
    """Note that the tool may know of it from now on; returns whether this key was tried before."""
    with short_transaction():
        contact, _ = MarketingContact.objects.select_for_update().get_or_create(pk=customer_id)
        is_repetition = contact.telling == key
        contact.telling, contact.segments = key, ""
        contact.save(update_fields=["telling", "segments"])
    return is_repetition


def _remove(customer_id: int, call: _Call) -> None:
    # Under the key of an upsert without an answer, a tool that deduplicates would not hear it.
    call = replace(call, key=uuid.uuid5(call.key, "removed"))
    call.tell("contact.removed", {"contact_id": str(customer_id)})
    MarketingContact.objects.filter(pk=customer_id).delete()


def export(customer_id: int) -> dict[str, Any] | None:
    """What the tool was told of a customer, for the export; None if it knows of none."""
    told = MarketingContact.objects.filter(pk=customer_id).first()
    return {"segments": told.segments, "told_at": told.told_at} if told else None
