"""What every management command keeps: help, one JSON document, exit codes, nothing personal."""

from __future__ import annotations

import argparse
import io
import json
import sys
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command, get_commands, load_command_class
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from audit.models import AuditLog
from audit.seals import export
from config.kernel.commands import ServiceCommand, bars
from inventory.management.commands import import_products
from orders.services import recovery
from tests.audit.seals import seal_everything
from tests.orders.busy_shop import open_busy_shop

pytestmark = pytest.mark.django_db(transaction=True)

OURS = ("audit", "config.backups", "integrations", "inventory", "orders")
A_YEAR_AGO = timezone.now() - timedelta(days=365)
PERIOD = ("--from", "2020-01-01", "--to", "2999-01-01")
DAYS = ("--from", "2026-01-01", "--to", "2029-01-01")
USES = {
    "adjust_stock": ("TEA", "MAIN", "1", "--reason", "found one"),
    "backfill_events": (),
    "check_books": (),
    "erase_customer": ("guest@example.com",),
    "export_audit": (*PERIOD, "--output", "{tmp}/x.zip"),
    "export_ledger": (*PERIOD, "--output", "{tmp}/x.csv"),
    "export_orders": (*PERIOD, "--output", "{tmp}/x.csv"),
    "import_products": ("{tmp}/products.csv",),
    "import_stock": ("{tmp}/stock.csv", "--reason", "counted"),
    "load_demo_data": (),
    "prune": (),
    "rebuild_customer_metrics": (),
    "reconcile_payments": (),
    "recover_orders": (),
    "refund_order": ("{order}", "--amount", "1.00"),
    "relay_outbox": (),
    "release_expired": (),
    "report_revenue": DAYS,
    "report_tax": DAYS,
    "retry_deliveries": (),
    "seal_audit": (),
    "sync_crm": (),
    "verify_audit": (),
    "sync_marketing": (),
    "verify_audit_export": ("{tmp}/export.zip",),
}
"""Each with arguments that do something in the busy shop."""
OF_BACKUPS = {"backup": ("{tmp}/b",), "restore": ("{tmp}/b",), "restore_drill": ()}
"""They copy whole databases: what they do is shown in tests/backups."""
REFUSED = (
    *("there is no product", "there is no warehouse", "there is no order"),
    *("higher than what is left", "is no backup directory", "cannot be used"),
)
"""Mistakes that nobody sees in the arguments alone: they exit with 1."""
MISTAKES = [
    ("adjust_stock", ("TEA", "MAIN", "none", "--reason", "x"), "delta"),
    ("adjust_stock", ("TEA", "MAIN", "0", "--reason", "x"), "DELTA: Not 0"),
    ("adjust_stock", ("NOPE", "MAIN", "1", "--reason", "x"), "there is no product NOPE"),
    ("adjust_stock", ("TEA", "NOPE", "1", "--reason", "x"), "there is no warehouse NOPE"),
    ("adjust_stock", ("TEA", "MAIN", "1", "--reason", " "), "--reason: Say why"),
    ("backfill_events", ("--hours", "-1"), "--hours must lie between"),
    ("backfill_events", ("--hours", "0"), "--hours must lie between"),
    ("backup", (), "DIR"),
    ("backup", ("{tmp}/b", "--keep", "0"), "--keep: at least 1"),
    ("backup", ("{tmp}/b", "--follow", "--keep", "3"), "not allowed with --follow"),
    ("check_books", ("--since", "yesterday"), "--since"),
    ("check_books", ("--journal", "{tmp}/nowhere"), "nowhere"),
    ("erase_customer", (), "EMAIL"),
    ("erase_customer", ("a@b.c", "--replay"), "not allowed with"),
    ("export_ledger", ("--from", "2026-02-01", "--to", "2026-02-01"), "must be earlier"),
    ("export_orders", ("--from", "2026-02-01", "--to", "2026-02-01"), "must be earlier"),
    ("export_orders", ("--from", "soon", "--to", "2026-02-01"), "--from: 'soon' is no date"),
    ("export_orders", ("--from", "2026-02-01", "--to", "2026-02-30"), "--to: '2026-02-30' is no"),
    ("export_orders", (*PERIOD, "--json"), "--json needs --output"),
    ("export_orders", (*PERIOD, "--output", "{tmp}/nowhere/x.csv"), "could not be written"),
    ("import_products", ("{tmp}/nowhere.csv",), "the file cannot be read"),
    ("import_stock", ("{tmp}/nowhere.csv", "--reason", "x"), "the file cannot be read"),
    ("import_stock", ("{tmp}/stock.csv", "--reason", " "), "--reason: Say why"),
    ("prune", ("--table", "orders"), "--table: invalid choice: 'orders'"),
    ("reconcile_payments", ("--refund-strangers",), "needs --repair"),
    ("restore", ("{tmp}/nowhere",), "nowhere is no backup directory"),
    ("restore", ("{tmp}/nowhere", "--to", "soon"), "--to: 'soon' is no date"),
    ("restore_drill", ("{tmp}/nowhere", "--scratch", "/dev/null/x"), "/dev/null/x cannot be used"),
    ("refund_order", ("NOPE",), "there is no order NOPE"),
    ("refund_order", ("{order}", "--amount", "1.005"), "--amount"),
    ("refund_order", ("{order}", "--amount", "1000000"), "higher than what is left"),
    ("refund_order", ("{order}", "--line", "TEA"), "--line: SKU=QUANTITY"),
    ("export_audit", (*PERIOD, "--output", "{tmp}/nowhere/x.zip"), "could not be written"),
    ("export_audit", ("--from", "2026-02-01", "--to", "2026-01-01", "--output", "x"), "earlier"),
    ("export_audit", ("--from", "2020-01-01", "--to", "2020-01-02", "--output", "x"), "is sealed"),
    ("export_audit", PERIOD, "--output"),
    ("report_revenue", ("--from", "2026-02-01", "--to", "2026-02-01"), "must be earlier"),
    ("report_revenue", ("--from", "2000-01-01", "--to", "2026-02-01"), "at most 3,660 days"),
    ("report_tax", ("--from", "2026-02-01T10:00", "--to", "2026-03-01"), "is no day like"),
    ("report_tax", ("--from", "2026-02-30", "--to", "2026-03-01"), "'2026-02-30' is no day"),
    ("report_tax", (*DAYS, "--format", "pdf"), "--format: invalid choice: 'pdf'"),
    ("report_tax", (*DAYS, "--format", "xlsx"), "needs --output"),
    ("report_tax", (*DAYS, "--format", "csv", "--json"), "--json needs --output"),
    ("report_tax", (*DAYS, "--output", "{tmp}/nowhere/x.csv"), "could not be written"),
    ("verify_audit_export", ("{tmp}/nowhere.zip",), "the file cannot be read"),
    ("verify_audit_export", ("{tmp}/products.csv",), "no export of an audit log"),
    ("verify_audit_export", ("{tmp}/export.zip", "--key", "abc"), "is no public key"),
    ("sync_marketing", ("--after", "soon"), "--after"),
    ("sync_crm", ("--since", "soon"), "--since: 'soon' is no date"),
    ("sync_crm", ("--after", "orders"), "--after: 'orders' is no place like orders:1200"),
    ("verify_audit", ("--from-number", "999"), "there is no seal 999"),
    ("verify_audit", ("--from-number", "0"), "--from-number: '0' is no number of a seal"),
]
every_command = pytest.mark.parametrize("name", [*USES, *OF_BACKUPS])


