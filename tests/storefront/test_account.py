"""An account as its owner uses it in a browser: coming in, what it keeps, and the end of it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from allauth.mfa.totp.internal import auth as totp
from django.db.models import F
from playwright.sync_api import expect

from audit import outbox
from customers.models import Customer
from orders.models import Order
from tests import factories
from tests.browser import IN_A_BROWSER
from tests.storefront.steps import (
    fill_address,
    fill_cart,
    heading,
    linked,
    log_in,
    order_link,
    pay,
    sign_up,
)

pytestmark = IN_A_BROWSER

EMAIL = "grace@example.com"


@pytest.fixture
def grace(shop):
    return factories.CustomerFactory(email=EMAIL)


class TestLogIn:
    def test_asks_for_the_code_of_an_app_and_needs_no_mouse(self, page, grace, monkeypatch):
        # A code that changes between being shown and being looked at is refused, as it has to be.
        monkeypatch.setattr(totp, "time", SimpleNamespace(time=lambda: 1_800_000_010))
        secret = totp.generate_totp_secret()
        totp.TOTP.activate(grace, secret)
        page.goto("/account/login")
        page.get_by_label("E-mail").focus()
        page.keyboard.type(EMAIL)
        page.keyboard.press("Tab")
        page.keyboard.type(factories.PASSWORD)
        page.keyboard.press("Enter")

        heading(page, "One more step")
        expect(page.get_by_label("Code")).to_be_focused()
        page.keyboard.type("000000")
        page.keyboard.press("Enter")
        expect(page.get_by_text("Incorrect code.")).to_be_visible()
        (now,) = totp.yield_hotp_counters_from_time()
        page.get_by_label("Code").fill("")
        page.keyboard.type(totp.format_hotp_value(totp.hotp_value(secret, now)))
        page.keyboard.press("Enter")
        heading(page, "Your account")
        expect(page.get_by_text(EMAIL)).to_be_visible()

    def test_is_over_for_good_when_the_access_token_is_over_too(self, page, grace, settings):
        settings.HEADLESS_JWT_ACCESS_TOKEN_EXPIRES_IN = -1
        log_in(page, EMAIL)
        expect(page.get_by_role("button", name="Log out")).to_be_visible()
        refresh = page.evaluate("JSON.parse(sessionStorage.getItem('tokens')).refresh")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("link", name="Log in")).to_be_visible()

        again = page.request.post(
            "/_allauth/app/v1/tokens/refresh", data={"refresh_token": refresh}
        )
        assert again.status == 400
        assert page.evaluate("sessionStorage.length") == 0


class TestForgottenPassword:
    def test_is_replaced_by_the_link_of_a_letter_which_is_good_once(self, page, grace):
        page.goto("/account/login")
        page.get_by_role("link", name="Forgot your password?").click()
        page.get_by_label("E-mail").fill(EMAIL)
        page.get_by_role("button", name="Send me the link").click()
        expect(page.get_by_text("a letter is on its way")).to_be_visible()
        link = linked("/password/reset/key/")
        page.goto(link)

        heading(page, "Choose a new password")
        assert page.url.endswith("/account/password/reset")  # the key is gone from the bar
        page.get_by_label("New password").fill("12345678")
        page.get_by_role("button", name="Save it").click()
        expect(page.get_by_text("This password is too common.")).to_be_visible()
        page.get_by_label("New password").fill("another long pass phrase")
        page.get_by_role("button", name="Save it").click()
        expect(page.get_by_text("Your new password is saved.")).to_be_visible()

        page.goto(link)
        page.get_by_label("New password").fill("yet another pass phrase")
        page.get_by_role("button", name="Save it").click()
        expect(page.get_by_text("This link is no longer good.")).to_be_visible()
        log_in(page, EMAIL, "another long pass phrase")
        heading(page, "Your account")

    def test_costs_a_guest_nothing_of_the_cart(self, page, grace):
        fill_cart(page)
        page.goto("/account/password/reset")
        page.get_by_label("E-mail").fill(EMAIL)
        page.get_by_role("button", name="Send me the link").click()
        expect(page.get_by_text("a letter is on its way")).to_be_visible()
        page.goto(linked("/password/reset/key/"))
        page.get_by_label("New password").fill("another long pass phrase")
        page.get_by_role("button", name="Save it").click()
        expect(page.get_by_text("Your new password is saved.")).to_be_visible()
        expect(page.locator("#cart-count")).to_have_text("1")
        log_in(page, EMAIL, "another long pass phrase")

        heading(page, "Your account")
        expect(page.locator("#cart-count")).to_have_text("1")


class TestGuestsOrder:
    def test_is_claimed_by_the_account_made_for_it(self, page, guest):
        placed = guest.order(("MILK-1", 1)).json()
        page.goto(order_link(placed))
        page.get_by_role("link", name="Make an account for it").click()
        sign_up(page, "another@example.com")
        page.get_by_role("button", name="Add it to my account").click()

        expect(page.get_by_role("button", name="Add it to my account")).to_have_count(0)
        assert Order.objects.get().customer.email == "another@example.com"
        page.get_by_role("link", name="Account").click()
        page.get_by_role("link", name=placed["order_number"]).click()
        heading(page, "Thank you")

    def test_comes_by_itself_with_the_confirmed_address(self, page, guest):
        placed = guest.order(("MILK-1", 1)).json()
        page.goto("/account/signup")
        sign_up(page, "guest@example.com")
        heading(page, "Your account")
        page.goto(linked("/verify-email/"))
        heading(page, "your address is confirmed")
        outbox.relay()
        page.get_by_role("link", name="Go to your account").click()

        expect(page.get_by_role("link", name=placed["order_number"])).to_be_visible()
        expect(page.get_by_text("not confirmed")).to_have_count(0)


class TestProfile:
    def test_that_was_changed_elsewhere_is_shown_and_can_be_changed_again(self, page, grace):
        log_in(page, EMAIL)
        first, telephone = page.get_by_label("First name"), page.locator("[autocomplete=tel]")
        expect(first).to_have_value(grace.first_name)
        Customer.objects.filter(pk=grace.pk).update(phone="+12125550123", version=F("version") + 1)
        first.fill("Amazing")
        save = page.get_by_role("button", name="Save").first
        save.click()
        expect(page.get_by_text("This was changed in the meantime")).to_be_visible()
        expect(telephone).to_have_value("+12125550123")
        expect(first).to_have_value(grace.first_name)
        first.fill("Amazing")
        save.click()
        expect(page.get_by_text("Saved.")).to_be_visible()

        grace.refresh_from_db()
        assert (grace.first_name, grace.phone) == ("Amazing", "+12125550123")


class TestAddressBook:
    @pytest.fixture
    def addresses(self, grace):
        lines = [f"{number} Main Street" for number in range(1, 22)]  # a page of the API has 20
        for line1 in lines:
            grace.addresses.create(name="Grace", line1=line1, city="New York", country="US")
        return lines

    def test_is_shown_to_its_end(self, page, addresses):
        log_in(page, EMAIL)
        kept = page.get_by_role("list", name="Addresses").get_by_role("listitem")
        expect(kept).to_have_count(len(addresses))
        fill_cart(page)
        page.goto("/checkout")

        options = page.get_by_label("Your addresses").locator("option")
        expect(options).to_have_count(len(addresses))

    def test_that_cannot_be_read_is_no_empty_one(self, page, addresses):
        page.route("**/api/v1/me/addresses*", lambda route: route.fulfill(status=500))
        log_in(page, EMAIL)
        again = page.get_by_role("button", name="Try again")
        expect(again).to_be_visible()
        fill_cart(page)
        page.goto("/checkout")
        expect(again).to_be_visible()
        page.unroute_all()
        again.click()

        expect(page.get_by_label("Your addresses")).to_be_visible()


class TestSavedCards:
    def test_are_kept_pay_for_an_order_and_are_removed(self, page, grace, provider):
        log_in(page, EMAIL)
        page.get_by_text("Save a card").click()
        page.get_by_label("Test card").select_option("Empty card")
        kept = page.get_by_role("list", name="Cards").get_by_role("listitem")
        add = page.locator("details[open]").get_by_role("button", name="Save")
        add.click()
        expect(page.get_by_role("alert").filter(has_text="declined")).to_be_visible()
        expect(kept).to_have_count(0)
        page.get_by_label("Test card").select_option("Visa")
        add.click()
        expect(kept).to_contain_text("Visa •••• 4242")
        fill_cart(page)
        fill_address(page, guest=False)
        pay(page, "Visa •••• 4242")
        heading(page, "Thank you")

        paid = provider.intent(Order.objects.get().payments.get().payment_intent_id)
        assert paid["customer"] == Customer.objects.get(pk=grace.pk).stripe_customer_id
        page.get_by_role("link", name="Account").click()
        page.get_by_role("button", name="Remove Visa •••• 4242").click()
        expect(kept).to_have_count(0)
        page.reload()
        expect(page.get_by_text("Save a card")).to_be_visible()
        expect(kept).to_have_count(0)


class TestLeaving:
    def test_takes_the_data_along_and_leaves_nothing_in_the_browser(self, page, grace):
        log_in(page, EMAIL)
        with page.expect_download() as downloading:
            page.get_by_role("button", name="Download what you hold on me").click()
        assert downloading.value.suggested_filename == "my-data.json"
        assert json.loads(Path(downloading.value.path()).read_text())["account"]["email"] == EMAIL
        delete = page.get_by_role("button", name="Delete my account")
        delete.click()
        page.get_by_role("button", name="Keep it").click()
        expect(delete).to_be_focused()
        assert Customer.objects.filter(email=EMAIL).exists()
        delete.click()
        expect(page.get_by_role("button", name="Delete it for good")).to_be_focused()
        page.keyboard.press("Enter")

        expect(page.get_by_text("Your account is erased.")).to_be_visible()
        assert not Customer.objects.filter(email=EMAIL).exists()
        assert page.evaluate("sessionStorage.length + localStorage.length") == 0
