"""Everything that happened to an order, as staff is told: what, when, by whom, from every table.

The audit log says who did what; it is dropped after thirteen months, so what has rows of its own
(moves, parcels, refunds, returns, papers, disputes) is told from these and only signed from the
log. What stands in both is told once. A constant number of statements, each on an index by the
order (docs/order-page.md); the buyer's own shorter story is `orders.services.timeline`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Min, Q

from audit.models import AuditLog, Delivery, OutboxMessage
from config.kernel import money
from customers.models import Customer
from orders.models import (
    Invoice,
    Letter,
    OrderNote,
    PaymentLink,
    Return,
    ReturnItem,
    Shipment,
    ShipmentItem,
)
from payments.models import Dispute, LedgerEntry, Payment, ProviderEvent, Refund

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from orders.models import Order

MOST_OF_A_KIND: Final = 500
"""Of each kind the newest: an order that has more of one needs another tool than eyes."""
BEFORE_IT_WAS: Final = timedelta(hours=1)
"""An order's first audit row is as old as itself; this lets the log's older months unread."""
SYSTEM: Final = "the shop"
PROVIDER: Final = "the payment provider"
BUYER: Final = "the customer"
GUEST: Final = "the guest"

MOVES: Final = {
    "pending": "Placed",
    "confirmed": "Paid and confirmed",
    "processing": "In the warehouse's hands",
    "shipped": "All of it is shipped",
    "delivered": "Delivered",
    "cancelled": "Cancelled",
    "refunded": "All money is back, the goods are gone",
}
KINDS: Final = {
    "DISPUTE": "dispute",
    "PAYMENT": "payment",
    "QUARANTINE": "payment",
    "REFUND": "refund",
    "RETURN": "return",
    "WEBHOOK": "webhook",
}
"""What a row of the log that nothing else tells of is about: not everybody may read of money."""
AMOUNTS: Final = {"amount", "seen_amount"}
WORDS: Final = {
    "ORDER_FAILED": "The payment failed; the order has ended",
    "ORDER_PART_SHIPPED": "A first part was shipped",
    "ORDER_PROCESSING_BEGUN": "Taken up by the warehouse",
    "SHIPMENT_IN_TRANSIT": "The carrier has a parcel",
    "SHIPMENT_DELIVERED": "A parcel has arrived",
    "SHIPMENT_IN_TROUBLE": "The carrier has trouble with a parcel",
    "ORDER_CLAIMED": "The guest's order went to an account",
    "ORDER_ERASED": "The buyer was erased",
    "PAYMENT_QUARANTINED": "The payment was put into quarantine",
    "QUARANTINE_ENDED": "The quarantine was ended",
    "PAYMENT_CAME_LATE": "Money came in after the order had ended",
    "REFUND_REFUSED": "The provider refused a refund",
    "WEBHOOK_QUARANTINED": "A webhook was put into quarantine",
    "RECONCILIATION_CASE_OPENED": "The provider's books say something else",
    "DISPUTE_MOVED": "The dispute went on",
    "DISPUTE_EVIDENCE_DUE": "Evidence for the dispute is due",
    "LETTER_RESEND_REQUESTED": "Asked for a letter to be sent again",
    "DELIVERIES_RETRIED": "Asked for deliveries to be tried again",
    "SUPPORT_CONTEXT_READ": "Looked up by customer service's chat tool",
}
ALARMING: Final = {
    "PAYMENT_QUARANTINED",
    "WEBHOOK_QUARANTINED",
    "REFUND_REFUSED",
    "SHIPMENT_IN_TROUBLE",
    "RECONCILIATION_CASE_OPENED",
    "DISPUTE_EVIDENCE_DUE",
}
# What came of a button stands in the rows of what it did.
TOLD_ELSEWHERE: Final = ("ORDER_NOTE_ADDED", "STAFF_ACTION_DONE")


class Severity(StrEnum):
    """How much of an eye a thing deserves."""

    PLAIN = "plain"
    GOOD = "good"
    ODD = "odd"
    BAD = "bad"


PRESSED: Final = {
    "STAFF_ACTION_ASKED": ("Pressed “{}”", Severity.PLAIN),
    "STAFF_ACTION_REFUSED": ("“{}” was refused", Severity.ODD),
    "STAFF_ACTION_UNKNOWN": ("“{}” may have been done: the database went away", Severity.ODD),
}
"""What became of a button, where nothing else tells it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """How far a fact has come with one of those who are told of it."""

    delivery_id: int
    subscriber: str
    status: str
    attempts: int
    last_error: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One thing that happened. `target` is the row to look at: a model's label and a key.

    `text` is what was written, of a letter or a note.
    """

    at: datetime
    who: str
    kind: str
    title: str
    detail: str = ""
    text: str = ""
    target: tuple[str, int] | None = None
    severity: Severity = Severity.PLAIN
    handovers: tuple[Handover, ...] = field(default=())


def history(order: Order) -> list[Happening]:
    """Everything, oldest first; what one transaction did stays in its order."""
    payments = list(Payment.objects.filter(order=order).order_by("pk"))
    known = dict(_known(order, payments))
    found = [*_logged(order, known), *known.values()]
    letters = list(Letter.objects.filter(order=order).order_by("-pk")[:MOST_OF_A_KIND])
    found += [
        *_payments(payments),
        *_webhooks(payments),
        *_facts(order, letters),
        *_letters(letters),
        *_notes(order),
        *_link(order),
    ]
    return sorted(found, key=lambda one: one.at)


# --- what has rows of its own -----------------------------------------------------------------


def _known(
    order: Order, payments: Iterable[Payment]
) -> Iterator[tuple[tuple[Any, ...], Happening]]:
    """By what an audit row of the same event would say of it."""
    for move in order.transitions.order_by("version"):
        yield (
            ("move", move.version),
            Happening(
                at=move.at,
                who=SYSTEM,
                kind="order",
                title=MOVES[move.to_status],
                detail=order.cancellation_reason if move.to_status == "cancelled" else "",
                severity=Severity.ODD if move.to_status == "cancelled" else Severity.GOOD,
            ),
        )
    yield from _parcels(order)
    yield from _refunds(payments)
    yield from _returns(order)
    for paper in Invoice.objects.filter(order=order).order_by("pk"):
        yield (
            ("document", paper.document_number),
            Happening(
                at=paper.issued_at,
                who=SYSTEM,
                kind="document",
                title=f"{Invoice.Kind(paper.kind).label} {paper.document_number} issued",
                detail=_money(paper.total_amount, paper.currency),
                target=("orders.invoice", paper.pk),
            ),
        )
    for dispute in Dispute.objects.filter(payment__in=payments).order_by("pk"):
        yield (
            ("dispute", dispute.stripe_dispute_id),
            Happening(
                at=dispute.opened_at,
                who=PROVIDER,
                kind="dispute",
                title="The customer's bank disputes the payment",
                detail=f"{_money(dispute.amount, dispute.currency)}: {dispute.reason};"
                f" now {dispute.status}",
                target=("payments.dispute", dispute.pk),
                severity=Severity.BAD,
            ),
        )


def _parcels(order: Order) -> Iterator[tuple[tuple[Any, ...], Happening]]:
    parts: dict[int, list[str]] = {}
    items = ShipmentItem.objects.filter(shipment__order=order).select_related("order_item")
    for item in items.order_by("order_item_id"):
        parts.setdefault(item.shipment_id, []).append(_units(item))
    for parcel in Shipment.objects.filter(order=order).order_by("pk"):
        yield (
            ("parcel", parcel.pk),
            Happening(
                at=parcel.shipped_at,
                who=SYSTEM,
                kind="parcel",
                title=f"Parcel sent with {parcel.carrier}",
                detail="; ".join(
                    filter(None, [parcel.tracking_number, ", ".join(parts[parcel.pk])])
                )
                if parcel.pk in parts
                else parcel.tracking_number,
                target=("orders.shipment", parcel.pk),
                severity=Severity.GOOD,
            ),
        )


def _refunds(payments: Iterable[Payment]) -> Iterator[tuple[tuple[Any, ...], Happening]]:
    booked = Q(ledger_entries__kind=LedgerEntry.Kind.REFUND)
    found = Refund.objects.filter(payment__in=list(payments)).order_by("pk")
    for refund in found.annotate(succeeded_at=Min("ledger_entries__created_at", filter=booked)):
        told = Happening(
            at=refund.created_at,
            who=SYSTEM,
            kind="refund",
            title=f"Refund of {_money(refund.amount, refund.currency)} decided",
            detail=said(refund.reason, refund.last_error),
            target=("payments.refund", refund.pk),
            severity=Severity.ODD if refund.last_error else Severity.PLAIN,
        )
        yield ("refund", str(refund.uuid), "REQUESTED"), told
        if refund.succeeded_at is not None:
            yield (
                ("refund", str(refund.uuid), "SUCCEEDED"),
                replace(
                    told,
                    at=refund.succeeded_at,
                    who=PROVIDER,
                    title=f"Refund of {_money(refund.amount, refund.currency)} is back",
                    detail="",
                    severity=Severity.GOOD,
                ),
            )
        if refund.status == Refund.Status.FAILED:
            yield (
                ("refund", str(refund.uuid), "FAILED"),
                replace(
                    told,
                    at=refund.updated_at,
                    who=PROVIDER,
                    title=f"Refund of {_money(refund.amount, refund.currency)} failed",
                    detail=refund.last_error,
                    severity=Severity.BAD,
                ),
            )


def _returns(order: Order) -> Iterator[tuple[tuple[Any, ...], Happening]]:
    parts: dict[int, list[str]] = {}
    items = ReturnItem.objects.filter(parent__order=order).select_related("order_item")
    for item in items.order_by("order_item_id"):
        parts.setdefault(item.parent_id, []).append(_units(item))
    for wish in Return.objects.filter(order=order).order_by("pk"):
        told = Happening(
            at=wish.created_at,
            who=BUYER,
            kind="return",
            title="Wants to send something back",
            detail=said(", ".join(parts.get(wish.pk, [])), wish.reason),
            target=("orders.return", wish.pk),
            severity=Severity.ODD,
        )
        name = str(wish.public_id)
        yield ("return", name, "REQUESTED"), told
        if wish.decided_at is not None:
            is_refused = wish.status == Return.Status.REFUSED
            yield (
                ("return", name, "REFUSED" if is_refused else "ACCEPTED"),
                replace(
                    told,
                    at=wish.decided_at,
                    who=SYSTEM,
                    title=f"Return {'refused' if is_refused else 'accepted'}",
                    detail=wish.refusal,
                    severity=Severity.PLAIN,
                ),
            )
        if wish.received_at is not None:
            yield (
                ("return", name, "RECEIVED"),
                replace(
                    told,
                    at=wish.received_at,
                    who=SYSTEM,
                    title="Return received",
                    detail="",
                    severity=Severity.PLAIN,
                ),
            )


# --- what the log says ------------------------------------------------------------------------


def _logged(order: Order, known: dict[tuple[Any, ...], Happening]) -> list[Happening]:
    """The log's rows; of what is known from elsewhere they say who. Takes it out of `known`."""
    rows = AuditLog.objects.filter(
        entity_type="order",
        entity_id=order.pk,
        created_at__gte=order.created_at - BEFORE_IT_WAS,
    ).exclude(event_type__in=TOLD_ELSEWHERE)
    newest = list(rows.order_by("-created_at", "-pk")[:MOST_OF_A_KIND])
    names = names_of({row.user_id for row in newest})
    found = []
    for row in reversed(newest):
        who = _who(row, order, names)
        same = known.pop(_key(row), None)
        if same is None:
            found.append(_from_log(row, who))
        else:
            title = WORDS.get(row.event_type, same.title)
            by = who if who != SYSTEM else same.who
            found.append(replace(same, at=row.created_at, who=by, title=title))
    return found


