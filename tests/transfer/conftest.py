"""Staff with rights, and their jobs as a worker runs them."""

from __future__ import annotations

import csv
import io
import itertools
import zipfile

import pytest
from django.contrib.auth.models import Permission
from openpyxl import Workbook, load_workbook

from config.kernel.clock import Deadline
from orders.services import job_running, jobs
from orders.transfer.exports import Selection
from tests import factories

_keys = itertools.count()


@pytest.fixture
def staff(db):
    """`staff("orders.export_orders", …)`: somebody who may do that, and nothing else."""

    def make(*permissions, **fields):
        person = factories.CustomerFactory(is_staff=True, **fields)
        for permission in permissions:
            app, _, name = permission.partition(".")
            person.user_permissions.add(
                Permission.objects.get(content_type__app_label=app, codename=name)
            )
        return person

    return make


@pytest.fixture
def manager(staff):
    return staff(is_superuser=True)


def run():
    return job_running.run_due(deadline=Deadline(60))


def export(subject, user, *, file_format="csv", **selection):
    """Ask, have it run, and download."""
    job = jobs.request_export(
        subject=subject,
        file_format=file_format,
        selection=Selection(**selection),
        user=user,
        request_key=f"test-{next(_keys)}",
    )
    run()
    job.refresh_from_db()
    assert (job.status, job.error) == ("done", "")
    return b"".join(jobs.download(job_id=job.pk, user=user).pieces)


def read_csv(content):
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def read_xlsx(content):
    header, *rows = load_workbook(io.BytesIO(content)).active.iter_rows(values_only=True)
    return [dict(zip(header, row, strict=True)) for row in rows]


def upload(subject, user, content, *, name="file.csv", key=None):
    """Have a file previewed."""
    job = jobs.request_preview(
        subject=subject,
        file_name=name,
        content=[content.encode() if isinstance(content, str) else content],
        user=user,
        request_key=key or f"test-{next(_keys)}",
    )
    run()
    job.refresh_from_db()
    return job


def confirm(preview, user):
    job = jobs.confirm_import(preview_id=preview.pk, user=user)
    run()
    job.refresh_from_db()
    return job


def workbook(*rows):
    book = Workbook()
    for row in rows:
        book.active.append(row)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def bomb(size):
    """A small file that says it unpacks into a large one."""
    file = io.BytesIO()
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed,
        packed.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as part,
    ):
        for _ in range(size // 1024**2):
            part.write(bytes(1024**2))
    return file.getvalue()
