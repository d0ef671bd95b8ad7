"""What POST /orders refuses to read; whose orders one sees; and taking an order back."""

from __future__ import annotations

import copy
import itertools
import json
from collections import defaultdict
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from audit.models import AuditLog, OutboxMessage
from inventory.models import Reservation, StockLevel
from orders.models import IdempotencyKey, Order
from orders.services import recovery
from payments.models import LedgerEntry, Payment, Refund
from tests import factories
from tests.shop import ADDRESS, Shopper, order_of

CARD = "4242 4242 4242 4242"
REQUIRES_3DS = "pm_card_threeDSecure2Required"
REFUNDS = "/v1/refunds"
_keys = itertools.count()


@pytest.fixture
def apple(shop):
    return factories.ProductFactory(sku="APPLE", price="19.99", on_hand=500)


@pytest.fixture
def untouched(apple, provider):
    """Nothing happened: not a row, not a unit, not a call."""
    requests.delete(f"{provider.base_url}/_test/journal", timeout=5).raise_for_status()

    def check():
        for model in (Order, IdempotencyKey, Payment, Reservation, OutboxMessage, LedgerEntry):
            assert not model.objects.exists(), model
        assert not AuditLog.objects.filter(event_type="ORDER_CREATED").exists()
        assert set(StockLevel.objects.values_list("allocated", flat=True)) == {0}
        assert provider._get("/_test/journal")["requests"] == []

    return check


def good_body(**changes):
    return {
        "items": [{"sku": "APPLE", "quantity": 1}],
        "payment_method_id": "pm_card_visa",
        "shipping_address": dict(ADDRESS),
        **changes,
    }


MISSING = object()


def body_with(path, value):
    """A good body with one thing in it replaced, or left out."""
    body = copy.deepcopy(good_body())
    *parents, last = path.split(".")
    place = body
    for step in parents:
        place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
    if value is MISSING:
        del place[last]
    else:
        place[last] = value
    return body


def post(who, raw, *, content_type="application/json", **headers):
    """The bytes as they are."""
    return who.client.post(
        "/api/v1/orders",
        data=raw,
        content_type=content_type,
        headers={"Idempotency-Key": f"input-{next(_keys)}", **who.headers, **headers},
    )


def refused(answer, *, status=400, code="VALIDATION_FAILED"):
    """The envelope's `details`."""
    assert answer.status_code == status, answer.content
    body = answer.json()
    assert set(body) == {"success", "error", "request_id"}
    assert body["success"] is False
    assert body["request_id"] == answer["X-Request-ID"]
    assert body["error"]["code"] == code
    return body["error"]["details"]


def named(details, path):
    """The messages at a path such as `items.0.quantity`."""
    place = details
    for step in path.split("."):
        place = place[int(step)] if isinstance(place, list) else place[step]
    return place


QUANTITIES = [
    0,
    -1,
    10_000,
    2**31,
    2**63,
    10**4_000,
    1.0,
    1.5,
    "1",
    True,
    None,
    "\uff11\uff12",
    [],
    {},
]
MONEY: list[Any] = [
    0.1,
    1,
    True,
    None,
    "",
    "1,00",
    "1e3",
    "NaN",
    "sNaN",
    "Infinity",
    "-0.00",
    "-1.00",
    "+1.00",
    " 1.00",
    "1.234",
    ".50",
    "01.00",
    "10000000.00",
    "\u0663.\u0660\u0660",
    [],
]
BAD_TEXTS = ["a\x00b", "a\ud800b", "a\x1bb", "a\x7fb", "a\u0085b", "a\u202eb", "a\u2028b", "a\rb"]
ASSIGNED = [
    "status",
    "total",
    "total_amount",
    "subtotal",
    "price",
    "discount",
    "discount_amount",
    "user_id",
    "customer_id",
    "is_staff",
    "is_superuser",
    "created_at",
    "order_number",
    "payment_intent_id",
    "payment_status",
    "id",
]
BAD_URLS = [
    "https://evil.test/",
    "//evil.test/",
    "/orders",
    "javascript:alert(1)",
    "http://127.0.0.1:8000@evil.test/",
    "http://127.0.0.1:8000.evil.test/",
    "http://127.0.0.1:8000\\@evil.test/",
    "HTTP://[::1",
    "x" * 2_001,
    5,
]

