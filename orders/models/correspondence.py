"""What was written about an order: letters to its buyer, and notes that staff leave each other."""

from __future__ import annotations

import re
from typing import Final

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from config.kernel.models import erasable
from orders.models.order import Order

# A guest's link lets whoever has it act as the guest; staff reads the letter, not the key in it.
TOKEN: Final = re.compile(r"(?<=[?&]token=)[\w-]+")


class Letter(models.Model):
    """An e-mail about an order as it was sent, kept so that staff can read it and send it again.

    `message_uuid` is the outbox message that it told of: a message that is delivered twice is one
    letter. `repeats` is the letter whose words were sent once more. Erasing the buyer blanks whom
    it went to and what it said, and so does time (`LETTER_DAYS`); that it was sent, stays.
    """

    order = models.ForeignKey(Order, models.PROTECT, related_name="letters")
    message_uuid = models.UUIDField(editable=False)
    fact = models.CharField(max_length=60)
    repeats = models.ForeignKey(
        "self", models.PROTECT, null=True, blank=True, related_name="repetitions", db_index=False
    )
    recipient = models.CharField(max_length=255, blank=True)
    subject = models.CharField(max_length=200)
    body_text = models.TextField(blank=True)
    body_html = models.TextField(blank=True)
    sent_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "letters"
        constraints = [
            models.UniqueConstraint(name="letter_once_per_message", fields=["message_uuid"]),
        ]
        indexes = [
            models.Index(
                fields=["sent_at"], name="idx_letters_readable", condition=~Q(body_text="")
            ),
        ]
        triggers = erasable(
            personal=["recipient", "body_text", "body_html"],
            frozen=["order", "message_uuid", "fact", "repeats", "subject", "sent_at"],
        )

    def __str__(self) -> str:
        return self.subject

    @property
    def readable_text(self) -> str:
        """What it said, without the key that a guest's link carries."""
        return TOKEN.sub("…", self.body_text)


class OrderNote(models.Model):
    """What a member of staff wants the others to know of an order; never shown to the buyer.

    The same `request_key` again is the same note. Erasing the buyer blanks the text.
    """

    order = models.ForeignKey(  # its index is the unique one
        Order, models.PROTECT, related_name="staff_notes", db_index=False
    )
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    text = models.CharField(max_length=2_000, blank=True)
    request_key = models.CharField(max_length=64)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "order_notes"
        constraints = [
            models.UniqueConstraint(
                name="order_note_once_per_request", fields=["order", "request_key"]
            ),
        ]
        triggers = erasable(
            personal=["text"], frozen=["order", "author", "request_key", "created_at"]
        )

    def __str__(self) -> str:
        return f"note {self.pk}"
