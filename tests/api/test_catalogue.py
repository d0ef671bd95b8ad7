"""The public catalogue over HTTP: filters, orders, pages, caching."""

from __future__ import annotations

import re
import time
from itertools import chain
from urllib.parse import urlsplit

import pytest
from django.core import signing
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils.http import urlencode

from inventory.api import caching
from inventory.models import Price, Product
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch):
    """Each answer is worked out; those that are kept have test_catalogue_cache.py."""
    monkeypatch.setattr(caching, "KEPT_SECONDS", 0)


def get(path, **params):
    return Client().get(f"/api/v1{path}", params)


def skus(answer):
    assert answer.status_code == 200, answer.content
    return [product["sku"] for product in answer.json()["results"]]


@pytest.fixture
def shelves():
    """Three fruits and a lamp."""
    lamps = factories.CategoryFactory(slug="lamps", name="Lamps")
    factories.ProductFactory(sku="APPLE", name="Apple", price="1.00", on_hand=5)
    factories.ProductFactory(sku="CHERRY", name="cherry", price="3.00", on_hand=0)
    factories.ProductFactory(sku="BANANA", name="Banana 100%", price="2.00", on_hand=1)
    factories.ProductFactory(sku="LAMP", name="Lamp", price="20.00", category=lamps)


