"""Files that staff upload: previewed first, then all of it or nothing, and never believed."""

from __future__ import annotations

import contextlib
import io
import zipfile
from decimal import Decimal

import pytest

from audit.models import AuditLog
from config.kernel import xlsx_files
from config.kernel.errors import InvalidTransitionError, NotFoundError, ValidationFailedError
from inventory.models import Category, Price, Product, StockLevel
from orders.errors import NotAllowedError
from orders.models import BackgroundJob, Coupon
from orders.services import job_running, jobs
from orders.transfer import imports
from tests import factories
from tests.transfer.conftest import bomb, confirm, export, read_csv, run, upload, workbook

pytestmark = pytest.mark.django_db

PRODUCTS = "sku,name,category,price_USD\r\n"


@pytest.fixture
def shelf():
    return factories.CategoryFactory()


class TestPreview:
    def test_tells_what_would_be_added_changed_and_left(self, manager, shelf):
        factories.ProductFactory(sku="TEA", name="Tea", price="3.50")
        factories.ProductFactory(sku="CUP", name="Cup", price="7.00")

        preview = upload(
            "products",
            manager,
            f"{PRODUCTS}TEA,Green tea,grocery,3.50\r\nCUP,Cup,grocery,8\r\nPOT,Pot,grocery,20\r\n"
            "SAME,,,\r\n",
        )

        assert preview.result == {
            "lines": 4,
            "created": 1,
            "updated": 1,
            "unchanged": 0,
            "prices": 2,
            "bad_lines": 1,
            "ignored_columns": [],
            "problems": [{"line": 5, "reason": "name: must not be empty"}],
            "changes": [
                {
                    "key": "CUP",
                    "before": {"price_USD": "7.00"},
                    "after": {"price_USD": "8.00"},
                },
                {
                    "key": "POT",
                    "before": None,
                    "after": {"name": "Pot", "category": "grocery", "price_USD": "20.00"},
                },
                {"key": "TEA", "before": {"name": "Tea"}, "after": {"name": "Green tea"}},
            ],
            "written": False,
        }

    @pytest.mark.parametrize(
        ("subject", "text"),
        [
            ("products", f"{PRODUCTS}POT,Pot,grocery,20\r\n"),
            ("categories", "slug,name\r\ntea,Tea\r\n"),
            ("coupons", "code,kind,value\r\nX,percent,5\r\n"),
        ],
    )
    def test_changes_nothing(self, manager, shelf, subject, text):
        preview = upload(subject, manager, text)

        assert (preview.status, preview.result["created"]) == ("done", 1)
        assert not Product.objects.exists()
        assert not Coupon.objects.exists()
        assert Category.objects.count() == 1
        assert not AuditLog.objects.filter(event_type__endswith="IMPORTED").exists()

    def test_tells_pictures_as_a_file_has_them(self, manager, shelf):
        factories.ProductFactory(sku="TEA", image_url="https://x.test/1.png", image_alt="One")

        preview = upload(
            "products",
            manager,
            "sku,image_urls,image_alts\r\n"
            'TEA,https://x.test/1.png https://x.test/2.png,"One\nTwo"\r\n',
        )

        [change] = preview.result["changes"]
        assert change["before"] == {"image_urls": "https://x.test/1.png", "image_alts": "One"}
        assert change["after"] == {
            "image_urls": "https://x.test/1.png https://x.test/2.png",
            "image_alts": "One\nTwo",
        }


