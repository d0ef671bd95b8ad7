"""The audit log and the outbox for staff to read, and what makes every other page leave a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.db import transaction
from django.forms import model_to_dict

from audit import outbox
from audit import services as audit
from audit.models import AuditLog, Delivery, OutboxMessage
from audit.staff_actions import ActionsAdmin, Done, Said, StaffAction
from config.kernel import request_context
from config.kernel.admin import PlainAdmin, ReadOnlyAdmin, ReadOnlyInline, entity_type
from config.kernel.errors import InvalidTransitionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from django.db.models import Model, QuerySet
    from django.http import HttpRequest


class AuditedAdmin(PlainAdmin):
    """A page that staff may change; each change is recorded in its own transaction.

    The audit log takes the place of Django's admin log, which would keep rows' names, customers'
    e-mail addresses among them, beyond an erasure. Of what was changed it keeps the fields' names
    and, for those in `audited_values`, what they were before and after.

    Only the changed columns are written, so that a page opened for one thing cannot write back
    an old value of another: a coupon's uses, a password.
    """

    audited_values: ClassVar[Sequence[str]] = ()
    actions = None  # changing or deleting many at a time is no everyday work

    def save_model(self, request: HttpRequest, obj: Model, form: Any, change: Any) -> None:
        if not change:
            super().save_model(request, obj, form, change)
            return
        columns = {field.name for field in self.opts.concrete_fields}
        obj.save(update_fields=[name for name in form.changed_data if name in columns])

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: Any) -> None:
        numbers = {id(row_form.instance): row_form.instance.pk for row_form in formset.forms}
        super().save_formset(request, form, formset, change)
        before = {id(row_form.instance): row_form.initial for row_form in formset.forms}
        for row in formset.new_objects:
            self._record("STAFF_ADDED", request, row)
        for row, changed in formset.changed_objects:
            was = {name: before[id(row)].get(name) for name in changed}
            self._record("STAFF_CHANGED", request, row, was=was)
        for row in formset.deleted_objects:
            row.pk = numbers[id(row)]  # Django has forgotten it by now
            self._record("STAFF_DELETED", request, row)

    def construct_change_message(
        self,
        request: HttpRequest,  # noqa: ARG002 - Django's hook
        form: Any,
        formsets: Any,  # noqa: ARG002 - recorded row by row in save_formset
        add: bool = False,  # noqa: ARG002, FBT001, FBT002 - Django's hook
    ) -> Any:
        return {name: form.initial.get(name) for name in form.changed_data}

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:  # noqa: ARG002 - Django's hook
        self._record("STAFF_ADDED", request, obj)

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        self._record("STAFF_CHANGED", request, obj, was=message)

    def log_deletions(self, request: HttpRequest, queryset: Iterable[Model]) -> Any:
        for row in queryset:
            self._record("STAFF_DELETED", request, row)

    def _record(
        self,
        event_type: str,
        request: HttpRequest,
        row: Model,
        *,
        was: Mapping[str, Any] | None = None,
    ) -> None:
        """Write down what was done to a row of this page or of a formset on it."""
        page = self.admin_site.get_model_admin(type(row))
        audited: Sequence[str] = getattr(page, "audited_values", ())
        told = [name for name in audited if was is None or name in was]
        present = {
            name: str(_plain(value)) for name, value in model_to_dict(row, fields=told).items()
        }
        data: dict[str, Any] = {"values": present}
        if was is not None:
            before = {name: str(_plain(was[name])) for name in present}
            data = {"changed": list(was), "before": before, "after": present}
        request_context.set_user(user_id=request.user.pk)
        audit.record(
            event_type,
            entity_type=entity_type(type(row)),
            entity_id=row.pk,
            data=data,
        )


def _plain(value: Any) -> Any:
    """A value as it can be compared: of rows, groups or permissions, their names in order."""
    if not isinstance(value, list):
        return value
    return sorted(str(getattr(row, "codename", row)) for row in value)


@admin.register(AuditLog)
class AuditLogAdmin(ReadOnlyAdmin):
    list_display = (
        "created_at",
        "event_type",
        "entity_type",
        "entity_id",
        "user_id",
        "ip_address",
        "request_id",
    )
    # What the indexes answer; a row's own page links here with its entity.
    linked_lookups = ("entity_type__exact", "entity_id__exact")
    search_fields = ("event_type__exact",)
    search_help_text = "An event type, like ORDER_CREATED"
    ordering = ("-pk",)


class DeliveryInline(ReadOnlyInline):
    model = Delivery
    fields = ("subscriber", "status", "attempts", "next_attempt_at", "last_error", "delivered_at")


@admin.register(OutboxMessage)
class OutboxMessageAdmin(ReadOnlyAdmin):
    list_display = ("occurred_at", "fact", "aggregate_type", "aggregate_id", "fanned_out_at")
    search_fields = ("dedupe_key__startswith",)
    ordering = ("-pk",)
    inlines = (DeliveryInline,)


class RetryDelivery(StaffAction):
    name = "retry"
    label = "Retry now"
    permission = "audit.retry_delivery"
    icon = "refresh"
    description = "Tries it again within seconds, also where it was given up."

    def is_offered(self, row: Delivery) -> bool:
        return row.status in (Delivery.Status.PENDING, Delivery.Status.DEAD)

    def state(self, row: Delivery) -> dict[str, Any]:
        return {"status": row.status, "attempts": row.attempts}

    def run(self, row: Delivery, said: Said) -> Done:  # noqa: ARG002 - nothing is asked for
        with transaction.atomic():
            retried = outbox.retry(delivery_ids=[row.pk], include_dead=True)
            outbox.nudge_on_commit()
        if not retried:
            raise InvalidTransitionError("It is delivered, or on its way at this moment.")
        return Done(text="It is tried again now.")


@admin.register(Delivery)
class DeliveryAdmin(ActionsAdmin, ReadOnlyAdmin):
    staff_actions = (RetryDelivery(),)
    list_display = (
        "created_at",
        "message",
        "subscriber",
        "status",
        "attempts",
        "next_attempt_at",
        "last_error",
    )
    list_filter = ("status",)
    linked_lookups = ("subscriber__exact",)
    list_select_related = ("message",)
    search_fields = ("message__dedupe_key__startswith",)
    ordering = ("-pk",)
    actions = ("retry_now",)

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Whether this member of staff may have a delivery tried again."""
        return request.user.has_perm("audit.retry_delivery")

    @admin.action(description="Retry now", permissions=["retry"])
    def retry_now(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        """Have the selected ones tried again, also those that were given up."""
        with transaction.atomic():
            rows = list(queryset.order_by("pk").values_list("pk", "status"))
            ids, before = [pk for pk, _ in rows], {str(pk): status for pk, status in rows}
            retried = outbox.retry(delivery_ids=ids, include_dead=True)
            request_context.set_user(user_id=request.user.pk)
            audit.record("DELIVERIES_RETRIED", data={"before": before, "retried": retried})
            outbox.nudge_on_commit()
        self.message_user(request, f"{retried} deliveries are tried again now.")