class TestAProduct:
    def test_has_the_contracts_shape(self):
        product = factories.ProductFactory(
            sku="APPLE",
            name="Apple",
            description="Red.",
            price="19.90",
            on_hand=5,
            image_url="https://shop.test/apple.png",
            attributes={"colour": "red"},
        )
        product.stock_levels.update(allocated=2)

        answer = get("/products/APPLE")

        assert answer.status_code == 200
        assert answer.json() == {
            "sku": "APPLE",
            "name": "Apple",
            "description": "Red.",
            "category": "grocery",
            "price": "19.90",
            "currency": "USD",
            "image_url": "https://shop.test/apple.png",
            "images": [{"url": "https://shop.test/apple.png", "alt": "Apple"}],
            "in_stock": True,
            "available_quantity": 3,
            "attributes": {"colour": "red"},
            "price_breaks": [],
        }
        (listed,) = get("/products").json()["results"]
        assert {**listed, "price_breaks": []} == answer.json()

    def test_shows_its_pictures_in_order(self, django_assert_num_queries):
        product = factories.ProductFactory(sku="APPLE", name="Apple", image_url="https://i.test/1")
        for position, alt in ((9, "Cut"), (2, "")):
            product.more_images.create(position=position, url=f"https://i.test/{position}", alt=alt)

        with django_assert_num_queries(1):
            body = get("/products").json()["results"][0]

        assert body["image_url"] == "https://i.test/1"
        assert body["images"] == [
            {"url": "https://i.test/1", "alt": "Apple"},
            {"url": "https://i.test/2", "alt": ""},
            {"url": "https://i.test/9", "alt": "Cut"},
        ]
        assert get("/products/APPLE").json()["images"] == body["images"]

    def test_shows_its_main_picture_with_words_of_its_own(self):
        factories.ProductFactory(
            sku="APPLE", name="Apple", image_url="https://i.test/1", image_alt="A red apple"
        )

        (image,) = get("/products/APPLE").json()["images"]

        assert image == {"url": "https://i.test/1", "alt": "A red apple"}

    def test_without_pictures_has_none(self):
        factories.ProductFactory(sku="APPLE")

        body = get("/products/APPLE").json()

        assert (body["image_url"], body["images"]) == ("", [])

    def test_that_is_sold_out_says_so(self):
        factories.ProductFactory(sku="GONE", on_hand=0)

        body = get("/products/GONE").json()

        assert (body["in_stock"], body["available_quantity"]) == (False, 0)

    def test_shows_its_price_breaks_by_quantity(self, django_assert_num_queries):
        product = factories.ProductFactory(sku="APPLE", price="2.00")
        Price.objects.create(product=product, currency="JPY", amount=300)
        for currency, min_quantity, amount, tier in (
            ("USD", 100, "1.50", ""),
            ("USD", 10, "1.80", ""),
            ("USD", 5, "2.50", ""),  # dearer than one alone
            ("USD", 20, "1.80", ""),  # no lower than before
            ("USD", 1, "1.00", "gold"),
            ("USD", 10, "0.90", "gold"),
            ("JPY", 3, "250", ""),
        ):
            product.price_breaks.create(
                currency=currency, min_quantity=min_quantity, amount=amount, tier=tier
            )
        factories.ProductFactory(sku="PEAR").price_breaks.create(
            currency="USD", min_quantity=2, amount="0.10"
        )

        with django_assert_num_queries(1):
            body = get("/products/APPLE").json()

        assert (body["price"], body["price_breaks"]) == (
            "2.00",
            [
                {"min_quantity": 10, "unit_price": "1.80"},
                {"min_quantity": 100, "unit_price": "1.50"},
            ],
        )
        in_yen = get("/products/APPLE", currency="JPY").json()
        assert in_yen["price_breaks"] == [{"min_quantity": 3, "unit_price": "250"}]

    @pytest.mark.usefixtures("shop")
    def test_is_quoted_at_the_price_breaks_it_shows(self, guest):
        product = factories.ProductFactory(sku="APPLE", price="2.00", on_hand=50)
        for min_quantity, amount in ((10, "1.80"), (20, "1.90"), (30, "1.50")):
            product.price_breaks.create(currency="USD", min_quantity=min_quantity, amount=amount)
        shown = get("/products/APPLE").json()
        steps = {1: shown["price"]} | {
            step["min_quantity"]: step["unit_price"] for step in shown["price_breaks"]
        }

        for quantity in (1, 9, 10, 29, 30):
            asked = {"items": [{"sku": "APPLE", "quantity": quantity}]}
            quote = guest.post("/quotes", asked).json()
            expected = steps[max(least for least in steps if least <= quantity)]
            assert quote["items"][0]["unit_price"] == expected

    def test_is_priced_in_the_currency_asked_for(self):
        product = factories.ProductFactory(sku="APPLE", price="19.99")
        Price.objects.create(product=product, currency="JPY", amount=1999)

        body = get("/products/APPLE", currency="JPY").json()

        assert (body["price"], body["currency"]) == ("1999", "JPY")
        assert get("/products/APPLE", currency="EUR").status_code == 404

    @pytest.mark.parametrize("sku", ["NOTHING", "apple", "APPLE%00", "..%2f..%2fetc", "OFF"])
    def test_that_is_none_is_not_found(self, sku):
        factories.ProductFactory(sku="APPLE")
        factories.ProductFactory(sku="OFF", is_active=False)

        answer = Client().get(f"/api/v1/products/{sku}")

        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "NOT_FOUND"


