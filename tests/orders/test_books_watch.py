"""The hourly look at the books: what it keeps, what it says, and the alerts that go with it."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

import pgtrigger
import pytest
import yaml
from celery import current_app
from django.conf import settings
from django.core.management import call_command
from django.db import connection

from orders import books, tasks
from orders.books import alerts, journal, watch
from orders.books.alerts import INVARIANT_NAMES
from orders.books.invariants import INVARIANTS
from orders.models import CheckedInvariant, Order
from payments.errors import ProviderUnavailableError
from tests.orders.busy_shop import open_busy_shop

RULES = Path(settings.BASE_DIR) / "docs" / "alerts" / "books.yml"


@pytest.fixture
def busy(transactional_db, provider):
    provider._post("/_test/reset", {})
    return open_busy_shop(provider)


def spoil(order: Order) -> None:
    with pgtrigger.ignore():
        Order.objects.filter(pk=order.pk).update(version=7)


def kept() -> dict[str, CheckedInvariant]:
    return {row.name: row for row in CheckedInvariant.objects.all()}


class TestTheHourlyCheck:
    def test_keeps_every_invariant(self, busy):
        tasks.check_books()

        assert kept().keys() == {invariant.name for invariant in INVARIANTS}
        assert {row.violations for row in kept().values()} == {0}
        assert {row.invariant for row in kept().values()} == {
            invariant.id for invariant in INVARIANTS
        }

    def test_names_what_is_violated(self, busy, caplog):
        spoil(busy["paid"])

        with caplog.at_level(logging.INFO):
            tasks.check_books()

        row = kept()["order_history_ends_at_the_status"]
        assert (row.violations, row.examples) == (1, [busy["paid"].order_number])
        (told,) = [record.msg for record in caplog.records if "books_violated" in str(record.msg)]
        assert told["level"] == "error"
        assert told["invariants"] == {"order_history_ends_at_the_status": 1}

    def test_forgets_what_is_right_again_and_what_is_no_invariant_any_more(self, busy):
        spoil(busy["paid"])
        tasks.check_books()
        with pgtrigger.ignore():
            Order.objects.filter(pk=busy["paid"].pk).update(version=1)
        CheckedInvariant.objects.filter(name="paid_means_paid").update(name="an_old_name")
        before = kept()["order_history_ends_at_the_status"].checked_at

        tasks.check_books()

        row = kept()["order_history_ends_at_the_status"]
        assert (row.violations, row.examples) == (0, [])
        assert row.checked_at > before
        assert "an_old_name" not in kept()


class TestTheNightlyComparison:
    def test_keeps_what_the_provider_says_too(self, busy):
        tasks.compare_books()

        found = {row.invariant for row in kept().values()}
        assert {"I15", "I16", "I17"} < found
        assert {name: row.invariant for name, row in kept().items()} == {
            name: invariant_id
            for name, invariant_id in INVARIANT_NAMES.items()
            if invariant_id != "I18"
        }

    def test_leaves_what_it_cannot_look_at_as_it_was(self, busy, provider):
        tasks.compare_books()
        before = {name: row.checked_at for name, row in kept().items()}
        provider.fail("drop", path="/v1/payment_intents", method="GET", times=None)

        with pytest.raises(ProviderUnavailableError):
            tasks.compare_books()

        assert {name: row.checked_at for name, row in kept().items()} == before

    def test_is_not_undone_by_the_hourly_check(self, busy):
        tasks.compare_books()

        tasks.check_books()

        rows = kept()
        assert "orders_are_charged_once" in rows
        assert rows["orders_are_charged_once"].checked_at < rows["paid_means_paid"].checked_at


class TestTheCommand:
    def test_keeps_its_result_only_if_told_to(self, busy, capsys):
        call_command("check_books")
        assert kept() == {}

        call_command("check_books", "--record")
        assert kept().keys() == {invariant.name for invariant in INVARIANTS}

    def test_prints_the_alert_rules_as_committed(self, capsys):
        call_command("check_books", "--alert-rules")

        assert capsys.readouterr().out == RULES.read_text(encoding="utf-8")


class TestTheSchedule:
    def test_comes_by_every_hour_and_every_night(self):
        entries = {
            entry["task"]: entry["schedule"] for entry in settings.CELERY_BEAT_SCHEDULE.values()
        }

        assert len(entries["orders.tasks.check_books"].hour) == 24
        assert len(entries["orders.tasks.check_books"].minute) == 1
        assert len(entries["orders.tasks.compare_books"].hour) == 1
        assert {
            "orders.tasks.check_books",
            "orders.tasks.compare_books",
        } <= current_app.tasks.keys()

    def test_comes_by_again_before_the_alert(self):
        assert timedelta(hours=2) < timedelta(seconds=alerts.STALE_SECONDS["database"])
        assert timedelta(days=1) < timedelta(seconds=alerts.STALE_SECONDS["provider"])


class TestTheAlertRules:
    @pytest.fixture
    def rules(self):
        (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
        return group["rules"]

    def test_are_one_an_invariant_and_two_for_checks_that_do_not_come(self, rules):
        for name in INVARIANT_NAMES:
            about = [rule for rule in rules if f'name="{name}"' in rule["expr"]]
            assert len(about) == 1, name
            assert about[0]["expr"] == f'max(orderkeep_books_violations{{name="{name}"}}) > 0'
        assert len(rules) == len(INVARIANT_NAMES) + 2
        assert len({rule["alert"] for rule in rules}) == len(rules)

    def test_say_how_bad_it_is_and_what_to_do(self, rules):
        for rule in rules:
            assert rule["labels"]["severity"] in {"critical", "warning"}
            assert rule["annotations"]["summary"]
            assert rule["annotations"]["description"]

    def test_speak_up_where_nothing_was_ever_checked(self, rules):
        stale = {rule["alert"]: rule["expr"] for rule in rules[-2:]}

        assert "absent(" in stale["BooksNotChecked"]
        assert "> 9000" in stale["BooksNotChecked"]
        assert "absent(" in stale["BooksNotCompared"]

    def test_cover_them_all(self):
        assert set(INVARIANT_NAMES.values()) == {f"I{n}" for n in range(1, 23)}

    def test_know_what_a_journal_is_checked_for(self, db):
        found = journal.check(connection.cursor(), journal.Journal(acknowledged=[], keys=0))

        assert {finding.name: finding.id for finding in found} == {
            name: invariant_id
            for name, invariant_id in INVARIANT_NAMES.items()
            if alerts.checked_against(invariant_id) == "journal"
        }


def test_two_who_keep_at_once_end_with_one_row_each(busy):
    report = books.check()

    watch.keep(report)
    watch.keep(report)

    assert CheckedInvariant.objects.count() == len(INVARIANTS)


def test_an_older_report_that_comes_late_does_not_hide_a_newer_one(busy):
    older = books.check()
    spoil(busy["paid"])
    newer = books.check()
    watch.keep(newer)

    watch.keep(older)

    rows = kept()
    assert rows["order_history_ends_at_the_status"].violations == 1
    assert rows["order_history_ends_at_the_status"].examples == [busy["paid"].order_number]
    assert {row.checked_at for row in rows.values()} == {newer.checked_at}


def test_an_older_report_is_kept_where_no_newer_one_tells(busy):
    older = books.check(with_provider=True)
    newer = books.check()
    watch.keep(newer)

    watch.keep(older)

    rows = kept()
    assert rows["orders_are_charged_once"].checked_at == older.checked_at
    assert rows["paid_means_paid"].checked_at == newer.checked_at
