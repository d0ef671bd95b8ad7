"""Keeps the books in double entry: what lies in the account at the provider, and why.

Debits are positive. Each function writes transactions whose legs add up to zero, in the caller's
database transaction. Captures and refunds are written where they are settled; fees and disputes are
booked from the provider's own balance transactions, each once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.kernel import money, sql
from config.kernel.models import new_uuid
from payments.models import LedgerEntry

if TYPE_CHECKING:
    from decimal import Decimal

    from payments.gateway import BalanceTransaction
    from payments.models import Dispute, Payment, Refund

Account = LedgerEntry.Account
Kind = LedgerEntry.Kind


def record_capture(payment: Payment) -> None:
    """Debit the balance at the provider, credit the customer's receipts."""
    _write(payment, Account.CUSTOMER_RECEIPTS, kind=Kind.CAPTURE, amount=payment.amount_received)


def record_refund(payment: Payment, refund: Refund) -> None:
    """The reverse of a capture, for the refunded amount."""
    _write(
        payment, Account.CUSTOMER_RECEIPTS, kind=Kind.REFUND, amount=-refund.amount, refund=refund
    )


def record_refund_reversal(payment: Payment, refund: Refund) -> None:
    """The reverse of a refund that failed after it had succeeded."""
    _write(
        payment,
        Account.CUSTOMER_RECEIPTS,
        kind=Kind.REFUND_REVERSAL,
        amount=refund.amount,
        refund=refund,
    )


def book_fee(payment: Payment, told: BalanceTransaction) -> None:
    """What the provider kept of a movement of the payment's money."""
    _write(
        payment,
        Account.PROVIDER_FEES,
        kind=Kind.FEE,
        amount=-money.from_minor(told.fee_minor, told.currency),
        told=told,
    )


def book_dispute(payment: Payment, dispute: Dispute | None, told: BalanceTransaction) -> None:
    """The bank has taken the payment's money back, or given it again."""
    sign = 1 if told.amount_minor > 0 else -1
    _write(
        payment,
        Account.DISPUTED_RECEIPTS,
        kind=Kind.DISPUTE_REVERSAL if told.amount_minor > 0 else Kind.DISPUTE,
        amount=sign * money.from_minor(abs(told.amount_minor), told.currency),
        dispute=dispute,
        told=told,
    )


def _write(
    payment: Payment,
    against: str,
    *,
    kind: str,
    amount: Decimal,
    refund: Refund | None = None,
    dispute: Dispute | None = None,
    told: BalanceTransaction | None = None,
) -> None:
    """Both legs: `amount` into the balance at the provider, the same out of `against`.

    An entry booked from a balance transaction bears the day on which the provider made it.
    """
    transaction = new_uuid()
    booked = {"balance_transaction_id": told.id, "created_at": told.created_at} if told else {}
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
                dispute=dispute,
                **booked,
            )
            for account, leg in ((Account.STRIPE_BALANCE, amount), (against, -amount))
        )
    )
