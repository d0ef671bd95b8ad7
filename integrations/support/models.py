"""What customer service was told of, and where it keeps that."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from config.kernel.models import touches_updated_at
from orders.models import Order


class SupportTicket(models.Model):
    """One matter that staff should talk to a customer about: one ticket, however many facts.

    The row is there before the first call, and `ticket_id` once it is certain that the ticket is.
    `begun` are the outbox messages that were being told, `told` those that arrived: one that is in
    the first alone had no answer, and is looked for before it is told again.
    """

    order = models.ForeignKey(Order, models.PROTECT, related_name="support_tickets")
    matter = models.CharField(max_length=120, help_text="What the ticket's external id is, too.")
    ticket_id = models.CharField(max_length=120, default="", db_default="", blank=True)
    url = models.CharField(max_length=500, default="", db_default="", blank=True)
    begun = ArrayField(models.UUIDField(), default=list, blank=True, editable=False)
    told = ArrayField(models.UUIDField(), default=list, blank=True, editable=False)
    is_settled = models.BooleanField(default=False, db_default=False)
    erased_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "support_tickets"
        constraints = [
            models.UniqueConstraint(name="support_ticket_one_per_matter", fields=["matter"]),
            models.CheckConstraint(
                name="support_ticket_told_was_begun", condition=Q(begun__contains=models.F("told"))
            ),
            models.CheckConstraint(
                name="support_ticket_known_once_told", condition=Q(told=[]) | ~Q(ticket_id="")
            ),
            models.CheckConstraint(
                name="support_ticket_url_is_of_the_web",
                condition=Q(url="") | Q(url__regex=r"^https?://"),
            ),
        ]
        triggers = [touches_updated_at()]

    def __str__(self) -> str:
        return self.matter
