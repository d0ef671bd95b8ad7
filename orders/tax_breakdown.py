"""Adds up what a document says of tax, rate by rate and class by class, to the cent.

Pure, as `pricing`: amounts and rates in, rows out. Nothing is taxed anew here: rows are made of the
tax that was charged, so they add up to it whatever was rounded on the way.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import NamedTuple

from config.kernel import money


class Taxation(NamedTuple):
    """How something is taxed: at which rate, a fraction, and as which class of goods.

    The class is None where it was not kept.
    """

    rate: Decimal
    tax_class: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Taxed:
    """What one rate, or one class at it, came to: `net` + `tax` is what the customer pays."""

    rate: Decimal
    tax_class: str | None = None
    net: Decimal
    tax: Decimal

    @property
    def taxation(self) -> Taxation:
        """What rows are told apart by."""
        return Taxation(self.rate, self.tax_class)

    @property
    def gross(self) -> Decimal:
        """With the tax."""
        return self.net + self.tax


def taxed(*, amount: Decimal, how: Taxation, tax: Decimal, tax_included: bool) -> Taxed:
    """One line, or shipping: `amount` after discount, net or gross as `tax_included` says."""
    net = amount - tax if tax_included else amount
    return Taxed(rate=how.rate, tax_class=how.tax_class, net=net, tax=tax)


def added_up(parts: Iterable[Taxed]) -> tuple[Taxed, ...]:
    """One row a rate and class, the lowest rate first; what came to nothing has none."""
    rows: dict[Taxation, Taxed] = {}
    for part in parts:
        if row := rows.get(part.taxation):
            rows[part.taxation] = replace(row, net=row.net + part.net, tax=row.tax + part.tax)
        else:
            rows[part.taxation] = part
    in_order = sorted(rows, key=lambda how: (how.rate, how.tax_class or ""))
    return tuple(rows[how] for how in in_order if rows[how].gross)


def without_classes(parts: Iterable[Taxed]) -> tuple[Taxed, ...]:
    """One row a rate, whatever the class: what a document prints."""
    return added_up(replace(part, tax_class=None) for part in parts)


def left(*, sold: Sequence[Taxed], given: Iterable[Taxed]) -> tuple[Taxed, ...]:
    """What is left of an invoice's rows after those of its credit notes."""
    back = (replace(row, net=-row.net, tax=-row.tax) for row in given)
    return added_up([*sold, *back])


def credit(
    *,
    amount: Decimal,
    remaining: Sequence[Taxed],
    for_lines: Mapping[Taxation, Decimal],
    currency: str,
) -> tuple[Taxed, ...]:
    """Split money given back by rate and class.

    First by those of the lines that it is for, as far as these have something left; the rest,
    or an amount that is for no line, in proportion to what is left. Of each row its tax goes back
    in proportion too, so no document ever gives back more tax than was charged, and the one that
    gives back all that is left gives back all the tax.

    Args:
        amount: > 0, tax included, at most what `remaining` comes to.
        remaining: what is left, one row a rate and class.
        for_lines: how much of `amount` is for lines that were taxed so.

    Returns:
        Rows whose gross adds up to `amount`, the lowest rate first.

    Raises:
        ValueError: more is given back than is left.
    """
    if amount > sum(row.gross for row in remaining):
        raise ValueError(f"{amount} is more than is left")
    first = [min(row.gross, for_lines.get(row.taxation, Decimal(0))) for row in remaining]
    rest = money.allocate(
        amount - sum(first),
        [row.gross - taken for row, taken in zip(remaining, first, strict=True)],
        currency,
    )
    rows = []
    for row, *parts in zip(remaining, first, rest, strict=True):
        gross = sum(parts, Decimal(0))
        if gross:
            tax = money.quantize(row.tax * gross / row.gross, currency)
            rows.append(replace(row, net=gross - tax, tax=tax))
    return tuple(rows)
