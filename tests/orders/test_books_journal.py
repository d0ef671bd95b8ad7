"""`check_books --journal`: what a client was told of is there, with the same answer (I18)."""

from __future__ import annotations

import hashlib
import json

import pgtrigger
import pytest
from django.core.management import CommandError, call_command

from orders import books
from orders.books import journal
from orders.models import IdempotencyKey, Order
from tests import factories
from tests.shop import order_of

pytestmark = pytest.mark.django_db(transaction=True)

METHODS = {
    "paid": "pm_card_visa",
    "declined": "pm_card_chargeDeclined",
    "debit": "pm_usBankAccount_success",
}

LINE = {"heard": "paid", "order": "GONE-GONE-22", "digest": "0" * 64, "status": 201}


class Client:
    """Orders, and writes down what it hears as a load client does."""

    def __init__(self, path, shopper):
        self.path = path
        self.shopper = shopper

    def order(self, key, method="pm_card_visa", sku="TEA"):
        answer = self.shopper.order((sku, 1), key=key, payment_method_id=method)
        body = answer.json()
        details = body.get("error", {}).get("details") or {}
        self.write(
            heard=key,
            status=answer.status_code,
            order=body.get("order_number") or details.get("order_number") or "",
            digest=hashlib.sha256(answer.content).hexdigest(),
        )
        return answer

    def write(self, **line):
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


@pytest.fixture
def client(tmp_path, shopper, provider):
    provider._post("/_test/reset", {})
    factories.ProductFactory(sku="TEA", on_hand=5)
    return Client(tmp_path / "journal.jsonl", shopper)


@pytest.fixture
def orders(client):
    """A client's orders by what became of them; each asked for twice, and some refused."""
    client.write(sent="paid", attempt=1)
    orders = {}
    for key, method in METHODS.items():
        orders[key] = order_of(client.order(key, method))
        client.order(key, method)
    client.order("refused", sku="NONE-OF-OURS")
    return orders


def violated(client):
    report = books.check(heard=journal.read(client.path))
    return {
        finding.name: finding.examples
        for finding in report.findings
        if finding.id == "I18" and finding.violations
    }


class TestAJournal:
    def test_of_what_happened_is_in_order(self, client, orders, capsys):
        call_command("check_books", "--journal", str(client.path), "--json")

        found = json.loads(capsys.readouterr().out)
        assert found["violations"] == 0
        assert [row["name"] for row in found["invariants"] if row["id"] == "I18"] == [
            "acknowledged_orders_exist",
            "acknowledged_answers_are_remembered",
            "acknowledged_keys_name_one_order",
        ]

    def test_is_read_whole(self, client, orders):
        read = journal.read(client.path)

        assert read.keys == 4
        assert {told.order_number for told in read.acknowledged} == {
            order.order_number for order in orders.values()
        }

    def test_may_end_in_the_middle_of_a_line(self, client, orders):
        with client.path.open("a") as file:
            file.write('{"heard": "paid", "sta')

        assert violated(client) == {}

    def test_of_nothing_is_in_order(self, client):
        client.path.touch()

        assert violated(client) == {}

    @pytest.mark.parametrize(
        "line",
        [
            "nonsense",
            "[]",
            "7",
            '{"heard": "paid"}',
            json.dumps(LINE | {"heard": None}),
            json.dumps(LINE | {"heard": "pa\0id"}),
            json.dumps(LINE | {"order": None}),
            json.dumps(LINE | {"order": 7}),
            json.dumps(LINE | {"order": "GONE\0"}),
            json.dumps(LINE | {"order": "\ud800"}),
            json.dumps(LINE | {"status": None}),
            json.dumps(LINE | {"status": "201"}),
            json.dumps(LINE | {"status": True}),
            json.dumps(LINE | {"status": 201.5}),
            json.dumps(LINE | {"status": 0}).replace("0}", "1e999}"),
            json.dumps(LINE | {"digest": None}),
            "[" * 200_000,
            f'{{"status": {"9" * 5_000}}}',
        ],
        ids=lambda line: line[:60],
    )
    def test_that_is_none_is_refused_with_its_line(self, client, orders, line):
        lines = client.path.read_text().count("\n")
        with client.path.open("a") as file:
            file.write(f"{line}\n")

        with pytest.raises(CommandError, match=f"line {lines + 1} is not a line") as refused:
            call_command("check_books", "--journal", str(client.path))
        assert refused.value.returncode == 2

    def test_that_is_not_there_is_told(self, client):
        with pytest.raises(CommandError, match="No such file") as refused:
            call_command("check_books", "--journal", str(client.path))
        assert refused.value.returncode == 2


class TestALostOrder:
    def test_is_found(self, client, orders, capsys):
        client.write(heard="lost", status=202, order="GONE-GONE-22", digest="0" * 64)

        with pytest.raises(SystemExit) as left:
            call_command("check_books", "--journal", str(client.path))

        assert left.value.code == 1
        assert violated(client) == {"acknowledged_orders_exist": ["GONE-GONE-22"]}

    def test_is_told_once_however_often_it_was_heard(self, client, orders):
        for digest in ("0" * 64, "1" * 64):
            client.write(heard="lost", status=202, order="GONE-GONE-22", digest=digest)

        assert violated(client) == {"acknowledged_orders_exist": ["GONE-GONE-22"]}

    def test_is_found_where_another_key_has_it_now(self, client, orders):
        IdempotencyKey.objects.filter(order=orders["debit"]).update(key="somebody else's")

        assert violated(client) == {"acknowledged_orders_exist": [orders["debit"].order_number]}


class TestAnAnswer:
    @pytest.mark.parametrize("kind", ["paid", "declined"])
    def test_that_is_another_now_is_found(self, client, orders, kind):
        with pgtrigger.ignore():
            key = IdempotencyKey.objects.get(order=orders[kind])
            IdempotencyKey.objects.filter(pk=key.pk).update(response_body=key.response_body + " ")

        assert violated(client) == {
            "acknowledged_answers_are_remembered": [orders[kind].order_number]
        }

    def test_that_was_never_written_down_is_found(self, client, orders):
        with pgtrigger.ignore():
            IdempotencyKey.objects.filter(order=orders["paid"]).update(
                response_status=None, response_body="", answered_at=None
            )

        assert violated(client) == {
            "acknowledged_answers_are_remembered": [orders["paid"].order_number]
        }

    def test_is_not_missed_once_its_key_is_gone(self, client, orders):
        with pgtrigger.ignore():
            Order.objects.filter(pk=orders["paid"].pk).update(idempotency_key=None)
            IdempotencyKey.objects.filter(key="paid").delete()

        assert violated(client) == {}


def test_two_orders_of_one_key_are_found(client, orders):
    client.write(heard="paid", status=202, order=orders["debit"].order_number, digest="0" * 64)

    assert violated(client) == {
        "acknowledged_orders_exist": [orders["debit"].order_number],
        "acknowledged_keys_name_one_order": ["key paid"],
    }


def test_a_long_journal_is_looked_up_in_parts(client, orders, monkeypatch):
    monkeypatch.setattr(journal, "CHUNK", 2)
    client.write(heard="lost", status=201, order="GONE-GONE-22", digest="0" * 64)

    assert violated(client) == {"acknowledged_orders_exist": ["GONE-GONE-22"]}
