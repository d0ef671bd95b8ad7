"""Export and import as a person sees them: the page follows its job by itself, under the policy."""

from __future__ import annotations

from playwright.sync_api import expect

from config.kernel.clock import Deadline
from inventory.models import Product
from orders.services import job_running
from tests import factories
from tests.browser import IN_A_BROWSER, shoot

pytestmark = IN_A_BROWSER

XSS = "<img src=x onerror=alert(1)>"


def run():
    job_running.run_due(deadline=Deadline(60))


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

    shoot(page, "staff-import")
    page.get_by_role("button", name="Check the file").click()
    expect(page.get_by_text("Waits for a worker.")).to_be_visible()
    run()
    expect(page.get_by_text(XSS)).to_be_visible()
    shoot(page, "staff-import-preview")
    assert not Product.objects.exists()

    page.get_by_role("button", name="Write all of it").click()
    expect(page.get_by_text("Waits for a worker.")).to_be_visible()
    run()
    expect(page.get_by_text("were added 1")).to_be_visible()

    assert Product.objects.get().name == XSS
