"""POST /feeds/stock: a warehouse's counts, all or nothing, each feed once, no promise broken."""

from __future__ import annotations

import threading

import pytest
from django.db import connection
from django.test import Client

from audit.models import AuditLog
from config import env
from integrations.fulfilment.stock_feed import REASON
from inventory.models import StockDocument, StockLevel, StockMovement
from tests import factories
from tests.shop import Shopper, access_token

pytestmark = pytest.mark.django_db

TOKEN = "sesame-of-the-main-building"
EAST = "sesame-of-the-east-building"


@pytest.fixture(autouse=True)
def _building(settings):
    settings.FULFILMENT_FEED_TOKENS = [("MAIN", TOKEN), ("EAST", EAST), ("GONE", EAST)]
    factories.open_shop()
    factories.WarehouseFactory(code="EAST", name="East")


@pytest.fixture
def mug():
    return factories.ProductFactory(sku="MUG", on_hand=5)


@pytest.fixture
def pot():
    return factories.ProductFactory(sku="POT", on_hand=2)


def feed(*items, feed_id="feed-1", warehouse="MAIN"):
    return {"feed_id": feed_id, "warehouse": warehouse, "items": list(items)}


def send(body, token=TOKEN, **headers):
    headers = headers or {"Authorization": f"Bearer {token}"}
    return Client().post(
        "/api/v1/feeds/stock", data=body, content_type="application/json", headers=headers
    )


def item(sku, on_hand, **more):
    return {"sku": sku, "on_hand": on_hand, **more}


def on_hand(sku, warehouse="MAIN"):
    level = StockLevel.objects.get(product__sku=sku, warehouse__code=warehouse)
    return level.on_hand


def promise(sku, quantity):
    level = StockLevel.objects.get(product__sku=sku)
    StockLevel.objects.filter(pk=level.pk).update(allocated=quantity)


def error(answer):
    return answer.status_code, answer.json()["error"]["code"]


class TestApply:
    def test_sets_what_is_on_hand_and_says_so_in_movements(self, mug, pot):
        answer = send(feed(item("MUG", 9), item("POT", 2)))

        document = StockDocument.objects.get()
        assert answer.status_code == 200
        assert answer.json() == {
            "feed_id": "feed-1",
            "warehouse": "MAIN",
            "document": document.pk,
            "lines": 2,
            "changed": 1,
        }
        assert (on_hand("MUG"), on_hand("POT")) == (9, 2)
        moved = StockMovement.objects.filter(document=document)
        assert set(moved.values_list("kind", "quantity", "reason")) == {
            ("count", 4, REASON),
            ("count", 0, REASON),
        }
        rows = AuditLog.objects.filter(event_type="STOCK_COUNTED")
        assert {(row.data["before"]["on_hand"], row.data["after"]["on_hand"]) for row in rows} == {
            (5, 9),
            (2, 2),
        }

    def test_begins_a_level_where_there_was_none(self, mug):
        assert send(feed(item("MUG", 7), warehouse="EAST"), token=EAST).status_code == 200

        assert (on_hand("MUG", "EAST"), on_hand("MUG", "MAIN")) == (7, 5)

    def test_keeps_promises(self, mug):
        promise("MUG", 3)

        assert send(feed(item("MUG", 3))).status_code == 200

        level = StockLevel.objects.get(product=mug)
        assert (level.on_hand, level.allocated) == (3, 3)

    def test_takes_an_id_that_looks_like_a_cards_number(self, mug):
        assert send(feed(item("MUG", 1), feed_id="4242424242424242")).status_code == 200


class TestRepeated:
    def test_answers_the_same_and_changes_nothing(self, mug):
        first = send(feed(item("MUG", 9)))
        send(feed(item("MUG", 4), feed_id="feed-2"))

        again = send(feed(item("MUG", 9)))

        assert (again.status_code, again.json()) == (200, first.json())
        assert on_hand("MUG") == 4
        assert StockDocument.objects.count() == 2

    def test_with_other_counts_is_refused(self, mug):
        send(feed(item("MUG", 9)))

        answer = send(feed(item("MUG", 8)))

        assert error(answer) == (422, "IDEMPOTENCY_KEY_REUSED")
        assert on_hand("MUG") == 9

    def test_of_another_building_is_another_feed(self, mug):
        send(feed(item("MUG", 9)))

        assert send(feed(item("MUG", 8), warehouse="EAST"), token=EAST).status_code == 200
        assert (on_hand("MUG", "MAIN"), on_hand("MUG", "EAST")) == (9, 8)

    def test_after_a_refusal_is_a_fresh_try(self, mug):
        promise("MUG", 3)
        assert send(feed(item("MUG", 1))).status_code == 400

        assert send(feed(item("MUG", 4))).status_code == 200
        assert on_hand("MUG") == 4