class TestTheFilters:
    @pytest.mark.parametrize(
        ("params", "found"),
        [
            ({}, ["APPLE", "BANANA", "CHERRY", "LAMP"]),
            ({"search": "anana"}, ["BANANA"]),
            ({"search": "CHERR"}, ["CHERRY"]),
            ({"search": "apple"}, ["APPLE"]),
            ({"search": "%"}, []),
            ({"search": "_"}, []),
            ({"search": "'; DROP TABLE products; --"}, []),
            ({"category": "lamps"}, ["LAMP"]),
            ({"category": "nothing"}, []),
            ({"category": "nothing", "search": "apple"}, []),
            ({"category": "nothing", "search": "APPLE", "ordering": "-price"}, []),
            ({"category": "lamps", "search": "apple"}, []),
            ({"min_price": "2.00"}, ["BANANA", "CHERRY", "LAMP"]),
            ({"max_price": "2"}, ["APPLE", "BANANA"]),
            ({"min_price": "2", "max_price": "3"}, ["BANANA", "CHERRY"]),
            ({"in_stock": "true"}, ["APPLE", "BANANA", "LAMP"]),
            ({"in_stock": "false"}, ["CHERRY"]),
            ({"currency": "EUR"}, []),
            ({"unheard_of": "x"}, ["APPLE", "BANANA", "CHERRY", "LAMP"]),
            ({"category": "grocery", "in_stock": "true", "max_price": "1.50"}, ["APPLE"]),
        ],
    )
    def test_leave_what_was_asked_for(self, shelves, params, found):
        assert sorted(skus(get("/products", **params))) == found

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("min_price", "-1"),
            ("min_price", "1e3"),
            ("min_price", "NaN"),
            ("max_price", "1,00"),
            ("max_price", "1.999"),
            ("in_stock", "perhaps"),
            ("in_stock", ""),
            ("in_stock", "1"),
            ("in_stock", "null"),
            ("currency", "usd"),
            ("currency", "XXX"),
            ("currency", "KWD"),
            ("ordering", "sku"),
            ("ordering", "category__products__id"),
            ("ordering", "price,name"),
            ("ordering", "-price; DROP TABLE products"),
            ("search", "x" * 101),
            ("category", "x" * 101),
            ("page_size", "0"),
            ("page_size", "-1"),
            ("page_size", "ten"),
            ("page_size", "1.5"),
            ("page_size", "²"),
            ("cursor", "forged"),
            ("cursor", "WzAsZmFsc2UsIjEiXQ:1abc:forged"),
        ],
    )
    def test_refuse_bad_values_by_name(self, shelves, name, value):
        answer = get("/products", **{name: value})

        assert answer.status_code == 400
        error = answer.json()["error"]
        assert error["code"] == "VALIDATION_FAILED"
        assert set(error["details"]) == {name}
        if len(value) > 4:
            assert value not in answer.content.decode()

    @pytest.mark.parametrize(
        "text", ["'", "{}", "{a,b}", '"', "\\", "%", "') OR 1=1 --", "lamps' OR '1'='1", "NULL"]
    )
    def test_take_a_category_as_text_alone(self, shelves, text):
        assert skus(get("/products", category=text)) == []
        assert Product.objects.count() == 4

    @pytest.mark.parametrize("query", ["search=%00", "search=%ff", "cursor=%00", "search=a%0ab"])
    def test_refuse_what_is_no_text(self, shelves, query):
        answer = Client().get(f"/api/v1/products?{query}")

        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "VALIDATION_FAILED"


class TestTheOrderings:
    @pytest.mark.parametrize(
        ("ordering", "found"),
        [
            ("price", ["APPLE", "BANANA", "CHERRY", "LAMP"]),
            ("-price", ["LAMP", "CHERRY", "BANANA", "APPLE"]),
            ("-created_at", ["LAMP", "BANANA", "CHERRY", "APPLE"]),
        ],
    )
    def test_put_products_in_line(self, shelves, ordering, found):
        assert skus(get("/products", ordering=ordering)) == found

    def test_by_name_run_both_ways(self, shelves):
        forward = skus(get("/products", ordering="name"))

        assert forward == skus(get("/products"))
        assert skus(get("/products", ordering="-name")) == forward[::-1]
        assert forward.index("APPLE") < forward.index("BANANA") < forward.index("LAMP")


def follow(url):
    parts = urlsplit(url)
    return Client().get(f"{parts.path}?{parts.query}")


def walk(answer, link="next"):
    """The pages from this one on."""
    pages = [skus(answer)]
    while url := answer.json()[link]:
        answer = follow(url)
        pages.append(skus(answer))
    return pages


def hide(*skus):
    Product.objects.filter(sku__in=skus).update(is_active=False)


