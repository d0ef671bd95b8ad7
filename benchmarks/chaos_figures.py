"""The chaos run's figures, and the goals that they are held against."""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from benchmarks.chaos_shoppers import PATIENCE_SECONDS, WAITS_FOR_SOMEBODY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.chaos_judge import OrderRow
    from benchmarks.chaos_shoppers import Wish
    from benchmarks.chaos_storm import Blow

Z_95: Final = 1.96
SHOWN_BEFORE_SECONDS: Final = 5.0
SHOWN_SECONDS: Final = PATIENCE_SECONDS + 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A figure, and what it has to be."""

    what: str
    figure: str
    wanted: str
    is_met: bool


def at_most(what: str, seconds: float, wanted: float, *, detail: str = "") -> Goal:
    """A goal in seconds; `wanted` itself is too much."""
    return Goal(
        what=what,
        figure=f"{seconds:.1f} s{detail}",
        wanted=f"< {wanted:g} s",
        is_met=seconds < wanted,
    )


def success(wishes: Sequence[Wish]) -> tuple[int, int, float, float]:
    """Wishes that were answered in time, all of them, and Wilson's 95 % interval of the share.

    Source: E. B. Wilson, Probable inference, JASA 22 (1927), 209-212.
    """
    total = len(wishes)
    good = sum(wish.settled_in_time for wish in wishes)
    if not total:
        return 0, 0, 0.0, 1.0
    share, square = good / total, Z_95**2
    centre = share + square / (2 * total)
    spread = Z_95 * math.sqrt(share * (1 - share) / total + square / (4 * total**2))
    low, high = (centre - spread) / (1 + square / total), (centre + spread) / (1 + square / total)
    return good, total, max(0.0, low), min(1.0, high)


def recovery_seconds(
    blows: Sequence[Blow], wishes: Sequence[Wish], *, kind: str, began: float
) -> list[float]:
    """For each blow of a kind: how long until an order was taken that was sent after it.

    Where none ever was: until the last request of all, which is too little rather than too much.
    """
    last = max((heard.at - began for wish in wishes for heard in wish.heard), default=0.0)
    taken = sorted(
        (heard.at - began, heard.asked_at - began)
        for wish in wishes
        for heard in wish.heard
        if heard.status in {201, 202} and not heard.replayed
    )
    waits = []
    for blow in blows:
        if blow.kind == kind:
            after = next((at for at, asked_at in taken if asked_at > blow.at), last)
            waits.append(max(0.0, after - blow.at))
    return waits


def doubts(wishes: Sequence[Wish], orders: Sequence[OrderRow]) -> list[tuple[float, str]]:
    """The seconds each payment was in doubt whose first request brought no last word; its order.

    From the order's birth until it was decided; where a person or a bank had to act, from when
    they had. What nobody ever acted on is not in doubt: it waits, and its hold ends it.
    """
    of = {order.email: order for order in orders}
    found = []
    for wish in wishes:
        order = of.get(wish.email)
        if order is None or order.decided_at is None:
            continue
        if wish.story in WAITS_FOR_SOMEBODY:
            since = wish.acted_at
        else:
            since = None if wish.heard[0].is_definite else order.created_at
        if since is not None:
            found.append((max(0.0, order.decided_at - since), f"{order.number}: {wish.story}"))
    return sorted(found, reverse=True)


def unlucky(
    wishes: Sequence[Wish], blows: Sequence[Blow], *, began: float
) -> list[dict[str, object]]:
    """What happened to each wish that was not settled in time, and the blows around it."""
    return [
        {
            "key": wish.key,
            "story": wish.story,
            "at": round(wish.began - began, 1),
            "tries": [
                f"+{heard.asked_at - wish.began:.1f} s: {heard.status} {heard.code}"
                f" after {heard.at - heard.asked_at:.1f} s"
                for heard in wish.heard
                if heard.asked_at - wish.began < SHOWN_SECONDS
            ],
            "blows": [
                f"{blow.at - (wish.began - began):+.1f} s: {blow.kind}"
                for blow in sorted(blows, key=attrgetter("at"))
                if -SHOWN_BEFORE_SECONDS < blow.at - (wish.began - began) < SHOWN_SECONDS
            ],
        }
        for wish in wishes
        if not wish.settled_in_time
    ]


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed; 0 of none."""
    if not values:
        return 0.0
    return sorted(values)[min(len(values) - 1, math.ceil(share * len(values)) - 1)]
