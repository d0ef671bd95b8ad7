"""Contacts and deals: one at a time, and in batches that happen whole or not at all."""

from typing import Any

from sandbox.answers import Answer
from sandbox.sinks.calls import Call, Document, answer
from sandbox.sinks.hubspot.associations import link, wanted_links
from sandbox.sinks.hubspot.properties import (
    BLOCKED,
    MODIFIED,
    checked,
    normal,
    refuse_duplicates,
    unique_names,
    with_properties,
)
from sandbox.sinks.hubspot.requests import (
    MAX_INPUTS,
    SINGULAR,
    body_of,
    inputs_of,
    instant,
    refuse,
    whole,
)
from sandbox.sinks.hubspot.search import search
from sandbox.sinks.store import Kept


def answer_objects(call: Call, kind: str, rest: list[str]) -> Answer | None:
    match call.method, rest:
        case "POST", []:
            return answer(_create(call, kind, body_of(call)), status=201)
        case "GET", []:
            return _list(call, kind)
        case "POST", ["search"]:
            return search(call, kind)
        case "POST", ["gdpr-delete"] if kind == "contacts":
            return _forget(call)
        case "POST", ["batch", action]:
            return _batch(call, kind, action)
        case "GET", [key]:
            return answer(_shown(call, kind, _get(call, kind, key).body))
        case "PATCH", [key]:
            return answer(_update(call, kind, _get(call, kind, key), body_of(call)))
        case "DELETE", [key]:
            _archive(call, kind, key)
            return Answer(status=204, body=b"")
        case _:
            return None


def _create(call: Call, kind: str, wish: Document) -> Document:
    properties = checked(call, kind, wish.get("properties"))
    if kind == "contacts" and not {"email", "firstname", "lastname"} & properties.keys():
        refuse(400, "VALIDATION_ERROR", "one of email, firstname and lastname is needed")
    links = wanted_links(call, kind, wish.get("associations"))
    refuse_duplicates(call, kind, properties, own_id=None)
    key, now = str(call.store.next_number() + 100), instant(call.now)
    properties = {
        **properties,
        "createdate": now,
        "hs_object_id": key,
        MODIFIED[kind]: now,
    }
    body = {
        "id": key,
        "properties": properties,
        "createdAt": now,
        "updatedAt": now,
        "archived": False,
    }
    call.keep(kind=kind, key=key, body=body)
    _enter(call, kind, body)
    for target, target_key in links:
        link(call, (kind, key), (target, target_key))
    return body


def _update(call: Call, kind: str, found: Kept, wish: Document) -> Document:
    properties = checked(call, kind, wish.get("properties"))
    refuse_duplicates(call, kind, properties, own_id=found.key)
    now = instant(call.now)
    body: Document = {
        **found.body,
        "properties": {**found.body["properties"], **properties, MODIFIED[kind]: now},
        "updatedAt": now,
    }
    call.change(kind=kind, key=found.key, body=body)
    _enter(call, kind, body)
    return body


def _enter(call: Call, kind: str, body: Document) -> None:
    """Have an object found by what is unique of it."""
    unique = unique_names(call, kind)
    values = {
        name: normal(name, value)
        for name, value in body["properties"].items()
        if name in unique and value
    }
    call.store.enter(receiver=call.receiver, kind=kind, key=body["id"], values=values, names=unique)


def _get(call: Call, kind: str, key: str) -> Kept:
    """The object by its id, or by `idProperty`."""
    found = _find(call, kind, key, call.query.get("idProperty"))
    if found is None:
        refuse(404, "OBJECT_NOT_FOUND", "resource not found")
    return found


def _find(call: Call, kind: str, value: str, by: Any) -> Kept | None:
    if not by or by == "hs_object_id":
        return call.find(kind=kind, key=value)
    if not isinstance(by, str) or by not in unique_names(call, kind):
        refuse(400, "VALIDATION_ERROR", f"Property {by} is not a unique property of {kind}")
    key = call.store.look_up(receiver=call.receiver, kind=kind, name=by, value=normal(by, value))
    return None if key is None else call.find(kind=kind, key=key)


def _list(call: Call, kind: str) -> Answer:
    limit = whole(call.query.get("limit", "10"), name="limit", least=1, most=MAX_INPUTS)
    after = whole(call.query.get("after", "0"), name="after", least=0, most=2**40)
    found = call.store.received(receiver=call.receiver, kind=kind, after=after, limit=limit + 1)
    page: Document = {"results": [_shown(call, kind, item.body) for item in found[:limit]]}
    if len(found) > limit:
        page["paging"] = {"next": {"after": str(found[limit - 1].number)}}
    return answer(page)