class TestThePages:
    @pytest.fixture
    def many(self):
        """Seven products, most of them of one name and one price."""
        return [
            factories.ProductFactory(name="Same", price="5.00" if number else "1.00").sku
            for number in range(7)
        ]

    @pytest.mark.parametrize("ordering", ["name", "-name", "price", "-price", "-created_at"])
    def test_show_each_product_once(self, many, ordering):
        pages = walk(get("/products", ordering=ordering, page_size="3"))

        assert [len(page) for page in pages] == [3, 3, 1]
        assert sorted(chain(*pages)) == sorted(many)

    @pytest.mark.parametrize("ordering", ["name", "-name", "price", "-price", "-created_at"])
    def test_show_the_same_on_the_way_back(self, many, ordering):
        page = get("/products", ordering=ordering, page_size="3")
        there = walk(page)
        while url := page.json()["next"]:
            page = follow(url)

        back = walk(page, "previous")

        assert back == there[::-1]

    def test_go_on_from_where_the_last_page_ended_even_when_it_is_gone(self, many):
        first = get("/products", page_size="3")
        hide(many[2], *many[4:])

        second = follow(first.json()["next"])

        assert skus(second) == [many[3]]
        assert skus(follow(second.json()["previous"])) == many[:2]

    def test_that_became_empty_lead_back_to_the_rest(self, many):
        first = get("/products", page_size="3")
        second = follow(first.json()["next"])
        hide(*many[3:])
        emptied = follow(first.json()["next"])
        hide(many[0])

        assert (skus(emptied), emptied.json()["next"]) == ([], None)
        before = follow(emptied.json()["previous"])
        assert (skus(before), before.json()["previous"]) == (many[1:3], None)
        assert before.json()["next"] is None

        hide(*many)
        factories.ProductFactory(sku="LATER", name="Same")
        nothing = follow(second.json()["previous"])
        assert (skus(nothing), nothing.json()["previous"]) == ([], None)
        assert skus(follow(nothing.json()["next"])) == ["LATER"]

    def test_cost_the_same_however_many_names_tie(self, many):
        """One range of the index on name and id: nothing is read only to be passed over."""
        url = get("/products", page_size="3").json()["next"]

        with CaptureQueriesContext(connection) as queries:
            follow(url)

        (query,) = queries.captured_queries
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_sort = off")
            cursor.execute(f"EXPLAIN {query['sql']}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
        tie = r"Index Scan using idx_products_name .*\n +Index Cond: .*ROW\(.*name.*, id\) > ROW"
        assert re.search(tie, plan), plan

    @pytest.mark.parametrize(
        "content",
        [
            None,
            7,
            "text",
            {},
            [],
            [False],
            [False, None, None],
            [False, 7],
            [False, ""],
            [False, {}],
            [False, []],
            [False, ["Same"]],
            [False, ["Same", "1", "1"]],
            [False, ["Same", "x"]],
            [False, ["Same", []]],
            [False, [None, "1"]],
            [False, ["\x00", "1"]],
            [False, ["\ud800", "1"]],
        ],
    )
    def test_refuse_a_cursor_that_is_ours_but_no_position(self, many, content):
        cursor = signing.Signer(salt="page:name,id").sign_object(content)

        answer = get("/products", cursor=cursor)

        assert answer.status_code == 400
        assert set(answer.json()["error"]["details"]) == {"cursor"}

    def test_keep_their_filters(self, many):
        answer = get("/products", page_size="3", min_price="5.00", in_stock="true")

        pages = walk(answer)

        assert [len(page) for page in pages] == [3, 3]
        assert many[0] not in chain(*pages)

    def test_are_of_at_most_a_hundred(self, many):
        answer = get("/products", page_size="9" * 5_000)

        assert len(skus(answer)) == 7
        assert answer.json()["next"] is None

    def test_do_not_take_a_cursor_of_another_ordering(self, many):
        url = get("/products", ordering="price", page_size="3").json()["next"]

        answer = follow(url.replace("ordering=price", "ordering=-created_at"))

        assert answer.status_code == 400
        assert set(answer.json()["error"]["details"]) == {"cursor"}

    def test_do_not_shift_when_a_product_is_added(self, many):
        first = get("/products", ordering="-created_at", page_size="3")

        factories.ProductFactory(name="Newer")

        assert skus(follow(first.json()["next"])) == many[::-1][3:6]


class TestCaching:
    @pytest.mark.parametrize("path", ["/products", "/products/APPLE", "/categories"])
    def test_answers_304_until_something_changes(self, path):
        product = factories.ProductFactory(sku="APPLE", on_hand=5)
        first = get(path)
        assert first["ETag"]
        assert first["Cache-Control"] == "public, max-age=1"

        again = Client().get(f"/api/v1{path}", headers={"If-None-Match": first["ETag"]})

        assert (again.status_code, again.content) == (304, b"")
        assert again["ETag"] == first["ETag"]
        product.category.name = "Other"
        product.category.save()
        product.stock_levels.update(allocated=1)
        changed = Client().get(f"/api/v1{path}", headers={"If-None-Match": first["ETag"]})
        assert changed.status_code == 200
        assert changed["ETag"] != first["ETag"]

    def test_knows_a_page_with_links_again_however_late(self, monkeypatch):
        for _ in range(2):
            factories.ProductFactory()
        first = get("/products", page_size="1")
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 3_600)

        again = get("/products", page_size="1")

        assert first.json()["next"]
        assert again["ETag"] == first["ETag"]

    def test_is_not_for_errors(self):
        answer = get("/products/NOTHING")

        assert answer.status_code == 404
        assert answer["Cache-Control"] == "no-store"


