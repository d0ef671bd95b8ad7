"""Zendesk's tickets as documented: created once a key, found by external id, commented, solved.

Follows https://developer.zendesk.com/api-reference/ticketing: tickets, ticket comments, search.
"""

import hashlib
import re
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

import orjson

from sandbox.answers import Answer
from sandbox.sinks.calls import Call, Document, Refusal, answer

KEY_SECONDS: Final = 7_200.0
MAX_KEY: Final = 255
PAGE: Final = 100
_CHOICES = {
    "status": ("new", "open", "pending", "hold", "solved", "closed"),
    "priority": ("urgent", "high", "normal", "low"),
    "type": ("problem", "incident", "question", "task"),
}
_EMAIL = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@.]+")


def take(call: Call) -> Answer:
    """Answer one call."""
    if not _is_let_in(call):
        raise Refusal(401, {"error": "Couldn't authenticate you"})
    parts = [part.removesuffix(".json") for part in call.segments]
    match call.method, parts:
        case "POST", ["api", "v2", "tickets"]:
            return _create_once(call)
        case "GET", ["api", "v2", "tickets"]:
            return _list(call)
        case "GET", ["api", "v2", "tickets", key]:
            return answer({"ticket": _get(call, key)})
        case "PUT", ["api", "v2", "tickets", key]:
            return answer(_with_audit(call, _update(call, _get(call, key), _wish(call))))
        case "GET", ["api", "v2", "tickets", key, "comments"]:
            return _list_comments(call, _get(call, key))
        case "GET", ["api", "v2", "search"]:
            return _search(call)
        case _:
            return _refuse(404, "InvalidEndpoint", "Not found")


def error(status: int) -> Document:
    """What Zendesk says when it fails; of too many calls in the form documented for them."""
    if status == 429:  # noqa: PLR2004 - too many calls
        return {
            "error": "APIRateLimitExceeded",
            "description": "Number of allowed API requests per minute exceeded",
        }
    return {"error": "InternalError", "description": f"answered {status}"}


def _is_let_in(call: Call) -> bool:
    """By API token (`address/token` and the token) or by OAuth's bearer token."""
    if call.knows_bearer_token():
        return True
    user, password = call.basic_credentials() or ("", "")
    address, _, how = user.rpartition("/")
    return how == "token" and bool(address) and call.is_token(password)


# --- creating -----------------------------------------------------------------------------------


def _create_once(call: Call) -> Answer:
    """Create a ticket, or give the answer that the same key has had within two hours."""
    key = call.idempotency_key
    if not key:
        return _created(call, _create(call, _wish(call)))
    if len(key) > MAX_KEY:
        _refuse(400, "IdempotentRequestError", "The idempotency key is too long")
    fingerprint = hashlib.sha256(call.content).hexdigest()
    earlier = call.recall(key=key, since=call.now - KEY_SECONDS)
    if earlier is None:
        given = _created(call, _create(call, _wish(call)))
        call.remember(key=key, value={"fingerprint": fingerprint, "body": given.body.decode()})
        given.headers["x-idempotency-lookup"] = "miss"
        return given
    if earlier["fingerprint"] != fingerprint:
        message = "Request parameters don't match the given idempotency key"
        _refuse(400, "IdempotentRequestError", message)
    given = Answer(status=201, body=earlier["body"].encode())
    given.headers["x-idempotency-lookup"] = "hit"
    call.came_again(kind="tickets", key=str(orjson.loads(given.body)["ticket"]["id"]))
    return given


def _created(call: Call, ticket: Document) -> Answer:
    headers = {"Location": _url(call, ticket["id"])}
    return answer(_with_audit(call, ticket), status=201, headers=headers)


def _with_audit(call: Call, ticket: Document) -> Document:
    """A ticket that was written, with the entry of its history as far as clients look at it."""
    audit = {
        "id": call.store.next_number(),
        "ticket_id": ticket["id"],
        "created_at": ticket["updated_at"],
        "author_id": ticket["submitter_id"],
        "events": [],
    }
    return {"ticket": ticket, "audit": audit}


def _create(call: Call, wish: Document) -> Document:
    _check(wish, is_new=True)
    key, now = call.store.next_number(), _instant(call.now)
    comment = wish["comment"]
    ticket = {
        "id": key,
        "url": _url(call, key),
        "external_id": wish.get("external_id"),
        "created_at": now,
        "updated_at": now,
        "type": wish.get("type"),
        "subject": wish.get("subject"),
        "raw_subject": wish.get("subject"),
        "description": _text_of(comment),
        "priority": wish.get("priority"),
        "status": wish.get("status", "new"),
        "recipient": None,
        "requester_id": _user_id(wish),
        "submitter_id": _user_id(wish),
        "assignee_id": wish.get("assignee_id"),
        "group_id": wish.get("group_id"),
        "tags": wish.get("tags", []),
        "custom_fields": wish.get("custom_fields", []),
        "is_public": comment.get("public", True),
        "via": {"channel": "api", "source": {"from": {}, "to": {}, "rel": None}},
    }
    call.keep(
        kind="tickets", key=str(key), body=ticket, hidden={"requester": wish.get("requester")}
    )
    _comment(call, ticket, comment)
    return ticket


def _comment(call: Call, ticket: Document, comment: Document) -> None:
    key = call.store.next_number()
    body = {
        "id": key,
        "type": "Comment",
        "author_id": ticket["requester_id"],
        "body": _text_of(comment),
        "html_body": comment.get("html_body"),
        "public": comment.get("public", True),
        "created_at": _instant(call.now),
        "ticket_id": ticket["id"],
    }
    call.keep(kind="comments", key=str(key), body=body)