def _key(row: AuditLog) -> tuple[Any, ...]:
    data: Mapping[str, Any] = row.data or {}
    kind, _, state = row.event_type.partition("_")
    if "version" in data and "to" in data:
        return ("move", data["version"])
    if kind in {"REFUND", "RETURN"}:
        return (kind.lower(), data.get(kind.lower()), state)
    if row.event_type == "SHIPMENT_SENT":
        return ("parcel", data.get("shipment"))
    if row.event_type == "DISPUTE_OPENED":
        return ("dispute", data.get("dispute"))
    return ("document", data.get("document"))


def _from_log(row: AuditLog, who: str) -> Happening:
    data: Mapping[str, Any] = row.data or {}
    if row.event_type in PRESSED:
        return pressed(row, data, who)
    told = {name: value for name, value in data.items() if name != "order_number" and value}
    words = row.event_type.replace("_", " ").capitalize()
    about = row.event_type.partition("_")[0]
    return Happening(
        at=row.created_at,
        who=who,
        kind=KINDS.get(about, "order"),
        title=WORDS.get(row.event_type, words),
        detail="; ".join(f"{name.replace('_', ' ')}: {value}" for name, value in told.items()),
        target=("audit.auditlog", row.pk),
        severity=Severity.BAD if row.event_type in ALARMING else Severity.PLAIN,
    )


