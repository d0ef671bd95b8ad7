"""Hands events to the collector of the shop's analytics, many at a time where it takes them so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from django.conf import settings

from config.kernel.clock import Deadline
from integrations.analytics import events
from integrations.analytics.generic import GenericCollector
from integrations.analytics.segment import Segment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from audit.models import OutboxMessage
    from integrations.analytics.events import Event

SUBSCRIBER: Final = "analytics"
FACTS: Final = events.FACTS
HAND_OVER_SECONDS: Final = 9.5
NOTHING: Final = "not told: nothing was ever paid for it"


class Collector(Protocol):
    """Takes events at least once, and keeps each once by its id."""

    def __init__(self, *, base_url: str, token: str, deadline: Deadline) -> None:
        """Reach it there; no call lasts past the deadline."""

    def collect(self, collected: Sequence[Event]) -> None:
        """Take these, or raise a `DeliveryFailedError`: then some may have been taken."""


COLLECTORS: Final[Mapping[str, type[Collector]]] = {
    "generic": GenericCollector,
    "segment": Segment,
}


def tell(messages: Sequence[OutboxMessage]) -> str | None:
    """Hand over the events of these messages. Opens no transaction.

    Returns:
        Why there was nothing to tell, if so.

    Raises:
        DeliveryFailedError: some may have been taken; several come again, one by one.
        RejectedError: the same, of one that never will be taken, or of several among which it is.
    """
    collected = events.of(messages)
    if not collected:
        return NOTHING
    collector = COLLECTORS[settings.ANALYTICS_ADAPTER](
        base_url=settings.ANALYTICS_BASE_URL,
        token=settings.ANALYTICS_TOKEN,
        deadline=Deadline(HAND_OVER_SECONDS),
    )
    collector.collect(collected)
    return None


def tell_one(message: OutboxMessage) -> str | None:
    """The same of one message."""
    return tell([message])
