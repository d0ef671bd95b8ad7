"""What one member of staff wants to give back and a second one has to agree to."""

from __future__ import annotations

import pgtrigger
from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from config.kernel.models import legal_statuses
from orders.models.order import Order
from orders.models.returns import Return
from payments.models import ReconciliationCase, Refund


class RefundProposal(models.Model):
    """A refund above what one person may decide: nothing moves until another one approves it.

    `amount` is what would go back in all, in major units of `currency`, and `ends_order` whether
    that cancels the order; approved is exactly that or nothing. `units` are quantities by SKU.
    About an order, or about a charge that no order has (`case`). `refund` is what came of it; money
    that our books never had (quarantine, a charge) has none. `reason` is the proposer's own words,
    `refusal` those of whoever refused it.
    """

    class Kind(models.TextChoices):
        REST = "rest", "all that is left"
        AMOUNT = "amount", "an amount"
        UNITS = "units", "units of lines"
        CANCELLATION = "cancellation"
        RETURN = "return", "what was sent back"
        QUARANTINE = "quarantine", "a payment in quarantine"
        CHARGE = "charge", "a charge without an order"

    class Status(models.TextChoices):
        WAITING = "waiting"
        APPROVED = "approved"
        REFUSED = "refused"
        WITHDRAWN = "withdrawn"

    kind = models.CharField(max_length=20, choices=Kind)
    order = models.ForeignKey(
        Order, models.PROTECT, null=True, blank=True, related_name="refund_proposals"
    )
    returned = models.ForeignKey(Return, models.PROTECT, null=True, blank=True, related_name="+")
    case = models.ForeignKey(
        ReconciliationCase, models.PROTECT, null=True, blank=True, related_name="+"
    )
    currency = models.CharField(max_length=3)
    amount = models.DecimalField(max_digits=12, decimal_places=2)
    ends_order = models.BooleanField(
        default=False, db_default=False, help_text="The order is cancelled with it."
    )
    units = models.JSONField(default=dict, blank=True)
    reason = models.CharField(max_length=200, default="", db_default="", blank=True)
    request_key = models.CharField(max_length=255, unique=True, null=True, blank=True)
    proposed_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    proposed_at = models.DateTimeField(db_default=Now(), editable=False)
    status = models.CharField(
        max_length=20, choices=Status, default=Status.WAITING, db_default=Status.WAITING
    )
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="+"
    )
    decided_at = models.DateTimeField(null=True, blank=True)
    refusal = models.CharField(max_length=200, default="", db_default="", blank=True)
    refund = models.OneToOneField(
        Refund, models.PROTECT, null=True, blank=True, related_name="proposal"
    )

    class Meta:
        db_table = "refund_proposals"
        constraints = [
            models.CheckConstraint(
                name="refund_proposal_kind_known",
                condition=Q(
                    kind__in=[
                        *("rest", "amount", "units", "cancellation", "return"),
                        *("quarantine", "charge"),
                    ]
                ),
            ),
            models.CheckConstraint(
                name="refund_proposal_status_known",
                condition=Q(status__in=["waiting", "approved", "refused", "withdrawn"]),
            ),
            models.CheckConstraint(name="refund_proposal_of_something", condition=Q(amount__gt=0)),
            models.CheckConstraint(
                name="refund_proposal_about_what_its_kind_says",
                condition=Q(kind="charge", case__isnull=False, order__isnull=True)
                | (~Q(kind="charge") & Q(case__isnull=True, order__isnull=False)),
            ),
            models.CheckConstraint(
                name="refund_proposal_of_a_return_names_it",
                condition=Q(kind="return", returned__isnull=False)
                | (~Q(kind="return") & Q(returned__isnull=True)),
            ),
            models.CheckConstraint(
                name="refund_proposal_of_units_names_them",
                condition=(Q(kind="units") & ~Q(units={})) | (~Q(kind="units") & Q(units={})),
            ),
            models.CheckConstraint(
                name="refund_proposal_ends_an_order_by_its_money",
                condition=Q(ends_order=False)
                | Q(kind__in=["rest", "amount", "units", "cancellation"]),
            ),
            models.CheckConstraint(
                name="refund_proposal_takes_a_second_person",
                condition=Q(decided_by__isnull=True) | ~Q(decided_by=F("proposed_by")),
            ),
            models.CheckConstraint(
                name="refund_proposal_decided_by_somebody",
                condition=Q(status="waiting", decided_by__isnull=True, decided_at__isnull=True)
                | Q(status="withdrawn", decided_by__isnull=True, decided_at__isnull=False)
                | (
                    ~Q(status__in=["waiting", "withdrawn"])
                    & Q(decided_by__isnull=False, decided_at__isnull=False)
                ),
            ),
            models.CheckConstraint(
                name="refund_proposal_moves_money_when_approved",
                condition=Q(refund__isnull=True) | Q(status="approved"),
            ),
            models.UniqueConstraint(
                name="refund_proposal_one_waiting_per_order",
                fields=["order"],
                condition=Q(status="waiting", order__isnull=False),
            ),
            models.UniqueConstraint(
                name="refund_proposal_one_waiting_per_case",
                fields=["case"],
                condition=Q(status="waiting", case__isnull=False),
            ),
        ]
        indexes = [
            models.Index(
                fields=["proposed_at"],
                name="idx_refund_proposals_waiting",
                condition=Q(status="waiting"),
            ),
        ]
        triggers = [
            pgtrigger.ReadOnly(
                name="wish_is_frozen",
                fields=[
                    *("kind", "order", "returned", "case", "currency", "amount", "ends_order"),
                    *("units", "request_key", "proposed_by", "proposed_at"),
                ],
            ),
            pgtrigger.Protect(name="never_deleted", operation=pgtrigger.Delete),
            *legal_statuses(
                start=["waiting"],
                transitions={"waiting": ["approved", "refused", "withdrawn"]},
            ),
        ]

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}, {self.status}"
