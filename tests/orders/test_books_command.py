"""`check_books`, whole: snapshot, table, JSON, exit codes."""

from __future__ import annotations

import json

import pgtrigger
import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.utils import InternalError

from config.kernel.db import snapshot
from orders import books
from orders.models import Order
from tests.orders.busy_shop import open_busy_shop

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def busy(provider):
    provider._post("/_test/reset", {})
    return open_busy_shop(provider)


@pytest.fixture
def broken(busy):
    with pgtrigger.ignore():
        Order.objects.filter(pk=busy["paid"].pk).update(version=7)
    return busy["paid"]


def run(capsys, *args):
    code = 0
    try:
        call_command("check_books", *args)
    except SystemExit as exc:
        code = exc.code
    return code, capsys.readouterr().out


class TestCheckBooks:
    def test_prints_every_invariant_and_exits_with_0(self, busy, capsys):
        code, printed = run(capsys)

        assert code == 0
        assert "order_total_adds_up" in printed
        assert "no violations" in printed
        assert "orders waiting for a bank debit: 1" in printed

    def test_says_the_same_as_json(self, busy, capsys):
        code, printed = run(capsys, "--json")

        found = json.loads(printed)
        assert code == 0
        assert found["violations"] == 0
        assert found["notes"]["orders waiting for a bank debit"] == 1
        assert {row["id"] for row in found["invariants"]} == {
            *(f"I{n}" for n in range(1, 15)),
            *("I19", "I20", "I21", "I22"),
        }
        assert found["invariants"][0].pop("seconds") >= 0
        assert found["invariants"][0] == {
            "id": "I1",
            "name": "order_total_adds_up",
            "says": "total = subtotal − discount + shipping + tax unless included,"
            " and 0 ≤ discount ≤ subtotal",
            "violations": 0,
            "examples": [],
        }

    def test_compares_with_the_provider_if_told_to(self, busy, capsys):
        code, printed = run(capsys, "--stripe", "--json")

        found = json.loads(printed)
        assert (code, found["violations"]) == (0, 0)
        assert {"I15", "I16", "I17"} < {row["id"] for row in found["invariants"]}

    def test_exits_with_1_and_names_the_violator(self, broken, capsys):
        code, printed = run(capsys)

        assert code == 1
        assert broken.order_number in printed
        assert "1 violations" in printed

    def test_names_the_violator_as_json(self, broken, capsys):
        code, printed = run(capsys, "--json")

        found = json.loads(printed)
        assert (code, found["violations"]) == (1, 1)
        assert [row["examples"] for row in found["invariants"] if row["violations"]] == [
            [broken.order_number]
        ]

    def test_exits_with_2_when_the_provider_is_away(self, busy, provider):
        provider.fail("drop", path="/v1/payment_intents", method="GET", times=None)

        with pytest.raises(CommandError, match="lists could not be read") as failure:
            call_command("check_books", "--stripe")

        assert failure.value.returncode == 2

    @pytest.mark.parametrize("since", ["2020-01-01", "2020-01-01T10:00", "2020-01-01T10:00:00Z"])
    def test_takes_a_date_or_a_time(self, busy, capsys, since):
        assert run(capsys, "--stripe", "--since", since)[0] == 0

    def test_refuses_what_is_neither(self):
        with pytest.raises(CommandError, match="--since"):
            call_command("check_books", "--stripe", "--since", "yesterday")

    def test_an_empty_shop_is_in_order(self, provider, capsys):
        assert run(capsys, "--stripe")[0] == 0


class TestTheSnapshot:
    def test_does_not_see_what_is_committed_later(self, busy):
        with snapshot() as cursor:
            cursor.execute("SELECT count(*) FROM orders")
            before = cursor.fetchone()
            other = connection.copy()
            try:
                with other.cursor() as elsewhere:
                    elsewhere.execute(
                        "UPDATE coupons SET times_used = times_used + 1 WHERE code = 'SAVE10'"
                    )
                assert before == (7,)
                found = {f.name: f.violations for f in books.check_invariants(cursor)}
            finally:
                other.close()

        assert found["coupon_count_is_its_redemptions"] == 0
        assert books.check().violations == 1

    def test_cannot_write(self, busy):
        with (
            pytest.raises(InternalError, match="read-only"),
            snapshot() as cursor,
        ):
            cursor.execute("UPDATE coupons SET times_used = 0")

    def test_is_nobodys_inner_transaction(self, busy):
        with transaction.atomic(), pytest.raises(RuntimeError, match="durable"):
            books.check()

    def test_leaves_the_connection_as_it_was(self, busy):
        books.check()

        with connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone() != ("0",)
            cursor.execute("SHOW transaction_isolation")
            assert cursor.fetchone() == ("read committed",)


def test_progress_is_told(busy):
    told = []

    books.check(with_provider=True, on_progress=lambda *step: told.append(step))

    assert told[0] == ("order_total_adds_up", 0, len(books.INVARIANTS))
    assert ("", len(books.INVARIANTS), len(books.INVARIANTS)) in told
