"""Jobs run once, whoever dies, and hand their file to their owner alone."""

from __future__ import annotations

import threading
import zlib
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.db import IntegrityError, OperationalError, connection, transaction
from django.utils import timezone

from audit.models import AuditLog
from config.celery import app
from config.kernel.clock import Deadline
from config.kernel.db import CommitOutcomeUnknownError
from config.kernel.errors import InvalidTransitionError, NotFoundError, ValidationFailedError
from inventory import imports as imported
from inventory.models import Price, Product
from orders.errors import NotAllowedError
from orders.models import BackgroundJob, BackgroundJobChunk, Coupon
from orders.services import job_running, jobs, privacy
from orders.transfer import exports, imports
from orders.transfer.exports import Selection
from tests import factories
from tests.admin import rows
from tests.concurrency.test_races import at_once
from tests.shop import order_of
from tests.transfer.conftest import confirm, export, read_csv, run, upload

pytestmark = pytest.mark.django_db(transaction=True)


def ask(user, subject="products", **changes):
    fields = {"file_format": "csv", "selection": Selection(), "request_key": "a form"}
    return jobs.request_export(subject=subject, user=user, **{**fields, **changes})


def content(job, user):
    return b"".join(jobs.download(job_id=job.pk, user=user).pieces)


def let_lease_end(job):
    BackgroundJob.objects.filter(pk=job.pk).update(lease_until=timezone.now() - timedelta(1))


@pytest.fixture
def products(db):
    for n in range(5):
        rows.make_product(n)


class TestAsking:
    def test_twice_with_one_form_is_one_job(self, manager):
        assert ask(manager) == ask(manager)

        assert AuditLog.objects.filter(event_type="EXPORT_REQUESTED").count() == 1

    def test_at_the_same_moment_is_one_job(self, manager):
        found = at_once(*[lambda: ask(manager).pk] * 4)

        assert len(set(found)) == 1
        assert BackgroundJob.objects.count() == 1

    def test_for_too_much_is_refused(self, manager, staff):
        for n in range(jobs.MOST_OPEN):
            ask(manager, request_key=f"{n}")

        with pytest.raises(ValidationFailedError, match="wait for one"):
            ask(manager, request_key="more")

        ask(staff("inventory.export_products"))  # others may

    @pytest.mark.parametrize("key", ["", "x" * 256])
    def test_without_a_key_is_refused(self, manager, key):
        with pytest.raises(ValidationFailedError):
            ask(manager, request_key=key)


