"""The catalogue's answers that are kept: who gets which, for how long, and what never gets in."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from django.db import connection
from django.test import Client

from inventory.api import caching
from inventory.models import Price, Product, StockLevel
from tests import factories
from tests.shop import Shopper

pytestmark = pytest.mark.django_db

PRODUCTS = "/api/v1/products"
APPLE = f"{PRODUCTS}/APPLE"


class Clock:
    """Time as the cache sees it."""

    now = 1_000.0

    def __call__(self):
        return self.now

    def __iadd__(self, seconds):
        self.now += seconds
        return self


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(caching, "clock", clock)
    return clock


@pytest.fixture(autouse=True)
def apple():
    return factories.ProductFactory(sku="APPLE", name="Apple", price="1.00", on_hand=5)


def get(path, params=None, **headers):
    return Client().get(path, params or {}, headers=headers)


def kept():
    return len(caching.answers._kept)


class TestAnAnswerThatIsKept:
    @pytest.mark.parametrize("path", [PRODUCTS, APPLE, "/api/v1/categories"])
    def test_costs_no_statement_and_is_the_same_to_the_letter(
        self, clock, path, django_assert_num_queries
    ):
        first = get(path)

        with django_assert_num_queries(0):
            again = get(path)

        assert again.status_code == first.status_code == 200
        assert again.content == first.content
        own = {"X-Request-ID"}
        assert {k: v for k, v in again.items() if k not in own} == {
            k: v for k, v in first.items() if k not in own
        }
        assert again["X-Request-ID"] != first["X-Request-ID"]

    def test_is_not_shown_longer_than_a_change_may_take(self, clock, apple):
        assert caching.KEPT_SECONDS + caching.MAX_AGE_SECONDS < 2
        get(APPLE)
        Price.objects.filter(product=apple).update(amount="2.00")
        apple.price_breaks.create(currency="USD", min_quantity=10, amount="1.50")
        StockLevel.objects.filter(product=apple).update(allocated=4)
        clock += caching.KEPT_SECONDS - 0.01
        shown = get(APPLE).json()
        assert (shown["price"], shown["price_breaks"]) == ("1.00", [])

        clock += 0.02

        shown = get(APPLE).json()
        assert (shown["price"], shown["available_quantity"]) == ("2.00", 1)
        assert shown["price_breaks"] == [{"min_quantity": 10, "unit_price": "1.50"}]

    def test_is_as_old_as_the_work_on_it_not_as_its_end(self, clock, monkeypatch):
        slow = caching._public

        def slowly(response):
            clock.now += caching.KEPT_SECONDS + 0.01
            return slow(response)

        monkeypatch.setattr(caching, "_public", slowly)
        get(APPLE)
        monkeypatch.setattr(caching, "_public", slow)
        Product.objects.filter(sku="APPLE").update(name="Other")

        assert get(APPLE).json()["name"] == "Other"

    def test_is_304_to_whoever_has_it(self, clock, django_assert_num_queries):
        etag = get(APPLE)["ETag"]

        with django_assert_num_queries(0):
            answer = get(APPLE, **{"If-None-Match": etag})

        assert (answer.status_code, answer.content) == (304, b"")
        assert answer["ETag"] == etag
        assert not etag.startswith("W/")
        assert answer["Cache-Control"] == "public, max-age=1"
        whole = get(APPLE)
        assert set(whole.headers) - set(answer.headers) == {"Content-Type"}
        assert get(APPLE, **{"If-None-Match": '"other"'}).status_code == 200

    def test_serves_head_as_well(self, clock, django_assert_num_queries):
        first = get(APPLE)

        with django_assert_num_queries(0):
            head = Client().head(APPLE)

        assert (head.status_code, head.content) == (200, b"")
        assert head["ETag"] == first["ETag"]
        assert head["Content-Length"] == str(len(first.content))

    def test_is_logged_and_counted_by_its_route(self, clock, caplog):
        get(APPLE)
        caplog.clear()

        get(APPLE)

        (line,) = [record for record in caplog.records if record.name == "request"]
        assert line.msg["route"] == "/api/v1/products/{sku}"
        assert line.msg["status"] == 200

    def test_gets_the_headers_of_the_origin_that_asks(self, clock, settings):
        settings.CORS_ALLOWED_ORIGINS = ["https://one.test", "https://two.test"]

        origins = [
            get(APPLE, Origin=origin).headers.get("Access-Control-Allow-Origin")
            for origin in ("https://one.test", "https://two.test", "https://evil.test")
        ]

        assert origins == ["https://one.test", "https://two.test", None]
        assert get(APPLE).headers.get("Access-Control-Allow-Origin") is None
        for number in range(9):
            get(APPLE, Origin=f"https://evil{number}.test")
        assert kept() == 3


class TestOneAnswerForAll:
    def test_who_send_the_same_known_parameters(self, clock, django_assert_num_queries):
        first = get(f"{PRODUCTS}?in_stock=true&currency=USD")

        with django_assert_num_queries(0):
            again = get(f"{PRODUCTS}?junk=1&currency=EUR&currency=U%53D&in_stock=true&x=%3Cb%3E")

        assert again.content == first.content
        assert kept() == 1

    def test_is_not_grown_by_parameters_nobody_knows(self, clock):
        for number in range(50):
            get(APPLE, {f"junk{number}": "x" * 100})

        assert kept() == 1

    def test_holds_nothing_of_what_one_of_them_sent_besides(self, clock):
        factories.ProductFactory()

        poisoned = get(f"{PRODUCTS}?page_size=1&utm=evil&callback=evil")
        clean = get(f"{PRODUCTS}?page_size=1")

        assert b"evil" not in poisoned.content
        assert clean.content == poisoned.content

    def test_is_for_one_host_alone(self, clock, settings):
        settings.ALLOWED_HOSTS = ["one.test", "two.test"]
        factories.ProductFactory()

        hosts = [
            urlsplit(get(f"{PRODUCTS}?page_size=1", Host=host).json()["next"]).netloc
            for host in ("one.test", "two.test")
        ]

        assert hosts == ["one.test", "two.test"]

    @pytest.mark.parametrize(
        "headers",
        [
            {"X-Forwarded-Host": "evil.test"},
            {"X-Forwarded-Proto": "https"},
            {"X-Forwarded-Port": "99"},
            {"Forwarded": "host=evil.test;proto=https"},
            {"X-Original-URL": "/api/v1/products/EVIL"},
            {"X-HTTP-Method-Override": "POST"},
            {"Accept": "text/html"},
            {"Accept-Language": "de"},
            {"Cookie": "sessionid=evil"},
        ],
    )
    def test_is_not_changed_by_the_headers_of_the_first(self, clock, headers):
        factories.ProductFactory()
        clean = get(f"{PRODUCTS}?page_size=1").content
        caching.answers.clear()

        get(f"{PRODUCTS}?page_size=1", **headers)

        assert get(f"{PRODUCTS}?page_size=1").content == clean

    def test_does_not_mix_up_a_question_mark_in_the_path_with_a_query(self, clock, apple):
        Price.objects.create(product=apple, currency="EUR", amount=3)
        get(APPLE, {"currency": "EUR"})

        assert get(f"{APPLE}%3Fcurrency=EUR").status_code == 404


class TestWhatNeverGetsIn:
    @pytest.mark.parametrize(
        ("path", "status"),
        [
            (f"{PRODUCTS}/NOTHING", 404),
            (f"{PRODUCTS}?page_size=0", 400),
            (f"{PRODUCTS}?cursor=forged", 400),
            ("/api/v1/products/", 404),
        ],
    )
    def test_is_an_error(self, clock, path, status):
        answer = get(path)

        assert answer.status_code == status
        assert answer["Cache-Control"] == "no-store"
        assert "ETag" not in answer
        assert kept() == 0

    def test_is_a_product_that_is_not_there_yet(self, clock):
        assert get(f"{PRODUCTS}/SOON").status_code == 404
        factories.ProductFactory(sku="SOON")

        assert get(f"{PRODUCTS}/SOON").status_code == 200

    def test_is_the_answer_to_somebody_with_a_token(self, clock):
        shopper = Shopper(factories.CustomerFactory())

        assert shopper.get("/products/APPLE").json()["sku"] == "APPLE"

        assert kept() == 0

    def test_serves_nobody_with_a_bad_token(self, clock):
        get(APPLE)

        assert get(APPLE, Authorization="Bearer forged").status_code == 401

    def test_serves_no_foreign_host(self, clock):
        get(APPLE)

        answer = get(APPLE, Host="evil.test")

        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "VALIDATION_FAILED"

    @pytest.mark.parametrize("method", ["post", "put", "patch", "delete", "options"])
    def test_serves_no_other_method(self, clock, method):
        get(APPLE)

        assert getattr(Client(), method)(APPLE).status_code == 405
        assert kept() == 1


class TestTheRoom:
    def test_is_bounded_by_answers(self, clock, monkeypatch):
        monkeypatch.setattr(caching, "MOST_ANSWERS", 3)

        for size in range(1, 7):
            get(PRODUCTS, {"page_size": size})

        assert kept() == 3
        assert [key[4] for key in caching.answers._kept] == [f"page_size={n}" for n in (4, 5, 6)]

    def test_is_bounded_by_bytes(self, clock, monkeypatch):
        get(PRODUCTS, {"page_size": 1})
        monkeypatch.setattr(caching, "MOST_BYTES", caching.answers._bytes)

        get(PRODUCTS, {"page_size": 2})

        assert [key[4] for key in caching.answers._kept] == ["page_size=2"]
        assert caching.answers._bytes <= caching.MOST_BYTES

    def test_is_not_for_one_giant(self, clock, monkeypatch):
        monkeypatch.setattr(caching, "LARGEST_ANSWER", 10)

        assert get(APPLE).status_code == 200
        assert kept() == 0


@pytest.mark.concurrency
@pytest.mark.django_db(transaction=True)
class TestManyAtOnce:
    def ask(self, path, monkeypatch, *, shoppers=4):
        """All ask while the first answer is being worked out; how often that was done."""
        begun, go_on = threading.Event(), threading.Event()
        worked_out = []
        public = caching._public

        def held_up(response):
            worked_out.append(response.status_code)
            begun.set()
            assert go_on.wait(timeout=30)
            return public(response)

        class Counted(threading.Event):
            waiting = threading.Semaphore(0)

            def wait(self, timeout=None):
                self.waiting.release()
                return super().wait(timeout)

        monkeypatch.setattr(caching, "_public", held_up)
        take_up = caching.answers.take_up

        def counted(key, *, now):
            work, is_ours = take_up(key, now=now)
            if is_ours:
                work.done = Counted()
            return work, is_ours

        monkeypatch.setattr(caching.answers, "take_up", counted)

        def fetch(_):
            try:
                return get(path)
            finally:
                connection.close()

        with ThreadPoolExecutor(shoppers) as pool:
            found = [pool.submit(fetch, 0)]
            assert begun.wait(timeout=30)
            found += [pool.submit(fetch, n) for n in range(1, shoppers)]
            for _ in range(1, shoppers):
                assert Counted.waiting.acquire(timeout=30)
            go_on.set()
            return [answer.result(timeout=30) for answer in found], worked_out

    def test_let_one_work_it_out_for_all(self, clock, monkeypatch):
        found, worked_out = self.ask(APPLE, monkeypatch)

        assert worked_out == [200]
        assert {answer.content for answer in found} == {found[0].content}

    def test_are_each_told_of_an_error_by_themselves(self, clock, monkeypatch):
        found, worked_out = self.ask(f"{PRODUCTS}/NOTHING", monkeypatch)

        assert worked_out == [404] * 4
        assert len({answer["X-Request-ID"] for answer in found}) == 4
        assert kept() == 0
