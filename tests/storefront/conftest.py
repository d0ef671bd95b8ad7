"""One browser for the tests of a file, and a page of its own for each.

Not for longer: its loop stays in this thread, and other tests have loops of their own.
"""

from __future__ import annotations

import pytest
from playwright.sync_api import expect, sync_playwright

from tests import factories
from tests.storefront.steps import BROWSER, DESKTOP, WAIT


@pytest.fixture(scope="module")
def chromium():
    # Its loop runs in this thread, and Django would take our own queries for asynchronous ones.
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium, live_server, shop, provider, settings, tmp_path):
    settings.PUBLIC_URL = live_server.url
    settings.ERASURE_JOURNAL = str(tmp_path / "erasures.jsonl")
    settings.MAIL_DIR = tmp_path / "mail"
    factories.ProductFactory(sku="MILK-1", name="Fresh Milk", price="1.85")
    factories.ProductFactory(sku="BREAD-1", name="Rye <b>Bread</b>", price="3.20")
    context = chromium.new_context(base_url=live_server.url, viewport=DESKTOP, locale="en-US")
    context.set_default_timeout(WAIT)
    context.set_default_navigation_timeout(WAIT)
    expect.set_options(timeout=WAIT)
    page = context.new_page()
    broken: list[str] = []
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.on(
        "console",
        lambda said: "Content Security Policy" in said.text and broken.append(said.text),
    )
    yield page
    context.close()
    assert broken == []