class TestRunning:
    def test_writes_the_file_in_pieces(self, manager, products, monkeypatch):
        monkeypatch.setattr(job_running, "CHUNK", 100)
        monkeypatch.setattr(exports, "BATCH", 1)

        job = ask(manager)
        run()

        job.refresh_from_db()
        chunks = BackgroundJobChunk.objects.filter(job=job).order_by("n")
        assert chunks.count() > 3
        whole = b"".join(zlib.decompress(chunk.data) for chunk in chunks)
        assert (content(job, manager), len(whole)) == (whole, job.size)
        assert [line["sku"] for line in read_csv(whole)] == [f"APPLE-{n}" for n in range(5)]
        assert (job.done, job.total, job.attempts) == (5, 5, 1)

    def test_by_many_at_once_runs_each_once(self, manager, products, monkeypatch):
        monkeypatch.setattr(job_running, "MOST_AT_ONCE", 4)
        for n in range(6):
            ask(manager, request_key=f"{n}")

        ended = at_once(*[run] * 4)

        assert sum(ended) == 6
        assert set(BackgroundJob.objects.values_list("status", "attempts")) == {("done", 1)}
        assert AuditLog.objects.filter(event_type="EXPORT").count() == 6

    def test_leaves_a_worker_to_others(self, manager, products, monkeypatch):
        monkeypatch.setattr(job_running, "MOST_AT_ONCE", 1)
        first, second = ask(manager), ask(manager, request_key="another")

        assert job_running._take() == first
        assert run() == 0

        second.refresh_from_db()
        assert second.status == "queued"

    def test_does_not_begin_after_its_deadline(self, manager):
        ask(manager)

        assert job_running.run_due(deadline=Deadline(-1)) == 0

    def test_an_error_fails_the_job_without_its_words(self, manager, monkeypatch):
        def breaks(*_, **__):
            raise RuntimeError("ann@example.com")

        monkeypatch.setattr(exports, "open_table", breaks)
        job = ask(manager)

        with pytest.raises(RuntimeError):
            run()

        job.refresh_from_db()
        assert job.status == "failed"
        assert job.error.startswith("RuntimeError at breaks:")
        assert AuditLog.objects.get(event_type="JOB_FAILED").entity_id == job.pk

    def test_a_database_that_is_away_costs_a_try_and_no_more(self, manager, products, monkeypatch):
        def is_away(*_, **__):
            raise OperationalError

        job = ask(manager)
        with monkeypatch.context() as patch:
            patch.setattr(exports, "open_table", is_away)
            run()
        job.refresh_from_db()
        assert job.status == "running"
        let_lease_end(job)

        run()

        job.refresh_from_db()
        assert (job.status, job.attempts) == ("done", 2)

    def test_a_database_that_leaves_within_a_line_is_not_the_lines_fault(
        self, manager, monkeypatch
    ):
        def is_away(*_, **__):
            raise OperationalError

        with monkeypatch.context() as patch:
            patch.setattr(imports.CouponImport, "get_instance", is_away)
            job = upload("coupons", manager, "code,kind,value\r\nX,percent,5\r\n")
        assert (job.status, job.result) == ("running", None)
        let_lease_end(job)
        run()

        job.refresh_from_db()
        assert (job.status, job.result["bad_lines"]) == ("done", 0)


