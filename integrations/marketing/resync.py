"""Tells the marketing tool everything anew: for a new tool, or one that was restored."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.utils import timezone

from audit.outbox import DeliveryFailedError, ReceiverAwayError
from config.kernel.models import new_uuid
from customers import selectors as customers
from integrations.marketing import contacts, selectors
from integrations.marketing.models import MarketingContact

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BATCH: Final = 1_000
TRIES: Final = 4
LONGEST_PAUSE_SECONDS: Final = 30.0
MOST_SHOWN: Final = 1_000
"""So many refusals are told; a mistake in the configuration may have everybody refused."""


@dataclass(slots=True, kw_only=True)
class Resync:
    """What came of it: how many were told of, and of whom the tool would not hear, and why.

    `refused`: the first thousand of `failed`. `done`: everybody up to this customer was dealt with.
    `problem`: why it ended before the last.
    """

    told: int = 0
    failed: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)
    done: int = 0
    problem: str = ""

    def refuse(self, customer_id: int, problem: str) -> None:
        """Note that the tool would not hear of a customer."""
        self.failed += 1
        if len(self.refused) < MOST_SHOWN:
            self.refused.append((customer_id, problem))


def resync(
    *,
    after: int = 0,
    progress: Callable[[int, int], None] = lambda _done, _last: None,
    pause: Callable[[float], None] = time.sleep,
) -> Resync:
    """Tell of every contact, and remove whoever is none any more, by the customers' ids.

    No faster than `MARKETING_PER_SECOND`. Runs beside the facts, and may be repeated at any time.
    A tool that is away is asked a few times more; then it ends, to be gone on with by `after`.
    Opens its own transactions; never call it inside one.

    Args:
        after: go on behind this customer.
        progress: told the last customer id done and the highest there is.
        pause: waits so many seconds.
    """
    outcome, last = Resync(done=after), customers.get_last_customer_id()
    while batch := customers.list_customer_ids(after=outcome.done, limit=BATCH):
        for customer_id in _concerned(batch):
            began = time.monotonic()
            try:
                outcome.told += _tell(customer_id, pause=pause)
            except ReceiverAwayError as exc:
                outcome.problem = str(exc)
                return outcome
            except DeliveryFailedError as exc:
                outcome.refuse(customer_id, str(exc))
            outcome.done = customer_id
            progress(customer_id, last)
            pause(max(0.0, began + 1 / settings.MARKETING_PER_SECOND - time.monotonic()))
        outcome.done = batch[-1]
        progress(outcome.done, last)
    return outcome


def _concerned(customer_ids: Sequence[int]) -> list[int]:
    """Those who are contacts, and those whom the tool may think to be."""
    living = selectors.find_contacts(customer_ids=customer_ids, now=timezone.now())
    known = MarketingContact.objects.filter(pk__in=customer_ids).values_list("pk", flat=True)
    return sorted({*living, *known})


def _tell(customer_id: int, *, pause: Callable[[float], None]) -> bool:
    key = new_uuid()
    for number in range(1, TRIES):
        try:
            return contacts.bring_up_to_date(
                customer_id=customer_id, key=key, occurred_at=timezone.now()
            )
        except ReceiverAwayError as exc:
            pause(min(exc.retry_after or 2.0**number, LONGEST_PAUSE_SECONDS))
    return contacts.bring_up_to_date(customer_id=customer_id, key=key, occurred_at=timezone.now())
