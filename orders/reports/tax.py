"""Sales tax by jurisdiction: what was sold where at which rate, the tax on it, and what went back.

A sale is of the day on which it was paid, what goes back of the day on which it is given back: both
as the ledger booked them (docs/adr/0044). Where it was sold to is the destination's country and,
where states have codes, its state: tax rates know no finer place. What was sold is read from the
orders' lines, what went back from the credit notes, which say at which rates.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from config.kernel import money, postal, sql
from config.kernel.db import snapshot
from orders.reports.listing import NOTHING, Comparison, cell

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orders.reports.days import Days

# A line's tax is its own; shipping's is what the order's has over its lines'. So each line is also
# taken off shipping, which spares reading the lines twice.
_SOLD: Final = f"""
    WITH sold AS MATERIALIZED (
        SELECT o.id, o.currency, o.shipping_address ->> 'country' AS country,
               CASE WHEN upper(o.shipping_address ->> 'state') ~ '^{postal.AREA_CODE.pattern}$'
                    THEN upper(o.shipping_address ->> 'state') ELSE '' END AS state,
               o.shipping_amount, o.shipping_tax_rate, o.shipping_tax_class, o.tax_amount,
               o.tax_included
        FROM ledger_entries entry
        JOIN payments p ON p.id = entry.payment_id
        JOIN orders o ON o.id = p.order_id
        WHERE entry.created_at >= %(begin)s AND entry.created_at < %(until)s
          AND entry.kind = 'capture' AND entry.account = 'stripe_balance'
    ), parts AS (
        SELECT currency, country, state, 1 AS orders,
               shipping_tax_rate AS rate, shipping_tax_class AS tax_class, tax_amount AS tax,
               shipping_amount - CASE WHEN tax_included THEN tax_amount ELSE 0 END AS net
        FROM sold
        UNION ALL
        SELECT sold.currency, sold.country, sold.state, 0, part.rate, part.tax_class, part.tax,
               part.amount - CASE WHEN sold.tax_included THEN part.tax ELSE 0 END
        FROM sold
        JOIN order_items item ON item.order_id = sold.id
        CROSS JOIN LATERAL (VALUES
            (item.tax_rate, item.tax_class, item.tax_amount,
             item.total_price - item.discount_amount),
            (sold.shipping_tax_rate, sold.shipping_tax_class, -item.tax_amount, 0)
        ) AS part (rate, tax_class, tax, amount)
    )
    SELECT currency, country, state, rate, tax_class, sum(orders) AS orders, sum(net) AS net,
           sum(tax) AS tax
    FROM parts GROUP BY currency, country, state, rate, tax_class
"""  # noqa: S608 - our own constant
_GIVEN_BACK: Final = f"""
    WITH given AS MATERIALIZED (
        SELECT entry.currency, -entry.amount AS amount, entry.refund_id,
               CASE entry.kind WHEN 'refund' THEN 1 ELSE -1 END AS sign,
               o.shipping_address ->> 'country' AS country,
               CASE WHEN upper(o.shipping_address ->> 'state') ~ '^{postal.AREA_CODE.pattern}$'
                    THEN upper(o.shipping_address ->> 'state') ELSE '' END AS state
        FROM ledger_entries entry
        JOIN payments p ON p.id = entry.payment_id
        JOIN orders o ON o.id = p.order_id
        WHERE entry.created_at >= %(begin)s AND entry.created_at < %(until)s
          AND entry.kind IN ('refund', 'refund_reversal') AND entry.account = 'stripe_balance'
    ), told AS MATERIALIZED (
        SELECT given.*, refund.status AS refund_status, note.id AS note_id,
               note.content -> 'taxes' AS taxes
        FROM given
        JOIN refunds refund ON refund.id = given.refund_id
        LEFT JOIN invoices note ON note.refund_id = given.refund_id
    )
    SELECT currency, country, state, (part ->> 'rate')::numeric AS rate,
           part ->> 'class' AS tax_class, '' AS gap, 0 AS refunds,
           sum(sign * (part ->> 'net')::numeric) AS net,
           sum(sign * (part ->> 'tax')::numeric) AS tax
    FROM told CROSS JOIN LATERAL jsonb_array_elements(told.taxes) AS part
    WHERE jsonb_typeof(told.taxes) = 'array'
    GROUP BY currency, country, state, 4, 5
    UNION ALL
    SELECT currency, '', '', NULL, NULL,
           CASE WHEN note_id IS NOT NULL THEN 'no_rates'
                WHEN refund_status = 'failed' THEN 'came_back'
                ELSE 'no_credit_note' END AS gap,
           count(*), sum(amount), 0
    FROM told WHERE jsonb_typeof(taxes) IS DISTINCT FROM 'array'
    GROUP BY currency, 6
