"""Which properties objects have, what these may hold, and what makes an object unique."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import orjson

from sandbox.answers import Answer
from sandbox.sinks.calls import Call, Document, answer
from sandbox.sinks.hubspot.requests import body_of, refuse

_STAGES = (
    *("appointmentscheduled", "qualifiedtobuy", "presentationscheduled"),
    *("decisionmakerboughtin", "contractsent", "closedwon", "closedlost"),
)
_LIFE_CYCLE = (
    *("subscriber", "lead", "marketingqualifiedlead", "salesqualifiedlead"),
    *("opportunity", "customer", "evangelist", "other"),
)
_STRINGS = {
    "contacts": (
        *("email", "firstname", "lastname", "phone", "mobilephone", "company", "jobtitle"),
        *("address", "city", "state", "zip", "country", "website", "hs_language"),
    ),
    "deals": ("dealname", "description", "hubspot_owner_id", "deal_currency_code"),
}
# object -> property -> (type, options); the rest of a definition is made up from these
_DEFAULTS: dict[str, dict[str, tuple[str, tuple[str, ...]]]] = {
    "contacts": {
        **dict.fromkeys(_STRINGS["contacts"], ("string", ())),
        "lifecyclestage": ("enumeration", _LIFE_CYCLE),
    },
    "deals": {
        **dict.fromkeys(_STRINGS["deals"], ("string", ())),
        "amount": ("number", ()),
        "closedate": ("datetime", ()),
        "dealstage": ("enumeration", _STAGES),
        "pipeline": ("enumeration", ("default",)),
        "dealtype": ("enumeration", ("newbusiness", "existingbusiness")),
    },
}
MODIFIED = {"contacts": "lastmodifieddate", "deals": "hs_lastmodifieddate"}
READ_ONLY = {"createdate", "hs_object_id", *MODIFIED.values()}
_SHOWN = {
    "contacts": (
        "createdate",
        "email",
        "firstname",
        "hs_object_id",
        "lastmodifieddate",
        "lastname",
    ),
    "deals": (
        *("amount", "closedate", "createdate", "dealname", "dealstage"),
        *("hs_lastmodifieddate", "hs_object_id", "pipeline"),
    ),
}
_FIELD_TYPES = {
    "string": {"text", "textarea", "phonenumber", "html", "file"},
    "number": {"number", "calculation_equation"},
    "bool": {"booleancheckbox", "calculation_equation"},
    "enumeration": {"select", "radio", "checkbox", "booleancheckbox", "calculation_equation"},
    "date": {"date"},
    "datetime": {"date"},
}
_GROUPS = {"contacts": "contactinformation", "deals": "dealinformation"}
_EMAIL = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@.]+")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
BLOCKED: Final = "blocked_emails"


def definitions(call: Call, kind: str) -> dict[str, Document]:
    """Every property of a kind, by name."""
    own = {
        item.body["name"]: item.body
        for item in call.store.received(receiver=call.receiver, kind="properties")
        if item.key.startswith(f"{kind}/")
    }
    return {**_BUILT_IN[kind], **own}


def unique_names(call: Call, kind: str) -> set[str]:
    own = {name for name, one in definitions(call, kind).items() if one["hasUniqueValue"]}
    return own | {"email"} if kind == "contacts" else own


def checked(call: Call, kind: str, properties: Any) -> dict[str, str | None]:
    """The values as they will be kept: texts all of them, null for an empty one."""
    if not isinstance(properties, dict):
        refuse(400, "VALIDATION_ERROR", "properties must be an object")
    known = definitions(call, kind)
    problems: list[Document] = []
    kept: dict[str, str | None] = {}
    for name, value in properties.items():
        text = _text(value)
        if name in READ_ONLY:
            problems.append(_problem(name, "READ_ONLY_VALUE", f'"{name}" is a read only property'))
        elif name not in known:
            complaint = f'Property "{name}" does not exist'
            problems.append(_problem(name, "PROPERTY_DOESNT_EXIST", complaint))
        elif text and (problem := _wrong_value(name, known[name], text)):
            problems.append(problem)
        kept[name] = (normal(name, text) if name == "email" else text) or None
    if problems:
        told = orjson.dumps(problems).decode()
        refuse(400, "VALIDATION_ERROR", f"Property values were not valid: {told}")
    blocked = call.store.setting(receiver=call.receiver, name=BLOCKED) or []
    if kind == "contacts" and kept.get("email") in blocked:
        refuse(400, "VALIDATION_ERROR", "This email address was permanently deleted")
    return kept


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, int | float | str):
        refuse(400, "VALIDATION_ERROR", "Invalid input JSON: property values are texts")
    return str(value)


def _wrong_value(name: str, definition: Document, text: str) -> Document | None:
    options = [one["value"] for one in definition["options"]]
    if name == "email" and _EMAIL.fullmatch(text) is None:
        return _problem(name, "INVALID_EMAIL", f"Email address {text} is invalid")
    match definition["type"]:
        case "number" if not _is_number(text):
            return _problem(name, "INVALID_DOUBLE", f"{text} was not a valid number.")
        case "bool" if text not in ("true", "false"):
            return _problem(name, "INVALID_BOOLEAN", f"{text} was not a valid boolean.")
        case "enumeration" if not {*text.split(";")} <= {*options}:
            complaint = f"{text} was not one of the allowed options: [{', '.join(options)}]"
            return _problem(name, "INVALID_OPTION", complaint)
        case "date" | "datetime" if not _is_date(text):
            return _problem(name, "INVALID_LONG", f"{text} was not a valid long.")
        case _:
            return None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.strip() == text


def _is_date(text: str) -> bool:
    """ISO 8601, or milliseconds since 1970."""
    if text.isascii() and text.isdigit():
        return True
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _problem(name: str, code: str, message: str) -> Document:
    return {
        "isValid": False,
        "message": message,
        "error": code,
        "name": name,
        "localizedErrorMessage": message,
    }


def refuse_duplicates(
    call: Call, kind: str, properties: Mapping[str, str | None], *, own_id: str | None
) -> None:
    for name in sorted(unique_names(call, kind) & properties.keys()):
        value = properties[name]
        if not value:
            continue
        other = call.store.look_up(
            receiver=call.receiver, kind=kind, name=name, value=normal(name, value)
        )
        if other is None or other == own_id:
            continue
        if name == "email":
            refuse(409, "CONFLICT", f"Contact already exists. Existing ID: {other}")
        where = f"portalId=1, objectTypeId={kind}, objectId={own_id}, propertyName={name}"
        message = f"Cannot set PropertyValueCoordinates{{{where}, value={value}}}"
        refuse(400, "VALIDATION_ERROR", f"{message} on {own_id}. {other} already has that value.")


def normal(name: str, value: str) -> str:
    return value.strip().lower() if name == "email" else value


def with_properties(kind: str, body: Document, asked: Iterable[str] | None) -> Document:
    always = {"createdate", "hs_object_id", MODIFIED[kind]}
    names = _SHOWN[kind] if asked is None else sorted({*asked} | always)
    return {**body, "properties": {name: body["properties"].get(name) for name in names}}


# --- definitions of properties ------------------------------------------------------------------


def answer_properties(call: Call, kind: str, rest: list[str]) -> Answer | None:
    match call.method, rest:
        case "GET", []:
            return answer({"results": [*definitions(call, kind).values()]})
        case "GET", [name]:
            definition = definitions(call, kind).get(name)
            if definition is None:
                refuse(404, "OBJECT_NOT_FOUND", f"Property {name} does not exist")
            return answer(definition)
        case "POST", []:
            return answer(_define(call, kind, body_of(call)), status=201)
        case _:
            return None


def _define(call: Call, kind: str, wish: Document) -> Document:
    for name in ("name", "label", "type", "fieldType", "groupName"):
        if not isinstance(wish.get(name), str) or not wish[name]:
            refuse(400, "VALIDATION_ERROR", f"Some required fields were not set: [{name}]")
    if _NAME.fullmatch(wish["name"]) is None:
        refuse(400, "VALIDATION_ERROR", "name: lower case letters, digits and underscores")
    if wish["fieldType"] not in _FIELD_TYPES.get(wish["type"], set()):
        refuse(400, "VALIDATION_ERROR", f"{wish['fieldType']} is no field type of {wish['type']}")
    options = wish.get("options") or []
    if not isinstance(options, list) or not all(_is_option(one) for one in options):
        refuse(400, "VALIDATION_ERROR", "options must be a list of objects with label and value")
    if wish["groupName"] != _GROUPS[kind]:
        refuse(400, "VALIDATION_ERROR", f"The property group {wish['groupName']} does not exist")
    if wish["name"] in definitions(call, kind) or wish["name"] in READ_ONLY:
        message = f'A property named "{wish["name"]}" already exists.'
        refuse(409, "OBJECT_ALREADY_EXISTS", message)
    definition = _definition(
        kind,
        wish["name"],
        label=wish["label"],
        type_=wish["type"],
        field_type=wish["fieldType"],
        options=[one["value"] for one in options],
        is_unique=wish.get("hasUniqueValue", False),
    )
    call.keep(kind="properties", key=f"{kind}/{wish['name']}", body=definition)
    return definition


def _is_option(one: Any) -> bool:
    return isinstance(one, dict) and isinstance(one.get("value"), str)


def _definition(
    kind: str,
    name: str,
    *,
    label: str,
    type_: str,
    field_type: str,
    options: Iterable[str],
    is_unique: bool,
) -> Document:
    return {
        "name": name,
        "label": label,
        "type": type_,
        "fieldType": field_type,
        "groupName": _GROUPS[kind],
        "hasUniqueValue": is_unique,
        "options": [
            {"label": value, "value": value, "displayOrder": place, "hidden": False}
            for place, value in enumerate(options)
        ],
        "archived": False,
    }


_BUILT_IN: dict[str, dict[str, Document]] = {
    kind: {
        name: _definition(
            kind,
            name,
            label=name,
            type_=type_,
            field_type={"enumeration": "select", "datetime": "date", "number": "number"}.get(
                type_, "text"
            ),
            options=options,
            is_unique=False,
        )
        for name, (type_, options) in properties.items()
    }
    for kind, properties in _DEFAULTS.items()
}