class TestRefused:
    def test_tells_every_bad_line_and_applies_none(self, mug, pot):
        promise("MUG", 3)

        answer = send(feed(item("POT", 7), item("MUG", 2)))

        assert error(answer) == (400, "VALIDATION_FAILED")
        good, bad = answer.json()["error"]["details"]["items"]
        assert good == {}
        assert "3 are promised" in bad["on_hand"][0]
        assert (on_hand("MUG"), on_hand("POT")) == (5, 2)
        assert not StockDocument.objects.exists()

    def test_tells_unknown_products(self, mug):
        answer = send(feed(item("MUG", 7), item("NONE", 1), item("NADA", 1)))

        assert answer.json()["error"]["details"]["items"] == [
            {},
            {"sku": ["There is no such product."]},
            {"sku": ["There is no such product."]},
        ]
        assert on_hand("MUG") == 5

    def test_tells_what_was_not_expected(self, mug):
        answer = send(feed(item("MUG", 7, expected=4)))

        assert "4 were on hand" in str(answer.json()["error"]["details"])
        assert on_hand("MUG") == 5

    def test_is_on_record_for_staff(self, mug):
        send(feed(item("NONE", 1)))

        row = AuditLog.objects.get(event_type="STOCK_FEED_REFUSED")
        assert row.entity_type == "warehouse"
        assert row.data == {
            "feed": "feed-1",
            "lines": 1,
            "bad": 1,
            "problems": [{"line": "NONE", "sku": ["There is no such product."]}],
        }

    @pytest.mark.parametrize(
        "wrong",
        [
            {"items": []},
            {"items": "MUG"},
            {"items": [item("MUG", -1)]},
            {"items": [item("MUG", 1.5)]},
            {"items": [item("MUG", True)]},
            {"items": [item("MUG", "5")]},
            {"items": [item("MUG", 10**12)]},
            {"items": [item("MUG", 1), item("MUG", 2)]},
            {"items": [item("MUG", 1) | {"colour": "blue"}]},
            {"items": [item("MUG", n) for n in range(2_001)]},
            {"feed_id": ""},
            {"feed_id": "x" * 101},
            {"feed_id": 7},
            {"more": 1},
        ],
    )
    def test_of_a_body_that_makes_no_sense(self, mug, wrong):
        answer = send(feed(item("MUG", 7)) | wrong)

        assert error(answer) == (400, "VALIDATION_FAILED")
        assert on_hand("MUG") == 5
        assert not StockDocument.objects.exists()

    def test_of_a_building_that_there_is_not(self, mug):
        answer = send(feed(item("MUG", 7), warehouse="GONE"), token=EAST)

        assert answer.json()["error"]["details"] == {"warehouse": ["There is no such warehouse."]}


class TestToken:
    @pytest.mark.parametrize(
        "header",
        ["", "Bearer", "Bearer nobodys-token-at-all-here", f"Basic {TOKEN}", f"Bearer {TOKEN}x"],
    )
    def test_that_is_nobodys_is_refused(self, mug, header):
        answer = send(feed(item("MUG", 7)), Authorization=header)

        assert error(answer) == (401, "NOT_AUTHENTICATED")
        assert answer["WWW-Authenticate"] == "Bearer"
        assert on_hand("MUG") == 5

    def test_of_a_customer_is_none(self, mug):
        token = access_token(factories.CustomerFactory(is_staff=True, is_superuser=True))

        assert send(feed(item("MUG", 7)), token=token).status_code == 401

    def test_of_another_building_is_for_that_one_alone(self, mug):
        answer = send(feed(item("MUG", 7)), token=EAST)

        assert error(answer) == (403, "PERMISSION_DENIED")
        assert on_hand("MUG") == 5

    def test_opens_nothing_else(self, mug):
        shopper = Shopper()
        shopper.headers["Authorization"] = f"Bearer {TOKEN}"

        assert shopper.get("/me").status_code == 401

    @pytest.mark.parametrize("value", ["MAIN", "MAIN=short", "=sesame-of-the-main-building"])
    def test_that_is_none_stops_the_start_and_is_not_shown(self, monkeypatch, value):
        monkeypatch.setenv("FULFILMENT_FEED_TOKEN", value)

        with pytest.raises(env.ConfigurationError) as stopped:
            env.tokens("FULFILMENT_FEED_TOKEN")

        assert "sesame" not in str(stopped.value)


@pytest.mark.concurrency
@pytest.mark.django_db(transaction=True)
def test_the_same_feed_at_once_is_applied_once(mug, pot):
    start, answers = threading.Barrier(4), []

    def run():
        start.wait()
        try:
            answers.append(send(feed(item("MUG", 9), item("POT", 1))))
        finally:
            connection.close()

    senders = [threading.Thread(target=run) for _ in range(4)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(30)

    assert [answer.status_code for answer in answers] == [200] * 4
    assert len({answer.content for answer in answers}) == 1
    assert StockDocument.objects.count() == 1
    assert (on_hand("MUG"), on_hand("POT")) == (9, 1)
