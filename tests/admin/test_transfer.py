"""Staff export a list as they see it, import what they have checked, and look after their jobs."""

from __future__ import annotations

import re

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from audit.models import AuditLog
from config.kernel.clock import Deadline
from config.kernel.models import new_uuid
from config.staff.transfer import EXPORTS_OF, IMPORTS_OF
from inventory.models import Category, Product
from orders.models import BackgroundJob, Order
from orders.services import job_running
from orders.transfer.exports import EXPORTS
from orders.transfer.imports import IMPORTS
from tests import factories
from tests.admin import rows

pytestmark = pytest.mark.django_db

XSS = '"><img src=x onerror=alert(1)>'


@pytest.fixture
def clerk(client):
    """`clerk("orders.view_order", …)`: a browser of somebody who may do that."""

    def log_in(*permissions):
        person = factories.CustomerFactory(is_staff=True)
        for permission in permissions:
            app, _, name = permission.partition(".")
            person.user_permissions.add(
                Permission.objects.get(content_type__app_label=app, codename=name)
            )
        client.force_login(person)
        return client

    return log_in


def run():
    job_running.run_due(deadline=Deadline(60))


def page_of(answer):
    return re.sub(r"\s+", " ", answer.content.decode())


def export(browser, subject, query="", **fields):
    """Press the button, and have a worker do it; the job."""
    form = {"file_format": "csv", "request_key": str(new_uuid()), **fields}
    answer = browser.post(reverse("admin:export", args=(subject,)) + query, form)
    assert answer.status_code == 302, page_of(answer)
    run()
    return BackgroundJob.objects.get(pk=answer.url.rstrip("/").rpartition("/")[2])


def text_of(browser, job):
    answer = browser.get(reverse("admin:job_download", args=(job.pk,)))
    return b"".join(answer.streaming_content).decode()


def upload(browser, subject, text, **fields):
    file = SimpleUploadedFile("list.csv", text.encode())
    form = {"file": file, "request_key": str(new_uuid()), **fields}
    return browser.post(reverse("admin:import", args=(subject,)), form)


class TestButtons:
    def test_stand_above_the_lists_they_are_of(self, browser):
        rows.make_everything(1)

        for model, names in EXPORTS_OF.items():
            page = page_of(browser.get(reverse(f"admin:{model.replace('.', '_')}_changelist")))
            for name in names:
                assert f'href="/admin/export/{name}/"' in page
        assert set(EXPORTS) == {name for names in EXPORTS_OF.values() for name in names}
        assert set(IMPORTS) == set(IMPORTS_OF.values())

    def test_with_a_filter_that_is_none_lead_back_to_the_list(self, browser):
        page = browser.get("/admin/export/orders/?status__exact__x=1", follow=True)

        assert browser.get("/admin/export/orders/?nonsense=1").status_code == 400
        assert page.redirect_chain[-1][0] == "/admin/orders/order/"
        assert "That filter is none of this list" in page_of(page)

    def test_keep_the_lists_filters(self, browser):
        page = page_of(browser.get("/admin/orders/order/?status__exact=shipped&q=ann"))

        assert 'href="/admin/export/orders/?status__exact=shipped&amp;q=ann"' in page

    def test_are_for_those_who_may(self, clerk):
        page = page_of(clerk("orders.view_order").get("/admin/orders/order/"))

        assert "/admin/export/" not in page


