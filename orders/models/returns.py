"""What comes back after it was shipped: asked for by the buyer, decided and counted by staff."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Func, Q
from django.db.models.functions import Now

from config.kernel.models import append_only, legal_statuses, new_uuid, touches_updated_at
from orders.models.order import Order, OrderItem
from payments.models import Refund


class Return(models.Model):
    """A wish to send units of an order back, and what became of it.

    `reason` is the buyer's own words, `refusal` those of staff. `refund` is set when the money for
    what arrived is on its way.
    """

    class Status(models.TextChoices):
        REQUESTED = "requested"
        ACCEPTED = "accepted"
        REFUSED = "refused"
        RECEIVED = "received"
        REFUNDED = "refunded"

    ANNOUNCED = ("requested", "accepted")

    public_id = models.UUIDField(
        unique=True, default=new_uuid, db_default=Func(function="gen_random_uuid"), editable=False
    )
    order = models.ForeignKey(Order, models.PROTECT, related_name="returns")
    status = models.CharField(
        max_length=20, choices=Status, default=Status.REQUESTED, db_default=Status.REQUESTED
    )
    version = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    reason = models.CharField(max_length=500)
    refusal = models.CharField(max_length=500, default="", db_default="", blank=True)
    refund = models.OneToOneField(
        Refund, models.PROTECT, null=True, blank=True, related_name="returned"
    )
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)
    decided_at = models.DateTimeField(null=True, blank=True)
    received_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "returns"
        permissions = [
            ("decide_return", "Can accept or refuse a return"),
            ("receive_return", "Can count what arrived of a return"),
        ]
        constraints = [
            models.CheckConstraint(
                name="return_status_known",
                condition=Q(
                    status__in=["requested", "accepted", "refused", "received", "refunded"]
                ),
            ),
            models.CheckConstraint(
                name="return_refund_follows_the_status",
                condition=Q(status="refunded", refund__isnull=False)
                | (~Q(status="refunded") & Q(refund__isnull=True)),
            ),
        ]
        indexes = [
            models.Index(
                fields=["received_at"],
                name="idx_returns_to_refund",
                condition=Q(status="received"),
            ),
        ]
        triggers = [
            touches_updated_at(),
            *legal_statuses(
                start=["requested"],
                transitions={
                    "requested": ["accepted", "refused"],
                    "accepted": ["received"],
                    "received": ["refunded"],
                },
            ),
        ]

    def __str__(self) -> str:
        return str(self.public_id)


class ReturnItem(models.Model):
    """How many units of an order's line shall come back. Append-only."""

    parent = models.ForeignKey(Return, models.PROTECT, related_name="items", db_column="return_id")
    order_item = models.ForeignKey(OrderItem, models.PROTECT, related_name="return_items")
    quantity = models.PositiveIntegerField()

    class Meta:
        db_table = "return_items"
        constraints = [
            models.UniqueConstraint(
                name="return_item_once_per_return", fields=["parent", "order_item"]
            ),
            models.CheckConstraint(name="return_item_of_something", condition=Q(quantity__gt=0)),
        ]
        triggers = append_only()

    def __str__(self) -> str:
        return f"{self.quantity} of {self.order_item_id}"


class ReturnReceipt(models.Model):
    """What arrived of a return's line, and whether it can be sold again. Append-only."""

    item = models.OneToOneField(ReturnItem, models.PROTECT, related_name="receipt")
    quantity = models.PositiveIntegerField()
    restocked = models.PositiveIntegerField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "return_receipts"
        constraints = [
            models.CheckConstraint(
                name="return_receipt_restocks_what_came", condition=Q(restocked__lte=F("quantity"))
            ),
        ]
        triggers = append_only()

    def __str__(self) -> str:
        return f"{self.quantity} of {self.item_id}, {self.restocked} restocked"
