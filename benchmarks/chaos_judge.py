"""Judges a chaos run: what clients heard, what the database holds, what the provider has."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.chaos_shoppers import Heard, Wish

PAID: Final = frozenset({"confirmed", "processing", "shipped", "delivered"})
ACTION: Final = "PAYMENT_REQUIRES_ACTION"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRow:
    """An order as the database has it, with its payment and what is back of it."""

    number: str
    public_id: str
    email: str
    status: str
    payment_status: str
    received: float
    refunded: float
    created_at: float  # Unix times
    decided_at: float | None  # when it stopped being pending


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentRow:
    """An intent as the provider has it; amounts in its minor units."""

    id: str
    order_id: str
    status: str
    received: int
    refunded: int


def judge(
    wishes: Sequence[Wish], orders: Sequence[OrderRow], intents: Sequence[IntentRow]
) -> list[str]:
    """Everything that is not as promised, one sentence each; none is the promise kept."""
    by_number = {order.number: order for order in orders}
    return [
        *(problem for wish in wishes for problem in _judge_answers(wish, by_number)),
        *_judge_keys(wishes, orders),
        *_judge_money(orders, intents),
        *(f"{order.number} is still pending" for order in orders if order.status == "pending"),
    ]


def _judge_answers(wish: Wish, orders: dict[str, OrderRow]) -> Iterable[str]:
    about = f"{wish.key} ({wish.story})"
    definite = [heard for heard in wish.heard if heard.is_definite]
    if not definite:
        yield f"{about} never came to a definite answer: {_told(wish.heard)}"
    of_orders = [heard for heard in definite if heard.status in {201, 402, 502}]
    if len({(heard.status, heard.digest) for heard in of_orders}) > 1:
        yield f"{about} heard different last answers: {_told(of_orders)}"
    for heard in wish.heard:
        if heard.is_acknowledged and heard.order_number not in orders:
            yield f"{about} was told of order {heard.order_number}, which is not there"
    if len({heard.order_number for heard in wish.heard if heard.order_number}) > 1:
        yield f"{about} was told of several orders: {_told(wish.heard)}"
    for heard in of_orders[-1:]:
        order = orders.get(heard.order_number)
        if order is None:
            continue
        if heard.status == 201 and not order.received:  # noqa: PLR2004
            yield f"{about} was told that it is paid; {order.number} has no money"
        if heard.status != 201 and heard.code != ACTION and order.received > order.refunded:  # noqa: PLR2004
            yield f"{about} was told {heard.code}; {order.number} keeps money"


def _judge_keys(wishes: Sequence[Wish], orders: Sequence[OrderRow]) -> Iterable[str]:
    """Each wish has an e-mail address of its own, so an address is a key."""
    made = Counter(order.email for order in orders)
    wished = {wish.email for wish in wishes}
    for email, count in made.items():
        if count > 1 and email in wished:
            yield f"the key of {email} made {count} orders"


def _judge_money(orders: Sequence[OrderRow], intents: Sequence[IntentRow]) -> Iterable[str]:
    succeeded: defaultdict[str, list[IntentRow]] = defaultdict(list)
    for intent in intents:
        if intent.status == "succeeded":
            succeeded[intent.order_id].append(intent)
    known = set()
    for order in orders:
        known.add(order.public_id)
        charges = succeeded.get(order.public_id, [])
        if len(charges) > 1:
            yield f"{order.number} was charged {len(charges)} times"
        if order.status in PAID and not charges:
            yield f"{order.number} is {order.status}, and the provider has no money for it"
        if order.status == "cancelled":
            for charge in charges:
                if charge.refunded != charge.received:
                    yield f"{order.number} is cancelled, and {charge.id} was not given back"
    for order_id, charges in succeeded.items():
        if order_id not in known:
            yield f"{charges[0].id} was charged for an order that is not there"


def _told(heard: Iterable[Heard]) -> str:
    return ", ".join(f"{one.status} {one.code or one.digest[:8]}".strip() for one in heard)


def read_orders(cursor: Any) -> list[OrderRow]:
    """Every order of the run."""
    cursor.execute(
        """
        SELECT o.order_number, o.public_id::text, o.guest_email, o.status, o.payment_status,
               coalesce(sum(p.amount_received), 0), coalesce(sum(p.amount_refunded), 0),
               extract(epoch FROM o.created_at),
               (SELECT extract(epoch FROM min(t.at)) FROM order_transitions t
                WHERE t.order_id = o.id AND t.from_status = 'pending')
        FROM orders o LEFT JOIN payments p ON p.order_id = o.id
        WHERE o.guest_email LIKE 'chaos-%%' GROUP BY o.id
        """
    )
    return [
        OrderRow(
            number=number,
            public_id=public_id,
            email=email,
            status=status,
            payment_status=payment_status,
            received=float(received),
            refunded=float(refunded),
            created_at=float(created_at),
            decided_at=None if decided_at is None else float(decided_at),
        )
        for (
            number,
            public_id,
            email,
            status,
            payment_status,
            received,
            refunded,
            created_at,
            decided_at,
        ) in cursor
    ]