class TestThePreviewsCounts:
    """Are found without writing, and are those of the import."""

    FILES = {
        "prices of new and old ones": "sku,name,category,price_USD,price_EUR\r\n"
        "TEA,Tea,grocery,3.50,\r\nCUP,Cup,grocery,8,9\r\nPOT,Pot,grocery,20,21\r\n",
        "a name": "sku,name\r\nTEA,Green tea\r\nCUP,Cup\r\n",
        "pictures without their words": "sku,image_urls\r\n"
        "TEA,https://x.test/1.png https://x.test/2.png\r\nCUP,\r\n",
        "pictures with other words": "sku,image_urls,image_alts\r\nTEA,https://x.test/1.png,Two\r\n",
        "codes alone": "sku\r\nTEA\r\n",
    }

    @pytest.mark.parametrize("text", FILES.values(), ids=FILES)
    def test_of_products(self, manager, text):
        picture = {"image_url": "https://x.test/1.png", "image_alt": "One"}
        factories.ProductFactory(sku="TEA", name="Tea", price="3.50", **picture)
        factories.ProductFactory(sku="CUP", name="Cup", price="7.00")

        preview = upload("products", manager, text)
        job = confirm(preview, manager)

        names = ("lines", "created", "updated", "prices", "bad_lines")
        assert [preview.result[name] for name in names] == [job.result[name] for name in names]


class TestConfirmed:
    def test_is_written_and_told(self, manager, shelf):
        preview = upload("products", manager, f"{PRODUCTS}POT,Pot,grocery,20\r\n")

        job = confirm(preview, manager)

        assert (job.status, job.result["written"], job.result["created"]) == ("done", True, 1)
        assert Price.objects.get(product__sku="POT").amount == 20
        told = AuditLog.objects.filter(entity_type="background_job").order_by("id")
        assert [row.event_type for row in told] == ["IMPORT_UPLOADED", "IMPORT_CONFIRMED", "IMPORT"]
        assert told[2].data["created"] == 1
        assert told[2].user_id == manager.pk
        assert AuditLog.objects.get(event_type="PRODUCTS_IMPORTED").user_id == manager.pk

    def test_twice_is_once(self, manager, shelf):
        preview = upload("products", manager, f"{PRODUCTS}POT,Pot,grocery,20\r\n")

        assert confirm(preview, manager) == confirm(preview, manager)

        assert BackgroundJob.objects.filter(kind="import").count() == 1
        assert AuditLog.objects.filter(event_type="PRODUCTS_IMPORTED").count() == 1

    def test_with_bad_lines_is_refused(self, manager, shelf):
        preview = upload("products", manager, f"{PRODUCTS}pot,Pot,grocery,20\r\n")

        with pytest.raises(InvalidTransitionError, match="Correct the lines"):
            confirm(preview, manager)

        assert not BackgroundJob.objects.filter(kind="import").exists()

    def test_that_has_become_wrong_changes_nothing(self, manager, shelf):
        preview = upload(
            "products", manager, f"{PRODUCTS}POT,Pot,grocery,20\r\nCUP,Cup,grocery,1\r\n"
        )
        shelf.delete()

        job = confirm(preview, manager)

        assert job.status == "failed"
        assert "since the preview 2 lines became bad; line 2: category" in job.error
        assert not Product.objects.exists()
        assert not AuditLog.objects.filter(event_type="IMPORT").exists()

    def test_by_another_is_not_found(self, manager, staff, shelf):
        preview = upload("products", manager, f"{PRODUCTS}POT,Pot,grocery,20\r\n")

        with pytest.raises(NotFoundError):
            jobs.confirm_import(
                preview_id=preview.pk, user=staff("inventory.import_products", is_superuser=True)
            )

    def test_of_one_who_lost_the_right_is_refused(self, staff, shelf):
        clerk = staff("inventory.import_products")
        preview = upload("products", clerk, f"{PRODUCTS}POT,Pot,grocery,20\r\n")
        jobs.confirm_import(preview_id=preview.pk, user=clerk)
        clerk.user_permissions.clear()

        run()

        job = BackgroundJob.objects.get(kind="import")
        assert (job.status, "may not do this any more" in job.error) == ("failed", True)
        assert not Product.objects.exists()


def meanwhile(monkeypatch, happens):
    """Between an import's reading and its writing."""
    really = job_running._held

    @contextlib.contextmanager
    def held(job):
        happens()
        with really(job):
            yield

    monkeypatch.setattr(job_running, "_held", held)


