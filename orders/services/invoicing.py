"""Issues invoices, credit notes and their reversals: each once, numbered without gaps, frozen.

Not where the order is confirmed: the row that counts would put all orders in line. A subscriber of
`order.confirmed` and `order.refunded` issues them right after; a download that is faster does.
A reversal alone is issued where its cause is written, that no credit note outlives its refund.
"""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.db import IntegrityError

from audit import outbox
from audit import services as audit
from config.kernel import money, sql
from config.kernel.db import short_transaction, violated_constraint
from orders import selectors, tax_breakdown
from orders.errors import NotPaidYetError
from orders.models import Invoice
from orders.tax_breakdown import Taxation, Taxed
from payments.models import Refund

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audit.models import OutboxMessage
    from orders.models import Order, OrderItem, RefundLine

ONE_PER_ORDER: Final = "invoice_one_per_order"
NEXT_NUMBER: Final = """
    INSERT INTO invoice_series (series, last_number) VALUES (%(series)s, 1)
    ON CONFLICT (series) DO UPDATE SET last_number = invoice_series.last_number + 1
    RETURNING last_number, clock_timestamp() AS issued_at
"""


def subscribe() -> None:
    """Have documents follow payments and refunds."""
    outbox.subscribe("order.confirmed", "invoices", issue_for_confirmation)
    outbox.subscribe("order.refunded", "invoices", issue_for_refund)
    outbox.subscribe("order.refund_failed", "invoices", reverse_for_failure)


def issue_for_confirmation(message: OutboxMessage) -> None:
    """The order is paid: it gets its invoice; once, however often it is told."""
    issue_invoice(order_id=message.payload["order_id"])


def issue_for_refund(message: OutboxMessage) -> str | None:
    """Money is back: the refund gets its credit note; likewise."""
    refund = Refund.objects.select_related("payment").get(uuid=message.payload["refund"])
    return None if issue_credit_note(refund_id=refund.pk) else "the refund failed since"


def reverse_for_failure(message: OutboxMessage) -> str | None:
    """The money came back: whoever noted it reversed the credit note, or is of an older release."""
    refund = Refund.objects.get(uuid=message.payload["refund"])
    with short_transaction():
        selectors.lock_order(order_id=message.payload["order_id"])
        reversal = reverse_credit_note(refund_id=refund.pk)
    return None if reversal else "it had no credit note"


def issue_invoice(*, order_id: int) -> Invoice:
    """An order's invoice, issued now unless it has one. Opens its own transaction.

    Raises:
        NotPaidYetError: nothing was ever paid for the order.
    """
    if found := selectors.find_invoice(order_id=order_id):
        return found
    order, is_paid = selectors.get_order_to_invoice(order_id=order_id)
    if not is_paid:
        raise NotPaidYetError
    items = selectors.list_items(order_id=order_id)
    try:
        with short_transaction():
            return _issue(
                order,
                kind=Invoice.Kind.INVOICE,
                total=order.total_amount,
                content=_invoice_content(order, items),
                buyer=_buyer(order),
            )
    except IntegrityError as exc:
        # Somebody was faster. Their invoice has the number; ours went back with the transaction.
        found = selectors.find_invoice(order_id=order_id)
        if found is None or violated_constraint(exc) != ONE_PER_ORDER:
            raise
        return found


def issue_credit_note(*, refund_id: int) -> Invoice | None:
    """The credit note of a refund that succeeded; its order's invoice comes first.

    Opens its own transactions. None: the refund did not succeed.
    """
    if found := Invoice.objects.filter(refund_id=refund_id).first():
        return found
    refund = Refund.objects.select_related("payment").get(pk=refund_id)
    if refund.status != Refund.Status.SUCCEEDED:
        return None
    invoice = issue_invoice(order_id=refund.payment.order_id)
    with short_transaction():
        # The order's lock comes first, as with all news of a refund: it cannot fail meanwhile.
        locked = selectors.lock_order(order_id=invoice.order_id)
        refund.refresh_from_db(fields=["status"])
        if refund.status != Refund.Status.SUCCEEDED:
            return None
        if found := Invoice.objects.filter(refund=refund).first():
            return found
        return _issue(
            locked.order,
            kind=Invoice.Kind.CREDIT_NOTE,
            total=refund.amount,
            content=_credit_content(invoice, refund),
            refund=refund,
            buyer=invoice.buyer,
        )


