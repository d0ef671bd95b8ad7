"""Moves stock between on hand, allocated and gone, for orders; staff have `inventory.documents`.

Every function requires an open transaction and locks the stock levels it touches in id order,
so that no two of them can wait for each other.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import connection

from config.kernel import sql
from inventory import sourcing
from inventory.errors import InsufficientStockError, NotPromisedError
from inventory.models import Reservation, StockLevel, StockMovement

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from inventory.sourcing import Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Units that came in at a building."""

    product_id: int
    warehouse_id: int
    quantity: int


def reserve(*, order_id: int, wanted: Sequence[Wanted], country: str) -> None:
    """Hold units for an order that waits for its payment: available → allocated.

    Call it last in its transaction: the row locks live until COMMIT, and on a best-seller
    everybody else waits for them.

    Args:
        order_id: the order the units are promised to; it has no reservations yet.
        wanted: every product once.
        country: ISO 3166 alpha-2 of the destination; buildings there are asked first.

    Raises:
        InsufficientStockError: nothing was reserved; roll the transaction back.
        OperationalError: a row lock was not to be had within `lock_timeout`.
    """
    stock = _lock_available([line.product_id for line in wanted])
    if shortages := sourcing.find_shortages(wanted=wanted, stock=stock):
        raise InsufficientStockError(unavailable_items=[short.as_json() for short in shortages])
    allocations = sourcing.plan(wanted=wanted, stock=stock, country=country)
    if _promise(order_id, allocations) != len(allocations):
        # The rows are locked: the guard refuses only what the plan got wrong.
        raise AssertionError(f"order {order_id}: the plan promises more than is there")


def commit_reservation(*, order_id: int) -> None:
    """The order is paid: held → committed. The stock rows are not touched again."""
    sql.later(
        """
        UPDATE reservations SET status = 'committed'
        WHERE order_id = %(order_id)s AND status = 'held'
        """,
        order_id=order_id,
    )


def release(*, order_id: int) -> None:
    """The order is dead: its units become available again. Released once, however often called."""
    open_reservations = Reservation.objects.filter(
        order_id=order_id, status__in=[Reservation.Status.HELD, Reservation.Status.COMMITTED]
    )
    _lock_levels(open_reservations.values_list("stock_level_id", flat=True))
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH released AS (
                UPDATE reservations SET status = 'released'
                WHERE order_id = %s AND status IN ('held', 'committed')
                RETURNING stock_level_id, quantity - shipped_quantity AS quantity
            )
            UPDATE stock_levels AS level SET allocated = level.allocated - released.quantity
            FROM released WHERE level.id = released.stock_level_id
            """,
            [order_id],
        )


def ship(*, order_id: int, units: Mapping[int, int], user_id: int | None = None) -> None:
    """Units leave the building: allocated and on_hand go down, a movement says so.

    A line that is promised from several buildings leaves them in the order of their stock levels.

    Args:
        units: how many of each product, above zero.
        user_id: the member of staff, if a person did it.

    Raises:
        NotPromisedError: the order has fewer committed units left; nothing was changed.
    """
    committed = Reservation.objects.filter(order_id=order_id, status=Reservation.Status.COMMITTED)
    _lock_levels(committed.values_list("stock_level_id", flat=True))
    leaving: dict[int, int] = {}
    missing = Counter(units)
    for promised in committed.select_related("stock_level").order_by("stock_level_id"):
        product_id = promised.stock_level.product_id
        taken = min(missing[product_id], promised.quantity - promised.shipped_quantity)
        if taken:
            leaving[promised.stock_level_id] = taken
            missing[product_id] -= taken
    if any(missing.values()):
        raise NotPromisedError
    sql.execute(
        """
        WITH sent AS (
            UPDATE reservations SET shipped_quantity = shipped_quantity + leaving.quantity,
                status = CASE WHEN shipped_quantity + leaving.quantity = reservations.quantity
                    THEN 'shipped' ELSE status END
            FROM unnest(%(levels)s::bigint[], %(quantities)s::int[]) AS leaving (id, quantity)
            WHERE order_id = %(order_id)s AND stock_level_id = leaving.id
            RETURNING leaving.id, leaving.quantity
        ), gone AS (
            UPDATE stock_levels AS level
            SET allocated = level.allocated - sent.quantity, on_hand = level.on_hand - sent.quantity
            FROM sent WHERE level.id = sent.id RETURNING level.id
        )
        INSERT INTO stock_movements (stock_level_id, kind, quantity, order_id, user_id)
        SELECT sent.id, 'ship', -sent.quantity, %(order_id)s, %(user_id)s
        FROM sent JOIN gone ON gone.id = sent.id
        """,
        order_id=order_id,
        user_id=user_id,
        levels=list(leaving),
        quantities=list(leaving.values()),
    )


def take_back(
    *, order_id: int, units: Mapping[int, int], reason: str, user_id: int | None = None
) -> None:
    """Returned units can be sold again: on_hand goes up where they had left, a movement says so.

    Args:
        units: how many of each product, above zero; the caller knows that they were shipped.
        reason: for people; kept on the movement.

    Raises:
        NotPromisedError: a product never left for this order; nothing was changed.
    """
    shipped = Reservation.objects.filter(order_id=order_id, shipped_quantity__gt=0)
    home = dict(
        shipped.order_by("-stock_level_id").values_list("stock_level__product_id", "stock_level_id")
    )
    if not units.keys() <= home.keys():
        raise NotPromisedError
    coming = {home[product_id]: quantity for product_id, quantity in units.items()}
    _lock_levels(coming)
    sql.execute(
        """
        WITH back AS (
            UPDATE stock_levels AS level SET on_hand = level.on_hand + coming.quantity
            FROM unnest(%(levels)s::bigint[], %(quantities)s::int[]) AS coming (id, quantity)
            WHERE level.id = coming.id RETURNING level.id, coming.quantity
        )
        INSERT INTO stock_movements (stock_level_id, kind, quantity, reason, order_id, user_id)
        SELECT id, 'return', quantity, %(reason)s, %(order_id)s, %(user_id)s FROM back
        """,
        order_id=order_id,
        user_id=user_id,
        reason=reason,
        levels=list(coming),
        quantities=list(coming.values()),
    )


def receive(*, receipts: Sequence[Receipt], reason: str, user_id: int | None = None) -> None:
    """Units come in without a person, as a shop's first stock: on_hand goes up, movements say why.

    Makes missing stock levels. What a person receives is `documents.receive`.

    Args:
        receipts: each product and building once, quantities above zero.
        reason: for people: where they came from.
        user_id: the member of staff, if a person did it.
    """
    StockLevel.objects.bulk_create(
        # In one order for everybody: two that make the same levels must not wait for each other.
        [
            StockLevel(product_id=r.product_id, warehouse_id=r.warehouse_id)
            for r in sorted(receipts, key=lambda r: (r.product_id, r.warehouse_id))
        ],
        ignore_conflicts=True,
    )
    by_place = {(r.product_id, r.warehouse_id): r.quantity for r in receipts}
    levels = [
        level
        for level in StockLevel.objects.select_for_update()
        .filter(
            product_id__in={r.product_id for r in receipts},
            warehouse_id__in={r.warehouse_id for r in receipts},
        )
        .order_by("id")
        if (level.product_id, level.warehouse_id) in by_place
    ]
    quantities = [by_place[level.product_id, level.warehouse_id] for level in levels]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE stock_levels AS level SET on_hand = level.on_hand + came.quantity
            FROM unnest(%s::bigint[], %s::int[]) AS came (id, quantity) WHERE level.id = came.id
            """,
            [[level.pk for level in levels], quantities],
        )
    StockMovement.objects.bulk_create(
        StockMovement(
            stock_level=level,
            kind=StockMovement.Kind.RECEIVE,
            quantity=quantity,
            reason=reason,
            user_id=user_id,
        )
        for level, quantity in zip(levels, quantities, strict=True)
    )