@pytest.fixture
def run(capsys, tmp_path, settings, provider, sinks):
    """Run one as a shell does, in the busy shop; its exit code and what it said."""
    settings.ERASURE_JOURNAL = str(tmp_path / "erasures.jsonl")
    settings.AUDIT_SEAL_DIR = str(tmp_path / "seals")
    sinks.configure(settings, "crm", "marketing")
    provider._post("/_test/reset", {})
    order = open_busy_shop(provider)["paid"].order_number
    (tmp_path / "products.csv").write_text("sku,name\r\nTEA,Green tea\r\n")
    (tmp_path / "stock.csv").write_text(
        "sku,warehouse,quantity,mode,reason\r\nTEA,MAIN,1,adjust,found\r\n"
    )
    seal_everything()
    with (tmp_path / "export.zip").open("wb") as file:
        export.write(file, export.find_extent(begin=A_YEAR_AGO, end=timezone.now()))
    return in_a_shell(capsys, tmp=tmp_path, order=order)


@pytest.fixture
def alone(capsys):
    """The same without a shop, for what does not come as far as that."""
    return in_a_shell(capsys, tmp="/nowhere", order="ABCD-EFGH-23")


def in_a_shell(capsys, **words):
    capsys.readouterr()

    def run(name, *arguments):
        code = 0
        try:
            load_command_class(get_commands()[name], name).run_from_argv(
                ["manage.py", name, *(argument.format(**words) for argument in arguments)]
            )
        except SystemExit as exc:
            code = exc.code
        return code, *capsys.readouterr()

    return run


def test_all_of_ours_are_here():
    ours = {name for name, app in get_commands().items() if app in OURS}

    assert ours == {*USES, *OF_BACKUPS}
    assert all(isinstance(load_command_class(get_commands()[x], x), ServiceCommand) for x in ours)


