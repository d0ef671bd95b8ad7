"""Prints what lies in a parcel: for the packer who fills it, and the buyer who opens it. No prices.

An order's slip lists what is still to be sent, and from which building; a parcel's slip lists what
was put into it. Neither is kept: the order is what counts, and a slip can be printed again.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from reportlab.graphics.barcode.code128 import Code128
from reportlab.lib import colors
from reportlab.lib.units import mm
from reportlab.platypus import (
    BaseDocTemplate,
    Frame,
    NextPageTemplate,
    PageBreak,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
    TableStyle,
)

from config.kernel.errors import InvalidTransitionError, NotFoundError
from orders.models import Order, Shipment
from orders.services import overview, printing
from orders.services.printing import MARGIN, PADDING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MOST_SLIPS: Final = 100
"""In one file: some seconds of a worker's time."""
BARS: Final = {"barWidth": 0.42 * mm, "barHeight": 13 * mm, "quiet": True}
"""Wide enough for a scanner held by hand, and for a printer with 203 dots an inch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlipLine:
    """Units of a product, above zero; `warehouse` is the code of the building they wait in."""

    sku: str
    name: str
    quantity: int
    warehouse: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slip:
    """One paper; without a `shipment` its parcel has not left yet."""

    order: Order
    lines: Sequence[SlipLine]
    shipment: Shipment | None = None

    @property
    def units(self) -> int:
        """How many lie in the parcel."""
        return sum(line.quantity for line in self.lines)


def slip_of_order(*, order: Order) -> Slip:
    """What is still to be sent of a paid order.

    Raises:
        InvalidTransitionError: it is not paid, or nothing is left to pack.
    """
    if order.status not in Order.PAID_UNSHIPPED:
        raise InvalidTransitionError("Only what is paid and has not left can be packed.")
    lines = [part for line in overview.lines_of(order) for part in _parts(line)]
    if not lines:
        raise InvalidTransitionError("Nothing is left to pack: what had not left was refunded.")
    return Slip(order=order, lines=lines)


def slip_of_shipment(*, shipment_id: int) -> Slip:
    """What lies in a parcel that is on record.

    Raises:
        NotFoundError: there is no such parcel.
    """
    found = Shipment.objects.select_related("order").filter(pk=shipment_id).first()
    if found is None:
        raise NotFoundError
    items = found.items.select_related("order_item").order_by("order_item_id")
    return Slip(
        order=found.order,
        shipment=found,
        lines=[
            SlipLine(
                sku=item.order_item.product_sku,
                name=item.order_item.product_name,
                quantity=item.quantity,
            )
            for item in items
        ],
    )


def slips_of_orders(*, order_ids: Sequence[int]) -> list[Slip]:
    """A slip for each of these orders that has something to pack, oldest order first."""
    slips = []
    for order in Order.objects.filter(pk__in=order_ids).order_by("created_at", "pk"):
        try:
            slips.append(slip_of_order(order=order))
        except InvalidTransitionError:
            continue
    return slips


def render(slips: Sequence[Slip]) -> bytes:
    """One PDF, each slip on pages of its own; the same slips are the same bytes.

    Args:
        slips: at least one.
    """
    printed = BytesIO()
    document = BaseDocTemplate(
        printed,
        pagesize=printing.page_size(settings.SHOP_COUNTRY),
        title=f"Packing slip {slips[0].order.order_number}" if len(slips) == 1 else "Packing slips",
        author=settings.SHOP_NAME,
        leftMargin=MARGIN,
        rightMargin=MARGIN,
        topMargin=MARGIN,
        bottomMargin=MARGIN,
        invariant=1,
    )
    document.addPageTemplates([_page(document, n, slip) for n, slip in enumerate(slips)])
    story: list[Any] = []
    for n, slip in enumerate(slips):
        if n:
            story += [NextPageTemplate(str(n)), PageBreak()]
        story += _slip(slip, document.width)
    document.build(story)
    return printed.getvalue()


def _parts(line: overview.Line) -> Iterator[SlipLine]:
    """A line's units to pack, building by building."""
    left = line.to_ship
    for place in line.places:
        taken = min(left, place.still_there)
        if taken:
            left -= taken
            yield SlipLine(
                sku=line.item.product_sku,
                name=line.item.product_name,
                quantity=taken,
                warehouse=place.warehouse,
            )
    if left:
        yield SlipLine(sku=line.item.product_sku, name=line.item.product_name, quantity=left)


# --- the page ---------------------------------------------------------------------------------


