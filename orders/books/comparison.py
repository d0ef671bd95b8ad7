"""Compares our payments and refunds with the provider's own lists, both ways (I15-I17).

Fees and disputes, and the balance they make, have a module of their own: `balances`. What differs
is told twice: as an invariant's violator, for `check_books`, and as a discrepancy with what may be
done about it, for `reconcile_payments`.

Our side is read first, in the snapshot; the provider's afterwards, while orders go on. So the
provider may be further than we are: an open payment whose intent is settled is in doubt, which
is I19's matter, not a violation. What we know nothing of is looked up afresh before it counts:
our row is always durable before the provider hears of it.

The provider's lists go by the day on which a thing was made. What open cases are about is often
older than the days that are compared: that is looked up one by one, so many things each time.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

from config.kernel import money
from config.kernel.clock import Deadline
from orders.books.balances import (
    BOOKED_WITHIN,
    CLOCKS_DIFFER_SECONDS,
    compare_money,
    read_our_money,
)
from orders.books.findings import Compared, Discrepancy, Finding, Remedy
from payments import gateway
from payments.errors import ProviderUnavailableError
from payments.gateway import DISPUTE_LOST, MARK, REFUND_DEAD
from payments.models import Payment, ReconciliationCase, Refund
from payments.selectors import payments_awaiting_intent, uuid_or_none

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from django.db.backends.utils import CursorWrapper

    from orders.books.balances import OurMoney
    from payments.gateway import Intent, ProviderDispute, ProviderRefund

CALL_SECONDS: Final = 20.0
# Of payments, and of intents that none has, that are older than the lists reach: a few calls each.
LOOKED_UP: Final = 300
TOLD_EVERY: Final = 100  # as many as a page of the provider's lists has

# The intent statuses that fit a decided payment; an open or quarantined one may stand anywhere.
FITTING: Final = {
    "succeeded": frozenset({"succeeded"}),
    "failed": frozenset({"canceled"}),
    "cancelled": frozenset({"canceled"}),
}
# No money can move by itself on these: an intent without a payment may stand there.
HARMLESS: Final = frozenset({"requires_confirmation", "requires_payment_method", "canceled"})

MAY_BE_PAID: Final = frozenset(
    {"requires_confirmation", "requires_payment_method", "requires_action"}
)
ENDED_UNPAID: Final = frozenset({"failed", "cancelled"})
REFUND_OPEN: Final = frozenset({"due", "pending"})

IN_DOUBT: Final = "payments in doubt: the provider has decided, we have not yet"
ORPHANS: Final = "intents without a payment, unconfirmed or canceled"
GIVEN_BACK: Final = "charges without an order, all given back or lost to a bank"

Class = ReconciliationCase.Classification


class OurPayment(NamedTuple):
    """A payment as the snapshot has it; `amount` in major units."""

    intent_id: str | None
    uuid: str
    order_number: str
    status: str
    currency: str
    amount: Decimal


class OldCase(NamedTuple):
    """An open case about something that the provider's lists may be too young to show.

    `intent_id`: of the payment it is about, where one has it.
    """

    classification: str
    subject: str
    intent_id: str | None


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

    Payments of `old_cases` are among them, though older. `created_since`: Unix seconds, as asked
    for or of the first payment, if any. `read_at`: the instant of the snapshot, by the database's
    clock.
    """

    created_since: int | None
    read_at: datetime
    payments: list[OurPayment]
    refunds: list[OurRefund]
    balances: dict[str, Decimal]
    money: OurMoney
    old_cases: list[OldCase]

    @property
    def count(self) -> int:
        """How many payments have an intent to be compared with."""
        return sum(payment.intent_id is not None for payment in self.payments)


