"""The first page, what does not move, and lists as people keep them."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from audit.models import Delivery
from orders.models import Order
from tests import factories
from tests.browser import IN_A_BROWSER, shoot
from tests.shop import Shopper, order_of
from tests.staff.steps import told

pytestmark = IN_A_BROWSER


@pytest.fixture
def paid(shop):
    factories.ProductFactory(sku="TEA", name="Green tea", price="10.00")
    return order_of(Shopper(factories.CustomerFactory()).order(("TEA", 3)))


def test_a_click_on_a_bar_opens_its_orders(page, paid):
    page.goto("/admin/")
    chart = page.get_by_role("img", name="Orders, by what became of them")
    expect(page.get_by_text("1 placed, 1 paid")).to_be_visible()
    shoot(page, "staff-dashboard")
    box = chart.bounding_box()
    chart.hover(position={"x": box["width"] - 12, "y": box["height"] / 2})
    chart.click(position={"x": box["width"] - 12, "y": box["height"] / 2})  # the hour that runs

    expect(page.get_by_role("link", name=paid.order_number)).to_be_visible()
    assert "created_at__gte" in page.url


def test_a_delivery_that_was_given_up_is_sent_again(desk, everything):
    delivery = everything.delivery
    Delivery.objects.update(status="dead", attempts=12, last_error="SMTP is away")
    page = desk("Support")
    page.goto("/admin/")
    page.get_by_role("link", name="Not moving").first.click()
    heap = page.get_by_role("region", name="Deliveries given up", exact=True)
    expect(heap).to_contain_text("SMTP is away")
    shoot(page, "staff-stuck")
    heap.get_by_role("button", name="Retry now").click()

    told(page, "It is tried again now.")
    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts) == ("pending", 0)
    page.get_by_role("link", name="Not moving").first.click()
    expect(page.get_by_role("region", name="Deliveries given up", exact=True)).to_have_count(0)


def test_a_filtered_list_is_kept_by_a_name_and_opened_by_it(page, paid):
    declined = Shopper(factories.CustomerFactory()).order(
        ("TEA", 1), payment_method_id="pm_card_visa_chargeDeclined"
    )
    page.goto("/admin/orders/order/")
    expect(page.get_by_role("link", name=order_of(declined).order_number)).to_be_visible()
    page.get_by_role("button", name="Filters").click()
    page.get_by_role("link", name="Confirmed").click()
    expect(page.get_by_role("link", name=order_of(declined).order_number)).to_have_count(0)
    page.get_by_text("Keep this view").click()
    page.get_by_label("Name").fill("To pack")
    page.get_by_role("button", name="Keep", exact=True).click()
    shoot(page, "staff-saved-view")

    page.goto("/admin/orders/order/")
    page.get_by_role("link", name="To pack").click()
    expect(page.get_by_role("link", name=paid.order_number)).to_be_visible()
    expect(page.get_by_role("link", name=order_of(declined).order_number)).to_have_count(0)
    assert Order.objects.count() == 2


def test_the_frame_does_what_its_buttons_say_without_a_mouse(page, paid):
    page.goto("/admin/orders/order/")
    link = page.get_by_role("link", name="Not moving")
    navigation = page.get_by_role("button", name="Navigation")
    navigation.press("Enter")
    expect(link).not_to_be_visible()
    navigation.press("Enter")
    expect(link).to_be_visible()

    menu = page.get_by_role("button", name="boss@example.com")
    menu.press("Enter")
    expect(page.get_by_role("link", name="Where I am logged in")).to_be_visible()
    page.get_by_role("button", name="Dark").press("Enter")
    expect(page.locator("html")).to_have_class(re.compile("dark"))
    menu.press("Enter")

    page.get_by_role("button", name="Filters").press("Enter")
    expect(page.get_by_role("link", name="Confirmed")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("link", name="Confirmed")).not_to_be_visible()

    page.keyboard.press("Control+k")
    expect(page.locator("#search-input-command")).to_be_focused()
    page.keyboard.type("nothing like it")
    expect(page.get_by_text("Nothing found.")).to_be_visible()
    page.keyboard.press("Enter")  # which opens nothing
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    expect(page.locator("#search-input-command")).not_to_be_visible()
