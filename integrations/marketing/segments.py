"""Sorts customers by what they have bought: pure, and by the bounds that the settings name.

Amounts of different currencies are never added up: a customer has a value in each.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from django.conf import settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Bought:
    """What somebody has bought in one currency (ISO 4217), in its major units."""

    currency: str
    order_count: int
    lifetime_value: Decimal


def of(
    *, bought: Sequence[Bought], last_order_at: datetime | None, now: datetime
) -> dict[str, str]:
    """The segments of a customer, each a name and a word.

    `orders`: none, one, several, loyal. `recency`: never, active, cooling, lapsed.
    `value_USD`, for every currency with bounds that something was bought in: low, middle, high.
    """
    return {
        "orders": _by_orders(sum(one.order_count for one in bought)),
        "recency": _by_recency(last_order_at, now),
        **{
            f"value_{one.currency}": _by_value(one)
            for one in bought
            if one.currency in settings.MARKETING_HIGH_VALUES
        },
    }


def written(segments: Mapping[str, str]) -> str:
    """Segments as one line, the same for the same ones."""
    return " ".join(f"{name}={word}" for name, word in sorted(segments.items()))


def _by_orders(count: int) -> str:
    if count >= settings.MARKETING_LOYAL_ORDERS:
        return "loyal"
    return ("none", "one")[count] if count <= 1 else "several"


def _by_recency(last_order_at: datetime | None, now: datetime) -> str:
    if last_order_at is None:
        return "never"
    age = now - last_order_at
    if age <= timedelta(days=settings.MARKETING_ACTIVE_DAYS):
        return "active"
    return "cooling" if age <= timedelta(days=settings.MARKETING_LAPSED_DAYS) else "lapsed"


def _by_value(bought: Bought) -> str:
    if bought.lifetime_value >= settings.MARKETING_HIGH_VALUES[bought.currency]:
        return "high"
    middle = settings.MARKETING_MIDDLE_VALUES.get(bought.currency)
    return "middle" if middle is not None and bought.lifetime_value >= middle else "low"