BAD_FIELDS: list[tuple[str, Any]] = [
    *(("items.0.quantity", value) for value in QUANTITIES),
    ("items.0.quantity", MISSING),
    *(("items.0.sku", value) for value in (5, None, "", "x" * 101, [], {}, True, MISSING)),
    *(("items.0.sku", value) for value in BAD_TEXTS),
    ("items.0.price", "0.01"),
    ("items.0.unit_price", "0.01"),
    ("items.0.discount_amount", "19.98"),
    *(("items", value) for value in ([], {}, "APPLE", None, 5, MISSING)),
    *(("expected_total", value) for value in MONEY),
    *(("currency", value) for value in ("usd", "US", "XXX", "KWD", "EURO", 840, None, "")),
    ("notes", "x" * 2_001),
    ("notes", 5),
    ("notes", None),
    ("notes", []),
    ("notes", {"a": 1}),
    *(("notes", value) for value in BAD_TEXTS),
    *(("payment_method_id", value) for value in (None, "", 5, MISSING, "pm_", "card_visa")),
    *(("payment_method_id", f"pm_{value}") for value in ("x" * 251, "a b", "é", "a-b", "a\nb")),
    *(("shipping_address", value) for value in (None, [], "1 Main Street", 5, MISSING)),
    *(
        (f"shipping_address.{name}", value)
        for name in ("name", "line1", "city", "postal_code", "country")
        for value in (MISSING, None, "", 5, "x" * 201)
    ),
    *(("shipping_address.line1", value) for value in [*BAD_TEXTS, "a\nb", "a\tb"]),
    *(("shipping_address.country", value) for value in ("us", "XX", "USA", "ZZ", "EU")),
    *(("shipping_address.phone", value) for value in ("call me", "1", "+1" * 15, 5, None)),
    *(("shipping_address.state", value) for value in ("x" * 101, 5)),
    ("shipping_address.is_verified", True),
    ("billing_address.country", "XX"),
    *(("shipping_method", value) for value in ("teleport", "", 5, None, "x" * 31)),
    *(("coupon_code", value) for value in ("x" * 51, 5, None, "")),
    *(("return_url", value) for value in BAD_URLS),
    *((name, "1") for name in ASSIGNED),
    *(
        (path, CARD)
        for path in (
            "notes",
            "items.0.sku",
            "shipping_address.name",
            "shipping_address.line1",
            "shipping_address.city",
            "coupon_code",
            "shipping_method",
            "payment_method_id",
            "return_url",
        )
    ),
]


def by_path():
    """Every path with all its bad values: one shopper may try them one after the other."""
    values = defaultdict(list)
    for path, value in BAD_FIELDS:
        values[path].append(value)
    return [pytest.param(path, tried, id=path) for path, tried in values.items()]


class TestABadField:
    @pytest.mark.parametrize(("path", "values"), by_path())
    def test_is_named_and_never_repeated_and_nothing_happens(
        self, shopper, untouched, path, values
    ):
        for value in values:
            answer = post(shopper, json.dumps(body_with(path, value)))

            details = refused(answer)
            assert list(details) == [path.split(".")[0]], value
            assert named(details, path), value
            if isinstance(value, str) and len(value) > 4:
                told = json.dumps(answer.json(), ensure_ascii=False)
                assert value[:40] not in told
            untouched()

    def test_of_a_guest_is_named_too(self, guest, untouched):
        good = {"email": "g@example.com", "first_name": "Grace", "last_name": "Hopper"}
        bad = {
            "email": ["", "no address", "a@b", f"{'x' * 250}@example.com", 5, None, MISSING],
            "first_name": ["", "x" * 101, CARD, "a\x00b", 5, None, MISSING],
            "last_name": ["", 5, None, MISSING],
            "is_staff": [True],
        }
        for name, values in bad.items():
            for value in values:
                who = {**good, name: value}
                who = {key: held for key, held in who.items() if held is not MISSING}

                details = refused(post(guest, json.dumps(good_body(customer=who))))

                assert set(details["customer"]) == {name}, (name, value)
        untouched()

    def test_beside_others_is_named_beside_them(self, shopper, untouched):
        body = good_body(
            items=[{"sku": "APPLE", "quantity": 1}, {"sku": "", "quantity": "2"}],
            currency="usd",
            status="confirmed",
        )

        details = refused(post(shopper, json.dumps(body)))

        assert set(details) == {"items", "currency", "status"}
        assert details["items"][0] == {}
        assert set(details["items"][1]) == {"sku", "quantity"}
        untouched()


