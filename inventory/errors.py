"""What can go wrong with stock."""

from __future__ import annotations

from typing import Any

from config.kernel.errors import DomainError


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


class UnusableFileError(Exception):
    """A file that cannot be imported at all; says why in one line."""


class PromisedStockError(Exception):
    """Fewer units than are promised to orders would be left; nothing was changed."""

    def __init__(self, *, on_hand: int, allocated: int) -> None:
        super().__init__(f"{on_hand} are on hand, {allocated} of them promised to orders")
