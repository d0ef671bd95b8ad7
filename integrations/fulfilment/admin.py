"""Staff sees what carriers told and which labels were bought, and buys them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.utils.html import format_html

from audit.staff_actions import ActionsAdmin
from config.kernel.admin import ReadOnlyAdmin
from integrations.fulfilment.models import ShippingLabel, TrackingEvent
from integrations.fulfilment.staff_actions import LABEL_ACTIONS

if TYPE_CHECKING:
    from django.utils.safestring import SafeString


@admin.register(TrackingEvent)
class TrackingEventAdmin(ReadOnlyAdmin):
    list_display = (
        *("received_at", "tracking_number", "carrier", "stage", "told", "happened_at"),
        *("status", "shipment", "last_error"),
    )
    list_filter = ("status", "stage")
    list_select_related = ("shipment",)
    search_fields = ("tracking_number__exact",)
    search_help_text = "A tracking number, in full"
    ordering = ("-pk",)


@admin.register(ShippingLabel)
class ShippingLabelAdmin(ActionsAdmin, ReadOnlyAdmin):
    list_display = (
        *("created_at", "order", "status", "carrier", "service", "tracking_number"),
        *("amount", "currency", "shipment", "last_error"),
    )
    list_filter = ("status", "provider")
    list_select_related = ("order", "shipment")
    linked_lookups = ("order__id__exact",)
    search_fields = ("order__order_number__exact", "tracking_number__exact")
    search_help_text = "An order number or a tracking number, in full"
    ordering = ("-pk",)
    exclude = ("request_key", "label_url")
    readonly_fields = ("label",)
    staff_actions = LABEL_ACTIONS

    @admin.display(description="label")
    def label(self, row: Any) -> SafeString | str:
        """To be printed, at the provider's."""
        if not row.label_url:
            return ""
        return format_html(
            '<a class="staff-link" href="{}" rel="noreferrer noopener" target="_blank">Print</a>',
            row.label_url,
        )