class TestEach:
    @every_command
    def test_explains_itself_and_every_argument(self, name, capsys):
        with pytest.raises(SystemExit) as ended:
            call_command(name, "--help")

        assert ended.value.code == 0
        told = capsys.readouterr().out
        command = load_command_class(get_commands()[name], name)
        assert len(command.help.split()) >= 10
        assert "--json" in told
        parser = command.create_parser("manage.py", name)
        silent = [
            action.dest
            for action in parser._actions
            if not action.help or action.help == argparse.SUPPRESS
        ]
        assert silent == []

    @pytest.mark.parametrize("name", list(USES))
    def test_answers_machines_and_people_and_says_nothing_personal(self, name, run, caplog):
        caplog.set_level("DEBUG")

        code, said, complained = run(name, *USES[name], "--json")
        code_for_people, words, complained_to_people = run(name, *USES[name])

        answer = json.loads(said)
        assert isinstance(answer, dict)
        is_left = any(answer.get(name) for name in ("left", "failed", "unsealed"))
        assert code == (1 if is_left and name != "verify_audit_export" else 0), said
        assert words.strip()
        assert not words.startswith("{")
        assert code_for_people in {0, 1}
        assert "Traceback" not in complained_to_people
        for personal in ("@example.com", "Lovelace", "Hopper", "Main Street"):
            assert personal not in caplog.text
            assert personal not in complained + complained_to_people

    @every_command
    def test_refuses_an_argument_it_has_not(self, name, alone):
        arguments = (USES | OF_BACKUPS)[name]

        code, said, complained = alone(name, *arguments, "--no-such-thing")

        assert (code, said) == (2, "")
        assert complained == (f"manage.py {name}: error: unrecognized arguments: --no-such-thing\n")


def test_a_mistake_is_told_in_one_line_and_nothing_is_done(run, tmp_path):
    there = sorted(tmp_path.iterdir())

    for name, arguments, problem in MISTAKES:
        code, said, complained = run(name, *arguments)

        is_refused = any(words in problem for words in REFUSED)
        assert code == (1 if is_refused else 2), (name, arguments)
        assert said == "", (name, arguments)
        [line] = complained.splitlines()
        assert problem in line
        assert sorted(tmp_path.iterdir()) == there


def test_a_database_that_is_away_is_told_in_one_line(run, monkeypatch):
    def is_away(**_):
        raise OperationalError("connection refused\nIs the server running?")

    monkeypatch.setattr(recovery, "release_expired", is_away)

    code, said, complained = run("release_expired", "--json")

    assert (code, said) == (2, "")
    assert complained == "CommandError: the database is away: connection refused\n"


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        ("lock_timeout", "others hold what it needs, try again: "),
        ("statement_timeout", "a statement took longer than it may: "),
    ],
)
def test_a_database_that_is_there_and_takes_too_long_is_not_told_to_be_away(
    run, monkeypatch, limit, told
):
    def takes_too_long(**_):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL {limit} = 50; SELECT pg_advisory_xact_lock(1)")

    monkeypatch.setattr(recovery, "release_expired", takes_too_long)
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(1)")
        code, said, complained = run("release_expired", "--json")
    finally:
        other.close()

    assert (code, said) == (2, "")
    assert complained.startswith(f"CommandError: {told}")


@pytest.mark.parametrize("name", ["export_orders", "export_ledger", "report_tax"])
def test_an_export_is_on_record_before_anybody_reads_a_line(run, monkeypatch, name):
    class Closed(io.StringIO):
        """Of `| head -0`."""

        def write(self, _text):
            raise BrokenPipeError

    period = (*DAYS, "--format", "csv") if name == "report_tax" else PERIOD
    with pytest.raises(CommandError, match="could not be written"):
        call_command(name, *period, stdout=Closed())

    told = AuditLog.objects.filter(event_type__startswith="EXPORT")
    assert list(told.values_list("event_type", flat=True)) == ["EXPORT_REQUESTED"]


def test_an_import_whose_database_is_away_says_so(run, monkeypatch):
    def is_away(**_):
        raise OperationalError("connection refused")

    monkeypatch.setattr(import_products, "import_products", is_away)

    code, _, complained = run("import_products", *USES["import_products"])

    assert (code, complained) == (
        2,
        "CommandError: the database is away: connection refused\n",
    )


class TestProgress:
    def show(self):
        with bars(quiet=False) as show:
            show("Counting sheep", 1, 2)

    def test_is_shown_on_a_terminal(self, capsys, monkeypatch):
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        monkeypatch.setenv("TERM", "xterm")

        self.show()

        printed = capsys.readouterr()
        assert "Counting sheep" in printed.err
        assert printed.out == ""

    def test_is_not_elsewhere(self, capsys):
        self.show()

        assert capsys.readouterr() == ("", "")


def test_call_command_raises_what_the_shell_would_print(run):
    with pytest.raises(CommandError, match="must be earlier"):
        call_command("export_orders", "--from", "2026-02-01", "--to", "2026-01-01")