class TestExporting:
    def test_is_asked_run_and_downloaded(self, browser, superuser):
        made = rows.make_everything(1)

        job = export(browser, "orders")
        answer = browser.get(reverse("admin:job_download", args=(job.pk,)))

        assert answer["Content-Type"] == "text/csv; charset=utf-8"
        assert re.fullmatch(
            r'attachment; filename="orders-[\d-]{15}\.csv"', answer["Content-Disposition"]
        )
        content = b"".join(answer.streaming_content)
        assert int(answer["Content-Length"]) == len(content)
        assert made.order.order_number in content.decode()
        told = AuditLog.objects.filter(entity_type="background_job").order_by("id")
        assert [(row.event_type, row.user_id) for row in told] == [
            ("EXPORT_REQUESTED", superuser.pk),
            ("EXPORT", superuser.pk),
            ("EXPORT_DOWNLOADED", superuser.pk),
        ]

    def test_takes_the_rows_that_the_list_shows(self, browser):
        shipped = rows.make_order(1)
        Order.objects.filter(pk=shipped.pk).update(status="shipped")
        rows.make_order(2)

        job = export(browser, "orders", "?status__exact=shipped")

        assert job.parameters["filters"] == {"status__exact": "shipped"}
        assert text_of(browser, job).count("ABCD-") == 1

    def test_of_a_search_keeps_what_it_found_and_not_what_was_typed(self, browser):
        found = rows.make_order(1)
        rows.make_order(2)

        job = export(browser, "orders", "?q=ann1@example.com")

        assert job.parameters["ids"] == [found.pk]
        assert "ann1" not in str(job.parameters)
        assert text_of(browser, job).count("ABCD-") == 1

    def test_of_a_filter_that_is_not_known_takes_the_rows_themselves(self, browser):
        rows.make_customer(1)
        rows.make_customer(2, email_verified=True)

        job = export(browser, "customers", "?is_staff__exact=0")

        assert len(job.parameters["ids"]) == 2

    @pytest.mark.parametrize("file_format", ["", "pdf"])
    def test_in_no_format_asks_again(self, browser, file_format):
        form = {"file_format": file_format, "request_key": str(new_uuid())}

        answer = browser.post(reverse("admin:export", args=("orders",)), form)

        assert answer.status_code == 200
        assert not BackgroundJob.objects.exists()

    def test_twice_with_one_page_is_once(self, browser):
        key = str(new_uuid())

        assert export(browser, "orders", request_key=key) == export(
            browser, "orders", request_key=key
        )

    def test_says_what_is_left_out(self, clerk):
        browser = clerk("orders.view_order", "orders.export_orders")

        assert "Who bought is left out" in page_of(browser.get("/admin/export/orders/"))
        assert "Ann" not in text_of(browser, export(browser, "orders"))

    @pytest.mark.parametrize("subject", list(EXPORTS))
    def test_without_the_right_is_refused(self, clerk, subject):
        browser = clerk("orders.view_order")
        url = reverse("admin:export", args=(subject,))

        assert browser.get(url).status_code == 403
        assert browser.post(url, {"file_format": "csv"}).status_code == 403
        assert not BackgroundJob.objects.exists()

    def test_of_what_is_not_there_is_not_found(self, browser):
        assert browser.get("/admin/export/secrets/").status_code == 404


class TestImporting:
    def test_is_previewed_confirmed_and_written(self, browser, superuser):
        factories.ProductFactory(sku="TEA", name="Tea", price="3.50")

        answer = upload(
            browser,
            "products",
            "sku,name,category,price_USD\r\nTEA,Tea,grocery,4\r\nPOT,Pot,grocery,20\r\n",
        )
        run()
        page = page_of(browser.get(answer.url))
        assert "would be added 1, changed 0, prices set 2." in page
        assert "<td>price_USD</td> <td>3.50</td> <td>4.00</td>" in page
        assert "POT (new)" in page
        assert not Product.objects.filter(sku="POT").exists()

        answer = browser.post(f"{answer.url}confirm/")
        run()
        page = page_of(browser.get(answer.url))

        assert "were added 1" in page
        assert Product.objects.filter(sku="POT").exists()
        assert AuditLog.objects.get(event_type="IMPORT").user_id == superuser.pk

    def test_with_bad_lines_shows_them_and_offers_nothing(self, browser):
        answer = upload(browser, "coupons", f"code,kind\r\nX Y,{XSS}\r\n")
        run()

        page = page_of(browser.get(answer.url))
        refused = browser.post(f"{answer.url}confirm/", follow=True)

        assert "refused 1" in page
        assert "Write all of it" not in page
        assert "<img" not in page
        assert "Correct the lines that were refused" in page_of(refused)
        assert not BackgroundJob.objects.filter(kind="import").exists()

    def test_shows_markup_as_text(self, browser):
        answer = upload(
            browser, "categories", f'slug,name\r\ntea,"{XSS.replace(chr(34), chr(34) * 2)}"\r\n'
        )
        run()

        page = page_of(browser.get(answer.url))

        assert "&quot;&gt;&lt;img" in page
        assert "<img src=x" not in page
        assert not Category.objects.exists()

    def test_of_nothing_asks_again(self, browser):
        answer = browser.post("/admin/import/products/", {"request_key": str(new_uuid())})

        assert answer.status_code == 200
        assert "This field is required" in page_of(answer)

    def test_of_a_large_file_passes_the_edge(self, browser):
        text = "sku,name\r\n" + "\r\n".join(f"SKU-{n},Name" for n in range(50_000))
        assert len(text) > settings.MAX_BODY_BYTES

        assert upload(browser, "products", text).status_code == 302

    def test_of_a_large_file_without_a_log_in_does_not(self, client):
        answer = upload(client, "products", "x" * (settings.MAX_BODY_BYTES + 1))

        assert answer.status_code == 413

    def test_of_too_large_a_file_does_not(self, browser, settings):
        settings.MAX_UPLOAD_BYTES = 1_000

        answer = upload(browser, "products", "x" * 2_000)
        assert "larger than" in page_of(answer)
        settings.MAX_BODY_BYTES = 1_000
        assert upload(browser, "products", "x" * 4_000).status_code == 413
        assert not BackgroundJob.objects.exists()

    @pytest.mark.parametrize("subject", list(IMPORTS))
    def test_without_the_right_is_refused(self, clerk, subject):
        browser = clerk("inventory.view_product")

        assert browser.get(reverse("admin:import", args=(subject,))).status_code == 403
        assert upload(browser, subject, "x").status_code == 403
        assert not BackgroundJob.objects.exists()

    def test_of_what_is_not_there_is_not_found(self, browser):
        assert browser.get("/admin/import/secrets/").status_code == 404


