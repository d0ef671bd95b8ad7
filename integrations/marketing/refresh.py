"""Looks each night whose segment has changed by itself, by time for one, and has the tool told."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from audit import services as audit
from audit.models import Delivery, OutboxMessage
from config.kernel.db import short_transaction
from customers import selectors as customers
from integrations.marketing import segments, selectors
from integrations.marketing.contacts import SEGMENTS_CHANGED, SUBSCRIBER
from integrations.marketing.models import MarketingContact

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

BATCH: Final = 1_000
MOST_A_NIGHT: Final = 20_000
"""So many are told of, at most; the others stay due. Of a tool that takes 20 a second: 17 min."""


def refresh_segments(*, now: datetime, limit: int = MOST_A_NIGHT, behind: int | None = None) -> int:
    """State `customer.segments_changed` of every customer of whom the tool knows something else.

    Others than by their segments, too: whoever should be a contact and is none, and the other way
    round. Reads a thousand customers at a time in a constant number of statements. Opens its own
    transactions. Repeating it within a day states nothing twice.

    Whoever the tool is still to be told of is left out, and whoever it refused: staff has that on
    the list of what was given up, once, and tries it again.

    Args:
        limit: the most to state now.
        behind: begin with the customer after this one, and end with this one; by default anybody,
            so that where each night has its limit, everybody's turn comes.

    Returns:
        Of how many it was stated.
    """
    if behind is None:
        behind = random.randint(0, customers.get_last_customer_id())  # noqa: S311 - no secret
    stated = 0
    for batch in _all_customers(behind=behind):
        due = _not_under_way(_of_whom_something_else_is_known(batch, now=now))
        stated += _state(due[: limit - stated], now=now)
        if stated >= limit:
            break
    return stated


def _all_customers(*, behind: int) -> Iterator[list[int]]:
    """Their ids, a thousand at a time: those after this one, then the others."""
    after = behind
    while batch := customers.list_customer_ids(after=after, limit=BATCH):
        yield batch
        after = batch[-1]
    after = 0
    while after < behind and (batch := customers.list_customer_ids(after=after, limit=BATCH)):
        yield [pk for pk in batch if pk <= behind]
        after = batch[-1]


def _not_under_way(customer_ids: Sequence[int]) -> list[int]:
    """Those of whom nothing that a night has stated waits, or was given up."""
    stated = Delivery.objects.filter(
        subscriber=SUBSCRIBER,
        message__fact=SEGMENTS_CHANGED,
        aggregate_type="customer",
        aggregate_id__in=customer_ids,
    ).values_list("aggregate_id", flat=True)
    # One after the other: each status has an index of its own.
    under_way = {*stated.filter(status="pending"), *stated.filter(status="dead")}
    return [pk for pk in customer_ids if pk not in under_way]


def _of_whom_something_else_is_known(customer_ids: Sequence[int], *, now: datetime) -> list[int]:
    contacts = selectors.find_contacts(customer_ids=customer_ids, now=now)
    wanted = {pk: segments.written(contact.segments) for pk, contact in contacts.items()}
    told = dict(MarketingContact.objects.filter(pk__in=customer_ids).values_list("pk", "segments"))
    return [pk for pk in customer_ids if wanted.get(pk) != told.get(pk)]


def _state(customer_ids: Sequence[int], *, now: datetime) -> int:
    keys = {f"{SEGMENTS_CHANGED}.{pk}.{now.date().isoformat()}": pk for pk in customer_ids}
    with short_transaction():
        stated = OutboxMessage.objects.filter(dedupe_key__in=keys).values_list(
            "dedupe_key", flat=True
        )
        new = keys.keys() - set(stated)
        for key in sorted(new, key=keys.__getitem__):
            audit.publish(
                SEGMENTS_CHANGED,
                aggregate_type="customer",
                aggregate_id=keys[key],
                dedupe_key=key,
                payload={"customer_id": keys[key]},
            )
    return len(new)