def _page(document: BaseDocTemplate, n: int, slip: Slip) -> PageTemplate:
    pages = itertools.count(1)  # of this slip, however many are in the file
    frame = Frame(
        document.leftMargin,
        document.bottomMargin,
        document.width,
        document.height,
        leftPadding=0,
        rightPadding=0,
    )

    def draw(canvas: Any, _document: Any) -> None:
        printing.styles()  # the fonts
        printing.draw_footer(
            canvas,
            left=slip.order.order_number,
            right=f"Page {next(pages)}",
            page_width=document.pagesize[0],
        )

    return PageTemplate(id=str(n), frames=[frame], onPage=draw)


def _slip(slip: Slip, width: float) -> list[Any]:
    styles = printing.styles()
    story = [
        Paragraph(printing.text(settings.SHOP_NAME), styles["small"]),
        Spacer(1, 4 * mm),
        _title(slip, width),
        Spacer(1, 6 * mm),
        _facts(slip, width),
        Spacer(1, 8 * mm),
        _lines(slip, width),
        Spacer(1, 4 * mm),
        Paragraph(f"{slip.units} {'unit' if slip.units == 1 else 'units'}", styles["head_right"]),
    ]
    if slip.order.notes:
        note = printing.text(slip.order.notes, width=width)
        story += [
            Spacer(1, 6 * mm),
            Paragraph("The customer says", styles["small"]),
            Paragraph(note, styles["plain"]),
        ]
    return story


def _title(slip: Slip, width: float) -> Table:
    """What it is, and the order's number for a scanner."""
    styles = printing.styles()
    bars = Code128(slip.order.order_number, **BARS)
    bars.hAlign = "RIGHT"
    number = Paragraph(printing.text(slip.order.order_number), styles["head_right"])
    return Table(
        [[Paragraph("Packing slip", styles["title"]), [bars, number]]],
        colWidths=[width * 0.4, width * 0.6],
        style=TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (0, 0), 0),
                ("RIGHTPADDING", (-1, 0), (-1, 0), 0),
            ]
        ),
    )


def _facts(slip: Slip, width: float) -> Table:
    styles, order = printing.styles(), slip.order
    facts = [("Order", order.order_number), ("Ordered on", printing.day(order.created_at))]
    if order.shipping_method:
        facts.append(("Goes by", order.shipping_method))
    if slip.shipment is not None:
        facts.append(("Carrier", slip.shipment.carrier))
        if slip.shipment.tracking_number:
            facts.append(("Tracking number", slip.shipment.tracking_number))
        facts.append(("Sent on", printing.day(slip.shipment.shipped_at)))
    address = order.shipping_address
    lines = printing.address_lines(address)
    if address.get("phone"):
        lines.append(str(address["phone"]))
    left, right = width * 0.58, width * 0.42
    return Table(
        [
            [
                [
                    Paragraph("Ship to", styles["small"]),
                    *(
                        Paragraph(printing.text(line, width=left - PADDING), styles["plain"])
                        for line in lines
                    ),
                ],
                [
                    Paragraph(
                        printing.text(f"{name}: {value}", width=right - 2 * PADDING),
                        styles["plain"],
                    )
                    for name, value in facts
                ],
            ]
        ],
        colWidths=[left, right],
        style=TableStyle([("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (0, 0), 0)]),
    )


def _lines(slip: Slip, width: float) -> Table:
    """A line a product and building, with a box to tick; a long table goes on with its head."""
    styles = printing.styles()
    columns = [("", 0.06), ("SKU", 0.26), ("Item", 0.42), ("From", 0.13), ("Quantity", 0.13)]
    widths = [width * share for _, share in columns]
    head = [
        Paragraph(name, styles["head_right" if name == "Quantity" else "head"])
        for name, _ in columns
    ]
    rows = [
        [
            "",
            Paragraph(printing.text(line.sku, width=widths[1] - 2 * PADDING), styles["plain"]),
            Paragraph(printing.text(line.name, width=widths[2] - 2 * PADDING), styles["plain"]),
            Paragraph(printing.text(line.warehouse), styles["plain"]),
            Paragraph(str(line.quantity), styles["right"]),
        ]
        for line in slip.lines
    ]
    return Table(
        [head, *rows],
        colWidths=widths,
        repeatRows=1,
        style=TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LINEBELOW", (0, 0), (-1, 0), 0.8, colors.black),
                ("LINEBELOW", (0, 1), (-1, -1), 0.25, colors.lightgrey),
                ("BOX", (0, 1), (0, -1), 0.5, colors.grey),
                ("INNERGRID", (0, 1), (0, -1), 0.5, colors.grey),
                ("RIGHTPADDING", (-1, 0), (-1, -1), 0),
            ]
        ),
    )