def read_ours(cursor: CursorWrapper, *, since: datetime | None) -> Ours:
    """Read our side within the caller's snapshot."""
    cursor.execute(
        """
        SELECT min(created_at), floor(extract(epoch FROM min(created_at)))::bigint,
               transaction_timestamp()
        FROM payments WHERE created_at >= coalesce(%s, '-infinity'::timestamptz)
        """,
        [since],
    )
    first_at, created_since, read_at = cursor.fetchone()
    if since is not None:  # what was made before our first payment may be what we have lost
        created_since = int(since.timestamp())
    old_cases, old_payments = _read_old_cases(cursor, since=since)
    scope = [first_at, old_payments]
    cursor.execute(
        """
        SELECT p.payment_intent_id, p.uuid::text, o.order_number, p.status, p.currency, p.amount
        FROM payments p JOIN orders o ON o.id = p.order_id
        WHERE p.created_at >= %s OR p.id = ANY(%s)
        """,
        scope,
    )
    payments = [OurPayment(*row) for row in cursor.fetchall()]
    cursor.execute(
        """
        SELECT r.uuid::text, r.stripe_refund_id, p.payment_intent_id, o.order_number,
               r.status, r.currency, r.amount
        FROM refunds r
        JOIN payments p ON p.id = r.payment_id
        JOIN orders o ON o.id = p.order_id
        WHERE p.created_at >= %s OR p.id = ANY(%s)
        """,
        scope,
    )
    refunds = [OurRefund(*row) for row in cursor.fetchall()]
    cursor.execute(
        """
        SELECT entry.currency, sum(entry.amount)
        FROM ledger_entries entry JOIN payments p ON p.id = entry.payment_id
        WHERE entry.account = 'stripe_balance'
          AND entry.kind IN ('capture', 'refund', 'refund_reversal')
          AND (p.created_at >= %s OR p.id = ANY(%s))
        GROUP BY entry.currency
        """,
        scope,
    )
    return Ours(
        created_since=created_since,
        read_at=read_at,
        payments=payments,
        refunds=refunds,
        balances=dict(cursor.fetchall()),
        money=read_our_money(cursor, first_at=first_at, old_payments=old_payments),
        old_cases=old_cases,
    )


def _read_old_cases(
    cursor: CursorWrapper, *, since: datetime | None
) -> tuple[list[OldCase], list[int]]:
    """Open cases of payments made before then, and of no payment; and who those payments are.

    Those that were not looked up for the longest time come first; of payments, so many.
    """
    cursor.execute(
        """
        SELECT c.classification, c.subject, p.payment_intent_id, p.id
        FROM reconciliation_cases c
        LEFT JOIN payments p ON p.id = coalesce(
            c.payment_id,
            (SELECT known.id FROM payments known WHERE known.payment_intent_id = c.subject))
        WHERE c.resolved_at IS NULL AND (p.id IS NULL OR p.created_at < %s)
        ORDER BY c.last_seen_at, c.id
        """,
        [since],
    )
    rows = cursor.fetchall()
    chosen = list(dict.fromkeys(row[3] for row in rows if row[3] is not None))[:LOOKED_UP]
    kept = {None, *chosen}
    return [OldCase(*row[:3]) for row in rows if row[3] in kept], chosen


