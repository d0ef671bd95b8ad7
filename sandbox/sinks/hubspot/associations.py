"""Which contact and which deal belong together: always in both directions."""

from typing import Any

from sandbox.answers import Answer
from sandbox.sinks.calls import Call, Document, answer
from sandbox.sinks.hubspot.requests import body_of, inputs_of, instant, json_of, refuse

# (from, to) -> HUBSPOT_DEFINED association type
ASSOCIATION_TYPES = {("deals", "contacts"): 3, ("contacts", "deals"): 4}


def associate_by_default(call: Call, source: tuple[str, str], target: tuple[str, str]) -> Answer:
    _check_ends(call, source, target)
    link(call, source, target)
    return answer(_complete(call, _both_ways(source, target)))


def associate_by_type(call: Call, source: tuple[str, str], target: tuple[str, str]) -> Answer:
    _check_ends(call, source, target)
    _check_types(source[0], target[0], json_of(call))
    link(call, source, target)
    document = {
        "fromObjectTypeId": source[0],
        "fromObjectId": source[1],
        "toObjectTypeId": target[0],
        "toObjectId": target[1],
        "labels": [],
    }
    return answer(document, status=201)


def associate_batch(call: Call, source: str, target: str) -> Answer:
    inputs = inputs_of(body_of(call))
    pairs = [((source, _id_of(one, "from")), (target, _id_of(one, "to"))) for one in inputs]
    for ends in pairs:
        _check_ends(call, *ends)
    results = []
    for ends in pairs:
        link(call, *ends)
        results += _both_ways(*ends)
    return answer(_complete(call, results))


def list_associations(call: Call, source: tuple[str, str], target: str) -> Answer:
    if call.find(kind=source[0], key=source[1]) is None:
        refuse(404, "OBJECT_NOT_FOUND", "resource not found")
    types = [{"category": "HUBSPOT_DEFINED", "typeId": _type_of(source[0], target), "label": None}]
    return answer(
        {
            "results": [
                {"toObjectId": int(item.body["to"][1]), "associationTypes": types}
                for item in call.store.received(receiver=call.receiver, kind="associations")
                if item.body["from"] == [*source] and item.body["to"][0] == target
            ]
        }
    )


def dissociate(call: Call, source: tuple[str, str], target: tuple[str, str]) -> Answer:
    for ends in ((source, target), (target, source)):
        call.store.remove(receiver=call.receiver, kind="associations", key=_link_key(*ends))
    return Answer(status=204, body=b"")


def link(call: Call, source: tuple[str, str], target: tuple[str, str]) -> None:
    """Keep the association in both directions; one that is there stays."""
    for begin, end in ((source, target), (target, source)):
        key = _link_key(begin, end)
        if call.find(kind="associations", key=key) is None:
            call.keep(kind="associations", key=key, body={"from": [*begin], "to": [*end]})


def _link_key(source: tuple[str, str], target: tuple[str, str]) -> str:
    return f"{'/'.join(source)} {'/'.join(target)}"


def _both_ways(source: tuple[str, str], target: tuple[str, str]) -> list[Document]:
    return [
        {
            "from": {"id": begin[1]},
            "to": {"id": end[1]},
            "associationSpec": {
                "associationCategory": "HUBSPOT_DEFINED",
                "associationTypeId": _type_of(begin[0], end[0]),
            },
        }
        for begin, end in ((source, target), (target, source))
    ]


def wanted_links(call: Call, kind: str, wishes: Any) -> list[tuple[str, str]]:
    """What a new object is to be associated with."""
    wishes = [] if wishes is None else wishes
    if not isinstance(wishes, list) or not all(isinstance(wish, dict) for wish in wishes):
        refuse(400, "VALIDATION_ERROR", "associations must be a list of objects")
    links = []
    for wish in wishes:
        target = _check_types(kind, None, wish.get("types"))
        key = _id_of(wish, "to")
        if call.find(kind=target, key=key) is None:
            refuse(400, "VALIDATION_ERROR", f"{target} object with ID {key} not found")
        links.append((target, key))
    return links


def _check_types(source: str, target: str | None, types: Any) -> str:
    """The kind that a list of one association type leads to."""
    spec = types[0] if isinstance(types, list) and len(types) == 1 else None
    spec = spec if isinstance(spec, dict) else {}
    ends = [
        end
        for (begin, end), number in ASSOCIATION_TYPES.items()
        if begin == source and target in (None, end) and spec.get("associationTypeId") == number
    ]
    if not ends or spec.get("associationCategory") != "HUBSPOT_DEFINED":
        refuse(400, "VALIDATION_ERROR", f"{types} is no association type from {source}")
    return ends[0]


def _id_of(wish: Document, name: str) -> str:
    end = wish.get(name)
    if not isinstance(end, dict) or not isinstance(end.get("id"), str | int):
        refuse(400, "VALIDATION_ERROR", f"{name}.id is required")
    return str(end["id"])


def _check_ends(call: Call, source: tuple[str, str], target: tuple[str, str]) -> None:
    _type_of(source[0], target[0])
    for kind, key in (source, target):
        if call.find(kind=kind, key=key) is None:
            refuse(404, "OBJECT_NOT_FOUND", f"{kind} object with ID {key} not found")


def _type_of(source: str, target: str) -> int:
    number = ASSOCIATION_TYPES.get((source, target))
    if number is None:
        refuse(400, "VALIDATION_ERROR", f"no association from {source} to {target}")
    return number


def _complete(call: Call, results: list[Document]) -> Document:
    now = instant(call.now)
    return {"status": "COMPLETE", "results": results, "startedAt": now, "completedAt": now}
