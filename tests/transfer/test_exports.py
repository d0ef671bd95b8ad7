"""What is in the files that staff download, and that nothing in them is a formula."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audit.models import AuditLog
from config.kernel import csv_files, xlsx_files
from config.kernel.errors import NotFoundError, ValidationFailedError
from inventory.models import Category, Price, Product, ProductImage
from orders.errors import NotAllowedError
from orders.models import BackgroundJob, Coupon
from orders.services import jobs
from orders.transfer import exports
from orders.transfer.exports import EXPORTS, Selection, open_table
from payments.models import LedgerEntry
from tests import factories
from tests.admin import rows
from tests.transfer.conftest import export, read_csv, read_xlsx

pytestmark = pytest.mark.django_db

EVIL = '=HYPERLINK("http://x")'


def everything_of(name, **selection):
    table = open_table(name, Selection(**selection))
    lines = [line for _, batch in table.rows for line in batch]
    return [dict(zip(table.columns, line, strict=True)) for line in lines]


class TestOrders:
    def test_tell_what_accounting_asks_for(self, manager):
        made = rows.make_everything(1)

        [line] = read_csv(export("orders", manager))

        order = made.order
        assert line == {
            "order_number": "ABCD-0001",
            "created_at": "2026-05-04T03:00:00Z",
            "status": "confirmed",
            "payment_status": "pending",
            "customer_id": str(order.customer_id),
            "email": "ann1@example.com",
            "buyer_name": "Ann Lee 1",
            "currency": "USD",
            "lines": "1",
            "units": "2",
            "subtotal": "20.00",
            "discount_amount": "1.00",
            "shipping_amount": "5.00",
            "tax_amount": "1.66",
            "tax_included": "false",
            "total_amount": "25.66",
            "captured_amount": "25.66",
            "refunded_amount": "0.00",
            "coupon_code": "",
            "invoice_number": "INV-000002",
            "payment_intent": "pi_1",
            "shipping_method": "standard",
            "ship_to_name": "Ann Lee",
            "ship_to_line1": "1 Main St",
            "ship_to_line2": "",
            "ship_to_city": "Springfield",
            "ship_to_postal_code": "62701",
            "ship_to_state": "IL",
            "ship_to_country": "US",
            "tracking_numbers": "1Z1",
            "estimated_delivery": "2026-05-08",
            "shipped_at": "",
            "delivered_at": "",
        }

    def test_leave_out_who_bought_for_those_who_may_not_know(self, staff):
        rows.make_everything(1)
        accountant = staff("orders.export_orders")

        [line] = read_csv(export("orders", accountant, with_personal=True))

        assert not EXPORTS["orders"].personal & set(line)
        assert line["ship_to_country"] == "US"
        assert "Ann" not in str(line)
        assert BackgroundJob.objects.latest("pk").is_personal is False

    def test_write_yen_without_decimals(self, manager):
        rows.make_order(
            1,
            currency="JPY",
            subtotal=20,
            discount_amount=1,
            tax_amount=2,
            shipping_amount=5,
            total_amount=26,
        )

        [line] = read_csv(export("orders", manager))

        assert (line["total_amount"], line["captured_amount"]) == ("26", "0")

    def test_come_by_the_filters_of_a_list(self, manager):
        for n, day in ((1, 1), (2, 2), (3, 3)):
            rows.make_order(n, created_at=datetime(2026, 5, day, tzinfo=UTC))

        found = everything_of(
            "orders",
            filters={"created_at__gte": "2026-05-02T00:00Z", "created_at__lt": "2026-05-03T00:00Z"},
        )

        assert [line["order_number"] for line in found] == ["ABCD-0002"]

    def test_come_one_by_one(self, manager):
        picked = [rows.make_order(n).pk for n in (1, 2, 3)][1:]

        found = everything_of("orders", ids=picked)

        assert [line["order_number"] for line in found] == ["ABCD-0002", "ABCD-0003"]


class TestRows:
    @pytest.mark.parametrize("size", [1, 2, 3, 5, 6])
    @pytest.mark.parametrize("name", list(EXPORTS))
    def test_come_in_pieces_as_they_come_at_once(self, name, size, manager, monkeypatch):
        for n in (1, 2, 3, 4, 5):  # all at the same instant
            rows.make_everything(n)
        at_once = everything_of(name)
        monkeypatch.setattr(exports, "BATCH", size)

        assert everything_of(name) == at_once
        assert len(at_once) >= 5

    def test_cost_as_many_statements_for_20_as_for_one(self):
        def statements():
            told = {}
            for name in EXPORTS:
                with CaptureQueriesContext(connection) as queries:
                    everything_of(name)
                told[name] = len(queries)
            return told

        rows.make_everything(1)
        for_one = statements()
        for n in range(2, 21):
            rows.make_everything(n)

        assert statements() == for_one

    def test_made_after_the_beginning_are_not_in_it(self, monkeypatch):
        monkeypatch.setattr(exports, "BATCH", 1)
        first, second = (rows.make_product(n) for n in (1, 2))

        table = open_table("products", Selection())
        found = [next(table.rows)[1][0][0]]
        rows.make_product(3)
        found += [batch[0][0] for _, batch in table.rows]

        assert found == [first.sku, second.sku]

    def test_of_nothing_are_none(self, manager):
        text = export("coupons", manager).decode()

        assert text == ",".join(open_table("coupons", Selection()).columns) + "\r\n"


class TestProducts:
    def test_have_their_prices_pictures_and_stock(self, manager):
        product = factories.ProductFactory(
            sku="TEA",
            name="Tea",
            image_url="https://x.test/1.png",
            image_alt="A cup",
            attributes={"color": "grün"},
            on_hand=7,
            price="3.50",
        )
        Price.objects.create(product=product, currency="JPY", amount=500)
        ProductImage.objects.create(product=product, position=1, url="https://x.test/2.png")

        [line] = read_csv(export("products", manager))

        assert line == {
            "sku": "TEA",
            "name": "Tea",
            "description": "",
            "category": "grocery",
            "image_urls": "https://x.test/1.png https://x.test/2.png",
            "image_alts": "A cup",
            "tax_class": "standard",
            "weight_grams": "",
            "is_active": "true",
            "attributes": '{"color": "grün"}',
            "on_hand": "7",
            "allocated": "0",
            "available": "7",
            "price_JPY": "500",
            "price_USD": "3.50",
        }


class TestCustomers:
    def test_are_those_with_an_account_that_is_not_erased(self, manager):
        made = rows.make_everything(1)
        rows.make_customer(2, erased_at=rows.NOW)

        [line] = read_csv(export("customers", manager))

        assert line["email"] == made.customer.email
        assert (line["order_count"], line["lifetime_value"]) == ("1", "25.66 USD")
        assert rows.SECRET not in str(line)


def test_the_ledger_has_the_columns_of_the_command(manager):
    from payments.selectors import LedgerLine  # noqa: PLC0415

    rows.make_everything(1)

    lines = read_csv(export("ledger", manager))

    assert tuple(lines[0]) == LedgerLine._fields
    assert sum(Decimal(line["amount"]) for line in lines) == 0
    assert len(lines) == LedgerEntry.objects.count()


class TestFormulas:
    @pytest.mark.parametrize("first", csv_files.FORMULA_BEGINS_WITH)
    @pytest.mark.parametrize("quotes", ["", "'", "''"])
    def test_are_kept_from_being_one_and_come_back_as_they_were(self, first, quotes):
        text = f"{quotes}{first}1"

        cell = csv_files.text(text)

        assert cell == f"'{text}"
        assert csv_files.plain(cell) == text

    @pytest.mark.parametrize("text", ["", "'", "it's", "'tis", "1=1", "a"])
    def test_other_texts_stay(self, text):
        assert csv_files.text(text) == text
        assert csv_files.plain(text) == text

    @pytest.mark.parametrize(("file_format", "read"), [("csv", read_csv), ("xlsx", read_xlsx)])
    def test_are_in_no_file(self, manager, file_format, read):
        Category.objects.create(slug="x", name=EVIL)
        factories.ProductFactory(name=EVIL, description="@SUM(A1)")
        rows.make_customer(1, first_name="+1", last_name="-2")

        names = {
            line["name"] for line in read(export("categories", manager, file_format=file_format))
        }
        [product] = read(export("products", manager, file_format=file_format))
        [customer] = read(export("customers", manager, file_format=file_format))

        assert f"'{EVIL}" in names
        assert (product["name"], product["description"]) == (f"'{EVIL}", "'@SUM(A1)")
        assert (customer["first_name"], customer["last_name"]) == ("'+1", "'-2")

    def test_a_negative_amount_stays_a_number(self, manager):
        rows.make_everything(1)

        amounts = {line["amount"] for line in read_csv(export("ledger", manager))}
        numbers = {
            line["amount"] for line in read_xlsx(export("ledger", manager, file_format="xlsx"))
        }

        assert amounts == {"1.00", "-1.00"}
        assert numbers == {1, -1}


class TestXlsx:
    def test_has_numbers_and_instants(self, manager):
        rows.make_everything(1)

        [line] = read_xlsx(export("orders", manager, file_format="xlsx"))

        assert line["total_amount"] == 25.66
        assert line["created_at"] == datetime(2026, 5, 4, 3)  # noqa: DTZ001 - a sheet has no zones
        assert line["tax_included"] is False
        assert line["shipped_at"] is None

    def test_of_more_rows_than_it_has_room_for_is_refused(self, manager, monkeypatch):
        monkeypatch.setattr(xlsx_files, "MOST_ROWS", 1)
        for n in (1, 2):
            rows.make_product(n)
        job = jobs.request_export(
            subject="products",
            file_format="xlsx",
            selection=Selection(),
            user=manager,
            request_key="x",
        )

        from tests.transfer.conftest import run  # noqa: PLC0415

        run()
        job.refresh_from_db()

        assert job.status == "failed"
        assert "choose CSV" in job.error
        assert not job.chunks.exists()

    def test_drops_characters_that_no_sheet_may_have(self, manager):
        Coupon.objects.create(code="X", name="bell\x07", kind="free_shipping")

        [line] = read_xlsx(export("coupons", manager, file_format="xlsx"))

        assert line["name"] == "bell"


class TestRights:
    @pytest.mark.parametrize("subject", list(EXPORTS))
    def test_each_export_needs_its_own(self, staff, subject):
        wanted = EXPORTS[subject].permission
        others = {one.permission for one in EXPORTS.values()} - {wanted}

        with pytest.raises(NotAllowedError):
            export(subject, staff(*others))

        assert not BackgroundJob.objects.exists()
        assert not AuditLog.objects.filter(event_type__startswith="EXPORT").exists()
        export(subject, staff(wanted))

    @pytest.mark.parametrize("fields", [{"status": "suspended"}, {"is_staff": False}])
    def test_are_only_of_staff_at_work(self, fields):
        person = factories.CustomerFactory(**{"is_staff": True, "is_superuser": True, **fields})
        person.refresh_from_db()

        with pytest.raises(NotAllowedError):
            export("orders", person)


class TestBadWishes:
    @pytest.mark.parametrize(
        ("subject", "file_format", "selection", "error"),
        [
            ("secrets", "csv", {}, NotFoundError),
            ("orders", "pdf", {}, ValidationFailedError),
            ("orders", "csv", {"filters": {"customer__email": "x@y.z"}}, ValidationFailedError),
            ("orders", "csv", {"filters": {"created_at__gte": "soon"}}, ValidationFailedError),
            ("orders", "csv", {"ids": range(10_001)}, ValidationFailedError),
        ],
    )
    def test_are_refused_at_once(self, manager, subject, file_format, selection, error):
        with pytest.raises(error):
            export(subject, manager, file_format=file_format, **selection)

        assert not BackgroundJob.objects.exists()


def test_every_step_is_in_the_audit_log(manager):
    rows.make_everything(1)

    export("orders", manager, filters={"status__exact": "confirmed"})

    job = BackgroundJob.objects.latest("pk")
    steps = AuditLog.objects.filter(entity_type="background_job").order_by("id")
    assert [step.event_type for step in steps] == [
        "EXPORT_REQUESTED",
        "EXPORT",
        "EXPORT_DOWNLOADED",
    ]
    assert {step.entity_id for step in steps} == {job.pk}
    assert steps[1].user_id == manager.pk
    assert steps[1].data == {
        "subject": "orders",
        "rows": 1,
        "bytes": job.size,
        "format": "csv",
        "filters": {"status__exact": "confirmed"},
        "picked": None,
        "personal": True,
    }
    assert Product.objects.exists()
