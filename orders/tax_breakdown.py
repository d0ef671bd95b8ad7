"""Adds up what a document says of tax, rate by rate, to the cent.

Pure, as `pricing`: amounts and rates in, rows out. Nothing is taxed anew here: rows are made of the
tax that was charged, so they add up to it whatever was rounded on the way.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from config.kernel import money


@dataclass(frozen=True, slots=True, kw_only=True)
class Taxed:
    """What one rate came to: `rate` is a fraction, `net` + `tax` is what the customer pays."""

    rate: Decimal
    net: Decimal
    tax: Decimal

    @property
    def gross(self) -> Decimal:
        """With the tax."""
        return self.net + self.tax


def taxed(*, amount: Decimal, rate: Decimal, tax: Decimal, tax_included: bool) -> Taxed:
    """One line, or shipping: `amount` after discount, net or gross as `tax_included` says."""
    return Taxed(rate=rate, net=amount - tax if tax_included else amount, tax=tax)


def by_rate(parts: Iterable[Taxed]) -> tuple[Taxed, ...]:
    """One row a rate, the lowest first; rates at which nothing was sold have none."""
    rows: dict[Decimal, Taxed] = {}
    for part in parts:
        if row := rows.get(part.rate):
            rows[part.rate] = replace(row, net=row.net + part.net, tax=row.tax + part.tax)
        else:
            rows[part.rate] = part
    return tuple(rows[rate] for rate in sorted(rows) if rows[rate].gross)


def left(*, sold: Sequence[Taxed], given: Iterable[Taxed]) -> tuple[Taxed, ...]:
    """What is left of an invoice's rows after those of its credit notes."""
    back = (replace(row, net=-row.net, tax=-row.tax) for row in given)
    return by_rate([*sold, *back])


def credit(
    *,
    amount: Decimal,
    remaining: Sequence[Taxed],
    at_rates: Mapping[Decimal, Decimal],
    currency: str,
) -> tuple[Taxed, ...]:
    """Split money given back by rate.

    First by the rates of the lines that it is for, as far as these have something left; the rest,
    or an amount that is for no line, in proportion to what is left. Of each rate its tax goes back
    in proportion too, so no document ever gives back more tax than was charged, and the one that
    gives back all that is left gives back all the tax.

    Args:
        amount: > 0, tax included, at most what `remaining` comes to.
        remaining: what is left, one row a rate.
        at_rates: how much of `amount` is for lines of each rate.

    Returns:
        Rows whose gross adds up to `amount`, the lowest rate first.

    Raises:
        ValueError: more is given back than is left.
    """
    if amount > sum(row.gross for row in remaining):
        raise ValueError(f"{amount} is more than is left")
    first = [min(row.gross, at_rates.get(row.rate, Decimal(0))) for row in remaining]
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
            rows.append(Taxed(rate=row.rate, net=gross - tax, tax=tax))
    return tuple(rows)
