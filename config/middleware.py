"""The edge: what holds for every request, whatever path it takes and however it ends."""

from __future__ import annotations

import contextlib
import io
import ipaddress
import random
import re
import time
import uuid
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import structlog
from django.conf import settings
from django.http import HttpResponse
from prometheus_client import Counter, Histogram

from config import latency
from config.api import BY_STATUS, PAGES_FOR_PEOPLE, error_response
from config.health import PROBES
from config.kernel import request_context, server_timing
from config.kernel.request_context import RequestContext

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

log = structlog.get_logger("request")

requests_total = Counter("http_requests_total", "Requests answered", ["method", "route", "status"])
request_seconds = Histogram(
    "http_request_seconds",
    "Time until the answer was ready",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15),
)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_LONGEST_USER_AGENT = 512
_LONGEST_TARGET = 8_190
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_ROUTE_PARAMETER = re.compile(r"<(?:[^:>]+:)?([^>]+)>")
_POLICY_WITHOUT_PAGES = "default-src 'none'; frame-ancestors 'none'"
_KEEPS_ITS_CACHING = ("/static/",)


class RequestEdge:
    """Outermost middleware: request id and context, caps, headers, metrics, one log line.

    It answers by itself only what must not reach anything else: probes (which carry whatever Host
    the prober uses), bodies that are too big or compressed, paths and queries that are not text.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        started = time.perf_counter()
        context = RequestContext(
            request_id=_request_id(request),
            ip_address=client_address(request),
            user_agent=_UNPRINTABLE.sub(
                "?", request.headers.get("User-Agent", "")[:_LONGEST_USER_AGENT]
            ),
            accept_language=request.headers.get("Accept-Language", ""),
        )
        with (
            request_context.bound(context),
            server_timing.measured() as waits,
            structlog.contextvars.bound_contextvars(request_id=context.request_id),
        ):
            response = self._answer(request)
            response = _enveloped(request, response)
            _set_headers(request, response)
            if waits:
                response.headers["Server-Timing"] = server_timing.header(waits)
            _note(request, response, seconds=time.perf_counter() - started)
        return response

    def _answer(self, request: HttpRequest) -> HttpResponseBase:
        if probe := PROBES.get(request.path):
            return probe(request)
        return _refusal(request) or self.get_response(request)


def client_address(request: HttpRequest) -> str | None:
    """The address that asks; X-Forwarded-For counts only as far as our own proxies wrote it.

    What comes by IPv4 is an IPv4 address, also where a socket for both kinds maps it (::ffff:…).
    """
    hops = settings.TRUSTED_PROXIES
    forwarded = request.headers.get("X-Forwarded-For", "").split(",")
    if hops and len(forwarded) >= hops:
        # What is no address was not written by a proxy of ours: the socket's own then holds.
        with contextlib.suppress(ValueError):
            return _unmapped(forwarded[-hops].strip())
    with contextlib.suppress(ValueError):  # a Unix socket has none
        return _unmapped(request.META.get("REMOTE_ADDR", ""))
    return None


def _unmapped(text: str) -> str:
    address = ipaddress.ip_address(text)
    return str(getattr(address, "ipv4_mapped", None) or address)


def _request_id(request: HttpRequest) -> str:
    sent = request.headers.get("X-Request-ID", "")
    if _REQUEST_ID.fullmatch(sent):
        return sent
    # No secret. Asking the system for each would hand the interpreter to another thread.
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def _refusal(request: HttpRequest) -> HttpResponseBase | None:
    """An answer without looking any further, where nothing behind could make sense of it."""
    query = request.META.get("QUERY_STRING", "")
    if len(request.path) + len(query) > _LONGEST_TARGET:
        return error_response(414)
    if not _is_text(request.path):
        return error_response(404)
    if not _is_query_text(query):
        return error_response(400, details={"query": ["This is not valid text in UTF-8."]})
    if request.headers.get("Content-Encoding", "identity").lower() not in {"", "identity"}:
        return error_response(415)
    return _body_refusal(request)


def _is_text(path: str) -> bool:
    return path.isprintable() and "\ufffd" not in path


def _is_query_text(query: str) -> bool:
    if query.isascii() and "%" not in query:
        return "\x00" not in query
    try:
        return "\x00" not in unquote_to_bytes(query.encode("latin-1")).decode("utf-8")
    except UnicodeError:
        return False


def _body_refusal(request: HttpRequest) -> HttpResponseBase | None:
    """Refuse a body over the cap; of unannounced length, it is read here, to the cap, no further.

    Django itself reads nothing of a body that comes in chunks.
    """
    length = request.META.get("CONTENT_LENGTH", "")
    if length:
        most = settings.MAX_BODY_BYTES
        # Whoever has no session is asked to log in, and needs no file for that.
        if request.path.startswith(settings.UPLOADS) and settings.SESSION_COOKIE_NAME in (
            request.COOKIES
        ):
            most += settings.MAX_UPLOAD_BYTES
        fits = length.isdigit() and int(length[:20]) <= most
        return None if fits else error_response(413)
    if "chunked" not in request.headers.get("Transfer-Encoding", "").lower():
        return None
    try:
        body = request.META["wsgi.input"].read(settings.MAX_BODY_BYTES + 1)
    except Exception:  # noqa: BLE001 - each server has its own for chunks that are none
        return error_response(400)
    if len(body) > settings.MAX_BODY_BYTES:
        return error_response(413)
    request.META["CONTENT_LENGTH"] = str(len(body))
    request._stream = io.BytesIO(body)  # noqa: SLF001 - where WSGIRequest keeps it
    return None


def _enveloped(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Whatever plain Django view answered: an error under /api/ is never a page."""
    status = response.status_code
    is_json = "json" in response.headers.get("Content-Type", "")
    if status not in BY_STATUS or is_json or not request.path.startswith("/api/"):
        return response
    kept = {
        name: response.headers[name]
        for name in ("Allow", "Retry-After")
        if name in response.headers
    }
    return error_response(status, headers=kept)