"""  # noqa: S608 - our own constant
_BOOKED: Final = """
    SELECT currency,
           coalesce(-sum(amount) FILTER (WHERE kind = 'capture'), 0) AS sold,
           coalesce(sum(amount) FILTER (WHERE kind <> 'capture'), 0) AS given_back
    FROM ledger_entries
    WHERE created_at >= %(begin)s AND created_at < %(until)s AND account = 'customer_receipts'
    GROUP BY 1
"""

GAPS: Final = {
    "no_credit_note": "refunds without a credit note: `relay_outbox` has it issued; then again",
    "no_rates": "refunds of orders from before tax rates were kept: find their tax by hand",
    "came_back": "refunds that came back before they had a credit note: no tax was ever corrected",
}
"""Money of the ledger that no document tells the tax of, and what to do about it."""
HARMLESS: Final = frozenset({"came_back"})


@dataclass(slots=True, kw_only=True)
class Taxes:
    """What was sold and what went back, net and tax, in one currency."""

    net_sold: Decimal = NOTHING
    tax_collected: Decimal = NOTHING
    net_returned: Decimal = NOTHING
    tax_returned: Decimal = NOTHING

    @property
    def net(self) -> Decimal:
        """What is left of the sales, without tax."""
        return self.net_sold - self.net_returned

    @property
    def tax_due(self) -> Decimal:
        """What is left of the tax: to be paid, before what the shop may deduct itself."""
        return self.tax_collected - self.tax_returned

    @property
    def gross_sold(self) -> Decimal:
        """What customers paid."""
        return self.net_sold + self.tax_collected

    @property
    def gross_returned(self) -> Decimal:
        """What customers got back."""
        return self.net_returned + self.tax_returned

    def add(self, other: Taxes) -> None:
        """Count another one in."""
        for name in _KEPT:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def as_json(self, currency: str) -> dict[str, str]:
        """Amounts as text."""
        return {name: money.format_amount(getattr(self, name), currency) for name in AMOUNTS}

    def cells(self, currency: str) -> list[Any]:
        """In the order of the columns."""
        return [cell(getattr(self, name), currency) for name in AMOUNTS]


_KEPT: Final = tuple(field.name for field in fields(Taxes))
AMOUNTS: Final = (*_KEPT, "net", "tax_due", "gross_sold", "gross_returned")


class Place(NamedTuple):
    """A jurisdiction; `state` is empty where states have no codes."""

    currency: str
    country: str
    state: str


class Key(NamedTuple):
    """What a line is about. `rate` is None, and `tax_class`, where an order did not keep it yet."""

    place: Place
    rate: Decimal | None
    tax_class: str | None


@dataclass(slots=True, kw_only=True)
class Jurisdiction:
    """What one came to: taxable is what had a rate above zero, exempt what had that of zero."""

    orders: int = 0
    taxable: Decimal = NOTHING
    exempt: Decimal = NOTHING
    taxes: Taxes

    def as_json(self, place: Place) -> dict[str, Any]:
        """Amounts as text."""
        return {
            **place._asdict(),
            "orders": self.orders,
            "taxable": money.format_amount(self.taxable, place.currency),
            "exempt": money.format_amount(self.exempt, place.currency),
            **self.taxes.as_json(place.currency),
        }


class Gap(NamedTuple):
    """Refunds that no document tells the tax of; see `GAPS`."""

    kind: str
    currency: str
    refunds: int
    amount: Decimal

    def as_json(self) -> dict[str, Any]:
        """Amounts as text."""
        amount = money.format_amount(self.amount, self.currency)
        return {**self._asdict(), "amount": amount, "means": GAPS[self.kind]}


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxReport:
    """A line for each jurisdiction, rate and class; they are also added up by jurisdiction."""

    days: Days
    lines: dict[Key, Taxes]
    jurisdictions: dict[Place, Jurisdiction]
    totals: dict[str, Taxes]
    gaps: list[Gap]
    comparisons: Sequence[Comparison]

    @property
    def is_equal(self) -> bool:
        """Whether both sums are the ledger's, and the tax is known of all of it."""
        has_gap = any(gap.kind not in HARMLESS for gap in self.gaps)
        return not has_gap and not any(each.difference for each in self.comparisons)

    @property
    def columns(self) -> list[str]:
        """Of a file."""
        return ["line", "currency", "country", "state", "rate", "tax_class", *AMOUNTS]

    def cells(self) -> list[list[Any]]:
        """Lines, totals, what the ledger says of these, and what no document tells the tax of."""
        lines = [
            ["rate", *key.place, key.rate, key.tax_class, *taxes.cells(key.place.currency)]
            for key, taxes in self.lines.items()
        ]
        nothing = [None] * 4
        for currency, taxes in self.totals.items():
            lines.append(["total", currency, *nothing, *taxes.cells(currency)])
            lines += [
                [gap.kind, currency, *nothing, *self._placed({"gross_returned": gap.amount}, gap)]
                for gap in self.gaps
                if gap.currency == currency
            ]
            mine = {each.what: each for each in self.comparisons if each.currency == currency}
            for line, attribute in (("ledger", "booked"), ("difference", "difference")):
                found = {what: getattr(each, attribute) for what, each in mine.items()}
                first = next(iter(mine.values()))
                lines.append([line, currency, *nothing, *self._placed(found, first)])
        return lines

    @staticmethod
    def _placed(found: dict[str, Decimal], of: Gap | Comparison) -> list[Any]:
        """Amounts under their columns."""
        return [
            cell(amount, of.currency) if (amount := found.get(name)) is not None else None
            for name in AMOUNTS
        ]

    def as_json(self) -> dict[str, Any]:
        """The whole report."""
        return {
            "from": self.days.first.isoformat(),
            "to": self.days.end.isoformat(),
            "time_zone": self.days.zone,
            "lines": [
                {
                    **key.place._asdict(),
                    "rate": None if key.rate is None else f"{key.rate:f}",
                    "tax_class": key.tax_class,
                    **taxes.as_json(key.place.currency),
                }
                for key, taxes in self.lines.items()
            ],
            "jurisdictions": [found.as_json(place) for place, found in self.jurisdictions.items()],
            "totals": [
                {"currency": currency, **taxes.as_json(currency)}
                for currency, taxes in self.totals.items()
            ],
            "gaps": [gap.as_json() for gap in self.gaps],
            "ledger": [comparison.as_json() for comparison in self.comparisons],
            "is_equal": self.is_equal,
        }


