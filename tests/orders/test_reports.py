"""Reports of tax and revenue: to the cent what the ledger says, or they say that they are not."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pgtrigger
import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from openpyxl import load_workbook

from audit import outbox
from audit.models import AuditLog
from config.kernel.clock import Deadline
from config.kernel.errors import ValidationFailedError
from inventory.models import Price, Product
from orders import books
from orders.models import Invoice, Order, TaxDestination, TaxRate
from orders.reports import revenue, tax
from orders.reports.days import Days, shop_days
from orders.services.disputes import sync_dispute
from orders.services.refunds import RefundWish, decide_refund, finish_refund, sync_refunds
from payments import bookkeeping
from payments.models import LedgerEntry
from tests import factories
from tests.admin.plans import read_without_an_index
from tests.orders.mismatches import tamper
from tests.shop import ADDRESS, BERLIN, order_of

pytestmark = pytest.mark.django_db(transaction=True)

NEW_JERSEY = {**ADDRESS, "state": "NJ", "city": "Newark", "postal_code": "07102"}
TOKYO = {
    **ADDRESS,
    "country": "JP",
    "state": "Tokyo",
    "city": "Chiyoda",
    "postal_code": "100-0001",
}
# The provider's clock and the database's may differ by a moment: a day on either side of it.
AROUND_NOW = ("--from", "2020-01-01", "--to", "2029-12-31")


@pytest.fixture
def days():
    return Days(first=date(2020, 1, 1), end=date(2029, 12, 31), zone="America/New_York")


@pytest.fixture
def goods(shop):
    """Something at the standard rate and a book, each with prices in three currencies."""
    factories.TaxRateFactory(tax_class="books", rate=Decimal("0.04"))
    factories.TaxRateFactory(tax_class="shipping", rate=Decimal("0.08875"))
    for country, tax_class, rate in (
        *(("DE", "standard", "0.19"), ("DE", "books", "0.07"), ("DE", "shipping", "0.19")),
        *(("JP", "standard", "0.1"), ("JP", "shipping", "0.1")),
    ):
        TaxRate.objects.create(country=country, region="", tax_class=tax_class, rate=Decimal(rate))
    for country in ("DE", "JP"):
        TaxDestination.objects.create(country=country, prices_include_tax=True)
    for currency, amount in (("EUR", "4.90"), ("JPY", "500")):
        factories.ShippingMethodFactory(currency=currency, amount=Decimal(amount))
    made = {}
    for name, prices in {
        "mug": {"USD": "19.99", "EUR": "17.77", "JPY": "1980"},
        "book": {"USD": "7.77", "EUR": "9.95", "JPY": "990"},
    }.items():
        product = factories.ProductFactory(sku=name.upper(), on_hand=100, price=prices["USD"])
        for currency in ("EUR", "JPY"):
            Price.objects.create(
                product=product, currency=currency, amount=Decimal(prices[currency])
            )
        made[name] = product
    Product.objects.filter(sku="BOOK").update(tax_class="books")
    factories.CouponFactory(code="SAVE10")
    return made


def give_back(order, **wish):
    refund = decide_refund(order_id=order.pk, wish=RefundWish(reason="x", **wish))
    finish_refund(refund_id=refund.pk, deadline=Deadline(5))
    refund.refresh_from_db()
    assert refund.status == "succeeded"
    return refund


def fail(refund, provider):
    """The customer's bank sends it back, days later."""
    provider.decide_refund(refund.stripe_refund_id, "fail")
    sync_refunds(payment_id=refund.payment_id, deadline=Deadline(5))
    refund.refresh_from_db()
    assert refund.status == "failed"


def dispute(order, outcome, provider):
    found = provider.dispute(order.payments.get().payment_intent_id)
    sync_dispute(dispute_id=found["id"], deadline=Deadline(5))
    provider.decide_dispute(found["id"], outcome)
    sync_dispute(dispute_id=found["id"], deadline=Deadline(5))


@pytest.fixture
def business(goods, shopper, provider):
    """Everything that can happen to money, in three currencies and two tax modes."""
    provider._post("/_test/reset", {})

    def order(*items, **changes):
        return order_of(shopper.order(*items, **changes))

    sold = {
        "mixed": order(("MUG", 3), ("BOOK", 2), coupon_code="SAVE10"),
        "exempt": order(("MUG", 1), shipping_address=NEW_JERSEY),
        "cancelled": order(("BOOK", 1)),
        "by_line": order(("MUG", 2), ("BOOK", 3)),
        "came_back": order(("MUG", 1)),
        "won": order(("MUG", 4)),
        "lost": order(("MUG", 5)),
        "berlin": order(("MUG", 3), ("BOOK", 1), currency="EUR", shipping_address=BERLIN),
        "tokyo": order(("MUG", 3), currency="JPY", shipping_address=TOKYO),
    }
    shopper.order(("MUG", 1), payment_method_id="pm_card_chargeDeclined")
    shopper.post(f"/orders/{sold['cancelled'].order_number}/cancel")
    give_back(sold["mixed"], amount=Decimal("5.01"))
    give_back(sold["mixed"], amount=Decimal("3.33"))
    give_back(sold["by_line"], units={"BOOK": 1})
    give_back(sold["berlin"], units={"BOOK": 1})
    give_back(sold["tokyo"], amount=Decimal(777))
    failing = give_back(sold["came_back"], amount=Decimal("2.00"))
    outbox.relay()
    fail(failing, provider)
    dispute(sold["won"], "win", provider)
    dispute(sold["lost"], "lose", provider)
    bookkeeping.book_balance_transactions()
    outbox.relay()
    assert not books.check().violations
    return {name: Order.objects.get(pk=order.pk) for name, order in sold.items()}


def ledger_sums():
    """What the ledger says of the account at the provider, entry by entry: currency and kind."""
    sums = defaultdict(Decimal)
    for entry in LedgerEntry.objects.filter(account="stripe_balance"):
        sums[entry.currency, entry.kind] += entry.amount
    return sums


def moved_to(order, instant):
    """As if all that happened to an order's money had happened then."""
    with pgtrigger.ignore():
        LedgerEntry.objects.filter(payment__order=order).update(created_at=instant)


def overstate(order):
    """The order says that a dollar more was paid than came in."""
    tamper(order, shipping_amount=order.shipping_amount + 1, total_amount=order.total_amount + 1)


class TestTheTaxReport:
    def test_is_the_ledger_to_the_cent(self, business, days):
        report = tax.read(days)

        sums = ledger_sums()
        assert report.is_equal
        assert report.gaps == []
        assert set(report.totals) == {"USD", "EUR", "JPY"}
        for currency, total in report.totals.items():
            back = -sums[currency, "refund"] - sums[currency, "refund_reversal"]
            assert (total.gross_sold, total.gross_returned) == (sums[currency, "capture"], back)

    def test_has_the_tax_that_was_charged_and_the_documents_gave_back(self, business, days):
        report = tax.read(days)

        charged, given = Counter(), Counter()
        for order in Order.objects.filter(payments__amount_received__gt=0):
            charged[order.currency] += order.tax_amount
        for document in Invoice.objects.exclude(kind="invoice"):
            sign = 1 if document.kind == "credit_note" else -1
            for row in document.content["taxes"]:
                given[document.currency] += sign * Decimal(row["tax"])
        assert {name: total.tax_collected for name, total in report.totals.items()} == charged
        assert {
            name: total.tax_returned for name, total in report.totals.items() if total.tax_returned
        } == {name: amount for name, amount in given.items() if amount}

    def test_tells_each_jurisdiction_rate_and_class_apart(self, business, days):
        lines = tax.read(days).lines

        told = {
            (*key.place, None if key.rate is None else f"{key.rate.normalize():f}", key.tax_class)
            for key in lines
        }
        assert told == {
            ("EUR", "DE", "", "0.07", "books"),
            ("EUR", "DE", "", "0.19", "shipping"),
            ("EUR", "DE", "", "0.19", "standard"),
            ("JPY", "JP", "", "0.1", "shipping"),
            ("JPY", "JP", "", "0.1", "standard"),
            ("USD", "US", "NJ", "0", "shipping"),
            ("USD", "US", "NJ", "0", "standard"),
            ("USD", "US", "NY", "0.04", "books"),
            ("USD", "US", "NY", "0.08875", "shipping"),
            ("USD", "US", "NY", "0.08875", "standard"),
        }

    def test_tells_what_is_taxable_and_what_is_exempt(self, business, days):
        places = {place[1:]: each for place, each in tax.read(days).jurisdictions.items()}

        newark = places["US", "NJ"]
        assert newark.orders == 1
        assert (newark.taxable, newark.exempt) == (0, Decimal("24.98"))
        assert newark.taxes.tax_due == 0
        new_york = places["US", "NY"]
        assert (new_york.orders, new_york.exempt) == (6, 0)
        assert new_york.taxable == new_york.taxes.net

    def test_worked_by_hand_where_prices_include_tax(self, goods, shopper, days):
        order_of(shopper.order(("MUG", 3), ("BOOK", 1), currency="EUR", shipping_address=BERLIN))

        lines = {key.tax_class: taxes for key, taxes in tax.read(days).lines.items()}

        # 53.31 at 19 %: 8.51; 9.95 at 7 %: 0.65; sending it 4.90 at 19 %: 0.78
        assert {name: (each.net_sold, each.tax_collected) for name, each in lines.items()} == {
            "standard": (Decimal("44.80"), Decimal("8.51")),
            "books": (Decimal("9.30"), Decimal("0.65")),
            "shipping": (Decimal("4.12"), Decimal("0.78")),
        }

    def test_never_gives_more_back_than_was_sold_of_anything(self, business, days):
        left = decide_refund(order_id=business["mixed"].pk, wish=RefundWish(reason="all of it"))
        finish_refund(refund_id=left.pk, deadline=Deadline(5))
        outbox.relay()

        report = tax.read(days)

        assert report.is_equal
        assert all(taxes.net >= 0 and taxes.tax_due >= 0 for taxes in report.lines.values())

    def test_shows_a_refund_on_the_day_of_the_money_and_its_return_on_its_own(self, business):
        order = business["came_back"]
        entries = LedgerEntry.objects.filter(payment__order=order)
        with pgtrigger.ignore():
            for kind, day in (("capture", 1), ("refund", 2), ("refund_reversal", 3)):
                entries.filter(kind=kind).update(created_at=datetime(2021, 5, day, 16, tzinfo=UTC))

        def of(day):
            report = tax.read(shop_days(first=date(2021, 5, day), end=date(2021, 5, day + 1)))
            assert report.is_equal
            return report.totals["USD"]

        assert of(1).gross_sold == order.total_amount
        assert of(2).gross_returned == Decimal("2.00")
        assert of(3).gross_returned == Decimal("-2.00")
        assert of(2).tax_returned == -of(3).tax_returned > 0

    def test_is_the_same_after_a_buyer_was_erased(
        self, business, shopper, days, settings, tmp_path
    ):
        settings.ERASURE_JOURNAL = str(tmp_path / "erasures.jsonl")
        with pgtrigger.ignore():  # what is still to be sent keeps its address
            Order.objects.exclude(status="cancelled").update(status="delivered")
        before = tax.read(days)

        call_command("erase_customer", shopper.customer.email, stdout=io.StringIO())

        kept = Order.objects.values_list("shipping_address__postal_code", flat=True)
        assert set(kept) <= {"", None}
        assert tax.read(days) == before


class TestWhatTheTaxReportCannotTell:
    def test_a_refund_without_its_credit_note(self, goods, shopper, days):
        order = order_of(shopper.order(("MUG", 1)))
        give_back(order, amount=Decimal("3.00"))

        before = tax.read(days)
        outbox.relay()
        after = tax.read(days)

        assert not before.is_equal
        [gap] = before.gaps
        assert (gap.kind, gap.refunds, gap.amount) == ("no_credit_note", 1, Decimal("3.00"))
        assert before.totals["USD"].tax_returned == 0
        assert after.is_equal
        assert after.totals["USD"].gross_returned == Decimal("3.00")

    def test_a_refund_that_came_back_before_it_had_one_is_explained(
        self, goods, shopper, provider, days
    ):
        order = order_of(shopper.order(("MUG", 1)))
        refund = give_back(order, amount=Decimal("3.00"))
        fail(refund, provider)
        outbox.relay()

        report = tax.read(days)

        assert [(gap.kind, gap.refunds, gap.amount) for gap in report.gaps] == [
            ("came_back", 2, Decimal(0))
        ]
        assert report.is_equal

    def test_an_order_from_before_rates_were_kept(self, goods, shopper, days):
        order = order_of(shopper.order(("MUG", 1)))
        with pgtrigger.ignore():
            Order.objects.filter(pk=order.pk).update(
                shipping_tax_rate=None, shipping_tax_class=None
            )
            order.items.update(tax_rate=None, tax_class=None)

        sold = tax.read(days)
        give_back(order, amount=Decimal("3.00"))
        outbox.relay()
        given_back = tax.read(days)

        [(key, taxes)] = sold.lines.items()
        assert (key.rate, key.tax_class) == (None, None)
        assert (taxes.gross_sold, taxes.tax_collected) == (order.total_amount, order.tax_amount)
        assert sold.is_equal
        assert [gap.kind for gap in given_back.gaps] == ["no_rates"]
        assert not given_back.is_equal

    def test_an_order_from_before_classes_were_kept(self, goods, shopper, days):
        """And its invoice: what follows from it tells rates alone, and still adds up."""
        order = order_of(shopper.order(("MUG", 2), ("BOOK", 1)))
        outbox.relay()
        invoice = Invoice.objects.get(order=order)
        rows = [
            {name: value for name, value in row.items() if name != "class"}
            for row in invoice.content["taxes"]
        ]
        tamper(invoice, content={**invoice.content, "taxes": rows})
        give_back(order, units={"BOOK": 1})
        give_back(order)
        outbox.relay()

        report = tax.read(days)

        assert report.is_equal
        notes = Invoice.objects.filter(order=order, kind="credit_note")
        assert all("class" not in row for note in notes for row in note.content["taxes"])
        assert report.totals["USD"].tax_due == 0

    def test_books_that_are_wrong(self, business, days):
        overstate(business["mixed"])

        report = tax.read(days)

        [wrong] = [each for each in report.comparisons if each.difference]
        assert (wrong.what, wrong.currency) == ("gross_sold", "USD")
        assert not report.is_equal


class TestTheRevenueReport:
    def test_is_the_ledger_to_the_cent(self, business, provider, days):
        report = revenue.read(days)

        sums = ledger_sums()
        assert report.is_equal
        for currency, total in report.totals.items():
            of = {
                name: sum((sums[currency, kind] for kind in kinds), Decimal(0))
                for name, kinds in {
                    "captured": ("capture",),
                    "refunds": ("refund", "refund_reversal"),
                    "disputes": ("dispute", "dispute_reversal"),
                    "fees": ("fee",),
                }.items()
            }
            assert {name: getattr(total, name) for name in of} == of
            assert total.net == sum(of.values())
            assert total.sold == total.captured
        assert report.totals["USD"].net == Decimal(provider.balance()["usd"]) / 100
        assert report.totals["USD"].disputes < 0
        assert report.totals["USD"].fees < 0

    def test_adds_up_line_by_line_and_day_by_day(self, business, days):
        report = revenue.read(days)

        for (_, currency), found in report.by_day.items():
            assert found.captured == found.sold, currency
            assert found.net == found.captured + found.refunds + found.disputes + found.fees
        for currency, total in report.totals.items():
            for name in revenue.AMOUNTS:
                assert getattr(total, name) == sum(
                    getattr(found, name)
                    for (_, of), found in report.by_day.items()
                    if of == currency
                )

    def test_is_what_check_books_finds_for_captures_and_refunds(self, business, days):
        # `provider_balance_is_captures_less_refunds`, from the payments' side.
        totals = revenue.read(days).totals

        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT currency, sum(amount_received - amount_refunded) FROM payments"
                " GROUP BY currency"
            )
            kept = dict(cursor.fetchall())
        assert {name: total.captured + total.refunds for name, total in totals.items()} == kept

    def test_worked_by_hand(self, goods, shopper, days):
        order = order_of(shopper.order(("MUG", 3), ("BOOK", 2), coupon_code="SAVE10"))
        order_of(shopper.order(("MUG", 1), currency="JPY", shipping_address=TOKYO))

        totals = revenue.read(days).totals

        dollars, yen = totals["USD"], totals["JPY"]
        assert (dollars.gross, dollars.discounts) == (Decimal("75.51"), Decimal("-7.55"))
        assert (dollars.shipping, dollars.tax_added) == (Decimal("4.99"), order.tax_amount)
        assert (dollars.captured, dollars.tax_included) == (order.total_amount, 0)
        assert (yen.gross, yen.captured, yen.tax_added) == (1980, 2480, 0)
        assert yen.tax_included == 225  # 1980 and 500 at 10 %: 180 and 45

    def test_says_when_orders_are_not_what_was_captured(self, business, days):
        overstate(business["mixed"])

        report = revenue.read(days)

        assert [each.what for each in report.comparisons if each.difference] == ["sold"]
        assert not report.is_equal

    def test_says_when_the_accounts_disagree(self, business, days):
        fee = LedgerEntry.objects.filter(kind="fee", account="provider_fees").first()
        with pgtrigger.ignore():
            LedgerEntry.objects.filter(pk=fee.pk).update(amount=fee.amount + 1)

        report = revenue.read(days)

        wrong = {each.what for each in report.comparisons if each.difference}
        assert wrong == {"fees", "net"}