def _set_headers(request: HttpRequest, response: HttpResponseBase) -> None:
    """Security headers on everything, the refusals made above included."""
    headers = response.headers
    headers["X-Request-ID"] = request_context.current().request_id or ""
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("X-Frame-Options", "DENY")
    headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
    headers.setdefault("Content-Security-Policy", _POLICY_WITHOUT_PAGES)
    if not request.path.startswith(PAGES_FOR_PEOPLE):
        # Pages keep `same-origin`: under `no-referrer` browsers send `Origin: null` with forms,
        # which the CSRF check refuses.
        headers["Referrer-Policy"] = "no-referrer"
    if not request.path.startswith(_KEEPS_ITS_CACHING):
        headers.setdefault("Cache-Control", "no-store")
    if isinstance(response, HttpResponse):  # what is answered here has met no CommonMiddleware
        headers.setdefault("Content-Length", str(len(response.content)))


def _note(request: HttpRequest, response: HttpResponseBase, *, seconds: float) -> None:
    """Count it and log it, by the route's template: paths and queries may hold personal data."""
    method = request.method if request.method in _METHODS else "OTHER"
    route = _route(request)
    requests_total.labels(method, route, response.status_code).inc()
    request_seconds.labels(method, route).observe(seconds)
    latency.sample_if_due()
    log.info(
        "request",
        method=method,
        route=route,
        status=response.status_code,
        duration_ms=round(seconds * 1_000, 1),
        user_id=request_context.current().user_id,
    )


def _route(request: HttpRequest) -> str:
    if request.path in PROBES:
        return request.path
    match = request.resolver_match
    if match is None:
        return "unmatched"
    return "/" + _ROUTE_PARAMETER.sub(r"{\1}", match.route or "")
