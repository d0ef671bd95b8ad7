"""Export and import as a person sees them: the page follows its job by itself, under the policy."""

from __future__ import annotations

import pytest
from django.conf import settings as django_settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.utils import timezone
from playwright.sync_api import expect, sync_playwright

from config.kernel.clock import Deadline
from customers import staff_log_in
from customers.models import Customer
from customers.sessions import SessionStore
from inventory.models import Product
from orders.services import jobs
from tests import factories
from tests.storefront.steps import BROWSER, DESKTOP, IN_A_BROWSER, WAIT, shoot

pytestmark = IN_A_BROWSER

XSS = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def chromium():
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium, live_server):
    """A member of staff who is logged in; whatever the browser complains of fails the test."""
    boss = Customer.objects.create_superuser("b@example.com", None, first_name="B", last_name="O")
    session = SessionStore()
    session[SESSION_KEY] = str(boss.pk)
    session[BACKEND_SESSION_KEY] = django_settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = boss.get_session_auth_hash()
    staff_log_in.mark(session, now=timezone.now())
    session.save()
    context = chromium.new_context(base_url=live_server.url, viewport=DESKTOP)
    cookie = {"name": django_settings.SESSION_COOKIE_NAME, "value": session.session_key}
    context.add_cookies([{**cookie, "url": live_server.url}])
    context.set_default_timeout(WAIT)
    expect.set_options(timeout=WAIT)
    page = context.new_page()
    broken: list[str] = []
    page.on("pageerror", lambda error: broken.append(f"{page.url}: {error.stack}"))
    page.on("dialog", lambda dialog: (broken.append(dialog.message), dialog.dismiss()))
    page.on("console", lambda said: said.type == "error" and broken.append(said.text))
    yield page
    context.close()
    assert broken == []


def run():
    jobs.run_due(deadline=Deadline(60))


def test_an_export_is_asked_for_and_downloaded_without_a_reload(page):
    factories.ProductFactory(sku="TEA", name=XSS)
    page.goto("/admin/inventory/product/")

    page.get_by_role("link", name="Export products").click()
    page.get_by_label("Format").select_option("xlsx")
    page.get_by_role("button", name="Export").click()
    expect(page.get_by_text("Waits for a worker.")).to_be_visible()
    run()

    with page.expect_download() as download:
        page.get_by_role("link", name=".xlsx").click()
    assert download.value.suggested_filename.startswith("products-")
    page.get_by_role("link", name="My jobs").first.click()
    expect(page.get_by_role("heading", name="My jobs")).to_be_visible()


def test_a_file_is_previewed_and_confirmed_without_a_reload(page):
    factories.CategoryFactory()
    page.goto("/admin/inventory/product/")
    page.get_by_role("link", name="Import products").click()
    text = f"sku,name,category,price_USD\r\nTEA,{XSS},grocery,3.50\r\n"
    page.locator("input[type=file]").set_input_files(
        {"name": "list.csv", "mimeType": "text/csv", "buffer": text.encode()}
    )

    shoot(page, "admin-import")
    page.get_by_role("button", name="Check the file").click()
    expect(page.get_by_text("Waits for a worker.")).to_be_visible()
    run()
    expect(page.get_by_text(XSS)).to_be_visible()
    shoot(page, "admin-import-preview")
    assert not Product.objects.exists()

    page.get_by_role("button", name="Write all of it").click()
    expect(page.get_by_text("Waits for a worker.")).to_be_visible()
    run()
    expect(page.get_by_text("were added 1")).to_be_visible()

    assert Product.objects.get().name == XSS