def reverse_credit_note(*, refund_id: int) -> Invoice | None:
    """Take back the credit note of a refund that failed after all; once, however often it is told.

    Belongs into the transaction that writes the failure, which holds the order's lock. The lock of
    the series comes after that, and last.

    Returns:
        The reversal; None: the refund has no credit note, and will get none.
    """
    note = Invoice.objects.select_related("order").filter(refund_id=refund_id).first()
    if note is None:
        return None
    if found := Invoice.objects.filter(reverses=note).first():
        return found
    return _issue(
        note.order,
        kind=Invoice.Kind.REVERSAL,
        total=note.total_amount,
        content={**note.content, "corrects": note.document_number},
        reverses=note,
        buyer=note.buyer,
    )


def _issue(
    order: Order,
    *,
    kind: Invoice.Kind,
    total: Decimal,
    content: dict[str, Any],
    buyer: dict[str, Any],
    refund: Refund | None = None,
    reverses: Invoice | None = None,
) -> Invoice:
    """Write a document down under the next number; nobody else gets one until the transaction ends.

    The clock is read under the lock of the series, so that dates rise with the numbers.
    """
    series = Invoice.SERIES[kind]
    given = sql.fetch_one(NEXT_NUMBER, series=series)
    assert given is not None  # noqa: S101 - an upsert returns its row
    invoice = Invoice(
        order=order,
        kind=kind,
        refund=refund,
        reverses=reverses,
        series=series,
        number=given.last_number,
        total_amount=total,
        currency=order.currency,
        content=content,
        buyer=buyer,
        issued_at=given.issued_at,
    )
    sql.insert(invoice)
    audit.record(
        f"{kind.upper()}_ISSUED",
        entity_type="order",
        entity_id=order.pk,
        data={"order_number": order.order_number, "document": invoice.document_number},
    )
    return invoice


def _invoice_content(order: Order, items: Sequence[OrderItem]) -> dict[str, Any]:
    def amount(value: Decimal) -> str:
        return money.format_amount(value, order.currency)

    return {
        "seller": _seller(),
        "order_number": order.order_number,
        "ordered_at": order.created_at.isoformat(),
        "lines": [
            {
                "sku": item.product_sku,
                "name": item.product_name,
                "quantity": item.quantity,
                "unit_price": amount(item.unit_price),
                "discount_amount": amount(item.discount_amount),
                "tax_amount": amount(item.tax_amount),
                "total_price": amount(item.total_price),
            }
            for item in items
        ],
        "subtotal": amount(order.subtotal),
        "discount_amount": amount(order.discount_amount),
        "shipping_amount": amount(order.shipping_amount),
        "tax_amount": amount(order.tax_amount),
        "tax_included": order.tax_included,
        "taxes": _taxes_json(_taxes_of(order, items), order.currency),
        "total_amount": amount(order.total_amount),
    }


def _credit_content(invoice: Invoice, refund: Refund) -> dict[str, Any]:
    def amount(value: Decimal) -> str:
        return money.format_amount(value, refund.currency)

    lines = list(refund.lines.select_related("order_item").order_by("order_item_id"))
    return {
        "seller": invoice.content["seller"],
        "order_number": invoice.content["order_number"],
        "ordered_at": invoice.content["ordered_at"],
        "corrects": invoice.document_number,
        "lines": [
            {
                "sku": line.order_item.product_sku,
                "name": line.order_item.product_name,
                "quantity": line.quantity,
                "total_price": amount(line.amount),
            }
            for line in lines
        ],
        "taxes": _taxes_json(_taxes_given_back(invoice, refund, lines), refund.currency),
        "total_amount": amount(refund.amount),
    }


