"""The headers that answers carry, and the one that any request may bring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from orders.api.examples import ORDER_NUMBER

if TYPE_CHECKING:
    from collections.abc import Iterable

EXAMPLE_REQUEST_ID: Final = "0192f0c1-7a51-7c3e-9d5e-3f0a5b9c1d2e"

_TEXT: Final = {"type": "string"}

HEADERS: Final[dict[str, dict[str, Any]]] = {
    "X-Request-ID": {
        "required": True,
        "description": "The id of this request: the one that was sent, else a new one.",
        "schema": _TEXT,
        "example": EXAMPLE_REQUEST_ID,
    },
    "WWW-Authenticate": {
        "required": True,
        "description": "The scheme in which a token is sent.",
        "schema": {"type": "string", "const": "Bearer"},
    },
    "Allow": {
        "required": True,
        "description": "The methods that this path knows.",
        "schema": _TEXT,
        "example": "GET, HEAD",
    },
    "Retry-After": {
        "description": "Seconds to wait before the request is sent again. On a 409 only with"
        " `ORDER_IN_PROGRESS`.",
        "schema": {"type": "integer", "minimum": 1},
        "example": 2,
    },
    "Location": {
        "required": True,
        "description": "Where the order can be read.",
        "schema": {"type": "string", "format": "uri-reference"},
        "example": f"/api/v1/orders/{ORDER_NUMBER}",
    },
    "Idempotent-Replayed": {
        "description": "Only with an answer that was given before on the same key.",
        "schema": {"type": "string", "const": "true"},
    },
    "ETag": {
        "required": True,
        "description": "What to send as `If-None-Match` to hear whether anything has changed.",
        "schema": _TEXT,
        "example": '"b4c2d820c1aee91c31cd95e7df51a8f6"',
    },
    "Cache-Control": {
        "required": True,
        "description": "Who may keep the answer, and for how many seconds.",
        "schema": _TEXT,
        "example": "public, max-age=1",
    },
}

PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    "X-Request-ID": {
        "name": "X-Request-ID",
        "in": "header",
        "required": False,
        "description": "An id of the client's for this request: 1–128 letters, digits, `.`, `_` or"
        " `-`. Any other text is no error, it counts as none.",
        "schema": {"type": "string"},
        "example": EXAMPLE_REQUEST_ID,
    },
}

ANY_PARAMETERS: Final = [{"$ref": "#/components/parameters/X-Request-ID"}]


def headers(names: Iterable[str] = ()) -> dict[str, Any]:
    """These, and those of every answer, for a response of the document."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-ID", *names)}