class TestAWorkerThatDies:
    def test_leaves_the_job_to_another_who_begins_it_anew(self, manager, products, monkeypatch):
        monkeypatch.setattr(job_running, "CHUNK", 100)
        job = ask(manager)
        dead = job_running._take()
        half = job_running._Written(dead)
        half.write("x" * 500)  # a chunk is kept, and nothing more is heard
        assert BackgroundJobChunk.objects.filter(job=job).exists()

        assert run() == 0  # as long as its lease runs
        let_lease_end(job)
        assert run() == 1

        job.refresh_from_db()
        assert (job.status, job.attempts) == ("done", 2)
        assert len(read_csv(content(job, manager))) == 5

    def test_and_rises_again_can_write_no_more(self, manager, products, monkeypatch):
        monkeypatch.setattr(job_running, "CHUNK", 100)
        job = ask(manager)
        dead = job_running._take()
        let_lease_end(job)
        run()
        before = content(job, manager)

        with pytest.raises(jobs.JobLostError):
            job_running._Written(dead).write("x" * 500)
        with pytest.raises(jobs.JobLostError), transaction.atomic():
            jobs.finish(dead, BackgroundJob.Status.DONE, lease=dead.lease, size=1)
        job_running._fail(dead, "late")

        job.refresh_from_db()
        assert (job.status, content(job, manager)) == ("done", before)
        assert AuditLog.objects.filter(event_type="EXPORT").count() == 1
        assert not AuditLog.objects.filter(event_type="JOB_FAILED").exists()

    def test_each_time_fails_the_job_in_the_end(self, manager):
        job = ask(manager)
        for _ in range(job_running.MOST_ATTEMPTS):
            assert job_running._take() == job
            let_lease_end(job)

        run()

        job.refresh_from_db()
        assert (job.status, job.error) == ("failed", job_running.TOO_MANY_TRIES)

    def test_of_a_slow_database_says_so_in_the_end(self, manager, monkeypatch):
        def is_too_slow(*_, **__):
            with connection.cursor() as cursor:
                cursor.execute("SET statement_timeout = 1; SELECT pg_sleep(5)")

        monkeypatch.setattr(exports, "open_table", is_too_slow)
        job = ask(manager)
        for _ in range(job_running.MOST_ATTEMPTS):
            run()
            let_lease_end(job)

        run()

        job.refresh_from_db()
        assert job.status == "failed"
        assert job.error == f"{job_running.TOO_MANY_TRIES} The last one: QueryCanceled."

    def test_within_a_commit_costs_a_try_and_no_more(self, manager, products, monkeypatch):
        def is_cut_off(_self):
            raise CommitOutcomeUnknownError

        job = ask(manager)
        with monkeypatch.context() as patch:
            patch.setattr(job_running._Written, "flush", is_cut_off)
            run()
        job.refresh_from_db()
        assert job.status == "running"
        let_lease_end(job)
        run()

        job.refresh_from_db()
        assert (job.status, job.attempts, job.error) == ("done", 2, "")

    def test_within_an_import_has_written_nothing(self, manager, monkeypatch):
        factories.CategoryFactory()
        preview = upload("products", manager, "sku,name,category\r\nPOT,Pot,grocery\r\n")
        job = jobs.confirm_import(preview_id=preview.pk, user=manager)

        def is_cut_off(*_, **__):
            raise OperationalError

        with monkeypatch.context() as patch:
            patch.setattr(job_running, "_counts", is_cut_off)  # after the products, before the end
            run()
        assert not Product.objects.exists()
        let_lease_end(job)
        run()

        job.refresh_from_db()
        assert (job.status, job.attempts) == ("done", 2)
        assert Product.objects.count() == 1
        assert AuditLog.objects.filter(event_type="PRODUCTS_IMPORTED").count() == 1

    def test_no_import_is_taken_from_a_worker_that_is_slow(self, manager, monkeypatch):
        """Its lease is over, its transaction is not: the row's lock holds others off."""
        factories.CategoryFactory()
        preview = upload("products", manager, "sku,name,category\r\nPOT,Pot,grocery\r\n")
        job = jobs.confirm_import(preview_id=preview.pk, user=manager)
        inside, go_on = threading.Event(), threading.Event()
        really = job_running._counts

        def slowly(outcome):
            inside.set()
            assert go_on.wait(20)
            return really(outcome)

        monkeypatch.setattr(job_running, "_counts", slowly)
        monkeypatch.setattr(job_running, "LEASE", timedelta(0))
        monkeypatch.setattr(job_running, "MOST_AT_ONCE", 1)
        waiting = ask(manager)

        def works():
            try:
                return run()
            finally:
                connection.close()

        worker = threading.Thread(target=works)
        worker.start()
        assert inside.wait(20)
        try:
            assert run() == 0  # nor is it forgotten among those that run at a time
            with pytest.raises(InvalidTransitionError):
                jobs.cancel(job_id=job.pk, user=manager)
        finally:
            go_on.set()
            worker.join(20)

        job.refresh_from_db()
        waiting.refresh_from_db()
        assert (job.status, job.attempts) == ("done", 1)
        assert (waiting.status, waiting.attempts) == ("done", 1)


