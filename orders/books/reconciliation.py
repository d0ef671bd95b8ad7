"""Compares payments with the provider, does what is safe, and puts the rest before a person.

Safe is what any machine of ours may do at any time: settle what the provider says, cancel an intent
that nobody can take up any more, follow refunds and disputes made elsewhere, book fees. Nothing is
charged, and money is given back only where the settlement itself decides so, or where somebody
has said so of charges that lay before a person already.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import structlog
from django.utils import timezone

from audit import services as audit
from config.kernel.clock import Deadline
from config.kernel.db import snapshot
from config.kernel.models import new_uuid
from config.kernel.one_by_one import by_itself
from orders.books import comparison
from orders.books.findings import Discrepancy, Remedy
from orders.services import disputes, refunds, settlement
from payments import bookkeeping, gateway, strangers
from payments.cases import note_looked_up, open_case, resolve_cases
from payments.models import Payment, ReconciliationCase
from payments.services import Told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orders.books.comparison import Ours
    from orders.books.findings import Compared

    OnProgress = Callable[[str, int, int | None], None]

CALL_SECONDS: Final = 20.0
CLOCKS_DIFFER: Final = timedelta(seconds=5)
MATCHED: Final = "matched"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """What came of it: `payments` were compared, `discrepancies` are what is left.

    `repaired` counts discrepancies that were there before and are gone now; `queued` those for
    which a case was opened now, and `resolved` the cases that could be closed. `given_back`: the
    charges without an order whose money is back now, by somebody's wish.
    """

    payments: int
    discrepancies: list[Discrepancy]
    repaired: int = 0
    queued: int = 0
    resolved: int = 0
    given_back: int = 0

    def counts(self) -> dict[str, int]:
        """How many there are of each kind, the payments that match among them."""
        counts = Counter(str(found.classification) for found in self.discrepancies)
        return {MATCHED: self.matched, **dict(sorted(counts.items()))}

    @property
    def matched(self) -> int:
        """How many payments the provider tells the same story of."""
        return self.payments - len(
            {found.intent_id for found in self.discrepancies if found.is_payment}
        )


def reconcile(
    *,
    since: datetime | None = None,
    repair: bool,
    refund_strangers: bool = False,
    on_progress: OnProgress,
) -> Reconciliation:
    """Compare every payment since then with the provider, both ways, and what open cases are about.

    With `repair` staff is reminded at the end of disputes that have to be answered soon, whatever
    became of the rest. Opens its own transactions; never call it inside one. Orders go on
    meanwhile. Repeating it is harmless.

    Args:
        since: payments made at or after this instant; None: all.
        repair: do what is safe and open a case for what is left; else nothing is changed.
        refund_strangers: with `repair`: also give back charges without an order that no payment
            here has, but only those with a case from before. Never by a machine's own decision.

    Raises:
        ProviderUnavailableError: a list could not be read to its end.
    """
    if not repair:
        return _look(since, on_progress=on_progress)
    try:
        return _put_right(since, refund_strangers=refund_strangers, on_progress=on_progress)
    finally:
        disputes.remind_of_evidence(now=timezone.now())


def _look(since: datetime | None, *, on_progress: OnProgress) -> Reconciliation:
    ours, compared = _compare(since, on_progress=on_progress)
    before = left = _one_each(compared.discrepancies)
    if before:
        ours, compared = _compare(since, on_progress=on_progress)
        left = _lasting(before, _one_each(compared.discrepancies))
    return Reconciliation(payments=ours.count, discrepancies=left)


def _put_right(
    since: datetime | None, *, refund_strangers: bool, on_progress: OnProgress
) -> Reconciliation:
    booked_until = _book(since, on_progress=on_progress)
    ours, compared = _compare(since, on_progress=on_progress, booked_until=booked_until)
    before = left = _one_each(compared.discrepancies)
    given_back = _give_back(before, on_progress=on_progress) if refund_strangers else 0
    if _repair(before, on_progress=on_progress):
        booked_until = _book(since, on_progress=on_progress)
    if before:
        ours, compared = _compare(since, on_progress=on_progress, booked_until=booked_until)
        left = _lasting(before, _one_each(compared.discrepancies))
    _note_looked_up(ours, compared, left)
    return Reconciliation(
        payments=ours.count,
        discrepancies=left,
        repaired=len({found.subject for found in before} - {found.subject for found in left}),
        queued=_queue(left),
        resolved=resolve_cases(
            found={(found.classification, found.subject) for found in left},
            looked_at=compared.seen,
        ),
        given_back=given_back,
    )


def _compare(
    since: datetime | None, *, on_progress: OnProgress, booked_until: datetime | None = None
) -> tuple[Ours, Compared]:
    with snapshot() as cursor:
        ours = comparison.read_ours(cursor, since=since)
    return ours, comparison.compare(ours, on_progress=on_progress, booked_until=booked_until)


def _book(since: datetime | None, *, on_progress: OnProgress) -> datetime:
    """Book what is not booked; returns the instant up to which everything is."""
    began = timezone.now() - CLOCKS_DIFFER
    first = Payment.objects.order_by("id").values_list("created_at", flat=True).first()
    if first is not None:
        bookkeeping.book_balance_transactions(
            since=max(first, since) if since else first,
            on_progress=lambda seen: on_progress("booking fees and disputes", seen, None),
        )
    return began


def _one_each(discrepancies: Iterable[Discrepancy]) -> list[Discrepancy]:
    """The first that is told of each thing: the later ones follow from it."""
    by_subject: dict[str, Discrepancy] = {}
    for found in discrepancies:
        by_subject.setdefault(found.subject, found)
    return list(by_subject.values())


def _lasting(before: list[Discrepancy], now: list[Discrepancy]) -> list[Discrepancy]:
    """Without the orders that are just on their way, which the next look finds settled."""
    seen_before = {found.subject for found in before}
    return [found for found in now if found.remedy is None or found.subject in seen_before]


def _repair(discrepancies: list[Discrepancy], *, on_progress: OnProgress) -> int:
    """Try what may be tried; one's trouble does not stop the others. Returns how many were."""
    curable = [found for found in discrepancies if found.remedy]
    for done, found in enumerate(curable):
        on_progress("repairing", done, len(curable))
        with by_itself(found.subject):
            _apply(found)
    return len(curable)


