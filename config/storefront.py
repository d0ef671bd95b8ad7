"""Serves a storefront of static files at `/`, where `STOREFRONT_DIR` names one.

Its pages are one document: the script in it reads the path. What a request may name is listed
once, at the start, so that no path of a request ever reaches the file system.
"""

from __future__ import annotations

import functools
import hashlib
import mimetypes
from pathlib import Path

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import condition, require_safe

INDEX = "index.html"
PAGES = (
    *("", "search", "cart", "checkout", "pay/<str:link>", "c/<str:slug>", "p/<str:sku>"),
    *("account", "account/<path:page>", "orders/<str:order_number>"),
)
# Product pictures may lie at a content network; everything else comes from here.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: https:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


def routes() -> list[URLPattern]:
    """Routes of the storefront: none where there is none."""
    if not settings.STOREFRONT_DIR:
        return []
    pages = [path(route, page, name="storefront") for route in PAGES]
    return [*pages, path("storefront/<path:name>", file, name="storefront-file")]


def _etag(_request: HttpRequest, name: str = INDEX, **_parameters: str) -> str | None:
    return f'"{hashlib.sha256(_content(name)).hexdigest()[:32]}"' if name in _files() else None


@csrf_exempt  # a POST is told 405 rather than that it lacks a token
@require_safe
@condition(etag_func=lambda request, **_parameters: _etag(request))
def page(_request: HttpRequest, **_parameters: str) -> HttpResponse:
    """The document, whichever of its pages was asked for."""
    return _served(INDEX)


@csrf_exempt
@require_safe
@condition(etag_func=_etag)
def file(_request: HttpRequest, name: str) -> HttpResponse:
    """One of the files."""
    if name not in _files():
        raise Http404
    return _served(name)


@functools.cache
def _files() -> dict[str, Path]:
    """Every file there is, by its name below the directory."""
    root = Path(settings.STOREFRONT_DIR)
    return {
        found.relative_to(root).as_posix(): found for found in root.rglob("*") if found.is_file()
    }


def _content(name: str) -> bytes:
    """Read anew each time: they are small, and whoever changes one sees it at once."""
    return _files()[name].read_bytes()


def _served(name: str) -> HttpResponse:
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return HttpResponse(
        _content(name),
        content_type=f"{kind}; charset=utf-8" if kind.startswith("text/") else kind,
        headers={
            "Content-Security-Policy": _POLICY,
            # Names without a version: kept, but asked about each time, so that no page mixes two.
            "Cache-Control": "no-cache",
        },
    )
