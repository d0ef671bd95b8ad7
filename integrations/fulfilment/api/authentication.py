"""Finds out which warehouse's system calls: by a token from the environment."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed

if TYPE_CHECKING:
    from rest_framework.request import Request

SCHEME = "Bearer"


@dataclass(frozen=True, slots=True)
class WarehouseSystem:
    """Who calls: the system of these buildings, by their codes. Nobody's account."""

    codes: frozenset[str]
    is_authenticated: bool = True
    pk: None = None


class WarehouseAuthentication(BaseAuthentication):
    """`Authorization: Bearer …` with a token of `FULFILMENT_FEED_TOKEN`."""

    def authenticate(self, request: Request) -> tuple[WarehouseSystem, None]:
        """Say whose system it is.

        Raises:
            AuthenticationFailed: no token, or one that is nobody's.
        """
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        codes = _codes_of(token.strip()) if scheme.lower() == SCHEME.lower() else frozenset()
        if not codes:
            raise AuthenticationFailed
        return WarehouseSystem(codes), None

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002 - DRF's signature
        return SCHEME


class WarehouseTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How OpenAPI shows it."""

    target_class = WarehouseAuthentication
    name = "warehouseToken"

    def get_security_definition(self, _auto_schema: Any) -> dict[str, str]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "The token of a warehouse's system, from `FULFILMENT_FEED_TOKEN`.",
        }


def _codes_of(token: str) -> frozenset[str]:
    """Takes as long whichever token it is; digests are of one length."""
    sent = _digest(token)
    return frozenset(
        code
        for code, known in settings.FULFILMENT_FEED_TOKENS
        if hmac.compare_digest(sent, _digest(known))
    )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
