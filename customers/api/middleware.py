"""Holds what is sent to the account routes to the API's rules of JSON, in allauth's error shape."""

from __future__ import annotations

import contextlib
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from allauth.core.exceptions import ImmediateHttpResponse
from django.db import IntegrityError, transaction
from django.http import JsonResponse

from config.kernel.api.parsers import is_utf8_json, parse_object
from config.kernel.db import violated_constraint
from config.kernel.errors import ValidationFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

ACCOUNT_ROUTES = "/_allauth/"
SIGN_UP = "/_allauth/app/v1/auth/signup"
MOVES_ADDRESS = frozenset(
    {
        ("PATCH", "/_allauth/app/v1/account/email"),
        ("DELETE", "/_allauth/app/v1/account/email"),
        ("POST", "/_allauth/app/v1/auth/email/verify"),
    }
)
"""Routes that write an address twice, in allauth's table and in ours: all or nothing."""

EMAIL_TAKEN = {
    "code": "email_taken",
    "message": "A user is already registered with this email address.",
    "param": "email",
}
PASSWORDS = frozenset({"password", "new_password", "current_password"})
TEXTS = PASSWORDS | {
    "code", "email", "first_name", "key", "last_name", "name", "phone", "refresh_token", "username",
}  # fmt: skip
LONGEST_PASSWORD_BYTES = 1_024
WINDOW_SECONDS = 60
"""`ACCOUNT_RATE_LIMITS` count by the minute; allauth does not say how much of it is left."""


class StrictAccountInput:
    """Refuses bodies that allauth would stumble over or read leniently.

    It reads them with plain `json.loads`, which deep nesting or a number of 5,000 digits breaks,
    and turns values of any type into text.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not request.path.startswith(ACCOUNT_ROUTES):
            return self.get_response(request)
        if request.method != "GET" and request.body:
            if not is_utf8_json(request.headers.get("Content-Type", "")):
                return JsonResponse({"status": 415}, status=415)
            if problems := _problems_of(request.body):
                return JsonResponse({"status": 400, "errors": problems}, status=400)
        response = self.get_response(request)
        if response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            response.headers.setdefault("Retry-After", str(WINDOW_SECONDS))
        return response

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponseBase | None:
        """Tell of an address that another account has taken meanwhile; then nothing is changed."""
        route = (request.method, request.path)
        if route not in MOVES_ADDRESS and request.path != SIGN_UP:
            return None
        try:
            with transaction.atomic() if route in MOVES_ADDRESS else contextlib.nullcontext():
                answer: HttpResponseBase = view(request, *args, **kwargs)
        except ImmediateHttpResponse as exc:
            refusal: HttpResponseBase = exc.response
            return refusal
        except IntegrityError as exc:
            if not (violated_constraint(exc) or "").startswith("customers_email"):
                raise
            return JsonResponse({"status": 400, "errors": [EMAIL_TAKEN]}, status=400)
        return answer


def _problems_of(raw: bytes) -> list[dict[str, str]]:
    try:
        body = parse_object(raw, free_text_fields=PASSWORDS)
    except ValidationFailedError as exc:
        return [_problem("The input is not valid.", param=name) for name in exc.details]
    return [_problem(message, param=name) for name, message in _field_problems(body)]


def _field_problems(body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name in sorted(TEXTS & body.keys()):
        value = body[name]
        if not isinstance(value, str):
            yield name, "A text is required."
        elif name in PASSWORDS and (problem := _password_problem(value)):
            yield name, problem


def _password_problem(password: str) -> str | None:
    try:
        size = len(password.encode())
    except UnicodeEncodeError:
        return "This text is not valid Unicode."
    if "\x00" in password:
        return "Control characters are not allowed."
    # Refused before it is hashed: the cost of a hash grows with what is fed to it.
    return "This password is too long." if size > LONGEST_PASSWORD_BYTES else None


def _problem(message: str, *, param: str) -> dict[str, str]:
    return {"code": "invalid", "message": message, "param": param}
