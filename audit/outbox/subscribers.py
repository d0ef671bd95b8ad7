"""Who is told of which fact, by which code, and in what measure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from audit.models import OutboxMessage

Handler = Callable[["OutboxMessage"], str | None]
BatchHandler = Callable[[Sequence["OutboxMessage"]], str | None]


class DeliveryFailedError(Exception):
    """A subscriber could not be told; the text goes into `last_error`: no personal data in it."""


class ReceiverAwayError(DeliveryFailedError):
    """The receiver did not answer, or takes nothing now; another message would fare no better.

    `retry_after`: the seconds it has asked for, or None.
    """

    def __init__(self, problem: str, *, retry_after: float | None = None) -> None:
        super().__init__(problem)
        self.retry_after = retry_after


class RejectedError(DeliveryFailedError):
    """The receiver answers, and will never take this message: given up at once, for staff."""


class DuplicateSubscriptionError(Exception):
    """Two handlers want to be the same subscriber of the same fact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """How much of it a subscriber bears.

    `per_second`: deliveries, of all relays together; None: whatever comes. `at_once`: hand-overs
    of one relay at the same time. `batch`: messages of one hand-over.
    """

    per_second: float | None = None
    at_once: int = 4
    batch: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Subscribers that are rows of a table: named `<prefix><number>`.

    `wanted` lists them with the facts they want, at the moment of a fan-out; `tell` hands a message
    over to one of them, by name.
    """

    prefix: str
    wanted: Callable[[], Sequence[tuple[str, str]]]
    tell: Callable[[str, OutboxMessage], str | None]
    measure: Measure


UNMEASURED: Final = Measure()
_handlers: dict[str, dict[str, Handler]] = defaultdict(dict)
_batch_handlers: dict[str, BatchHandler] = {}
_measures: dict[str, Measure] = {}
_families: dict[str, Family] = {}


def subscribe(fact: str, subscriber: str, handler: Handler) -> None:
    """Have `handler` called with every message that states `fact`; called in an app's `ready()`.

    The handler runs outside any transaction, on any thread, possibly more than once for one
    message: the receiver deduplicates by `message.uuid`. It ends within ten seconds. It returns
    nothing, or a note that says why it did not need to do anything. It raises what it likes;
    `DeliveryFailedError` keeps its text.

    A subscriber hears the facts about one aggregate in the order they were stated, unless one of
    them is given up: later ones are then told without it.

    Args:
        fact: dotted, past tense: `order.confirmed`.
        subscriber: stable name, kept with each delivery: `email`.
        handler: the same one again is fine.

    Raises:
        DuplicateSubscriptionError: another handler already has that name for that fact.
    """
    if _handlers[fact].setdefault(subscriber, handler) is not handler:
        raise DuplicateSubscriptionError(f"{subscriber} has already subscribed to {fact}")


def subscribe_batch(
    facts: Sequence[str], subscriber: str, handler: BatchHandler, *, measure: Measure
) -> None:
    """Have one handler called with many messages at a time: all of them are told, or none.

    Those that were not told come again one by one, so that one of them cannot spoil it for others.

    Raises:
        DuplicateSubscriptionError: the subscriber has another handler.
    """
    if _batch_handlers.setdefault(subscriber, handler) is not handler:
        raise DuplicateSubscriptionError(f"{subscriber} has subscribed already")
    _measures[subscriber] = measure
    single = _alone(handler)
    for fact in facts:
        _handlers[fact][subscriber] = single


def measure(subscriber: str, limits: Measure) -> None:
    """Say how much a subscriber bears."""
    _measures[subscriber] = limits


def add_family(family: Family) -> None:
    """Enter subscribers that come and go while we run; the same prefix again takes its place."""
    _families[family.prefix] = family


# --- for the relay ----------------------------------------------------------------------------


def wanted_pairs() -> list[tuple[str, str]]:
    """Every fact with each of those who want it, at this moment. May read the database."""
    fixed = [(fact, name) for fact, handlers in _handlers.items() for name in handlers]
    return [*fixed, *(pair for family in _families.values() for pair in family.wanted())]


def handler_of(*, subscriber: str, fact: str) -> Handler:
    """What hands a fact over to a subscriber.

    Raises:
        DeliveryFailedError: nobody has that name, or he does not want that fact any more.
    """
    family = _family_of(subscriber)
    if family is not None:
        return lambda message: family.tell(subscriber, message)
    handler = _handlers.get(fact, {}).get(subscriber)
    if handler is None:
        raise DeliveryFailedError("nobody has subscribed by this name")
    return handler


def batch_handler_of(subscriber: str) -> BatchHandler | None:
    """What hands several messages over at once, if the subscriber takes them so."""
    return _batch_handlers.get(subscriber)


def measure_of(subscriber: str) -> Measure:
    """How much a subscriber bears."""
    family = _family_of(subscriber)
    return family.measure if family else _measures.get(subscriber, UNMEASURED)


def kind_of(subscriber: str) -> str:
    """The subscriber's name, or its family's: for labels, of which there must not be too many."""
    family = _family_of(subscriber)
    return family.prefix.rstrip(":") if family else subscriber


def _family_of(subscriber: str) -> Family | None:
    return next((each for each in _families.values() if subscriber.startswith(each.prefix)), None)


def _alone(handler: BatchHandler) -> Handler:
    return lambda message: handler([message])