class TestTheLines:
    def test_may_be_a_hundred_but_not_one_more(self, shopper, untouched):
        lines = [{"sku": f"SKU-{number}", "quantity": 1} for number in range(101)]

        details = refused(post(shopper, json.dumps(good_body(items=lines))))

        assert set(details) == {"items"}
        untouched()

    def test_of_a_million_are_refused_by_size(self, shopper, untouched):
        raw = b'{"items": [' + b"1," * 200_000 + b"1]}"

        refused(post(shopper, raw), status=413, code="PAYLOAD_TOO_LARGE")
        untouched()

    def test_name_each_product_once(self, shopper, untouched):
        lines = [{"sku": sku, "quantity": 1} for sku in ("APPLE", "PEAR", "APPLE")]

        details = refused(post(shopper, json.dumps(good_body(items=lines))))

        assert details["items"][:2] == [{}, {}]
        assert set(details["items"][2]) == {"sku"}
        untouched()

    @pytest.mark.parametrize("sku", ["NOTHING", "OFF", "apple", "' OR 1=1 --"])
    def test_are_of_products_that_are_sold(self, shopper, untouched, sku):
        factories.ProductFactory(sku="OFF", is_active=False)
        lines = [{"sku": "APPLE", "quantity": 1}, {"sku": sku, "quantity": 1}]

        details = refused(post(shopper, json.dumps(good_body(items=lines))))

        assert details["items"][0] == {}
        assert set(details["items"][1]) == {"sku"}
        untouched()

    def test_cost_at_most_what_the_books_can_hold(self, shopper, untouched):
        factories.ProductFactory(sku="GOLD", price="9999.99", on_hand=9_999)
        lines = [{"sku": "GOLD", "quantity": 9_999}]

        details = refused(post(shopper, json.dumps(good_body(items=lines))))

        assert set(details) == {"items"}
        untouched()

    def test_that_cost_nothing_are_nothing_to_charge(self, shopper, untouched):
        factories.ProductFactory(sku="GIFT", price="0.00", on_hand=1)
        factories.ShippingMethodFactory(code="pickup", amount=0)
        body = good_body(items=[{"sku": "GIFT", "quantity": 1}], shipping_method="pickup")

        assert set(refused(post(shopper, json.dumps(body)))) == {"items"}
        untouched()

    def test_in_a_currency_without_prices_are_unknown(self, shopper, untouched):
        details = refused(post(shopper, json.dumps(good_body(currency="EUR"))))

        assert set(details) == {"items"}
        untouched()

    def test_digits_beyond_the_currency_are_refused(self, shopper, untouched):
        body = good_body(currency="JPY", expected_total="19.99")

        assert set(refused(post(shopper, json.dumps(body)))) == {"expected_total"}
        untouched()


GOOD = json.dumps(good_body())


