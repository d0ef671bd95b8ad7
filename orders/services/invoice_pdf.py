"""Prints invoices, credit notes and reversals as PDF: the same bytes whenever one is asked for."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from babel import Locale
from babel.numbers import format_currency, format_percent
from django.conf import settings
from reportlab.lib import colors
from reportlab.lib.units import mm
from reportlab.platypus import Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from orders.models import Invoice
from orders.services import printing
from orders.services.printing import MARGIN, PADDING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from reportlab.lib.styles import ParagraphStyle

# Each document's heading and what it calls the document that it corrects.
TITLES: Final = {
    Invoice.Kind.INVOICE: ("Invoice", ""),
    Invoice.Kind.CREDIT_NOTE: ("Credit note", "Corrects invoice"),
    Invoice.Kind.REVERSAL: ("Reversal of a credit note", "Reverses credit note"),
}
TOTALS: Final = {
    Invoice.Kind.INVOICE: "Total",
    Invoice.Kind.CREDIT_NOTE: "Refunded",
    Invoice.Kind.REVERSAL: "Not refunded",
}


def render(invoice: Invoice) -> bytes:
    """The document. Reads nothing but the row: what is frozen there is what is printed."""
    printed = BytesIO()
    country = invoice.content["seller"]["country"]
    document = SimpleDocTemplate(
        printed,
        pagesize=printing.page_size(country),
        leftMargin=MARGIN,
        rightMargin=MARGIN,
        topMargin=MARGIN,
        bottomMargin=MARGIN,
        title=invoice.document_number,
        author=invoice.content["seller"]["name"],
        invariant=1,  # no time of printing in it: two downloads are equal
    )
    styles = printing.styles()
    story = [*_heading(invoice, styles, document.width), _lines(invoice, styles, document.width)]
    story += [Spacer(1, 4 * mm), _totals(invoice, styles, document.width)]
    if taxes := invoice.content.get("taxes"):
        rows = _by_rate(taxes)
        story += [Spacer(1, 8 * mm), _taxes(rows, invoice, styles, document.width)]
    story += [Spacer(1, 8 * mm), Paragraph(printing.text(_tax_note(invoice)), styles["small"])]
    document.build(story, onFirstPage=_footer(invoice), onLaterPages=_footer(invoice))
    return printed.getvalue()


# --- parts of the page ------------------------------------------------------------------------


def _heading(invoice: Invoice, styles: Mapping[str, ParagraphStyle], width: float) -> list[Any]:
    content, seller = invoice.content, invoice.content["seller"]
    title, corrects = TITLES[Invoice.Kind(invoice.kind)]
    facts = [
        ("Number", invoice.document_number),
        ("Date", printing.day(invoice.issued_at)),
        ("Order", content["order_number"]),
        ("Ordered on", printing.day(datetime.fromisoformat(content["ordered_at"]))),
    ]
    if corrects:
        facts.append((corrects, content["corrects"]))
    seller_lines = [seller["name"], *seller["address"].split(",")]
    if seller["tax_id"]:
        seller_lines.append(f"Tax ID {seller['tax_id']}")
    buyer = printing.address_lines(invoice.buyer.get("billing_address") or {})
    buyer_width = (width - 2 * PADDING) * 0.58
    pair = Table(
        [
            [
                [
                    Paragraph("Bill to", styles["small"]),
                    *(
                        Paragraph(printing.text(line, width=buyer_width - PADDING), styles["plain"])
                        for line in buyer
                    ),
                ],
                [
                    Paragraph(printing.text(f"{name}: {value}"), styles["plain"])
                    for name, value in facts
                ],
            ]
        ],
        colWidths=["58%", "42%"],
        style=TableStyle([("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (0, 0), 0)]),
    )
    return [
        *(
            Paragraph(printing.text(line.strip()), styles["small"])
            for line in seller_lines
            if line.strip()
        ),
        Spacer(1, 8 * mm),
        Paragraph(title, styles["title"]),
        pair,
        Spacer(1, 8 * mm),
    ]


def _lines(invoice: Invoice, styles: Mapping[str, ParagraphStyle], width: float) -> Any:
    """The lines sold, or given back; a long table goes on with its head on the next page."""
    head = [
        Paragraph(name, styles[style])
        for name, style in (
            ("Item", "head"),
            ("Quantity", "head_right"),
            ("Unit price", "head_right"),
            ("Amount", "head_right"),
        )
    ]
    name_width = width * 0.49
    rows = [
        [
            Paragraph(
                f"{printing.text(line['name'], width=name_width - PADDING)}"
                f"<br/><font size=7>{printing.text(line['sku'])}</font>",
                styles["plain"],
            ),
            Paragraph(str(line["quantity"]), styles["right"]),
            Paragraph(
                _money(line["unit_price"], invoice) if "unit_price" in line else "", styles["right"]
            ),
            Paragraph(_money(line["total_price"], invoice), styles["right"]),
        ]
        for line in invoice.content["lines"]
    ]
    if not rows:
        amount = _money(invoice.content["total_amount"], invoice)
        rows = [
            [
                Paragraph(TOTALS[Invoice.Kind(invoice.kind)], styles["plain"]),
                "",
                "",
                Paragraph(amount, styles["right"]),
            ]
        ]
    return Table(
        [head, *rows],
        colWidths=[name_width, width * 0.13, width * 0.19, width * 0.19],
        repeatRows=1,
        style=TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LINEBELOW", (0, 0), (-1, 0), 0.8, colors.black),
                ("LINEBELOW", (0, 1), (-1, -1), 0.25, colors.lightgrey),
                ("LEFTPADDING", (0, 0), (0, -1), 0),
                ("RIGHTPADDING", (-1, 0), (-1, -1), 0),
            ]
        ),
    )


def _totals(invoice: Invoice, styles: Mapping[str, ParagraphStyle], width: float) -> Any:
    content = invoice.content
    rows = []
    if invoice.kind == Invoice.Kind.INVOICE:
        rows = [("Subtotal", content["subtotal"])]
        if Decimal(content["discount_amount"]):
            rows.append(("Discount", f"-{content['discount_amount']}"))
        rows.append(("Shipping", content["shipping_amount"]))
        if not content["tax_included"]:
            rows.append(("Tax", content["tax_amount"]))
    cells = [
        [Paragraph(name, styles["right"]), Paragraph(_money(value, invoice), styles["right"])]
        for name, value in rows
    ]
    label = TOTALS[Invoice.Kind(invoice.kind)]
    cells.append(
        [
            Paragraph(label, styles["head_right"]),
            Paragraph(_money(content["total_amount"], invoice), styles["head_right"]),
        ]
    )
    return Table(
        cells,
        colWidths=[width * 0.25, width * 0.25],
        hAlign="RIGHT",
        style=TableStyle(
            [
                ("LINEABOVE", (0, -1), (-1, -1), 0.8, colors.black),
                ("RIGHTPADDING", (-1, 0), (-1, -1), 0),
            ]
        ),
    )


def _by_rate(taxes: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    """The rows of a document, which may tell classes at one rate apart, as they are printed."""
    sums: dict[str, dict[str, Decimal]] = {}
    for row in taxes:
        sum_of = sums.setdefault(row["rate"], dict.fromkeys(_AMOUNTS, Decimal(0)))
        for column in _AMOUNTS:
            sum_of[column] += Decimal(row[column])
    return [
        {"rate": rate, **{column: str(amount) for column, amount in amounts.items()}}
        for rate, amounts in sums.items()
    ]


_AMOUNTS: Final = ("net", "tax", "gross")


def _taxes(
    rows: Sequence[Mapping[str, str]],
    invoice: Invoice,
    styles: Mapping[str, ParagraphStyle],
    width: float,
) -> Any:
    """Net, tax and gross by rate; of several rates their sums too."""
    head = [Paragraph(name, styles["head_right"]) for name in ("Tax rate", "Net", "Tax", "Gross")]
    columns = _AMOUNTS
    cells = [
        [
            Paragraph(_percent(row["rate"]), styles["right"]),
            *(Paragraph(_money(row[column], invoice), styles["right"]) for column in columns),
        ]
        for row in rows
    ]
    if len(rows) > 1:
        sums = [str(sum(Decimal(row[column]) for row in rows)) for column in columns]
        cells.append(
            [
                Paragraph("Sum", styles["head_right"]),
                *(Paragraph(_money(each, invoice), styles["head_right"]) for each in sums),
            ]
        )
    return Table(
        [head, *cells],
        colWidths=[width * 0.16, width * 0.18, width * 0.18, width * 0.18],
        hAlign="RIGHT",
        repeatRows=1,
        style=TableStyle(
            [
                ("LINEBELOW", (0, 0), (-1, 0), 0.8, colors.black),
                ("LINEBELOW", (0, 1), (-1, -1), 0.25, colors.lightgrey),
                ("RIGHTPADDING", (-1, 0), (-1, -1), 0),
            ]
        ),
    )


def _tax_note(invoice: Invoice) -> str:
    """What the document says of tax; the one place that knows whether prices hold it."""
    if invoice.kind == Invoice.Kind.CREDIT_NOTE:
        return "The amounts given back include tax."
    if invoice.kind == Invoice.Kind.REVERSAL:
        note = invoice.content["corrects"]
        return f"The refund of {note} did not reach you: {note} is void. Amounts include tax."
    tax = _money(invoice.content["tax_amount"], invoice)
    if invoice.content["tax_included"]:
        return f"Prices include tax; the total includes {tax} of it."
    return f"Prices are before tax; tax of {tax} is added."


def _footer(invoice: Invoice) -> Any:
    def draw(canvas: Any, document: Any) -> None:
        printing.draw_footer(
            canvas,
            left=invoice.document_number,
            right=f"Page {canvas.getPageNumber()}",
            page_width=document.pagesize[0],
        )

    return draw


# --- amounts -----------------------------------------------------------------------------------


def _money(amount: str, invoice: Invoice) -> str:
    return format_currency(
        Decimal(amount), invoice.currency, locale=Locale.parse(settings.LANGUAGE_CODE, sep="-")
    )


def _percent(rate: str) -> str:
    """A fraction as people read it: 0.08875 is 8.875 %, in the shop's language."""
    return format_percent(
        Decimal(rate),
        locale=Locale.parse(settings.LANGUAGE_CODE, sep="-"),
        decimal_quantization=False,
    )
