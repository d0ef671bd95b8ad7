"""Staff sees whom the marketing tool knows, and as what."""

from __future__ import annotations

from django.contrib import admin

from config.kernel.admin import ReadOnlyAdmin
from integrations.marketing.models import MarketingContact


@admin.register(MarketingContact)
class MarketingContactAdmin(ReadOnlyAdmin):
    list_display = ("customer", "segments", "told_at", "created_at")
    list_select_related = ("customer",)
    search_fields = ("customer__email__exact",)
    search_help_text = "An e-mail address"
    ordering = ("-pk",)
