"""Writes out what views note of their operations, and what holds for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from config.kernel.api.schema import NOTES, Access, Answer, Notes, Refusal
from config.kernel.errors import error_body
from config.openapi.codes import CODES
from config.openapi.headers import (
    ANY_PARAMETERS,
    EXAMPLE_REQUEST_ID,
    HEADERS,
    PARAMETERS,
    headers,
)
from customers.api.authentication import AccessTokenScheme
from integrations.fulfilment.api.authentication import WarehouseTokenScheme
from integrations.support.api.authentication import ChatToolTokenScheme

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

OF_EVERY_PATH: Final = (
    "VALIDATION_FAILED",
    "METHOD_NOT_ALLOWED",
    "PAYLOAD_TOO_LARGE",
    "UNSUPPORTED_MEDIA_TYPE",
    "INTERNAL_ERROR",
)
"""What the edge refuses whatever the path and method, and what nobody expects."""

OF_EVERY_VIEW: Final = (*OF_EVERY_PATH, "RATE_LIMIT_EXCEEDED", "SERVICE_UNAVAILABLE")

_TOKEN: Final[dict[str, list[str]]] = {AccessTokenScheme.name: []}
_NOBODY: Final[dict[str, list[str]]] = {}
SECURITY: Final = {
    Access.TOKEN: [_TOKEN],
    Access.GUEST_TOO: [_TOKEN, _NOBODY],
    Access.PUBLIC: [_NOBODY],
    Access.UNCHECKED: [_NOBODY],
    Access.WAREHOUSE: [{WarehouseTokenScheme.name: []}],
    Access.CHAT_TOOL: [{ChatToolTokenScheme.name: []}],
}

ERROR: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["success", "error", "request_id"],
    "additionalProperties": False,
    "properties": {
        "success": {"type": "boolean", "const": False},
        "error": {
            "oneOf": [
                {"$ref": f"#/components/schemas/{code.component}"} for code in CODES.values()
            ],
            "discriminator": {
                "propertyName": "code",
                "mapping": {
                    code.code: f"#/components/schemas/{code.component}" for code in CODES.values()
                },
            },
        },
        "request_id": {"type": "string", "description": "As in the header `X-Request-ID`."},
    },
}
"""The envelope; `code` decides what `details` hold."""

_PROBLEMS_BY_FIELD: Final = {"$ref": "#/components/schemas/ProblemsByField"}
PROBLEMS: Final[dict[str, dict[str, Any]]] = {
    # Each refers to itself through an object alone: TypeScript has no words for another way.
    "Problems": {
        "description": "Sentences about a field; of an object or a list, the same for its parts.",
        "anyOf": [
            {
                "type": "array",
                "items": {
                    "anyOf": [
                        {"type": "string"},
                        _PROBLEMS_BY_FIELD,
                        {"type": "array", "items": {}, "description": "Of a list in a list."},
                    ]
                },
            },
            _PROBLEMS_BY_FIELD,
        ],
    },
    "ProblemsByField": {
        "description": "What is wrong with the fields of an object.",
        "type": "object",
        "additionalProperties": {"$ref": "#/components/schemas/Problems"},
    },
}


def complete(result: dict[str, Any], **_kwargs: Any) -> dict[str, Any]:
    """Post-processing hook: completes every operation that a view describes."""
    components = result.setdefault("components", {})
    components.setdefault("schemas", {}).update(
        {
            "Error": ERROR,
            **PROBLEMS,
            **{code.component: _schema_of(code.code) for code in CODES.values()},
        }
    )
    components["headers"] = HEADERS
    components["parameters"] = PARAMETERS
    for path, methods in result["paths"].items():
        for method, described in methods.items():
            notes: Notes = described.pop(NOTES)
            described["security"] = SECURITY[notes.access]
            described["parameters"] = [*described.get("parameters", ()), *ANY_PARAMETERS]
            if notes.body_examples:
                _show(described["requestBody"], notes.body_examples)
            for status, answer in notes.answers.items():
                _complete_answer(described["responses"][str(status)], answer)
            described["responses"].update(
                error_responses(
                    _codes_of(path, method, notes),
                    refusals=notes.refusals,
                    more_headers=notes.error_headers,
                )
            )
    return result


def error_responses(
    codes: Iterable[str],
    *,
    refusals: Mapping[str, Refusal] | None = None,
    more_headers: Mapping[int, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Responses with these codes, by status."""
    by_status: dict[int, list[str]] = {}
    for code in (code for code in CODES if code in set(codes)):  # in the order of the table
        by_status.setdefault(CODES[code].status, []).append(code)
    return {
        str(status): _error_response(
            of_status, refusals or {}, more_headers=(more_headers or {}).get(status, ())
        )
        for status, of_status in sorted(by_status.items())
    }


def _codes_of(path: str, method: str, notes: Notes) -> set[str]:
    codes = {*OF_EVERY_VIEW, *notes.errors}
    if notes.access is not Access.UNCHECKED:
        codes.add("NOT_AUTHENTICATED")
        if method != "get" and notes.access is not Access.WAREHOUSE:
            codes.add("INACTIVE_CUSTOMER")
    if "{" in path:
        codes.add("NOT_FOUND")
    return codes - {*notes.never}


def _complete_answer(response: dict[str, Any], answer: Answer) -> None:
    response["headers"] = headers(answer.headers)
    if answer.examples:
        _show(response, answer.examples)


def _show(body: dict[str, Any], examples: Mapping[str, Any]) -> None:
    (content,) = body["content"].values()
    content["examples"] = {name: {"value": value} for name, value in examples.items()}


def _error_response(
    codes: Sequence[str], refusals: Mapping[str, Refusal], *, more_headers: Iterable[str]
) -> dict[str, Any]:
    own_headers = {header: None for code in codes if (header := CODES[code].header)}
    return {
        "description": "\n".join(f"- `{code}`: {CODES[code].when}" for code in codes),
        "headers": headers([*own_headers, *more_headers]),
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/Error"},
                "examples": {
                    code: {"value": _envelope(code, refusals.get(code))} for code in codes
                },
            }
        },
    }


def _envelope(code: str, refusal: Refusal | None) -> dict[str, Any]:
    """An error as a client sees it."""
    usual = CODES[code]
    shown = refusal or Refusal(details=usual.details)
    return error_body(
        code=code,
        message=shown.message or usual.message,
        details=shown.details,
        request_id=EXAMPLE_REQUEST_ID,
    )


def _schema_of(code: str) -> dict[str, Any]:
    return {
        "type": "object",
        "description": CODES[code].when,
        "required": ["code", "message", "details"],
        "additionalProperties": False,
        "properties": {
            "code": {"type": "string", "const": code},
            "message": {
                "type": "string",
                "description": "For people; may change.",
                "example": CODES[code].message,
            },
            "details": CODES[code].schema,
        },
    }
