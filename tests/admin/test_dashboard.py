"""The first page: figures equal to the rows, by the viewer's clock, for those who may read them."""

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import unescape
from itertools import pairwise
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.utils import timezone

from audit.models import Delivery, OutboxMessage
from config.staff import dashboard
from inventory.models import StockLevel
from orders import figures
from orders.models import Order
from payments.models import Payment, Refund
from tests.admin import rows

pytestmark = pytest.mark.django_db
BERLIN = ZoneInfo("Europe/Berlin")
DAY = figures.SPANS[0]
WEEK = figures.SPANS[1]


@pytest.fixture(autouse=True)
def nothing_kept():
    cache.clear()


def place(n, at, *, status="confirmed", payment_status="succeeded", **fields):
    order = rows.make_order(n, created_at=at, **fields)
    Order.objects.filter(pk=order.pk).update(payment_status=payment_status)
    if status == "cancelled":
        Order.objects.filter(pk=order.pk).update(status="cancelled")
    return order


def charts_of(page):
    return {
        name: json.loads(unescape(data))
        for name, data in re.findall(
            r'id="chart-(\w+)".*?data-chart="([^"]*)"', page.content.decode(), re.DOTALL
        )
    }


@pytest.mark.parametrize("hour", [0, 1])
def test_a_bar_of_an_hour_leads_to_that_hour_also_when_clocks_go_back(hour):
    begin = datetime(2026, 10, 25, hour, tzinfo=UTC).astimezone(BERLIN)  # 02:00, twice

    link = dashboard._link("orders_order", DAY, begin)

    query = parse_qs(urlsplit(link).query)
    since, until = (datetime.fromisoformat(query[f"created_at__{n}"][0]) for n in ("gte", "lt"))
    assert since == begin.astimezone(UTC)
    assert until - since == timedelta(hours=1)


class TestOrders:
    def test_are_counted_by_what_became_of_them(self):
        now = timezone.now()
        place(1, now)
        place(2, now, payment_status="partially_refunded")
        place(3, now, status="cancelled", payment_status="failed")
        place(4, now, status="cancelled", payment_status="cancelled")
        place(5, now, currency="EUR")
        place(6, now - timedelta(days=2))

        latest = figures.orders_by_slice(span=DAY, zone=BERLIN, currency="USD")[-1]

        assert (latest.placed, latest.paid, latest.declined, latest.given_up) == (5, 3, 1, 1)
        assert latest.revenue == Decimal("51.32")

    def test_of_a_day_are_those_of_the_viewers_day(self):
        midnight = timezone.now().astimezone(BERLIN).replace(hour=0, minute=0, second=0)
        place(1, midnight - timedelta(minutes=1))
        place(2, midnight + timedelta(minutes=1))

        slices = figures.orders_by_slice(span=WEEK, zone=BERLIN, currency="USD")

        assert len(slices) == 7
        assert [one.placed for one in slices[-2:]] == [1, 1]

    def test_days_are_as_long_as_they_are(self, monkeypatch):
        """The clocks go back on 2026-10-25: that day has 25 hours."""
        monkeypatch.setattr(timezone, "now", lambda: datetime(2026, 10, 26, 12, tzinfo=UTC))

        *_, before, today = WEEK.cuts(BERLIN)

        assert today.astimezone(UTC) - before.astimezone(UTC) == timedelta(hours=25)

    def test_hours_come_twice_when_the_clocks_go_back(self, monkeypatch):
        monkeypatch.setattr(timezone, "now", lambda: datetime(2026, 10, 25, 2, 30, tzinfo=UTC))

        cuts = [cut.astimezone(UTC) for cut in DAY.cuts(BERLIN)]

        assert {after - before for before, after in pairwise(cuts)} == {timedelta(hours=1)}


def test_refunds_that_failed_gave_nothing_back():
    order = rows.make_everything(1).order
    payment = Payment.objects.get(order=order)
    Refund.objects.create(payment=payment, currency="USD", amount=Decimal("2.00"))
    failed = Refund.objects.create(payment=payment, currency="USD", amount=Decimal("3.00"))
    Refund.objects.filter(pk=failed.pk).update(status="failed")

    latest = figures.refunds_by_slice(span=DAY, zone=BERLIN, currency="USD")[-1]

    assert (latest.count, latest.amount) == (2, Decimal("3.00"))


