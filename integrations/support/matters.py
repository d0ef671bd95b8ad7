"""Which facts are matters for customer service, and what each says of an order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.urls import reverse

from integrations.email.letters import is_deliverable
from integrations.support.texts import SENTENCES, SUBJECTS
from orders import selectors
from orders.models import Return
from orders.services.settlement import QUARANTINE_ENDED, QUARANTINED

if TYPE_CHECKING:
    from audit.models import OutboxMessage
    from orders.models import Order


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How a fact bears on a matter.

    `kind` is the matter's, `named_by` what of the fact's payload tells one matter of an order from
    another. `opens`: worth a ticket by itself; others are added to one that is there. `settles`:
    nothing more is to be talked about.
    """

    kind: str
    named_by: str
    opens: bool = False
    settles: bool = False


KINDS: Final = {
    QUARANTINED: Kind(kind="quarantine", named_by="payment", opens=True),
    QUARANTINE_ENDED: Kind(kind="quarantine", named_by="payment", settles=True),
    "order.disputed": Kind(kind="dispute", named_by="dispute", opens=True),
    "order.dispute_due": Kind(kind="dispute", named_by="dispute", opens=True),
    "order.dispute_closed": Kind(kind="dispute", named_by="dispute", settles=True),
    "return.requested": Kind(kind="return", named_by="return", opens=True),
    "return.accepted": Kind(kind="return", named_by="return"),
    "return.refused": Kind(kind="return", named_by="return", settles=True),
    "return.received": Kind(kind="return", named_by="return"),
    "return.refunded": Kind(kind="return", named_by="return", settles=True),
    "order.refund_failed": Kind(kind="refund", named_by="refund", opens=True),
}
FACTS: Final = tuple(KINDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Whom to talk to; goes to the support system and nowhere else."""

    email: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One fact about a matter, as staff reads it.

    `person` is None where nobody is left to be written to.
    """

    matter: str
    kind: str
    opens: bool
    settles: bool
    order_id: int
    order_number: str
    order_url: str
    subject: str
    text: str
    person: Person | None


def read(message: OutboxMessage) -> Entry:
    """What a fact says of its matter, with all that is looked up for it now."""
    how = KINDS[message.fact]
    order = selectors.get_order_and_buyer(order_id=message.aggregate_id)
    order_url = order_url_of(order)
    sentences = SENTENCES[settings.SUPPORT_LANGUAGE]
    about = {**message.payload, "order_number": order.order_number, "order_url": order_url}
    lines = [sentences[message.fact].format_map(about)]
    if message.fact == "return.requested" and (reason := _reason(message)):
        lines.append(sentences["reason"].format(reason=reason))
    lines.append(sentences["order"].format_map(about))
    return Entry(
        matter=f"{how.kind}.{message.payload[how.named_by]}",
        kind=how.kind,
        opens=how.opens,
        settles=how.settles,
        order_id=order.pk,
        order_number=order.order_number,
        order_url=order_url,
        subject=SUBJECTS[settings.SUPPORT_LANGUAGE][how.kind].format_map(about),
        text="\n\n".join(lines),
        person=_person(order),
    )


def order_url_of(order: Order) -> str:
    """The order's page for staff."""
    return f"{settings.PUBLIC_URL}{reverse('admin:orders_order_change', args=[order.pk])}"


def _person(order: Order) -> Person | None:
    email = selectors.address_of_buyer(order)
    if not is_deliverable(email):
        return None
    buyer = order.customer
    name = buyer.get_full_name() if buyer else f"{order.guest_first_name} {order.guest_last_name}"
    return Person(email=email, name=name.strip() or email)


def _reason(message: OutboxMessage) -> str:
    wish = Return.objects.filter(public_id=message.payload["return"]).only("reason").first()
    return wish.reason if wish else ""
