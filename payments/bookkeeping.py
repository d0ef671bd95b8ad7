"""Books what the provider takes besides captures and refunds: fees, and disputed money.

The provider's balance transactions are the source; each is booked once, by its id. Captures and
refunds themselves stand in the ledger already, from the moment they were settled.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Final

from django.db import IntegrityError
from django.db.models import Max

from config.kernel import money
from config.kernel.db import short_transaction, violated_constraint
from payments import gateway, ledger
from payments.cases import open_case
from payments.models import Dispute, LedgerEntry, Payment, ReconciliationCase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from payments.gateway import BalanceTransaction

OVERLAP: Final = timedelta(minutes=1)  # the provider may show a movement a little later
BATCH: Final = 100
DISPUTED: Final = frozenset({"dispute", "dispute_reversal"})  # reporting categories
BOOKED_ONCE: Final = "ledger_balance_transaction_booked_once"


@dataclass(slots=True, kw_only=True)
class BookingReport:
    """How many balance transactions were looked at, booked now, and of nobody of ours."""

    seen: int = 0
    booked: int = 0
    foreign: int = 0


def book_balance_transactions(
    *, since: datetime | None = None, on_progress: Callable[[int], None] | None = None
) -> BookingReport:
    """Bring the provider's balance transactions into the ledger, as far as they are not there.

    Opens its own transactions; never call it inside one. Any number may run at once.

    Args:
        since: None: from a little before the last one that was booked, or the first payment.
        on_progress: told how many were looked at.

    Raises:
        ProviderUnavailableError: the list could not be read to its end; nothing is booked.
    """
    report = BookingReport()
    began = since or _where_we_stand()
    if began is None:
        return report
    found = list(gateway.list_balance_transactions(created_since=int(began.timestamp())))
    oldest_first = iter(reversed(found))  # whoever dies on the way has left nothing out
    while page := list(islice(oldest_first, BATCH)):
        _book_page(page, report)
        if on_progress is not None:
            on_progress(report.seen)
    return report


def _where_we_stand() -> datetime | None:
    """An instant before which everything is booked."""
    booked = LedgerEntry.objects.exclude(balance_transaction_id=None).aggregate(
        at=Max("created_at")
    )
    at: datetime | None = booked["at"]
    if at is None:
        at = Payment.objects.order_by("id").values_list("created_at", flat=True).first()
    return at and at - OVERLAP


def _book_page(page: list[BalanceTransaction], report: BookingReport) -> None:
    """All of the page in one transaction; again, should another worker book some meanwhile."""
    report.seen += len(page)
    while True:
        try:
            with short_transaction():
                booked, foreign = _book_missing(page)
        except IntegrityError as exc:
            if violated_constraint(exc) != BOOKED_ONCE:
                raise
        else:
            report.booked += booked
            report.foreign += foreign
            return


def _book_missing(page: list[BalanceTransaction]) -> tuple[int, int]:
    known = set(
        LedgerEntry.objects.filter(
            balance_transaction_id__in=[told.id for told in page]
        ).values_list("balance_transaction_id", flat=True)
    )
    payments = _payments_of(page)
    booked = foreign = 0
    for told in page:
        payment = payments.get(told.payment_intent_id)
        if payment is None:
            foreign += 1
        elif told.id not in known and has_something_to_book(told):
            booked += _book(payment, told)
    return booked, foreign


def has_something_to_book(told: BalanceTransaction) -> bool:
    """Whether it is more than the capture or refund that the settlement has written."""
    return told.fee_minor != 0 or told.category in DISPUTED


def _payments_of(page: Iterable[BalanceTransaction]) -> dict[str, Payment]:
    ids = {told.payment_intent_id for told in page if told.payment_intent_id}
    found = Payment.objects.filter(payment_intent_id__in=ids)
    return {payment.payment_intent_id or "": payment for payment in found}


def _book(payment: Payment, told: BalanceTransaction) -> bool:
    """All legs of one balance transaction; what is odd about it comes before a person instead."""
    problem = _why_not(payment, told)
    if problem:
        open_case(
            classification=ReconciliationCase.Classification.AMOUNT_DIFFERS,
            subject=told.id,
            payment=payment,
            problem=problem,
        )
        return False
    if told.fee_minor:
        ledger.book_fee(payment, told)
    if told.category in DISPUTED:
        dispute = Dispute.objects.filter(stripe_dispute_id=told.source_id).first()
        ledger.book_dispute(payment, dispute, told)
    return True


def _why_not(payment: Payment, told: BalanceTransaction) -> str:
    if told.currency != payment.currency:
        # An account that converts currencies: our ledger keeps each payment in its own.
        return f"settled in {told.currency}, the payment is in {payment.currency}"
    try:
        for amount in (told.amount_minor, told.fee_minor):
            money.from_minor(amount, told.currency)
    except money.InvalidAmountError as exc:
        return str(exc)
    return ""
