"""Tells the CRM of each order and customer that something happened to.

Whatever the fact says, the CRM is given the present state, and after that it is looked whether it
still is: who was faster, of two deliveries about one customer or of an erasure and a delivery, does
not matter, since the last to write has looked after it wrote. So facts may come twice, late, in any
order, and beside a re-sync.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from django.db.models import Exists, OuterRef, Q

from audit.outbox import DeliveryFailedError, ReceiverAwayError
from config.kernel.clock import Deadline
from customers.models import Customer
from integrations.crm import adapter, records
from integrations.crm.records import Occasion
from integrations.rest import CALL_SECONDS
from orders.models import Order

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from django.db.models import QuerySet

    from audit.models import OutboxMessage

Record = TypeVar("Record")

SUBSCRIBER: Final = "crm"
ORDER_FACTS: Final = (
    "order.confirmed",
    "order.processing",
    "shipment.sent",
    "order.delivered",
    "order.cancelled",
    "order.refunded",
    "order.refund_failed",
    "order.disputed",
    "order.dispute_closed",
    "order.claimed",
    "order.erased",
)
CUSTOMER_FACTS: Final = (
    "customer.email_verified",
    "customer.marketing_consent_changed",
    "account.email_changed",
    "customer.erased",
)
FACTS: Final = (*ORDER_FACTS, *CUSTOMER_FACTS)
TOLD_OF_A_FACT: Final = ("refund", "amount", "currency", "shipment")
"""What of a fact's payload goes out beside the record: no number of another system's."""
HAND_OVER_SECONDS: Final = 9.5
MOST_ROUNDS: Final = 3
"""So often what is told may have changed by the time it is told, before others get their turn."""
NEVER_PAID: Final = "not told: nothing was ever paid for it"
NO_CONTACT: Final = "not told: no customer whose address is verified or who has bought anything"


def tell(message: OutboxMessage) -> str | None:
    """Give the CRM the present state of what a fact is about. Opens no transaction.

    Returns:
        Why there was nothing to tell, if so.

    Raises:
        DeliveryFailedError: it was not told; says so without personal data.
    """
    occasion = Occasion(
        key=message.uuid,
        fact=message.fact,
        occurred_at=message.occurred_at,
        details=_details(message.payload),
    )
    deadline = Deadline(HAND_OVER_SECONDS)
    if message.aggregate_type == "customer":
        return keep_customer(message.aggregate_id, occasion, deadline=deadline)
    return keep_order(message.aggregate_id, occasion, deadline=deadline)


def keep_customer(customer_id: int, occasion: Occasion, *, deadline: Deadline) -> str | None:
    """Have the CRM know of a customer what it should: all, or nothing more of an erased one."""
    if not worth_a_contact().filter(pk=customer_id).exists():
        return NO_CONTACT
    crm = adapter.chosen(deadline=deadline)
    return _keep(lambda: records.find_contact(customer_id), crm.keep_contacts, occasion, deadline)


def keep_order(order_id: int, occasion: Occasion, *, deadline: Deadline) -> str | None:
    """Have the CRM know of an order that was paid, and of its buyer."""
    crm = adapter.chosen(deadline=deadline)
    return _keep(lambda: records.find_order(order_id), crm.keep_orders, occasion, deadline)


def worth_a_contact() -> QuerySet[Customer]:
    """Those whose address is verified, or who bought something; those erased, to be forgotten.

    Not staff: their accounts are for work.
    """
    bought = Order.objects.filter(customer_id=OuterRef("pk"), payments__status="succeeded")
    return Customer.objects.filter(
        Q(email_verified=True) | Q(erased_at__isnull=False) | Q(Exists(bought)), is_staff=False
    )


def _keep(
    find: Callable[[], Record | None],
    give: Callable[[Sequence[Record], Occasion], None],
    occasion: Occasion,
    deadline: Deadline,
) -> str | None:
    """Give what is found, until what was given is what is found."""
    record = find()
    if record is None:
        return NEVER_PAID
    for number in range(MOST_ROUNDS):
        if number and deadline.remaining() < CALL_SECONDS:
            break
        try:
            give([record], occasion.again(number) if number else occasion)
        except ReceiverAwayError:
            raise  # which record it was matters to nobody
        except DeliveryFailedError as exc:
            raise type(exc)(f"{record}: {exc}") from exc
        told, record = record, find()
        if record is None or record == told:
            return None
    raise DeliveryFailedError(f"{record} changes faster than it can be told")


def _details(payload: Mapping[str, Any]) -> dict[str, Any]:
    return {name: payload[name] for name in TOLD_OF_A_FACT if name in payload}
