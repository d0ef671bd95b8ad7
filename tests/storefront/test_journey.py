"""The storefront as a shopper uses it, in a browser: Chromium against a running shop."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from orders.models import Order
from payments.models import Payment
from tests.browser import DESKTOP, IN_A_BROWSER, PHONE, shoot
from tests.shop import payment_link
from tests.storefront.steps import (
    fill_address,
    fill_cart,
    heading,
    order_link,
    pay,
    ship,
    sign_up,
)

pytestmark = IN_A_BROWSER

# Of every text on the page against the nearest ground that is painted: WCAG's ratio, the worst.
CONTRAST = """() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = channels(getComputedStyle(each).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const says = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!says || !element.checkVisibility()) continue;
    const [one, other] = [light(channels(getComputedStyle(element).color)), light(ground(element))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) found.push(`${element.textContent.slice(0, 40)} ${ratio.toFixed(2)}`);
  }
  return found;
}"""
NAMELESS = """() => [...document.querySelectorAll("a, button, input, select")]
  .filter((element) => element.checkVisibility())
  .filter((element) => !(element.labels?.length || element.ariaLabel || element.textContent.trim()))
  .map((element) => element.outerHTML)"""


class TestGuest:
    def test_browses_searches_and_buys(self, page):
        page.goto("/")
        page.get_by_role("main").get_by_role("link", name="Grocery", exact=True).click()
        heading(page, "Grocery")
        page.get_by_label("Search products").press_sequentially("rye")
        heading(page, "rye")
        expect(page.get_by_label("Search products")).to_be_focused()
        page.get_by_role("link", name="Rye <b>Bread</b>").click()  # as text, never as markup
        heading(page, "Rye <b>Bread</b>")
        page.get_by_label("Quantity").fill("2")
        page.get_by_role("button", name="Add to cart").click()
        page.get_by_role("link", name="Go to the cart").click()
        expect(page.locator("#cart-count")).to_have_text("2")
        fill_address(page)
        pay(page)

        heading(page, "Thank you")
        order = Order.objects.get()
        assert (order.status, order.guest_email) == ("confirmed", "ada@example.com")
        assert page.url.endswith(f"/orders/{order.order_number}")
        expect(page.locator("#cart-count")).to_have_text("0")
        expect(page.locator(".sum")).to_contain_text(str(order.total_amount))

        page.reload()
        heading(page, "Thank you")

    def test_takes_another_card_after_a_decline(self, page):
        fill_cart(page)
        fill_address(page)
        pay(page, "Empty card")
        expect(page.get_by_role("alert")).to_contain_text("not enough money")
        pay(page)

        heading(page, "Thank you")
        statuses = sorted(Order.objects.values_list("status", flat=True))
        assert statuses == ["cancelled", "confirmed"]
        assert Payment.objects.filter(status="succeeded").count() == 1

    def test_orders_once_though_the_answer_is_lost_and_the_button_pressed_twice(self, page):
        lost = []

        def lose_first(route):
            if lost:
                return route.continue_()
            lost.append(route.fetch())  # the shop did it, and nobody hears of it
            return route.abort()

        page.route("**/api/v1/orders", lose_first)
        fill_cart(page)
        fill_address(page)
        page.get_by_role("button", name=re.compile("^Pay")).dblclick()

        heading(page, "Thank you")
        assert lost[0].status == 201
        assert Order.objects.count() == Payment.objects.count() == 1

    def test_finds_the_order_again_after_a_reload_in_the_middle(self, page):
        held = []
        page.route("**/api/v1/orders", lambda route: held.append(route.fetch()))  # no answer
        fill_cart(page)
        fill_address(page)
        pay(page)
        expect(page.get_by_text("Placing your order")).to_be_visible()
        page.unroute_all(behavior="ignoreErrors")
        page.reload()

        heading(page, "Thank you")
        assert Order.objects.count() == 1

    def test_is_shown_what_a_link_of_an_e_mail_opens_and_its_token_leaves_the_url(
        self, page, guest
    ):
        placed = guest.order(("MILK-1", 1)).json()
        page.goto(order_link(placed))

        heading(page, "Thank you")
        assert page.url.endswith(f"/orders/{placed['order_number']}")

    def test_pays_for_what_was_ordered_by_telephone_and_keeps_the_own_cart(self, page):
        fill_cart(page, "Rye <b>Bread</b>")
        link = payment_link(("MILK-1", 2), notes="Ring twice.")

        page.goto(f"/pay/{link.public_id}")
        expect(page.get_by_label("E-mail")).to_have_value("guest@example.com")
        expect(page.get_by_label("Street and number")).to_have_value("1 Main Street")
        expect(page.get_by_text("2 × Fresh Milk")).to_be_visible()
        pay(page)

        heading(page, "Thank you")
        order = Order.objects.get()
        assert (order.cart_id, order.status, order.notes) == (
            link.cart_id,
            "confirmed",
            "Ring twice.",
        )
        page.goto("/cart")
        expect(page.get_by_role("link", name="Rye <b>Bread</b>")).to_be_visible()
        page.goto(f"/pay/{link.public_id}")
        expect(page.get_by_text("This link was used")).to_be_visible()

    def test_is_told_of_an_order_that_is_not_theirs_to_see(self, page, guest):
        page.goto(f"/orders/{guest.order(('MILK-1', 1)).json()['order_number']}")

        expect(page.get_by_text("We cannot show this order")).to_be_visible()

    def test_can_do_all_of_it_by_keyboard(self, page):
        page.goto("/")
        expect(page.get_by_role("button", name="Add Fresh Milk")).to_be_visible()
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        page.get_by_role("button", name="Add Fresh Milk").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#cart-count")).to_have_text("1")
        fill_address(page)
        page.get_by_role("radio", name="Visa Pays at once.").focus()
        page.keyboard.press("ArrowDown")
        expect(page.get_by_role("radio", name="Visa with 3-D Secure")).to_be_checked()
        page.keyboard.press("ArrowUp")
        page.get_by_role("button", name=re.compile("^Pay")).focus()
        page.keyboard.press("Enter")

        heading(page, "Thank you")


class TestCustomer:
    def test_takes_the_cart_along_passes_3d_secure_and_orders_again(self, page):
        fill_cart(page)
        page.goto("/account/signup")
        sign_up(page)
        heading(page, "Your account")
        expect(page.locator("#cart-count")).to_have_text("1")
        fill_address(page, guest=False)
        pay(page, "Visa with 3-D Secure")
        page.get_by_role("button", name="Complete the payment").click()

        heading(page, "Thank you")
        order = Order.objects.get()
        assert (order.status, order.customer.email) == ("confirmed", "grace@example.com")
        assert page.url.endswith(f"/orders/{order.order_number}")  # the provider's query is gone

        page.get_by_role("link", name="Account").click()
        page.get_by_role("link", name=order.order_number).click()
        page.get_by_role("button", name="Order the same again").click()
        heading(page, "Your cart")
        expect(page.locator("#cart-count")).to_have_text("1")

    def test_comes_back_to_an_order_left_in_the_middle_of_3d_secure(self, page):
        fill_cart(page)
        page.goto("/account/signup")
        sign_up(page)
        heading(page, "Your account")
        fill_address(page, guest=False)
        pay(page, "Visa with 3-D Secure")
        expect(page.get_by_role("button", name="Complete the payment")).to_be_visible()
        order = Order.objects.get()
        page.goto(f"/orders/{order.order_number}")
        heading(page, "Your bank wants to hear from you")
        page.reload()
        page.get_by_role("link", name="Continue to your bank").click()
        page.get_by_role("button", name="Fail the payment").click()

        heading(page, "cancelled")
        order.refresh_from_db()
        assert order.status == "cancelled"
        page.get_by_role("link", name="Cart").click()
        expect(page.locator("#cart-count")).to_have_text("1")  # free to be ordered again


def test_is_legible_named_and_never_wider_than_the_screen(page, guest):
    def look(name, ready):
        expect(page.locator(ready).first).to_be_visible()
        for scheme, viewport in [("light", PHONE), ("dark", DESKTOP)]:
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # no colour between
            page.set_viewport_size(viewport)
            shoot(page, f"{name}-{scheme}-{viewport['width']}")
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= viewport["width"], (name, scheme)
            assert page.evaluate(CONTRAST) == [], (name, scheme)
        assert page.evaluate(NAMELESS) == [], name
        assert page.get_by_role("main").count() == page.get_by_role("banner").count() == 1
        assert page.get_by_role("heading", level=1).count() == 1, name
        assert page.locator("img:not([alt])").count() == 0, name

    placed = guest.order(("MILK-1", 2)).json()
    ship(placed)
    guest.post(
        f"/orders/{placed['order_number']}/returns?token={placed['guest_token']}",
        {"items": [{"sku": "MILK-1", "quantity": 1}], "reason": "One came broken."},
    )
    fill_cart(page)
    for name, path, ready in [
        ("home", "/", ".card"),
        ("search", "/search?q=milk", ".card"),
        ("product", "/p/MILK-1", ".buy"),
        ("cart", "/cart", ".totals"),
        ("checkout", "/checkout", ".totals"),
        ("login", "/account/login", "form.narrow, .narrow form"),
        ("unknown", "/orders/NONE", ".empty"),
    ]:
        page.goto(path)
        look(name, ready)
    page.goto(order_link(placed))
    page.get_by_text("Send something back").click()
    look("order", "details[open]")
    page.goto("/account/signup")
    sign_up(page)
    page.get_by_text("Save a card").click()
    page.get_by_text("Add an address").click()
    page.get_by_role("button", name="Delete my account").click()
    look("account", "[role=group]")