def pressed(row: AuditLog, data: Mapping[str, Any], who: str) -> Happening:
    """A button, by its name, with what was typed that the log keeps."""
    title, severity = PRESSED[row.event_type]
    asked: Mapping[str, Any] = data.get("asked") or {}
    typed = [f"{name.replace('_', ' ')}: {value}" for name, value in asked.items()]
    name = str(data.get("action", "")).replace("_", " ")
    return Happening(
        at=row.created_at,
        who=who,
        kind="refund" if AMOUNTS & asked.keys() else "staff",
        title=title.format(name),
        detail=said(*typed, str(data.get("code", ""))),
        target=("audit.auditlog", row.pk),
        severity=severity,
    )


def names_of(user_ids: set[int | None]) -> dict[int, str]:
    """Whoever stands behind these numbers, as others know them, by number. One statement."""
    people = Customer.objects.filter(pk__in=[pk for pk in user_ids if pk is not None])
    return {one.pk: name_of(one) for one in people}


def name_of(person: Customer) -> str:
    """A member of staff, as others know them."""
    return f"{person.get_full_name()} ({person.email})".strip()


def _who(row: AuditLog, order: Order, names: Mapping[int, str]) -> str:
    """Whose request it was; without one it was a worker. A guest's has an address and no name."""
    if row.user_id is not None:
        is_buyer = row.user_id == order.customer_id
        return BUYER if is_buyer else names.get(row.user_id, f"account {row.user_id}")
    if row.ip_address is None:
        return SYSTEM
    return GUEST if order.guest_email is not None else SYSTEM


