"""Holds the account routes to the API's rules, in allauth's shape: JSON, limits, all or nothing."""

from __future__ import annotations

import random
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from allauth.core.exceptions import ImmediateHttpResponse
from django.db import IntegrityError, transaction
from django.http import HttpResponse, JsonResponse
from rest_framework.permissions import SAFE_METHODS

from config.kernel.api.parsers import is_utf8_json, parse_object
from config.kernel.api.text import unprintable_in
from config.kernel.db import violated_constraint
from config.kernel.errors import DomainError, RateLimitExceededError, ValidationFailedError
from customers import throttling
from customers.errors import TooManyLogInsError
from customers.hashers import workshop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

ACCOUNT_ROUTES = "/_allauth/"
LIMITED: Final = {
    "/_allauth/app/v1/auth/signup": "sign_up",
    "/_allauth/app/v1/auth/login": "log_in_request",
    "/_allauth/app/v1/auth/password/reset": "key",
    "/_allauth/app/v1/auth/email/verify": "key",
    "/_allauth/app/v1/account/password/change": "password_change",
}
"""What an address may send only so often. Accounts are counted where they are known."""
HASHES: Final = frozenset(
    {
        "/_allauth/app/v1/auth/signup",
        "/_allauth/app/v1/auth/login",
        "/_allauth/app/v1/auth/reauthenticate",
        "/_allauth/app/v1/auth/password/reset",
        "/_allauth/app/v1/account/password/change",
        "/admin/login/",
        "/admin/password_change/",
    }
)
"""Where a password is hashed."""
VEILED: Final = frozenset(
    {
        "/_allauth/app/v1/auth/login",
        "/_allauth/app/v1/auth/password/request",
        "/admin/login/",
    }
)
"""Whose answers must not tell whether there is such an account, by the time they take either."""
VEIL_SECONDS = 0.01
"""Up to so much longer they take, by chance. The same work with and without an account leaves a
tenth of a millisecond between them: to see it behind this takes more tries than anybody has."""

EMAIL_TAKEN = {
    "code": "email_taken",
    "message": "A user is already registered with this email address.",
    "param": "email",
}
PASSWORDS = frozenset({"password", "new_password", "current_password"})
KEYS = frozenset({"key", "refresh_token"})
"""Made by us of letters and digits by chance: one in some hundreds has a card number's digits."""
TEXTS = PASSWORDS | KEYS | {
    "code", "email", "first_name", "last_name", "name", "phone", "username",
}  # fmt: skip
TURNED_AWAY = (RateLimitExceededError, TooManyLogInsError)
LONGEST_PASSWORD_BYTES = 1_024
WINDOW_SECONDS = 60
"""Allauth's own limits count by the minute; it does not say how much of it is left."""


_chance = random.SystemRandom()


class AccountRoutes:
    """Stands before allauth's views, and before the admin's log-in where that is turned away.

    Bodies that allauth would stumble over or read leniently are refused: it reads them with plain
    `json.loads`, which deep nesting or a number of 5,000 digits breaks, and turns values of any
    type into text. Every write is one transaction: an account with its address, its session, its
    audit row and the letter that goes out, or nothing.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.method == "POST" and request.path in HASHES and workshop.is_full():
            return _turned_away(request, TooManyLogInsError())
        response = self._answer(request)
        if request.method == "POST" and request.path in VEILED:
            time.sleep(_chance.uniform(0, VEIL_SECONDS))
        return response

    def _answer(self, request: HttpRequest) -> HttpResponseBase:
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
        """Run a write as a whole, and say why there was none."""
        if not request.path.startswith(ACCOUNT_ROUTES):
            return None
        try:
            # By any method: allauth looks at what is sent before it refuses a method, and tells by
            # GET whether a key is good.
            if scope := LIMITED.get(request.path):
                throttling.admit(scope)
            if request.method in SAFE_METHODS:
                return None
            with transaction.atomic():
                answer: HttpResponseBase = view(request, *args, **kwargs)
        except ImmediateHttpResponse as exc:
            refusal: HttpResponseBase = exc.response
            return refusal
        except TURNED_AWAY as exc:
            return _turned_away(request, exc)
        except IntegrityError as exc:
            # Another account has taken that address meanwhile.
            if not (violated_constraint(exc) or "").startswith(("customers_email", "unique_verif")):
                raise
            return JsonResponse({"status": 400, "errors": [EMAIL_TAKEN]}, status=400)
        return answer

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponseBase | None:
        """Of the admin's log-in."""
        return _turned_away(request, exception) if isinstance(exception, TURNED_AWAY) else None


def _turned_away(request: HttpRequest, error: DomainError) -> HttpResponseBase:
    """Come back later; to an account route in allauth's shape."""
    headers = {"Retry-After": str(error.retry_after_seconds)}
    if request.path.startswith(ACCOUNT_ROUTES):
        return JsonResponse({"status": error.status}, status=error.status, headers=headers)
    return HttpResponse(error.message, "text/plain", error.status, headers=headers)


def _problems_of(raw: bytes) -> list[dict[str, str]]:
    try:
        body = parse_object(raw, free_text_fields=PASSWORDS | KEYS)
    except ValidationFailedError as exc:
        return [_problem("The input is not valid.", param=name) for name in exc.details]
    return [_problem(message, param=name) for name, message in _field_problems(body)]


def _field_problems(body: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name in sorted(TEXTS & body.keys()):
        value = body[name]
        if not isinstance(value, str):
            yield name, "A text is required."
        elif (name in PASSWORDS and (problem := _password_problem(value))) or (
            name in KEYS and (problem := unprintable_in(value))
        ):
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
