"""The audit log and the outbox for staff to read, and what makes every other page leave a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.contrib import admin
from django.db import transaction
from django.db.models import Count, Min, OuterRef, Subquery
from django.db.models.functions import Coalesce, Now
from django.forms import model_to_dict
from django.urls import reverse
from django.utils.html import format_html
from django.utils.timesince import timesince

from audit import outbox
from audit import services as audit
from audit.models import (
    AuditLog,
    AuditSeal,
    AuditVerification,
    Delivery,
    OutboxMessage,
    Receiver,
)
from audit.seals import sealing, verification
from audit.staff_actions import ActionsAdmin, Done, Said, StaffAction
from config.kernel import request_context
from config.kernel.admin import PlainAdmin, ReadOnlyAdmin, ReadOnlyInline, entity_type
from config.kernel.clock import Deadline
from config.kernel.errors import InvalidTransitionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from django.db.models import Model, QuerySet
    from django.http import HttpRequest

SEAL_SECONDS: Final = 10.0
"""After this a press begins no other seal."""


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


class SealNow(StaffAction):
    name = "seal"
    label = "Seal now"
    permission = "audit.seal_log"
    icon = "approval"
    description = "Seals all that waits for it, and completes the copies outside the database."

    def is_offered(self, row: AuditLog) -> bool:
        return not sealing.is_sealed(row_id=row.pk)

    def state(self, row: AuditLog) -> dict[str, Any]:
        return {"is_sealed": sealing.is_sealed(row_id=row.pk)}

    def run(self, row: AuditLog, said: Said) -> Done:  # noqa: ARG002 - nothing is asked for
        sealed = sealing.seal_all(deadline=Deadline(SEAL_SECONDS))
        if sealed.copy_error:
            return Done(
                text=f"Sealed, but the copies could not be written: {sealed.copy_error}.",
                is_open=True,
            )
        if sealing.is_sealed(row_id=row.pk):
            return Done(text=f"It is sealed, with {sealed.rows} rows in all.")
        return Done(
            text="It cannot be sealed yet: a transaction that began before it still runs.",
            is_open=True,
        )


@admin.register(AuditLog)
class AuditLogAdmin(ActionsAdmin, ReadOnlyAdmin):
    staff_actions = (SealNow(),)
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


@admin.register(AuditSeal)
class AuditSealAdmin(ReadOnlyAdmin):
    list_display = ("number", "created_at", "row_count", "newest_at", "retired_before", "key_id")
    fields = (
        *("number", "created_at", "from_xid", "to_xid", "row_count", "newest_at"),
        *("retired_before", "root_in_hex", "digest_in_hex", "signature_in_hex", "key_id"),
    )
    readonly_fields = ("root_in_hex", "digest_in_hex", "signature_in_hex")
    ordering = ("-pk",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[AuditSeal]:
        return super().get_queryset(request).defer("leaves")  # half a megabyte each

    @admin.display(description="root")
    def root_in_hex(self, seal: AuditSeal) -> str:
        """What the rows' digests come to."""
        return bytes(seal.root).hex()

    @admin.display(description="digest")
    def digest_in_hex(self, seal: AuditSeal) -> str:
        """What is signed, and what the next seal continues."""
        return bytes(seal.digest).hex()

    @admin.display(description="signature")
    def signature_in_hex(self, seal: AuditSeal) -> str:
        """Of the digest, by the key."""
        return bytes(seal.signature).hex()


class VerifyAgain(StaffAction):
    name = "verify"
    label = "Verify again"
    permission = "audit.verify_log"
    icon = "verified_user"
    description = "Has a worker hold all of the log against its seals; the outcome is a new row."

    def state(self, row: AuditVerification) -> dict[str, Any]:
        return {"findings": row.findings}

    def run(self, row: AuditVerification, said: Said) -> Done:  # noqa: ARG002 - nothing is asked for
        verification.request_verification()
        return Done(text="A worker verifies it; the outcome will be first in the list.")


@admin.register(AuditVerification)
class AuditVerificationAdmin(ActionsAdmin, ReadOnlyAdmin):
    staff_actions = (VerifyAgain(),)
    list_display = ("ran_at", "findings", "seals", "rows", "first_seal", "seconds")
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
    staff_actions: ClassVar[Sequence[StaffAction]] = (RetryDelivery(),)
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


def offer_on_deliveries(action: StaffAction) -> None:
    """Put a button onto deliveries' pages: of a part above that knows more about some of them."""
    others = (one for one in DeliveryAdmin.staff_actions if one.name != action.name)
    DeliveryAdmin.staff_actions = (*others, action)


