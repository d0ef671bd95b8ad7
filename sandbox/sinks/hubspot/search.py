"""Finding objects by what their properties hold."""

from collections.abc import Callable
from typing import Any, Final

from sandbox.answers import Answer
from sandbox.sinks.calls import Call, Document, answer
from sandbox.sinks.hubspot.properties import READ_ONLY, definitions, with_properties
from sandbox.sinks.hubspot.requests import body_of, refuse, whole

MAX_SEARCH: Final = 200


def search(call: Call, kind: str) -> Answer:
    wish = body_of(call)
    groups = _objects(wish, "filterGroups")
    for group in groups:
        for one in _objects(group, "filters"):
            _check(call, kind, one)
    limit = whole(wish.get("limit", 10), name="limit", least=1, most=MAX_SEARCH)
    after = whole(wish.get("after") or 0, name="after", least=0, most=10_000)
    # Real searches lag behind what was written: a test may ask for that.
    lag = call.store.setting(receiver=call.receiver, name="search_lag_seconds") or 0
    found = [
        item.body
        for item in call.store.received(receiver=call.receiver, kind=kind)
        if item.time <= call.now - lag
        and (not groups or any(_fits(item.body, group) for group in groups))
    ]
    asked = wish.get("properties")
    results = [with_properties(kind, body, asked) for body in found[after : after + limit]]
    page: Document = {"total": len(found), "results": results}
    if after + limit < len(found):
        page["paging"] = {"next": {"after": str(after + limit)}}
    return answer(page)


def _objects(wish: Document, name: str) -> list[Document]:
    found = wish.get(name) or []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        refuse(400, "VALIDATION_ERROR", f"{name} must be a list of objects")
    return found


def _check(call: Call, kind: str, wish: Document) -> None:
    name, operator = wish.get("propertyName"), wish.get("operator")
    known = {*definitions(call, kind), *READ_ONLY}
    if not isinstance(name, str) or name not in known:
        refuse(400, "VALIDATION_ERROR", f"There was a problem with the request: unknown {name}")
    if not isinstance(operator, str) or operator not in _OPERATORS:
        refuse(400, "VALIDATION_ERROR", f"{operator} is not a supported operator")
    if operator in ("IN", "NOT_IN") and not isinstance(wish.get("values"), list):
        refuse(400, "VALIDATION_ERROR", f"{operator} needs values")


def _fits(body: Document, group: Document) -> bool:
    return all(
        _OPERATORS[one["operator"]](body["properties"].get(one["propertyName"]) or "", one)
        for one in group.get("filters") or []
    )


def _same(value: str, wanted: Any) -> bool:
    return value.lower() == str(wanted).lower()


_OPERATORS: dict[str, Callable[[str, Document], bool]] = {
    "EQ": lambda value, wish: bool(value) and _same(value, wish.get("value")),
    "NEQ": lambda value, wish: not _same(value, wish.get("value")),
    "IN": lambda value, wish: any(_same(value, one) for one in wish.get("values", [])),
    "NOT_IN": lambda value, wish: not any(_same(value, one) for one in wish.get("values", [])),
    "HAS_PROPERTY": lambda value, _: bool(value),
    "NOT_HAS_PROPERTY": lambda value, _: not value,
}
