"""Reading what is asked, and refusing it in EasyPost's words."""

from datetime import UTC, datetime
from typing import Any, NoReturn
from uuid import uuid4

from sandbox.sinks.calls import Call, Document, Refusal


def wish_of(call: Call, name: str) -> Document:
    """The object that the body holds under a name."""
    if not call.has_json():
        refuse(415, "UNSUPPORTED_MEDIA_TYPE", "The content type must be application/json.")
    try:
        document = call.json()
    except ValueError:
        refuse(400, "BAD_REQUEST", "The body could not be parsed.")
    wish = document.get(name) if isinstance(document, dict) else None
    if not isinstance(wish, dict):
        refuse(422, "PARAMETER.REQUIRED", "Missing required parameter.", blank(name))
    return wish


def blank(field: str) -> Document:
    return {"field": field, "message": "cannot be blank", "suggestion": None}


def refuse(status: int, code: str, message: str, *errors: Document) -> NoReturn:
    raise Refusal(status, error_body(code, message, *errors))


def error_body(code: str, message: str, *errors: Document) -> Document:
    return {"error": {"code": code, "message": message, "errors": [*errors]}}


def made(call: Call, kind: str, prefix: str, **fields: Any) -> Document:
    """A new object of a kind, `Address` for example, with its id and times."""
    now = instant(call.now)
    return {
        "id": f"{prefix}_{uuid4().hex}",
        "object": kind,
        "mode": "test",
        "created_at": now,
        "updated_at": now,
        **fields,
    }


def instant(now: float) -> str:
    return datetime.fromtimestamp(now, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