def _archive(call: Call, kind: str, key: str) -> None:
    call.store.remove(receiver=call.receiver, kind=kind, key=key)
    for one in call.store.received(receiver=call.receiver, kind="associations"):
        if [kind, key] in (one.body["from"], one.body["to"]):
            call.store.remove(receiver=call.receiver, kind="associations", key=one.key)


def _forget(call: Call) -> Answer:
    """Delete for good; an address that nobody has is blocked for ever."""
    wish = body_of(call)
    value, by = wish.get("objectId"), wish.get("idProperty")
    if not isinstance(value, str) or not value:
        refuse(400, "VALIDATION_ERROR", "objectId is required")
    found = _find(call, "contacts", value, by)
    if found is not None:
        _archive(call, "contacts", found.key)
    elif by == "email":
        blocked = call.store.setting(receiver=call.receiver, name=BLOCKED) or []
        blocked = sorted({*blocked, value.lower()})
        call.store.set(receiver=call.receiver, name=BLOCKED, value=blocked)
    else:
        refuse(404, "OBJECT_NOT_FOUND", "resource not found")
    return Answer(status=204, body=b"")


def _shown(call: Call, kind: str, body: Document) -> Document:
    """The object with the properties that are asked for, or the usual ones."""
    asked = call.query.get("properties")
    return with_properties(kind, body, asked.split(",") if asked else None)


# --- batches ------------------------------------------------------------------------------------


def _batch(call: Call, kind: str, action: str) -> Answer | None:
    if action not in ("create", "update", "upsert", "read"):
        return None
    wish = body_of(call)
    inputs = inputs_of(wish)
    if action == "read":
        return _read_batch(call, kind, wish, inputs)
    if action != "create":
        _refuse_repeated(inputs)
    change = {"create": _create_one, "update": _update_one, "upsert": _upsert_one}[action]
    # One wrong input and nothing happens: what a refused call did is undone.
    results = [change(call, kind, one) for one in inputs]
    status = 201 if action == "create" else 200
    return answer(_batch_answer(call, results), status=status)


def _refuse_repeated(inputs: list[Document]) -> None:
    keys = [(str(one.get("idProperty")), str(one.get("id")).lower()) for one in inputs]
    if len(keys) != len(set(keys)):
        refuse(400, "VALIDATION_ERROR", "Duplicate IDs found in batch input")


def _create_one(call: Call, kind: str, one: Document) -> Document:
    return _create(call, kind, one)


def _update_one(call: Call, kind: str, one: Document) -> Document:
    found = _find(call, kind, str(one.get("id")), one.get("idProperty"))
    if found is None:
        refuse(404, "OBJECT_NOT_FOUND", "resource not found")
    return _update(call, kind, found, one)


def _upsert_one(call: Call, kind: str, one: Document) -> Document:
    by, value = one.get("idProperty"), one.get("id")
    if not by or not isinstance(value, str) or not value:
        refuse(400, "VALIDATION_ERROR", "upsert needs an id and its idProperty")
    properties = one.get("properties")
    if not isinstance(properties, dict):
        refuse(400, "VALIDATION_ERROR", "properties must be an object")
    found = _find(call, kind, value, by)
    if found is not None:
        return {**_update(call, kind, found, one), "new": False}
    wish = {**one, "properties": {by: value, **properties}}
    return {**_create(call, kind, wish), "new": True}


def _read_batch(call: Call, kind: str, wish: Document, inputs: list[Document]) -> Answer:
    by = wish.get("idProperty")
    found = [_find(call, kind, str(one.get("id")), by) for one in inputs]
    asked = wish.get("properties")
    results = [with_properties(kind, item.body, asked) for item in found if item is not None]
    body = _batch_answer(call, results)
    missing = [str(one.get("id")) for one, item in zip(inputs, found, strict=True) if item is None]
    if not missing:
        return answer(body)
    problem = {
        "status": "error",
        "category": "OBJECT_NOT_FOUND",
        "message": f"Could not get some {SINGULAR[kind].upper()} objects, they may be deleted or"
        " not exist. Check that ids are valid.",
        "context": {"ids": missing},
    }
    return answer({**body, "numErrors": 1, "errors": [problem]}, status=207)


def _batch_answer(call: Call, results: list[Document]) -> Document:
    now = instant(call.now)
    return {"status": "COMPLETE", "results": results, "startedAt": now, "completedAt": now}
