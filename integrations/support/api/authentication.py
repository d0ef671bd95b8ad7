"""Finds out whether a chat tool of customer service calls: by a token from the environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication

from integrations.support import context

if TYPE_CHECKING:
    from rest_framework.request import Request

SCHEME = "Bearer"


@dataclass(frozen=True, slots=True)
class ChatTool:
    """Who calls: a tool, and nobody's account."""

    is_authenticated: bool = True
    pk: None = None


class ChatToolAuthentication(BaseAuthentication):
    """`Authorization: Bearer …` with a `SUPPORT_CONTEXT_TOKEN`.

    Another token is nobody's. The view refuses it, once it is counted: who guesses is slowed down.
    """

    def authenticate(self, request: Request) -> tuple[ChatTool, None] | None:
        """Say whether it is one."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        is_known = scheme.lower() == SCHEME.lower() and context.knows(token.strip())
        return (ChatTool(), None) if is_known else None

    def authenticate_header(self, request: Request) -> str:  # noqa: ARG002 - DRF's signature
        return SCHEME


class ChatToolTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How OpenAPI shows it."""

    target_class = ChatToolAuthentication
    name = "chatToolToken"

    def get_security_definition(self, _auto_schema: Any) -> dict[str, str]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "A `SUPPORT_CONTEXT_TOKEN`; where none is set, nobody is let in.",
        }
