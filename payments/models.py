"""Money in and out: one payment an order, its refunds, and the books they are kept in."""

from __future__ import annotations

import pgtrigger
from django.conf import settings
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from config.kernel.models import append_only, legal_statuses, new_uuid, touches_updated_at


class Payment(models.Model):
    """What one order owes and what has come in, in major units of `currency`.

    `create_params` and `confirm_params` are sent to the provider verbatim at every repetition,
    so that a deploy between two tries cannot change them under the same idempotency key.
    `next_attempt_at`, `attempts` and `last_error` are the sweeper's; `in_doubt_since` is set when
    the customer was told 202: the order may then be finished without another request of theirs.
    """

    class Status(models.TextChoices):
        CREATED = "created"
        REQUIRES_ACTION = "requires_action"
        PROCESSING = "processing"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELLED = "cancelled"
        QUARANTINED = "quarantined"

    OPEN = ("created", "requires_action", "processing")
    # Failure codes of ours: our own request was refused, and that because of whom it named.
    PROVIDER_REFUSED = "provider_refused"
    CUSTOMER_GONE = "provider_customer_gone"

    uuid = models.UUIDField(unique=True, default=new_uuid, editable=False)
    order = models.ForeignKey("orders.Order", models.PROTECT, related_name="payments")
    status = models.CharField(
        max_length=20, choices=Status, default=Status.CREATED, db_default=Status.CREATED
    )
    currency = models.CharField(max_length=3)
    amount = models.DecimalField(max_digits=12, decimal_places=2)
    amount_received = models.DecimalField(max_digits=12, decimal_places=2, default=0, db_default=0)
    amount_refunded = models.DecimalField(max_digits=12, decimal_places=2, default=0, db_default=0)
    payment_method_id = models.CharField(max_length=255)
    payment_intent_id = models.CharField(max_length=255, unique=True, null=True, blank=True)
    create_params = models.JSONField()
    confirm_params = models.JSONField()
    confirm_attempt = models.PositiveSmallIntegerField(default=1, db_default=1)
    failure_code = models.CharField(max_length=60, default="", db_default="", blank=True)
    decline_code = models.CharField(max_length=60, default="", db_default="", blank=True)
    in_doubt_since = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0, db_default=0)
    next_attempt_at = models.DateTimeField(db_default=Now())
    last_error = models.CharField(max_length=500, default="", db_default="", blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "payments"
        permissions = [("end_quarantine", "Can end a payment in quarantine")]
        constraints = [
            models.CheckConstraint(
                name="payment_status_known",
                condition=Q(
                    status__in=[
                        "created",
                        "requires_action",
                        "processing",
                        "succeeded",
                        "failed",
                        "cancelled",
                        "quarantined",
                    ]
                ),
            ),
            models.UniqueConstraint(
                name="payment_one_live_per_order",
                fields=["order"],
                condition=Q(
                    status__in=[
                        "created",
                        "requires_action",
                        "processing",
                        "succeeded",
                        "quarantined",
                    ]
                ),
            ),
            models.CheckConstraint(name="payment_amount_not_negative", condition=Q(amount__gte=0)),
            models.CheckConstraint(
                name="payment_received_in_full_or_not_at_all",
                condition=Q(status="succeeded", amount_received=F("amount"))
                | (~Q(status="succeeded") & Q(amount_received=0)),
            ),
            models.CheckConstraint(
                name="payment_refunded_within_received",
                condition=Q(amount_refunded__gte=0) & Q(amount_refunded__lte=F("amount_received")),
            ),
            models.CheckConstraint(
                name="payment_money_needs_an_intent",
                condition=~Q(status="succeeded") | Q(payment_intent_id__isnull=False),
            ),
        ]
        indexes = [
            models.Index(
                fields=["next_attempt_at", "id"],
                name="idx_payments_open",
                condition=Q(status__in=["created", "requires_action", "processing"]),
            ),
            models.Index(
                fields=["id"], name="idx_payments_quarantined", condition=Q(status="quarantined")
            ),
        ]
        triggers = [
            touches_updated_at(),
            pgtrigger.ReadOnly(
                name="amount_is_frozen",
                fields=["uuid", "order", "currency", "amount", "create_params"],
            ),
            *legal_statuses(
                start=["created"],
                transitions={
                    "created": [
                        "requires_action",
                        "processing",
                        "succeeded",
                        "failed",
                        "cancelled",
                        "quarantined",
                    ],
                    "requires_action": [
                        "processing",
                        "succeeded",
                        "failed",
                        "cancelled",
                        "quarantined",
                    ],
                    "processing": [
                        "requires_action",
                        "succeeded",
                        "failed",
                        "cancelled",
                        "quarantined",
                    ],
                    # The provider contradicts its own "canceled": the money is taken note of,
                    # and refunded.
                    "failed": ["succeeded", "quarantined"],
                    "cancelled": ["succeeded", "quarantined"],
                    "quarantined": ["succeeded", "failed", "cancelled"],
                },
            ),
        ]

    def __str__(self) -> str:
        return f"{self.uuid} {self.status}"


class Refund(models.Model):
    """Money on its way back. Written in the transaction that decides it, sent afterwards.

    `attempt` is the n of the provider's idempotency key `rf-<uuid>-<n>`; it goes up only after
    the provider replayed a stored 5xx of that very n and its list shows no such refund.
    `request_key` lets whoever decides a refund repeat the decision without doubling it. A refund
    that succeeded may fail days later, when the customer's bank sends the money back.
    """

    class Status(models.TextChoices):
        DUE = "due"
        PENDING = "pending"
        SUCCEEDED = "succeeded"
        FAILED = "failed"

    uuid = models.UUIDField(unique=True, default=new_uuid, editable=False)
    payment = models.ForeignKey(Payment, models.PROTECT, related_name="refunds")
    status = models.CharField(
        max_length=20, choices=Status, default=Status.DUE, db_default=Status.DUE
    )
    currency = models.CharField(max_length=3)
    amount = models.DecimalField(max_digits=12, decimal_places=2)
    reason = models.CharField(max_length=200, default="", db_default="", blank=True)
    request_key = models.CharField(max_length=255, null=True, blank=True)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="+"
    )
    stripe_refund_id = models.CharField(max_length=255, unique=True, null=True, blank=True)
    attempt = models.PositiveSmallIntegerField(default=1, db_default=1)
    first_sent_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0, db_default=0)
    next_attempt_at = models.DateTimeField(db_default=Now())
    last_error = models.CharField(max_length=500, default="", db_default="", blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "refunds"
        constraints = [
            models.CheckConstraint(
                name="refund_status_known",
                condition=Q(status__in=["due", "pending", "succeeded", "failed"]),
            ),
            models.CheckConstraint(name="refund_of_something", condition=Q(amount__gt=0)),
            models.CheckConstraint(
                name="refund_done_has_provider_id",
                condition=~Q(status="succeeded") | Q(stripe_refund_id__isnull=False),
            ),
            models.UniqueConstraint(
                name="refund_once_per_request", fields=["payment", "request_key"]
            ),
        ]
        indexes = [
            models.Index(
                fields=["next_attempt_at", "id"],
                name="idx_refunds_open",
                condition=Q(status__in=["due", "pending"]),
            ),
            models.Index(fields=["created_at"], name="idx_refunds_created_at"),
        ]
        triggers = [
            touches_updated_at(),
            pgtrigger.ReadOnly(
                name="amount_is_frozen", fields=["uuid", "payment", "currency", "amount"]
            ),
            *legal_statuses(
                start=["due"],
                transitions={
                    "due": ["pending", "succeeded", "failed"],
                    "pending": ["succeeded", "failed"],
                    "succeeded": ["failed"],
                },
            ),
            pgtrigger.Trigger(
                name="never_above_received",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                declare=[("received", "payments"), ("given", "numeric")],
                func="""
                    SELECT * INTO received FROM payments WHERE id = NEW.payment_id FOR UPDATE;
                    SELECT coalesce(sum(amount), 0) INTO given FROM refunds
                        WHERE payment_id = NEW.payment_id AND status <> 'failed';
                    IF given + NEW.amount > received.amount_received
                            OR NEW.currency <> received.currency THEN
                        RAISE EXCEPTION 'refunds may not exceed what was received';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.uuid} {self.status}"


class Dispute(models.Model):
    """A customer's bank takes a payment back, or asks why it should not; as the provider tells it.

    `amount` in major units of `currency`. What it does to the money stands in the ledger.
    """

    class Status(models.TextChoices):
        WARNING_NEEDS_RESPONSE = "warning_needs_response"
        WARNING_UNDER_REVIEW = "warning_under_review"
        WARNING_CLOSED = "warning_closed"
        NEEDS_RESPONSE = "needs_response"
        UNDER_REVIEW = "under_review"
        WON = "won"
        LOST = "lost"
        PREVENTED = "prevented"

    # No money was taken for these, or it came back.
    HARMLESS = (
        "warning_needs_response",
        "warning_under_review",
        "warning_closed",
        "won",
        "prevented",
    )

    # Decided: an account that says otherwise is an older one.
    CLOSED = ("warning_closed", "won", "lost", "prevented")

    payment = models.ForeignKey(Payment, models.PROTECT, related_name="disputes")
    stripe_dispute_id = models.CharField(max_length=255, unique=True)
    status = models.CharField(max_length=30, choices=Status)
    reason = models.CharField(max_length=60)
    currency = models.CharField(max_length=3)
    amount = models.DecimalField(max_digits=12, decimal_places=2)
    evidence_due_at = models.DateTimeField(null=True, blank=True)
    opened_at = models.DateTimeField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "disputes"
        constraints = [
            models.CheckConstraint(
                name="dispute_status_known",
                condition=Q(
                    status__in=[
                        "warning_needs_response",
                        "warning_under_review",
                        "warning_closed",
                        "needs_response",
                        "under_review",
                        "won",
                        "lost",
                        "prevented",
                    ]
                ),
            ),
            models.CheckConstraint(name="dispute_about_something", condition=Q(amount__gt=0)),
        ]
        triggers = [touches_updated_at()]

    def __str__(self) -> str:
        return f"{self.stripe_dispute_id} {self.status}"


class ProviderEvent(models.Model):
    """A webhook as it came in; unique by the provider's id, so a repetition changes nothing.

    Of its body only ids, amounts and marks are kept, and never believed: they name an object, which
    is fetched afresh. `ignored`: about nothing of ours. `quarantined`: signed, and yet not what it
    should be; a person has to look.
    """

    class Status(models.TextChoices):
        RECEIVED = "received"
        PROCESSED = "processed"
        IGNORED = "ignored"
        QUARANTINED = "quarantined"

    stripe_event_id = models.CharField(max_length=255, unique=True)
    event_type = models.CharField(max_length=100)
    object_id = models.CharField(max_length=255, default="", db_default="", blank=True)
    payment_intent_id = models.CharField(max_length=255, null=True, blank=True)
    status = models.CharField(
        max_length=20, choices=Status, default=Status.RECEIVED, db_default=Status.RECEIVED
    )
    payload = models.JSONField()
    received_at = models.DateTimeField(db_default=Now(), editable=False)
    processed_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0, db_default=0)
    next_attempt_at = models.DateTimeField(db_default=Now())
    last_error = models.CharField(max_length=500, default="", db_default="", blank=True)

    class Meta:
        db_table = "provider_events"
        permissions = [("retry_event", "Can have a webhook worked off again")]
        constraints = [
            models.CheckConstraint(
                name="provider_event_status_known",
                condition=Q(status__in=["received", "processed", "ignored", "quarantined"]),
            ),
            models.CheckConstraint(
                name="provider_event_done_has_a_time",
                condition=Q(status="received", processed_at__isnull=True)
                | (~Q(status="received") & Q(processed_at__isnull=False)),
            ),
        ]
        indexes = [
            models.Index(
                fields=["next_attempt_at", "id"],
                name="idx_provider_events_due",
                condition=Q(status="received"),
            ),
            models.Index(
                fields=["payment_intent_id"],
                name="idx_provider_events_intent",
                condition=Q(payment_intent_id__isnull=False),
            ),
            models.Index(fields=["received_at"], name="idx_provider_events_received"),
            models.Index(
                fields=["received_at"],
                name="idx_provider_events_odd",
                condition=Q(status="quarantined"),
            ),
        ]
        triggers = [
            pgtrigger.ReadOnly(
                name="content_is_frozen",
                fields=["stripe_event_id", "event_type", "object_id", "payload"],
            ),
        ]

    def __str__(self) -> str:
        return self.stripe_event_id


class ReconciliationCase(models.Model):
    """What the comparison with the provider found and no machine may decide: a person's queue.

    One open case for each subject; it is resolved when a later comparison no longer finds it.
    """

    class Classification(models.TextChoices):
        CHARGE_WITHOUT_ORDER = "charge_without_order"
        ORDER_WITHOUT_CHARGE = "order_without_charge"
        AMOUNT_DIFFERS = "amount_differs"
        UNKNOWN = "unknown"

    classification = models.CharField(max_length=30, choices=Classification)
    subject = models.CharField(max_length=255, help_text="the provider's id, or the payment's")
    payment = models.ForeignKey(
        Payment, models.PROTECT, null=True, blank=True, related_name="reconciliation_cases"
    )
    problem = models.CharField(max_length=500)
    first_seen_at = models.DateTimeField(db_default=Now(), editable=False)
    last_seen_at = models.DateTimeField(db_default=Now())
    resolved_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "reconciliation_cases"
        permissions = [("give_back", "Can give back a charge that no order has")]
        constraints = [
            models.CheckConstraint(
                name="reconciliation_case_known",
                condition=Q(
                    classification__in=[
                        "charge_without_order",
                        "order_without_charge",
                        "amount_differs",
                        "unknown",
                    ]
                ),
            ),
            models.UniqueConstraint(
                name="reconciliation_case_open_once",
                fields=["classification", "subject"],
                condition=Q(resolved_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.classification} {self.subject}"


class LedgerEntry(models.Model):
    """One leg of a double-entry transaction; the legs of a transaction add up to zero.

    Positive amounts are debits, negative ones credits, in major units of `currency`. A deferred
    trigger checks the sum at COMMIT. Append-only. Captures and refunds are written when they are
    settled; what the provider takes besides (fees, disputes) is booked from its own balance
    transactions, each once.
    """

    class Account(models.TextChoices):
        STRIPE_BALANCE = "stripe_balance"
        CUSTOMER_RECEIPTS = "customer_receipts"
        PROVIDER_FEES = "provider_fees"
        DISPUTED_RECEIPTS = "disputed_receipts"

    class Kind(models.TextChoices):
        CAPTURE = "capture"
        REFUND = "refund"
        REFUND_REVERSAL = "refund_reversal"
        FEE = "fee"
        DISPUTE = "dispute"
        DISPUTE_REVERSAL = "dispute_reversal"

    transaction = models.UUIDField(default=new_uuid)
    kind = models.CharField(max_length=20, choices=Kind)
    account = models.CharField(max_length=30, choices=Account)
    currency = models.CharField(max_length=3)
    amount = models.DecimalField(max_digits=12, decimal_places=2)
    payment = models.ForeignKey(Payment, models.PROTECT, related_name="ledger_entries")
    refund = models.ForeignKey(
        Refund, models.PROTECT, null=True, blank=True, related_name="ledger_entries"
    )
    dispute = models.ForeignKey(
        Dispute, models.PROTECT, null=True, blank=True, related_name="ledger_entries"
    )
    balance_transaction_id = models.CharField(max_length=255, null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "ledger_entries"
        permissions = [
            ("export_ledger", "Can export the ledger"),
        ]
        verbose_name_plural = "ledger entries"
        constraints = [
            models.CheckConstraint(
                name="ledger_account_known",
                condition=Q(
                    account__in=[
                        "stripe_balance",
                        "customer_receipts",
                        "provider_fees",
                        "disputed_receipts",
                    ]
                ),
            ),
            models.CheckConstraint(
                name="ledger_kind_known",
                condition=Q(
                    kind__in=[
                        "capture",
                        "refund",
                        "refund_reversal",
                        "fee",
                        "dispute",
                        "dispute_reversal",
                    ]
                ),
            ),
            models.UniqueConstraint(
                name="ledger_account_once_per_transaction", fields=["transaction", "account"]
            ),
            models.UniqueConstraint(
                name="ledger_one_capture_per_payment",
                fields=["payment", "account"],
                condition=Q(kind="capture"),
            ),
            models.UniqueConstraint(
                name="ledger_one_entry_per_refund", fields=["refund", "kind", "account"]
            ),
            models.UniqueConstraint(
                name="ledger_balance_transaction_booked_once",
                fields=["balance_transaction_id", "kind", "account"],
            ),
        ]
        indexes = [
            models.Index(
                fields=["created_at"],
                name="idx_ledger_booked",
                condition=Q(balance_transaction_id__isnull=False),
            ),
            # What a period is reported from: entries lie by day, so a few pages know them all.
            BrinIndex(fields=["created_at"], name="idx_ledger_created_at", autosummarize=True),
        ]
        triggers = [
            *append_only(),
            pgtrigger.Trigger(
                name="adds_up_to_zero",
                when=pgtrigger.After,
                operation=pgtrigger.Insert,
                timing=pgtrigger.Deferred,
                func="""
                    IF (SELECT sum(amount) FROM ledger_entries
                            WHERE transaction = NEW.transaction
                            AND currency = NEW.currency) <> 0 THEN
                        RAISE EXCEPTION 'ledger transaction % does not add up', NEW.transaction;
                    END IF;
                    RETURN NULL;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.account} {self.amount} {self.currency}"