class TestABadBody:
    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"[]",
            b"null",
            b"{",
            b'"text"',
            GOOD.encode() + b"x",
            GOOD.encode() + GOOD.encode(),
            b"\xef\xbb\xbf" + GOOD.encode(),
            GOOD.encode("utf-16"),
            GOOD.encode("utf-32"),
            GOOD.replace("Ada", "Ad\xe9").encode("latin-1"),
            b"[" * 20_000,
            b'{"items":' * 20_000,
            GOOD.replace('"quantity": 1', '"quantity": NaN').encode(),
            GOOD.replace('"quantity": 1', '"quantity": Infinity').encode(),
            GOOD.replace('"quantity": 1', '"quantity": 1e400').encode(),
            GOOD.replace('"quantity": 1', '"quantity": ' + "9" * 5_000).encode(),
            GOOD.replace('"quantity": 1', '"quantity": 1, "quantity": 2').encode(),
            GOOD.replace('"items"', '"notes": "a", "notes": "b", "items"').encode(),
            GOOD.replace('"items"', '"notes": "\\ud800", "items"').encode(),
            GOOD.replace('"items"', '"no\\u0000tes": "x", "items"').encode(),
        ],
        ids=lambda raw: raw[:12].decode("latin-1").encode("unicode_escape").decode(),
    )
    def test_is_400_and_nothing_happens(self, shopper, untouched, raw):
        refused(post(shopper, raw))
        untouched()

    @pytest.mark.parametrize(
        "content_type",
        [
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/xml",
            "text/plain",
            "application/json; charset=utf-16",
            "application/json; charset=utf-7",
            "application/merge-patch+json",
        ],
    )
    def test_of_another_kind_is_415(self, shopper, untouched, content_type):
        answer = post(shopper, GOOD, content_type=content_type)

        refused(answer, status=415, code="UNSUPPORTED_MEDIA_TYPE")
        untouched()

    @pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "x-unheard-of"])
    def test_that_is_compressed_is_415(self, shopper, untouched, encoding):
        answer = post(shopper, GOOD, **{"Content-Encoding": encoding})

        refused(answer, status=415, code="UNSUPPORTED_MEDIA_TYPE")
        untouched()

    def test_above_the_cap_is_413(self, shopper, untouched):
        raw = json.dumps(good_body(notes="x" * 262_144))

        refused(post(shopper, raw), status=413, code="PAYLOAD_TOO_LARGE")
        untouched()


class TestTheRequestItself:
    @pytest.mark.parametrize("method", ["put", "patch", "delete", "options", "trace"])
    def test_knows_two_methods(self, shopper, untouched, method):
        answer = getattr(shopper.client, method)("/api/v1/orders", headers=shopper.headers)

        refused(answer, status=405, code="METHOD_NOT_ALLOWED")
        untouched()

    @pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-Method-Override"])
    def test_is_what_its_method_says(self, shopper, untouched, name):
        answer = post(shopper, "{}", **{name: "GET"})

        assert set(refused(answer)) >= {"items"}
        untouched()

    @pytest.mark.parametrize("key", ["a\r\nX-Evil: 1", "a\nb", "x" * 300, "ключ", "a b", ""])
    def test_needs_a_key_that_is_one(self, shopper, untouched, key):
        answer = post(shopper, GOOD, **{"Idempotency-Key": key})

        refused(answer, code="IDEMPOTENCY_KEY_MISSING")
        assert "X-Evil" not in answer
        untouched()

    def test_of_nobody_is_401(self, guest, untouched):
        refused(post(guest, GOOD), status=401, code="NOT_AUTHENTICATED")
        untouched()

    @pytest.mark.parametrize("token", ["nonsense", "", "a.b.c", "Bearer", "é"])
    def test_with_a_bad_token_is_401_even_with_a_customer(self, guest, untouched, token):
        who = {"email": "g@example.com", "first_name": "Grace", "last_name": "Hopper"}

        answer = post(guest, json.dumps(good_body(customer=who)), Authorization=f"Bearer {token}")

        refused(answer, status=401, code="NOT_AUTHENTICATED")
        untouched()

    def test_with_token_and_customer_is_one_too_many(self, shopper, untouched):
        who = {"email": "g@example.com", "first_name": "Grace", "last_name": "Hopper"}

        assert set(refused(post(shopper, json.dumps(good_body(customer=who))))) == {"customer"}
        untouched()

    def test_of_a_suspended_customer_is_403(self, shopper, untouched):
        shopper.customer.status = "suspended"
        shopper.customer.save()

        refused(post(shopper, GOOD), status=403, code="INACTIVE_CUSTOMER")
        untouched()


class TestUnusualButRight:
    """Strict is not narrow: this is what real people are called and write."""

    def test_names_and_notes_of_any_script_are_kept_in_nfc(self, shopper, apple):
        address = {**ADDRESS, "name": "José 😀 العربية 日本", "line1": "Stra\u00dfe 1"}

        answer = shopper.order(
            ("APPLE", 1), shipping_address=address, notes="One\n\tTwo\n{{7*7}} <b>%s</b>"
        )

        assert answer.status_code == 201
        assert answer.json()["shipping_address"]["name"] == "José 😀 العربية 日本"
        assert answer.json()["notes"] == "One\n\tTwo\n{{7*7}} <b>%s</b>"

    def test_a_hundred_lines_and_the_longest_of_everything(self, shopper, apple):
        many = [(factories.ProductFactory().sku, 1) for _ in range(100)]
        address = {**ADDRESS, "name": "n" * 100, "line1": "l" * 200, "city": "c" * 100}

        answer = shopper.order(*many, shipping_address=address, notes="x" * 2_000, key="k" * 255)

        assert answer.status_code == 201, answer.content
        assert len(answer.json()["items"]) == 100


