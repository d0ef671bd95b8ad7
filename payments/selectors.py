"""Reads the ledger of a period, what waits for staff, and how far the provider was read."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

from audit.models import AuditLog
from payments.models import Dispute, Payment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from django.db.backends.utils import CursorWrapper
    from django.db.models import QuerySet

FETCHED_AT_ONCE: Final = 5_000
EVIDENCE_DUE_SOON: Final = timedelta(days=3)  # a week-end, and a day to gather it
OPEN_DISPUTE: Final = f"""
    SELECT FROM payments JOIN disputes ON disputes.payment_id = payments.id
    WHERE disputes.status NOT IN {Dispute.CLOSED}
"""
"""SQL for `NOT EXISTS (… AND payments.order_id = …)`: what a bank still asks about stays."""
EVENTS_BACKFILLED: Final = "EVENTS_BACKFILLED"
"""Written to the audit log each time a part of the provider's list of events was read: up to when
(`until`), and of which types (`types`)."""


class LedgerLine(NamedTuple):
    """An entry with all that says where it comes from; `amount` in major units, debits positive."""

    entry: int
    booked_at: datetime
    transaction: str
    kind: str
    account: str
    amount: Decimal
    currency: str
    order_number: str
    payment: str
    payment_intent: str | None
    refund: str | None
    provider_refund: str | None
    dispute: str | None
    balance_transaction: str | None


@dataclass(slots=True, kw_only=True)
class AccountTotals:
    """What a period did to an account, in major units of `currency`; `movements` by kind."""

    currency: str
    account: str
    opening: Decimal = Decimal(0)
    movements: dict[str, Decimal] = field(default_factory=dict)

    @property
    def closing(self) -> Decimal:
        """What the account held when the period was over."""
        return self.opening + sum(self.movements.values(), start=Decimal(0))


def count_ledger_lines(cursor: CursorWrapper, *, begin: datetime, end: datetime) -> int:
    """How many entries were booked from `begin` on and before `end`."""
    cursor.execute(
        "SELECT count(*) FROM ledger_entries WHERE created_at >= %s AND created_at < %s",
        [begin, end],
    )
    return int(cursor.fetchone()[0])


def ledger_lines(cursor: CursorWrapper, *, begin: datetime, end: datetime) -> Iterator[LedgerLine]:
    """The entries booked from `begin` on and before `end`, oldest first, by transaction.

    Requires an open transaction, and `cursor` for itself until the last one is read: they come
    through a cursor of the server's, so that a million of them are never in memory together.
    """
    # Django's own server-side cursors are off: PgBouncer in transaction mode cannot hold one
    # open between transactions. Within one it can.
    cursor.execute("SET LOCAL cursor_tuple_fraction = 1")  # all of them are wanted, not the first
    cursor.execute(
        """
        DECLARE ledger_lines NO SCROLL CURSOR FOR
        SELECT entry.id, entry.created_at, entry.transaction::text, entry.kind, entry.account,
               entry.amount, entry.currency, o.order_number, p.uuid::text, p.payment_intent_id,
               r.uuid::text, r.stripe_refund_id, d.stripe_dispute_id, entry.balance_transaction_id
        FROM ledger_entries entry
        JOIN payments p ON p.id = entry.payment_id
        JOIN orders o ON o.id = p.order_id
        LEFT JOIN refunds r ON r.id = entry.refund_id
        LEFT JOIN disputes d ON d.id = entry.dispute_id
        WHERE entry.created_at >= %s AND entry.created_at < %s
        ORDER BY entry.created_at, entry.transaction, entry.id
        """,
        [begin, end],
    )
    while True:
        cursor.execute(f"FETCH {FETCHED_AT_ONCE} FROM ledger_lines")
        rows = cursor.fetchall()
        yield from map(LedgerLine._make, rows)
        if len(rows) < FETCHED_AT_ONCE:
            cursor.execute("CLOSE ledger_lines")
            return


def ledger_totals(cursor: CursorWrapper, *, begin: datetime, end: datetime) -> list[AccountTotals]:
    """What every account held at `begin`, and what moved it before `end`; by currency."""
    cursor.execute(
        """
        SELECT currency, account, kind,
               coalesce(sum(amount) FILTER (WHERE created_at < %(begin)s), 0),
               sum(amount) FILTER (WHERE created_at >= %(begin)s)
        FROM ledger_entries WHERE created_at < %(end)s
        GROUP BY currency, account, kind ORDER BY currency, account, kind
        """,
        {"begin": begin, "end": end},
    )
    totals: dict[tuple[str, str], AccountTotals] = {}
    for currency, account, kind, before, moved in cursor.fetchall():
        total = totals.setdefault(
            (currency, account), AccountTotals(currency=currency, account=account)
        )
        total.opening += before
        if moved is not None:
            total.movements[kind] = moved
    return list(totals.values())


def disputes_to_answer() -> QuerySet[Dispute]:
    """Disputes, and banks' questions, that wait for evidence of ours; unanswered they are lost."""
    return Dispute.objects.filter(
        status__in=[Dispute.Status.NEEDS_RESPONSE, Dispute.Status.WARNING_NEEDS_RESPONSE]
    )


def disputes_due_soon(*, now: datetime) -> QuerySet[Dispute]:
    """Those whose evidence is due within three days, or was and is not there."""
    return disputes_to_answer().filter(evidence_due_at__lte=now + EVIDENCE_DUE_SOON)


def payments_awaiting_intent(named: Iterable[str]) -> set[str]:
    """Which of the payments that intents name are open and have no intent yet: theirs may come.

    No other payment can ever take up an intent (rule 3 of docs/placement.md). What is no UUID
    names nothing.
    """
    waiting = Payment.objects.filter(
        uuid__in=[found for text in named if (found := uuid_or_none(text))],
        payment_intent_id=None,
        status__in=Payment.OPEN,
    )
    return {str(found) for found in waiting.values_list("uuid", flat=True)}


def uuid_or_none(text: str) -> uuid.UUID | None:
    """What the provider's metadata says, if it is a UUID."""
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def events_read_until(*, types: Sequence[str]) -> datetime | None:
    """The instant up to which the provider's events were read, without a gap; None: never yet.

    Only what was read of all these types counts: one that is handled since yesterday has a gap.
    """
    told = (
        AuditLog.objects.filter(event_type=EVENTS_BACKFILLED, data__contains={"types": [*types]})
        .order_by("-created_at", "-id")
        .values_list("data__until", flat=True)
        .first()
    )
    return datetime.fromisoformat(told) if told else None


def first_payment_at() -> datetime | None:
    """When our first payment was made, if any was."""
    return Payment.objects.order_by("id").values_list("created_at", flat=True).first()