class TestJobs:
    @pytest.fixture
    def job(self, browser):
        answer = browser.post(
            reverse("admin:export", args=("products",)),
            {"file_format": "csv", "request_key": str(new_uuid())},
        )
        return BackgroundJob.objects.get(pk=answer.url.rstrip("/").rpartition("/")[2])

    def test_ask_for_themselves_until_they_are_over(self, browser, job):
        url = reverse("admin:job_state", args=(job.pk,))

        waiting = page_of(browser.get(url))
        run()
        done = page_of(browser.get(url))

        assert f'hx-get="{url}"' in waiting
        assert "<progress" in waiting
        assert "<html" not in waiting
        assert "hx-get" not in done
        assert "/download/" in done

    def test_are_listed_for_their_owner(self, browser, job, clerk):
        assert "export: products" in page_of(browser.get("/admin/jobs/")).lower()
        other = clerk("orders.export_orders")
        assert "No exports or imports" in page_of(other.get("/admin/jobs/"))

    def test_are_not_there_for_others(self, browser, job, clerk):
        run()
        other = clerk("inventory.export_products")
        base = reverse("admin:job", args=(job.pk,))

        for path in ("", "state/", "download/"):
            assert other.get(f"{base}{path}").status_code == 404
        for path in ("cancel/", "confirm/"):
            assert other.post(f"{base}{path}").status_code == 404

    def test_are_cancelled(self, browser, job):
        browser.post(reverse("admin:job_cancel", args=(job.pk,)))

        job.refresh_from_db()
        assert job.status == "cancelled"

    @pytest.mark.parametrize("page", ["job_cancel", "job_confirm"])
    def test_are_not_changed_by_a_link(self, browser, job, page):
        assert browser.get(reverse(f"admin:{page}", args=(job.pk,))).status_code == 405

    def test_are_closed_to_customers(self, client, browser, job):
        client.force_login(rows.make_customer(1))

        for path in ("", "state/", "download/"):
            answer = client.get(reverse("admin:job", args=(job.pk,)) + path)
            assert answer.status_code == 302
            assert "/login/" in answer.url

    def test_have_pages_without_inline_script_or_style(self, browser, job):
        for path in (
            "/admin/jobs/",
            "/admin/export/orders/",
            "/admin/import/products/",
            reverse("admin:job", args=(job.pk,)),
        ):
            page = page_of(browser.get(path))
            assert not re.search(r"<script(?![^>]*\ssrc=)[^>]*>", page)
            assert not re.search(r"\s(style|onclick|onload|onchange|onsubmit)=", page)
            assert "<style" not in page