def compare(
    ours: Ours,
    *,
    on_progress: Callable[[str, int, int | None], None],
    booked_until: datetime | None = None,
) -> Compared:
    """Ask the provider for everything since, and judge it. Never call it inside a transaction.

    Args:
        booked_until: fees and disputes up to then are booked; None: they may lag some minutes.

    Raises:
        ProviderUnavailableError: a list could not be read to its end.
    """
    judge = _Judge(ours)
    if ours.created_since is None:
        return judge.conclude()
    intents = gateway.list_intents(created_since=ours.created_since)
    for seen, intent in enumerate(intents, start=1):
        judge.see_intent(intent)
        if seen % TOLD_EVERY == 0:
            on_progress("intents at the provider", seen, None)
    judge.ask_for_unseen_intents()
    judge.ask_for_intents_of_cases()
    refunds = gateway.list_all_refunds(created_since=ours.created_since)
    for seen, refund in enumerate(refunds, start=1):
        if refund.payment_intent_id not in judge.looked_up:
            judge.see_refund(refund)
        if seen % TOLD_EVERY == 0:
            on_progress("refunds at the provider", seen, None)
    listed = gateway.list_disputes(created_since=ours.created_since - CLOCKS_DIFFER_SECONDS)
    disputes = [told for told in listed if told.payment_intent_id not in judge.looked_up]
    for done, intent_id in enumerate(judge.looked_up):
        on_progress("what open cases are about", done, len(judge.looked_up))
        disputes += judge.look_up_all_of(intent_id)
    judge.ask_for_unseen_refunds()
    judge.see_disputes(disputes)
    compared = judge.conclude()
    compare_money(
        ours.money,
        compared,
        created_since=ours.created_since,
        booked_until=booked_until or ours.read_at - BOOKED_WITHIN,
        disputes=disputes,
        looked_up=judge.looked_up,
        on_progress=on_progress,
    )
    return compared


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
        self.compared = Compared()
        self.balances = ours.balances
        self.payments = {
            payment.intent_id: payment for payment in ours.payments if payment.intent_id
        }
        self.refunds = {refund.uuid: refund for refund in ours.refunds}
        self.refunds_by_id = {refund.refund_id: refund for refund in ours.refunds}
        self.unseen_payments = dict(self.payments)
        self.unseen_refunds = {
            refund.refund_id: refund for refund in ours.refunds if refund.status == "succeeded"
        }
        self.strange_intents: list[Intent] = []
        self.strange_refunds: list[ProviderRefund] = []
        self.unbooked: list[Intent] = []
        self.charged_by_order: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
        self.given_back: Counter[str] = Counter()  # minor units by intent
        self.taken_by_banks: Counter[str] = Counter()  # likewise, by disputes that were lost
        self.cases_of_none = [case for case in ours.old_cases if case.intent_id is None]
        # Too old for the lists: by intent, the charge, refunds and disputes that may move money.
        self.looked_up: dict[str, list[str]] = {
            case.intent_id: [] for case in ours.old_cases if case.intent_id
        }
        self.refunds_per_row: Counter[str] = Counter()
        self.total: Counter[str] = Counter()  # minor units by currency
        self.not_counted: set[str] = set()  # intents whose money our ledger need not know

    def _differs(
        self,
        finding: Finding | None,
        classification: ReconciliationCase.Classification,
        *,
        subject: str,
        intent_id: str,
        order_number: str,
        problem: str,
        remedy: Remedy | None = None,
    ) -> None:
        """Note a discrepancy; one with a `finding` violates that invariant, too."""
        found = Discrepancy(
            classification=classification,
            subject=subject,
            intent_id=intent_id,
            is_payment=intent_id in self.payments,
            order_number=order_number,
            problem=problem,
            remedy=remedy,
        )
        self.compared.add(found, violates=finding)

    # --- intents ------------------------------------------------------------------------------
    def see_intent(self, intent: Intent) -> None:
        if intent.id in self.looked_up and intent.charge_id:
            self.looked_up[intent.id].append(intent.charge_id)
        payment = self.payments.get(intent.id)
        if payment is None:
            if intent.metadata.get("app") == MARK:
                self.strange_intents.append(intent)
            return
        self.compared.seen.add(intent.id)
        self.unseen_payments.pop(intent.id, None)
        self._count_charge(intent)
        if payment.status == Payment.Status.QUARANTINED:
            self.not_counted.add(intent.id)
            self._payment_differs(
                None, payment, Class.UNKNOWN, problem="it is in quarantine", remedy=Remedy.SETTLE
            )
        elif not _is_about(payment, intent):
            self._payment_differs(
                self.found.intents,
                payment,
                Class.AMOUNT_DIFFERS,
                problem="its amount, currency or metadata at the provider is not the payment's",
                remedy=Remedy.SETTLE if payment.status in Payment.OPEN else None,
            )
        self._judge_status(payment, intent)

    def _payment_differs(
        self,
        finding: Finding | None,
        payment: OurPayment,
        classification: ReconciliationCase.Classification,
        *,
        problem: str,
        remedy: Remedy | None = None,
    ) -> None:
        self._differs(
            finding,
            classification,
            subject=payment.intent_id or "",
            intent_id=payment.intent_id or "",
            order_number=payment.order_number,
            problem=problem,
            remedy=remedy,
        )

    def _judge_status(self, payment: OurPayment, intent: Intent) -> None:
        fitting = FITTING.get(payment.status)
        if fitting is None:
            self.not_counted.add(intent.id)
            if payment.status in Payment.OPEN and intent.status in {"succeeded", "canceled"}:
                self.compared.notes[IN_DOUBT] += 1
                self._payment_differs(
                    None,
                    payment,
                    Class.UNKNOWN,
                    problem=f"{intent.status} at the provider, not settled here",
                    remedy=Remedy.SETTLE,
                )
            return
        if intent.status == "succeeded" and payment.status == Payment.Status.SUCCEEDED:
            self.total[intent.currency] += intent.amount_received_minor
        elif intent.status == "succeeded":
            self.unbooked.append(intent)
        elif intent.status not in fitting:
            self._judge_misfit(payment, intent)

    def _judge_misfit(self, payment: OurPayment, intent: Intent) -> None:
        told = f"{payment.status} here, {intent.status} at the provider"
        if payment.status == Payment.Status.SUCCEEDED:
            self._payment_differs(
                self.found.payments, payment, Class.ORDER_WITHOUT_CHARGE, problem=told
            )
            return
        self._payment_differs(
            self.found.payments,
            payment,
            Class.CHARGE_WITHOUT_ORDER,
            problem=f"it may still be paid: {told}",
            remedy=Remedy.CANCEL_INTENT if intent.status in MAY_BE_PAID else None,
        )

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
                is_paid = payment.status == Payment.Status.SUCCEEDED
                self._payment_differs(
                    self.found.payments,
                    payment,
                    Class.ORDER_WITHOUT_CHARGE if is_paid else Class.UNKNOWN,
                    problem=f"{payment.status} here, the provider does not know it",
                )
            else:
                raise ProviderUnavailableError

    def ask_for_intents_of_cases(self) -> None:
        """Intents that open cases are about, no payment has, and the list is too young to show."""
        listed = self.payments.keys() | {intent.id for intent in self.strange_intents}
        waiting = [case for case in self.cases_of_none if case.subject not in listed]
        for case in waiting[:LOOKED_UP]:
            intent_id = self._intent_of_case(case)
            if intent_id is None or intent_id in listed or intent_id in self.looked_up:
                continue
            self.looked_up[intent_id] = []
            answer = gateway.retrieve_intent(intent_id=intent_id, deadline=Deadline(CALL_SECONDS))
            if isinstance(answer, gateway.Intent):
                self.see_intent(answer)
            elif isinstance(answer, gateway.Refused):
                self._case_lasts(case)
            else:
                raise ProviderUnavailableError

    def _intent_of_case(self, case: OldCase) -> str | None:
        """None: the provider does not know it, or it is of a kind that has none."""
        if not gateway.REFUND_ID.fullmatch(case.subject):
            return case.subject if gateway.INTENT_ID.fullmatch(case.subject) else None
        answer = gateway.retrieve_refund(refund_id=case.subject, deadline=Deadline(CALL_SECONDS))
        if isinstance(answer, gateway.Unknown):
            raise ProviderUnavailableError
        if isinstance(answer, gateway.Refused):
            self._case_lasts(case)
            return None
        return answer.payment_intent_id or None

    def _case_lasts(self, case: OldCase) -> None:
        """It may be another account's key that we ask with: no reason to call it settled."""
        self._differs(
            None,
            Class(case.classification),
            subject=case.subject,
            intent_id=case.subject,
            order_number="?",
            problem="the provider does not know it",
        )

    def _judge_strange_intents(self) -> None:
        """Ours by their metadata, but none of the snapshot's: newer, older, orphans, or lost."""
        # In this order: an id that is stored between the two reads is seen by the second.
        on_the_way = payments_awaiting_intent(
            intent.metadata.get("payment", "") for intent in self.strange_intents
        )
        known = _known_intents(self.strange_intents)
        for intent in self.strange_intents:
            if intent.id in known:
                self.not_counted.add(intent.id)
                continue
            self._count_charge(intent)
            self.compared.seen.add(intent.id)
            if intent.status in HARMLESS:
                self.compared.notes[ORPHANS] += 1
                if intent.status == "canceled" or intent.metadata.get("payment") in on_the_way:
                    continue
                self._stranger_differs(None, intent, Class.UNKNOWN)
            elif self._is_gone(intent):
                self.not_counted.add(intent.id)
                self.compared.notes[GIVEN_BACK] += 1
            else:
                self._stranger_differs(self.found.intents, intent, Class.CHARGE_WITHOUT_ORDER)
                if intent.status == "succeeded":
                    self.total[intent.currency] += intent.amount_received_minor

    def _stranger_differs(
        self,
        finding: Finding | None,
        intent: Intent,
        classification: ReconciliationCase.Classification,
    ) -> None:
        self._differs(
            finding,
            classification,
            subject=intent.id,
            intent_id=intent.id,
            order_number=intent.metadata.get("order_number", "?"),
            problem=f"{intent.status} at the provider, and no payment here has this intent",
            remedy=Remedy.CANCEL_INTENT if intent.status in MAY_BE_PAID else None,
        )

    def _is_given_back(self, intent: Intent) -> bool:
        return (
            intent.status == "succeeded"
            and self.given_back[intent.id] >= intent.amount_received_minor
        )

    def _is_gone(self, intent: Intent) -> bool:
        """Nothing of it is left at the provider, whether it was given back or a bank took it."""
        gone = self.given_back[intent.id] + self.taken_by_banks[intent.id]
        return intent.status == "succeeded" and gone >= intent.amount_received_minor

    # --- refunds ------------------------------------------------------------------------------
    def see_refund(self, refund: ProviderRefund) -> None:
        if refund.status not in REFUND_DEAD:
            self.given_back[refund.payment_intent_id] += refund.amount_minor
        row = self.refunds.get(refund.metadata.get("refund", ""))
        row = row or self.refunds_by_id.get(refund.id)
        if row is None:
            self.strange_refunds.append(refund)
            return
        self.compared.seen.add(refund.id)
        self.unseen_refunds.pop(refund.id, None)
        self._count_refund(refund, is_booked=row.status not in REFUND_OPEN)
        if refund.status in REFUND_DEAD:
            if row.status == Refund.Status.SUCCEEDED and row.refund_id == refund.id:
                self._refund_differs(self.found.refunds, row, refund)
            return
        self.refunds_per_row[row.uuid] += 1
        if (
            row.intent_id != refund.payment_intent_id
            or not _is_amount(row.amount, row.currency, refund.amount_minor, refund.currency)
            or row.status == Refund.Status.FAILED
            or (row.refund_id is not None and row.refund_id != refund.id)
            or self.refunds_per_row[row.uuid] > 1
        ):
            self._refund_differs(self.found.foreign_refunds, row, refund)
        elif row.status == Refund.Status.SUCCEEDED and refund.status != "succeeded":
            self._refund_differs(self.found.refunds, row, refund)
        elif row.status in REFUND_OPEN and refund.status == "succeeded":
            self._refund_differs(None, row, refund, classification=Class.UNKNOWN)

    def _refund_differs(
        self,
        finding: Finding | None,
        row: OurRefund,
        refund: ProviderRefund,
        *,
        classification: ReconciliationCase.Classification = Class.AMOUNT_DIFFERS,
    ) -> None:
        here = f"{row.amount} {row.currency} {row.status} here"
        self._differs(
            finding,
            classification,
            subject=refund.id,
            intent_id=refund.payment_intent_id,
            order_number=row.order_number,
            problem=f"{here}, {refund.amount_minor} minor units {refund.status} at the provider",
            remedy=Remedy.FOLLOW_REFUNDS,
        )

    def _count_refund(self, refund: ProviderRefund, *, is_booked: bool) -> None:
        counts = is_booked and refund.payment_intent_id not in self.not_counted
        if refund.status == "succeeded" and counts:
            self.total[refund.currency] -= refund.amount_minor

    def look_up_all_of(self, intent_id: str) -> list[ProviderDispute]:
        """The refunds of one intent are seen; its disputes are handed back.

        Raises:
            ProviderUnavailableError: the provider does not say.
        """
        refunds = gateway.list_refunds(intent_id=intent_id, deadline=Deadline(CALL_SECONDS))
        disputes = gateway.list_disputes_of(intent_id=intent_id, deadline=Deadline(CALL_SECONDS))
        if isinstance(refunds, gateway.Unknown) or isinstance(disputes, gateway.Unknown):
            raise ProviderUnavailableError
        refunds = [] if isinstance(refunds, gateway.Refused) else refunds  # there is no such intent
        disputes = [] if isinstance(disputes, gateway.Refused) else disputes
        for refund in refunds:
            self.see_refund(refund)
        self.looked_up[intent_id] += [told.id for told in refunds]
        self.looked_up[intent_id] += [told.id for told in disputes]
        return disputes

    def see_disputes(self, disputes: Iterable[ProviderDispute]) -> None:
        """Only what they leave of a charge; whether we know them, `balances` judges."""
        for told in disputes:
            if told.status == DISPUTE_LOST:
                self.taken_by_banks[told.payment_intent_id] += told.amount_minor

    def ask_for_unseen_refunds(self) -> None:
        for refund_id, row in list(self.unseen_refunds.items()):
            listed = gateway.list_refunds(
                intent_id=row.intent_id or "", deadline=Deadline(CALL_SECONDS)
            )
            if isinstance(listed, gateway.Unknown):
                raise ProviderUnavailableError
            found = [] if isinstance(listed, gateway.Refused) else listed
            if not any(refund.id == refund_id for refund in found):
                self._differs(
                    self.found.refunds,
                    Class.AMOUNT_DIFFERS,
                    subject=refund_id or row.uuid,
                    intent_id=row.intent_id or "",
                    order_number=row.order_number,
                    problem="it succeeded here, the provider does not know it",
                )

    def _judge_strange_refunds(self) -> None:
        known = _known_refunds(self.strange_refunds)
        for refund in self.strange_refunds:
            self.compared.seen.add(refund.id)
            payment = self.payments.get(refund.payment_intent_id)
            is_ours = payment is not None or refund.metadata.get("app") == MARK
            is_lost = is_ours and refund.id not in known
            self._count_refund(refund, is_booked=is_lost)
            # What a payment that ended unpaid here took all the same needs no books to go back.
            needs_books = payment is None or payment.status not in ENDED_UNPAID
            if is_lost and needs_books and refund.status not in REFUND_DEAD:
                self._differs(
                    self.found.foreign_refunds,
                    Class.AMOUNT_DIFFERS,
                    subject=refund.id,
                    intent_id=refund.payment_intent_id,
                    order_number=payment.order_number if payment else "?",
                    problem="a refund at the provider that is not in the books",
                    remedy=Remedy.FOLLOW_REFUNDS if payment else None,
                )

    def _judge_unbooked(self) -> None:
        """Paid there, ended unpaid here; our ledger need not know what is on its way back."""
        for intent in self.unbooked:
            if self._is_given_back(intent):
                self.not_counted.add(intent.id)
                continue
            self.total[intent.currency] += intent.amount_received_minor
            payment = self.payments[intent.id]
            self._payment_differs(
                self.found.captures,
                payment,
                Class.CHARGE_WITHOUT_ORDER,
                problem=f"paid at the provider, {payment.status} here",
                remedy=Remedy.SETTLE,
            )

    # --- all together -------------------------------------------------------------------------
    def conclude(self) -> Compared:
        self._judge_strange_intents()
        self._judge_unbooked()
        self._judge_strange_refunds()
        # A case about a refund that never came to the provider bears our own name of it.
        self.compared.seen |= {
            row.uuid for row in self.refunds.values() if row.status not in REFUND_OPEN
        }
        for order, charges in self.charged_by_order.items():
            kept = [
                1
                for intent_id, amount in charges
                if self.given_back[intent_id] + self.taken_by_banks[intent_id] < amount
            ]
            if len(kept) > 1:
                self.found.charges.add(order)
        for currency in sorted(self.total.keys() | self.balances.keys()):
            balance = self.balances.get(currency, Decimal(0))
            if not _is_amount(balance, currency, self.total[currency], currency):
                self.found.totals.add(currency)
        self.compared.findings.extend(self.found.all())
        return self.compared


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


def _known_refunds(refunds: Sequence[ProviderRefund]) -> set[str]:
    """Which of them are some refund row's by now: by its id, or still without one."""
    by_row: defaultdict[uuid.UUID, list[str]] = defaultdict(list)
    for refund in refunds:
        if row_uuid := uuid_or_none(refund.metadata.get("refund", "")):
            by_row[row_uuid].append(refund.id)
    waiting = Refund.objects.filter(uuid__in=by_row, stripe_refund_id=None)
    stored = Refund.objects.filter(stripe_refund_id__in=[refund.id for refund in refunds])
    return {
        *(
            refund_id
            for row_uuid in waiting.values_list("uuid", flat=True)
            for refund_id in by_row[row_uuid]
        ),
        *(found for found in stored.values_list("stripe_refund_id", flat=True) if found),
    }
