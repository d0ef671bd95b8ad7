"""`export_orders`: a period's orders as CSV, whole or not at all, and nobody in it by accident."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import call_command

from audit.models import AuditLog
from orders.transfer import exports
from tests.admin import rows
from tests.orders.mismatches import tamper

pytestmark = pytest.mark.django_db

MAY = ("--from", "2026-05-01", "--to", "2026-06-01")
PEOPLE = ("Ann", "Lee", "Springfield", "62701", "@", "1 Main St")


@pytest.fixture
def export(capsysbinary):
    def export(*arguments):
        call_command("export_orders", *arguments)
        return capsysbinary.readouterr().out.decode()

    return export


def read(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_has_the_beginning_of_the_period_and_not_its_end(export):
    begin, end = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
    moment = timedelta(microseconds=1)
    for n, at in enumerate((begin - moment, begin, end - moment, end)):
        rows.make_order(n, created_at=at)

    numbers = [line["order_number"] for line in read(export(*MAY))]

    assert numbers == ["ABCD-0001", "ABCD-0002"]


def test_tells_nobody_who_bought_unless_asked_to(export):
    rows.make_everything(1)

    without, with_people = export(*MAY), export(*MAY, "--personal")

    assert [word for word in PEOPLE if word in without] == []
    assert [word for word in PEOPLE if word not in with_people] == []
    assert [row.data["personal"] for row in AuditLog.objects.filter(event_type="EXPORT")] == [
        False,
        True,
    ]


def test_has_a_row_a_line_where_that_is_wanted(export):
    made = rows.make_everything(1)

    [line] = read(export(*MAY, "--lines"))

    assert line == {
        "order_number": made.order.order_number,
        "created_at": "2026-05-04T03:00:00Z",
        "status": "confirmed",
        "sku": "APPLE-1",
        "product_name": "Apple 1",
        "quantity": "2",
        "currency": "USD",
        "unit_price": "10.00",
        "discount_amount": "0.00",
        "tax_rate": "",
        "tax_amount": "0.00",
        "tax_included": "false",
        "total_price": "20.00",
    }


def test_is_rfc_4180_and_holds_no_formula(export):
    order = rows.make_order(1)
    tamper(order, order_number='=HYPERLINK("http://x")', coupon_code="@X")

    text = export(*MAY)

    header, line, rest = text.split("\r\n")
    assert header.startswith("order_number,created_at,status")
    assert line.startswith('"\'=HYPERLINK(""http://x"")"')
    assert ",'@X," in line
    assert rest == ""


def test_is_read_in_pieces(export, monkeypatch):
    for n in range(5):
        rows.make_order(n)
    at_once = export(*MAY)
    monkeypatch.setattr(exports, "BATCH", 2)

    assert export(*MAY) == at_once
    assert at_once.count("\r\n") == 6


def test_is_whole_or_what_it_was(export, monkeypatch, tmp_path):
    rows.make_order(1)
    file = tmp_path / "orders.csv"
    file.write_text("an older one")
    monkeypatch.setattr(exports, "_batch", lambda _: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        export(*MAY, "--output", str(file))

    assert file.read_text() == "an older one"
    assert list(tmp_path.iterdir()) == [file]
    assert not AuditLog.objects.filter(event_type="EXPORT").exists()
