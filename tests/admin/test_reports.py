"""Pages of reports: who may see them, which days, what differs from the ledger, and the files."""

from __future__ import annotations

import io
import json
import re
from datetime import date, timedelta
from urllib.parse import urlencode

import pgtrigger
import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.urls import reverse

from audit.models import AuditLog
from audit.seals import keys, offline
from config.kernel import sql
from config.kernel.models import new_uuid
from config.staff import reports
from orders.models import BackgroundJob, Order
from orders.reports import revenue
from tests import factories
from tests.audit.seals import seal_everything
from tests.orders.busy_shop import open_busy_shop
from tests.transfer.conftest import read_csv, read_xlsx, run

pytestmark = pytest.mark.django_db(transaction=True)

PAGES = ("revenue", "tax", "audit")
DAYS = {"first": f"{date.today() - timedelta(days=30)}", "last": f"{date.today()}"}  # noqa: DTZ011 - any


@pytest.fixture
def business(provider, settings, tmp_path):
    settings.AUDIT_SEAL_DIR = str(tmp_path / "seals")
    provider._post("/_test/reset", {})
    return open_busy_shop(provider)


@pytest.fixture
def staff_of(client):
    def log_in(role):
        person = factories.CustomerFactory(is_staff=True)
        person.groups.add(Group.objects.get(name=role))
        client.force_login(person)
        return client

    return log_in


def text_of(answer):
    return re.sub(r"\s+", " ", answer.content.decode())


def look(browser, name, **days):
    return browser.get(f"{reverse(f'admin:report_{name}')}?{urlencode({**DAYS, **days})}")


def ask(browser, name, file_format, **fields):
    """Press the button, and have a worker do it; the job."""
    form = {**DAYS, "file_format": file_format, "request_key": str(new_uuid()), **fields}
    answer = browser.post(reverse(f"admin:report_{name}"), form)
    assert answer.status_code == 302, text_of(answer)
    run()
    return BackgroundJob.objects.get(pk=answer.url.rstrip("/").rpartition("/")[2])


def download(browser, job):
    assert (job.status, job.error) == ("done", "")
    answer = browser.get(reverse("admin:job_download", args=(job.pk,)))
    return b"".join(answer.streaming_content)


class TestThePages:
    def test_show_what_is_equal_to_the_ledger_with_plots(self, business, staff_of):
        browser = staff_of("Finance")

        for name in ("revenue", "tax"):
            page = text_of(look(browser, name))
            assert "Equal to the ledger" in page
            assert "Not what the ledger says" not in page
            assert page.count("<canvas") == 1

    def test_say_what_is_not(self, business, staff_of):
        order = business["paid"]
        with pgtrigger.ignore():
            Order.objects.filter(pk=order.pk).update(
                shipping_amount=order.shipping_amount + 1, total_amount=order.total_amount + 1
            )

        browser = staff_of("Finance")

        for name in ("revenue", "tax"):
            page = text_of(look(browser, name))
            assert "Not what the ledger says" in page
            assert '<td class="staff-number">1.00</td>' in page

    def test_show_this_month_unless_told_otherwise(self, business, staff_of):
        browser = staff_of("Manager")

        for name in PAGES:
            assert browser.get(reverse(f"admin:report_{name}")).status_code == 200

    @pytest.mark.parametrize(
        ("days", "problem"),
        [
            ({"first": "soon"}, "Enter a valid date"),
            ({"first": ""}, "This field is required"),
            ({"first": "2026-05-02", "last": "2026-05-01"}, "must be earlier"),
            ({"first": "1000-01-01", "last": "1000-01-02"}, "must lie between"),
            ({"last": "9999-12-31"}, "must lie between"),
            ({"first": "2011-01-01", "last": "2026-05-01"}, "at most 3,660 days"),
            ({"first": "2025-01-01", "last": "2025-12-31"}, "up to 100 days"),
        ],
    )
    def test_say_which_days_they_cannot_show(self, business, staff_of, days, problem):
        browser = staff_of("Manager")

        for name in PAGES:
            answer = look(browser, name, **days)
            assert answer.status_code == 200
            assert problem in text_of(answer)

    def test_that_take_too_long_say_so(self, business, staff_of, monkeypatch):
        def takes_long(_days, *, most_seconds):
            assert most_seconds == reports.MOST_SECONDS
            with reports.snapshot(most_seconds=0.05):
                sql.execute("SELECT pg_sleep(5)")

        monkeypatch.setattr(revenue, "read", takes_long)

        answer = look(staff_of("Finance"), "revenue")

        assert answer.status_code == 200
        assert "have it written to a file" in text_of(answer)
        assert not connection.in_atomic_block

    @pytest.mark.parametrize("role", ["Support", "Warehouse", "Catalogue"])
    def test_are_closed_to_others(self, staff_of, role):
        browser = staff_of(role)

        for name in PAGES:
            assert look(browser, name).status_code == 403
            assert browser.post(reverse(f"admin:report_{name}"), DAYS).status_code == 403
        assert not BackgroundJob.objects.exists()

    def test_of_finance_are_not_the_audit_log(self, staff_of):
        browser = staff_of("Finance")

        assert look(browser, "audit").status_code == 403
        assert "/admin/reports/audit/" not in text_of(browser.get("/admin/"))
        assert "/admin/reports/tax/" in text_of(browser.get("/admin/"))


