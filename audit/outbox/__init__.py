"""Carries the facts in the outbox to everyone who subscribed to them: at least once, never lost.

Every fact becomes one Delivery a subscriber. A delivery is leased by one statement, handed over
outside any transaction, and marked by another; whoever dies in between leaves a lease that ends.
One receiver that is slow, away or confused holds up nobody else, and one message no other.
"""

from audit.outbox.deliveries import LEASE
from audit.outbox.keeping import count_told, forget_told, retry
from audit.outbox.nudging import nudge_on_commit, set_nudge
from audit.outbox.pump import MAX_ATTEMPTS, RelayReport, describe, relay, wait_seconds
from audit.outbox.subscribers import (
    DeliveryFailedError,
    DuplicateSubscriptionError,
    Family,
    Measure,
    ReceiverAwayError,
    RejectedError,
    add_family,
    measure,
    subscribe,
    subscribe_batch,
)

__all__ = [
    "LEASE",
    "MAX_ATTEMPTS",
    "DeliveryFailedError",
    "DuplicateSubscriptionError",
    "Family",
    "Measure",
    "ReceiverAwayError",
    "RejectedError",
    "RelayReport",
    "add_family",
    "count_told",
    "describe",
    "forget_told",
    "measure",
    "nudge_on_commit",
    "relay",
    "retry",
    "set_nudge",
    "subscribe",
    "subscribe_batch",
    "wait_seconds",
]