class TestACatalogueThatChanges:
    """While the file of an import is read: nothing is half written."""

    def test_by_a_category_less(self, manager, shelf, monkeypatch):
        preview = upload("products", manager, f"{PRODUCTS}POT,Pot,grocery,20\r\n")
        meanwhile(monkeypatch, shelf.delete)

        job = confirm(preview, manager)

        assert (job.status, "changed while the file was read" in job.error) == ("failed", True)
        assert not Product.objects.exists()

    def test_by_a_product_less(self, manager, monkeypatch):
        tea = Product.objects.create(sku="TEA", name="Tea", category=factories.CategoryFactory())
        preview = upload("products", manager, "sku,name\r\nTEA,Green tea\r\n")
        meanwhile(monkeypatch, tea.delete)

        job = confirm(preview, manager)

        assert (job.status, "changed while the file was read" in job.error) == ("failed", True)

    def test_by_a_product_more(self, manager, shelf, monkeypatch):
        preview = upload("products", manager, f"{PRODUCTS}POT,Pot,grocery,20\r\n")
        meanwhile(monkeypatch, lambda: factories.ProductFactory(sku="POT", name="Kettle"))

        job = confirm(preview, manager)

        assert (job.status, job.result["created"], job.result["updated"]) == ("done", 0, 1)
        assert Product.objects.get().name == "Pot"


class TestRoundTrip:
    @pytest.mark.parametrize("file_format", ["csv", "xlsx"])
    def test_an_export_of_products_changes_nothing(self, manager, file_format):
        factories.ProductFactory(
            sku="TEA",
            name="=Tea",
            description="-1\n+2;=3\n\n- x|@y\n'- z",
            attributes={"a": "=b"},
            weight_grams=5,
            image_url="https://x.test/1.png",
            price="3.50",
        )
        Product.objects.create(sku="CUP", name="'=Cup", category=Category.objects.get())
        content = export("products", manager, file_format=file_format)

        preview = upload("products", manager, content, name=f"x.{file_format}")

        result = preview.result
        assert (result["lines"], result["created"], result["updated"]) == (2, 0, 0)
        assert (result["bad_lines"], result["changes"]) == (0, [])
        assert result["ignored_columns"] == ["on_hand", "allocated", "available"]

    @pytest.mark.parametrize("file_format", ["csv", "xlsx"])
    def test_an_export_of_coupons_and_categories_changes_nothing(self, manager, file_format):
        factories.CouponFactory(
            code="A",
            currency="USD",
            minimum_subtotal=5,
            max_uses=3,
            starts_at="2026-01-01T12:00:00Z",
        )
        factories.CouponFactory(code="B", kind="buy_x_get_y", buy_quantity=2, get_quantity=1)
        below = Category.objects.create(
            slug="a", name="+A", parent=factories.CategoryFactory(slug="z")
        )
        Category.objects.create(slug="b", name="B", parent=below)

        for subject, lines in (("coupons", 2), ("categories", 3)):
            content = export(subject, manager, file_format=file_format)
            result = upload(subject, manager, content).result
            assert (result["unchanged"], result["problems"]) == (lines, [])

    def test_an_edited_price_is_the_one_change(self, manager):
        factories.ProductFactory(sku="TEA", price="3.50")
        text = export("products", manager).decode().replace("3.50", "4.00")

        confirm(upload("products", manager, text), manager)

        assert Price.objects.get().amount == 4
        assert StockLevel.objects.get().on_hand == 100


