"""Chooses where an order's units come from. Pure: stock as it stands in, allocations out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A line of an order: how many units of which product."""

    product_id: int
    sku: str
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Available:
    """What one stock level could still promise, and the building it lies in."""

    stock_level_id: int
    product_id: int
    warehouse_id: int
    warehouse_country: str
    warehouse_priority: int
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """So many units from that stock level."""

    stock_level_id: int
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """A line that cannot be filled, and how far it could be."""

    sku: str
    requested: int
    available: int

    def as_json(self) -> dict[str, Any]:
        """The shape in which clients read it."""
        return {"sku": self.sku, "requested": self.requested, "available": self.available}


def find_shortages(*, wanted: Sequence[Wanted], stock: Sequence[Available]) -> list[Shortage]:
    """Every line that all buildings together cannot fill."""
    in_all: dict[int, int] = {}
    for level in stock:
        in_all[level.product_id] = in_all.get(level.product_id, 0) + max(level.quantity, 0)
    return [
        Shortage(sku=line.sku, requested=line.quantity, available=in_all.get(line.product_id, 0))
        for line in wanted
        if line.quantity > in_all.get(line.product_id, 0)
    ]


def plan(*, wanted: Sequence[Wanted], stock: Sequence[Available], country: str) -> list[Allocation]:
    """Fill the whole order from one building if any can; else split it, lines too if need be.

    Buildings in the destination's country are asked first, then by priority, then by id.
    The caller has seen to it that nothing is short.

    Returns:
        Allocations in stock-level id order, the order in which rows are locked and written.
    """
    by_warehouse: dict[int, dict[int, Available]] = {}
    for level in stock:
        by_warehouse.setdefault(level.warehouse_id, {})[level.product_id] = level
    ranked = sorted(by_warehouse.values(), key=lambda levels: _rank(levels, country))
    for levels in ranked:
        if all(_can_promise(levels, line.product_id) >= line.quantity for line in wanted):
            return _take(wanted, [levels])
    return _take(wanted, ranked)


def _rank(levels: dict[int, Available], country: str) -> tuple[bool, int, int]:
    any_level = next(iter(levels.values()))
    return (
        any_level.warehouse_country != country,
        any_level.warehouse_priority,
        any_level.warehouse_id,
    )


def _can_promise(levels: dict[int, Available], product_id: int) -> int:
    return levels[product_id].quantity if product_id in levels else 0


def _take(wanted: Sequence[Wanted], ranked: Sequence[dict[int, Available]]) -> list[Allocation]:
    taken: list[Allocation] = []
    for line in wanted:
        missing = line.quantity
        for levels in ranked:
            quantity = min(missing, max(_can_promise(levels, line.product_id), 0))
            if quantity:
                level_id = levels[line.product_id].stock_level_id
                taken.append(Allocation(stock_level_id=level_id, quantity=quantity))
                missing -= quantity
    return sorted(taken, key=lambda allocation: allocation.stock_level_id)
