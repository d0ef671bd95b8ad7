"""Keeps each customer's order count and lifetime value: a subscriber of what happens to orders.

Nothing is counted up. Whatever the fact says, the figures are worked out anew from orders and
payments while the customer is locked, so facts may come twice, late or in any order: whoever is
last has seen all that was committed before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from audit import outbox
from config.kernel import sql
from config.kernel.db import short_transaction
from customers import selectors as customers
from customers.models import CustomerMetrics
from customers.services import replace_metrics
from orders.models import Order

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from audit.models import OutboxMessage

SUBSCRIBER: Final = "customer_metrics"
FACTS: Final = (
    "order.confirmed",
    "order.claimed",
    "order.cancelled",
    "order.refunded",
    "order.refund_failed",
)
"""All that makes an order count, or no longer, or changes what it has brought."""
LIVING: Final = (
    Order.Status.CONFIRMED,
    Order.Status.PROCESSING,
    Order.Status.SHIPPED,
    Order.Status.DELIVERED,
)
REBUILD_BATCH: Final = 500
FIGURES: Final = """
    SELECT orders.customer_id, payments.currency,
        count(*) FILTER (WHERE orders.status = ANY(%(living)s)) AS order_count,
        coalesce(
            sum(payments.amount_received - payments.amount_refunded)
                FILTER (WHERE orders.status = ANY(%(living)s)),
            0.00
        ) AS lifetime_value
    FROM payments JOIN orders ON orders.id = payments.order_id
    WHERE orders.customer_id = ANY(%(customers)s) AND payments.status = 'succeeded'
    GROUP BY orders.customer_id, payments.currency
    ORDER BY orders.customer_id, payments.currency
"""


def subscribe() -> None:
    """Follow the facts; called once the app is ready."""
    for fact in FACTS:
        outbox.subscribe(fact, SUBSCRIBER, refresh)


def refresh(message: OutboxMessage) -> str | None:
    """Bring the figures of the customer whom a fact is about up to date.

    Opens its own transaction. Any repetition is harmless. A constant number of statements; the
    cost is that of reading this customer's orders by their index.

    Returns:
        Why there was nothing to do, if so.
    """
    buyers = Order.objects.values_list("customer_id", flat=True)
    customer_id: int | None = buyers.get(pk=message.aggregate_id)
    if customer_id is None:
        return "not counted: a guest's order"
    _recompute([customer_id])
    return None


def rebuild_all(*, progress: Callable[[int, int], None] = lambda _done, _last: None) -> int:
    """Work out everybody's figures anew, a few hundred customers a transaction, by id.

    Never needed by itself: facts that are still open bring the figures up to date. It is for the
    day when the rule changes, or when somebody has written into the table by hand.

    Args:
        progress: told the last customer id done and the highest there is.

    Returns:
        How many rows were wrong or missing.
    """
    corrected, done, last = 0, 0, customers.get_last_customer_id()
    while batch := customers.list_customer_ids(after=done, limit=REBUILD_BATCH):
        corrected += _recompute(batch)
        done = batch[-1]
        progress(done, last)
    return corrected


def _recompute(customer_ids: Collection[int]) -> int:
    with short_transaction():
        locked = customers.lock_customers(customer_ids=customer_ids)
        return replace_metrics(customer_ids=locked, metrics=_figures(locked))


def _figures(customer_ids: Collection[int]) -> list[CustomerMetrics]:
    """A currency stays once something was paid in it, if need be with zeros."""
    found = sql.fetch(FIGURES, customers=list(customer_ids), living=list(LIVING))
    return [CustomerMetrics(**row._asdict()) for row in found]
