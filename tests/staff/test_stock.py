"""Stock in the hands of staff: put right, counted, and every movement with its reason."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from inventory.models import StockLevel
from tests import factories
from tests.browser import IN_A_BROWSER, shoot
from tests.staff.steps import press, told

pytestmark = IN_A_BROWSER


@pytest.fixture
def tea(shop):
    return factories.ProductFactory(sku="TEA", name="Green tea", on_hand=12)


def moved(page, *texts):
    row = page.get_by_role("row")
    for text in texts:
        row = row.filter(has_text=text)
    expect(row).to_be_visible()


def test_is_put_right_and_counted_and_tells_why(desk, tea):
    page = desk("Warehouse")
    page.goto("/admin/")
    page.get_by_role("link", name="Stock", exact=True).click()
    page.get_by_role("search").get_by_role("textbox").fill("TEA")
    page.keyboard.press("Enter")
    page.locator("#result_list").get_by_role("link").first.click()

    press(page, "Adjust…")
    page.get_by_label("Units more or less").fill("-2")
    page.get_by_label("Reason").fill("Two fell down")
    press(page, "Adjust")
    told(page, "Adjusted by -2 units.")
    moved(page, "-2", "Two fell down", "warehouse@example.com")

    press(page, "Count…")
    page.get_by_label("Units on the shelf").fill("11")
    page.get_by_label("Reason").fill("Count of the year")
    press(page, "Count")
    told(page, "11 counted, 10 were expected.")
    moved(page, "+1", "Count of the year")
    shoot(page, "staff-stock")

    assert StockLevel.objects.get(product=tea).on_hand == 11


def test_of_less_than_nothing_is_refused_and_nothing_changes(desk, tea):
    page = desk("Warehouse")
    page.goto(f"/admin/inventory/stocklevel/{tea.stock_levels.get().pk}/do/adjust/")
    page.get_by_label("Units more or less").fill("-13")
    page.get_by_label("Reason").fill("All gone")
    press(page, "Adjust")

    told(page, "at most 12 can be taken away")
    expect(page.get_by_label("Units more or less")).to_have_value("-13")
    shoot(page, "staff-stock-refused")
    assert StockLevel.objects.get(product=tea).on_hand == 12
