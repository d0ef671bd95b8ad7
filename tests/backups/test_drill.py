"""`restore_drill` on a busy shop: what it finds, what it leaves alone, and that it is gone then."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from django.conf import settings as django_settings
from django.db import connection

from audit.models import Delivery
from config.backups import drill
from config.backups.directory import BackupDirectory
from config.backups.errors import BackupError
from config.processes import find_working_in, lives
from orders.services import privacy
from payments.models import Payment
from tests.backups.conftest import ROOT, take, wait_until
from tests.orders.busy_shop import open_busy_shop

AWAY = "http://127.0.0.1:1"
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def busy_shop(provider, settings, tmp_path):
    settings.ERASURE_JOURNAL = str(tmp_path / "erasures.jsonl")
    provider._post("/_test/reset", {})
    return open_busy_shop(provider)


def run(*arguments: str, journal: str, **variables: str) -> subprocess.Popen[str]:
    """The command in a process of its own, against the shop of the tests."""
    login = django_settings.DATABASES["default"]
    url = f"postgres://{login['USER']}:{login['PASSWORD']}@{login['HOST']}:{login['PORT']}"
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTEST_XDIST_WORKER"},
        "DATABASE_URL": f"{url}/{login['NAME']}",
        "STRIPE_API_BASE": django_settings.STRIPE_API_BASE,
        "ERASURE_JOURNAL": journal,
        **variables,
    }
    return subprocess.Popen(
        [sys.executable, str(ROOT / "manage.py"), "restore_drill", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_brings_the_shop_back_and_says_what_would_be_lost(busy_shop, tmp_path, provider, settings):
    """Whoever was erased stays so; the live shop and the provider are as they were."""
    backups = BackupDirectory(tmp_path / "backups")
    take(backups)
    privacy.erase_guest(email="guest@example.com", now=busy_shop["paid"].created_at)
    before = _counts()
    asked_before = len(provider._get("/_test/journal")["requests"])
    journal = Path(settings.ERASURE_JOURNAL)
    written = journal.read_text()

    process = run(
        str(backups.root), "--scratch", str(tmp_path / "scratch"), "--json", journal=str(journal)
    )
    said, complained = process.communicate(timeout=100)

    answer = json.loads(said)
    assert answer["problems"] == [], complained
    assert process.returncode == 0
    assert answer["backup"] == backups.bases()[0].name
    assert 0 < answer["rpo_seconds"] < 60  # the erasure came after the backup, and nobody follows
    assert 0 < answer["rto_seconds"] < 60
    steps = {step["step"]: step["told"] for step in answer["steps"]}
    assert steps["erase_customer --replay"] == f"{len(written.splitlines())} erased again"
    assert "0 violated" in steps["check_books"]
    assert _counts() == before
    assert journal.read_text() == written
    asked = provider._get("/_test/journal")["requests"][asked_before:]
    assert {request["method"] for request in asked} == {"GET"}
    assert list((tmp_path / "scratch").iterdir()) == [tmp_path / "scratch" / "drill.lock"]


def _counts() -> list[object]:
    """Of the live shop, whatever a delivery, a worker or an erasure would change."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT count(*) FROM audit_logs), (SELECT count(*) FROM outbox_messages),"
            " (SELECT max(xid::text::bigint) FROM audit_logs)"
        )
        return [*cursor.fetchone(), sorted(Delivery.objects.values_list("id", "status"))]


def test_names_what_is_wrong_and_that_the_provider_could_not_be_asked(
    busy_shop, tmp_path, settings
):
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE stock_levels SET allocated = allocated + 1 WHERE on_hand > allocated"
        )

    process = run(
        "--scratch",
        str(tmp_path / "scratch"),
        journal=settings.ERASURE_JOURNAL,
        STRIPE_API_BASE=AWAY,
    )
    said, complained = process.communicate(timeout=100)

    assert process.returncode == 1, complained
    assert "check_books: " in said
    assert "reconcile_payments: the payment provider's lists could not be read" in said
    assert "RPO 0.0 s" in said  # the copy was made after the disaster's moment
    assert "problems." in said


def test_killed_it_leaves_no_server_and_the_next_one_clears_the_rest(busy_shop, tmp_path, settings):
    work = tmp_path / "scratch" / "work"
    process = run("--scratch", str(tmp_path / "scratch"), journal=settings.ERASURE_JOURNAL)
    wait_until(lambda: find_working_in(work / "data", program="postgres"), seconds=60)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.communicate()

    wait_until(lambda: not any(lives(child) for child in children))
    wait_until(lambda: not find_working_in(work / "data", program="postgres"))
    assert work.exists()
    with drill.scratch_directory(tmp_path / "scratch") as again:
        assert list(again.iterdir()) == []
        with pytest.raises(BackupError, match="another drill"):
            drill.scratch_directory(tmp_path / "scratch").__enter__()
    assert not work.exists()


def test_stopped_it_clears_everything_away_itself(busy_shop, tmp_path, settings):
    work = tmp_path / "scratch" / "work"
    process = run("--scratch", str(tmp_path / "scratch"), journal=settings.ERASURE_JOURNAL)
    wait_until(lambda: find_working_in(work / "data", program="postgres"), seconds=60)
    process.send_signal(signal.SIGTERM)
    _, complained = process.communicate(timeout=60)

    assert process.returncode == 2
    assert complained.splitlines()[-1] == "CommandError: stopped before it was done"
    assert find_working_in(work / "data", program="postgres") == []
    assert not work.exists()


def test_what_it_runs_knows_of_nobody_to_deliver_to(monkeypatch, tmp_path, settings):
    for name in ("EMAIL_URL", "EMAIL_URL_FILE", "CRM_BASE_URL", "SENTRY_DSN", "DATABASE_URL_FILE"):
        monkeypatch.setenv(name, "somewhere")
    scratch = type("Scratch", (), {"port": 1})()

    environment = drill._environment(scratch, tmp_path)

    assert "somewhere" not in environment.values()
    assert environment["REDIS_URL"] == drill.NOWHERE
    assert environment["STRIPE_API_BASE"] == os.environ["STRIPE_API_BASE"]
    assert settings.DATABASES["default"]["HOST"] + ":1/" in environment["DATABASE_URL"]


def test_what_the_live_shop_did_since_is_no_difference(busy_shop):
    paid = Payment.objects.get(order=busy_shop["paid"])
    subjects = [paid.payment_intent_id, "pi_of_nobody"]
    before, after = (paid.created_at + timedelta(seconds=shift) for shift in (-1, 1))

    assert drill._made_since(before, subjects=subjects) == {paid.payment_intent_id}
    assert drill._made_since(after, subjects=subjects) == set()
    assert drill._made_since(before, subjects=[]) == set()
