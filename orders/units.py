"""Units of an order's lines as people write them: `SKU=2`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_DIGITS = 5


def parse_units(words: Iterable[str]) -> dict[str, int]:
    """How many of each SKU.

    Raises:
        ValueError: a word is none, or a SKU is named twice; says which.
    """
    found: dict[str, int] = {}
    for word in words:
        sku, _, quantity = word.rpartition("=")
        if not sku or not _is_quantity(quantity):
            raise ValueError(f"SKU=QUANTITY, not {word!r}")
        if sku in found:
            raise ValueError(f"{sku} is named twice")
        found[sku] = int(quantity)
    return found


def _is_quantity(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS
