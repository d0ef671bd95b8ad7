"""How a view describes its operations for the OpenAPI document.

A view says what is its own; what follows from that for every operation (the errors that anything
can end in, the envelope, the headers) `config.openapi` adds once the generator is done.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal

from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from config.kernel.api.pagination import MAX_PAGE_SIZE, PAGE_SIZE
from config.kernel.errors import ValidationFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rest_framework import serializers

NOTES: Final = "x-notes"
"""Where an operation's `Notes` stand until `config.openapi` has written them out."""


class Access(Enum):
    """Who may call an operation, and whether a token is looked at."""

    TOKEN = "customers"  # noqa: S105 - no password
    GUEST_TOO = "customers, and guests without a token"
    PUBLIC = "anybody, but a token that is sent has to be a good one"
    UNCHECKED = "anybody, whatever token is sent"
    WAREHOUSE = "a warehouse's system, with a token of its own"
    CHAT_TOOL = "a chat tool of customer service, likewise"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A good answer: the serializer (or type, or schema) of its body, and the body by example.

    `headers` are names that `config.openapi.headers` describes; `media_type` is empty for JSON.
    """

    body: Any
    description: str
    media_type: str = ""
    examples: Mapping[str, Any] = field(default_factory=dict)
    headers: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An error by example, as one operation answers it; without `message` the code's usual one."""

    details: Any = None
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """What an operation says of itself that the generator has no words for."""

    access: Access
    answers: Mapping[int, Answer]
    body_examples: Mapping[str, Any]
    errors: Sequence[str]
    never: Sequence[str]
    refusals: Mapping[str, Refusal]
    error_headers: Mapping[int, Sequence[str]]


def operation(
    *,
    summary: str,
    answers: Mapping[int, Answer],
    access: Access,
    description: str = "",
    body: Any = None,
    body_examples: Mapping[str, Any] | None = None,
    query: type[serializers.Serializer[Any]] | None = None,
    parameters: Sequence[OpenApiParameter] = (),
    errors: Sequence[str] = (),
    never: Sequence[str] = (),
    refusals: Mapping[str, Refusal] | None = None,
    error_headers: Mapping[int, Sequence[str]] | None = None,
    tags: Sequence[str] = (),
    operation_id: str | None = None,
) -> Callable[[Any], Any]:
    """Describe one method of a view.

    Args:
        summary: what it does, in a few words.
        answers: what comes back when all is well, by status.
        access: who may call it; tells the security requirement, 401 and `INACTIVE_CUSTOMER`.
        description: more about it, in Markdown.
        body: the serializer of the request's body, or its schema.
        body_examples: the body by example.
        query: a `QuerySerializer` with the query parameters.
        parameters: made with `header`, `query_parameter` or `path_parameter`; `PAGE` for a list.
        errors: the codes that this operation adds to those every operation has.
        never: the codes that every operation has and this one cannot end in.
        refusals: examples of errors that are this operation's own.
        error_headers: names of headers that errors of these statuses carry here.
        tags: the section it stands in.
        operation_id: a name for generated clients; else made from the path.
    """
    notes = Notes(
        access=access,
        answers=answers,
        body_examples=body_examples or {},
        errors=errors,
        never=never,
        refusals=refusals or {},
        error_headers=error_headers or {},
    )
    return extend_schema(
        summary=summary,
        description=description,
        request=None if body is None else {"application/json": body},
        responses={
            (status, answer.media_type) if answer.media_type else status: OpenApiResponse(
                answer.body, description=answer.description
            )
            for status, answer in answers.items()
        },
        parameters=[*([query] if query else []), *parameters],
        tags=list(tags) or None,
        operation_id=operation_id,
        extensions={NOTES: notes},
    )


def header(
    name: str,
    description: str,
    *,
    kind: Any = str,
    required: bool = False,
    example: str | None = None,
) -> OpenApiParameter:
    """A request header for `operation(parameters=…)`; `kind` is a type or a schema."""
    return _parameter(name, "header", description, kind=kind, required=required, example=example)


def query_parameter(
    name: str, description: str, *, kind: Any = str, example: str | None = None
) -> OpenApiParameter:
    """An optional query parameter for `operation(parameters=…)`; `kind` likewise."""
    return _parameter(name, "query", description, kind=kind, example=example)


def path_parameter(name: str, description: str, *, example: str) -> OpenApiParameter:
    """More about a part of the path, for `operation(parameters=…)`."""
    return _parameter(name, "path", description, required=True, example=example)


def _parameter(
    name: str,
    where: Literal["header", "path", "query"],
    description: str,
    *,
    kind: Any = str,
    required: bool = False,
    example: str | None = None,
) -> OpenApiParameter:
    shown = [OpenApiExample(name, value=example)] if example else None
    return OpenApiParameter(
        name, kind, where, required=required, description=description, examples=shown
    )


PAGE: Final = (
    query_parameter("cursor", "As it stands in the `next` or `previous` of another page."),
    query_parameter(
        "page_size",
        f"How many results a page has; more than {MAX_PAGE_SIZE} is taken as {MAX_PAGE_SIZE}.",
        kind={"type": "integer", "minimum": 1, "default": PAGE_SIZE},
    ),
)
"""What picks a page of a list, for `operation(parameters=…)`."""
BAD_PAGE: Final = Refusal(
    details={"page_size": ["Must be a whole number of at least 1."]},
    message=ValidationFailedError.message,
)
"""How a page that is none is refused, for `operation(refusals=…)`."""