class TestFiles:
    @pytest.mark.parametrize("name", ["revenue", "tax"])
    def test_have_the_figures_of_the_page(self, business, staff_of, name):
        browser = staff_of("Finance")

        as_csv = ask(browser, name, "csv")
        as_xlsx = ask(browser, name, "xlsx")

        lines = read_csv(download(browser, as_csv))
        cells = read_xlsx(download(browser, as_xlsx))
        assert len(lines) == len(cells) > 3
        assert {line["line"] for line in lines} >= {"total", "ledger", "difference"}
        assert as_csv.result["note"] == ""
        assert as_csv.file_name.startswith(f"{name}-report-")

    def test_that_differ_say_so(self, business, staff_of):
        order = business["paid"]
        with pgtrigger.ignore():
            Order.objects.filter(pk=order.pk).update(
                shipping_amount=order.shipping_amount + 1, total_amount=order.total_amount + 1
            )
        browser = staff_of("Finance")

        job = ask(browser, "revenue", "csv")

        page = text_of(browser.get(reverse("admin:job", args=(job.pk,))))
        assert "not what the ledger says" in page
        [line] = [x for x in read_csv(download(browser, job)) if x["line"] == "difference"]
        assert line["captured"] == "0.00"

    def test_of_the_audit_log_are_verified_without_us(self, business, staff_of):
        seal_everything()
        browser = staff_of("Manager")

        job = ask(browser, "audit", "zip")

        content = download(browser, job)
        found = offline.verify(io.BytesIO(content), keys=[offline.parsed_key(keys.public_key())])
        assert (found.count, found.rows) == (0, job.result["rows"])
        assert found.rows > 20
        assert "have no seal yet" in job.result["note"]  # that it was asked for

    def test_of_days_without_a_sealed_row_are_refused(self, business, staff_of):
        job = ask(staff_of("Manager"), "audit", "zip", first="2020-01-01", last="2020-01-02")

        assert job.status == "failed"
        assert "no row of this period is sealed" in job.error

    @pytest.mark.parametrize("name", PAGES)
    def test_are_asked_for_once_and_on_record(self, business, staff_of, name):
        browser = staff_of("Manager")
        key = str(new_uuid())
        form = "zip" if name == "audit" else "csv"
        seal_everything()

        first = ask(browser, name, form, request_key=key)
        again = ask(browser, name, form, request_key=key)

        assert first == again
        told = AuditLog.objects.filter(entity_type="background_job", event_type="EXPORT")
        assert [row.data["subject"] for row in told] == [first.subject]
        assert set(json.loads(json.dumps(told[0].data["filters"]))) == {"from", "to"}

    @pytest.mark.parametrize(
        "wrong",
        [
            {"file_format": "zip"},
            {"file_format": ""},
            {"request_key": ""},
            {"first": "soon"},
            {"last": "2001-01-01"},
        ],
    )
    def test_are_not_made_of_a_form_that_is_wrong(self, staff_of, wrong):
        form = {**DAYS, "file_format": "csv", "request_key": str(new_uuid()), **wrong}

        answer = staff_of("Finance").post(reverse("admin:report_tax"), form)

        assert answer.status_code == 200
        assert not BackgroundJob.objects.exists()
