"""Keeps the marketing tool's contacts those customers who want to be written to, and no others.

Whatever a fact says, the tool is sent what holds at that moment, and after each call it is looked
whether that still holds: consent that is withdrawn while the call is under way is followed by a
removal, whoever of the two is faster. So facts may come twice, late or side by side with a re-sync.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.db.models.functions import Now
from django.utils import timezone

from audit.outbox import DeliveryFailedError
from config.kernel.db import short_transaction
from integrations import envelopes
from integrations.marketing import segments, selectors, unsubscribe
from integrations.marketing.models import MarketingContact

if TYPE_CHECKING:
    from datetime import datetime

    from audit.models import OutboxMessage
    from integrations.marketing.selectors import Contact
    from integrations.rest import RestClient

SEGMENTS_CHANGED: Final = "customer.segments_changed"
ENDS: Final = ("customer.marketing_consent_changed", "customer.erased")
"""After these the tool is told to remove whoever is no contact, whether it knows them or not."""
FACTS: Final = (*ENDS, "customer.email_verified", SEGMENTS_CHANGED)
MOST_ROUNDS: Final = 3
"""So often what is told may have changed by the time it is told, before others get their turn."""
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
    now = timezone.now()
    contact = selectors.find_contact(customer_id=customer_id, now=now)
    known = MarketingContact.objects.filter(pk=customer_id)
    if contact is None and not is_end and not known.exists():
        return False
    for number in range(MOST_ROUNDS):
        round_key = uuid.uuid5(key, str(number)) if number else key
        if contact is None:
            _remove(customer_id, key=round_key, occurred_at=occurred_at)
        else:
            _upsert(contact, key=round_key, occurred_at=occurred_at)
        told, contact = contact, selectors.find_contact(customer_id=customer_id, now=now)
        if contact == told:
            return True
    raise DeliveryFailedError("it changes faster than it can be told")


def _upsert(contact: Contact, *, key: uuid.UUID, occurred_at: datetime) -> None:
    is_repetition = _begin(contact.customer_id, key)
    envelopes.post(
        receiver(),
        key=key,
        kind="contact.upserted",
        occurred_at=occurred_at,
        content=contact.told(unsubscribe_url=unsubscribe.link_for(customer_id=contact.customer_id)),
    )
    # Under the same key the first words count: what they were on a try without an answer is not
    # known any more. The night's refresh tells it once more.
    sure = "" if is_repetition else segments.written(contact.segments)
    MarketingContact.objects.filter(pk=contact.customer_id, telling=key).update(
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


def _remove(customer_id: int, *, key: uuid.UUID, occurred_at: datetime) -> None:
    envelopes.post(
        receiver(),
        key=key,
        kind="contact.removed",
        occurred_at=occurred_at,
        content={"contact_id": str(customer_id)},
    )
    MarketingContact.objects.filter(pk=customer_id).delete()


def export(customer_id: int) -> dict[str, Any] | None:
    """What the tool was told of a customer, for the export; None if it knows of none."""
    told = MarketingContact.objects.filter(pk=customer_id).first()
    return {"segments": told.segments, "told_at": told.told_at} if told else None