class TestWhatOthersNeed:
    """No order and no due price waits for a file that is looked at, and for one that is written
    no longer than it takes to write.
    """

    COUPONS = "code,value\r\nOLD,6\r\n"
    PRODUCTS = "sku,price_USD\r\nTEA,4\r\n"

    @pytest.fixture
    def free(self, monkeypatch):
        """Whether coupon and price could be locked at each of these moments."""
        factories.CouponFactory(code="OLD", value=5)
        factories.ProductFactory(sku="TEA", price="3.50")
        found = []

        def lockable():
            with transaction.atomic():
                try:
                    list(Coupon.objects.select_for_update(nowait=True))
                    list(Price.objects.select_for_update(nowait=True))
                except OperationalError:
                    return False
            return True

        def look_after(place, name):
            really = getattr(place, name)

            def then_look(*args, **kwargs):
                result = really(*args, **kwargs)
                found.extend(at_once(lockable))
                return result

            monkeypatch.setattr(place, name, then_look)

        look_after(imports.CouponImport, "import_row")
        look_after(imports, "_tell")
        look_after(imports, "_record")
        look_after(imported, "_count")
        look_after(imported, "_copy")
        return found

    @pytest.mark.parametrize(("subject", "text"), [("coupons", COUPONS), ("products", PRODUCTS)])
    def test_is_free_during_a_preview(self, manager, free, subject, text):
        preview = upload(subject, manager, text)

        assert preview.result["updated"] + preview.result["prices"] == 1
        assert set(free) == {True}

    @pytest.mark.parametrize(("subject", "text"), [("coupons", COUPONS), ("products", PRODUCTS)])
    def test_is_free_until_an_import_writes_it(self, manager, free, subject, text):
        preview = upload(subject, manager, text)
        free.clear()

        assert confirm(preview, manager).status == "done"

        assert set(free) == {True}


class TestCancelling:
    def test_ends_what_waits(self, manager):
        job = ask(manager)

        jobs.cancel(job_id=job.pk, user=manager)
        run()

        job.refresh_from_db()
        assert (job.status, job.attempts) == ("cancelled", 0)
        assert AuditLog.objects.get(event_type="JOB_CANCELLED").entity_id == job.pk

    def test_stops_what_runs(self, manager, products, monkeypatch):
        job = ask(manager)
        really = exports.open_table

        def cancelled_meanwhile(*args):
            jobs.cancel(job_id=job.pk, user=manager)
            return really(*args)

        monkeypatch.setattr(exports, "open_table", cancelled_meanwhile)
        run()

        job.refresh_from_db()
        assert job.status == "cancelled"
        assert not job.chunks.exists()
        with pytest.raises(NotFoundError):
            content(job, manager)

    def test_leaves_nothing_of_a_file_that_was_half_written(self, manager, products, monkeypatch):
        monkeypatch.setattr(job_running, "CHUNK", 100)
        job = ask(manager)
        job_running._Written(job_running._take()).write("x" * 500)
        assert job.chunks.exists()

        jobs.cancel(job_id=job.pk, user=manager)

        assert not job.chunks.exists()

    @pytest.mark.parametrize("status", ["failed", "cancelled"])
    def test_or_failing_leaves_nothing_of_an_upload(self, manager, status):
        job = jobs.request_preview(
            subject="products", file_name="x", content=[b"x"], user=manager, request_key="x"
        )

        if status == "failed":
            run()
        else:
            jobs.cancel(job_id=job.pk, user=manager)

        job.refresh_from_db()
        assert (job.status, job.chunks.exists()) == (status, False)

    @pytest.mark.parametrize("subject", ["products", "coupons"])
    @pytest.mark.parametrize("kind", ["preview", "import"])
    def test_stops_what_is_read(self, manager, monkeypatch, kind, subject):
        monkeypatch.setattr(imported, "TOLD_EVERY", 1)
        monkeypatch.setattr(job_running, "NOTED_EVERY_SECONDS", 0.0)
        factories.CategoryFactory()
        header, line = {
            "products": ("sku,name,category\r\n", "P{},P,grocery\r\n"),
            "coupons": ("code,kind,value\r\n", "C{},percent,5\r\n"),
        }[subject]
        text = header + "".join(line.format(n) for n in range(3))
        if kind == "import":
            job = jobs.confirm_import(preview_id=upload(subject, manager, text).pk, user=manager)
        else:
            job = jobs.request_preview(
                subject=subject,
                file_name="x",
                content=[text.encode()],
                user=manager,
                request_key="x",
            )
        really, seen = job_running._Lease.note, []

        def cancelled_meanwhile(self, done, **kwargs):
            really(self, done, **kwargs)
            seen.append(BackgroundJob.objects.values_list("done", "total").get(pk=job.pk))
            if len(seen) == 2:
                jobs.cancel(job_id=job.pk, user=manager)

        monkeypatch.setattr(job_running._Lease, "note", cancelled_meanwhile)
        run()

        job.refresh_from_db()
        assert (job.status, job.result) == ("cancelled", None)
        total = 3 if kind == "import" else None
        assert seen == [(1, total), (2, total)]
        assert not Product.objects.exists()
        assert not Coupon.objects.exists()

    def test_what_is_over_changes_nothing(self, manager):
        job = ask(manager)
        run()

        assert jobs.cancel(job_id=job.pk, user=manager).status == "done"

    def test_by_others_is_not_found(self, manager, staff):
        job = ask(manager)

        with pytest.raises(NotFoundError):
            jobs.cancel(job_id=job.pk, user=staff("inventory.export_products"))


