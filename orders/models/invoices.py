"""Invoices, credit notes and their reversals: numbered without gaps, frozen when issued."""

from __future__ import annotations

import pgtrigger
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from orders.models.order import Order
from payments.models import Refund


class InvoiceSeries(models.Model):
    """The last number given in a series; its row lock puts those who issue in line.

    Not a sequence of the database: a transaction that rolls back would leave a gap in it.
    """

    series = models.CharField(max_length=10, primary_key=True)
    last_number = models.PositiveIntegerField(default=0, db_default=0)

    class Meta:
        db_table = "invoice_series"
        constraints = [
            models.CheckConstraint(
                name="invoice_series_known", condition=Q(series__in=["INV", "CN", "RV"])
            ),
        ]

    def __str__(self) -> str:
        return f"{self.series} {self.last_number}"


class Invoice(models.Model):
    """A document of the books: an order's invoice, the credit note of one refund, or its reversal.

    A reversal takes a credit note back whose refund came back, days later, from the bank.

    `content` is all that is printed except the buyer, frozen; `buyer` holds what is personal, so
    that erasure can redact it once the legal retention is over. Nothing else ever changes.
    """

    class Kind(models.TextChoices):
        INVOICE = "invoice"
        CREDIT_NOTE = "credit_note"
        REVERSAL = "reversal"

    SERIES = {Kind.INVOICE: "INV", Kind.CREDIT_NOTE: "CN", Kind.REVERSAL: "RV"}

    order = models.ForeignKey(Order, models.PROTECT, related_name="invoices")
    kind = models.CharField(max_length=20, choices=Kind)
    refund = models.OneToOneField(
        Refund, models.PROTECT, null=True, blank=True, related_name="credit_note"
    )
    reverses = models.OneToOneField(
        "self", models.PROTECT, null=True, blank=True, related_name="reversal"
    )
    series = models.CharField(max_length=10)
    number = models.PositiveIntegerField()
    total_amount = models.DecimalField(max_digits=12, decimal_places=2)
    currency = models.CharField(max_length=3)
    content = models.JSONField()
    buyer = models.JSONField()
    issued_at = models.DateTimeField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "invoices"
        constraints = [
            models.UniqueConstraint(name="invoice_number_once", fields=["series", "number"]),
            models.UniqueConstraint(
                name="invoice_one_per_order", fields=["order"], condition=Q(kind="invoice")
            ),
            models.CheckConstraint(
                name="invoice_kind_has_its_series",
                condition=Q(
                    kind="invoice", series="INV", refund__isnull=True, reverses__isnull=True
                )
                | Q(kind="credit_note", series="CN", refund__isnull=False, reverses__isnull=True)
                | Q(kind="reversal", series="RV", refund__isnull=True, reverses__isnull=False),
            ),
            models.CheckConstraint(name="invoice_number_positive", condition=Q(number__gt=0)),
        ]
        triggers = [
            pgtrigger.ReadOnly(
                name="all_but_the_buyer_is_frozen",
                fields=[
                    "order",
                    "kind",
                    "refund",
                    "reverses",
                    "series",
                    "number",
                    "total_amount",
                    "currency",
                    "content",
                    "issued_at",
                ],
            ),
            pgtrigger.Protect(name="never_deleted", operation=pgtrigger.Delete),
        ]

    def __str__(self) -> str:
        return self.document_number

    @property
    def document_number(self) -> str:
        """As it is printed: `INV-000042`."""
        return f"{self.series}-{self.number:06d}"
