"""What happened, written in the same transaction as the change: the log and the outbox."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from config.kernel.models import append_only, new_uuid


class AuditLog(models.Model):
    """One thing that happened, and who asked for it. Append-only, partitioned by month.

    `data` holds ids and amounts, never personal data. The database also keeps `xid`, the writing
    transaction: a later sealer may cover only rows that no running transaction can overtake.
    """

    event_type = models.CharField(max_length=50)
    entity_type = models.CharField(max_length=50, null=True, blank=True)
    entity_id = models.BigIntegerField(null=True, blank=True)
    user_id = models.BigIntegerField(null=True, blank=True)
    ip_address = models.GenericIPAddressField(null=True, blank=True)
    user_agent = models.TextField(null=True, blank=True)
    data = models.JSONField(null=True, blank=True)
    request_id = models.CharField(max_length=128, null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "audit_logs"
        indexes = [
            models.Index(fields=["created_at"], name="idx_audit_logs_created_at"),
            models.Index(fields=["event_type"], name="idx_audit_logs_event_type"),
            models.Index(fields=["entity_type", "entity_id"], name="idx_audit_logs_entity"),
        ]
        triggers = append_only()

    def __str__(self) -> str:
        return f"{self.event_type} {self.entity_type or ''} {self.entity_id or ''}".strip()


class OutboxMessage(models.Model):
    """A fact for the world outside, in past tense: `order.confirmed`.

    `uuid` is the message id that receivers deduplicate by. `dedupe_key` keeps a fact from being
    stated twice. The relay makes one Delivery a subscriber, then notes `fanned_out_at`.
    """

    uuid = models.UUIDField(unique=True, default=new_uuid, editable=False)
    fact = models.CharField(max_length=60)
    aggregate_type = models.CharField(max_length=30)
    aggregate_id = models.BigIntegerField()
    dedupe_key = models.CharField(max_length=120, unique=True)
    payload = models.JSONField()
    occurred_at = models.DateTimeField(db_default=Now(), editable=False)
    fanned_out_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "outbox_messages"
        indexes = [
            models.Index(
                fields=["id"],
                name="idx_outbox_waiting",
                condition=Q(fanned_out_at__isnull=True),
            ),
            models.Index(  # those whose time may be over
                fields=["occurred_at"],
                name="idx_outbox_fanned_out",
                condition=Q(fanned_out_at__isnull=False),
            ),
            models.Index(  # what an order's page tells of it
                fields=["aggregate_id"],
                name="idx_outbox_of_order",
                condition=Q(aggregate_type="order"),
            ),
        ]

    def __str__(self) -> str:
        return self.dedupe_key


class Delivery(models.Model):
    """One message on its way to one subscriber; at least once, never forgotten."""

    class Status(models.TextChoices):
        PENDING = "pending"
        DELIVERED = "delivered"
        DEAD = "dead"

    message = models.ForeignKey(  # its index is the unique one
        OutboxMessage, models.PROTECT, related_name="deliveries", db_index=False
    )
    subscriber = models.CharField(max_length=60)
    status = models.CharField(
        max_length=20, choices=Status, default=Status.PENDING, db_default=Status.PENDING
    )
    attempts = models.PositiveIntegerField(default=0, db_default=0)
    next_attempt_at = models.DateTimeField(db_default=Now())
    last_error = models.CharField(max_length=500, default="", db_default="", blank=True)
    delivered_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "deliveries"
        verbose_name_plural = "deliveries"
        permissions = [("retry_delivery", "Can have a delivery tried again")]
        constraints = [
            models.UniqueConstraint(
                name="delivery_one_per_message_and_subscriber", fields=["message", "subscriber"]
            ),
            models.CheckConstraint(
                name="delivery_status_known",
                condition=Q(status__in=["pending", "delivered", "dead"]),
            ),
        ]
        indexes = [
            models.Index(
                fields=["next_attempt_at", "id"],
                name="idx_deliveries_waiting",
                condition=Q(status="pending"),
            ),
            models.Index(fields=["id"], name="idx_deliveries_dead", condition=Q(status="dead")),
        ]

    def __str__(self) -> str:
        return f"{self.subscriber} {self.status}"
