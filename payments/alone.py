"""How much of the customers' money one person may give back on their own word."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from payments.errors import SecondPersonNeededError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    Limits: TypeAlias = Mapping[str, Decimal]
    """By currency, in major units. In a currency that is not in it, nothing."""


def check(*, amount: Decimal, currency: str, before: Decimal, limits: Limits | None) -> None:
    """Refuse what is too much for one person.

    Args:
        amount: what shall go back now, in major units of `currency`.
        before: what the same person has given back of the same order on their own word.
        limits: None: not one person's own word. A customer's, a machine's, or that of two.

    Raises:
        SecondPersonNeededError: it is; nothing was changed.
    """
    if limits is None:
        return
    limit = limits.get(currency, Decimal(0))
    if before + amount > limit:
        raise SecondPersonNeededError(amount=amount, currency=currency)