class TestDownload:
    def test_is_for_the_owner_and_superusers(self, manager, staff, products):
        owner, other = (staff("inventory.export_products") for _ in range(2))
        job = ask(owner)
        run()

        assert content(job, owner) == content(job, manager)
        with pytest.raises(NotFoundError):
            content(job, other)
        told = AuditLog.objects.filter(event_type="EXPORT_DOWNLOADED")
        assert told.count() == 2

    def test_needs_the_right_still(self, staff, products):
        owner = staff("inventory.export_products")
        job = ask(owner)
        run()
        owner.user_permissions.clear()
        again = type(owner).objects.get(pk=owner.pk)

        with pytest.raises(NotAllowedError):
            content(job, again)

        assert not AuditLog.objects.filter(event_type="EXPORT_DOWNLOADED").exists()

    def test_of_what_is_not_done_is_not_found(self, manager):
        job = ask(manager)

        with pytest.raises(NotFoundError):
            content(job, manager)

    def test_ends_after_its_time(self, manager, products):
        job = ask(manager)
        run()
        BackgroundJob.objects.update(expires_at=timezone.now())

        with pytest.raises(NotFoundError):
            content(job, manager)


class TestForgetting:
    def test_takes_jobs_and_files_whose_time_is_over(self, manager, products):
        old, young = ask(manager), ask(manager, request_key="young")
        run()
        BackgroundJob.objects.filter(pk=old.pk).update(expires_at=timezone.now())

        assert jobs.forget_expired(limit=10) == 1

        assert list(BackgroundJob.objects.all()) == [young]
        assert set(BackgroundJobChunk.objects.values_list("job", flat=True)) == {young.pk}

    def test_takes_an_import_with_its_preview(self, manager):
        factories.CategoryFactory()
        preview = upload("products", manager, "sku,name,category\r\nPOT,Pot,grocery\r\n")
        jobs.confirm_import(preview_id=preview.pk, user=manager)
        run()
        BackgroundJob.objects.update(expires_at=timezone.now())

        assert jobs.forget_expired(limit=10) == 2

        assert not BackgroundJobChunk.objects.exists()

    def test_leaves_what_is_still_to_be_done_and_its_upload(self, manager):
        factories.CategoryFactory()
        preview = upload("products", manager, "sku,name,category\r\nPOT,Pot,grocery\r\n")
        BackgroundJob.objects.update(expires_at=timezone.now() + timedelta(minutes=1))
        job = jobs.confirm_import(preview_id=preview.pk, user=manager)
        preview.refresh_from_db()
        assert preview.expires_at == job.expires_at
        BackgroundJob.objects.update(expires_at=timezone.now())

        assert jobs.forget_expired(limit=10) == 0
        run()

        job.refresh_from_db()
        assert job.status == "done"
        assert jobs.forget_expired(limit=10) == 2

    @pytest.mark.parametrize("status", ["cancelled", "failed", "running"])
    def test_an_erased_customer_is_in_no_file_that_was_half_written(
        self, manager, monkeypatch, status
    ):
        monkeypatch.setattr(job_running, "CHUNK", 100)
        customer = rows.make_customer(1)
        job = ask(manager, "customers")
        taken = job_running._take()
        job_running._Written(taken).write("x" * 500)
        if status == "cancelled":
            jobs.cancel(job_id=job.pk, user=manager)
        elif status == "failed":
            job_running._fail(taken, "x")

        privacy.erase_customer(customer_id=customer.pk, now=timezone.now())

        assert not job.chunks.exists()
        jobs.forget_expired(limit=10)
        assert BackgroundJob.objects.filter(pk=job.pk).exists() is (status == "running")

    def test_an_erasure_forgives_no_tries_that_failed(self, manager):
        customer = rows.make_customer(1)
        job = ask(manager, "customers")
        for _ in range(2):
            job_running._take()
            let_lease_end(job)
        job_running._take()

        privacy.erase_customer(customer_id=customer.pk, now=timezone.now())

        job.refresh_from_db()
        assert (job.status, job.attempts) == ("queued", 2)
        run()
        job.refresh_from_db()
        assert (job.status, job.attempts) == ("done", 3)

    @pytest.mark.parametrize("subject", ["customers", "orders"])
    def test_an_erased_customer_takes_their_files_along(self, manager, subject):
        customer = rows.make_order(1).customer
        ask(manager, "products", request_key="no person in it")
        job = ask(manager, subject)
        run()

        privacy.erase_customer(customer_id=customer.pk, now=timezone.now())

        with pytest.raises(NotFoundError):
            content(job, manager)
        jobs.forget_expired(limit=10)
        assert [left.subject for left in BackgroundJob.objects.all()] == ["products"]

    def test_one_erased_while_a_file_is_written_is_not_in_it(self, manager, monkeypatch):
        monkeypatch.setattr(exports, "BATCH", 1)
        first, second = (rows.make_customer(n) for n in (1, 2))
        job = ask(manager, "customers")
        really = job_running._Written.note
        erased = []

        def erased_meanwhile(self, *args, **kwargs):
            if not erased:
                erased.append(first)
                privacy.erase_customer(customer_id=first.pk, now=timezone.now())
            really(self, *args, **kwargs)

        monkeypatch.setattr(job_running._Written, "note", erased_meanwhile)
        run()

        job.refresh_from_db()
        assert job.status == "done"
        assert [line["email"] for line in read_csv(content(job, manager))] == [second.email]

    def test_an_erased_order_of_a_guest_takes_files_along(self, manager, guest):
        order = order_of(guest.order((factories.ProductFactory().sku, 1)))
        type(order).objects.filter(pk=order.pk).update(status="cancelled")
        job = ask(manager, "orders")
        run()

        privacy.erase_guest(email="guest@example.com", now=timezone.now())

        with pytest.raises(NotFoundError):
            content(job, manager)


