"""`export_ledger`: the books as an accountant gets them, to the cent, whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pgtrigger
import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from config.kernel import csv_files
from config.kernel.clock import Deadline
from orders.services.disputes import sync_dispute
from orders.services.refunds import RefundWish, decide_refund, finish_refund
from payments import bookkeeping, selectors
from payments.models import LedgerEntry
from tests.orders.mismatches import tamper
from tests.shop import order_of

pytestmark = pytest.mark.django_db(transaction=True)

ALWAYS = ("--from", "2020-01-01", "--to", "2999-01-01")


@pytest.fixture
def business(orders, payments, shopper, provider):
    """Paid, cancelled, refunded in part, a refund that came back, a dispute won and one open."""
    sku = orders["paid"].items.get().product_sku
    partly, returned, won, lost = (order_of(shopper.order((sku, n))) for n in (1, 2, 3, 4))
    for order, amount in ((partly, "1.50"), (returned, "2.00")):
        refund = decide_refund(
            order_id=order.pk, wish=RefundWish(reason="x", amount=Decimal(amount))
        )
        finish_refund(refund_id=refund.pk, deadline=Deadline(5))
    provider.decide_refund(refund.stripe_refund_id or refund_id(refund), "fail")
    call_command("reconcile_payments", "--repair")
    for order, outcome in ((won, "win"), (lost, "lose")):
        dispute = provider.dispute(order.payments.get().payment_intent_id)
        sync_dispute(dispute_id=dispute["id"], deadline=Deadline(5))
        provider.decide_dispute(dispute["id"], outcome)
        sync_dispute(dispute_id=dispute["id"], deadline=Deadline(5))
    bookkeeping.book_balance_transactions()
    return {**orders, "partly": partly, "returned": returned, "won": won, "lost": lost}


def refund_id(refund):
    refund.refresh_from_db()
    return refund.stripe_refund_id


@pytest.fixture
def export(capsysbinary):
    """Run it; what it printed, byte for byte."""

    def export(*arguments):
        call_command("export_ledger", *arguments)
        return capsysbinary.readouterr().out.decode()

    return export


def read(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


class TestTheBooks:
    def test_make_the_providers_balance_to_the_cent(self, business, provider, export):
        lines = read(export(*ALWAYS))

        kinds = {line["kind"] for line in lines}
        assert kinds == set(LedgerEntry.Kind.values)
        balance = sum(Decimal(x["amount"]) for x in lines if x["account"] == "stripe_balance")
        assert balance == Decimal(provider.balance()["usd"]) / 100

    def test_are_whole_and_each_transaction_adds_up_to_zero(self, business, export):
        lines = read(export(*ALWAYS))

        assert [line["entry"] for line in lines] == [
            str(pk)
            for pk in LedgerEntry.objects.order_by("created_at", "transaction", "id").values_list(
                "pk", flat=True
            )
        ]
        sums = defaultdict(Decimal)
        for line in lines:
            sums[line["transaction"], line["currency"]] += Decimal(line["amount"])
        assert len(sums) * 2 == len(lines)
        assert set(sums.values()) == {0}

    def test_say_where_each_entry_comes_from(self, business, export):
        lines = read(export(*ALWAYS))
        paid = business["paid"].payments.get()
        capture = LedgerEntry.objects.get(payment=paid, kind="capture", account="stripe_balance")
        refunded = business["partly"].payments.get().refunds.get()
        dispute = business["lost"].payments.get().disputes.get()

        assert lines[[line["entry"] for line in lines].index(str(capture.pk))] == {
            "entry": str(capture.pk),
            "booked_at": f"{capture.created_at:%Y-%m-%dT%H:%M:%SZ}",
            "transaction": str(capture.transaction),
            "kind": "capture",
            "account": "stripe_balance",
            "amount": str(paid.amount),
            "currency": "USD",
            "order_number": business["paid"].order_number,
            "payment": str(paid.uuid),
            "payment_intent": paid.payment_intent_id,
            "refund": "",
            "provider_refund": "",
            "dispute": "",
            "balance_transaction": "",
        }
        [given] = [
            line
            for line in lines
            if line["refund"] == str(refunded.uuid) and line["account"] == "stripe_balance"
        ]
        assert (given["amount"], given["provider_refund"]) == ("-1.50", refunded.stripe_refund_id)
        taken = [line for line in lines if line["dispute"] == dispute.stripe_dispute_id]
        assert {line["kind"] for line in taken} == {"dispute"}
        assert all(line["balance_transaction"].startswith("txn_") for line in taken)


class TestTheFile:
    def test_is_rfc_4180(self, orders, export):
        text = export(*ALWAYS)

        header, *rest = text.split("\r\n")
        assert header == ",".join(selectors.LedgerLine._fields)
        assert rest[-1] == ""  # the last line ends like the others
        assert "\n" not in text.replace("\r\n", "")

    def test_holds_no_formula(self, orders, payments, export):
        evil = '=HYPERLINK("http://x")'
        tamper(payments["paid"], payment_intent_id=evil)
        tamper(orders["paid"], order_number="+1-2")

        lines = [line for line in read(export(*ALWAYS)) if line["payment_intent"].endswith('x")')]

        assert {(line["payment_intent"], line["order_number"]) for line in lines} == {
            (f"'{evil}", "'+1-2")
        }
        amounts = {line["amount"] for line in lines}
        assert f"{-payments['paid'].amount}" in amounts  # a number stays one

    def test_writes_a_currency_without_cents_without_them(self, orders, payments, export):
        with pgtrigger.ignore():
            LedgerEntry.objects.filter(payment=payments["paid"], kind="capture").update(
                currency="JPY", amount=1999
            )

        amounts = {x["amount"] for x in read(export(*ALWAYS)) if x["currency"] == "JPY"}

        assert amounts == {"1999"}


@pytest.mark.parametrize("first", csv_files.FORMULA_BEGINS_WITH)
def test_text_that_begins_like_a_formula_is_kept_from_being_one(first):
    assert csv_files.text(f"{first}1") == f"'{first}1"
    assert csv_files.text(f"1{first}") == f"1{first}"


class TestTheRange:
    @pytest.fixture
    def midnight(self, payments):
        """One capture a microsecond before it, one on it, the rest at noon."""
        at = datetime(2026, 3, 2, tzinfo=UTC)
        with pgtrigger.ignore():
            LedgerEntry.objects.update(created_at=at + timedelta(hours=12))
        for name, when in (("paid", at - timedelta(microseconds=1)), ("cancelled", at)):
            with pgtrigger.ignore():
                LedgerEntry.objects.filter(payment=payments[name], kind="capture").update(
                    created_at=when
                )
        return at

    def exported(self, export, begin, end):
        lines = read(export("--from", begin, "--to", end))
        return {line["payment"] for line in lines if line["kind"] == "capture"}

    def test_has_its_beginning_and_not_its_end(self, midnight, payments, export):
        before, after = (str(payments[name].uuid) for name in ("paid", "cancelled"))

        assert self.exported(export, "2026-03-01", "2026-03-02") == {before}
        assert self.exported(export, "2026-03-02", "2026-03-03") == {after}
        assert self.exported(export, "2026-03-02T01:00+01:00", "2026-03-02T00:00:01Z") == {after}

    def test_with_nothing_in_it_is_a_header(self, orders, export):
        text = export("--from", "2020-01-01", "--to", "2020-02-01")

        assert text == ",".join(selectors.LedgerLine._fields) + "\r\n"

    def test_is_one_snapshot(self, orders, payments, export, monkeypatch):
        """What is booked after the first entry was read is not in it, though it is in the range."""
        really = selectors.ledger_lines

        def book_more(cursor, **span):
            lines = really(cursor, **span)
            yield next(lines)
            other = connection.copy()
            try:
                with other.cursor() as elsewhere:
                    elsewhere.execute(
                        "INSERT INTO ledger_entries (transaction, kind, account, currency, amount,"
                        " payment_id) SELECT gen_random_uuid(), 'fee', 'provider_fees', 'USD', 0,"
                        " min(id) FROM payments"
                    )
            finally:
                other.close()
            yield from lines

        monkeypatch.setattr(selectors, "ledger_lines", book_more)
        monkeypatch.setattr(selectors, "FETCHED_AT_ONCE", 1)
        before = LedgerEntry.objects.count()

        assert len(read(export(*ALWAYS))) == before
        assert LedgerEntry.objects.count() == before + 1

    def test_is_read_in_pieces(self, business, export, monkeypatch):
        at_once = export(*ALWAYS)
        for size in (1, 7, LedgerEntry.objects.count()):
            monkeypatch.setattr(selectors, "FETCHED_AT_ONCE", size)
            assert export(*ALWAYS) == at_once


class TestSummary:
    def run(self, tmp_path, capsys, *span):
        file = tmp_path / "ledger.csv"
        call_command("export_ledger", *span, "--output", str(file), "--json")
        return json.loads(capsys.readouterr().out), read(file.read_bytes().decode())

    def test_of_two_periods_joins_them(self, business, provider, tmp_path, capsys):
        middle = LedgerEntry.objects.order_by("created_at")[8].created_at.isoformat()

        first, _ = self.run(tmp_path, capsys, "--from", "2020-01-01", "--to", middle)
        second, lines = self.run(tmp_path, capsys, "--from", middle, "--to", "2999-01-01")

        closed = {x["account"]: x["closing"] for x in first["accounts"]}
        opened = {x["account"]: x["opening"] for x in second["accounts"]}
        assert closed.items() <= opened.items()
        assert second["entries"] == len(lines) > 0
        accounts = {x["account"]: x for x in second["accounts"]}
        there = Decimal(provider.balance()["usd"]) / 100
        assert Decimal(accounts["stripe_balance"]["closing"]) == there
        assert sum(Decimal(x["closing"]) for x in accounts.values()) == 0
        for account, total in accounts.items():
            moved = defaultdict(Decimal)
            for line in lines:
                if line["account"] == account:
                    moved[line["kind"]] += Decimal(line["amount"])
            assert {k: Decimal(v) for k, v in total["movements"].items()} == moved
            assert Decimal(total["opening"]) + sum(moved.values()) == Decimal(total["closing"])

    def test_is_printed_beside_the_csv(self, orders, capsys):
        call_command("export_ledger", *ALWAYS, "--summary")

        printed = capsys.readouterr()
        assert "opening" not in printed.out
        assert "closing" in printed.err
        assert "stripe_balance" in printed.err


class TestOutput:
    def test_is_the_file_and_one_line(self, orders, tmp_path, export):
        file = tmp_path / "ledger.csv"
        file.write_text("an older one")

        said = export(*ALWAYS, "--output", str(file))

        count = LedgerEntry.objects.count()
        assert said == f"{count} entries written to {file}.\n"
        assert file.read_bytes().decode() == export(*ALWAYS)
        assert list(tmp_path.iterdir()) == [file]

    @pytest.mark.parametrize("trouble", [KeyboardInterrupt, RuntimeError])
    def test_is_whole_or_what_it_was(self, orders, tmp_path, monkeypatch, trouble):
        file = tmp_path / "ledger.csv"
        file.write_text("an older one")
        really = selectors.ledger_lines

        def dies(cursor, **span):
            yield next(really(cursor, **span))
            raise trouble

        monkeypatch.setattr(selectors, "ledger_lines", dies)

        with pytest.raises(trouble):
            call_command("export_ledger", *ALWAYS, "--output", str(file))

        assert file.read_text() == "an older one"
        assert list(tmp_path.iterdir()) == [file]

    def test_follows_a_link(self, orders, tmp_path):
        file, link = tmp_path / "real.csv", tmp_path / "link.csv"
        file.touch()
        link.symlink_to(file)

        call_command("export_ledger", *ALWAYS, "--output", str(link))

        assert link.is_symlink()
        assert file.stat().st_size > 0


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "problem"),
        [
            (["--from", "yesterday", "--to", "2026-02-01"], "--from"),
            (["--from", "2026-01-01", "--to", "2026-02-30"], "--to"),
            (["--from", "2026-02-01", "--to", "2026-02-01"], "must be earlier"),
            (["--from", "2026-02-02", "--to", "2026-02-01"], "must be earlier"),
            (["--from", "2026-02-02"], "--to"),
            ([*ALWAYS, "--json"], "needs --output"),
        ],
    )
    def test_is_told_and_nothing_is_written(self, orders, tmp_path, capsys, arguments, problem):
        file = tmp_path / "ledger.csv"
        more = [] if "--json" in arguments else ["--output", str(file)]

        with pytest.raises(CommandError, match=problem):
            call_command("export_ledger", *arguments, *more)

        assert capsys.readouterr().out == ""
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("place", ["", "nowhere/ledger.csv"])
    def test_a_place_where_no_file_can_be(self, orders, tmp_path, place):
        with pytest.raises(CommandError, match="could not be written"):
            call_command("export_ledger", *ALWAYS, "--output", str(tmp_path / place))

        assert list(tmp_path.iterdir()) == []

    def test_a_device_is_not_replaced(self, orders):
        with pytest.raises(CommandError, match="is not a file"):
            call_command("export_ledger", *ALWAYS, "--output", "/dev/null")

    def test_on_the_command_line_exits_with_2(self, django_db_blocker):
        ended = subprocess.run(
            [sys.executable, "manage.py", "export_ledger", "--from", "soon", "--to", "2026-02-01"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

        assert (ended.returncode, ended.stdout) == (2, "")
        assert "--from" in ended.stderr
