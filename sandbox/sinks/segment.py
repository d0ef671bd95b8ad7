"""Segment's HTTP tracking API as documented: events one by one and in batches.

https://www.twilio.com/docs/segment/connections/sources/catalog/libraries/server/http-api. Nearly
everything is answered with 200, whether the event is any good or not: what Segment's debugger would
show as rejected is kept as `rejected` here, with the reason, and counted as refused.
"""

from typing import Any

import orjson

from sandbox.answers import Answer
from sandbox.sinks.calls import Call, Document, Refusal, answer

MAX_CALL_BYTES = 32_000  # the documentation says kB: the smaller reading is the safe one
MAX_BATCH_BYTES = 500_000
MAX_EVENTS = 2_500
MAX_MESSAGE_ID = 100
KINDS = ("track", "identify", "page", "screen", "group", "alias")


def take(call: Call) -> Answer:
    """Answer one call."""
    match call.method, call.segments:
        case "POST", ["v1", ("batch" | "import")]:
            events = _batch(call)
        case "POST", ["v1", kind] if kind in KINDS:
            if len(call.content) > MAX_CALL_BYTES:
                raise _refusal(400, "Request body too large")
            events = [{**_json(call), "type": kind}]
        case _:
            raise _refusal(404, "Not Found")
    for event in events:
        reason = _why_not(call, event)
        if reason:
            call.ignore(reason=reason, body=event)
        else:
            call.keep(kind=event["type"], key=event["messageId"], body=event)
    return answer({"success": True})


def error(status: int) -> Document:
    """What it says when it fails."""
    return {"success": False, "message": f"{status}"}


def _batch(call: Call) -> list[Any]:
    if len(call.content) > MAX_BATCH_BYTES:
        raise _refusal(400, "Request body too large")
    document = _json(call)
    events = document.get("batch")
    if not isinstance(events, list):
        raise _refusal(400, "malformed JSON: batch is a list")
    for event in events:
        if len(orjson.dumps(event)) > MAX_CALL_BYTES:
            raise _refusal(400, "Event too large")
    if len(events) > MAX_EVENTS:
        call.ignore(reason=f"more than {MAX_EVENTS} events", body={"batch": len(events)})
        return []
    common = {name: document[name] for name in ("context", "integrations") if name in document}
    key = document.get("writeKey")
    return [
        {**common, **event, **({} if key is None else {"writeKey": key})}
        if isinstance(event, dict)
        else event
        for event in events
    ]


def _why_not(call: Call, event: Any) -> str:
    """Why an event is rejected; empty if it is not."""
    if not isinstance(event, dict):
        return "no object"
    key = event.pop("writeKey", None)
    if not _knows_write_key(call, key):
        return "unknown write key"
    kind, message_id = event.get("type"), event.get("messageId")
    if kind not in KINDS:
        return "unknown type"
    if not (_is_id(event.get("userId")) or _is_id(event.get("anonymousId"))):
        return "no_user_anon_id"
    if kind == "track" and not _is_id(event.get("event")):
        return "no event name"
    # Segment makes up an id for an event that has none, which then is never recognized again.
    if not isinstance(message_id, str) or not 0 < len(message_id) < MAX_MESSAGE_ID:
        return "messageId must be a text of fewer than 100 characters"
    return ""


def _knows_write_key(call: Call, key: Any) -> bool:
    """Whether the key of the body, or else the user name, is the right one."""
    if key is not None:
        return isinstance(key, str) and call.is_token(key)
    credentials = call.basic_credentials()
    return credentials is not None and call.is_token(credentials[0])


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _json(call: Call) -> Document:
    if not call.has_json():
        raise _refusal(400, "the content type must be application/json")
    try:
        document = call.json()
    except ValueError:
        raise _refusal(400, "malformed JSON") from None
    if not isinstance(document, dict):
        raise _refusal(400, "malformed JSON: an object is expected")
    return document


def _refusal(status: int, message: str) -> Refusal:
    return Refusal(status, {"success": False, "message": message})