# --- receivers --------------------------------------------------------------------------------


class ReceiverAction(StaffAction):
    """What is done to a receiver."""

    def state(self, row: Receiver) -> dict[str, Any]:
        return {"subscriber": row.subscriber, "state": row.state}


class PauseReceiver(ReceiverAction):
    name = "pause"
    label = "Pause"
    permission = "audit.pause_receiver"
    icon = "pause"
    description = "Delivers nothing to it until somebody goes on; what comes in waits in order."

    def is_offered(self, row: Receiver) -> bool:
        return row.paused_at is None

    def run(self, row: Receiver, said: Said) -> Done:  # noqa: ARG002 - nothing is asked for
        audit.pause_receiver(subscriber=row.subscriber)
        return Done(text="Nothing more is delivered to it; what comes in waits.")


class ResumeReceiver(ReceiverAction):
    name = "resume"
    label = "Go on"
    permission = "audit.pause_receiver"
    icon = "play_arrow"
    description = "Delivers what has waited, in order, and all that comes."

    def is_offered(self, row: Receiver) -> bool:
        return row.paused_at is not None

    def run(self, row: Receiver, said: Said) -> Done:  # noqa: ARG002 - nothing is asked for
        audit.resume_receiver(subscriber=row.subscriber)
        return Done(text="What has waited is delivered now.")


class RetryReceiver(ReceiverAction):
    name = "retry"
    label = "Try all again"
    permission = "audit.retry_delivery"
    icon = "refresh"
    description = (
        "Tries everything now that waits for its next try or was given up, the oldest"
        f" {audit.REVIVED_AT_ONCE:,} at a press."
    )

    def run(self, row: Receiver, said: Said) -> Done:  # noqa: ARG002 - nothing is asked for
        retried = audit.retry_receiver(subscriber=row.subscriber)
        return Done(text=f"{retried} deliveries are tried again now.")


def _of_receiver(status: Delivery.Status) -> Any:
    """This receiver's deliveries in a state, for a subquery that says one thing of them all."""
    return (
        Delivery.objects.filter(subscriber=OuterRef("subscriber"), status=status)
        .order_by()
        .values("subscriber")
    )


@admin.register(Receiver)
class ReceiverAdmin(ActionsAdmin, ReadOnlyAdmin):
    staff_actions = (PauseReceiver(), ResumeReceiver(), RetryReceiver())
    list_display = (
        "subscriber",
        "shown_state",
        "waiting",
        "waits_since",
        "given_up",
        "failing_since",
        "retry_at",
        "last_error",
    )
    fields = (*list_display, "failures", "last_told_at", "paused_at")
    readonly_fields = ("shown_state", "waiting", "waits_since", "given_up")
    ordering = ("subscriber",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Receiver]:
        pending = _of_receiver(Delivery.Status.PENDING)
        dead = _of_receiver(Delivery.Status.DEAD)
        due = pending.filter(next_attempt_at__lte=Now())
        rows: Any = super().get_queryset(request)
        annotated: QuerySet[Receiver] = rows.annotate(
            waiting=Coalesce(Subquery(pending.annotate(n=Count("pk")).values("n")), 0),
            given_up=Coalesce(Subquery(dead.annotate(n=Count("pk")).values("n")), 0),
            oldest_due=Subquery(due.annotate(at=Min("created_at")).values("at")),
        )
        return annotated

    @admin.display(description="state", ordering="failures")
    def shown_state(self, receiver: Receiver) -> str:
        """Whether it answers."""
        tone = {"answering": "good", "resting": "bad", "failing": "wait"}.get(
            receiver.state, "plain"
        )
        return format_html(
            '<span class="staff-pill staff-pill-{}">{}</span>', tone, receiver.state.capitalize()
        )

    @admin.display(description="waiting", ordering="waiting")
    def waiting(self, receiver: Any) -> int:
        """Deliveries that are not there yet."""
        return int(receiver.waiting)

    @admin.display(description="oldest due", ordering="oldest_due")
    def waits_since(self, receiver: Any) -> str:
        """How old the oldest is that could be delivered now."""
        return timesince(receiver.oldest_due) if receiver.oldest_due else "–"

    @admin.display(description="given up", ordering="given_up")
    def given_up(self, receiver: Any) -> str:
        """A link to those that were given up."""
        if not receiver.given_up:
            return "0"
        return format_html(
            '<a href="{}?subscriber__exact={}&amp;status__exact=dead">{}</a>',
            reverse("admin:audit_delivery_changelist"),
            receiver.subscriber,
            receiver.given_up,
        )
