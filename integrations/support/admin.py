"""Staff sees which matters customer service was told of, and opens the tickets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.utils.html import format_html

from config.kernel.admin import ReadOnlyAdmin
from integrations.support.models import SupportTicket

if TYPE_CHECKING:
    from django.utils.safestring import SafeString


@admin.register(SupportTicket)
class SupportTicketAdmin(ReadOnlyAdmin):
    list_display = ("matter", "order", "ticket", "is_settled", "created_at")
    list_filter = ("is_settled",)
    list_select_related = ("order",)
    search_fields = ("matter__exact", "ticket_id__exact", "order__order_number__exact")
    search_help_text = "A matter, the number of a ticket or of an order"
    ordering = ("-pk",)
    fields = ("matter", "order", "ticket", "is_settled", "erased_at", "created_at", "updated_at")
    readonly_fields = ("ticket",)

    @admin.display(description="ticket")
    def ticket(self, row: SupportTicket) -> SafeString | str:
        """Where it is kept."""
        if not row.url:
            return row.ticket_id or "-"
        return format_html(
            '<a class="staff-link" href="{}" rel="noopener noreferrer">{}</a>',
            row.url,
            row.ticket_id,
        )
