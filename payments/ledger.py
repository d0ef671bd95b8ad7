"""Keeps the books in double entry: what came in at the provider, and whom it came from.

Debits are positive. Each function writes one transaction whose legs add up to zero, in the
caller's database transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.kernel import sql
from config.kernel.models import new_uuid
from payments.models import LedgerEntry

if TYPE_CHECKING:
    from decimal import Decimal

    from payments.models import Payment, Refund


def record_capture(payment: Payment) -> None:
    """Debit the balance at the provider, credit the customer's receipts."""
    _write(payment, amount=payment.amount_received, kind=LedgerEntry.Kind.CAPTURE)


def record_refund(payment: Payment, refund: Refund) -> None:
    """The reverse of a capture, for the refunded amount."""
    _write(payment, amount=-refund.amount, kind=LedgerEntry.Kind.REFUND, refund=refund)


def record_refund_reversal(payment: Payment, refund: Refund) -> None:
    """The reverse of a refund that failed after it had succeeded."""
    _write(payment, amount=refund.amount, kind=LedgerEntry.Kind.REFUND_REVERSAL, refund=refund)


def _write(payment: Payment, *, amount: Decimal, kind: str, refund: Refund | None = None) -> None:
    transaction = new_uuid()
    sql.insert_later(
        *(
            LedgerEntry(
                transaction=transaction,
                kind=kind,
                account=account,
                currency=payment.currency,
                amount=leg,
                payment=payment,
                refund=refund,
            )
            for account, leg in (
                (LedgerEntry.Account.STRIPE_BALANCE, amount),
                (LedgerEntry.Account.CUSTOMER_RECEIPTS, -amount),
            )
        )
    )
