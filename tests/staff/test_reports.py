"""Accounting looks at a period, sees that it is equal to the ledger, and takes the file along."""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path

import pytest
from playwright.sync_api import expect

from audit import outbox
from config.kernel.clock import Deadline
from orders.models import TaxDestination
from orders.services.job_running import run_due
from orders.services.refunds import RefundWish, decide_refund, finish_refund
from payments import bookkeeping
from tests import factories
from tests.browser import IN_A_BROWSER, shoot
from tests.shop import BERLIN, Shopper, order_of

pytestmark = IN_A_BROWSER


@pytest.fixture
def business(shop, provider):
    """Sold at home and abroad, and some of it given back."""
    provider._post("/_test/reset", {})
    TaxDestination.objects.create(country="DE", prices_include_tax=True)
    factories.TaxRateFactory(country="DE", region="", rate=Decimal("0.19"))
    factories.ProductFactory(sku="TEA", name="Green tea", price="10.00")
    shopper = Shopper(factories.CustomerFactory())
    home = order_of(shopper.order(("TEA", 3)))
    shopper.order(("TEA", 5), shipping_address=BERLIN)
    refund = decide_refund(
        order_id=home.pk, wish=RefundWish(reason="broken", amount=Decimal("4.00"))
    )
    finish_refund(refund_id=refund.pk, deadline=Deadline(5))
    bookkeeping.book_balance_transactions()
    outbox.relay()


@pytest.mark.parametrize(
    ("title", "plot"),
    [
        ("Revenue by day", "What came in and went out, USD"),
        ("Sales tax", "Tax by jurisdiction, USD"),
    ],
)
def test_is_looked_at_and_downloaded(desk, business, title, plot):
    page = desk("Finance")
    page.goto("/admin/")
    page.get_by_role("link", name=title).click()

    expect(page.get_by_role("heading", name="Equal to the ledger")).to_be_visible()
    expect(page.get_by_role("img", name=plot)).to_be_visible()
    drawn = page.evaluate("Object.keys(Chart.instances).length")
    assert drawn == 1
    shoot(page, f"staff-{title.lower().replace(' ', '-')}")
    page.get_by_label("Format").select_option("csv")
    page.get_by_role("button", name="Write it to a file").click()
    expect(page.get_by_text("Waits for a worker.")).to_be_visible()
    run_due(deadline=Deadline(30))
    with page.expect_download() as download:
        page.get_by_role("link", name="-report-").click()

    with Path(download.value.path()).open(newline="") as file:
        lines = list(csv.DictReader(file))
    [difference] = [line for line in lines if line["line"] == "difference"]
    assert {float(amount) for amount in list(difference.values())[3:] if amount} == {0.0}


def test_other_days_are_picked(desk, business):
    page = desk("Finance")
    page.goto("/admin/reports/tax/")
    page.get_by_role("link", name="Last month").click()
    expect(page.get_by_text("Nothing moved on these days.")).to_be_visible()

    page.get_by_label("First day").fill("2001-01-01")
    page.get_by_role("button", name="Show").click()

    expect(page.get_by_text("at most 3,660 days")).to_be_visible()


def test_in_a_narrow_window_nothing_sticks_out(desk, business):
    page = desk("Finance", viewport={"width": 390, "height": 844})

    for name in ("revenue", "tax"):
        page.goto(f"/admin/reports/{name}/")
        expect(page.get_by_role("heading", name="Equal to the ledger")).to_be_visible()
        shoot(page, f"staff-{name}-narrow")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
