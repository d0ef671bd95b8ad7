"""Whom the marketing tool knows."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from customers.models import Customer


class MarketingContact(models.Model):
    """A customer whom the marketing tool may know: the row is there before the first word to it.

    `segments` are those it was told of last, as `segments.written` writes them; empty while that is
    not certain. `telling` is the message, or the call of a re-sync, that tells of it now, or did so
    last without an answer. Once the tool has removed the contact the row goes.
    """

    customer = models.OneToOneField(
        Customer, models.CASCADE, primary_key=True, related_name="marketing_contact"
    )
    segments = models.TextField(default="", db_default="", blank=True)
    telling = models.UUIDField(null=True, blank=True, editable=False)
    told_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "marketing_contacts"
        constraints = [
            models.CheckConstraint(
                name="marketing_contact_segments_were_told",
                condition=models.Q(segments="")
                | models.Q(telling__isnull=True, told_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"contact {self.customer_id}"
