"""Tells of payments that wait for their buyer: some minutes later, not while they are at the bank.

Whoever pays with 3-D Secure is shown the bank's page at once. Who has left it can still go on
until the hold ends, if somebody tells them.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.conf import settings

from audit import services as audit
from audit.models import OutboxMessage
from config.kernel import sql
from config.kernel.db import short_transaction

ACTION_NEEDED: Final = "payment.action_needed"
PATIENCE: Final = timedelta(minutes=3)  # 3-D Secure takes most people less than two
# Whoever hears of it later cannot make it any more.
TIME_TO_PAY: Final = timedelta(minutes=2)

# Nobody waits for an order that is being settled: it comes by again.
WAITING: Final = """
    SELECT orders.id, orders.order_number FROM orders
    WHERE status = 'pending' AND payment_status = 'requires_action'
      AND created_at <= statement_timestamp() - %(patience)s
      AND hold_expires_at > statement_timestamp() + %(time_to_pay)s
      AND id > %(after)s
    ORDER BY id LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
"""


def tell_waiting(*, limit: int = 500) -> int:
    """State `payment.action_needed` of each order that still waits for its buyer; once an order.

    Opens its own transactions; never call it inside one. Repeating is harmless, and any number of
    them may run at once: whoever holds an order's row is the only one to tell of it.

    Returns:
        How many were told of now.
    """
    told = after = 0
    while True:
        with short_transaction():
            waiting = sql.fetch(
                WAITING,
                patience=min(PATIENCE, timedelta(minutes=settings.HOLD_MINUTES) / 3),
                time_to_pay=min(TIME_TO_PAY, timedelta(minutes=settings.HOLD_MINUTES) / 3),
                after=after,
                limit=limit,
            )
            # Read under the locks: whoever has told of one of them has committed that.
            keys = {order.id: f"order.{order.id}.action_needed" for order in waiting}
            known = set(
                OutboxMessage.objects.filter(dedupe_key__in=keys.values()).values_list(
                    "dedupe_key", flat=True
                )
            )
            for order in waiting:
                if keys[order.id] not in known:
                    audit.publish(
                        ACTION_NEEDED,
                        aggregate_type="order",
                        aggregate_id=order.id,
                        dedupe_key=keys[order.id],
                        payload={"order_id": order.id, "order_number": order.order_number},
                    )
                    told += 1
        if len(waiting) < limit:
            return told
        after = waiting[-1].id
