"""Reading what is asked, and refusing it in HubSpot's words."""

from datetime import UTC, datetime
from typing import Any, Final, NoReturn
from uuid import uuid4

from sandbox.sinks.calls import Call, Document, Refusal

MAX_INPUTS: Final = 100
SINGULAR = {"contacts": "contact", "deals": "deal"}


_CODES = {"contact": "contacts", "0-1": "contacts", "deal": "deals", "0-3": "deals"}


def kind_of(name: str) -> str:
    kind = _CODES.get(name, name)
    if kind not in SINGULAR:
        refuse(400, "VALIDATION_ERROR", f"Unable to infer object type from: {name}")
    return kind


def json_of(call: Call) -> Any:
    if not call.has_json():
        refuse(415, None, "the content type must be application/json")
    try:
        document = call.json()
    except ValueError:
        refuse(400, "VALIDATION_ERROR", "Invalid input JSON")
    return document


def inputs_of(wish: Document) -> list[Document]:
    """The inputs of a batch."""
    inputs = wish.get("inputs")
    if not isinstance(inputs, list) or not inputs or not all(isinstance(i, dict) for i in inputs):
        refuse(400, "VALIDATION_ERROR", "inputs must be a list of objects and not empty")
    if len(inputs) > MAX_INPUTS:
        message = f"The maximum number of inputs supported in a batch request is {MAX_INPUTS}"
        refuse(400, "VALIDATION_ERROR", message)
    return inputs


def whole(value: Any, *, name: str, least: int, most: int) -> int:
    """A number out of JSON or out of the query."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:  # noqa: PLR2004 - fits in 64 bits
        value = int(value)
    if type(value) is not int or not least <= value <= most:
        refuse(400, "VALIDATION_ERROR", f"{name} must be from {least} to {most}")
    return value


def body_of(call: Call) -> Document:
    document = json_of(call)
    if not isinstance(document, dict):
        refuse(400, "VALIDATION_ERROR", "Invalid input JSON")
    return document


def refuse(status: int, category: str | None, message: str) -> NoReturn:
    raise Refusal(status, error_body(category, message))


def error_body(category: str | None, message: str) -> Document:
    body = {"status": "error", "message": message, "correlationId": str(uuid4())}
    return body if category is None else {**body, "category": category}


def instant(now: float) -> str:
    moment = datetime.fromtimestamp(now, tz=UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
