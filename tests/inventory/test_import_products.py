"""`import_products`: what a file changes, what it leaves alone, what is refused line by line."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from audit.models import AuditLog
from config.kernel.api.text import looks_like_card_number
from inventory.models import Price, Product, StockLevel
from tests import factories

pytestmark = pytest.mark.django_db

HEADER = (
    "sku,name,description,category,image_urls,tax_class,weight_grams,is_active,attributes,"
    "price_USD,price_JPY"
)
APPLE = (
    'APPLE,Apple,"Red, and\nround.",grocery,https://i.test/1 https://i.test/2,food,150,true,'
    '"{""color"": ""red""}",1.50,200'
)
BARCODE = "5449000000996"


@pytest.fixture(autouse=True)
def grocery():
    return factories.CategoryFactory()


@pytest.fixture
def load(tmp_path):
    """Import lines; returns the result as JSON, and the exit code."""

    def load(*lines, encoding="utf-8", flags=()):
        path = tmp_path / f"products-{threading.get_ident()}.csv"
        path.write_bytes("\n".join(lines).encode(encoding))
        said, code = StringIO(), 0
        try:
            call_command("import_products", str(path), "--json", *flags, stdout=said)
        except SystemExit as exc:
            code = exc.code
        return json.loads(said.getvalue()), code

    return load


class TestANewProduct:
    def test_is_created_with_all_that_its_line_says(self, load):
        done, code = load(HEADER, APPLE)

        assert code == 0
        assert (done["created"], done["updated"], done["prices"]) == (1, 0, 2)
        apple = Product.objects.get()
        assert (apple.sku, apple.name, apple.description) == ("APPLE", "Apple", "Red, and\nround.")
        assert (apple.category.slug, apple.tax_class, apple.weight_grams) == (
            "grocery",
            "food",
            150,
        )
        assert (apple.is_active, apple.attributes) == (True, {"color": "red"})
        assert apple.image_url == "https://i.test/1"
        assert list(apple.more_images.values_list("position", "url")) == [(1, "https://i.test/2")]
        assert dict(apple.prices.values_list("currency", "amount")) == {
            "USD": Decimal("1.50"),
            "JPY": Decimal(200),
        }
        assert not StockLevel.objects.exists()

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
    def test_may_have_a_name_in_any_script(self, load, encoding):
        load("sku,name,category", "A,牛乳 Crème,grocery", encoding=encoding)

        assert Product.objects.get().name == "牛乳 Crème"

    def test_keeps_what_would_break_a_copy(self, load):
        load("sku,name,category,description", r'A,"a\b\N ""q"" \.",grocery,"x	y"')

        assert Product.objects.get().name == r'a\b\N "q" \.'
        assert Product.objects.get().description == "x\ty"

    def test_needs_no_more_than_a_name_and_a_category(self, load):
        load("sku,name,category", "A,Apple,grocery")

        apple = Product.objects.get()
        assert (apple.attributes, apple.tax_class, apple.is_active) == ({}, "standard", True)


class TestAKnownProduct:
    def test_is_changed_only_in_what_the_columns_name(self, load):
        apple = factories.ProductFactory(
            sku="APPLE", name="Apple", price="1.00", on_hand=7, attributes={"a": 1}
        )
        Price.objects.create(product=apple, currency="EUR", amount=3)

        done, code = load("sku,name,price_USD", "APPLE,Pear,2.00")

        assert (code, done["created"], done["updated"], done["prices"]) == (0, 0, 1, 1)
        apple.refresh_from_db()
        assert (apple.name, apple.attributes) == ("Pear", {"a": 1})
        assert set(apple.prices.values_list("currency", "amount")) == {("USD", 2), ("EUR", 3)}
        assert StockLevel.objects.get().on_hand == 7

    def test_that_is_so_already_is_not_written_again(self, load):
        load(HEADER, APPLE)
        before = Product.objects.get().updated_at

        done, _ = load(HEADER, APPLE)

        assert (done["created"], done["updated"], done["prices"]) == (0, 0, 0)
        assert Product.objects.get().updated_at == before

    def test_keeps_its_price_where_the_cell_is_empty(self, load):
        factories.ProductFactory(sku="APPLE", price="1.00")

        done, _ = load("sku,price_USD", "APPLE,")

        assert done["prices"] == 0
        assert Price.objects.get().amount == 1

    def test_gets_its_pictures_replaced(self, load):
        load(HEADER, APPLE)

        load("sku,image_urls", "APPLE,https://i.test/9")

        apple = Product.objects.get()
        assert (apple.image_url, apple.more_images.count()) == ("https://i.test/9", 0)


def pictures():
    """All pictures of the one product with their words, the main one first."""
    apple = Product.objects.get()
    return [
        (apple.image_url, apple.image_alt),
        *apple.more_images.order_by("position").values_list("url", "alt"),
    ]


class TestWordsOfPictures:
    COLUMNS = "sku,name,category,image_urls,image_alts"
    URLS = "https://i.test/1 https://i.test/2 https://i.test/3"

    def load(self, load, alts, urls=URLS):
        return load(self.COLUMNS, f'APPLE,Apple,grocery,{urls},"{alts}"')

    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_are_taken_line_by_line(self, load, end):
        _, code = self.load(load, f"A red apple{end}{end}Crème, sliced{end}")

        assert code == 0
        assert pictures() == [
            ("https://i.test/1", "A red apple"),
            ("https://i.test/2", ""),
            ("https://i.test/3", "Crème, sliced"),
        ]

    def test_are_none_for_pictures_behind_the_last_line(self, load):
        self.load(load, "A red apple")

        assert [alt for _, alt in pictures()] == ["A red apple", "", ""]

    def test_are_replaced_with_the_cell(self, load):
        self.load(load, "One\nTwo\nThree")
        done, _ = self.load(load, "One\nZwei")

        assert [alt for _, alt in pictures()] == ["One", "Zwei", ""]
        assert done["updated"] == 0  # of the product itself nothing is new

        done, _ = self.load(load, "")

        assert [alt for _, alt in pictures()] == ["", "", ""]
        assert done["updated"] == 1

    def test_stay_with_their_addresses_where_the_file_has_none(self, load):
        self.load(load, "One\nTwo\nThree")

        load("sku,image_urls", "APPLE,https://i.test/3 https://i.test/4 https://i.test/1")

        assert pictures() == [
            ("https://i.test/3", "Three"),
            ("https://i.test/4", ""),
            ("https://i.test/1", "One"),
        ]

    def test_stay_where_no_column_is_about_pictures(self, load):
        self.load(load, "One\nTwo")

        load("sku,name", "APPLE,Pear")

        assert [alt for _, alt in pictures()] == ["One", "Two", ""]

    def test_of_one_product_are_not_those_of_another(self, load):
        self.load(load, "One\nTwo")

        load("sku,name,category,image_urls", f"PEAR,Pear,grocery,{self.URLS}")

        pear = Product.objects.get(sku="PEAR")
        assert pear.image_alt == ""
        assert set(pear.more_images.values_list("alt", flat=True)) == {""}

    @pytest.mark.parametrize(
        ("alts", "reason"),
        [
            ("1\n2\n3\n4", "has 4 lines for 3 pictures"),
            ("x" * 256, "more than 255"),
            ("a\tb", "Control characters"),
        ],
    )
    def test_that_cannot_be_are_told(self, load, alts, reason):
        done, code = self.load(load, alts)

        assert code == 1
        assert done["problems"][0]["reason"].startswith("image_alts: ")
        assert reason in done["problems"][0]["reason"]
        assert not Product.objects.exists()


def test_a_barcode_that_passes_for_a_card_number_is_welcome(load):
    assert looks_like_card_number(BARCODE)
    url, cells = f"https://img.example/{BARCODE}.jpg", ",".join([f"Cola {BARCODE}"] * 3)

    done, code = load(
        "sku,category,image_urls,image_alts,name,description", f"COLA,grocery,{url},{cells}"
    )

    assert (code, done["problems"]) == (0, [])
    cola = Product.objects.get()
    assert cola.image_url == url
    assert cola.image_alt == cola.name == cola.description == f"Cola {BARCODE}"


class TestABadLine:
    @pytest.mark.parametrize(
        ("column", "cell", "reason"),
        [
            ("sku", "apple", "upper-case"),
            ("sku", "", "upper-case"),
            ("name", "", "must not be empty"),
            ("name", "x" * 256, "more than 255"),
            ("name", "a\x00b", "Control characters"),
            ("image_urls", "https://i.test/\x07", "Control characters"),
            ("category", "nowhere", "no category"),
            ("image_urls", "javascript:alert(1)", "http://"),
            ("image_urls", " ".join(["https://i.test/1"] * 21), "more than 20"),
            ("tax_class", "Two Words", "lower-case"),
            ("weight_grams", "1.5", "whole number"),
            ("weight_grams", "-1", "whole number"),
            ("weight_grams", "9999999999", "whole number"),
            ("is_active", "yes", "true or false"),
            ("attributes", "[1]", "JSON object"),
            ("attributes", "{", "not JSON"),
            ("attributes", '"{""a"": NaN}"', "not JSON"),
            ("price_USD", "1.999", ""),
            ("price_USD", "1,00", ""),
            ("price_USD", "-1", ""),
            ("price_USD", "1e3", ""),
            ("price_JPY", "1.50", ""),
        ],
    )
    def test_is_told_by_number_column_and_reason_and_nothing_is_changed(
        self, load, column, cell, reason
    ):
        good = {"sku": "PEAR", "name": "Pear", "category": "grocery"}
        cells = {**good, column: cell if cell.startswith('"') else f'"{cell}"'}

        done, code = load(",".join(cells), ",".join(cells.values()), flags=["--skip-bad-lines"])

        assert code == 1
        (problem,) = done["problems"]
        assert problem["line"] == 2
        assert problem["reason"].startswith(f"{column}: ")
        assert reason in problem["reason"]
        assert not Product.objects.exists()

    def test_keeps_the_good_ones_out_too(self, load):
        done, code = load("sku,name,category", "A,Apple,grocery", "b,Pear,grocery", "C,,grocery")

        assert (code, done["written"], done["bad_lines"]) == (1, False, 2)
        assert [problem["line"] for problem in done["problems"]] == [3, 4]
        assert not Product.objects.exists()
        assert not AuditLog.objects.filter(event_type="PRODUCTS_IMPORTED").exists()

    def test_is_skipped_where_that_is_wanted(self, load):
        done, code = load(
            "sku,name,category", "A,Apple,grocery", "b,P,grocery", flags=["--skip-bad-lines"]
        )

        assert (code, done["written"], done["created"]) == (1, True, 1)
        assert Product.objects.get().sku == "A"

    def test_is_counted_where_an_editor_shows_it(self, load):
        done, _ = load(
            "sku,name,category,description", 'A,A,grocery,"two\nlines"', "", "b,B,grocery,"
        )

        assert [problem["line"] for problem in done["problems"]] == [5]

    def test_is_the_second_of_a_sku(self, load):
        done, _ = load("sku,name,category", "A,Apple,grocery", "A,Pear,grocery")

        assert done["problems"] == [{"line": 3, "reason": "sku: stands on line 2 already"}]

    def test_is_one_with_too_few_or_too_many_cells(self, load):
        done, _ = load("sku,name,category", "A,Apple", "B,Pear,grocery,more")

        assert [problem["line"] for problem in done["problems"]] == [2, 3]

    def test_is_a_new_sku_without_what_a_product_needs(self, load):
        done, code = load("sku,price_USD", "NEW,1.00")

        assert code == 1
        assert "needs columns name and category" in done["problems"][0]["reason"]

    def test_that_is_no_csv_is_the_last_one_read(self, load):
        done, code = load("sku,name,category", 'A,"Apple"x,grocery', "b,B,grocery")

        assert code == 1
        assert [problem["line"] for problem in done["problems"]] == [2]


class TestAFile:
    @pytest.mark.parametrize(
        ("header", "reason"),
        [
            ("", "needs one called sku"),
            ("name,category", "needs one called sku"),
            ("sku,colour", "'colour' is not known"),
            ("sku,price_usd", "'price_usd' is not known"),
            ("sku,price_KWD", "'price_KWD' is not known"),
            ("sku,on_hand", "'on_hand' is not known"),
            ('sku,"name; DROP TABLE products"', "is not known"),
            ("sku,name,name", "is there twice"),
            ("sku,image_alts", "needs 'image_urls'"),
        ],
    )
    def test_with_columns_that_are_none_is_refused(self, load, header, reason):
        with pytest.raises(CommandError, match=reason):
            load(header, "A,Apple,grocery")

    def test_that_is_not_utf8_is_refused(self, load):
        with pytest.raises(CommandError, match="not UTF-8"):
            load("sku,name,category", "A,Crème,grocery", encoding="latin-1")

        assert not Product.objects.exists()

    def test_that_is_not_there_is_refused(self, tmp_path):
        with pytest.raises(CommandError, match="cannot be read"):
            call_command("import_products", str(tmp_path / "nothing.csv"))

    def test_is_only_checked_by_a_dry_run(self, load):
        done, code = load(HEADER, APPLE, flags=["--dry-run"])

        assert (code, done["created"], done["prices"], done["written"]) == (0, 1, 2, False)
        assert not Product.objects.exists()
        assert not AuditLog.objects.filter(event_type="PRODUCTS_IMPORTED").exists()

    def test_that_is_imported_leaves_one_audit_row(self, load):
        load(HEADER, APPLE)

        row = AuditLog.objects.get(event_type="PRODUCTS_IMPORTED")
        assert row.data == {"lines": 1, "created": 1, "updated": 0, "prices": 2, "bad_lines": 0}

    def test_of_more_than_one_batch_is_imported_by_as_many_statements_a_line(self, load):
        lines = [f"S-{number},Product {number},grocery,1.00" for number in range(2_500)]

        done, code = load("sku,name,category,price_USD", *lines)

        assert (code, done["created"], done["prices"]) == (0, 2_500, 2_500)
        assert Product.objects.count() == 2_500

    def test_is_told_of_in_words(self, tmp_path, capsys):
        path = tmp_path / "p.csv"
        path.write_text("sku,name,category\nA,Apple,grocery\nb,B,grocery\n")
        said, complained = StringIO(), StringIO()

        with pytest.raises(SystemExit):
            call_command("import_products", str(path), stdout=said, stderr=complained)

        assert "Nothing was changed: 1 bad line" in said.getvalue()
        assert complained.getvalue().startswith("line 3: sku: ")


@pytest.mark.concurrency
@pytest.mark.django_db(transaction=True)
def test_two_at_once_wait_for_each_other(load):
    together = threading.Barrier(2)

    def load_with_the_other(_):
        together.wait(timeout=10)
        try:
            return load("sku,name,category,price_USD", "A,Apple,grocery,1", "B,Pear,grocery,2")
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(load_with_the_other, range(2)))

    assert sorted(result["created"] for result, _ in done) == [0, 2]
    assert [code for _, code in done] == [0, 0]
    assert Product.objects.count() == 2
