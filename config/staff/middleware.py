"""Shows the admin's times where the viewer is."""

from __future__ import annotations

import functools
import zoneinfo
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.utils import timezone

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

COOKIE: Final = "staff_time_zone"
PREFIX: Final = "/admin/"


class ViewersTimeZone:
    """In the admin times are shown, and taken, in the zone that the browser names; else the shop's.

    What is drawn by day or hour is cut by it, too.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not request.path.startswith(PREFIX):
            return self.get_response(request)
        with timezone.override(_zone(request.COOKIES.get(COOKIE, ""))):
            return self.get_response(request)


def _zone(name: str) -> zoneinfo.ZoneInfo:
    return zoneinfo.ZoneInfo(name if name in _known_zones() else settings.SHOP_TIME_ZONE)


@functools.cache
def _known_zones() -> frozenset[str]:
    """Looked up once: they are files, several hundred."""
    return frozenset(zoneinfo.available_timezones())
