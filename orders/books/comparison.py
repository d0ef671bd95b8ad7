"""Compares our payments and refunds with the provider's own lists, both ways (I15-I17).

Our side is read first, in the snapshot; the provider's afterwards, while orders go on. So the
provider may be further than we are: an open payment whose intent is settled is in doubt, which
is I19's matter, not a violation. What we know nothing of is looked up afresh before it counts:
our row is always durable before the provider hears of it.
"""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

from config.kernel import money
from config.kernel.clock import Deadline
from orders.books.findings import Finding
from payments import gateway
from payments.errors import ProviderUnavailableError
from payments.models import Payment, Refund

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from django.db.backends.utils import CursorWrapper

    from payments.gateway import Intent, ProviderRefund

CALL_SECONDS: Final = 20.0
TOLD_EVERY: Final = 100  # as many as a page of the provider's lists has

# The intent statuses that fit a decided payment; an open or quarantined one may stand anywhere.
FITTING: Final = {
    "succeeded": frozenset({"succeeded"}),
    "failed": frozenset({"canceled"}),
    "cancelled": frozenset({"canceled"}),
}
# No money can move by itself on these: an intent without a payment may stand there.
HARMLESS: Final = frozenset({"requires_confirmation", "requires_payment_method", "canceled"})
REFUND_DEAD: Final = frozenset({"failed", "canceled"})

IN_DOUBT: Final = "payments in doubt: the provider has decided, we have not yet"
ORPHANS: Final = "intents without a payment, unconfirmed or canceled"


class OurPayment(NamedTuple):
    """A payment as the snapshot has it; `amount` in major units."""

    intent_id: str | None
    uuid: str
    order_number: str
    status: str
    currency: str
    amount: Decimal


class OurRefund(NamedTuple):
    """A refund as the snapshot has it; `amount` in major units."""

    uuid: str
    refund_id: str | None
    intent_id: str | None
    order_number: str
    status: str
    currency: str
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """Our side: payments since an instant, their refunds, their ledger balance by currency.

    `created_since`: Unix seconds of the first payment; None where there is no payment.
    """

    created_since: int | None
    payments: list[OurPayment]
    refunds: list[OurRefund]
    balances: dict[str, Decimal]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What the comparison found."""

    findings: list[Finding]
    notes: dict[str, int]


def read_ours(cursor: CursorWrapper, *, since: datetime | None) -> Ours:
    """Read our side within the caller's snapshot."""
    cursor.execute(
        """
        SELECT min(created_at), floor(extract(epoch FROM min(created_at)))::bigint
        FROM payments WHERE created_at >= coalesce(%s, '-infinity'::timestamptz)
        """,
        [since],
    )
    first_at, created_since = cursor.fetchone()
    cursor.execute(
        """
        SELECT p.payment_intent_id, p.uuid::text, o.order_number, p.status, p.currency, p.amount
        FROM payments p JOIN orders o ON o.id = p.order_id WHERE p.created_at >= %s
        """,
        [first_at],
    )
    payments = [OurPayment(*row) for row in cursor.fetchall()]
    cursor.execute(
        """
        SELECT r.uuid::text, r.stripe_refund_id, p.payment_intent_id, o.order_number,
               r.status, r.currency, r.amount
        FROM refunds r
        JOIN payments p ON p.id = r.payment_id
        JOIN orders o ON o.id = p.order_id
        WHERE p.created_at >= %s
        """,
        [first_at],
    )
    refunds = [OurRefund(*row) for row in cursor.fetchall()]
    cursor.execute(
        """
        SELECT entry.currency, sum(entry.amount)
        FROM ledger_entries entry JOIN payments p ON p.id = entry.payment_id
        WHERE entry.account = 'stripe_balance' AND entry.kind IN ('capture', 'refund')
          AND p.created_at >= %s
        GROUP BY entry.currency
        """,
        [first_at],
    )
    return Ours(
        created_since=created_since,
        payments=payments,
        refunds=refunds,
        balances=dict(cursor.fetchall()),
    )


def compare(ours: Ours, *, on_progress: Callable[[str, int, int | None], None]) -> Compared:
    """Ask the provider for everything since, and judge it. Never call it inside a transaction.

    Raises:
        ProviderUnavailableError: a list could not be read to its end.
    """
    judge = _Judge(ours)
    if ours.created_since is not None:
        intents = gateway.list_intents(created_since=ours.created_since)
        for seen, intent in enumerate(intents, start=1):
            judge.see_intent(intent)
            if seen % TOLD_EVERY == 0:
                on_progress("intents at the provider", seen, None)
        judge.ask_for_unseen_intents()
        refunds = gateway.list_all_refunds(created_since=ours.created_since)
        for seen, refund in enumerate(refunds, start=1):
            judge.see_refund(refund)
            if seen % TOLD_EVERY == 0:
                on_progress("refunds at the provider", seen, None)
        judge.ask_for_unseen_refunds()
    return judge.conclude()