def _lock_available(product_ids: list[int]) -> list[sourcing.Available]:
    """What could be promised of these products, its rows locked in id order."""
    levels = sql.fetch(
        """
        SELECT level.id, level.product_id, level.warehouse_id, warehouse.country,
            warehouse.priority, level.on_hand - level.allocated AS available
        FROM stock_levels AS level JOIN warehouses AS warehouse ON warehouse.id = level.warehouse_id
        WHERE level.product_id = ANY(%(product_ids)s) AND warehouse.is_active
        ORDER BY level.id FOR UPDATE OF level
        """,
        product_ids=product_ids,
    )
    return [
        sourcing.Available(
            stock_level_id=level.id,
            product_id=level.product_id,
            warehouse_id=level.warehouse_id,
            warehouse_country=level.country,
            warehouse_priority=level.priority,
            quantity=level.available,
        )
        for level in levels
    ]


def _promise(order_id: int, allocations: Sequence[sourcing.Allocation]) -> int:
    """One statement: a row is allocated exactly if its reservation is written. Returns how many."""
    return sql.execute(
        """
        WITH promised AS (
            UPDATE stock_levels AS level SET allocated = level.allocated + wanted.quantity
            FROM unnest(%(levels)s::bigint[], %(quantities)s::int[]) AS wanted (id, quantity)
            WHERE level.id = wanted.id AND level.on_hand - level.allocated >= wanted.quantity
            RETURNING level.id, wanted.quantity
        )
        INSERT INTO reservations (order_id, stock_level_id, quantity)
        SELECT %(order_id)s, id, quantity FROM promised
        """,
        order_id=order_id,
        levels=[allocation.stock_level_id for allocation in allocations],
        quantities=[allocation.quantity for allocation in allocations],
    )


def _lock_levels(stock_level_ids: Iterable[int]) -> None:
    list(
        StockLevel.objects.select_for_update()
        .filter(pk__in=stock_level_ids)
        .order_by("pk")
        .values_list("pk", flat=True)
    )
