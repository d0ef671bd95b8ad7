"""The admin's frame: what holds for all of its pages, and the pages of no single app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.views.decorators.http import require_POST
from unfold.sites import UnfoldAdminSite

from config.staff import dashboard, navigation, reports, saved_views, search, transfer
from config.staff.second_factor import SecondFactorSite
from integrations.email import preview
from orders import stuck

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

    from audit.staff_actions import Button

LONGEST_SEARCH = 200


class StaffSite(SecondFactorSite, UnfoldAdminSite):  # type: ignore[misc]  # unfold has no types
    """See `config.apps.OrderkeepAdminConfig`, which makes it `admin.site`."""

    index_title = "Today"
    enable_nav_sidebar = True

    def extra_urls(self) -> list[URLPattern]:
        """Pages that belong to no model."""
        return [
            path("stuck/", self.admin_view(self.stuck_view), name="stuck"),
            path("views/save/", self.admin_view(require_POST(self.save_view)), name="view_save"),
            path(
                "views/<int:view_id>/delete/",
                self.admin_view(require_POST(self.delete_view)),
                name="view_delete",
            ),
            *transfer.urls(self),
            *preview.urls(self),
            *reports.urls(self),
        ]

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """What every page's template is given; colours are in a file, as the policy wants it."""
        return {**super().each_context(request), "colors": None}

    def get_sidebar_list(self, request: HttpRequest) -> list[navigation.Group]:
        """The navigation, of which everybody sees what they may open."""
        return navigation.for_request(self, request)

    def index(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        """The dashboard."""
        context = {
            **self.each_context(request),
            "title": self.index_title,
            "board": dashboard.for_request(request),
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/index.html", context)

    def search(
        self,
        request: HttpRequest,
        extra_context: dict[str, Any] | None = None,  # noqa: ARG002 - unfold's signature
    ) -> HttpResponse:
        """What the box finds; unfold's own would keep rows in the cache and page through them."""
        results = search.find(self, request, request.GET.get("s", "")[:LONGEST_SEARCH])
        return TemplateResponse(
            request, "unfold/helpers/command_results.html", {"results": results}
        )

    def save_view(self, request: HttpRequest) -> HttpResponse:
        """Keep a list as it is filtered."""
        return saved_views.save(self, request)

    def delete_view(self, request: HttpRequest, view_id: int) -> HttpResponse:
        """Forget one of one's own."""
        return saved_views.delete(self, request, view_id)

    def stuck_view(self, request: HttpRequest) -> HttpResponse:
        """Everything that does not move, why, and the buttons that help."""
        heaps = [
            (heap, [self._stuck_row(request, heap, row) for row in heap.rows])
            for heap in stuck.find_heaps(may_read=request.user.has_perm)
        ]
        context = {
            **self.each_context(request),
            "title": "Not moving",
            "heaps": heaps,
            "most_counted": stuck.MOST_COUNTED,
        }
        return TemplateResponse(request, "staff/stuck.html", context)

    def _stuck_row(
        self, request: HttpRequest, heap: stuck.Heap, row: stuck.StuckRow
    ) -> tuple[stuck.StuckRow, str, list[Button]]:
        page: Any = self.get_model_admin(type(row.row))
        opts = row.row._meta  # noqa: SLF001 - Django's own name
        url = reverse(f"admin:{opts.app_label}_{opts.model_name}_change", args=(row.row.pk,))
        buttons = page.buttons(request, row.row, only=heap.buttons) if heap.buttons else []
        return row, url, buttons
