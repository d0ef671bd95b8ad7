"""The search box over HTTP: what is found, in which order, and what cannot be broken by typing."""

from __future__ import annotations

from itertools import chain
from urllib.parse import urlsplit

import pytest
from django.db import connection
from django.test import Client

from inventory import selectors
from inventory.api import caching
from inventory.models import Category, Price, Product
from inventory.search import MOST_ALIKE, MOST_FOUND, MOST_IN_ORDER, Search
from tests import factories

pytestmark = pytest.mark.django_db

HOSTILE = (
    "'",
    '"',
    "\\",
    "\\'",
    "''':*",
    "%",
    "_",
    "%%",
    "%s",
    "%(x)s",
    "{}",
    "$1",
    ":*",
    "&",
    "!",
    "| |",
    "( (",
    "<->",
    "a & | b",
    "!!! ???",
    ". , ;",
    "-",
    "--",
    "/*",
    "milk'",
    "milk' OR '1'='1",
    "'; DROP TABLE products; --",
    "milk\\",
    "'milk':*",
    "milk:*&",
    "\u200b",
    "🥛",
    "牛乳",
    "x" * 100,
    "a " * 50,
    "((((((((((" * 10,
)


def found(text):
    """The products of a search, without a page of them."""
    among = Product.objects.order_by("-id")
    return Product.objects.filter(Search(text).matches(among=among))


def search(text, **params):
    answer = Client().get("/api/v1/products", {"search": text, **params})
    assert answer.status_code == 200, answer.content
    return [product["sku"] for product in answer.json()["results"]]


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch):
    monkeypatch.setattr(caching, "KEPT_SECONDS", 0)


@pytest.fixture(autouse=True)
def dairy():
    """Some milk, and what is not milk."""
    make = factories.ProductFactory
    make(sku="MILK-1", name="Organic Whole Milk, 1 gal", price="4.00")
    make(sku="MILK-2", name="Milk", price="3.00")
    make(sku="CHOC", name="Milk Chocolate", description="Sweet.", price="2.00")
    make(sku="CREAM", name="Crème fraîche", description="From organic farms.")
    make(sku="YOG", name="Yogurt, Strawberry", attributes={"brand": "Hillside", "percent": 3.5})
    make(sku="BERRY", name="Strawberries")
    make(sku="TABLE", name="Table", description="Of oak.")


class TestWords:
    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("milk whole", ["MILK-1"]),
            ("whole milk", ["MILK-1"]),
            ("ORGANIC milk", ["MILK-1"]),
            ("strawberry yogurts", ["YOG"]),
            ("strawberry", ["BERRY", "YOG"]),
            ("creme", ["CREAM"]),
            ("CRÈME", ["CREAM"]),
            ("farm", ["CREAM"]),
            ("hillside", ["YOG"]),
            ("table of oak", ["TABLE"]),
        ],
    )
    def test_are_found_in_any_order_by_their_stems(self, text, found):
        assert sorted(search(text)) == found

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("straw", ["BERRY", "YOG"]),
            ("organic mi", ["MILK-1"]),
            ("choc", ["CHOC"]),
            ("yog", ["YOG"]),
            ("trawberr", ["BERRY", "YOG"]),
        ],
    )
    def test_need_not_be_typed_to_their_end(self, text, found):
        assert sorted(search(text)) == found

    def test_of_a_name_that_changed_are_found_at_once(self):
        Product.objects.filter(sku="TABLE").update(name="Bench")

        assert search("bench") == ["TABLE"]
        assert search("oak table") == []


class TestTypingErrors:
    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("yogrut", "YOG"),
            ("yoghurt", "YOG"),
            ("strawbery yogurt", "YOG"),
            ("choclate", "CHOC"),
            ("strawbarries", "BERRY"),
            ("orgnaic whole milk", "MILK-1"),
        ],
    )
    def test_are_forgiven(self, text, found):
        assert search(text)[0] == found

    def test_are_not_looked_for_where_the_words_are_found(self):
        factories.ProductFactory(sku="SILK", name="Silk")

        assert "SILK" not in search("milk", ordering="price")

    def test_are_not_looked_for_where_the_words_are_found_elsewhere(self):
        factories.ProductFactory(
            sku="SILK", name="Silk milkk", category=factories.CategoryFactory(slug="cloth")
        )

        assert search("silk milk", category="cloth") == ["SILK"]
        assert search("organic", category="cloth") == []
        assert search("whole milk", category="cloth") == []

    def test_are_not_looked_for_where_the_sku_is_found(self):
        factories.ProductFactory(sku="YOGRU-1", name="Spoon")

        assert search("yogru-1") == search("yogru") == ["YOGRU-1"]

    def test_leave_nothing_behind_on_the_connection(self):
        search("yogrut")

        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('pg_trgm.word_similarity_threshold')")
            # The test's transaction is around it; a request's statement stands alone.
            assert cursor.fetchone()[0] in {"0.4", "0.6"}


class TestASku:
    @pytest.mark.parametrize("text", ["MILK-1", "milk-1", " Milk-1 "])
    def test_comes_before_everything_else(self, text):
        factories.ProductFactory(sku="OTHER", name="Milk-1 holder")

        assert search(text)[0] == "MILK-1"

    def test_is_found_by_its_beginning(self):
        factories.ProductFactory(sku="CJ_99", name="Bowl")
        factories.ProductFactory(sku="CJX99", name="Plate")

        assert search("cj_9") == ["CJ_99"]


