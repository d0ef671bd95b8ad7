"""An order in the hands of staff: found, refunded in part, shipped, and given back by two."""

from __future__ import annotations

from decimal import Decimal

import pytest
from playwright.sync_api import expect

from audit import outbox
from orders.models import Order
from payments.models import Refund
from tests import factories
from tests.browser import IN_A_BROWSER, PHONE, shoot
from tests.shop import Shopper, order_of
from tests.staff.steps import press, search, told

pytestmark = IN_A_BROWSER

EMAIL = "ada@example.com"


@pytest.fixture
def order(shop):
    """Paid: three of TEA at 10.00, one POT at 25.00."""
    factories.ProductFactory(sku="TEA", name="Green tea", price="10.00")
    factories.ProductFactory(sku="POT", name="Tea pot", price="25.00")
    shopper = Shopper(factories.CustomerFactory(email=EMAIL))
    placed = order_of(shopper.order(("TEA", 3), ("POT", 1), notes="Ring twice, please."))
    outbox.relay()
    return placed


def test_is_found_refunded_in_part_and_its_rest_shipped(desk, order):
    page = desk("Manager")
    page.goto("/admin/")
    search(page, order.order_number)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Money, in USD")).to_be_visible()

    press(page, "Refund…")
    page.get_by_label("TEA, Green tea").fill("1")
    page.get_by_label("Reason").fill("One box was torn")
    press(page, "Refund")
    asked = page.get_by_role("alert")
    expect(asked).to_contain_text("This gives 10.89 USD back.")  # a unit and its tax
    assert not Refund.objects.exists()
    shoot(page, "staff-refund")
    press(page, "Refund")

    told(page, "The money is back.")
    refund = Refund.objects.get()
    assert (refund.amount, refund.status) == (Decimal("10.89"), "succeeded")
    happened = page.get_by_role("listitem").filter(has_text="10.89")
    expect(happened.first).to_be_visible()

    press(page, "Ship…")
    expect(page.get_by_label("TEA, Green tea")).to_have_value("2")  # the rest
    page.get_by_label("Carrier").fill("UPS")
    page.get_by_label("Tracking number").fill("1Z999AA10123456784")
    press(page, "Ship")

    told(page, "The parcel is on record.")
    expect(page.get_by_text("1Z999AA10123456784").first).to_be_visible()
    order.refresh_from_db()
    assert order.status == Order.Status.SHIPPED
    shoot(page, "staff-order")


def test_is_found_in_the_list_by_the_address_of_who_bought_it(desk, order):
    page = desk("Support")
    page.goto("/admin/")
    page.get_by_role("link", name="Orders", exact=True).click()
    box = page.get_by_role("search").get_by_role("textbox")
    box.fill(EMAIL.upper())
    box.press("Enter")
    page.get_by_role("link", name=order.order_number).click()

    expect(page.get_by_text("Ring twice, please.").first).to_be_visible()


def test_is_read_on_a_phone_and_in_the_dark(desk, order):
    page = desk("Manager", viewport=PHONE)
    page.goto(f"/admin/orders/order/{order.pk}/change/")
    expect(page.get_by_role("heading", name="What happened")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    shoot(page, "staff-order-phone")
    page.goto("/admin/")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    shoot(page, "staff-dashboard-phone")

    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(f"/admin/orders/order/{order.pk}/change/")
    shoot(page, "staff-order-dark")


def test_is_given_back_by_two_people_when_it_is_large(desk, order, settings):
    settings.REFUND_LIMITS = {"USD": Decimal("20.00")}
    support, finance = desk("Support"), desk("Finance")
    support.goto(f"/admin/orders/order/{order.pk}/change/")
    press(support, "Refund…")
    support.get_by_label("Give back").select_option("an amount, below")
    support.get_by_label("Amount").fill("30.00")
    support.get_by_label("Reason").fill("Arrived late")
    press(support, "Refund")
    press(support, "Refund")
    told(support, "Proposed: so much takes a second person.")
    assert not Refund.objects.exists()

    finance.goto("/admin/")
    finance.get_by_role("link", name="Second signature").click()
    finance.locator("#result_list").get_by_role("link").first.click()
    shoot(finance, "staff-second-signature")
    press(finance, "Approve and give back")
    press(finance, "Approve and give back")  # it asks first

    told(finance, "Approved: the money is back")
    assert Refund.objects.get().amount == Decimal("30.00")
    support.reload()
    expect(support.get_by_text("30.00").first).to_be_visible()