# --- money and messages -----------------------------------------------------------------------


def _payments(payments: Iterable[Payment]) -> Iterator[Happening]:
    for payment in payments:
        is_quarantined = payment.status == Payment.Status.QUARANTINED
        yield Happening(
            at=payment.created_at,
            who=SYSTEM,
            kind="payment",
            title=f"Payment of {_money(payment.amount, payment.currency)} begun",
            detail=said(
                f"now {payment.status}",
                payment.failure_code,
                payment.decline_code,
                payment.last_error,
            ),
            target=("payments.payment", payment.pk),
            severity=Severity.BAD if is_quarantined else Severity.PLAIN,
        )
        if payment.in_doubt_since is not None:
            yield Happening(
                at=payment.in_doubt_since,
                who=SYSTEM,
                kind="payment",
                title="The payment's outcome is not known",
                detail=said(f"asked {payment.attempts} times since", payment.last_error),
                target=("payments.payment", payment.pk),
                severity=Severity.ODD,
            )


def _webhooks(payments: Iterable[Payment]) -> Iterator[Happening]:
    intents = [payment.payment_intent_id for payment in payments if payment.payment_intent_id]
    events = ProviderEvent.objects.filter(payment_intent_id__in=intents).defer("payload")
    for event in events.order_by("-pk")[:MOST_OF_A_KIND]:
        is_bad = event.status == ProviderEvent.Status.QUARANTINED
        yield Happening(
            at=event.received_at,
            who=PROVIDER,
            kind="webhook",
            title=f"The provider says {event.event_type}",
            detail=said(event.status, event.last_error),
            target=("payments.providerevent", event.pk),
            severity=Severity.BAD if is_bad else Severity.PLAIN,
        )