def _give_back(discrepancies: Iterable[Discrepancy], *, on_progress: OnProgress) -> int:
    """Give back the charges that nobody here knows and a person could have looked at before."""
    strange = [found.subject for found in discrepancies if not found.is_payment]
    cases = ReconciliationCase.objects.filter(
        classification=ReconciliationCase.Classification.CHARGE_WITHOUT_ORDER,
        subject__in=strange,
        resolved_at=None,
    ).order_by("id")
    given_back = 0
    for done, case in enumerate(cases):
        on_progress("giving back", done, len(cases))
        with by_itself(case.subject):
            given_back += strangers.give_back(case_id=case.pk, deadline=Deadline(CALL_SECONDS))
    return given_back


def _apply(found: Discrepancy) -> None:
    deadline = Deadline(CALL_SECONDS)
    payment = Payment.objects.filter(payment_intent_id=found.intent_id).first()
    if found.remedy == Remedy.CANCEL_INTENT:
        _cancel(found, payment, deadline)
    elif found.remedy == Remedy.FOLLOW_DISPUTE:
        disputes.sync_dispute(dispute_id=found.subject, deadline=deadline)
    elif payment is not None and found.remedy == Remedy.SETTLE:
        settlement.settle_afresh(payment=payment, deadline=deadline)
    elif payment is not None and found.remedy == Remedy.FOLLOW_REFUNDS:
        refunds.sync_refunds(payment_id=payment.pk, deadline=deadline)


def _cancel(found: Discrepancy, payment: Payment | None, deadline: Deadline) -> None:
    """Should it have been paid meanwhile, the provider says so: settled if a payment has it."""
    answer = gateway.cancel_intent(
        intent_id=found.intent_id, idempotency_key=f"cx-{new_uuid()}", deadline=deadline
    )
    if not isinstance(answer, gateway.Intent):
        return
    if payment is not None:
        settlement.settle(order_id=payment.order_id, told=Told(intent=answer))
    elif answer.status == "canceled":
        log.warning("orphan_intent_cancelled", intent=answer.id, order_number=found.order_number)
        audit.record("ORPHAN_INTENT_CANCELLED", data={"payment_intent_id": answer.id})


def _note_looked_up(ours: Ours, compared: Compared, left: Iterable[Discrepancy]) -> None:
    """So many old cases are looked up a night: the next time it is the turn of others."""
    looked_up = compared.seen | {found.subject for found in left}
    looked_up |= {found.intent_id for found in left}
    note_looked_up(
        subjects={case.subject for case in ours.old_cases} & looked_up,
        intent_ids={case.intent_id for case in ours.old_cases if case.intent_id} & looked_up,
    )


def _queue(discrepancies: Iterable[Discrepancy]) -> int:
    queued = 0
    for found in discrepancies:
        queued += open_case(
            classification=found.classification,
            subject=found.subject,
            payment=Payment.objects.filter(payment_intent_id=found.intent_id).first(),
            problem=_problem(found),
        )
    return queued


def _problem(found: Discrepancy) -> str:
    """In words for a case; of what no payment has, it is all that tells whose it may be."""
    if found.is_payment or found.order_number == "?":
        return found.problem
    return f"{found.problem}; it names the order {found.order_number}"
