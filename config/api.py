"""Turns whatever went wrong into the error envelope: the one place that knows codes and statuses.

DRF calls `exception_handler` for its views; Django calls the `handlerNNN` functions for everything
that fails outside of one (unknown paths, foreign hosts, the database away under the middleware).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import sentry_sdk
import structlog
from django.core.exceptions import (
    BadRequest,
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
)
from django.http import Http404, HttpResponse, JsonResponse, UnreadablePostError
from django.views import defaults
from rest_framework import exceptions as drf
from rest_framework.response import Response

from config.kernel import request_context
from config.kernel.db import WENT_AWAY
from config.kernel.errors import DomainError, ServiceUnavailableError, error_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpRequest
    from rest_framework.views import APIView

log = structlog.get_logger(__name__)

BY_STATUS: dict[int, tuple[str, str]] = {
    400: ("VALIDATION_FAILED", "The request is not valid."),
    401: ("NOT_AUTHENTICATED", "A valid access token is required."),
    403: ("PERMISSION_DENIED", "This is not allowed."),
    404: ("NOT_FOUND", "Not found."),
    405: ("METHOD_NOT_ALLOWED", "This method is not allowed here."),
    413: ("PAYLOAD_TOO_LARGE", "The request body is too large."),
    414: ("VALIDATION_FAILED", "The address of this request is too long."),
    415: ("UNSUPPORTED_MEDIA_TYPE", "Send application/json in UTF-8, not compressed."),
    429: ("RATE_LIMIT_EXCEEDED", "Too many requests, please try again later."),
    500: ("INTERNAL_ERROR", "An unexpected error occurred."),
    503: ("SERVICE_UNAVAILABLE", ServiceUnavailableError.message),
}
"""Code and message where the status is all that is known. A DomainError brings its own."""

PAGES_FOR_PEOPLE = ("/admin/",)
"""Under these paths errors stay pages; everywhere else they are the envelope."""


def error_response(
    status: int, *, details: Any = None, headers: Mapping[str, str] | None = None
) -> JsonResponse:
    """The envelope for a status, outside of DRF."""
    code, message = BY_STATUS[status]
    body = error_body(
        code=code,
        message=message,
        details=details,
        request_id=request_context.current().request_id,
    )
    return JsonResponse(body, status=status, headers=dict(headers or {}))


def exception_handler(exc: Exception, context: Mapping[str, Any]) -> Response:
    """Answer any exception of a DRF view with the envelope."""
    if not _knows_method(context["view"], context["request"].method):
        # DRF asks who it is first; that a token would not help either is the better answer.
        exc = drf.MethodNotAllowed(context["request"].method)
    status, code, message, details, headers = _reading_of(exc)
    if status == 500:  # noqa: PLR2004 - what nobody anticipated
        log.error("unexpected_error", exc_info=exc)
        sentry_sdk.capture_exception(exc)
    elif isinstance(exc, WENT_AWAY):
        log.warning("database_away", exc_info=exc)
    body = error_body(
        code=code,
        message=message,
        details=details,
        request_id=request_context.current().request_id,
    )
    return Response(body, status=status, headers=headers)


def handler400(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Suspicious operations: a foreign Host, a body too big, too many fields."""
    if _is_for_people(request):
        return defaults.bad_request(request, exception)
    return error_response(413 if isinstance(exception, RequestDataTooBig) else 400)


def handler403(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Refused outside of a DRF view."""
    if _is_for_people(request):
        return defaults.permission_denied(request, exception)
    return error_response(403)


def handler404(request: HttpRequest, exception: Exception) -> HttpResponse:
    """A path that leads nowhere."""
    if _is_for_people(request):
        return defaults.page_not_found(request, exception)
    return error_response(404)


def handler500(request: HttpRequest) -> HttpResponse:
    """Anything else; a database that is away is said to be away. Sentry heard of it from Django."""
    exc = sys.exc_info()[1]
    if isinstance(exc, WENT_AWAY):
        log.warning("database_away", exc_info=exc)
        return error_response(503, headers=_retry_after(ServiceUnavailableError()))
    if isinstance(exc, UnreadablePostError):
        return error_response(400)
    log.error("unexpected_error", exc_info=exc)
    if _is_for_people(request):
        return defaults.server_error(request)
    return error_response(500)


def _is_for_people(request: HttpRequest) -> bool:
    return request.path.startswith(PAGES_FOR_PEOPLE)


def _knows_method(view: APIView, method: str) -> bool:
    return method != "OPTIONS" and method in view.allowed_methods


def _reading_of(exc: Exception) -> tuple[int, str, str, Any, dict[str, str]]:
    """Status, code, message, details and headers for an exception."""
    if isinstance(exc, WENT_AWAY):
        exc = ServiceUnavailableError()
    if isinstance(exc, DomainError):
        return exc.status, exc.code, exc.message, exc.details, _retry_after(exc)
    if isinstance(exc, drf.ValidationError):
        code, message = BY_STATUS[400]
        return 400, code, message, _as_object(exc.detail), {}
    status = _status_of(exc)
    code, message = BY_STATUS[status]
    return status, code, message, None, _headers_of(exc)


def _status_of(exc: Exception) -> int:
    match exc:
        case drf.APIException() if exc.status_code in BY_STATUS:
            return int(exc.status_code)
        case Http404():
            return 404
        case PermissionDenied():
            return 403
        case RequestDataTooBig():
            return 413
        case SuspiciousOperation() | BadRequest() | UnreadablePostError():
            return 400
        case _:
            return 500


def _headers_of(exc: Exception) -> dict[str, str]:
    headers = {}
    if challenge := getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = str(challenge)
    if wait := getattr(exc, "wait", None):
        headers["Retry-After"] = str(max(1, round(wait)))
    return headers


def _retry_after(error: DomainError) -> dict[str, str]:
    seconds = error.retry_after_seconds
    return {} if seconds is None else {"Retry-After": str(seconds)}


def _as_object(detail: Any) -> Any:
    """DRF's details in the shape of the contract: an object, and lists where the input had them."""
    return {"non_field_errors": detail} if isinstance(detail, list) else _with_lists(detail)


def _with_lists(detail: Any) -> Any:
    if not isinstance(detail, dict):
        return detail
    if detail and all(isinstance(key, int) for key in detail):
        return [_with_lists(detail.get(index, {})) for index in range(max(detail) + 1)]
    return {key: _with_lists(value) for key, value in detail.items()}