class _Findings:
    """The invariants that need the provider, by name."""

    def __init__(self) -> None:
        self.intents = Finding(
            id="I15",
            name="intents_belong_to_payments",
            says="each of our intents has one payment of its amount, currency and metadata",
        )
        self.captures = Finding(
            id="I15",
            name="money_at_the_provider_is_booked",
            says="a succeeded intent's payment succeeded here, or the money is given back",
        )
        self.foreign_refunds = Finding(
            id="I15",
            name="refunds_at_the_provider_are_booked",
            says="each refund of our intents has one row here, of its amount and currency",
        )
        self.totals = Finding(
            id="I15",
            name="provider_totals_are_the_ledgers",
            says="captured − refunded at the provider = the ledger's stripe_balance, by currency",
        )
        self.payments = Finding(
            id="I16",
            name="payments_stand_at_the_provider",
            says="what succeeded, failed or was cancelled here did so at the provider",
        )
        self.refunds = Finding(
            id="I16",
            name="refunds_stand_at_the_provider",
            says="a refund that succeeded here did so at the provider",
        )
        self.charges = Finding(
            id="I17",
            name="orders_are_charged_once",
            says="an order has at most one succeeded intent that was not given back",
        )

    def all(self) -> list[Finding]:
        return [
            self.intents,
            self.captures,
            self.foreign_refunds,
            self.totals,
            self.payments,
            self.refunds,
            self.charges,
        ]


class _Judge:
    """Takes the provider's lists item by item; keeps only ids and amounts of what it has seen."""

    def __init__(self, ours: Ours) -> None:
        self.found = _Findings()
        self.notes: Counter[str] = Counter()
        self.balances = ours.balances
        self.payments = {
            payment.intent_id: payment for payment in ours.payments if payment.intent_id
        }
        self.refunds = {refund.uuid: refund for refund in ours.refunds}
        self.unseen_payments = dict(self.payments)
        self.unseen_refunds = {
            refund.refund_id: refund for refund in ours.refunds if refund.status == "succeeded"
        }
        self.strange_intents: list[Intent] = []
        self.strange_refunds: list[ProviderRefund] = []
        self.unbooked: list[Intent] = []
        self.charged_by_order: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
        self.given_back: Counter[str] = Counter()  # minor units by intent
        self.refunds_per_row: Counter[str] = Counter()
        self.total: Counter[str] = Counter()  # minor units by currency
        self.not_counted: set[str] = set()  # intents whose money our ledger need not know

    # --- intents ------------------------------------------------------------------------------
    def see_intent(self, intent: Intent) -> None:
        payment = self.payments.get(intent.id)
        if payment is None:
            if intent.metadata.get("app") == "orderkeep":
                self.strange_intents.append(intent)
            return
        self.unseen_payments.pop(intent.id, None)
        self._count_charge(intent)
        if payment.status == Payment.Status.QUARANTINED:
            self.not_counted.add(intent.id)
            return
        if not _is_about(payment, intent):
            self.found.intents.add(f"{payment.order_number} {intent.id}")
        self._judge_status(payment, intent)

    def _judge_status(self, payment: OurPayment, intent: Intent) -> None:
        fitting = FITTING.get(payment.status)
        if fitting is None:
            self.not_counted.add(intent.id)
            self.notes[IN_DOUBT] += intent.status in {"succeeded", "canceled"}
            return
        if intent.status == "succeeded":
            self.total[intent.currency] += intent.amount_received_minor
            if payment.status != Payment.Status.SUCCEEDED:
                self.unbooked.append(intent)
        elif intent.status not in fitting:
            self.found.payments.add(f"{payment.order_number} {intent.id}")

    def _count_charge(self, intent: Intent) -> None:
        if intent.status == "succeeded":
            order = intent.metadata.get("order_number") or intent.id
            self.charged_by_order[order].append((intent.id, intent.amount_received_minor))

    def ask_for_unseen_intents(self) -> None:
        """One by one: the clocks differ, and the list begins with the second of our first row."""
        for intent_id, payment in list(self.unseen_payments.items()):
            answer = gateway.retrieve_intent(intent_id=intent_id, deadline=Deadline(CALL_SECONDS))
            if isinstance(answer, gateway.Intent):
                self.see_intent(answer)
            elif isinstance(answer, gateway.Refused):
                self.found.payments.add(f"{payment.order_number} {intent_id}")
            else:
                raise ProviderUnavailableError

    def _judge_strange_intents(self) -> None:
        """Ours by their metadata, but none of the snapshot's: newer, older, orphans, or lost."""
        known = _known_intents(self.strange_intents)
        for intent in self.strange_intents:
            if intent.id in known:
                self.not_counted.add(intent.id)
                continue
            self._count_charge(intent)
            if intent.status in HARMLESS:
                self.notes[ORPHANS] += 1
                continue
            self.found.intents.add(f"{intent.metadata.get('order_number', '?')} {intent.id}")
            if intent.status == "succeeded":
                self.total[intent.currency] += intent.amount_received_minor

    # --- refunds ------------------------------------------------------------------------------
    def see_refund(self, refund: ProviderRefund) -> None:
        row = self.refunds.get(refund.metadata.get("refund", ""))
        if row is None:
            self.strange_refunds.append(refund)
            return
        self.unseen_refunds.pop(refund.id, None)
        self._count_refund(
            refund, is_booked=row.status not in {Refund.Status.DUE, Refund.Status.PENDING}
        )
        if refund.status in REFUND_DEAD:
            if row.status == Refund.Status.SUCCEEDED and row.refund_id == refund.id:
                self.found.refunds.add(f"{row.order_number} {refund.id}")
            return
        self.refunds_per_row[row.uuid] += 1
        if (
            row.intent_id != refund.payment_intent_id
            or not _is_amount(row.amount, row.currency, refund.amount_minor, refund.currency)
            or row.status == Refund.Status.FAILED
            or (row.refund_id is not None and row.refund_id != refund.id)
            or self.refunds_per_row[row.uuid] > 1
        ):
            self.found.foreign_refunds.add(f"{row.order_number} {refund.id}")
        elif row.status == Refund.Status.SUCCEEDED and refund.status != "succeeded":
            self.found.refunds.add(f"{row.order_number} {refund.id}")

    def _count_refund(self, refund: ProviderRefund, *, is_booked: bool) -> None:
        if refund.status in REFUND_DEAD:
            return
        self.given_back[refund.payment_intent_id] += refund.amount_minor
        counts = is_booked and refund.payment_intent_id not in self.not_counted
        if refund.status == "succeeded" and counts:
            self.total[refund.currency] -= refund.amount_minor

    def ask_for_unseen_refunds(self) -> None:
        for refund_id, row in list(self.unseen_refunds.items()):
            listed = gateway.list_refunds(
                intent_id=row.intent_id or "", deadline=Deadline(CALL_SECONDS)
            )
            if isinstance(listed, gateway.Unknown):
                raise ProviderUnavailableError
            found = [] if isinstance(listed, gateway.Refused) else listed
            if not any(refund.id == refund_id for refund in found):
                self.found.refunds.add(f"{row.order_number} {refund_id}")

    def _judge_strange_refunds(self) -> None:
        known = _known_refunds(self.strange_refunds)
        for refund in self.strange_refunds:
            payment = self.payments.get(refund.payment_intent_id)
            is_ours = payment is not None or refund.metadata.get("app") == "orderkeep"
            is_lost = is_ours and refund.id not in known
            self._count_refund(refund, is_booked=is_lost)
            if is_lost and refund.status not in REFUND_DEAD:
                order = payment.order_number if payment else "?"
                self.found.foreign_refunds.add(f"{order} {refund.id}")

    # --- all together -------------------------------------------------------------------------
    def conclude(self) -> Compared:
        self._judge_strange_intents()
        self._judge_strange_refunds()
        for intent in self.unbooked:
            if self.given_back[intent.id] < intent.amount_received_minor:
                self.found.captures.add(f"{self.payments[intent.id].order_number} {intent.id}")
        for order, charges in self.charged_by_order.items():
            kept = [1 for intent_id, amount in charges if self.given_back[intent_id] < amount]
            if len(kept) > 1:
                self.found.charges.add(order)
        for currency in sorted(self.total.keys() | self.balances.keys()):
            balance = self.balances.get(currency, Decimal(0))
            if not _is_amount(balance, currency, self.total[currency], currency):
                self.found.totals.add(currency)
        return Compared(findings=self.found.all(), notes={k: n for k, n in self.notes.items() if n})


