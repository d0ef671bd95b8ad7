"""CRM, analytics, fulfilment, support and marketing as CONTRACT has them: one plain JSON call.

`POST /events` takes an envelope, `POST /events/batch` up to a hundred as `{"events": [...]}`. Both
are strict, so that a mistake of ours shows here and not at the first real receiver.
"""

import re
from datetime import datetime
from typing import Any
from uuid import UUID

from sandbox.answers import Answer
from sandbox.sinks.calls import Call, Document, Refusal, answer

MAX_BYTES = 262_144
MAX_EVENTS = 100
FIELDS = ("id", "type", "occurred_at", "data")
_TYPE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


def take(call: Call) -> Answer:
    """Answer a call to one of these receivers."""
    check_caller(call)
    if call.path not in ("/events", "/events/batch"):
        raise refusal(404, "not_found", f"no such address: {call.path}")
    if call.method != "POST":
        raise refusal(405, "method_not_allowed", f"{call.path} takes POST")
    document = json_of(call)
    return (
        _take_batch(call, document) if call.path == "/events/batch" else _take_one(call, document)
    )


def check_caller(call: Call) -> None:
    """Let in who knows the token."""
    if not call.knows_bearer_token():
        raise refusal(401, "unauthorized", "the bearer token is missing or wrong")


def json_of(call: Call) -> Any:
    """The body of a call, if it is JSON of a decent size."""
    if len(call.content) > MAX_BYTES:
        raise refusal(413, "too_large", f"the body is over {MAX_BYTES} bytes")
    if not call.has_json():
        raise refusal(415, "unsupported_media_type", "the body must be application/json")
    try:
        return call.json()
    except ValueError:
        raise refusal(400, "invalid_json", "the body is not JSON") from None


def error(status: int) -> Document:
    """What these receivers say when they fail."""
    return {"error": {"code": f"http_{status}", "message": f"the receiver answers {status}"}}


def _take_one(call: Call, document: Any) -> Answer:
    problem = complaint(document)
    if problem:
        raise refusal(422, "invalid_event", problem)
    if call.idempotency_key != document["id"]:
        raise refusal(400, "invalid_idempotency_key", "Idempotency-Key must be the event's id")
    is_new = _keep(call, document)
    return answer({"id": document["id"], "status": "accepted" if is_new else "duplicate"})


def _take_batch(call: Call, document: Any) -> Answer:
    events = document.get("events") if isinstance(document, dict) and len(document) == 1 else None
    if not isinstance(events, list) or not 1 <= len(events) <= MAX_EVENTS:
        raise refusal(422, "invalid_batch", f'must be {{"events": [1 to {MAX_EVENTS} of them]}}')
    for position, event in enumerate(events):
        problem = complaint(event)
        if problem:
            raise refusal(422, "invalid_event", f"events[{position}]: {problem}")
    if not call.idempotency_key:
        raise refusal(400, "invalid_idempotency_key", "Idempotency-Key is missing")
    accepted = sum(_keep(call, event) for event in events)
    return answer({"accepted": accepted, "duplicates": len(events) - accepted})


def _keep(call: Call, event: Document) -> bool:
    return call.keep(kind="event", key=event["id"], body=event)


def complaint(event: Any) -> str:
    """What is wrong with an envelope; empty if nothing is."""
    if not isinstance(event, dict):
        return "an event is an object"
    if set(event) != set(FIELDS):
        return f"an event has exactly {', '.join(FIELDS)}"
    if not _is_uuid(event["id"]):
        return "id: must be a UUID in lower case"
    if not (isinstance(event["type"], str) and _TYPE.fullmatch(event["type"])):
        return "type: must be words joined by dots, order.confirmed for example"
    if not _is_instant(event["occurred_at"]):
        return "occurred_at: must be a time with its offset, 2026-01-31T12:00:00Z for example"
    if not isinstance(event["data"], dict):
        return "data: must be an object"
    return ""


def _is_uuid(value: Any) -> bool:
    try:
        return isinstance(value, str) and str(UUID(value)) == value
    except ValueError:
        return False


def _is_instant(value: Any) -> bool:
    if not (isinstance(value, str) and _RFC_3339.fullmatch(value)):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:  # the 31st of February
        return False
    return True


def refusal(status: int, code: str, message: str) -> Refusal:
    """How these receivers refuse."""
    return Refusal(status, {"error": {"code": code, "message": message}})
