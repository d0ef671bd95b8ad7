"""Units of an order's lines as people write them: `SKU=2`, or `SKU=2/1` for two of which one."""

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
    return {sku: quantity for sku, (quantity, _) in parse_shares(words, part="").items()}


def parse_shares(words: Iterable[str], *, part: str = "/PART") -> dict[str, tuple[int, int]]:
    """How many of each SKU, and how many of these are the part; all of them where none is told.

    Args:
        part: how the part is told to people; empty where there may be none.

    Raises:
        ValueError: likewise.
    """
    found: dict[str, tuple[int, int]] = {}
    for word in words:
        sku, _, told = word.rpartition("=")
        numbers = told.split("/") if part else [told]
        if not sku or len(numbers) > 2 or not all(map(_is_quantity, numbers)):  # noqa: PLR2004
            raise ValueError(f"SKU=QUANTITY{part}, not {word!r}")
        if sku in found:
            raise ValueError(f"{sku} is named twice")
        found[sku] = (int(numbers[0]), int(numbers[-1]))
    return found


def _is_quantity(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS
