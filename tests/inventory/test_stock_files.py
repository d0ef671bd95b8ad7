"""Stock by CSV: bad lines are told, a preview writes nothing, a file is applied whole or not."""

from __future__ import annotations

import csv
import io

import pytest

from audit.models import AuditLog
from inventory import documents, stock_files
from inventory.errors import (
    StockChangeRefusedError,
    StockFileRefusedError,
    StockRequestReusedError,
    UnusableFileError,
)
from inventory.models import StockDocument, StockMovement, Warehouse
from tests import factories
from tests.inventory.test_services import make_order, reserve, stands, want

pytestmark = pytest.mark.django_db
HEADER = "sku,warehouse,quantity,mode,reason\n"


@pytest.fixture
def apples():
    """Ten on hand in MAIN, four of them promised."""
    factories.WarehouseFactory(code="EAST")
    product = factories.ProductFactory(sku="APPLE", on_hand=10)
    reserve(make_order(), want(product, 4))
    return product


def problems(text):
    return [
        (problem.line, problem.reason) for problem in stock_files.preview_file(text=text).problems
    ]


def apply(text, **more):
    return stock_files.apply_file(text=text, reason="Monday's file", **more)


class TestPreview:
    def test_says_what_each_line_would_change_and_changes_nothing(self, apples):
        factories.ProductFactory(sku="PEAR", on_hand=3)
        text = HEADER + (
            "APPLE,MAIN,-2,adjust,broken\n"
            "apple,EAST,7,RECEIVE,delivery 17\n"
            '\n"PEAR",MAIN,5,count,"stock-take, May"\n'
        )

        seen = stock_files.preview_file(text=text)

        assert [(t.number, t.sku, c.on_hand, c.after) for t, c in seen.changes] == [
            (2, "APPLE", 10, 8),
            (3, "APPLE", 0, 7),
            (5, "PEAR", 3, 5),
        ]
        assert seen.problems == []
        assert seen.seen == {2: 10, 3: 0, 5: 3}
        assert stands(apples) == [(10, 4)]
        assert not StockDocument.objects.exists()
        assert not AuditLog.objects.filter(entity_type="stock_level").exists()

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("APPLE,MAIN,-7,adjust,broken", "at most 6 can be taken away"),
            ("APPLE,MAIN,3,count,stock-take", "4 are promised"),
            ("PLUM,MAIN,1,receive,x", "sku: there is no such product"),
            ("APPLE,WEST,1,receive,x", "warehouse: is one of EAST, MAIN"),
            ("APPLE,main,1,receive,x", "warehouse: is one of EAST, MAIN"),
            ("APPLE,MAIN,1,set,x", "mode: is one of receive, adjust, count"),
            ("APPLE,MAIN,1.0,receive,x", "quantity: is a whole number"),
            ("APPLE,MAIN,,count,x", "quantity: is a whole number"),
            ("APPLE,MAIN,1e3,receive,x", "quantity: is a whole number"),
            ("APPLE,MAIN,\uff11,receive,x", "quantity: is a whole number"),
            ("APPLE,MAIN,=1+1,receive,x", "quantity: is a whole number"),
            ("APPLE,MAIN,99999999999,receive,x", "quantity: is a whole number"),
            ("APPLE,MAIN,9999999999,receive,x", "quantity: Between 1 and"),
            ("APPLE,MAIN,0,receive,x", "quantity: Between 1 and"),
            ("APPLE,MAIN,-1,count,x", "quantity: Between 0 and"),
            ("APPLE,MAIN,0,adjust,x", "quantity: Not 0"),
            ("APPLE,MAIN,1,receive,", "reason: Say why"),
            (f"APPLE,MAIN,1,receive,{'x' * 201}", "reason: At most 200"),
            ("APPLE,MAIN,1,receive,\x07", "reason: Control characters"),
            ("APPLE,MAIN,1,receive", "has 4 cells, the header has 5"),
            ("APPLE,MAIN,1,receive,x,y", "has 6 cells, the header has 5"),
            ('APPLE,MAIN,1,receive,"x', "is not CSV"),
            ("\x00,MAIN,1,receive,x", "sku: there is no such product"),
        ],
    )
    def test_says_of_a_bad_line_what_to_do(self, apples, line, said):
        ((number, reason),) = problems(f"{HEADER}{line}\n")

        assert number == 2
        assert said in reason

    def test_tells_all_bad_lines_by_their_numbers(self, apples):
        text = (
            HEADER + "APPLE,MAIN,1,receive,x\nPLUM,MAIN,1,receive,x\nAPPLE,MAIN,2,count,x\n,,,,\n"
        )

        assert [line for line, _ in problems(text)] == [3, 4, 5]
        assert "on line 2 already" in problems(text)[1][1]

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "\n",
            HEADER,
            "sku,warehouse,quantity,mode\nAPPLE,MAIN,1,receive\n",
            "sku,warehouse,quantity,mode,reason,price\nAPPLE,MAIN,1,receive,x,1\n",
            "sku,sku,quantity,mode,reason\nAPPLE,APPLE,1,receive,x\n",
            'sku,"warehouse\n',
            HEADER + "APPLE,MAIN,1,receive,x\n" * (stock_files.MOST_LINES + 1),
            HEADER + "x" * stock_files.MOST_BYTES,
        ],
    )
    def test_refuses_a_file_that_is_none(self, apples, text):
        with pytest.raises(UnusableFileError):
            stock_files.preview_file(text=text)

    @pytest.mark.parametrize("delimiter", [";", "\t"])
    def test_takes_what_any_spreadsheet_writes(self, apples, delimiter):
        text = f"{HEADER}APPLE,MAIN,1,receive,x\n".replace(",", delimiter)

        assert problems(text) == []

    def test_is_as_long_when_a_browser_sends_it_back(self, apples, monkeypatch):
        text = HEADER + "APPLE,MAIN,1,receive,x\n"
        monkeypatch.setattr(stock_files, "MOST_BYTES", len(text))

        assert problems(text.replace("\n", "\r\n")) == []

    def test_takes_columns_in_any_order_and_a_byte_order_mark(self, apples):
        text = "\ufeffReason, mode ,quantity,warehouse,SKU\nx,count,9,MAIN,APPLE\n"

        assert problems(text) == []

    def test_asks_as_many_queries_for_many_lines_as_for_one(
        self, apples, django_assert_num_queries
    ):
        many = "".join(f"{factories.ProductFactory().sku},MAIN,1,receive,x\n" for _ in range(20))

        for lines in ("APPLE,MAIN,1,receive,x\n", many):
            with django_assert_num_queries(3):
                stock_files.preview_file(text=HEADER + lines)


class TestApply:
    def test_does_all_of_it_as_one_document(self, apples):
        user = factories.CustomerFactory()
        text = HEADER + "APPLE,MAIN,-2,adjust,broken\nAPPLE,EAST,7,receive,delivery 17\n"

        done = apply(text, user_id=user.pk)

        assert stands(apples) == [(8, 4), (7, 0)]
        assert (done.kind, done.reason, done.user_id) == ("file", "Monday's file", user.pk)
        moved = StockMovement.objects.filter(document=done).order_by("stock_level_id")
        assert list(moved.values_list("kind", "quantity", "reason")) == [
            ("adjust", -2, "broken"),
            ("receive", 7, "delivery 17"),
        ]

    def test_does_nothing_if_a_line_is_bad(self, apples):
        text = HEADER + "APPLE,EAST,7,receive,x\nPLUM,MAIN,1,receive,x\nAPPLE,MAIN,?,count,x\n"

        with pytest.raises(StockFileRefusedError) as caught:
            apply(text)

        assert [problem.line for problem in caught.value.problems] == [3, 4]
        assert caught.value.message.startswith("Line 3: sku: there is no such product")
        assert stands(apples) == [(10, 4)]

    def test_does_nothing_if_an_order_took_what_the_preview_had_left(self, apples):
        text = HEADER + "APPLE,EAST,7,receive,x\nAPPLE,MAIN,-6,adjust,broken\n"
        seen = stock_files.preview_file(text=text).seen
        reserve(make_order(), want(apples, 1))

        with pytest.raises(StockChangeRefusedError, match="at most 5"):
            apply(text, seen=seen)

        assert stands(apples) == [(10, 5)]

    def test_takes_a_count_only_while_stock_lies_as_the_preview_saw_it(self, apples):
        text = HEADER + "APPLE,MAIN,9,count,stock-take\n"
        seen = stock_files.preview_file(text=text).seen
        main = Warehouse.objects.get(code="MAIN")
        documents.adjust(product_id=apples.pk, warehouse_id=main.pk, delta=-2, reason="broken")

        with pytest.raises(StockChangeRefusedError, match="count again"):
            apply(text, seen=seen)

        assert stands(apples) == [(8, 4)]

    def test_takes_receipts_and_adjustments_also_if_stock_has_moved_since(self, apples):
        text = HEADER + "APPLE,MAIN,-2,adjust,broken\n"
        seen = stock_files.preview_file(text=text).seen
        factories.receive(apples, 5)

        apply(text, seen=seen)

        assert stands(apples) == [(13, 4)]

    def test_sent_twice_counts_once(self, apples):
        text = HEADER + "APPLE,MAIN,1,receive,x\n"

        assert apply(text, request_key="k").pk == apply(text, request_key="k").pk
        with pytest.raises(StockRequestReusedError):
            apply(HEADER + "APPLE,MAIN,2,receive,x\n", request_key="k")

        assert stands(apples) == [(11, 4)]

    def test_of_the_longest_file_takes_less_than_orders_wait_for(self, apples):
        products = [factories.ProductFactory(on_hand=0) for _ in range(200)]
        text = HEADER + "".join(f"{p.sku},MAIN,1,receive,x\n" for p in products)

        done = apply(text)

        assert done.movements.count() == 200


class TestWhatIsWritten:
    def test_the_count_sheet_can_be_filled_in_and_read_again(self, apples):
        factories.ProductFactory(sku="PEAR", on_hand=3)
        sheet = io.StringIO()

        stock_files.write_count_sheet(sheet, warehouse=Warehouse.objects.get(code="MAIN"))

        rows = list(csv.reader(io.StringIO(sheet.getvalue())))
        assert rows[0] == [*stock_files.COLUMNS, "expected"]
        assert rows[1:] == [
            ["APPLE", "MAIN", "10", "count", "", "10"],
            ["PEAR", "MAIN", "3", "count", "", "3"],
        ]
        filled = sheet.getvalue().replace("count,", "count,May")
        assert problems(filled) == []

    def test_a_count_is_refused_if_stock_moved_since_the_sheet_was_made(self, apples):
        """Counted at half past nine, two shipped at ten, sent in at five."""
        sheet = io.StringIO()
        stock_files.write_count_sheet(sheet, warehouse=Warehouse.objects.get(code="MAIN"))
        filled = sheet.getvalue().replace("count,", "count,May")
        factories.receive(apples, 3)

        ((line, reason),) = problems(filled)
        assert (line, "10 were on hand when the count began, 13 are now" in reason) == (2, True)
        seen = stock_files.preview_file(text=filled).seen
        with pytest.raises(StockChangeRefusedError):
            apply(filled, seen=seen)
        assert stands(apples) == [(13, 4)]

    def test_what_a_sheet_expected_says_nothing_of_what_came(self, apples):
        apply(f"{HEADER.strip()},expected\nAPPLE,MAIN,2,receive,x,99\n")

        assert stands(apples) == [(12, 4)]

    def test_without_what_was_expected_the_preview_counts(self, apples):
        text = f"{HEADER.strip()},expected\nAPPLE,MAIN,9,count,x,\n"
        seen = stock_files.preview_file(text=text).seen
        factories.receive(apples, 3)

        with pytest.raises(StockChangeRefusedError):
            apply(text, seen=seen)

    @pytest.mark.parametrize("expected", ["ten", "1.0", "=1"])
    def test_what_was_expected_is_a_number(self, apples, expected):
        text = f"{HEADER.strip()},expected\nAPPLE,MAIN,9,count,x,{expected}\n"

        ((_, reason),) = problems(text)
        assert reason.startswith("expected: is what the sheet said")

    def test_a_large_building_has_several_sheets_each_of_which_can_be_read(
        self, apples, monkeypatch
    ):
        monkeypatch.setattr(stock_files, "MOST_LINES", 2)
        for sku in ("PEAR", "PLUM", "FIG", "DATE"):
            factories.ProductFactory(sku=sku, on_hand=1)
        main = Warehouse.objects.get(code="MAIN")

        assert dict(stock_files.count_sheets())[main] == 3
        skus = []
        for sheet in (1, 2, 3):
            file = io.StringIO()
            stock_files.write_count_sheet(file, warehouse=main, sheet=sheet)
            filled = file.getvalue().replace("count,", "count,May")
            assert problems(filled) == []
            skus += [row[0] for row in csv.reader(io.StringIO(filled))][1:]
        assert skus == ["APPLE", "DATE", "FIG", "PEAR", "PLUM"]

    def test_no_cell_is_a_formula(self, apples):
        code = "=HYPERLINK(1)"
        factories.receive(apples, 1, warehouse=factories.WarehouseFactory(code=code))
        sheet, bad = io.StringIO(), io.StringIO()

        stock_files.write_count_sheet(sheet, warehouse=Warehouse.objects.get(code=code))
        stock_files.write_problems(bad, [stock_files.Problem(2, "=cmd|' /C calc'!A0")])

        assert list(csv.reader(io.StringIO(sheet.getvalue())))[1][1] == f"'{code}"
        assert list(csv.reader(io.StringIO(bad.getvalue())))[1][1].startswith("'=")
        assert problems(sheet.getvalue().replace("count,", "count,May")) == []
