"""The page behind a letter's link as a browser shows it: narrow, wide, under the strict policy."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from integrations.marketing import unsubscribe
from tests import factories
from tests.browser import DESKTOP, IN_A_BROWSER, PHONE, shoot, watched

pytestmark = IN_A_BROWSER


@pytest.mark.parametrize("window", [PHONE, DESKTOP], ids=["telephone", "desktop"])
def test_a_reader_unsubscribes_by_one_click(live_server, chromium, settings, window):
    settings.PUBLIC_URL = live_server.url
    ann = factories.CustomerFactory(marketing_consent=True)
    link = unsubscribe.link_for(customer_id=ann.pk)

    with watched(chromium, base_url=live_server.url, viewport=window) as page:
        page.goto(link)
        button = page.get_by_role("button", name="Unsubscribe")
        expect(button).to_have_css("background-color", "rgb(29, 78, 216)")  # its style was let in
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= window["width"]
        shoot(page, f"unsubscribe-{window['width']}")
        ann.refresh_from_db()
        assert ann.marketing_consent

        button.click()

        expect(page.get_by_role("heading", name="You are unsubscribed")).to_be_visible()
        shoot(page, f"unsubscribed-{window['width']}")
    ann.refresh_from_db()
    assert not ann.marketing_consent