def _facts(order: Order, letters: Iterable[Letter]) -> Iterator[Happening]:
    """Who was told of what. An e-mail that arrived is told of as the letter that it is."""
    messages = OutboxMessage.objects.filter(aggregate_type="order", aggregate_id=order.pk)
    newest = list(messages.order_by("-pk")[:MOST_OF_A_KIND])
    sent = {letter.message_uuid for letter in letters}
    handovers: dict[int, list[Handover]] = {}
    for one in Delivery.objects.filter(message__in=newest).order_by("pk"):
        handovers.setdefault(one.message_id, []).append(
            Handover(
                delivery_id=one.pk,
                subscriber=one.subscriber,
                status=one.status,
                attempts=one.attempts,
                last_error=one.last_error,
                at=one.delivered_at or one.created_at,
            )
        )
    for message in newest:
        parts = [
            one
            for one in handovers.get(message.pk, [])
            if not (message.uuid in sent and one.subscriber == "email")
        ]
        yield Happening(
            at=message.occurred_at,
            who=SYSTEM,
            kind="delivery",
            title=f"Tells of “{message.fact}”",
            detail="; ".join(map(_handed_over, parts)),
            target=("audit.outboxmessage", message.pk),
            severity=_worst(parts),
            handovers=tuple(parts),
        )


def _handed_over(one: Handover) -> str:
    tries = f" after {one.attempts} tries" if one.attempts > 1 else ""
    error = f" ({one.last_error})" if one.last_error else ""
    return f"{one.subscriber}: {one.status}{tries}{error}"


def _worst(parts: Iterable[Handover]) -> Severity:
    if any(one.status == Delivery.Status.DEAD for one in parts):
        return Severity.BAD
    if any(one.status == Delivery.Status.PENDING and one.last_error for one in parts):
        return Severity.ODD
    return Severity.PLAIN


def _letters(letters: Iterable[Letter]) -> Iterator[Happening]:
    for letter in letters:
        yield Happening(
            at=letter.sent_at,
            who=SYSTEM,
            kind="letter",
            title=f"E-mail sent{' again' if letter.repeats_id else ''}: {letter.subject}",
            detail=f"to {letter.recipient}" if letter.recipient else "its words are gone",
            text=letter.readable_text,
            target=("orders.letter", letter.pk),
        )


def _notes(order: Order) -> Iterator[Happening]:
    notes = OrderNote.objects.filter(order=order).select_related("author")
    for note in notes.order_by("-pk")[:MOST_OF_A_KIND]:
        yield Happening(
            at=note.created_at,
            who=name_of(note.author),
            kind="note",
            title="Note",
            detail="" if note.text else "erased with the buyer",
            text=note.text,
            target=("orders.ordernote", note.pk),
        )


def _link(order: Order) -> Iterator[Happening]:
    if order.cart_id is None:
        return
    for link in PaymentLink.objects.filter(cart_id=order.cart_id).select_related("created_by"):
        yield Happening(
            at=link.created_at,
            who=name_of(link.created_by),
            kind="link",
            title="Taken by telephone: a payment link was made",
            target=("orders.paymentlink", link.pk),
        )


def _units(item: Any) -> str:
    return f"{item.quantity} × {item.order_item.product_sku}"


def _money(amount: Any, currency: str) -> str:
    try:
        return f"{money.format_amount(amount, currency)} {currency}"
    except (money.UnsupportedCurrencyError, money.InvalidAmountError):
        return f"{amount} {currency}"  # the page of an odd row is the one that staff needs most


def said(*parts: str) -> str:
    """These in a line; what is empty is left out."""
    return "; ".join(filter(None, parts))
