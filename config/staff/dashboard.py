"""What the first page of the admin shows: cards and plots, each for those who may read its rows."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.cache import cache
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format

from config import latency
from config.kernel import money
from orders import figures, stuck

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.http import HttpRequest

    from orders.figures import Slice, Span

KEPT_SECONDS: Final = 20  # of a span of hours; of one of days, for each of them
MINUTES_OF_LATENCY: Final = 180

GOOD, BAD, CALM, WARM = "#0d9488", "#dc2626", "#94a3b8", "#d97706"


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line or one kind of bar; `links` where a click on each point leads. Money is text."""

    label: str
    values: Sequence[float | int | str | None]
    colour: str
    links: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A plot, and the same figures as a table for whoever would rather read."""

    name: str
    title: str
    kind: str
    labels: Sequence[str]
    series: Sequence[Series]
    unit: str = ""
    is_stacked: bool = False
    note: str = ""
    headline: str = ""
    head: str = "When"

    def as_json(self) -> str:
        """What `staff/charts.js` draws."""
        return json.dumps(
            {
                "kind": self.kind,
                "labels": list(self.labels),
                "unit": self.unit,
                "stacked": self.is_stacked,
                "series": [
                    {
                        "label": one.label,
                        "values": list(one.values),
                        "colour": one.colour,
                        "links": list(one.links),
                    }
                    for one in self.series
                ],
            }
        )

    def rows(self) -> list[tuple[str, list[float | int | str | None]]]:
        """The table: a label and its values."""
        return [
            (label, [one.values[n] for one in self.series]) for n, label in enumerate(self.labels)
        ]


@dataclass(slots=True, kw_only=True)
class Dashboard:
    """All that the page shows."""

    span: Span
    spans: Sequence[Span] = figures.SPANS
    zone: str
    currency: str
    charts: list[Chart] = field(default_factory=list)
    heaps: list[stuck.Heap] = field(default_factory=list)
    low_stock: list[figures.LowStock] = field(default_factory=list)
    lags: list[figures.Lag] = field(default_factory=list)
    shows: set[str] = field(default_factory=set)


def for_request(request: HttpRequest) -> Dashboard:
    """The figures, of which everybody sees those whose rows they may read."""
    may_read: Callable[[str], bool] = request.user.has_perm
    wanted = request.GET.get("span")
    span = next((one for one in figures.SPANS if one.name == wanted), figures.SPANS[0])
    zone = timezone.get_current_timezone_name()
    board = Dashboard(span=span, zone=zone, currency=settings.SHOP_CURRENCY)
    board.heaps = stuck.find_heaps(may_read=may_read)
    if may_read("orders.view_order"):
        slices = _kept(span, f"orders:{zone}", lambda: _orders(span, zone))
        board.charts += _order_charts(span, slices, with_money=may_read("payments.view_payment"))
    if may_read("payments.view_refund"):
        board.charts.append(_kept_chart_of_refunds(span, zone))
    if may_read("inventory.view_stocklevel"):
        board.shows.add("stock")
        board.low_stock = figures.low_stock()
    if may_read("audit.view_delivery"):
        board.shows.add("deliveries")
        board.lags = figures.delivery_lags()
    if may_read("audit.view_auditlog"):
        board.charts.append(_latency_chart())
    return board


def _kept(span: Span, name: str, read: Callable[[], Any]) -> Any:
    """A span's figures are the same for all for a while: a wall of screens costs one.

    The longer the span, the less the latest minutes change its picture.
    """
    key = f"dashboard:{name}:{span.name}:{settings.SHOP_CURRENCY}"
    kept = cache.get(key)
    if kept is None:
        kept = read()
        cache.set(key, kept, KEPT_SECONDS * span.units if span.unit == "day" else KEPT_SECONDS)
    return kept


# --- orders and money ---------------------------------------------------------------------------


def _orders(span: Span, zone: str) -> list[dict[str, Any]]:
    slices = figures.orders_by_slice(
        span=span, zone=ZoneInfo(zone), currency=settings.SHOP_CURRENCY
    )
    return [_plain(one) for one in slices]


def _plain(one: Slice) -> dict[str, Any]:
    return {
        "begin": one.begin.timestamp(),
        "placed": one.placed,
        "paid": one.paid,
        "declined": one.declined,
        "given_up": one.given_up,
        "waiting": one.waiting,
        "revenue": str(one.revenue),
    }


def _order_charts(span: Span, slices: Sequence[dict[str, Any]], *, with_money: bool) -> list[Chart]:
    begins = [_at(one["begin"]) for one in slices]
    labels = _labels(span, begins)
    placed = sum(one["placed"] for one in slices)
    paid = sum(one["paid"] for one in slices)
    outcomes = [
        Series(
            label=title,
            colour=colour,
            values=[one[key] for one in slices],
            links=[_orders_link(span, begin, **query) for begin in begins],
        )
        for key, title, colour, query in (
            ("paid", "paid", GOOD, {"payment_status__in": ",".join(_PAID)}),
            ("waiting", "waiting", CALM, {"status__exact": "pending"}),
            ("declined", "declined", BAD, {"payment_status__exact": "failed"}),
            ("given_up", "given up", WARM, {"payment_status__exact": "cancelled"}),
        )
    ]
    charts = [
        Chart(
            name="orders",
            title="Orders, by what became of them",
            kind="bar",
            labels=labels,
            series=outcomes,
            is_stacked=True,
            headline=f"{placed:,} placed, {paid:,} paid",
            note="A click opens the orders behind a bar.",
        ),
        Chart(
            name="conversion",
            title="Placed orders that were paid",
            kind="line",
            labels=labels,
            unit="%",
            series=[
                Series(
                    label="paid",
                    colour=GOOD,
                    values=[_percent(one["paid"], one["placed"]) for one in slices],
                    links=[_orders_link(span, begin) for begin in begins],
                )
            ],
            headline=f"{_percent(paid, placed)} %" if placed else "no orders",
        ),
    ]
    if with_money:
        revenue = [_amount(one["revenue"]) for one in slices]
        charts.insert(
            1,
            Chart(
                name="revenue",
                title=f"Revenue of paid orders, {settings.SHOP_CURRENCY}",
                kind="bar",
                labels=labels,
                series=[
                    Series(
                        label="revenue",
                        colour=GOOD,
                        values=[str(amount) for amount in revenue],
                        links=[
                            _orders_link(span, begin, payment_status__in=",".join(_PAID))
                            for begin in begins
                        ],
                    )
                ],
                headline=f"{sum(revenue):,} {settings.SHOP_CURRENCY}",
                note="By when they were placed; refunds are a plot of their own.",
            ),
        )
    return charts


def _kept_chart_of_refunds(span: Span, zone: str) -> Chart:
    slices = _kept(
        span,
        f"refunds:{zone}",
        lambda: [
            {"begin": one.begin.timestamp(), "count": one.count, "amount": str(one.amount)}
            for one in figures.refunds_by_slice(
                span=span, zone=ZoneInfo(zone), currency=settings.SHOP_CURRENCY
            )
        ],
    )
    begins = [_at(one["begin"]) for one in slices]
    amounts = [_amount(one["amount"]) for one in slices]
    return Chart(
        name="refunds",
        title=f"Refunds, {settings.SHOP_CURRENCY}",
        kind="bar",
        labels=_labels(span, begins),
        series=[
            Series(
                label="given back",
                colour=WARM,
                values=[str(amount) for amount in amounts],
                links=[_link("payments_refund", span, begin) for begin in begins],
            )
        ],
        headline=f"{sum(amounts):,} in {sum(one['count'] for one in slices):,}",
    )


_PAID: Final = ("succeeded", "partially_refunded", "refunded", "disputed")


def _orders_link(span: Span, begin: datetime, **query: str) -> str:
    return _link("orders_order", span, begin, **query)


def _link(page: str, span: Span, begin: datetime, **query: str) -> str:
    if span.unit == "hour":
        until = begin.astimezone(UTC) + timedelta(hours=1)
    else:
        until = begin + timedelta(days=1)  # of the wall's clock: a day is as long as it is
    times = {"created_at__gte": _utc(begin), "created_at__lt": _utc(until)}
    return f"{reverse(f'admin:{page}_changelist')}?{urlencode({**times, **query})}"


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=timezone.get_current_timezone())


def _labels(span: Span, begins: Sequence[datetime]) -> list[str]:
    form = "H:i" if span.unit == "hour" else "j M"
    return [date_format(begin, form) for begin in begins]


def _amount(text: str) -> Decimal:
    return money.quantize(Decimal(text), settings.SHOP_CURRENCY)


def _percent(part: int, whole: int) -> float | None:
    return round(100 * part / whole, 1) if whole else None


# --- how fast ------------------------------------------------------------------------------------


def _latency_chart() -> Chart:
    groups = {
        group: {one.begin: one for one in latency.read_minutes(group, minutes=MINUTES_OF_LATENCY)}
        for group in latency.GROUPS
    }
    told = {begin for minutes in groups.values() for begin in minutes}
    # Minutes in which nobody asked are gaps in the lines.
    begins = range(min(told), max(told) + 1, latency.SECONDS) if told else range(0)
    colours = (GOOD, WARM, CALM)
    return Chart(
        name="latency",
        title="How fast requests were answered, p95 of each minute",
        kind="line",
        unit="ms",
        labels=[date_format(_at(begin), "H:i") for begin in begins],
        series=[
            Series(
                label=group,
                colour=colour,
                values=[_milliseconds(minutes.get(begin)) for begin in begins],
            )
            for colour, (group, minutes) in zip(colours, groups.items(), strict=True)
        ],
        note="Of the machine that answers this page, the last three hours; /metrics has all.",
        headline="" if told else "Nothing was measured yet: come back in two minutes.",
    )


def _milliseconds(minute: latency.Minute | None) -> float | None:
    return round(minute.p95_seconds * 1_000, 1) if minute else None
