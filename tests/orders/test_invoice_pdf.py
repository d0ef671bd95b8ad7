"""What a document prints of names in any script, and that no reader needs fonts of its own."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from orders.models import Invoice
from orders.services.invoice_pdf import render
from orders.services.printing import FALLBACK, UNKNOWN, text

SHALOM = "שלום"  # as typed: the first letter first
SEEN = SHALOM[::-1]
CJK = {"Japanese": "青いシャツ", "Chinese": "蓝色衬衫藍襯", "Korean": "파란셔츠"}


def document(kind="invoice", *, name="Mug", taxes=None):
    amounts = ("subtotal", "discount_amount", "shipping_amount", "tax_amount", "total_amount")
    return Invoice(
        kind=kind,
        series=Invoice.SERIES[kind],
        number=7,
        total_amount=Decimal("10.00"),
        currency="USD",
        issued_at=datetime(2026, 11, 27, tzinfo=UTC),
        buyer={"billing_address": {"name": name, "line1": name, "city": name, "country": "US"}},
        content={
            "seller": {"name": "Shop", "address": "", "tax_id": "", "country": "US"},
            "order_number": "ABCD",
            "ordered_at": "2026-11-26T00:00:00+00:00",
            "corrects": "CN-000007",
            "lines": [{"sku": "MUG", "name": name, "quantity": 1, "total_price": "10.00"}],
            "tax_included": False,
            "taxes": taxes,
            **dict.fromkeys(amounts, "10.00"),
        },
    )


class TestFonts:
    @pytest.mark.parametrize("name", [*CJK.values(), "قميص أزرق", SHALOM, "Größe Ελλάδα Шар"])
    def test_are_embedded_whatever_the_script(self, name):
        printed = render(document(name=name))

        assert printed.count(b"/FontDescriptor") > 0
        assert len(re.findall(rb"/Type /FontDescriptor", printed)) == len(
            re.findall(rb"/FontFile2 \d", printed)
        )
        assert b"/Type0" not in printed  # a font by name, for the reader to have

    @pytest.mark.parametrize("name", CJK.values(), ids=CJK)
    def test_have_chinese_japanese_and_korean(self, name):
        assert text(name) == f'<font name="{FALLBACK}">{name}</font>'

    def test_have_a_sign_for_what_they_lack(self):
        assert text("a\u0378b") == f"a{UNKNOWN}b"

    def test_find_letters_that_came_in_parts(self):
        assert text("e\u0301") == "é"
        assert text("\u1112\u1161\u11ab") == text("한")


class TestRightToLeft:
    @pytest.mark.parametrize(
        ("typed", "seen"),
        [
            (SHALOM, SEEN),
            (f"{SHALOM} 42", f"42 {SEEN}"),
            (f"Mug {SHALOM} blue", f"Mug {SEEN} blue"),
            (f"{SHALOM} (XL) [12]", f"[12] (XL) {SEEN}"),
            (f"Mug ({SHALOM}) x", f"Mug ({SEEN}) x"),
            (f"{SHALOM} :)", f"(: {SEEN}"),
            (f"a (({SHALOM})) b", f"a (({SEEN})) b"),
            (f"{SHALOM} <b>", f"&lt;b&gt; {SEEN}"),
            (f"{SHALOM} (\u034f", f") {SEEN}"),
        ],
    )
    def test_is_laid_out_as_it_is_read(self, typed, seen):
        assert text(typed) == seen

    def test_joins_arabic_letters(self):
        # meem, hah, meem, dal: first, middle, middle and last forms, read from the right.
        assert text("محمد") == "\ufeaa\ufee4\ufea4\ufee3"

    def test_prints_god_in_letters(self):
        """DejaVu lacks the one sign that stands for the whole word."""
        assert UNKNOWN not in text("عبد الله")

    def test_breaks_lines_before_it_turns_them(self):
        first, *rest = text(f"אחת {SHALOM} {SHALOM} {SHALOM} סוף", width=50).split("<br/>")

        assert first.endswith("אחת"[::-1])
        assert rest[-1].startswith("סוף"[::-1])

    def test_leaves_other_text_alone(self):
        assert text("Mug (XL) <b>", width=1) == "Mug (XL) &lt;b&gt;"


@pytest.mark.parametrize("kind", Invoice.Kind.values)
@pytest.mark.parametrize("taxes", [None, [], [{"rate": "0.08875", "net": "9", "tax": "1"}]])
def test_every_kind_prints_with_tax_by_rate_or_without(kind, taxes):
    told = taxes and [{**row, "gross": "10.00"} for row in taxes]

    printed = render(document(kind, taxes=told))

    assert printed.startswith(b"%PDF")
    assert printed == render(document(kind, taxes=told))
    assert (printed != render(document(kind))) is bool(taxes)