class TestTheCost:
    @pytest.mark.parametrize("path", ["/products", "/products?in_stock=true&search=one"])
    def test_is_the_same_for_one_and_for_twenty(self, path):
        factories.ProductFactory(name="One")
        with CaptureQueriesContext(connection) as for_one:
            assert len(Client().get(f"/api/v1{path}").json()["results"]) == 1
        for number in range(19):
            category = factories.CategoryFactory(slug=f"c{number}", name="C")
            factories.ProductFactory(name="One more", category=category)

        with CaptureQueriesContext(connection) as for_twenty:
            assert len(Client().get(f"/api/v1{path}").json()["results"]) == 20

        assert len(for_twenty) == len(for_one) == 1

    def test_of_one_product_is_one_query(self, django_assert_num_queries):
        factories.ProductFactory(sku="APPLE")

        with django_assert_num_queries(1):
            get("/products/APPLE")


class TestCategories:
    def test_are_listed_by_name(self):
        factories.CategoryFactory(slug="b", name="Bread")
        factories.CategoryFactory(slug="a", name="Zucchini")

        answer = get("/categories")

        assert answer.json()["results"] == [
            {"slug": "b", "name": "Bread", "parent": None, "path": ["b"]},
            {"slug": "a", "name": "Zucchini", "parent": None, "path": ["a"]},
        ]

    def test_say_where_in_the_tree_they_are(self, django_assert_num_queries):
        food = factories.CategoryFactory(slug="food", name="Food")
        fruit = factories.CategoryFactory(slug="fruit", name="Fruit", parent=food)
        factories.CategoryFactory(slug="berries", name="Berries", parent=fruit)

        with django_assert_num_queries(1):
            berries, _, shown_fruit = get("/categories").json()["results"]

        assert (berries["parent"], berries["path"]) == ("fruit", ["food", "fruit", "berries"])
        assert (shown_fruit["parent"], shown_fruit["path"]) == ("food", ["food", "fruit"])

    def test_find_what_lies_on_the_shelves_below_them(self):
        food = factories.CategoryFactory(slug="food", name="Food")
        fruit = factories.CategoryFactory(slug="fruit", name="Fruit", parent=food)
        factories.ProductFactory(sku="SALT", category=food)
        factories.ProductFactory(sku="APPLE", category=fruit)
        factories.ProductFactory(sku="LAMP")

        assert sorted(skus(get("/products", category="food"))) == ["APPLE", "SALT"]
        assert skus(get("/products", category="fruit")) == ["APPLE"]


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
@pytest.mark.parametrize("path", ["/products", "/products/APPLE", "/categories"])
def test_the_catalogue_is_read_only(path, method):
    factories.ProductFactory(sku="APPLE")

    answer = getattr(Client(), method)(f"/api/v1{path}?{urlencode({'name': 'x'})}")

    assert answer.status_code == 405
    assert answer.json()["error"]["code"] == "METHOD_NOT_ALLOWED"
    assert Product.objects.get().sku == "APPLE"
