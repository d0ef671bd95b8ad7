"""Reads whom marketing may write to, and what it may know of them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from config.kernel import money, sql
from customers import suppressions
from customers.models import Customer, CustomerMetrics
from integrations.marketing import segments
from integrations.marketing.segments import Bought
from orders.services.customer_metrics import LIVING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

# By the index of a customer's orders.
LAST_ORDERS: Final = """
    SELECT customer_id, max(created_at) AS last_order_at FROM orders
    WHERE customer_id = ANY(%(customers)s) AND status = ANY(%(living)s) GROUP BY customer_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """Somebody who has agreed to be written to, and whose address is theirs for sure."""

    customer_id: int
    email: str
    first_name: str
    last_name: str
    bought: Sequence[Bought]
    last_order_at: datetime | None
    segments: Mapping[str, str]

    def told(self, *, unsubscribe_url: str) -> dict[str, Any]:
        """What the marketing tool is sent. Money is a decimal string beside its currency."""
        return {
            "contact_id": str(self.customer_id),
            "email": self.email,
            "first_name": self.first_name,
            "last_name": self.last_name,
            "marketing_consent": True,
            "bought": [
                {
                    "currency": one.currency,
                    "order_count": one.order_count,
                    "lifetime_value": money.format_amount(one.lifetime_value, one.currency),
                }
                for one in self.bought
            ],
            "last_order_date": self.last_order_at and self.last_order_at.date().isoformat(),
            "segments": dict(self.segments),
            "unsubscribe_url": unsubscribe_url,
        }


def find_contact(*, customer_id: int, now: datetime) -> Contact | None:
    """The contact that a customer is at this moment; None: nobody who may be written to."""
    return find_contacts(customer_ids=[customer_id], now=now).get(customer_id)


def find_contacts(*, customer_ids: Collection[int], now: datetime) -> dict[int, Contact]:
    """Those of these customers who may be written to. A constant number of statements.

    They have consented, have verified their address, to which mail arrives, and are neither
    suspended nor erased.

    Args:
        now: by which the segments are worked out.
    """
    willing = Customer.objects.filter(
        pk__in=customer_ids,
        marketing_consent=True,
        email_verified=True,
        status=Customer.Status.ACTIVE,
        erased_at=None,
    ).only("email", "first_name", "last_name")
    lost = suppressions.find_suppressed(addresses=[customer.email for customer in willing])
    customers = [customer for customer in willing if customer.email not in lost]
    ids = [customer.pk for customer in customers]
    bought: dict[int, list[Bought]] = defaultdict(list)
    for row in CustomerMetrics.objects.filter(customer_id__in=ids).order_by("currency"):
        bought[row.customer_id].append(
            Bought(
                currency=row.currency,
                order_count=row.order_count,
                lifetime_value=row.lifetime_value,
            )
        )
    last_orders = {
        row.customer_id: row.last_order_at
        for row in sql.fetch(LAST_ORDERS, customers=ids, living=list(LIVING))
    }
    return {
        customer.pk: Contact(
            customer_id=customer.pk,
            email=customer.email,
            first_name=customer.first_name,
            last_name=customer.last_name,
            bought=bought[customer.pk],
            last_order_at=last_orders.get(customer.pk),
            segments=segments.of(
                bought=bought[customer.pk],
                last_order_at=last_orders.get(customer.pk),
                now=now,
            ),
        )
        for customer in customers
    }