# --- reading orders -----------------------------------------------------------------------------


def order_numbers(answer):
    assert answer.status_code == 200, answer.content
    return [order["order_number"] for order in answer.json()["results"]]


class TestTheListOfOrders:
    @pytest.fixture
    def placed(self, shopper, apple):
        """Three orders: confirmed, declined, and one that waits for 3-D Secure."""
        answers = [
            shopper.order(("APPLE", 1)),
            shopper.order(("APPLE", 1), payment_method_id="pm_card_visa_chargeDeclined"),
            shopper.order(("APPLE", 1), payment_method_id=REQUIRES_3DS),
        ]
        return [order_of(answer) for answer in answers]

    def test_is_ones_own_newest_first_as_each_is_read(self, shopper, placed):
        answer = shopper.get("/orders")

        assert order_numbers(answer) == [order.order_number for order in placed[::-1]]
        for shown_order in answer.json()["results"]:
            assert shopper.get(f"/orders/{shown_order['order_number']}").json() == shown_order

    @pytest.mark.parametrize(
        ("status", "indexes"),
        [("confirmed", [0]), ("cancelled", [1]), ("pending", [2]), ("shipped", [])],
    )
    def test_by_status(self, shopper, placed, status, indexes):
        found = order_numbers(shopper.get("/orders", status=status))

        assert found == [placed[index].order_number for index in indexes]

    def test_by_time_without_the_instants_themselves(self, shopper, placed):
        early, middle, late = placed
        for days, order in enumerate(placed, start=1):  # one test is one instant to the database
            order.created_at += timedelta(days=days)
            order.save(update_fields=["created_at"])

        def at(order):
            return order.created_at.isoformat()

        after = shopper.get("/orders", created_after=at(early))
        before = shopper.get("/orders", created_before=at(late))
        between = shopper.get("/orders", created_after=at(early), created_before=at(late))

        assert order_numbers(after) == [late.order_number, middle.order_number]
        assert order_numbers(before) == [middle.order_number, early.order_number]
        assert order_numbers(between) == [middle.order_number]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("status", "paid"),
            ("status", "confirmed' OR 1=1 --"),
            ("created_after", "yesterday"),
            ("created_after", "2026-13-01T00:00:00Z"),
            ("created_before", "99999-01-01T00:00:00Z"),
            ("page_size", "-1"),
            ("cursor", "forged"),
        ],
    )
    def test_refuses_bad_values_by_name(self, shopper, placed, name, value):
        answer = shopper.get("/orders", **{name: value})

        assert set(refused(answer)) == {name}
        assert value not in answer.content.decode() or len(value) < 5

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("user", "1"),
            ("customer", "1"),
            ("expand", "user"),
            ("fields", "password"),
            ("ordering", "customer__password"),
        ],
    )
    def test_ignores_what_it_does_not_know(self, shopper, placed, name, value):
        plain, with_more = shopper.get("/orders"), shopper.get("/orders", **{name: value})

        assert with_more.json()["results"] == plain.json()["results"]

    def test_comes_in_pages(self, shopper, placed):
        first = shopper.get("/orders", page_size="2").json()

        parts = urlsplit(first["next"])
        second = shopper.client.get(f"{parts.path}?{parts.query}", headers=shopper.headers).json()

        assert [len(page["results"]) for page in (first, second)] == [2, 1]
        assert second["next"] is None
        numbers = [order["order_number"] for order in first["results"] + second["results"]]
        assert numbers == [order.order_number for order in placed[::-1]]

    def test_is_nobody_elses(self, shopper, placed):
        other = Shopper(factories.CustomerFactory())

        assert order_numbers(other.get("/orders")) == []
        for order in placed:
            theirs = other.get(f"/orders/{order.order_number}")
            unknown = other.get("/orders/K7M2-Q9XD-22")
            assert refused(theirs, status=404, code="NOT_FOUND") is None
            assert theirs.json()["error"] == unknown.json()["error"]
            for action in ("confirm", "cancel"):
                answer = other.post(f"/orders/{order.order_number}/{action}")
                refused(answer, status=404, code="NOT_FOUND")
        placed[0].refresh_from_db()
        assert placed[0].status == "confirmed"

    def test_needs_a_token(self, guest, placed):
        refused(guest.get("/orders"), status=401, code="NOT_AUTHENTICATED")

    def test_costs_as_many_queries_for_ten_as_for_one(self, shopper, apple):
        shopper.order(("APPLE", 1))
        with CaptureQueriesContext(connection) as for_one:
            assert len(order_numbers(shopper.get("/orders"))) == 1
        for _ in range(9):
            shopper.order(("APPLE", 1))

        with CaptureQueriesContext(connection) as for_ten:
            assert len(order_numbers(shopper.get("/orders"))) == 10

        assert len(for_ten) <= len(for_one)

    @pytest.mark.parametrize("number", ["%00", "..%2f..", "x" * 300, "' OR 1=1 --", "é"])
    def test_knows_no_order_of_a_nonsense_number(self, shopper, apple, number):
        answer = shopper.client.get(f"/api/v1/orders/{number}", headers=shopper.headers)

        refused(answer, status=404, code="NOT_FOUND")