def read(days: Days, *, most_seconds: float | None = None) -> TaxReport:
    """The report of these days, in one snapshot that holds up nobody.

    Opens its own transaction; never call it inside one.

    Args:
        most_seconds: of each of its statements; None: as long as they take.

    Raises:
        OperationalError: one took longer than that.
    """
    period = {"begin": days.begin, "until": days.until}
    with snapshot(most_seconds=most_seconds):
        sold = sql.fetch(_SOLD, **period)
        given_back = sql.fetch(_GIVEN_BACK, **period)
        booked = {row.currency: row for row in sql.fetch(_BOOKED, **period)}
    lines: dict[Key, Taxes] = {}
    orders: dict[Place, int] = {}
    gaps = []
    for row in sold:
        key = _key(row)
        lines.setdefault(key, Taxes()).add(Taxes(net_sold=row.net, tax_collected=row.tax))
        orders[key.place] = orders.get(key.place, 0) + int(row.orders)
    for row in given_back:
        if row.gap:
            gaps.append(Gap(row.gap, row.currency, row.refunds, row.net))
            continue
        returned = Taxes(net_returned=row.net, tax_returned=row.tax)
        lines.setdefault(_key(row), Taxes()).add(returned)
    in_order = {
        key: lines[key]
        for key in sorted(lines, key=_sorted_by)
        if any(getattr(lines[key], name) for name in _KEPT)
    }
    totals = {currency: Taxes() for currency in sorted({*_currencies(in_order), *booked})}
    jurisdictions: dict[Place, Jurisdiction] = {}
    for key, taxes in in_order.items():
        totals[key.place.currency].add(taxes)
        _count_in(jurisdictions, orders, key, taxes)
    return TaxReport(
        days=days,
        lines=in_order,
        jurisdictions=jurisdictions,
        totals=totals,
        gaps=sorted(gaps),
        comparisons=list(_compared(totals, booked, gaps)),
    )


def _key(row: Any) -> Key:
    has_codes = bool(postal.rules_of(row.country).areas)
    place = Place(row.currency, row.country, row.state if has_codes else "")
    return Key(place, row.rate, row.tax_class)


def _sorted_by(key: Key) -> tuple[Any, ...]:
    rate = Decimal(-1) if key.rate is None else key.rate
    return *key.place, rate, key.tax_class or ""


def _currencies(lines: Iterable[Key]) -> set[str]:
    return {key.place.currency for key in lines}


def _count_in(
    jurisdictions: dict[Place, Jurisdiction], orders: dict[Place, int], key: Key, taxes: Taxes
) -> None:
    found = jurisdictions.get(key.place)
    if found is None:
        found = Jurisdiction(orders=orders.get(key.place, 0), taxes=Taxes())
        jurisdictions[key.place] = found
    found.taxes.add(taxes)
    if key.rate:
        found.taxable += taxes.net
    elif key.rate is not None:
        found.exempt += taxes.net


def _compared(
    totals: dict[str, Taxes], booked: dict[str, Any], gaps: Iterable[Gap]
) -> Iterable[Comparison]:
    """Sums of documents and gaps beside the ledger's: what is left is in neither."""
    for currency, total in totals.items():
        ledger = booked.get(currency)
        untold = sum((gap.amount for gap in gaps if gap.currency == currency), NOTHING)
        yield Comparison(
            what="gross_sold",
            currency=currency,
            reported=total.gross_sold,
            booked=getattr(ledger, "sold", NOTHING),
        )
        yield Comparison(
            what="gross_returned",
            currency=currency,
            reported=total.gross_returned + untold,
            booked=getattr(ledger, "given_back", NOTHING),
        )