def _taxes_of(order: Order, items: Sequence[OrderItem]) -> tuple[Taxed, ...] | None:
    """What was sold at each rate and class, shipping too; None: placed before rates were kept."""
    parts = [
        (item.total_price - item.discount_amount, _taxation(item), item.tax_amount)
        for item in items
    ]
    shipping_tax = order.tax_amount - sum(item.tax_amount for item in items)
    shipping = _taxation_or_none(order.shipping_tax_rate, order.shipping_tax_class)
    parts.append((order.shipping_amount, shipping, shipping_tax))
    rows = [
        tax_breakdown.taxed(amount=amount, how=how, tax=tax, tax_included=order.tax_included)
        for amount, how, tax in parts
        if how is not None
    ]
    return tax_breakdown.added_up(rows) if len(rows) == len(parts) else None


def _taxation(item: OrderItem) -> Taxation | None:
    return _taxation_or_none(item.tax_rate, item.tax_class)


def _taxation_or_none(rate: Decimal | None, tax_class: str | None) -> Taxation | None:
    return None if rate is None else Taxation(rate, tax_class)


def _taxes_given_back(
    invoice: Invoice, refund: Refund, lines: Sequence[RefundLine]
) -> tuple[Taxed, ...] | None:
    """The refund by rate and class; None where a document before it does not tell rates.

    Requires the order's lock: what is left depends on the credit notes before.
    """
    notes = Invoice.objects.filter(order=invoice.order_id, kind=Invoice.Kind.CREDIT_NOTE)
    told = [
        _taxes_told(document)
        for document in (invoice, *notes.exclude(refund__status=Refund.Status.FAILED))
    ]
    known = [rows for rows in told if rows is not None]
    if len(known) < len(told):
        return None
    of_lines = [(_taxation(line.order_item), line.amount) for line in lines]
    if any(row.tax_class is None for rows in known for row in rows):
        # A document of an earlier release tells rates alone: then so do all that follow from it.
        known = [[*tax_breakdown.without_classes(rows)] for rows in known]
        of_lines = [(how and Taxation(how.rate), amount) for how, amount in of_lines]
    for_lines: defaultdict[Taxation, Decimal] = defaultdict(Decimal)
    for how, amount in of_lines:
        if how is not None:
            for_lines[how] += amount
    sold, *given = known
    return tax_breakdown.credit(
        amount=refund.amount,
        remaining=tax_breakdown.left(sold=sold, given=[row for rows in given for row in rows]),
        for_lines=for_lines,
        currency=refund.currency,
    )


def _taxes_json(rows: Sequence[Taxed] | None, currency: str) -> list[dict[str, str]] | None:
    if rows is None:
        return None
    return [
        {
            "rate": f"{row.rate.normalize():f}",
            **({} if row.tax_class is None else {"class": row.tax_class}),
            "net": money.format_amount(row.net, currency),
            "tax": money.format_amount(row.tax, currency),
            "gross": money.format_amount(row.gross, currency),
        }
        for row in rows
    ]


def _taxes_told(document: Invoice) -> list[Taxed] | None:
    rows = document.content.get("taxes")
    if rows is None:
        return None
    return [
        Taxed(
            rate=Decimal(row["rate"]),
            tax_class=row.get("class"),
            net=Decimal(row["net"]),
            tax=Decimal(row["tax"]),
        )
        for row in rows
    ]


def _seller() -> dict[str, str]:
    return {
        "name": settings.SHOP_NAME,
        "address": settings.SHOP_ADDRESS,
        "tax_id": settings.SHOP_TAX_ID,
        "country": settings.SHOP_COUNTRY,
    }


def _buyer(order: Order) -> dict[str, Any]:
    """Whatever is personal in the document."""
    return {"billing_address": order.billing_address, "shipping_address": order.shipping_address}
