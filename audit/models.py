"""What happened, written in the same transaction as the change: the log and the outbox."""

from __future__ import annotations

from typing import Final

import pgtrigger
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Length, Now
from django.db.models.lookups import Exact

from config.kernel.models import append_only, never_truncated, new_uuid

LEAF_BYTES: Final = 48
"""What a seal keeps of one row: its id, when it was written, and the SHA-256 of all of it."""
DIGEST_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
SEAL_FIELDS: Final = (
    *("number", "from_xid", "to_xid", "row_count", "newest_at", "retired_before"),
    *("root", "previous", "digest", "signature", "key_id", "created_at"),
)
"""All of a seal but its leaves: what never changes."""


class AuditLog(models.Model):
    """One thing that happened, and who asked for it. Append-only, partitioned by month.

    `data` holds ids and amounts, never personal data. The database also keeps `xid`, the writing
    transaction: a seal covers only rows that no running transaction can overtake.
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
        permissions = [("export_log", "Can export the audit log")]
        indexes = [
            models.Index(fields=["created_at"], name="idx_audit_logs_created_at"),
            models.Index(fields=["event_type"], name="idx_audit_logs_event_type"),
            models.Index(fields=["entity_type", "entity_id"], name="idx_audit_logs_entity"),
        ]
        triggers = append_only()

    def __str__(self) -> str:
        return f"{self.event_type} {self.entity_type or ''} {self.entity_id or ''}".strip()


class AuditSeal(models.Model):
    """What the audit log held of a stretch of transactions, signed; each continues the last one.

    It covers the rows whose transaction's number lies in `from_xid` (inclusive) to `to_xid`
    (exclusive), and says of each in `leaves` what it was, so that one that was changed can be
    named. `root` is the SHA-256 of the leaves, `digest` that of `previous` (the digest before) and
    of every column but the leaves; `signature` signs the digest (`audit.seals.chain`).

    One with `retired_before` covers nothing: it says that older rows were dropped on purpose
    (`audit.partitions`). Then their leaves may go as well, and the chain still holds.
    """

    number = models.BigIntegerField(primary_key=True)
    from_xid = models.BigIntegerField()
    to_xid = models.BigIntegerField()
    row_count = models.PositiveIntegerField()
    newest_at = models.DateTimeField(null=True, blank=True)
    retired_before = models.DateTimeField(null=True, blank=True)
    leaves = models.BinaryField(default=b"", db_default=b"")
    root = models.BinaryField()
    previous = models.BinaryField()
    digest = models.BinaryField()
    signature = models.BinaryField()
    key_id = models.CharField(max_length=16)
    created_at = models.DateTimeField(editable=False)

    class Meta:
        db_table = "audit_seals"
        permissions = [("seal_log", "Can have the audit log sealed")]
        constraints = [
            models.CheckConstraint(
                name="audit_seal_counts_from_one_and_zero",
                condition=Q(number=1, from_xid=0) | Q(number__gt=1, from_xid__gt=0),
            ),
            models.CheckConstraint(
                name="audit_seal_covers_rows_or_retires_them",
                condition=Q(
                    to_xid__gt=F("from_xid"),
                    row_count__gt=0,
                    newest_at__isnull=False,
                    retired_before__isnull=True,
                )
                | Q(
                    to_xid=F("from_xid"),
                    row_count=0,
                    newest_at__isnull=True,
                    retired_before__isnull=False,
                ),
            ),
            models.CheckConstraint(
                name="audit_seal_has_a_leaf_for_each_row",
                condition=Q(Exact(Length("leaves"), 0))
                | Q(Exact(Length("leaves"), F("row_count") * LEAF_BYTES)),
            ),
            models.CheckConstraint(
                name="audit_seal_digests_are_whole",
                condition=Q(Exact(Length("root"), DIGEST_BYTES))
                & Q(Exact(Length("previous"), DIGEST_BYTES))
                & Q(Exact(Length("digest"), DIGEST_BYTES))
                & Q(Exact(Length("signature"), SIGNATURE_BYTES)),
            ),
        ]
        indexes = [
            models.Index(
                fields=["number"],
                name="idx_audit_seals_retiring",
                condition=Q(retired_before__isnull=False),
            ),
        ]
        triggers = [
            pgtrigger.Trigger(
                name="continues_the_last_one",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                condition=pgtrigger.Q(new__number__gt=1),
                func="""
                    IF NOT EXISTS (
                        SELECT FROM audit_seals WHERE number = NEW.number - 1
                        AND to_xid = NEW.from_xid AND digest = NEW.previous
                    ) THEN
                        RAISE EXCEPTION 'seal % does not continue the last one', NEW.number;
                    END IF;
                    RETURN NEW;
                """,
            ),
            pgtrigger.ReadOnly(name="all_else_is_frozen", fields=list(SEAL_FIELDS)),
            pgtrigger.Protect(
                name="leaves_only_ever_go",
                operation=pgtrigger.Update,
                condition=pgtrigger.Condition("length(NEW.leaves) > 0"),
            ),
            pgtrigger.Protect(name="never_deleted", operation=pgtrigger.Delete),
            never_truncated(),
        ]

    def __str__(self) -> str:
        return f"Seal {self.number}"


class AuditVerification(models.Model):
    """What came of holding the audit log against its seals, once (`audit.seals.verification`).

    `examples` are the first findings: kind, seal and row, by number.
    """

    ran_at = models.DateTimeField(db_default=Now(), editable=False)
    seconds = models.FloatField()
    first_seal = models.BigIntegerField()
    seals = models.PositiveBigIntegerField()
    rows = models.PositiveBigIntegerField()
    findings = models.PositiveBigIntegerField()
    examples = models.JSONField(default=list, blank=True)

    class Meta:
        db_table = "audit_verifications"
        permissions = [("verify_log", "Can have the audit log held against its seals")]

    def __str__(self) -> str:
        return f"{self.findings or 'no'} findings in {self.seals} seals"


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
    # The message's: a subscriber is told of one aggregate in order. Older rows have none.
    aggregate_type = models.CharField(max_length=30, null=True, blank=True)
    aggregate_id = models.BigIntegerField(null=True, blank=True)
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
                fields=["subscriber", "next_attempt_at", "id"],
                name="idx_deliveries_due",
                condition=Q(status="pending"),
            ),
            models.Index(  # what has to be told before another
                fields=["subscriber", "aggregate_type", "aggregate_id", "message"],
                name="idx_deliveries_in_order",
                condition=Q(status="pending"),
            ),
            models.Index(  # of one receiver, the oldest first
                fields=["subscriber", "id"],
                name="idx_deliveries_given_up",
                condition=Q(status="dead"),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.subscriber} {self.status}"


class Receiver(models.Model):
    """How it stands with one subscriber: whether it answers, and what it may be given.

    After some failures in a row it rests until `retry_at` (the circuit breaker is open); then one
    delivery shows whether it is back. `spent_until`: up to when its measure of deliveries a second
    is used up. `paused_at`: staff wants nothing delivered; what comes in waits. `last_told_at`:
    some seconds old at most.
    """

    subscriber = models.CharField(max_length=60, unique=True)
    failures = models.PositiveIntegerField(default=0, db_default=0)
    trials = models.PositiveIntegerField(default=0, db_default=0)
    failing_since = models.DateTimeField(null=True, blank=True)
    retry_at = models.DateTimeField(null=True, blank=True)
    spent_until = models.DateTimeField(null=True, blank=True)
    paused_at = models.DateTimeField(null=True, blank=True)
    last_told_at = models.DateTimeField(null=True, blank=True)
    last_error = models.CharField(max_length=500, default="", db_default="", blank=True)

    class Meta:
        db_table = "receivers"
        permissions = [("pause_receiver", "Can pause deliveries to a receiver, and go on")]

    def __str__(self) -> str:
        return self.subscriber

    @property
    def state(self) -> str:
        """In a word, for staff."""
        if self.paused_at is not None:
            return "paused"
        if self.retry_at is not None:
            return "resting"
        return "failing" if self.failures else "answering"