class TestCoupons:
    def test_are_added_and_changed_with_an_audit_row_each(self, manager):
        old = factories.CouponFactory(code="OLD", value=5)
        Coupon.objects.filter(pk=old.pk).update(times_used=7)

        preview = upload(
            "coupons", manager, "code,kind,value\r\nold,percent,6\r\nNEW,percent,10\r\n"
        )
        job = confirm(preview, manager)

        assert preview.result["changes"][0] == {
            "key": "OLD",
            "before": {"value": "5.00"},
            "after": {"value": "6"},
        }
        assert (job.result["created"], job.result["updated"]) == (1, 1)
        old.refresh_from_db()
        assert (old.value, old.times_used) == (6, 7)
        changed = AuditLog.objects.get(event_type="STAFF_CHANGED")
        assert (changed.entity_type, changed.entity_id) == ("coupon", old.pk)
        assert changed.data == {
            "changed": ["value"],
            "before": {"value": "5.00"},
            "after": {"value": "6"},
            "by": "import",
        }
        added = AuditLog.objects.get(event_type="STAFF_ADDED")
        assert added.data["values"]["code"] == "NEW"
        assert AuditLog.objects.get(event_type="COUPONS_IMPORTED").data["lines"] == 2

    def test_used_meanwhile_keep_their_count(self, manager, monkeypatch):
        """What is counted between the reading and the writing of a row is not written back."""
        coupon = factories.CouponFactory(code="OLD", value=5)
        meanwhile(monkeypatch, lambda: Coupon.objects.update(times_used=9))

        confirm(upload("coupons", manager, "code,value\r\nOLD,6\r\n"), manager)

        coupon.refresh_from_db()
        assert (coupon.value, coupon.times_used) == (6, 9)

    @pytest.mark.parametrize("change", ["changed", "removed"])
    def test_changed_meanwhile_are_not_written_over(self, manager, monkeypatch, change):
        factories.CouponFactory(code="OLD", value=5)
        preview = upload("coupons", manager, "code,kind,value\r\nOLD,percent,6\r\nX,percent,1\r\n")
        here = Coupon.objects.filter(code="OLD")
        meanwhile(monkeypatch, here.delete if change == "removed" else lambda: here.update(value=7))

        job = confirm(preview, manager)

        assert (job.status, "OLD was changed while" in job.error) == ("failed", True)
        assert not Coupon.objects.filter(code="X").exists()
        assert not AuditLog.objects.filter(event_type="STAFF_ADDED").exists()

    @pytest.mark.parametrize(
        ("happens", "constraint"),
        [
            (lambda: factories.CouponFactory(code="X"), "coupons_code"),
            (lambda: Coupon.objects.update(times_used=2), "coupon_used_within_limit"),
        ],
        ids=["added", "used"],
    )
    def test_that_cannot_be_any_more_say_so(self, manager, monkeypatch, happens, constraint):
        factories.CouponFactory(code="OLD", value=5)
        preview = upload(
            "coupons", manager, "code,kind,value,max_uses\r\nOLD,percent,5,1\r\nX,percent,1,\r\n"
        )
        meanwhile(monkeypatch, happens)

        job = confirm(preview, manager)

        assert (job.status, constraint in job.error) == ("failed", True), job.error
        assert Coupon.objects.get(code="OLD").max_uses is None
        assert not AuditLog.objects.filter(event_type="STAFF_CHANGED").exists()

    def test_of_a_file_that_names_only_codes_are_left_as_they_are(self, manager):
        factories.CouponFactory(code="OLD", value=5)

        assert upload("coupons", manager, "code\r\nOLD\r\n").result["unchanged"] == 1

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (",percent,5,,,,true", "code: must not be empty"),
            ("x y,percent,5,,,,true", "code"),
            ("X,magic,5,,,,true", "kind"),
            ("X,percent,a lot,,,,true", "value: is a number"),
            ("X,percent,NaN,,,,true", "value"),
            ("X,percent,101,,,,true", "A percentage is above 0 and at most 100"),
            ("X,fixed,5,,,,true", "an amount is above 0 and has a currency"),
            ("X,fixed,5.50,JPY,,,true", "value: not payable"),
            ("X,fixed,5.50,usd,,,true", "not payable"),
            ("X,percent,5,,soon,,true", "starts_at: is a date and time"),
            ("X,percent,5,,,-1,true", "max_uses: is a whole number"),
            ("X,percent,5,,,,yes", "is_active: is true or false"),
            ("USED,percent,5,,,1,true", "max_uses: it has been used 3 times"),
            ("X,percent,5", "has 3 cells, the header 7"),
        ],
    )
    def test_that_are_wrong_are_told_by_line_and_nothing_is_written(self, manager, line, reason):
        factories.CouponFactory(code="USED", times_used=3)
        before = list(Coupon.objects.values())

        preview = upload(
            "coupons",
            manager,
            f"code,kind,value,currency,starts_at,max_uses,is_active\r\n"
            f"GOOD,percent,5,,,,true\r\n{line}\r\n",
        )

        [problem] = preview.result["problems"]
        assert problem["line"] == 3
        assert reason in problem["reason"]
        assert list(Coupon.objects.values()) == before


