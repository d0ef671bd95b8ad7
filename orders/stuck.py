"""Finds everything that is not moving, and says why in words for people.

A heap for each way of being stuck; what is on its way as it should be is in none. Each heap is
bounded reads over partial indexes: the page is opened when things are bad.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from audit.models import AuditLog, AuditVerification, Delivery, OutboxMessage, Receiver
from audit.seals.sealing import find_lag
from inventory.models import ScheduledPrice
from orders.books.alerts import STALE_SECONDS, checked_against, what_to_do
from orders.models import (
    BackgroundJob,
    CheckedInvariant,
    Order,
    RefundProposal,
    Return,
    ReturnReceipt,
)
from orders.services.history import name_of
from payments import selectors as payments
from payments.models import Dispute, Payment, ProviderEvent, ReconciliationCase, Refund
from payments.services import REFUSED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from django.db.models import Model, QuerySet

MOST_SHOWN: Final = 20
MOST_COUNTED: Final = 1_000

# Nothing stays in doubt longer than two minutes after the provider answers again.
PATIENCE: Final = timedelta(minutes=2)
REFUND_PATIENCE: Final = timedelta(minutes=10)
BANK_PATIENCE: Final = timedelta(days=10)  # a refund at the bank takes up to that
DELIVERY_PATIENCE: Final = timedelta(minutes=10)
PAUSE_PATIENCE: Final = timedelta(hours=1)
SEAL_PATIENCE: Final = timedelta(minutes=5)
VERIFICATION_PATIENCE: Final = timedelta(hours=28)  # one comes each night, and takes up to two
QUARANTINE_SHOWN: Final = timedelta(days=30)
RETURN_PATIENCE: Final = timedelta(days=14)  # consumer law gives no longer
FAILURE_SHOWN: Final = timedelta(days=7)  # as long as a job is kept


@dataclass(frozen=True, slots=True, kw_only=True)
class StuckRow:
    """One thing that does not move. `row` is whose page has the buttons that help."""

    row: Model
    since: datetime | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Heap:
    """All that is stuck in one way: the longest waiting first, `count` up to `MOST_COUNTED`.

    `buttons` names the actions of the rows' pages that help.
    """

    name: str
    title: str
    meaning: str
    count: int
    rows: Sequence[StuckRow]
    buttons: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """One way of being stuck: which rows are, since when, and why."""

    name: str
    title: str
    meaning: str
    permission: str
    rows: Callable[[datetime], QuerySet[Any]]
    since: Callable[[Any], datetime | None]
    reason: Callable[[Any], str]
    subject: Callable[[Any], Model] = lambda row: row
    buttons: Sequence[str] = ()


def find_heaps(*, may_read: Callable[[str], bool]) -> list[Heap]:
    """What is stuck at this moment, worst first; heaps without rows are left out.

    Args:
        may_read: whether whoever asks has a permission (`app.view_model`).
    """
    now = timezone.now()
    heaps = (_heap(way, now) for way in _WAYS if may_read(way.permission))
    return [heap for heap in heaps if heap.count]


def _heap(way: _Way, now: datetime) -> Heap:
    rows = list(way.rows(now)[:MOST_SHOWN])
    count = len(rows)
    if count == MOST_SHOWN:
        count = way.rows(now).order_by()[:MOST_COUNTED].count()
    return Heap(
        name=way.name,
        title=way.title,
        meaning=way.meaning,
        count=count,
        rows=[
            StuckRow(row=way.subject(row), since=way.since(row), reason=way.reason(row))
            for row in rows
        ],
        buttons=way.buttons,
    )


# --- payments and refunds ---------------------------------------------------------------------


def _in_doubt(now: datetime) -> QuerySet[Payment]:
    late = now - PATIENCE
    return (
        Payment.objects.filter(
            Q(in_doubt_since__lte=late) | Q(status=Payment.Status.CREATED, created_at__lte=late),
            status__in=Payment.OPEN,
        )
        .exclude(status=Payment.Status.PROCESSING, last_error="")  # a bank debit takes days
        .select_related("order")
        .order_by("created_at")
    )


def _why_in_doubt(payment: Payment) -> str:
    asked = f"asked {payment.attempts} times" if payment.attempts else "not asked yet"
    return (
        f"The provider has not said whether {payment.amount} {payment.currency} were paid"
        f" ({asked}{_last(payment.last_error)})."
    )


def _why_quarantined(payment: Payment) -> str:
    return (
        "What the provider says of this payment does not fit the order"
        f"{_last(payment.last_error)}. No machine may decide."
    )


def _expired_holds(now: datetime) -> QuerySet[Order]:
    return (
        Order.objects.filter(status=Order.Status.PENDING, hold_expires_at__lte=now - PATIENCE)
        .exclude(payment_status=Order.PaymentStatus.PROCESSING)
        .exclude(payments__status=Payment.Status.QUARANTINED)
        .order_by("hold_expires_at")
    )


def _late_refunds(now: datetime) -> QuerySet[Refund]:
    return (
        Refund.objects.filter(
            Q(status=Refund.Status.DUE, created_at__lte=now - REFUND_PATIENCE)
            | Q(status=Refund.Status.DUE, last_error__startswith=REFUSED)
            | Q(status=Refund.Status.PENDING, created_at__lte=now - BANK_PATIENCE)
        )
        .select_related("payment__order")
        .order_by("created_at")
    )


def _why_refund(refund: Refund) -> str:
    money = f"{refund.amount} {refund.currency}"
    if refund.status == Refund.Status.PENDING:
        return f"{money} are on their way to the customer's bank for more than ten days."
    return (
        f"{money} are not given back yet (tried {refund.attempts} times{_last(refund.last_error)})."
    )


def _why_proposal(proposal: RefundProposal) -> str:
    about = f"order {proposal.order.order_number}" if proposal.order else str(proposal.case)
    return (
        f"{name_of(proposal.proposed_by)} proposes to give {proposal.amount} {proposal.currency}"
        f" back for {about} ({proposal.get_kind_display()})."
    )


def _unpaid_returns(now: datetime) -> QuerySet[Return]:
    """Received, something of it arrived, and no money went back."""
    arrived = ReturnReceipt.objects.filter(item__parent=OuterRef("pk"), quantity__gt=0)
    return (
        Return.objects.filter(
            Exists(arrived), status=Return.Status.RECEIVED, received_at__lte=now - RETURN_PATIENCE
        )
        .select_related("order")
        .order_by("received_at")
    )


def _why_case(case: ReconciliationCase) -> str:
    return f"{case.get_classification_display()}: {case.problem}"


def _why_dispute(dispute: Dispute) -> str:
    return (
        f"The customer's bank asks for evidence about {dispute.amount} {dispute.currency}"
        f" ({dispute.reason}); without an answer the money is lost."
    )


# --- webhooks, facts, deliveries ----------------------------------------------------------------


def _events(now: datetime) -> QuerySet[ProviderEvent]:
    return ProviderEvent.objects.filter(
        Q(status=ProviderEvent.Status.RECEIVED, received_at__lte=now - PATIENCE)
        | Q(
            status=ProviderEvent.Status.QUARANTINED,
            received_at__gte=now - QUARANTINE_SHOWN,
        )
    ).order_by("received_at")


def _why_event(event: ProviderEvent) -> str:
    if event.status == ProviderEvent.Status.QUARANTINED:
        return f"{event.event_type} is signed and yet not right{_last(event.last_error)}."
    tried = f"tried {event.attempts} times{_last(event.last_error)}"
    return f"{event.event_type} is not worked off ({tried})."


def _unannounced(now: datetime) -> QuerySet[OutboxMessage]:
    return OutboxMessage.objects.filter(
        fanned_out_at__isnull=True, occurred_at__lte=now - PATIENCE
    ).order_by("id")


def _dead(now: datetime) -> QuerySet[Delivery]:  # noqa: ARG001 - as its siblings
    return (
        Delivery.objects.filter(status=Delivery.Status.DEAD)
        .select_related("message")
        .order_by("id")
    )


def _late_deliveries(now: datetime) -> QuerySet[Delivery]:
    return (
        Delivery.objects.filter(
            status=Delivery.Status.PENDING, created_at__lte=now - DELIVERY_PATIENCE
        )
        .select_related("message")
        .order_by("id")
    )


def _why_delivery(delivery: Delivery) -> str:
    tried = f"tried {delivery.attempts} times{_last(delivery.last_error)}"
    end = "given up" if delivery.status == Delivery.Status.DEAD else "not there yet"
    return f"{delivery.message.fact} to {delivery.subscriber}: {end} ({tried})."


def _silent(now: datetime) -> QuerySet[Receiver]:
    return Receiver.objects.filter(
        Q(failing_since__lte=now - PATIENCE) | Q(paused_at__lte=now - PAUSE_PATIENCE)
    ).order_by("failing_since", "paused_at")


def _why_silent(receiver: Receiver) -> str:
    if receiver.paused_at is not None:
        return f"Somebody has paused {receiver.subscriber}: is what it was paused for over?"
    return f"{receiver.subscriber} takes nothing{_last(receiver.last_error)}."


# --- what beat and the workers do --------------------------------------------------------------


def _overdue_prices(now: datetime) -> QuerySet[ScheduledPrice]:
    late = now - PATIENCE
    return (
        ScheduledPrice.objects.filter(
            Q(status=ScheduledPrice.Status.WAITING, starts_at__lte=late)
            | Q(status=ScheduledPrice.Status.RUNNING, ends_at__lte=late)
        )
        .select_related("product")
        .order_by("starts_at")
    )


def _why_price(scheduled: ScheduledPrice) -> str:
    what = f"{scheduled.product.sku}, {scheduled.amount} {scheduled.currency}"
    if scheduled.status == ScheduledPrice.Status.WAITING:
        return f"{what} should have begun."
    return f"{what} should have ended, and still holds."


def _failed_jobs(now: datetime) -> QuerySet[BackgroundJob]:
    return (
        BackgroundJob.objects.filter(
            status=BackgroundJob.Status.FAILED, finished_at__gte=now - FAILURE_SHOWN
        )
        .select_related("owner")
        .order_by("finished_at")
    )


def _why_job(job: BackgroundJob) -> str:
    return f"{name_of(job.owner)} asked for it: {job.error}"


# --- the books ----------------------------------------------------------------------------------


def _violated(now: datetime) -> QuerySet[CheckedInvariant]:  # noqa: ARG001 - as its siblings
    return CheckedInvariant.objects.filter(violations__gt=0).order_by("-violations", "id")


def _why_violated(kept: CheckedInvariant) -> str:
    examples = ", ".join(kept.examples[:3])
    where = f": {examples}" if examples else ""
    return f"{kept.violations} violators of “{kept.name}”{where}. {what_to_do(kept.invariant)}"


def _unchecked(now: datetime) -> QuerySet[CheckedInvariant]:
    stale = Q()
    known = CheckedInvariant.objects.order_by().values_list("invariant", flat=True).distinct()
    for against, seconds in STALE_SECONDS.items():
        held = [name for name in known if checked_against(name) == against]
        stale |= Q(invariant__in=held, checked_at__lte=now - timedelta(seconds=seconds))
    return CheckedInvariant.objects.filter(stale).order_by("checked_at")


# --- the audit log --------------------------------------------------------------------------------


def _unsealed(now: datetime) -> QuerySet[AuditLog]:
    """The row that waits longest for its seal, once that is too long."""
    lag = find_lag()
    if lag.oldest_row is None or lag.oldest_at is None or lag.oldest_at > now - SEAL_PATIENCE:
        return AuditLog.objects.none()
    return AuditLog.objects.filter(pk=lag.oldest_row).order_by("pk")


def _not_as_sealed(now: datetime) -> QuerySet[AuditVerification]:
    """The latest verification, if it found something or no other has come since."""
    latest = AuditVerification.objects.order_by("-pk").values("pk")[:1]
    bad = Q(findings__gt=0) | Q(ran_at__lte=now - VERIFICATION_PATIENCE)
    return AuditVerification.objects.filter(bad, pk__in=latest).order_by("pk")


def _why_not_as_sealed(verification: AuditVerification) -> str:
    if not verification.findings:
        return "Nobody has looked since: see the worker's log for audit.tasks.verify."
    found = "; ".join(
        f"{told['kind'].replace('_', ' ')}"
        + "".join(f", {part} {told[part]}" for part in ("seal", "row", "place") if part in told)
        for told in verification.examples[:3]
    )
    return f"{verification.findings} findings: {found}. docs/audit.md says what to do with each."


def _last(error: str) -> str:
    return f"; last: {error}" if error else ""


_WAYS: Final[Sequence[_Way]] = (
    _Way(
        name="quarantined",
        title="Payments in quarantine",
        meaning="Money may have moved that no order accounts for. Ask again, or give it back.",
        permission="payments.view_payment",
        rows=lambda now: (  # noqa: ARG005
            Payment.objects.filter(status=Payment.Status.QUARANTINED)
            .select_related("order")
            .order_by("created_at")
        ),
        since=lambda payment: payment.updated_at,
        reason=_why_quarantined,
        subject=lambda payment: payment.order,
        buttons=("settle", "end_quarantine"),
    ),
    _Way(
        name="in-doubt",
        title="Payments in doubt",
        meaning="They settle by themselves once the provider answers. “Settle now” asks at once.",
        permission="payments.view_payment",
        rows=_in_doubt,
        since=lambda payment: payment.in_doubt_since or payment.created_at,
        reason=_why_in_doubt,
        subject=lambda payment: payment.order,
        buttons=("settle",),
    ),
    _Way(
        name="expired-holds",
        title="Holds that are over",
        meaning="Unpaid orders that still keep stock from others. “Settle now” ends them.",
        permission="orders.view_order",
        rows=_expired_holds,
        since=lambda order: order.hold_expires_at,
        reason=lambda order: (  # noqa: ARG005
            "It was not paid in time, and the provider has not confirmed that it never will be."
        ),
        buttons=("settle",),
    ),
    _Way(
        name="refunds",
        title="Refunds that are late",
        meaning="Customers wait for their money. “Settle now” sends it again, safely.",
        permission="payments.view_refund",
        rows=_late_refunds,
        since=lambda refund: refund.created_at,
        reason=_why_refund,
        subject=lambda refund: refund.payment.order,
        buttons=("settle",),
    ),
    _Way(
        name="proposals",
        title="Refunds that wait for a second person",
        meaning="A colleague's word was not enough for so much. Look at it, then agree or refuse.",
        permission="orders.view_refundproposal",
        rows=lambda now: (  # noqa: ARG005
            RefundProposal.objects.filter(status=RefundProposal.Status.WAITING)
            .select_related("order", "case", "proposed_by")
            .order_by("proposed_at")
        ),
        since=lambda proposal: proposal.proposed_at,
        reason=_why_proposal,
        buttons=("approve", "refuse"),
    ),
    _Way(
        name="returns",
        title="Returns that nobody refunded",
        meaning="The goods are back for two weeks, and the customer's money is not.",
        permission="orders.view_return",
        rows=_unpaid_returns,
        since=lambda wish: wish.received_at,
        reason=lambda wish: f"What came back of order {wish.order.order_number} is not paid back.",
        buttons=("refund",),
    ),
    _Way(
        name="cases",
        title="Differences with the provider",
        meaning="What the nightly comparison found and only a person may decide.",
        permission="payments.view_reconciliationcase",
        rows=lambda now: (  # noqa: ARG005
            ReconciliationCase.objects.filter(resolved_at__isnull=True)
            .select_related("payment__order")
            .order_by("first_seen_at")
        ),
        since=lambda case: case.first_seen_at,
        reason=_why_case,
        buttons=("give_back",),
    ),
    _Way(
        name="disputes",
        title="Disputes whose evidence is due",
        meaning="Answer them in the provider's dashboard before the day is over.",
        permission="payments.view_dispute",
        rows=lambda now: (
            payments.disputes_due_soon(now=now)
            .select_related("payment__order")
            .order_by("evidence_due_at")
        ),
        since=lambda dispute: dispute.opened_at,
        reason=_why_dispute,
    ),
    _Way(
        name="books",
        title="Books that do not balance",
        meaning="An invariant is violated: examples say where, docs/invariants.md what it means.",
        permission="orders.view_checkedinvariant",
        rows=_violated,
        since=lambda kept: kept.checked_at,
        reason=_why_violated,
    ),
    _Way(
        name="unchecked",
        title="Books that nobody checked",
        meaning="Beat or the worker does not run, or a check fails: see the worker's log.",
        permission="orders.view_checkedinvariant",
        rows=_unchecked,
        since=lambda kept: kept.checked_at,
        reason=lambda kept: f"“{kept.name}” was not checked since.",
    ),
    _Way(
        name="not-as-sealed",
        title="An audit log that is not known to be as it was sealed",
        meaning="Rows or seals were changed behind the application, or nobody looked.",
        permission="audit.view_auditverification",
        rows=_not_as_sealed,
        since=lambda verification: verification.ran_at,
        reason=_why_not_as_sealed,
        buttons=("verify",),
    ),
    _Way(
        name="unsealed",
        title="An audit log that is not sealed",
        meaning="Beat or the worker does not run, or a transaction was left open.",
        permission="audit.view_auditlog",
        rows=_unsealed,
        since=lambda row: row.created_at,
        reason=lambda row: (  # noqa: ARG005
            "It and all rows after it wait for a seal; until then nobody can vouch for them."
        ),
        buttons=("seal",),
    ),
    _Way(
        name="prices",
        title="Scheduled prices that are late",
        meaning="Beat or the worker does not run. Until then the shop sells at the former price.",
        permission="inventory.view_scheduledprice",
        rows=_overdue_prices,
        since=lambda scheduled: (
            scheduled.starts_at
            if scheduled.status == ScheduledPrice.Status.WAITING
            else scheduled.ends_at
        ),
        reason=_why_price,
        buttons=("stop",),
    ),
    _Way(
        name="jobs",
        title="Exports and imports that failed",
        meaning="They are not tried again: whoever asked for one asks again.",
        permission="orders.view_backgroundjob",
        rows=_failed_jobs,
        since=lambda job: job.finished_at,
        reason=_why_job,
    ),
    _Way(
        name="events",
        title="Webhooks not worked off",
        meaning="What the provider told us and nobody acted upon yet.",
        permission="payments.view_providerevent",
        rows=_events,
        since=lambda event: event.received_at,
        reason=_why_event,
        buttons=("work_off",),
    ),
    _Way(
        name="dead-deliveries",
        title="Deliveries given up",
        meaning="Somebody was not told. Put right what is wrong there, then retry.",
        permission="audit.view_delivery",
        rows=_dead,
        since=lambda delivery: delivery.created_at,
        reason=_why_delivery,
        buttons=("retry",),
    ),
    _Way(
        name="silent-receivers",
        title="Receivers that take nothing",
        meaning="Nothing is lost: it waits in order, and goes out once they take it again.",
        permission="audit.view_receiver",
        rows=_silent,
        since=lambda receiver: receiver.failing_since or receiver.paused_at,
        reason=_why_silent,
        buttons=("retry", "resume"),
    ),
    _Way(
        name="late-deliveries",
        title="Deliveries that are late",
        meaning="They are tried again by themselves, ever more rarely.",
        permission="audit.view_delivery",
        rows=_late_deliveries,
        since=lambda delivery: delivery.created_at,
        reason=_why_delivery,
        buttons=("retry",),
    ),
    _Way(
        name="unannounced",
        title="Facts nobody was told yet",
        meaning="The relay does not run: is there a worker?",
        permission="audit.view_outboxmessage",
        rows=_unannounced,
        since=lambda message: message.occurred_at,
        reason=lambda message: f"{message.fact} waits for the relay.",
    ),
)
