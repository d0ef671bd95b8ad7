"""What can go wrong with stock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.kernel.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inventory.sourcing import Shortage


class InsufficientStockError(DomainError):
    """Not everything wanted is there; nothing was reserved. Names all that is short at once."""

    code = "INSUFFICIENT_INVENTORY"
    status = 409
    message = "Some items are not available in the quantity you want."

    def __init__(self, shortages: Sequence[Shortage]) -> None:
        super().__init__(details={"unavailable_items": [short.as_json() for short in shortages]})
