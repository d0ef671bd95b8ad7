"""The door as staff find it: a password, a second factor, and a kind word for a wrong code."""

from __future__ import annotations

from types import SimpleNamespace

from allauth.mfa.totp.internal import auth as totp
from playwright.sync_api import expect

from tests import factories
from tests.browser import IN_A_BROWSER, shoot
from tests.staff.steps import type_password

pytestmark = IN_A_BROWSER

EMAIL = "new@example.com"


def code_of(secret, *, at):
    return totp.format_hotp_value(totp.hotp_value(secret, at // 30))


def test_a_second_factor_is_set_up_once_and_asked_for_ever_after(desk, monkeypatch):
    # A code that changes between being shown and being looked at is refused, as it has to be.
    now = SimpleNamespace(time=lambda: 1_800_000_010)
    monkeypatch.setattr(totp, "time", now)
    page = desk()
    page.context.clear_cookies()
    factories.CustomerFactory(email=EMAIL, first_name="Nora", is_staff=True, is_superuser=True)
    page.goto("/admin/orders/order/")
    shoot(page, "staff-log-in")

    type_password(page, EMAIL)
    expect(page.get_by_role("heading", name="Set up a second factor")).to_be_visible()
    shoot(page, "staff-set-up")
    secret = page.locator("p", has_text="Key:").locator("code").inner_text()
    page.get_by_label("code").fill("000000")
    page.get_by_role("button", name="Confirm").click()
    expect(page.get_by_text("Incorrect code.")).to_be_visible()
    expect(page.get_by_text(secret)).to_be_visible()  # the phone knows it by now
    page.get_by_label("code").fill(code_of(secret, at=now.time()))
    page.get_by_role("button", name="Confirm").click()

    expect(page.get_by_role("listitem")).to_have_count(10)
    shoot(page, "staff-recovery-codes")
    page.get_by_role("link", name="I have kept them").click()
    expect(page).to_have_url("/admin/orders/order/")

    page.get_by_role("button", name="Nora").click()
    page.get_by_role("button", name="Log out").click()
    page.goto("/admin/")
    type_password(page, EMAIL)
    expect(page.get_by_label("code")).to_be_focused()
    page.keyboard.type("000000")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Incorrect code.")).to_be_visible()
    shoot(page, "staff-wrong-code")
    now.time = lambda: 1_800_000_070  # each code is good once
    page.get_by_label("code").fill(code_of(secret, at=now.time()))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Today")).to_be_visible()


def test_a_wrong_password_is_told(page):
    page.context.clear_cookies()
    page.goto("/admin/login/")
    page.get_by_label("Email").fill("boss@example.com")
    page.get_by_label("Password").fill("a guess")
    page.get_by_role("button", name="Log in").click()

    expect(page.get_by_text("Please enter the correct email and password")).to_be_visible()
    expect(page.get_by_label("Email")).to_have_value("boss@example.com")