# --- cancelling ---------------------------------------------------------------------------------


def cancel(who, order, **body):
    return who.post(f"/orders/{order.order_number}/cancel", body)


class TestCancellingAPaidOrder:
    @pytest.fixture
    def order(self, shopper, apple):
        return order_of(shopper.order(("APPLE", 2)))

    def test_gives_money_and_stock_back(self, shopper, provider, order):
        answer = cancel(shopper, order, reason="changed my mind")

        assert answer.status_code == 200
        body = answer.json()
        assert (body["status"], body["payment_status"]) == ("cancelled", "refunded")
        assert body["refunded_amount"] == body["total_amount"]
        assert StockLevel.objects.get().allocated == 0
        assert order.reservations.get().status == "released"
        payment = order.payments.get()
        assert payment.amount_refunded == payment.amount_received == Decimal(body["total_amount"])
        refunds = provider.refunds_of(payment.payment_intent_id)
        assert [refund["amount"] for refund in refunds] == [int(payment.amount * 100)]
        entries = LedgerEntry.objects.filter(account="stripe_balance").values_list("amount")
        assert sum(amount for (amount,) in entries) == 0
        refund = Refund.objects.get()
        assert (refund.reason, refund.requested_by) == ("changed my mind", shopper.customer)
        assert AuditLog.objects.filter(event_type="ORDER_CANCELLED").count() == 1

    def test_again_answers_the_same_and_does_nothing_more(self, shopper, provider, order):
        first = cancel(shopper, order)

        again = [cancel(shopper, order) for _ in range(2)]

        assert [(a.status_code, a.json()) for a in again] == [(200, first.json())] * 2
        assert len(provider.refunds_of(order.payments.get().payment_intent_id)) == 1
        assert AuditLog.objects.filter(event_type="ORDER_CANCELLED").count() == 1

    def test_by_a_guest_takes_the_guests_token(self, guest, apple):
        placed = guest.order(("APPLE", 1)).json()
        path = f"/orders/{placed['order_number']}/cancel"

        refused(guest.post(path), status=401, code="NOT_AUTHENTICATED")
        refused(guest.post(f"{path}?token=wrong"), status=404, code="NOT_FOUND")
        answer = guest.post(f"{path}?token={placed['guest_token']}")

        assert (answer.status_code, answer.json()["payment_status"]) == (200, "refunded")

    @pytest.mark.parametrize("status", ["shipped", "delivered", "refunded"])
    def test_that_has_left_the_house_is_409(self, shopper, provider, order, status):
        for step in ("shipped", "delivered", "refunded"):
            Order.objects.filter(pk=order.pk).update(status=step)
            if step == status:
                break

        answer = cancel(shopper, order)

        refused(answer, status=409, code="INVALID_TRANSITION")
        assert not Refund.objects.exists()
        assert provider.refunds_of(order.payments.get().payment_intent_id) == []
        assert StockLevel.objects.get().allocated == 2

    @pytest.mark.parametrize("fault", ["drop", "answer_lost", "error_after", "unavailable"])
    def test_whose_refund_is_delayed_is_202_until_it_is_done(self, shopper, provider, order, fault):
        provider.fail(fault, path=REFUNDS)

        first = cancel(shopper, order)

        assert first.status_code == 202
        assert (first.json()["status"], first.json()["payment_status"]) == (
            "cancelled",
            "succeeded",
        )
        assert StockLevel.objects.get().allocated == 0
        recovery.sweep(ignore_backoff=True)
        again = cancel(shopper, order)
        assert (again.status_code, again.json()["payment_status"]) == (200, "refunded")
        assert len(provider.refunds_of(order.payments.get().payment_intent_id)) == 1

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"reason": "x" * 201}, "reason"),
            ({"reason": 5}, "reason"),
            ({"reason": None}, "reason"),
            ({"reason": CARD}, "reason"),
            ({"reason": "a\nb"}, "reason"),
            ({"amount": "1.00"}, "amount"),
        ],
    )
    def test_with_a_bad_body_cancels_nothing(self, shopper, order, body, field):
        answer = cancel(shopper, order, **body)

        assert set(refused(answer)) == {field}
        order.refresh_from_db()
        assert order.status == "confirmed"

    def test_of_a_suspended_customer_is_403(self, shopper, order):
        shopper.customer.status = "suspended"
        shopper.customer.save()

        refused(cancel(shopper, order), status=403, code="INACTIVE_CUSTOMER")
        assert shopper.get(f"/orders/{order.order_number}").status_code == 200


