"""What a member of staff does in the admin, step by step, by what stands on the page."""

from __future__ import annotations

from playwright.sync_api import expect

from tests import factories


def type_password(page, email, password=factories.PASSWORD):
    """The first step at the door."""
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_label("Email")).to_have_count(0)


def press(page, name):
    """A button on a row's page, or of a form: some are links."""
    button = page.get_by_role("button", name=name, exact=True)
    button.or_(page.get_by_role("link", name=name, exact=True)).click()


def told(page, text):
    """What the page says after something was done."""
    expect(page.get_by_text(text)).to_be_visible()


def search(page, text):
    """By the box that a key opens; Enter leads to the first thing found."""
    page.keyboard.press("Control+k")
    expect(page.locator("#search-input-command")).to_be_focused()
    page.keyboard.type(text)
    found = page.locator("#command-results-list").get_by_role("link")
    expect(found.first).to_contain_text(text)
