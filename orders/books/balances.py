"""Compares fees and disputes with the provider's own: every movement of its balance is booked.

Captures and refunds are compared one by one elsewhere (`comparison`). With these two, the legs of
each payment in the ledger add up to what the provider's balance transactions for it do.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

from config.kernel import money
from config.kernel.clock import Deadline
from orders.books.findings import Discrepancy, Finding, Remedy
from payments import bookkeeping, gateway
from payments.errors import ProviderUnavailableError
from payments.models import ReconciliationCase

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from django.db.backends.utils import CursorWrapper

    from orders.books.findings import Compared
    from payments.gateway import BalanceTransaction, ProviderDispute

BOOKED_WITHIN: Final = timedelta(minutes=3)  # beat books every minute
CALL_SECONDS: Final = 20.0
TOLD_EVERY: Final = 100
CLOCKS_DIFFER_SECONDS: Final = 60

NOT_BOOKED_YET: Final = "fees and disputes of the last minutes, not booked yet"
UNDER_WAY: Final = "payments whose balance was not compared: something is under way"

Class = ReconciliationCase.Classification


class OurDispute(NamedTuple):
    """A dispute as the snapshot has it; `amount` in major units."""

    dispute_id: str
    intent_id: str
    status: str
    currency: str
    amount: Decimal


class PaymentOf(NamedTuple):
    """Whose payment it is; `is_under_way`: not decided, or with a refund that is not done."""

    order_number: str
    currency: str
    is_under_way: bool


class OurMoney(NamedTuple):
    """What our ledger says of the account at the provider, in major units.

    `booked`: legs on the account by balance transaction and kind, `booked_for` whose intent's they
    are. `balances`: the sum of all legs on it, by intent, as are `payments`.
    """

    booked: Mapping[str, Mapping[str, Decimal]]
    booked_for: Mapping[str, str]
    balances: Mapping[str, Decimal]
    payments: Mapping[str, PaymentOf]
    disputes: list[OurDispute]


def read_our_money(
    cursor: CursorWrapper, *, first_at: datetime | None, old_payments: Sequence[int] = ()
) -> OurMoney:
    """Read our side within the caller's snapshot; of payments made from `first_at` on, and older.

    Args:
        old_payments: the primary keys of those.
    """
    scope = [first_at, list(old_payments)]
    cursor.execute(
        """
        SELECT p.payment_intent_id, entry.balance_transaction_id, entry.kind, sum(entry.amount)
        FROM ledger_entries entry JOIN payments p ON p.id = entry.payment_id
        WHERE entry.account = 'stripe_balance' AND (p.created_at >= %s OR p.id = ANY(%s))
        GROUP BY p.payment_intent_id, entry.balance_transaction_id, entry.kind
        """,
        scope,
    )
    booked: defaultdict[str, dict[str, Decimal]] = defaultdict(dict)
    booked_for: dict[str, str] = {}
    balances: defaultdict[str, Decimal] = defaultdict(Decimal)
    for intent_id, transaction_id, kind, amount in cursor.fetchall():
        balances[intent_id] += amount
        if transaction_id is not None:
            booked[transaction_id][kind] = amount
            booked_for[transaction_id] = intent_id
    cursor.execute(
        """
        SELECT p.payment_intent_id, o.order_number, p.currency,
               p.status IN ('created', 'requires_action', 'processing', 'quarantined')
               OR EXISTS (
                   SELECT FROM refunds r
                   WHERE r.payment_id = p.id AND r.status IN ('due', 'pending'))
        FROM payments p JOIN orders o ON o.id = p.order_id
        WHERE p.payment_intent_id IS NOT NULL AND (p.created_at >= %s OR p.id = ANY(%s))
        """,
        scope,
    )
    payments = {intent_id: PaymentOf(*row) for intent_id, *row in cursor.fetchall()}
    cursor.execute(
        """
        SELECT d.stripe_dispute_id, p.payment_intent_id, d.status, d.currency, d.amount
        FROM disputes d JOIN payments p ON p.id = d.payment_id
        WHERE p.created_at >= %s OR p.id = ANY(%s)
        """,
        scope,
    )
    return OurMoney(
        booked=booked,
        booked_for=booked_for,
        balances=balances,
        payments=payments,
        disputes=[OurDispute(*row) for row in cursor.fetchall()],
    )


def compare_money(
    ours: OurMoney,
    compared: Compared,
    *,
    created_since: int,
    booked_until: datetime,
    disputes: Iterable[ProviderDispute],
    looked_up: Mapping[str, Collection[str]],
    on_progress: Callable[[str, int, int | None], None],
) -> None:
    """Ask the provider for every movement since, and add what was found of them and of disputes.

    Args:
        created_since: Unix seconds.
        booked_until: what is later need not be booked yet.
        disputes: at the provider, of all these payments.
        looked_up: intents that are older than `created_since`, with the charges, refunds and
            disputes that may have moved money for them.

    Raises:
        ProviderUnavailableError: a list could not be read to its end.
    """
    judge = _Judge(ours, compared, booked_until=booked_until)
    created_since -= CLOCKS_DIFFER_SECONDS
    movements = gateway.list_balance_transactions(created_since=created_since)
    for seen, told in enumerate(movements, start=1):
        if told.payment_intent_id not in looked_up:
            judge.see_movement(told)
        if seen % TOLD_EVERY == 0:
            on_progress("movements of the provider's balance", seen, None)
    for intent_id in looked_up.keys() & ours.payments.keys():
        for source_id in looked_up[intent_id]:
            for told in gateway.list_balance_transactions_of(source_id=source_id):
                judge.see_movement(told)
        judge.ask_for_unseen_movements(intent_id)
    for dispute in disputes:
        judge.see_dispute(dispute)
    judge.conclude()


class _Judge:
    def __init__(self, ours: OurMoney, compared: Compared, *, booked_until: datetime) -> None:
        self.ours = ours
        self.compared = compared
        self.booked_until = booked_until
        self.unseen = set(ours.booked)
        self.disputes = {dispute.dispute_id: dispute for dispute in ours.disputes}
        self.unseen_disputes = set(self.disputes)
        self.net: defaultdict[str, Decimal] = defaultdict(Decimal)  # by intent
        self.lagging: set[str] = set()  # intents with a movement that need not be booked yet
        self.explained: set[str] = set()  # intents with a discrepancy that says more
        self.movements = Finding(
            id="I15",
            name="movements_at_the_provider_are_booked",
            says="each fee and disputed amount of our payments stands in the ledger, to the cent",
        )
        self.bookings = Finding(
            id="I16",
            name="bookings_stand_at_the_provider",
            says="each booked fee and disputed amount is a movement of the provider's balance",
        )
        self.disputed = Finding(
            id="I15",
            name="disputes_are_known",
            says="each dispute of our payments has its row here, of its amount and status",
        )
        self.balance = Finding(
            id="I15",
            name="provider_balance_is_the_ledgers",
            says="a payment's movements at the provider add up to its legs on stripe_balance",
        )

    def see_movement(self, told: BalanceTransaction) -> None:
        intent_id = told.payment_intent_id
        payment = self.ours.payments.get(intent_id)
        if payment is None:
            return
        self.compared.seen.add(told.id)
        self.unseen.discard(told.id)
        if told.currency != payment.currency:
            self._differs(
                self.movements,
                subject=told.id,
                intent_id=intent_id,
                problem=f"settled in {told.currency}, the payment is in {payment.currency}",
            )
            return
        try:
            net = money.from_minor(told.amount_minor - told.fee_minor, told.currency)
            expected = _expected(told)
        except money.InvalidAmountError as exc:
            self._differs(self.movements, subject=told.id, intent_id=intent_id, problem=str(exc))
            return
        self.net[intent_id] += net
        may_lag = told.created_at >= self.booked_until
        if may_lag:
            self.lagging.add(intent_id)
        booked = self.ours.booked.get(told.id, {})
        if booked == expected:
            return
        if may_lag and not booked:
            self.compared.notes[NOT_BOOKED_YET] += 1
            return
        legs = ", ".join(f"{kind} {amount}" for kind, amount in sorted(expected.items()))
        self._differs(
            self.movements,
            subject=told.id,
            intent_id=intent_id,
            problem=f"not booked as it is: {legs or 'nothing'} {told.currency}",
            remedy=None if booked else Remedy.BOOK,
        )

    def ask_for_unseen_movements(self, intent_id: str) -> None:
        """What is booked for an intent and of no source that we know of."""
        for transaction_id in sorted(self.unseen):
            if self.ours.booked_for[transaction_id] != intent_id:
                continue
            answer = gateway.retrieve_balance_transaction(
                transaction_id=transaction_id, deadline=Deadline(CALL_SECONDS)
            )
            if isinstance(answer, gateway.Unknown):
                raise ProviderUnavailableError
            if isinstance(answer, gateway.BalanceTransaction):
                self.see_movement(answer)

    def see_dispute(self, told: ProviderDispute) -> None:
        if told.payment_intent_id not in self.ours.payments:
            return
        self.compared.seen.add(told.id)
        self.unseen_disputes.discard(told.id)
        known = self.disputes.get(told.id)
        if (
            known is not None
            and (known.status, known.currency) == (told.status, told.currency)
            and known.amount == money.from_minor(told.amount_minor, told.currency)
        ):
            return
        if known is None and told.opened_at >= self.booked_until:
            self.compared.notes[NOT_BOOKED_YET] += 1
            return
        self._differs(
            self.disputed,
            subject=told.id,
            intent_id=told.payment_intent_id,
            problem=f"{known.status if known else 'unknown'} here, {told.status} at the provider",
            remedy=Remedy.FOLLOW_DISPUTE,
        )

    def conclude(self) -> None:
        for transaction_id in sorted(self.unseen):
            self._differs(
                self.bookings,
                subject=transaction_id,
                intent_id=self.ours.booked_for[transaction_id],
                problem="booked here, the provider does not know it",
            )
        for dispute_id in sorted(self.unseen_disputes):
            self._differs(
                self.disputed,
                subject=dispute_id,
                intent_id=self.disputes[dispute_id].intent_id,
                problem="known here, the provider does not know it",
            )
        for intent_id in sorted(self.net.keys() | self.ours.balances.keys()):
            self._compare_balance(intent_id)
        self.compared.findings += [self.movements, self.bookings, self.disputed, self.balance]

    def _compare_balance(self, intent_id: str) -> None:
        net, ours = self.net[intent_id], self.ours.balances.get(intent_id, Decimal(0))
        if net == ours or intent_id in self.explained:
            return
        if self.ours.payments[intent_id].is_under_way or intent_id in self.lagging:
            self.compared.notes[UNDER_WAY] += 1
            return
        self._differs(
            self.balance,
            subject=intent_id,
            intent_id=intent_id,
            problem=f"its movements at the provider make {net}, its legs in the ledger {ours}",
        )

    def _differs(
        self,
        finding: Finding,
        *,
        subject: str,
        intent_id: str,
        problem: str,
        remedy: Remedy | None = None,
    ) -> None:
        payment = self.ours.payments.get(intent_id)
        found = Discrepancy(
            classification=Class.AMOUNT_DIFFERS,
            subject=subject,
            intent_id=intent_id,
            is_payment=payment is not None,
            order_number=payment.order_number if payment else "?",
            problem=problem,
            remedy=remedy,
        )
        self.compared.add(found, violates=finding)
        self.explained.add(intent_id)


def _expected(told: BalanceTransaction) -> dict[str, Decimal]:
    """The legs on the account that a booked movement has, by kind."""
    legs: dict[str, Decimal] = {}
    if told.fee_minor:
        legs["fee"] = -money.from_minor(told.fee_minor, told.currency)
    if told.category in bookkeeping.DISPUTED:
        kind = "dispute_reversal" if told.amount_minor > 0 else "dispute"
        legs[kind] = money.from_minor(told.amount_minor, told.currency)
    return legs