class TestDays:
    """Where the clock is put forward on 14 March 2021 and back on 7 November."""

    @pytest.mark.parametrize(
        ("day", "hours"), [(date(2021, 3, 14), 23), (date(2021, 11, 7), 25), (date(2021, 7, 4), 24)]
    )
    def test_are_as_long_as_they_are(self, goods, shopper, day, hours):
        new_york = ZoneInfo("America/New_York")
        begin = datetime(day.year, day.month, day.day, tzinfo=new_york).astimezone(UTC)
        end = begin + timedelta(hours=hours)
        last_moment = order_of(shopper.order(("MUG", 1)))
        first_of_the_next = order_of(shopper.order(("MUG", 2)))
        moved_to(last_moment, end - timedelta(microseconds=1))
        moved_to(first_of_the_next, end)
        days = Days(first=day, end=day + timedelta(days=2), zone="America/New_York")

        found = {of: each.captured for (of, _), each in revenue.read(days).by_day.items()}
        alone = tax.read(Days(first=day, end=day + timedelta(days=1), zone=days.zone))

        assert found == {
            day: last_moment.total_amount,
            day + timedelta(days=1): first_of_the_next.total_amount,
        }
        assert alone.totals["USD"].gross_sold == last_moment.total_amount

    @pytest.mark.parametrize("zone", ["Pacific/Apia", "America/Sao_Paulo", "Asia/Beirut", "UTC"])
    def test_follow_each_other_without_a_gap_anywhere(self, zone):
        days = Days(first=date(2009, 1, 1), end=date(2019, 1, 1), zone=zone)

        cuts = [*days.cuts(), days.until]

        assert cuts == sorted(cuts)
        assert days.begin == cuts[0]
        assert sum((b - a for a, b in itertools.pairwise(cuts)), timedelta()) == (
            days.until - days.begin
        )

    @pytest.mark.parametrize(
        ("first", "end", "problem"),
        [
            (date(2026, 1, 1), date(2026, 1, 1), "earlier"),
            (date(2026, 1, 2), date(2026, 1, 1), "earlier"),
            (date(2010, 1, 1), date(2026, 1, 1), "at most 3,660 days"),
            (date(1, 1, 1), date(2, 1, 1), "must lie between"),
            (date(9998, 1, 1), date(9999, 12, 31), "must lie between"),
        ],
    )
    def test_that_make_no_sense_are_refused(self, first, end, problem):
        with pytest.raises(ValidationFailedError, match=problem):
            shop_days(first=first, end=end)

    def test_of_a_shop_where_nothing_happened(self, shop):
        days = shop_days(first=date(2021, 1, 1), end=date(2021, 2, 1))

        assert (tax.read(days).lines, tax.read(days).is_equal) == ({}, True)
        assert (revenue.read(days).by_day, revenue.read(days).is_equal) == ({}, True)


@pytest.fixture
def printed(capsys):
    """Run a command; its exit code and what it printed."""

    def run(*arguments):
        capsys.readouterr()
        code = 0
        try:
            call_command(*arguments)
        except SystemExit as exc:
            code = exc.code
        return code, capsys.readouterr().out

    return run


