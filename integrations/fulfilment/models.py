"""What carriers told, what warehouses sent, and the labels that were bought."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Func, Q
from django.db.models.functions import Now

from config.kernel.models import legal_statuses, new_uuid
from orders.models import Order, Shipment


class TrackingEvent(models.Model):
    """What a carrier told of a parcel: kept as it came, and worked off once.

    `unmatched` waits for its parcel: the number may be known to us later, or is nobody's of ours.
    Of the webhook nothing else is kept: who signed for a parcel is none of our business.
    """

    class Source(models.TextChoices):
        GENERIC = "generic"
        EASYPOST = "easypost", "EasyPost"

    class Stage(models.TextChoices):
        ANNOUNCED = "announced"
        IN_TRANSIT = "in_transit"
        OUT_FOR_DELIVERY = "out_for_delivery"
        DELIVERED = "delivered"
        TROUBLE = "trouble"
        UNKNOWN = "unknown"

    class Status(models.TextChoices):
        RECEIVED = "received"
        UNMATCHED = "unmatched"
        PROCESSED = "processed"

    source = models.CharField(max_length=20, choices=Source)
    event_id = models.CharField(max_length=255)
    tracking_number = models.CharField(max_length=100)
    carrier = models.CharField(max_length=50, default="", db_default="", blank=True)
    stage = models.CharField(max_length=20, choices=Stage)
    told = models.CharField(max_length=50, help_text="The carrier's own word for it.")
    happened_at = models.DateTimeField()
    received_at = models.DateTimeField(db_default=Now(), editable=False)
    status = models.CharField(
        max_length=20, choices=Status, default=Status.RECEIVED, db_default=Status.RECEIVED
    )
    shipment = models.ForeignKey(
        Shipment, models.PROTECT, null=True, blank=True, related_name="tracking_events"
    )
    processed_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0, db_default=0)
    next_attempt_at = models.DateTimeField(db_default=Now())
    last_error = models.CharField(max_length=200, default="", db_default="", blank=True)

    class Meta:
        db_table = "tracking_events"
        constraints = [
            models.UniqueConstraint(
                name="tracking_event_once_per_source", fields=["source", "event_id"]
            ),
            models.CheckConstraint(
                name="tracking_event_source_known",
                condition=Q(source__in=["generic", "easypost"]),
            ),
            models.CheckConstraint(
                name="tracking_event_stage_known",
                condition=Q(
                    stage__in=[
                        *("announced", "in_transit", "out_for_delivery"),
                        *("delivered", "trouble", "unknown"),
                    ]
                ),
            ),
            models.CheckConstraint(
                name="tracking_event_status_known",
                condition=Q(status__in=["received", "unmatched", "processed"]),
            ),
            models.CheckConstraint(
                name="tracking_event_processed_about_a_parcel",
                condition=Q(status="processed", shipment__isnull=False, processed_at__isnull=False)
                | (~Q(status="processed") & Q(shipment__isnull=True, processed_at__isnull=True)),
            ),
        ]
        indexes = [
            models.Index(
                fields=["next_attempt_at"],
                name="idx_tracking_events_due",
                condition=Q(status="received"),
            ),
            models.Index(
                fields=["tracking_number"],
                name="idx_tracking_events_number",
            ),
        ]
        triggers = legal_statuses(
            start=["received"],
            transitions={
                "received": ["unmatched", "processed"],
                "unmatched": ["processed"],
            },
        )

    def __str__(self) -> str:
        return f"{self.tracking_number} {self.stage}"


class ShippingLabel(models.Model):
    """A label for one parcel: that it was asked for, once a `request_key`, and what came of it.

    `asked` is not known yet: whoever goes on looks at the provider first. `units` are what the
    parcel is to hold, by SKU; `amount` is what the label costs, in major units of `currency`.
    The page at `label_url` shows the buyer's address: an erasure blanks it.
    """

    class Provider(models.TextChoices):
        GENERIC = "generic"
        EASYPOST = "easypost", "EasyPost"

    class Status(models.TextChoices):
        ASKED = "asked"
        BOUGHT = "bought"
        FAILED = "failed"
        DISCARDED = "discarded"

    ALIVE = ("asked", "bought")

    uuid = models.UUIDField(
        unique=True, default=new_uuid, db_default=Func(function="gen_random_uuid"), editable=False
    )
    order = models.ForeignKey(Order, models.PROTECT, related_name="labels")
    request_key = models.CharField(max_length=255, unique=True)
    provider = models.CharField(max_length=20, choices=Provider)
    provider_id = models.CharField(max_length=100, default="", db_default="", blank=True)
    status = models.CharField(
        max_length=20, choices=Status, default=Status.ASKED, db_default=Status.ASKED
    )
    units = models.JSONField()
    wanted_service = models.CharField(max_length=50, default="", db_default="", blank=True)
    weight_grams = models.PositiveIntegerField()
    length_mm = models.PositiveIntegerField(null=True, blank=True)
    width_mm = models.PositiveIntegerField(null=True, blank=True)
    height_mm = models.PositiveIntegerField(null=True, blank=True)
    carrier = models.CharField(max_length=50, default="", db_default="", blank=True)
    service = models.CharField(max_length=50, default="", db_default="", blank=True)
    tracking_number = models.CharField(max_length=100, default="", db_default="", blank=True)
    tracking_url = models.URLField(max_length=500, default="", db_default="", blank=True)
    amount = models.DecimalField(max_digits=12, decimal_places=2, null=True, blank=True)
    currency = models.CharField(max_length=3, default="", db_default="", blank=True)
    label_url = models.URLField(max_length=500, default="", db_default="", blank=True)
    shipment = models.OneToOneField(
        Shipment, models.PROTECT, null=True, blank=True, related_name="label"
    )
    last_error = models.CharField(max_length=500, default="", db_default="", blank=True)
    leased_until = models.DateTimeField(null=True, blank=True, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    bought_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "shipping_labels"
        permissions = [("buy_label", "Can buy a shipping label")]
        constraints = [
            models.CheckConstraint(
                name="shipping_label_provider_known",
                condition=Q(provider__in=["generic", "easypost"]),
            ),
            models.CheckConstraint(
                name="shipping_label_status_known",
                condition=Q(status__in=["asked", "bought", "failed", "discarded"]),
            ),
            models.CheckConstraint(
                name="shipping_label_bought_has_its_price",
                condition=~Q(status="bought")
                | Q(amount__isnull=False, bought_at__isnull=False)
                & ~Q(currency="")
                & ~Q(carrier="")
                & ~Q(tracking_number=""),
            ),
            models.CheckConstraint(
                name="shipping_label_amount_not_negative",
                condition=Q(amount__isnull=True) | Q(amount__gte=0),
            ),
            models.CheckConstraint(
                name="shipping_label_sent_was_bought",
                condition=Q(shipment__isnull=True) | Q(status="bought"),
            ),
            models.CheckConstraint(  # staff click them
                name="shipping_label_links_to_web_pages",
                condition=(Q(label_url="") | Q(label_url__regex=r"^https?://"))
                & (Q(tracking_url="") | Q(tracking_url__regex=r"^https?://")),
            ),
            models.CheckConstraint(
                name="shipping_label_weighs_something", condition=Q(weight_grams__gt=0)
            ),
        ]
        indexes = [
            models.Index(
                fields=["created_at"],
                name="idx_shipping_labels_asked",
                condition=Q(status="asked"),
            ),
        ]
        triggers = legal_statuses(
            start=["asked"],
            transitions={
                "asked": ["bought", "failed", "discarded"],
                "bought": ["discarded"],
            },
        )

    def __str__(self) -> str:
        return f"{self.carrier or self.provider} {self.tracking_number or self.status}"