class TestTheOrder:
    def test_is_by_relevance(self):
        found = search("milk")

        assert found[0] == "MILK-2"
        assert set(found) == {"MILK-1", "MILK-2", "CHOC"}

    def test_prefers_the_name_to_the_description(self):
        factories.ProductFactory(sku="FARM", name="Farm eggs")

        assert search("farm") == ["FARM", "CREAM"]

    def test_is_another_one_where_that_is_asked_for(self):
        assert search("milk", ordering="price") == ["CHOC", "MILK-2", "MILK-1"]
        assert search("milk", ordering="-name") == ["MILK-1", "CHOC", "MILK-2"]

    def test_holds_from_page_to_page_and_back(self):
        for _ in range(5):
            factories.ProductFactory(name="Same milk")
        pages, url = [], "/api/v1/products?search=milk&page_size=3"
        answer = None
        while url:
            answer = Client().get("{0.path}?{0.query}".format(urlsplit(url))).json()
            pages.append([product["sku"] for product in answer["results"]])
            url = answer["next"]

        back, url = [], answer["previous"]
        while url:
            answer = Client().get("{0.path}?{0.query}".format(urlsplit(url))).json()
            back.append([product["sku"] for product in answer["results"]])
            url = answer["previous"]

        assert [len(page) for page in pages] == [3, 3, 2]
        assert len(set(chain(*pages))) == 8
        assert back == pages[-2::-1]

    def test_does_not_take_the_cursor_of_another_one(self):
        first = Client().get("/api/v1/products?search=milk&page_size=1").json()
        by_name = first["next"] + "&ordering=name"

        answer = Client().get("{0.path}?{0.query}".format(urlsplit(by_name)))

        assert answer.status_code == 400
        assert set(answer.json()["error"]["details"]) == {"cursor"}


class TestWhatCannotBeBroken:
    @pytest.mark.parametrize("text", HOSTILE)
    def test_is_the_search_by_what_is_typed(self, text):
        search(text)

        assert Product.objects.count() == 7

    def test_is_the_search_by_a_text_too_long(self):
        answer = Client().get("/api/v1/products", {"search": "a" * 5_000})

        assert answer.status_code == 400

    @pytest.mark.parametrize("text", ["the", "no", "of the"])
    def test_finds_nothing_by_words_that_say_nothing(self, text):
        factories.ProductFactory(name="The table, no. 7")

        assert search(text) == []

    @pytest.mark.parametrize("text", ["%", "_", "'", "&|!", "...", "'; --"])
    def test_finds_nothing_by_punctuation_alone(self, text):
        assert search(text) == []


class TestTheCost:
    def test_is_one_statement(self, django_assert_num_queries):
        with django_assert_num_queries(1):
            search("organic milk")

    @pytest.fixture
    def thousands(self):
        with connection.cursor() as cursor:
            cursor.execute(
                """
                INSERT INTO products (sku, name, category_id, attributes)
                SELECT 'N-' || n, 'Gadget ' || md5(n::text), %s, '{}'
                FROM generate_series(1, 3000) AS n
                """,
                [Category.objects.get().pk],
            )
            for index in ("idx_products_search", "idx_products_name_trigrams"):
                cursor.execute("SELECT gin_clean_pending_list(%s)", [index])  # as VACUUM does
            cursor.execute("ANALYZE products")

    @pytest.mark.usefixtures("thousands")
    def test_is_a_look_into_indexes_however_many_products_there_are(self):
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")  # 3,000 rows are soon read

        plan = found("organic milk").values("pk").explain()

        for index in ("idx_products_search", "idx_products_name_trigrams", "products_sku"):
            assert index in plan, plan
        assert "Seq Scan" not in plan, plan

    @pytest.mark.usefixtures("thousands")
    def test_is_bounded_where_everything_is_found(self):
        assert found("gadget").count() == MOST_FOUND
        assert found("gadgat").count() == MOST_ALIKE
        assert "N-1" in found("n-1").values_list("sku", flat=True)

    @pytest.mark.usefixtures("thousands")
    def test_keeps_what_is_first_in_the_order_asked_for(self):
        Price.objects.bulk_create(
            Price(product_id=pk, currency="USD", amount=pk)
            for pk in Product.objects.filter(sku__startswith="N-").values_list("pk", flat=True)
        )
        oldest = [f"N-{number}" for number in range(1, 4)]
        newest = [f"N-{number}" for number in (3000, 2999, 2998)]

        assert search("gadget", ordering="price", page_size=3) == oldest
        assert search("gadget", ordering="-price", page_size=3) == newest
        in_order = selectors.list_products(currency="USD", search="gadget", ordering="price")
        assert in_order.count() == MOST_IN_ORDER

    @pytest.mark.usefixtures("thousands")
    def test_is_bounded_after_the_filters(self):
        first = Product.objects.get(sku="N-1")  # the oldest
        cellar = factories.CategoryFactory(slug="cellar")
        Product.objects.filter(pk=first.pk).update(category=cellar)
        Price.objects.bulk_create(
            Price(product_id=pk, currency="USD", amount=2 if pk == first.pk else 1)
            for pk in Product.objects.filter(sku__startswith="N-").values_list("pk", flat=True)
        )

        assert search("gadget", category="cellar") == ["N-1"]
        assert search("gadget", min_price="2.00") == ["N-1"]

    @pytest.mark.usefixtures("thousands")
    def test_is_bounded_alike_from_page_to_page(self):
        Price.objects.bulk_create(
            Price(product_id=pk, currency="USD", amount=pk % 7)
            for pk in Product.objects.filter(sku__startswith="N-").values_list("pk", flat=True)
        )
        seen, url = [], "/api/v1/products?search=gadget&ordering=price&page_size=100"
        while url:
            answer = Client().get("{0.path}?{0.query}".format(urlsplit(url))).json()
            seen += [(product["price"], product["sku"]) for product in answer["results"]]
            url = answer["next"]

        assert len(set(seen)) == len(seen) == MOST_IN_ORDER
        assert [price for price, _ in seen] == sorted(price for price, _ in seen)
