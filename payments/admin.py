"""Staff sees the money; only the settlement, with the provider's word, moves it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db import transaction
from django.utils import timezone

from audit import services as audit
from audit.staff_actions import ActionsAdmin, Done, Said, StaffAction
from config.kernel import request_context
from config.kernel.admin import ReadOnlyAdmin, ReadOnlyInline
from payments import events, selectors
from payments.models import (
    Dispute,
    LedgerEntry,
    Payment,
    ProviderEvent,
    ReconciliationCase,
    Refund,
)

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest


class RefundInline(ReadOnlyInline):
    model = Refund
    fields = (
        "created_at",
        "status",
        "amount",
        "currency",
        "reason",
        "attempts",
        "next_attempt_at",
        "last_error",
        "stripe_refund_id",
    )


class DisputeInline(ReadOnlyInline):
    model = Dispute
    fields = ("opened_at", "status", "reason", "amount", "currency", "evidence_due_at")


class ReconciliationCaseInline(ReadOnlyInline):
    model = ReconciliationCase
    fields = ("first_seen_at", "classification", "subject", "problem", "resolved_at")


class LedgerEntryInline(ReadOnlyInline):
    model = LedgerEntry
    fields = ("created_at", "kind", "account", "amount", "currency")


@admin.register(Payment)
class PaymentAdmin(ReadOnlyAdmin):
    list_display = (
        "created_at",
        "order",
        "status",
        "amount",
        "currency",
        "attempts",
        "next_attempt_at",
        "last_error",
        "amount_refunded",
        "payment_intent_id",
    )
    list_filter = ("status", ("in_doubt_since", admin.EmptyFieldListFilter))
    list_select_related = ("order",)
    search_fields = ("payment_intent_id__exact", "order__order_number__exact")
    ordering = ("-pk",)
    # What is sent to the provider holds the customer's particulars; support needs none of it.
    exclude = ("create_params", "confirm_params")
    inlines = (RefundInline, DisputeInline, ReconciliationCaseInline, LedgerEntryInline)


@admin.register(Refund)
class RefundAdmin(ReadOnlyAdmin):
    list_display = (
        "created_at",
        "order_number",
        "status",
        "amount",
        "currency",
        "reason",
        "attempts",
        "next_attempt_at",
        "last_error",
    )
    list_filter = ("status",)
    linked_lookups = ("created_at__gte", "created_at__lt")
    list_select_related = ("payment__order",)
    search_fields = ("stripe_refund_id__exact", "payment__order__order_number__exact")
    ordering = ("-pk",)

    @admin.display(description="order")
    def order_number(self, refund: Refund) -> str:
        """Which order the money was for."""
        return refund.payment.order.order_number


class EvidenceFilter(admin.SimpleListFilter):
    title = "evidence"
    parameter_name = "evidence"

    def lookups(
        self,
        request: HttpRequest,  # noqa: ARG002 - Django's hook
        model_admin: Any,  # noqa: ARG002 - Django's hook
    ) -> list[tuple[str, str]]:
        return [
            ("due", f"due within {selectors.EVIDENCE_DUE_SOON.days} days"),
            ("wanted", "wanted"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Dispute]) -> QuerySet[Dispute]:  # noqa: ARG002 - Django's hook
        if self.value() == "due":
            return queryset.filter(pk__in=selectors.disputes_due_soon(now=timezone.now()))
        if self.value() == "wanted":
            return queryset.filter(pk__in=selectors.disputes_to_answer())
        return queryset


@admin.register(Dispute)
class DisputeAdmin(ReadOnlyAdmin):
    list_display = (
        "opened_at",
        "order_number",
        "status",
        "reason",
        "amount",
        "currency",
        "evidence_due_at",
    )
    list_filter = (EvidenceFilter, "status")
    list_select_related = ("payment__order",)
    search_fields = ("stripe_dispute_id__exact", "payment__order__order_number__exact")
    ordering = ("-pk",)
    inlines = (LedgerEntryInline,)

    @admin.display(description="order")
    def order_number(self, dispute: Dispute) -> str:
        """Which order the money was for."""
        return dispute.payment.order.order_number


class WorkOff(StaffAction):
    name = "work_off"
    label = "Work off again"
    permission = "payments.retry_event"
    icon = "refresh"
    description = "Looks into it within seconds, also where it is in quarantine."

    def is_offered(self, row: ProviderEvent) -> bool:
        return row.status in (ProviderEvent.Status.RECEIVED, ProviderEvent.Status.QUARANTINED)

    def state(self, row: ProviderEvent) -> dict[str, Any]:
        return {"status": row.status, "attempts": row.attempts}

    def run(self, row: ProviderEvent, said: Said) -> Done:  # noqa: ARG002 - nothing is asked for
        events.work_off_again(event_ids=[row.pk])
        return Done(text="It is worked off within seconds.")


@admin.register(ProviderEvent)
class ProviderEventAdmin(ActionsAdmin, ReadOnlyAdmin):
    staff_actions = (WorkOff(),)
    list_display = (
        "received_at",
        "event_type",
        "status",
        "stripe_event_id",
        "payment_intent_id",
        "attempts",
        "next_attempt_at",
        "last_error",
    )
    list_filter = ("status",)
    search_fields = ("stripe_event_id__exact", "payment_intent_id__exact")
    search_help_text = "The provider's id of an event or a payment intent"
    ordering = ("-pk",)
    # A payment intent in it carries the secret with which a browser confirms it.
    exclude = ("payload",)
    actions = ("work_off_again",)

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Whether this member of staff may have a webhook worked off again."""
        return request.user.has_perm("payments.retry_event")

    @admin.action(description="Work off again", permissions=["retry"])
    def work_off_again(self, request: HttpRequest, queryset: QuerySet[ProviderEvent]) -> None:
        """Have the selected ones looked into once more, quarantined ones included."""
        with transaction.atomic():
            rows = list(queryset.order_by("pk").values_list("pk", "status"))
            ids, before = [pk for pk, _ in rows], {str(pk): status for pk, status in rows}
            due = events.work_off_again(event_ids=ids)
            request_context.set_user(user_id=request.user.pk)
            audit.record("WEBHOOKS_RETRIED", data={"before": before, "due": due})
        self.message_user(request, f"{due} webhooks are worked off within seconds.")


@admin.register(LedgerEntry)
class LedgerEntryAdmin(ReadOnlyAdmin):
    list_display = (
        "created_at",
        "kind",
        "account",
        "amount",
        "currency",
        "payment",
        "refund",
        "dispute",
        "balance_transaction_id",
    )
    list_filter = ("kind", "account")
    list_select_related = ("payment", "refund", "dispute")
    search_fields = (
        "payment__payment_intent_id__exact",
        "payment__order__order_number__exact",
        "balance_transaction_id__exact",
    )
    ordering = ("-pk",)
