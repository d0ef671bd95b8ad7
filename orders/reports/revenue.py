"""Daily revenue and refunds: what came in and what it was for, what went out again, what is left.

Everything is of the day on which the ledger booked it: a sale when it was paid, a refund when it
was given back, a fee or disputed amount when the provider took it. So `net` of a day is by how much
the account at the provider changed. Amounts that go out are negative: lines add up from left to
right, days from top to bottom.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from config.kernel import money, sql
from config.kernel.db import snapshot
from orders.reports.listing import NOTHING, Comparison, cell

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date
    from decimal import Decimal

    from orders.reports.days import Days

_SALES: Final = """
    SELECT width_bucket(entry.created_at, %(cuts)s::timestamptz[]) AS nth, entry.currency,
           count(*) AS orders,
           sum(o.subtotal) AS gross,
           -sum(o.discount_amount) AS discounts,
           sum(o.shipping_amount) AS shipping,
           coalesce(sum(o.tax_amount) FILTER (WHERE NOT o.tax_included), 0) AS tax_added,
           coalesce(sum(o.tax_amount) FILTER (WHERE o.tax_included), 0) AS tax_included
    FROM ledger_entries entry
    JOIN payments p ON p.id = entry.payment_id
    JOIN orders o ON o.id = p.order_id
    WHERE entry.created_at >= %(begin)s AND entry.created_at < %(until)s
      AND entry.kind = 'capture' AND entry.account = 'stripe_balance'
    GROUP BY 1, 2
"""
_MOVEMENTS: Final = """
    SELECT width_bucket(created_at, %(cuts)s::timestamptz[]) AS nth, currency,
           coalesce(sum(amount) FILTER (WHERE kind = 'capture'), 0) AS captured,
           coalesce(sum(amount) FILTER (WHERE kind IN ('refund', 'refund_reversal')), 0)
               AS refunds,
           coalesce(sum(amount) FILTER (WHERE kind IN ('dispute', 'dispute_reversal')), 0)
               AS disputes,
           coalesce(sum(amount) FILTER (WHERE kind = 'fee'), 0) AS fees,
           sum(amount) AS net
    FROM ledger_entries
    WHERE created_at >= %(begin)s AND created_at < %(until)s AND account = 'stripe_balance'
    GROUP BY 1, 2
"""
# The other legs: what each account says that it gave to the one at the provider, or got from it.
_COUNTER: Final = """
    SELECT currency,
           coalesce(-sum(amount) FILTER (WHERE kind = 'capture'), 0) AS captured,
           coalesce(-sum(amount) FILTER (WHERE account = 'customer_receipts'
                                         AND kind <> 'capture'), 0) AS refunds,
           coalesce(-sum(amount) FILTER (WHERE account = 'disputed_receipts'), 0) AS disputes,
           coalesce(-sum(amount) FILTER (WHERE account = 'provider_fees'), 0) AS fees,
           -sum(amount) AS net
    FROM ledger_entries
    WHERE created_at >= %(begin)s AND created_at < %(until)s AND account <> 'stripe_balance'
    GROUP BY 1
