"""The outbox for tests of receivers: whom the settings name is told, until all has ended."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from audit import outbox
from audit.models import Delivery, OutboxMessage, Receiver
from audit.outbox import subscribers
from integrations import subscriptions

if TYPE_CHECKING:
    import pytest


def subscribe_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enter those whom the settings of this test name, and forget them at its end."""
    handlers = defaultdict(dict, {fact: dict(of) for fact, of in subscribers._handlers.items()})
    monkeypatch.setattr(subscribers, "_handlers", handlers)
    monkeypatch.setattr(subscribers, "_measures", dict(subscribers._measures))
    subscriptions.subscribe_all()


def tell_all(subscriber: str, *, most: int = 40) -> None:
    """Relay, and again with everything due at once, until nothing waits for this subscriber."""
    waiting = Delivery.objects.filter(subscriber=subscriber, status="pending")
    for _ in range(most):
        outbox.relay(jitter=lambda: 0.0)
        if not waiting.exists():
            return
        Receiver.objects.update(retry_at=None, failures=0, spent_until=None)
        waiting.update(next_attempt_at="2000-01-01T00:00Z")
    raise AssertionError(f"{subscriber} was not told all: {[d.last_error for d in waiting]}")


def delivery(subscriber: str) -> Delivery:
    """The latest delivery to a subscriber."""
    return Delivery.objects.filter(subscriber=subscriber).latest("pk")


def message(fact: str) -> OutboxMessage:
    """The latest message that states a fact."""
    return OutboxMessage.objects.filter(fact=fact).latest("pk")
