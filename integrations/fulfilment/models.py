"""What carriers told, what warehouses sent, and the labels that were bought."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from config.kernel.models import legal_statuses
from orders.models import Shipment


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