def test_the_limit_of_jobs_goes_by_the_processes_that_there_are():
    """Who starts a worker says how many in the setting alone, and nowhere else."""
    assert app.conf.worker_concurrency == settings.CELERY_WORKER_CONCURRENCY
    for name in ("docker-compose.yml", "sandbox/up.py"):
        text = (Path(settings.BASE_DIR) / name).read_text()
        assert "worker" in text
        assert "--concurrency" not in text


def test_a_job_keeps_no_search_words(manager):
    customer = rows.make_customer(1)

    export("customers", manager, ids=[customer.pk])

    job = BackgroundJob.objects.latest("pk")
    assert "@" not in f"{job.parameters}{job.result}{job.file_name}"
    assert "@" not in str(list(AuditLog.objects.values_list("data", flat=True)))


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        ({"status": "running"}, "background_job_leased_while_running"),
        ({"kind": "magic"}, "background_job_kind_known"),
        ({"kind": "import"}, "background_job_import_applies_a_preview"),
        ({"finished_at": timezone.now()}, "background_job_finished_at_its_end"),
        ({"done": 2, "total": 1}, "background_job_done_within_total"),
    ],
)
def test_the_database_refuses(manager, changes, constraint):
    job = ask(manager)

    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        BackgroundJob.objects.filter(pk=job.pk).update(**changes)
