"""Documents operations in OpenAPI: views name their own error codes, the rest is added here."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from rest_framework import serializers

EXAMPLE_REQUEST_ID = "0192f0c1-7a51-7c3e-9d5e-3f0a5b9c1d2e"

ERRORS: dict[str, tuple[int, str, Any]] = {
    "VALIDATION_FAILED": (
        400,
        "The input is not valid; `details` name the fields.",
        {"items": [{"quantity": ["A whole number is required."]}]},
    ),
    "IDEMPOTENCY_KEY_MISSING": (400, "No Idempotency-Key, or not 1-255 visible ASCII.", None),
    "NOT_AUTHENTICATED": (401, "No valid access token.", None),
    "CARD_DECLINED": (
        402,
        "The card was declined; nothing is charged, the stock is released.",
        {"decline_code": "insufficient_funds", "order_number": "K7M2-Q9XD"},
    ),
    "PAYMENT_REQUIRES_ACTION": (
        402,
        "The shopper has to act, e.g. 3-D Secure; the order holds its stock until `expires_at`.",
        {
            "client_secret": "pi_123_secret_456",
            "payment_intent_id": "pi_123",
            "next_action": {"type": "use_stripe_sdk"},
            "order_number": "K7M2-Q9XD",
            "expires_at": "2026-11-22T12:15:00Z",
        },
    ),
    "PAYMENT_FAILED": (
        402,
        "Any other definite failure; nothing is charged.",
        {"order_number": "K7M2-Q9XD"},
    ),
    "PERMISSION_DENIED": (403, "Not allowed.", None),
    "INACTIVE_CUSTOMER": (403, "The customer is inactive or suspended.", None),
    "NOT_FOUND": (404, "Not found; also said of what belongs to somebody else.", None),
    "METHOD_NOT_ALLOWED": (405, "This path does not know this method.", None),
    "INSUFFICIENT_INVENTORY": (
        409,
        "Not enough in stock; all lacking items at once.",
        {"unavailable_items": [{"sku": "DEMO-SOLD-OUT", "requested": 1, "available": 0}]},
    ),
    "PRICE_CHANGED": (409, "`expected_total` differs; `details` carry the fresh quote.", {}),
    "COUPON_INVALID": (409, "The coupon does not apply; `reason` says why.", {"reason": "expired"}),
    "ORDER_IN_PROGRESS": (409, "The same key is still running; see Retry-After.", None),
    "INVALID_TRANSITION": (409, "Not possible in the current state.", None),
    "EDIT_CONFLICT": (409, "The `version` sent is not the current one.", {"version": 3}),
    "PAYLOAD_TOO_LARGE": (413, "The body is larger than 256 KiB.", None),
    "UNSUPPORTED_MEDIA_TYPE": (415, "Not `application/json` in UTF-8, or compressed.", None),
    "IDEMPOTENCY_KEY_REUSED": (422, "The same key came with another body.", None),
    "RATE_LIMIT_EXCEEDED": (429, "Too many requests; see Retry-After.", None),
    "INTERNAL_ERROR": (500, "Unexpected; tells no internals.", None),
    "PAYMENT_ERROR": (
        502,
        "The provider refused our request: certainly not charged.",
        {"order_number": "K7M2-Q9XD"},
    ),
    "SERVICE_UNAVAILABLE": (503, "Database or provider away, or too busy; see Retry-After.", None),
}
"""Every code of the contract: its status, when it comes, an example of `details`."""

_ALWAYS = (
    "VALIDATION_FAILED",
    "METHOD_NOT_ALLOWED",
    "PAYLOAD_TOO_LARGE",
    "UNSUPPORTED_MEDIA_TYPE",
    "RATE_LIMIT_EXCEEDED",
    "INTERNAL_ERROR",
    "SERVICE_UNAVAILABLE",
)
_WITH_RETRY_AFTER = frozenset({"RATE_LIMIT_EXCEEDED", "SERVICE_UNAVAILABLE", "ORDER_IN_PROGRESS"})
_BODY_METHODS = frozenset({"post", "put", "patch"})


def operation(
    *,
    summary: str,
    responses: Mapping[int, Any],
    errors: Sequence[str] = (),
    request: Any = None,
    query: type[serializers.Serializer[Any]] | None = None,
    headers: Iterable[OpenApiParameter] = (),
    examples: Sequence[OpenApiExample] | None = None,
    description: str = "",
    tags: Sequence[str] = (),
    operation_id: str | None = None,
    public: bool = False,
) -> Callable[[Any], Any]:
    """Describe one method of a view.

    Args:
        summary: what it does, in a few words.
        responses: a serializer for each good status.
        errors: the codes of `ERRORS` that this operation adds to those every operation has
            (`VALIDATION_FAILED`, `RATE_LIMIT_EXCEEDED`, `INTERNAL_ERROR` and the like, and
            `NOT_AUTHENTICATED`, `INACTIVE_CUSTOMER` where a token is needed).
        request: the serializer of the body.
        query: a `QuerySerializer` with the query parameters.
        headers: made with `header` or `query_parameter`.
        examples: of request and answers.
        description: more about it, in Markdown.
        tags: the section it stands in.
        operation_id: a name for generated clients; else made from the path.
        public: no token is needed.
    """
    described: dict[int, Any] = dict(responses)
    described.update(_error_responses(errors))
    return extend_schema(
        summary=summary,
        description=description,
        request=request,
        responses=described,
        parameters=[*([query] if query else []), *headers],
        examples=list(examples) if examples else None,
        tags=list(tags) or None,
        operation_id=operation_id,
        auth=[{}] if public else None,  # type: ignore[list-item]  # the empty requirement: no token,
    )


def header(
    name: str, description: str, *, required: bool = False, example: str | None = None
) -> OpenApiParameter:
    """A request header for `operation(headers=…)`."""
    shown = [OpenApiExample(name, value=example)] if example else None
    return OpenApiParameter(
        name,
        str,
        OpenApiParameter.HEADER,
        required=required,
        description=description,
        examples=shown,
    )


def query_parameter(name: str, description: str, *, example: str | None = None) -> OpenApiParameter:
    """An optional query parameter for `operation(headers=…)`."""
    shown = [OpenApiExample(name, value=example)] if example else None
    return OpenApiParameter(
        name, str, OpenApiParameter.QUERY, description=description, examples=shown
    )


def complete_errors(result: dict[str, Any], **_kwargs: Any) -> dict[str, Any]:
    """Post-processing hook: the envelope's schema, and the errors every operation can end in."""
    result.setdefault("components", {}).setdefault("schemas", {})["Error"] = ERROR_SCHEMA
    for path, methods in result["paths"].items():
        for method, described in methods.items():
            codes = [code for code in _ALWAYS if _can_end_in(code, method)]
            if described.get("security") and {} not in described["security"]:
                codes.append("NOT_AUTHENTICATED")
                codes += ["INACTIVE_CUSTOMER"] if method in {*_BODY_METHODS, "delete"} else []
            elif described.get("security") and len(described["security"]) > 1:
                codes.append("NOT_AUTHENTICATED")
            codes += ["NOT_FOUND"] if "{" in path else []
            _add_errors(described["responses"], codes)
    return result


