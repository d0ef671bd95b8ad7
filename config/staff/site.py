"""The admin's frame: what holds for all of its pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unfold.sites import UnfoldAdminSite

from config.staff import navigation

if TYPE_CHECKING:
    from django.http import HttpRequest


class StaffSite(UnfoldAdminSite):  # type: ignore[misc]  # unfold has no types
    """See `config.apps.OrderkeepAdminConfig`, which makes it `admin.site`."""

    index_title = "Today"
    enable_nav_sidebar = True

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """What every page's template is given; colours are in a file, as the policy wants it."""
        return {**super().each_context(request), "colors": None}

    def get_sidebar_list(self, request: HttpRequest) -> list[dict[str, object]]:
        """The navigation, of which everybody sees what they may open."""
        return navigation.for_request(self, request)