def _text_of(comment: Document) -> Any:
    return comment.get("body") or comment.get("html_body")


def _user_id(wish: Document) -> int:
    """One user an address; the account's own agent if nobody is named."""
    if "requester_id" in wish:
        return int(wish["requester_id"])
    requester = wish.get("requester")
    if not requester:
        return 1
    digest = hashlib.sha256(requester["email"].strip().lower().encode()).hexdigest()
    return int(digest[:12], 16)


# --- changing and finding -----------------------------------------------------------------------


def _update(call: Call, ticket: Document, wish: Document) -> Document:
    if ticket["status"] == "closed":
        _refuse_invalid("status", "Status: closed prevents ticket update")
    _check(wish, is_new=False)
    changes = {
        name: value
        for name, value in wish.items()
        if name not in ("comment", "requester", "additional_tags")
    }
    ticket = {**ticket, **changes, "updated_at": _instant(call.now)}
    if "additional_tags" in wish:
        ticket["tags"] = sorted({*ticket["tags"], *wish["additional_tags"]})
    call.change(kind="tickets", key=str(ticket["id"]), body=ticket)
    if wish.get("comment"):
        _comment(call, ticket, wish["comment"])
    return ticket


def _get(call: Call, key: str) -> Document:
    found = call.find(kind="tickets", key=key)
    if found is None:
        _refuse(404, "RecordNotFound", "Not found")
    ticket: Document = found.body
    return ticket


def _list(call: Call) -> Answer:
    wanted = call.query.get("external_id")
    tickets = [
        one.body
        for one in call.store.received(receiver=call.receiver, kind="tickets")
        if wanted is None or one.body["external_id"] == wanted
    ]
    return answer(_page("tickets", tickets))


def _list_comments(call: Call, ticket: Document) -> Answer:
    comments = [
        one.body
        for one in call.store.received(receiver=call.receiver, kind="comments")
        if one.body["ticket_id"] == ticket["id"]
    ]
    return answer(_page("comments", comments))


def _search(call: Call) -> Answer:
    """By `field:value` words; real searches lag behind, as a test may ask for."""
    query = call.query.get("query", "")
    if not query:
        _refuse(422, "Missing query parameter", "query is required")
    try:
        words = shlex.split(query)
    except ValueError:  # a quotation mark that nothing closes
        words = query.split()
    wishes = [word.partition(":")[::2] for word in words if ":" in word]
    lag = call.store.setting(receiver=call.receiver, name="search_lag_seconds") or 0
    results = [
        {**one.body, "result_type": "ticket"}
        for one in call.store.received(receiver=call.receiver, kind="tickets")
        if one.time <= call.now - lag and all(_fits(one.body, *wish) for wish in wishes)
    ]
    return answer(_page("results", results))


def _fits(ticket: Document, name: str, value: str) -> bool:
    if name == "type" and value == "ticket":
        return True
    if name == "tags":
        return value in ticket["tags"]
    return str(ticket.get(name)) == value


def _page(name: str, items: list[Document]) -> Document:
    shown = items[:PAGE]
    return {name: shown, "next_page": None, "previous_page": None, "count": len(items)}


# --- what a ticket may be -----------------------------------------------------------------------


def _wish(call: Call) -> Document:
    if not call.has_json():
        _refuse(415, "UnsupportedMediaType", "the content type must be application/json")
    try:
        document = call.json()
    except ValueError:
        _refuse(422, "Unprocessable Entity", "Server could not parse JSON")
    ticket = document.get("ticket") if isinstance(document, dict) else None
    if not isinstance(ticket, dict):
        _refuse(400, "InvalidParams", "Parameter ticket is required")
    return ticket


def _check(wish: Document, *, is_new: bool) -> None:
    comment = wish.get("comment")
    if comment is not None and not isinstance(comment, dict):
        _refuse(400, "InvalidParams", "Parameter comment must be an object")
    if is_new and not (comment and _text_of(comment)):
        _refuse_invalid("base", "Description: cannot be blank", code="BlankValue")
    for name, choices in _CHOICES.items():
        if wish.get(name) is not None and wish[name] not in choices:
            _refuse_invalid(name, f"{name.capitalize()}: {wish[name]} is not valid")
    for name in ("tags", "additional_tags"):
        tags = wish.get(name, [])
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            _refuse(400, "InvalidParams", f"Parameter {name} must be a list of texts")
    if not isinstance(wish.get("requester_id", 0), int):
        _refuse(400, "InvalidParams", "Parameter requester_id must be a number")
    _check_requester(wish.get("requester"))


def _check_requester(requester: Any) -> None:
    if requester is None:
        return
    if not isinstance(requester, Mapping):
        _refuse(400, "InvalidParams", "Parameter requester must be an object")
    address = str(requester.get("email", ""))
    if _EMAIL.fullmatch(address) is None:
        _refuse_invalid("requester", f"Requester: Email:  {address} is not properly formatted")
    if not requester.get("name"):
        _refuse_invalid("requester", "Requester: Name: is too short (is 0 characters)")


def _refuse_invalid(field: str, description: str, *, code: str = "InvalidValue") -> NoReturn:
    details = {field: [{"description": description, "error": code}]}
    _refuse(422, "RecordInvalid", "Record validation errors", details=details)


def _refuse(
    status: int, name: str, description: str, *, details: Document | None = None
) -> NoReturn:
    body: Document = {"error": name, "description": description}
    raise Refusal(status, body if details is None else {**body, "details": details})


def _url(call: Call, key: int) -> str:
    return f"{call.base_url}/api/v2/tickets/{key}.json"


def _instant(now: float) -> str:
    return datetime.fromtimestamp(now, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