def envelope_example(code: str) -> dict[str, Any]:
    """An error as a client sees it."""
    _, message, details = ERRORS[code]
    return {
        "success": False,
        "error": {"code": code, "message": message, "details": details},
        "request_id": EXAMPLE_REQUEST_ID,
    }


ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["success", "error", "request_id"],
    "additionalProperties": False,
    "properties": {
        "success": {"type": "boolean", "const": False},
        "error": {
            "type": "object",
            "required": ["code", "message", "details"],
            "additionalProperties": False,
            "properties": {
                "code": {"type": "string", "enum": sorted(ERRORS)},
                "message": {"type": "string", "description": "For people; may change."},
                "details": {"description": "Depends on the code; null where there is nothing."},
            },
        },
        "request_id": {"type": "string", "description": "As in the header X-Request-ID."},
    },
}


def _error_responses(codes: Iterable[str]) -> dict[int, OpenApiResponse]:
    """Placeholders that keep the statuses; `complete_errors` writes their content."""
    grouped: dict[int, list[str]] = {}
    for code in codes:
        grouped.setdefault(ERRORS[code][0], []).append(code)
    return {
        status: OpenApiResponse(description=" ".join(of_status))
        for status, of_status in grouped.items()
    }


def _can_end_in(code: str, method: str) -> bool:
    return method in _BODY_METHODS or code not in {"PAYLOAD_TOO_LARGE", "UNSUPPORTED_MEDIA_TYPE"}


def _add_errors(responses: dict[str, Any], common: Iterable[str]) -> None:
    """Write every error status out in full: the declared codes and the common ones."""
    codes_by_status: dict[int, list[str]] = {}
    for status in [status for status in responses if int(status) >= HTTPStatus.BAD_REQUEST]:
        declared = responses.pop(status).get("description", "").split()
        codes_by_status[int(status)] = [code for code in declared if code in ERRORS]
    for code in common:
        of_status = codes_by_status.setdefault(ERRORS[code][0], [])
        if code not in of_status:
            of_status.append(code)
    for number, codes in sorted(codes_by_status.items()):
        responses[str(number)] = _error_response(codes)


def _error_response(codes: Sequence[str]) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": "\n".join(f"- `{code}`: {ERRORS[code][1]}" for code in codes),
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/Error"},
                "examples": {code: {"value": envelope_example(code)} for code in codes},
            }
        },
    }
    if _WITH_RETRY_AFTER & set(codes):
        response["headers"] = {
            "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}
        }
    return response
