"""Finds out who sends a request: allauth's access token, checked against the living session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allauth.headless.tokens.strategies.jwt import internal as tokens
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import SAFE_METHODS

from config.kernel import request_context
from customers.errors import InactiveCustomerError
from customers.selectors import find_customer_with_session
from customers.sessions import SessionStore

if TYPE_CHECKING:
    from rest_framework.request import Request

    from customers.models import Customer

SCHEME = "Bearer"


class AccessTokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer …`; nowhere else is a token looked for.

    One SELECT joins customer and session, so a token is worth nothing from the moment that the
    account is erased, logged out or has another password. A customer who is not active may read.
    """

    def authenticate(self, request: Request) -> tuple[Customer, None] | None:
        """Say whose request this is; None without an Authorization header.

        Raises:
            AuthenticationFailed: a header that is not a valid token.
            InactiveCustomerError: a write by a customer who is suspended or inactive.
        """
        header = request.headers.get("Authorization", "")
        if not header:
            return None
        scheme, _, token = header.partition(" ")
        customer = _find_customer(token.strip()) if scheme.lower() == SCHEME.lower() else None
        if customer is None:
            raise AuthenticationFailed
        request_context.set_user(user_id=customer.pk)
        if not customer.is_active and request.method not in SAFE_METHODS:
            raise InactiveCustomerError
        return customer, None

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002 - DRF's signature
        return SCHEME


class AccessTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How OpenAPI shows it."""

    target_class = AccessTokenAuthentication
    name = "accessToken"

    def get_security_definition(self, _auto_schema: Any) -> dict[str, str]:
        return {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "`meta.access_token` of a sign-up or log-in at `/_allauth/app/v1/`.",
        }


def _find_customer(token: str) -> Customer | None:
    claims = tokens.decode_token(token, "access")
    if claims is None or not claims["sub"].isdigit():
        return None
    session_key = tokens.session_key_from_sid(claims["sid"])
    if not session_key:
        return None
    found = find_customer_with_session(
        customer_id=int(claims["sub"]), session_key=session_key, now=timezone.now()
    )
    if found is None:
        return None
    customer, session_data = found
    return customer if _belongs_to(SessionStore().decode(session_data), customer) else None


def _belongs_to(session: dict[str, Any], customer: Customer) -> bool:
    """Whether this session was opened by this customer under the present password."""
    if session.get(SESSION_KEY) != str(customer.pk):
        return False
    opened_under = session.get(HASH_SESSION_KEY, "")
    present = [customer.get_session_auth_hash(), *customer.get_session_auth_fallback_hash()]
    return any(constant_time_compare(opened_under, hashed) for hashed in present)