@pytest.mark.parametrize("command", ["report_tax", "report_revenue"])
class TestTheCommands:
    def test_print_a_table_csv_or_json(self, business, printed, command):
        table = printed(command, *AROUND_NOW)
        as_csv = printed(command, *AROUND_NOW, "--format", "csv")
        as_json = printed(command, *AROUND_NOW, "--json")

        assert [code for code, _ in (table, as_csv, as_json)] == [0, 0, 0]
        lines = list(csv.DictReader(io.StringIO(as_csv[1], newline="")))
        told = json.loads(as_json[1])
        assert told["is_equal"] is True
        differences = [line for line in lines if line["line"] == "difference"]
        assert len(differences) == 3
        name = "captured" if command == "report_revenue" else "gross_sold"
        for line in differences:
            assert Decimal(line[name]) == 0
        [total] = [x for x in lines if (x["line"], x["currency"]) == ("total", "JPY")]
        assert "." not in total[name]
        assert [each[name] for each in told["totals"] if each["currency"] == "JPY"] == [total[name]]
        assert printed(command, *AROUND_NOW, "--format", "json") == as_json

    def test_write_files(self, business, printed, command, tmp_path):
        for name in ("csv", "json", "xlsx"):
            path = tmp_path / f"report.{name}"
            code, said = printed(
                command, *AROUND_NOW, "--format", name, "--output", str(path), "--json"
            )
            assert (code, json.loads(said)["is_equal"]) == (0, True)

        text = (tmp_path / "report.csv").read_bytes().decode()
        read = list(csv.reader(io.StringIO(text, newline="")))
        sheet = load_workbook(tmp_path / "report.xlsx").active
        cells = list(sheet.iter_rows(values_only=True))
        assert list(cells[0]) == read[0]
        assert len(cells) == len(read) == json.loads(said)["lines"] + 1
        assert sum(isinstance(value, int | float) for row in cells for value in row) > 10
        assert json.loads((tmp_path / "report.json").read_text())["is_equal"] is True
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            *("report.csv", "report.json", "report.xlsx"),
        ]

    def test_that_differ_from_the_ledger_say_so_and_exit_with_1(
        self, business, printed, command, tmp_path
    ):
        overstate(business["mixed"])

        code, table = printed(command, *AROUND_NOW)
        code_of_json, as_json = printed(command, *AROUND_NOW, "--json")
        code_of_file, said = printed(command, *AROUND_NOW, "--output", str(tmp_path / "x.csv"))

        assert (code, code_of_json, code_of_file) == (1, 1, 1)
        assert "not what the ledger says" in table
        assert "not what the ledger says" in said
        assert json.loads(as_json)["is_equal"] is False
        with pytest.raises(CommandError, match="not what the ledger says") as refused:
            call_command(command, *AROUND_NOW, "--format", "csv", stdout=io.StringIO())
        assert refused.value.returncode == 1

    def test_are_on_record(self, business, printed, command):
        printed(command, *AROUND_NOW)

        told = AuditLog.objects.filter(event_type__startswith="EXPORT").order_by("id")
        assert [row.event_type for row in told] == ["EXPORT_REQUESTED", "EXPORT"]
        assert told[0].data == {
            "subject": command.removeprefix("report_") + "_report",
            "from": "2020-01-01",
            "to": "2029-12-31",
        }


class TestTheStatements:
    @pytest.mark.parametrize("report", [tax, revenue], ids=["tax", "revenue"])
    def test_of_a_few_days_each_go_by_an_index(self, shop, report):
        """However large the ledger is: nothing that happened on other days is read."""
        first = date(2021, 5, 1)
        with CaptureQueriesContext(connection) as queries:
            report.read(shop_days(first=first, end=first + timedelta(days=1)))

        asked = [query for query in queries if "ledger_entries" in query["sql"]]
        assert len(asked) == 3
        with transaction.atomic():
            assert read_without_an_index(asked) == {}

    @pytest.mark.parametrize("report", [tax, revenue], ids=["tax", "revenue"])
    def test_are_as_many_for_one_order_as_for_ten(self, goods, shopper, days, report):
        def statements():
            with CaptureQueriesContext(connection) as queries:
                report.read(days)
            return len(queries)

        order_of(shopper.order(("MUG", 1)))
        of_one = statements()
        for _ in range(9):
            order_of(shopper.order(("BOOK", 1)))

        assert statements() == of_one