def _is_about(payment: OurPayment, intent: Intent) -> bool:
    """Whether the intent is the payment's; one that succeeded must have received all of it."""
    return (
        intent.metadata.get("payment") == payment.uuid
        and _is_amount(payment.amount, payment.currency, intent.amount_minor, intent.currency)
        and (intent.status != "succeeded" or intent.amount_received_minor == intent.amount_minor)
    )


def _is_amount(amount: Decimal, currency: str, minor: int, minor_currency: str) -> bool:
    try:
        return currency == minor_currency and money.to_minor(amount, currency) == minor
    except (money.InvalidAmountError, money.UnsupportedCurrencyError):
        return False


def _known_intents(intents: Iterable[Intent]) -> set[str]:
    """Which of them are some payment's by now, whenever that was made."""
    return {
        known
        for known in Payment.objects.filter(
            payment_intent_id__in=[intent.id for intent in intents]
        ).values_list("payment_intent_id", flat=True)
        if known
    }


def _known_refunds(refunds: Iterable[ProviderRefund]) -> set[str]:
    """Which of them are some refund row's by now: by its id, or still without one."""
    by_row: defaultdict[uuid.UUID, list[str]] = defaultdict(list)
    for refund in refunds:
        if row_uuid := _uuid(refund.metadata.get("refund", "")):
            by_row[row_uuid].append(refund.id)
    rows = Refund.objects.filter(uuid__in=by_row).values_list("uuid", "stripe_refund_id")
    return {
        refund_id
        for row_uuid, stored_id in rows
        for refund_id in by_row[row_uuid]
        if stored_id in {None, refund_id}
    }


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None