def test_lag_is_of_what_was_delivered_and_of_what_waits():
    now = timezone.now()
    for n, seconds in enumerate([1, 2, 3, None]):
        message = OutboxMessage.objects.create(
            fact="x", aggregate_type="x", aggregate_id=n, dedupe_key=f"x.{n}", payload={}
        )
        delivery = Delivery.objects.create(message=message, subscriber="email")
        Delivery.objects.filter(pk=delivery.pk).update(
            created_at=now - timedelta(seconds=60),
            **(
                {"status": "delivered", "delivered_at": now - timedelta(seconds=60 - seconds)}
                if seconds
                else {}
            ),
        )

    (lag,) = figures.delivery_lags()

    assert (lag.subscriber, lag.delivered, lag.median) == ("email", 3, 2.0)
    assert lag.waiting == 1
    assert lag.oldest_waiting >= 60


def test_low_stock_is_what_is_at_its_threshold(browser):
    rows.make_everything(1)
    StockLevel.objects.update(low_stock_threshold=6)
    assert figures.low_stock() == []

    StockLevel.objects.update(low_stock_threshold=7)

    (low,) = figures.low_stock()
    assert (low.sku, low.available, low.threshold) == ("APPLE-1", 7, 7)
    assert "APPLE-1" in browser.get("/admin/").content.decode()


class TestThePage:
    def test_draws_what_is_there(self, browser):
        place(1, timezone.now())

        charts = charts_of(browser.get("/admin/"))

        assert set(charts) == {"orders", "revenue", "conversion", "refunds", "latency"}
        assert charts["revenue"]["series"][0]["values"][-1] == "25.66"
        assert charts["conversion"]["series"][0]["values"][-1] == 100.0

    def test_a_bar_leads_to_its_orders(self, browser):
        place(1, timezone.now())
        place(2, timezone.now(), status="cancelled", payment_status="failed")
        place(3, timezone.now() - timedelta(hours=3))
        paid, _, declined, _ = charts_of(browser.get("/admin/"))["orders"]["series"]

        of_paid = browser.get(paid["links"][-1]).content.decode()
        of_declined = browser.get(declined["links"][-1]).content.decode()

        assert re.findall(r"ABCD-\d{4}", of_paid).count("ABCD-0001")
        assert "ABCD-0002" not in of_paid
        assert "ABCD-0003" not in of_paid
        assert "ABCD-0002" in of_declined
        assert "ABCD-0001" not in of_declined

    @pytest.mark.parametrize("span", [span.name for span in figures.SPANS])
    def test_has_spans(self, browser, span):
        assert browser.get("/admin/", {"span": span}).status_code == 200

    def test_takes_an_unknown_span_for_the_first(self, browser):
        assert browser.get("/admin/", {"span": "x' OR 1"}).status_code == 200

    @pytest.mark.parametrize(
        ("cookie", "zone"),
        [
            ("Asia/Tokyo", "Asia/Tokyo"),
            ("", "America/New_York"),
            ("../../etc/passwd", "America/New_York"),
            ("Europe/Atlantis", "America/New_York"),
        ],
    )
    def test_tells_times_where_the_viewer_is(self, browser, cookie, zone):
        browser.cookies["staff_time_zone"] = cookie

        assert f"Times in {zone}" in browser.get("/admin/").content.decode()

    def test_is_kept_for_some_seconds(self, browser, django_assert_max_num_queries):
        place(1, timezone.now())
        browser.get("/admin/")

        with django_assert_max_num_queries(23):
            browser.get("/admin/")

    def test_shows_what_may_be_read(self, client):
        clerk = rows.make_customer(1)
        type(clerk).objects.filter(pk=clerk.pk).update(is_staff=True)
        client.force_login(clerk)
        assert charts_of(client.get("/admin/")) == {}

        clerk.user_permissions.add(
            Permission.objects.get(codename="view_order", content_type__app_label="orders")
        )

        page = client.get("/admin/")
        assert set(charts_of(page)) == {"orders", "conversion"}
        assert "Low stock" not in page.content.decode()
