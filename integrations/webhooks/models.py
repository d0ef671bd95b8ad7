"""Where merchants' own systems listen, the secrets we share with them, and what was tried."""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from config.kernel.models import touches_updated_at

LONGEST_URL: Final = 500
LONGEST_EXCERPT: Final = 200


class WebhookEndpoint(models.Model):
    """A URL that is told of some kinds of events; as subscriber `webhook:<id>`.

    Disabled ones are told nothing but tests, and nothing waits for them. `missed_since`: of what
    was stated before then all is delivered or was given up; enabling can send the rest.
    `failing_since`: when it failed first since it took anything.
    """

    class Status(models.TextChoices):
        DISABLED = "disabled"
        ENABLED = "enabled"

    url = models.CharField("URL", max_length=LONGEST_URL)
    description = models.CharField(max_length=200, default="", db_default="", blank=True)
    events = ArrayField(models.CharField(max_length=60))
    status = models.CharField(
        max_length=20,
        choices=Status,
        default=Status.DISABLED,
        db_default=Status.DISABLED,
        editable=False,
    )
    disabled_because = models.CharField(
        max_length=200, default="", db_default="", blank=True, editable=False
    )
    missed_since = models.DateTimeField(null=True, blank=True, editable=False)
    failing_since = models.DateTimeField(null=True, blank=True, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="+", editable=False
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "webhook_endpoints"
        permissions = [
            ("manage_webhooks", "Can give webhooks secrets, test, enable, disable and replay them")
        ]
        constraints = [
            models.UniqueConstraint(
                name="webhook_endpoint_one_per_url",
                fields=["url"],
                violation_error_message="There is an endpoint with this URL.",
            ),
            models.CheckConstraint(
                name="webhook_endpoint_url_is_of_the_web",
                condition=Q(url__regex=r"^https?://[^\s/@]+(/[^\s]*)?$"),
            ),
            models.CheckConstraint(
                name="webhook_endpoint_wants_something", condition=Q(events__len__gte=1)
            ),
            models.CheckConstraint(
                name="webhook_endpoint_status_known",
                condition=Q(status__in=["disabled", "enabled"]),
            ),
            models.CheckConstraint(
                name="webhook_endpoint_enabled_misses_nothing",
                condition=Q(status="disabled") | Q(disabled_because="", missed_since__isnull=True),
            ),
        ]
        triggers = [touches_updated_at()]

    def __str__(self) -> str:
        return self.url

    @property
    def subscriber(self) -> str:
        """Its name among those who are told."""
        return f"webhook:{self.pk}"


class WebhookSecret(models.Model):
    """One secret of an endpoint: of which key and number it is made, never the secret itself.

    The current one has no `expires_at`; those before it sign beside it until theirs.
    The same `request_key` is the same secret.
    """

    endpoint = models.ForeignKey(
        WebhookEndpoint, models.PROTECT, related_name="secrets", db_index=False
    )
    nonce = models.UUIDField(unique=True, editable=False)
    key_id = models.CharField(max_length=16, help_text="Which of our keys it is made of.")
    request_key = models.CharField(max_length=64)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "webhook_secrets"
        constraints = [
            models.UniqueConstraint(
                name="webhook_secret_one_per_request", fields=["endpoint", "request_key"]
            ),
            models.UniqueConstraint(
                name="webhook_secret_one_current",
                fields=["endpoint"],
                condition=Q(expires_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"Secret {self.pk}"


class WebhookAttempt(models.Model):
    """One try to tell an endpoint of one event, and what it answered.

    `http_status` is None without a whole answer. `excerpt` is what a failure's answer began with,
    in plain characters: others wrote it, and it is blanked when anybody is erased.
    """

    class Outcome(models.TextChoices):
        DELIVERED = "delivered"
        FAILED = "failed"

    endpoint = models.ForeignKey(
        WebhookEndpoint, models.PROTECT, related_name="attempts", db_index=False
    )
    delivery_id = models.BigIntegerField()  # no foreign key: deliveries are forgotten without us
    message_uuid = models.UUIDField("webhook-id")
    event = models.CharField(max_length=60)
    outcome = models.CharField(max_length=20, choices=Outcome)
    http_status = models.PositiveSmallIntegerField("HTTP status", null=True, blank=True)
    duration_ms = models.PositiveIntegerField("milliseconds")
    error = models.CharField(max_length=300, default="", db_default="", blank=True)
    excerpt = models.CharField(
        "answer", max_length=LONGEST_EXCERPT, default="", db_default="", blank=True
    )
    attempted_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "webhook_attempts"
        constraints = [
            models.CheckConstraint(
                name="webhook_attempt_delivered_means_2xx",
                condition=Q(
                    outcome="delivered",
                    http_status__isnull=False,
                    http_status__gte=200,
                    http_status__lt=300,
                )
                | Q(outcome="failed", http_status__isnull=True)
                | Q(outcome="failed", http_status__lt=200)
                | Q(outcome="failed", http_status__gte=300),
            ),
        ]
        indexes = [
            models.Index(fields=["endpoint", "id"], name="idx_webhook_attempts_endpoint"),
            models.Index(fields=["delivery_id"], name="idx_webhook_attempts_delivery"),
            models.Index(fields=["attempted_at"], name="idx_webhook_attempts_age"),
            models.Index(
                fields=["id"], name="idx_webhook_attempts_answers", condition=~Q(excerpt="")
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event} {self.outcome}"


class WebhookReplay(models.Model):
    """Everything of a span was sent to an endpoint again, by somebody's wish; `events` of them.

    The same `request_key` is the same replay.
    """

    endpoint = models.ForeignKey(
        WebhookEndpoint, models.PROTECT, related_name="replays", db_index=False
    )
    since = models.DateTimeField()
    until = models.DateTimeField()
    events = models.PositiveIntegerField()
    request_key = models.CharField(max_length=64)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "webhook_replays"
        constraints = [
            models.UniqueConstraint(
                name="webhook_replay_one_per_request", fields=["endpoint", "request_key"]
            ),
            models.CheckConstraint(
                name="webhook_replay_ends_after_it_begins",
                condition=Q(until__gt=models.F("since")),
            ),
        ]

    def __str__(self) -> str:
        return f"Replay {self.pk}"
