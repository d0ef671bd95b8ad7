"""What staff sees of an order at a glance: where its money is, and where its goods are."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.db.models import Q, Sum

from inventory.models import Reservation
from orders import selectors
from orders.models import RefundLine, ReturnItem, ReturnReceipt, ShipmentItem
from orders.services import shipping
from payments.models import LedgerEntry, Payment, Refund

if TYPE_CHECKING:
    from decimal import Decimal

    from orders.models import Order, OrderItem

UNDER_WAY: Final = (Refund.Status.DUE, Refund.Status.PENDING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """In major units of `currency`, as the ledger has it.

    `refunded` is back with the customer, `refund_under_way` is decided and not there yet,
    `refundable` is what neither is. `disputed` is with the customer's bank. `net` is what is left
    of it in the account at the provider: what came in less everything that left, fees too.
    """

    currency: str
    captured: Decimal
    refunded: Decimal
    refund_under_way: Decimal
    disputed: Decimal
    fees: Decimal
    net: Decimal

    @property
    def refundable(self) -> Decimal:
        """What can still be given back."""
        return self.captured - self.refunded - self.refund_under_way


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Units of a line that are promised in a warehouse, or have left it."""

    warehouse: str
    status: str
    quantity: int
    shipped: int

    @property
    def still_there(self) -> int:
        """Units that wait there for this order."""
        is_promised = self.status in {Reservation.Status.HELD, Reservation.Status.COMMITTED}
        return self.quantity - self.shipped if is_promised else 0

    @property
    def words(self) -> str:
        """What became of them: `2 shipped, 1 released`."""
        rest = self.quantity - self.shipped
        parts = [f"{self.shipped} shipped"] if self.shipped else []
        return ", ".join([*parts, f"{rest} {self.status}"] if rest else parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What became of a line's units. `to_ship` is what is neither sent nor refunded."""

    item: OrderItem
    to_ship: int
    shipped: int
    refunded: int
    announced: int
    returned: int
    places: tuple[Place, ...]


def money_of(order: Order) -> Money:
    """Where an order's money is; two statements."""
    kind, account = LedgerEntry.Kind, LedgerEntry.Account

    def booked(*kinds: str) -> Sum:
        return Sum("amount", filter=Q(kind__in=kinds, account=account.STRIPE_BALANCE), default=0)

    sums = LedgerEntry.objects.filter(payment__order=order).aggregate(
        captured=booked(kind.CAPTURE),
        refunded=booked(kind.REFUND, kind.REFUND_REVERSAL),
        disputed=booked(kind.DISPUTE, kind.DISPUTE_REVERSAL),
        fees=booked(kind.FEE),
        net=Sum("amount", filter=Q(account=account.STRIPE_BALANCE), default=0),
    )
    under_way = Refund.objects.filter(payment__order=order, status__in=UNDER_WAY).aggregate(
        sum=Sum("amount", default=0)
    )
    cents = order.total_amount * 0  # zeros are shown with as many digits as the total

    return Money(
        currency=order.currency,
        captured=cents + sums["captured"],
        refunded=cents - sums["refunded"],
        refund_under_way=cents + under_way["sum"],
        disputed=cents - sums["disputed"],
        fees=cents - sums["fees"],
        net=cents + sums["net"],
    )


def lines_of(order: Order) -> list[Line]:
    """What became of each line, as it stands; a constant number of statements."""
    items = selectors.list_items(order_id=order.pk)
    left = shipping.left_to_ship(items)
    shipped = selectors.units_by_line(ShipmentItem.objects.filter(order_item__in=items))
    given = RefundLine.objects.filter(order_item__in=items)
    refunded = selectors.units_by_line(given.exclude(refund__status=Refund.Status.FAILED))
    announced = selectors.units_by_line(ReturnItem.objects.filter(order_item__in=items))
    received = ReturnReceipt.objects.filter(item__order_item__in=items)
    returned = selectors.units_by_line(received, line="item__order_item_id")
    places = _places(order)
    is_alive = order.status not in {order.Status.CANCELLED, order.Status.REFUNDED}
    return [
        Line(
            item=item,
            to_ship=left[item.pk] if is_alive else 0,
            shipped=shipped[item.pk],
            refunded=refunded[item.pk],
            announced=announced[item.pk],
            returned=returned[item.pk],
            places=tuple(places[item.product_id]),
        )
        for item in items
    ]


def find_payment(order: Order) -> Payment | None:
    """The payment that counts: the last one."""
    return Payment.objects.filter(order=order).order_by("-pk").first()


def _places(order: Order) -> dict[int, list[Place]]:
    """By product: where its units are promised."""
    places: dict[int, list[Place]] = defaultdict(list)
    held = Reservation.objects.filter(order=order).select_related("stock_level__warehouse")
    for one in held.order_by("stock_level__warehouse__code", "pk"):
        places[one.stock_level.product_id].append(
            Place(
                warehouse=one.stock_level.warehouse.code,
                status=one.status,
                quantity=one.quantity,
                shipped=one.shipped_quantity,
            )
        )
    return places
