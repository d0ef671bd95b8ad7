"""Staff sees what carriers told, and which of it is about no parcel of ours."""

from __future__ import annotations

from django.contrib import admin

from config.kernel.admin import ReadOnlyAdmin
from integrations.fulfilment.models import TrackingEvent


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