class TestCategories:
    def test_may_lie_on_one_of_a_line_above(self, manager):
        confirm(
            upload("categories", manager, "slug,name,parent\r\nfood,Food,\r\ntea,Tea,food\r\n"),
            manager,
        )

        assert Category.objects.get(slug="tea").path == ["food", "tea"]

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            ("tea,Tea,nowhere", "parent: there is no category of that slug"),
            ("grocery,G,grocery", "cannot lie below itself"),
            ("no good,Tea,", "slug"),
            ("tea,,", "name"),
        ],
    )
    def test_that_are_wrong_are_refused(self, manager, shelf, line, reason):
        preview = upload("categories", manager, f"slug,name,parent\r\n{line}\r\n")

        assert reason in preview.result["problems"][0]["reason"]


class TestFiles:
    @pytest.mark.parametrize("delimiter", [",", ";", "\t"])
    @pytest.mark.parametrize("bom", ["", "\ufeff"])
    def test_may_come_from_any_spreadsheet(self, manager, shelf, delimiter, bom):
        text = (
            bom + PRODUCTS.replace(",", delimiter) + delimiter.join(("POT", "Pot", "grocery", "1"))
        )

        assert upload("products", manager, text).result["created"] == 1

    def test_may_be_a_workbook(self, manager, shelf):
        content = workbook(
            ["sku", "name", "category", "price_USD", "is_active"],
            ["POT", "Pot", "grocery", 19.9, True],
            [None, None, None, None, None],
            ["bad", "Pot", "grocery", 0.1 + 0.2, True],
        )

        result = upload("products", manager, content, name="x.xlsx").result

        assert (result["lines"], result["created"]) == (2, 1)
        assert result["changes"][0]["after"]["price_USD"] == "19.90"
        assert result["problems"][0]["line"] == 4

    def test_formulas_are_not_evaluated(self, manager, shelf):
        content = workbook(["sku", "name", "category"], ["POT", '="P"&"ot"', "grocery"])

        result = upload("products", manager, content).result

        assert result["problems"] == [{"line": 2, "reason": "name: must not be empty"}]

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"PK\x03\x04 nothing", "this is not an XLSX file"),
            ("sku;näme".encode("latin-1"), "not UTF-8"),
            (b"name\r\nx\r\n", "needs one called"),
            (b"sku,secret\r\n", "'secret' is not known"),
            (b"sku,sku\r\n", "is there twice"),
            (b"\r\n", "needs one called"),
            (b'"sku"x,name\r\n', "the first line is not CSV"),
        ],
    )
    def test_that_cannot_be_read_say_why(self, manager, content, reason):
        job = upload("products", manager, content)

        assert job.status == "failed"
        assert reason in job.error
        assert not AuditLog.objects.filter(event_type="PRODUCTS_IMPORTED").exists()

    @pytest.mark.parametrize("subject", ["categories", "coupons"])
    def test_whose_header_is_no_csv_say_so(self, manager, subject):
        job = upload(subject, manager, '"code"x,slug\r\n')

        assert (job.status, "the first line is not CSV" in job.error) == ("failed", True)

    @pytest.mark.parametrize("subject", ["categories", "coupons"])
    def test_of_the_wrong_kind_are_refused(self, manager, subject):
        job = upload(subject, manager, "sku,name\r\nX,Y\r\n")

        assert job.status == "failed"
        assert "needs one called" in job.error

    def test_that_are_bombs_are_refused_unread(self, manager, monkeypatch):
        monkeypatch.setattr(xlsx_files, "MOST_UNPACKED", 3 * 1024**2)
        content = bomb(4 * 1024**2)

        job = upload("products", manager, content, name="x.xlsx")

        assert len(content) < 20_000
        assert (job.status, "larger than 3 MB" in job.error) == ("failed", True)

    def test_whose_directory_lies_unpack_no_more_than_it_says(self, manager, monkeypatch):
        content = workbook(["sku"], *([f"SKU-{n}" * 20] for n in range(2_000)))
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            size = packed.getinfo("xl/worksheets/sheet1.xml").file_size
        lying = content.replace(size.to_bytes(4, "little"), (10).to_bytes(4, "little"))
        assert lying != content

        job = upload("products", manager, lying, name="x.xlsx")

        assert job.status == "failed"

    def test_with_an_entity_are_refused(self, manager):
        content = workbook(["sku"], ["X"])
        evil = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(evil, "w") as new:
            for part in old.infolist():
                data = old.read(part)
                if part.filename == "xl/worksheets/sheet1.xml":
                    data = b'<!DOCTYPE x [<!ENTITY a "aaaa">]>' + data
                new.writestr(part, data)

        job = upload("products", manager, evil.getvalue(), name="x.xlsx")

        assert job.status == "failed"
        assert "cannot be read" in job.error or "not an XLSX" in job.error

    def test_that_say_they_are_huge_are_read_by_what_is_there(self, manager, shelf):
        content = workbook(["sku", "name", "category"], ["POT", "Pot", "grocery"])
        evil = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(evil, "w") as new:
            for part in old.infolist():
                data = old.read(part).replace(b'ref="A1:C2"', b'ref="A1:XFD1048576"')
                new.writestr(part, data)

        result = upload("products", manager, evil.getvalue()).result

        assert (result["lines"], result["created"]) == (1, 1)

    @pytest.mark.parametrize(("content", "reason"), [(b"", "empty"), (b"x" * 101, "larger than")])
    def test_too_small_or_too_large_are_not_kept(self, manager, settings, content, reason):
        settings.MAX_UPLOAD_BYTES = 100

        with pytest.raises(ValidationFailedError, match=reason):
            upload("products", manager, content)

        assert not BackgroundJob.objects.exists()

    @pytest.mark.parametrize(
        ("subject", "limit"), [("products", "MOST_LINES"), ("coupons", "MOST_ROWS")]
    )
    def test_of_too_many_lines_are_refused(self, manager, shelf, monkeypatch, subject, limit):
        monkeypatch.setattr(imports, limit, 2)
        text = {
            "products": PRODUCTS + "".join(f"P{n},P,grocery,1\r\n" for n in range(3)),
            "coupons": "code,kind,value\r\n" + "".join(f"C{n},percent,1\r\n" for n in range(3)),
        }[subject]

        job = upload(subject, manager, text)

        assert (job.status, "more than 2 lines" in job.error) == ("failed", True)


class TestRights:
    @pytest.mark.parametrize("subject", list(imports.IMPORTS))
    def test_each_import_needs_its_own(self, staff, subject):
        wanted = imports.PERMISSIONS[subject]
        others = set(imports.PERMISSIONS.values()) - {wanted}

        with pytest.raises(NotAllowedError):
            upload(subject, staff(*others, "inventory.export_products"), "x")

        assert not BackgroundJob.objects.exists()


def test_the_command_and_the_page_write_alike(manager, shelf, tmp_path):
    from django.core.management import call_command  # noqa: PLC0415

    text = f"{PRODUCTS}POT,Pot,grocery,20.50\r\n"
    confirm(upload("products", manager, text), manager)
    by_page = read_csv(export("products", manager))
    Price.objects.all().delete()
    Product.objects.all().delete()
    file = tmp_path / "x.csv"
    file.write_text(text)

    call_command("import_products", str(file))

    assert read_csv(export("products", manager)) == by_page
    assert Price.objects.get().amount == Decimal("20.50")
