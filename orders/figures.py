"""What the dashboard draws: orders, money, stock and deliveries of the last hours or days.

Plain reads over indexes, none of which grows with the age of the shop: each looks at a span of
time, at the latest rows or at a partial index.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol
from zoneinfo import ZoneInfo

from django.utils import timezone

from config.kernel import sql

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

LATEST_DELIVERIES: Final = 2_000
MOST_LOW: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of time up to now, cut into hours or days of a time zone."""

    name: str
    title: str
    unit: str
    units: int

    def cuts(self, zone: ZoneInfo) -> list[datetime]:
        """The beginnings of its hours or days, oldest first; the last one is running."""
        now = timezone.now().astimezone(zone)
        if self.unit == "hour":
            latest = now.replace(minute=0, second=0, microsecond=0)
            in_utc = latest.astimezone(ZoneInfo("UTC"))
            return [
                (in_utc - timedelta(hours=n)).astimezone(zone)
                for n in range(self.units - 1, -1, -1)
            ]
        today = now.date()
        return [
            datetime.combine(today - timedelta(days=n), datetime.min.time(), tzinfo=zone)
            for n in range(self.units - 1, -1, -1)
        ]


SPANS: Final[Sequence[Span]] = (
    Span(name="day", title="24 hours", unit="hour", units=24),
    Span(name="week", title="7 days", unit="day", units=7),
    Span(name="month", title="30 days", unit="day", units=30),
    Span(name="quarter", title="90 days", unit="day", units=90),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """An hour or day of orders, by when they were placed.

    `revenue` is what the paid ones came to, in major units of the currency asked for. `declined`
    were never paid because the card or bank said no, `given_up` because nobody paid in time;
    `waiting` have not been decided.
    """

    begin: datetime
    placed: int = 0
    paid: int = 0
    declined: int = 0
    given_up: int = 0
    waiting: int = 0
    revenue: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundSlice:
    """An hour or day of refunds, by when they were decided; in major units of one currency."""

    begin: datetime
    count: int
    amount: Decimal


class LowStock(Protocol):
    """A stock level at or below its threshold."""

    stock_level_id: int
    sku: str
    name: str
    warehouse: str
    available: int
    threshold: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """How long receivers waited for the latest facts, in seconds; None where there were none."""

    subscriber: str
    median: float | None
    p95: float | None
    delivered: int
    waiting: int
    oldest_waiting: float | None


def orders_by_slice(*, span: Span, zone: ZoneInfo, currency: str) -> list[Slice]:
    """What became of the orders placed in each hour or day of a span; empty ones included."""
    found = sql.fetch(
        """
        WITH cuts AS (
            SELECT begin, row_number() OVER (ORDER BY begin) AS slice
            FROM unnest(%(cuts)s::timestamptz[]) AS cut (begin)
        ), counted AS (
            SELECT width_bucket(created_at, %(cuts)s::timestamptz[]) AS slice,
                count(*) AS placed,
                count(*) FILTER (WHERE payment_status = ANY(%(paid)s)) AS paid,
                count(*) FILTER (WHERE status = 'cancelled' AND payment_status = 'failed')
                    AS declined,
                count(*) FILTER (WHERE status = 'cancelled' AND payment_status = 'cancelled')
                    AS given_up,
                count(*) FILTER (WHERE status = 'pending') AS waiting,
                sum(total_amount)
                    FILTER (WHERE payment_status = ANY(%(paid)s) AND currency = %(currency)s)
                    AS revenue
            FROM orders WHERE created_at >= %(begin)s GROUP BY 1
        )
        SELECT begin, coalesce(placed, 0) AS placed, coalesce(paid, 0) AS paid,
            coalesce(declined, 0) AS declined, coalesce(given_up, 0) AS given_up,
            coalesce(waiting, 0) AS waiting, coalesce(revenue, 0) AS revenue
        FROM cuts LEFT JOIN counted USING (slice) ORDER BY begin
        """,
        cuts=(cuts := span.cuts(zone)),
        begin=cuts[0],
        currency=currency,
        paid=["succeeded", "partially_refunded", "refunded", "disputed"],
    )
    return [Slice(**row._asdict()) for row in found]


def refunds_by_slice(*, span: Span, zone: ZoneInfo, currency: str) -> list[RefundSlice]:
    """The refunds decided in each hour or day of a span that did not fail; empty ones included."""
    found = sql.fetch(
        """
        WITH cuts AS (
            SELECT begin, row_number() OVER (ORDER BY begin) AS slice
            FROM unnest(%(cuts)s::timestamptz[]) AS cut (begin)
        ), counted AS (
            SELECT width_bucket(created_at, %(cuts)s::timestamptz[]) AS slice, count(*) AS count,
                sum(amount) FILTER (WHERE currency = %(currency)s) AS amount
            FROM refunds WHERE created_at >= %(begin)s AND status <> 'failed' GROUP BY 1
        )
        SELECT begin, coalesce(count, 0) AS count, coalesce(amount, 0) AS amount
        FROM cuts LEFT JOIN counted USING (slice) ORDER BY begin
        """,
        cuts=(cuts := span.cuts(zone)),
        begin=cuts[0],
        currency=currency,
    )
    return [RefundSlice(**row._asdict()) for row in found]


def delivery_lags() -> list[Lag]:
    """How long the latest deliveries took by receiver, and what waits now."""
    found = sql.fetch(
        """
        WITH latest AS (
            SELECT subscriber, extract(epoch FROM delivered_at - created_at)::float AS seconds
            FROM (SELECT * FROM deliveries ORDER BY id DESC LIMIT %(latest)s) AS newest
            WHERE status = 'delivered'
        ), done AS (
            SELECT subscriber, count(*) AS delivered,
                percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS median,
                percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) AS p95
            FROM latest GROUP BY subscriber
        ), open AS (
            SELECT subscriber, count(*) AS waiting,
                extract(epoch FROM statement_timestamp() - min(created_at))::float
                    AS oldest_waiting
            FROM deliveries WHERE status = 'pending' GROUP BY subscriber
        )
        SELECT subscriber, median, p95, coalesce(delivered, 0) AS delivered,
            coalesce(waiting, 0) AS waiting, oldest_waiting
        FROM done FULL JOIN open USING (subscriber) ORDER BY subscriber
        """,
        latest=LATEST_DELIVERIES,
    )
    return [Lag(**row._asdict()) for row in found]


def low_stock() -> list[LowStock]:
    """Stock levels at or below their threshold, emptiest first; at most `MOST_LOW`."""
    return sql.fetch(
        """
        SELECT level.id AS stock_level_id, product.sku, product.name, warehouse.code AS warehouse,
            level.on_hand - level.allocated AS available, level.low_stock_threshold AS threshold
        FROM stock_levels AS level
        JOIN products AS product ON product.id = level.product_id
        JOIN warehouses AS warehouse ON warehouse.id = level.warehouse_id
        WHERE level.on_hand - level.allocated <= level.low_stock_threshold
          AND product.is_active AND warehouse.is_active
        ORDER BY available, product.sku LIMIT %(most)s
        """,
        most=MOST_LOW,
    )
