"""Webhooks for staff: where they go, what was tried, what was sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.contrib import admin
from django.utils.html import format_html
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminTextInputWidget

from audit.admin import AuditedAdmin, offer_on_deliveries
from audit.models import Delivery
from audit.staff_actions import ActionsAdmin, Button
from config.kernel.admin import ReadOnlyAdmin, ReadOnlyInline, list_url_of, url_of
from integrations.webhooks import addresses, events
from integrations.webhooks.models import (
    WebhookAttempt,
    WebhookEndpoint,
    WebhookReplay,
    WebhookSecret,
)
from integrations.webhooks.staff_actions import ENDPOINT_ACTIONS, SendAgain

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

offer_on_deliveries(SendAgain())

_CHOICES: Final = [(one.kind, f"{one.kind}: {one.happens}") for one in events.EVENTS]
_LOOKED_UP: Final = "webhook_url_looked_up"
NEXT_STEPS: Final = (
    "It is not enabled yet: make a secret for whoever runs that system, send a test event, look"
    " into the log, then enable it."
)


class EndpointForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """What an endpoint is. Where the URL leads was looked up before the transaction."""

    looked_up: str | addresses.BadAddressError | None = None
    events = forms.MultipleChoiceField(
        choices=_CHOICES, widget=UnfoldAdminCheckboxSelectMultipleWidget, label="Events"
    )

    def clean_url(self) -> str:
        """As it is kept; one that stays as it was is looked at when it is connected to."""
        typed: str = self.cleaned_data["url"]
        if typed == self.initial.get("url"):
            return typed
        if not isinstance(self.looked_up, str):
            raise forms.ValidationError(str(self.looked_up or "Enter it again."))
        return self.looked_up


class SecretInline(ReadOnlyInline):
    model = WebhookSecret
    fields = ("created_at", "created_by", "expires_at")
    ordering = ("-pk",)


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(ActionsAdmin, AuditedAdmin):
    form = EndpointForm
    staff_actions = ENDPOINT_ACTIONS
    list_display = ("url", "description", "status", "failing_since", "disabled_because")
    list_filter = ("status",)
    search_fields = ("url",)
    ordering = ("pk",)
    fields = (
        *("url", "description", "events", "status", "disabled_because", "failing_since"),
        *("missed_since", "waiting", "created_by", "created_at"),
    )
    readonly_fields = (
        *("status", "disabled_because", "failing_since", "missed_since", "waiting"),
        *("created_by", "created_at"),
    )
    audited_values = ("url", "description", "events")
    inlines = (SecretInline,)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - Django's hook
        return False  # its log and its deliveries name it: it is disabled instead

    def formfield_for_dbfield(self, db_field: Any, request: Any, **kwargs: Any) -> Any:
        if db_field.name == "url":
            kwargs["widget"] = UnfoldAdminTextInputWidget(attrs={"inputmode": "url"})
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Asks the resolver before the transaction that Django opens."""
        may_send = self.has_change_permission(request) or self.has_add_permission(request)
        if request.method == "POST" and may_send:
            looked_up: str | addresses.BadAddressError
            try:
                looked_up = addresses.check(request.POST.get("url", ""))
            except addresses.BadAddressError as exc:
                looked_up = exc
            setattr(request, _LOOKED_UP, looked_up)
        return super().changeform_view(request, object_id, form_url, extra_context)

    def get_form(
        self,
        request: HttpRequest,
        obj: Any = None,
        change: bool = False,  # noqa: FBT001, FBT002 - Django's hook
        **kwargs: Any,
    ) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        return type(form.__name__, (form,), {"looked_up": getattr(request, _LOOKED_UP, None)})

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        if not change:
            obj.created_by = request.user
            self.message_user(request, NEXT_STEPS)
        super().save_model(request, obj, form, change)

    def links(self, request: HttpRequest, row: WebhookEndpoint) -> list[Button]:
        may = request.user.has_perm
        lists: list[tuple[str, str, str, dict[str, Any]]] = [
            ("integrations.webhookattempt", "Log", "list_alt", {"endpoint__id__exact": row.pk}),
            ("integrations.webhookreplay", "Replays", "history", {"endpoint__id__exact": row.pk}),
            ("audit.delivery", "Deliveries", "outbox", {"subscriber__exact": row.subscriber}),
        ]
        return [
            Button(name=title.lower(), label=title, url=url, icon=icon)
            for model, title, icon, about in lists
            if (url := list_url_of(model, about, may))
        ]

    @admin.display(description="waiting")
    def waiting(self, endpoint: WebhookEndpoint) -> int:
        """Events on their way to it."""
        mine = Delivery.objects.filter(subscriber=endpoint.subscriber)
        return mine.filter(status=Delivery.Status.PENDING).count()


@admin.register(WebhookAttempt)
class WebhookAttemptAdmin(ReadOnlyAdmin):
    list_display = (
        *("attempted_at", "endpoint", "event", "outcome", "http_status", "duration_ms"),
        *("error", "excerpt"),
    )
    fields = (*list_display, "message_uuid", "delivery")
    readonly_fields = ("delivery",)
    linked_lookups = ("endpoint__id__exact", "delivery_id__exact")
    list_select_related = ("endpoint",)
    ordering = ("-pk",)

    @admin.display(description="delivery")
    def delivery(self, attempt: WebhookAttempt) -> str:
        """Where it can be sent again."""
        return format_html(
            '<a href="{}">{}</a>',
            url_of("audit.delivery", attempt.delivery_id, lambda _: True),
            attempt.delivery_id,
        )


@admin.register(WebhookReplay)
class WebhookReplayAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "endpoint", "since", "until", "events", "created_by")
    fields = (*list_display, "still_waiting", "given_up")
    readonly_fields = ("still_waiting", "given_up")
    linked_lookups = ("endpoint__id__exact",)
    list_select_related = ("endpoint", "created_by")
    ordering = ("-pk",)

    @admin.display(description="still waiting")
    def still_waiting(self, replay: WebhookReplay) -> int:
        """Events of its span that are not there yet."""
        return _in_span(replay, Delivery.Status.PENDING)

    @admin.display(description="given up")
    def given_up(self, replay: WebhookReplay) -> int:
        """Events of its span that were given up."""
        return _in_span(replay, Delivery.Status.DEAD)


def _in_span(replay: WebhookReplay, status: Delivery.Status) -> int:
    return Delivery.objects.filter(
        subscriber=replay.endpoint.subscriber,
        status=status,
        message__occurred_at__gte=replay.since,
        message__occurred_at__lt=replay.until,
    ).count()