class TestCancellingAPendingOrder:
    @pytest.fixture
    def order(self, shopper, apple):
        return order_of(shopper.order(("APPLE", 1), payment_method_id=REQUIRES_3DS))

    def test_cancels_the_intent_first(self, shopper, provider, order):
        answer = cancel(shopper, order)

        assert answer.status_code == 200
        body = answer.json()
        assert (body["status"], body["payment_status"]) == ("cancelled", "cancelled")
        assert StockLevel.objects.get().allocated == 0
        intent_id = order.payments.get().payment_intent_id
        assert provider.intent(intent_id)["status"] == "canceled"
        assert not Refund.objects.exists()
        assert cancel(shopper, order).status_code == 200

    @pytest.mark.parametrize("fault", ["drop", "unavailable", "error_before"])
    def test_keeps_the_stock_while_the_provider_says_nothing(self, shopper, provider, order, fault):
        provider.fail(fault, path="/v1/payment_intents/*/cancel")

        first = cancel(shopper, order)

        assert (first.status_code, first.json()["status"]) == (202, "pending")
        assert StockLevel.objects.get().allocated == 1
        assert cancel(shopper, order).status_code == 200
        assert StockLevel.objects.get().allocated == 0

    def test_that_was_paid_meanwhile_is_refunded(self, shopper, provider, order):
        intent_id = order.payments.get().payment_intent_id
        provider.act(intent_id, "succeed")

        answer = cancel(shopper, order)

        assert answer.status_code == 200
        body = answer.json()
        assert (body["status"], body["payment_status"]) == ("cancelled", "refunded")
        assert len(provider.refunds_of(intent_id)) == 1
        assert StockLevel.objects.get().allocated == 0

    def test_whose_bank_debit_is_under_way_is_409(self, shopper, apple):
        placed = shopper.order(("APPLE", 1), payment_method_id="pm_usBankAccount_success")
        assert placed.status_code == 202

        answer = cancel(shopper, order_of(placed))

        refused(answer, status=409, code="INVALID_TRANSITION")
        assert StockLevel.objects.get().allocated == 1

    def test_after_its_hold_is_over_is_as_before(self, shopper, order):
        Order.objects.update(hold_expires_at=timezone.now() - timedelta(minutes=1))

        assert cancel(shopper, order).json()["status"] == "cancelled"

    def test_whose_intent_was_never_made_needs_no_provider(self, shopper, apple, provider):
        provider.fail("drop", path="/v1/payment_intents")
        order = order_of(shopper.order(("APPLE", 1)))
        provider.fail("drop", path="*", method="*", times=None)

        answer = cancel(shopper, order)

        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        assert StockLevel.objects.get().allocated == 0