"""


@dataclass(slots=True, kw_only=True)
class Revenue:
    """A day, or all days, in one currency.

    `captured` = gross + discounts + shipping + tax added; `net` = captured + refunds + disputes +
    fees. `tax_included` is the part of gross, discounts and shipping that is tax.
    """

    orders: int = 0
    gross: Decimal = NOTHING
    discounts: Decimal = NOTHING
    shipping: Decimal = NOTHING
    tax_added: Decimal = NOTHING
    captured: Decimal = NOTHING
    refunds: Decimal = NOTHING
    disputes: Decimal = NOTHING
    fees: Decimal = NOTHING
    net: Decimal = NOTHING
    tax_included: Decimal = NOTHING

    @property
    def sold(self) -> Decimal:
        """What the orders say was to be paid."""
        return self.gross + self.discounts + self.shipping + self.tax_added

    def as_json(self, currency: str) -> dict[str, Any]:
        """Amounts as text."""
        return {
            "orders": self.orders,
            **{name: money.format_amount(getattr(self, name), currency) for name in AMOUNTS},
        }

    def cells(self, currency: str) -> list[Any]:
        """In the order of the columns."""
        return [self.orders, *(cell(getattr(self, name), currency) for name in AMOUNTS)]


AMOUNTS: Final = tuple(field.name for field in fields(Revenue) if field.name != "orders")
COMPARED: Final = ("captured", "refunds", "disputes", "fees", "net")


@dataclass(frozen=True, slots=True, kw_only=True)
class RevenueReport:
    """Each day in each currency that moved within the period, also days on which nothing did."""

    days: Days
    by_day: dict[tuple[date, str], Revenue]
    totals: dict[str, Revenue]
    comparisons: Sequence[Comparison]

    @property
    def is_equal(self) -> bool:
        """Whether all sums are the ledger's."""
        return not any(comparison.difference for comparison in self.comparisons)

    @property
    def columns(self) -> list[str]:
        """Of a file."""
        return ["line", "day", "currency", "orders", *AMOUNTS]

    def cells(self) -> list[list[Any]]:
        """Days, totals, and what the ledger says of these."""
        lines = [
            ["day", day, currency, *revenue.cells(currency)]
            for (day, currency), revenue in self.by_day.items()
        ]
        for currency, revenue in self.totals.items():
            lines.append(["total", None, currency, *revenue.cells(currency)])
            mine = {each.what: each for each in self.comparisons if each.currency == currency}
            for line, attribute in (("ledger", "booked"), ("difference", "difference")):
                found = {
                    what: cell(getattr(each, attribute), currency) for what, each in mine.items()
                }
                lines.append([line, None, currency, None, *(found.get(name) for name in AMOUNTS)])
        return lines

    def as_json(self) -> dict[str, Any]:
        """The whole report."""
        return {
            "from": self.days.first.isoformat(),
            "to": self.days.end.isoformat(),
            "time_zone": self.days.zone,
            "days": [
                {"day": day.isoformat(), "currency": currency, **revenue.as_json(currency)}
                for (day, currency), revenue in self.by_day.items()
            ],
            "totals": [
                {"currency": currency, **revenue.as_json(currency)}
                for currency, revenue in self.totals.items()
            ],
            "ledger": [comparison.as_json() for comparison in self.comparisons],
            "is_equal": self.is_equal,
        }


def read(days: Days, *, most_seconds: float | None = None) -> RevenueReport:
    """The report of these days, in one snapshot that holds up nobody.

    Opens its own transaction; never call it inside one.

    Args:
        most_seconds: of each of its statements; None: as long as they take.

    Raises:
        OperationalError: one took longer than that.
    """
    period = {"begin": days.begin, "until": days.until}
    with snapshot(most_seconds=most_seconds):
        sales = sql.fetch(_SALES, cuts=days.cuts(), **period)
        movements = sql.fetch(_MOVEMENTS, cuts=days.cuts(), **period)
        counter = sql.fetch(_COUNTER, **period)
    found: defaultdict[tuple[int, str], Revenue] = defaultdict(Revenue)
    totals: defaultdict[str, Revenue] = defaultdict(Revenue)
    for row in (*sales, *movements):
        _add(found[row.nth, row.currency], row)
        _add(totals[row.currency], row)
    booked = {row.currency: row for row in counter}
    currencies = sorted({*totals, *booked})
    by_day = {
        (day, currency): found.get((nth, currency), Revenue())
        for currency in currencies
        for nth, day in enumerate(days.each(), start=1)
    }
    return RevenueReport(
        days=days,
        by_day=by_day,
        totals={currency: totals[currency] for currency in currencies},
        comparisons=list(_compared(totals, booked, currencies)),
    )


def _add(revenue: Revenue, row: Any) -> None:
    for name in row._fields:
        if name not in {"nth", "currency"}:
            setattr(revenue, name, getattr(revenue, name) + getattr(row, name))


def _compared(
    totals: dict[str, Revenue], booked: dict[str, Any], currencies: Sequence[str]
) -> Iterable[Comparison]:
    for currency in currencies:
        total, ledger = totals[currency], booked.get(currency)
        # The orders' own amounts first: that is where a difference would come from.
        yield Comparison(what="sold", currency=currency, reported=total.sold, booked=total.captured)
        for name in COMPARED:
            yield Comparison(
                what=name,
                currency=currency,
                reported=getattr(total, name),
                booked=getattr(ledger, name, NOTHING),
            )
