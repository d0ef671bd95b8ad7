"""What can go wrong with stock and with the catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from config.kernel.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a line cannot be taken; lines are counted as an editor does, the header being 1."""

    line: int
    reason: str


class InsufficientStockError(DomainError):
    """Not everything wanted is there; nothing was reserved. Names all that is short at once."""

    code = "INSUFFICIENT_INVENTORY"
    status = 409
    message = "Some items are not available in the quantity you want."

    def __init__(self, *, unavailable_items: list[dict[str, Any]]) -> None:
        super().__init__(details={"unavailable_items": unavailable_items})


class NotPromisedError(DomainError):
    """More units than the order has waiting in the buildings, or than it ever had."""

    code = "INVALID_TRANSITION"
    status = 409
    message = "The order has fewer units to move."


class StockChangeRefusedError(DomainError):
    """What staff wants would break a promise, or rests on what is no longer so; nothing changed.

    Says in words what stands in the way, and what to do.
    """

    code = "INVALID_TRANSITION"
    status = 409


class StockFileRefusedError(DomainError):
    """A file of stock changes has bad lines, told all at once; nothing was changed."""

    code = "VALIDATION_FAILED"
    status = 400

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        first = self.problems[0]
        more = f" And {len(self.problems) - 1} more." if len(self.problems) > 1 else ""
        super().__init__(f"Line {first.line}: {first.reason}.{more}")


class StockRequestReusedError(DomainError):
    """The key stands for something else that was done already."""

    code = "IDEMPOTENCY_KEY_REUSED"
    status = 422
    message = "This was sent before, with other content. Open the page anew and try again."


class PriceScheduleOverlapsError(DomainError):
    """Another price of this product and currency is planned for that time."""

    code = "INVALID_TRANSITION"
    status = 409
    message = (
        "Another price of this product and currency is planned for that time: cancel it first, or"
        " choose another time."
    )


class PriceScheduleOverError(DomainError):
    """There is nothing left to stop: it has happened, or was cancelled."""

    code = "INVALID_TRANSITION"
    status = 409
    message = "This price change is over already; change the price itself."


class UnusableFileError(Exception):
    """A file that cannot be imported at all; says why in one line."""
