"""Reads Stripe's form encoding: `metadata[order]=7&expand[]=customer` becomes nested values."""

import re
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes

from sandbox.payments.errors import invalid_request

# What a form can say: text, a hash or an array of these.
Form: TypeAlias = dict[str, Any]

MAX_PAIRS = 2_000  # far above any real request; keeps hostile ones from costing time
MAX_DEPTH = 10  # Stripe's own nesting ends well before
_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_BRACKET = re.compile(r"\[([^\[\]]*)\]")


def parse_form(encoded: bytes) -> Form:
    """Decode a body or query string.

    Raises:
        ApiError: 400 for names or values that cannot be read.
    """
    if not encoded:
        return {}
    pairs = encoded.split(b"&")
    if len(pairs) > MAX_PAIRS:
        raise invalid_request("Too many parameters.")
    form: Form = {}
    for pair in pairs:
        if pair:
            name, _, value = pair.partition(b"=")
            _put(form, name=_text(name), value=_text(value))
    return _with_lists(form)


def _text(encoded: bytes) -> str:
    if b"%" in encoded or b"+" in encoded:
        encoded = unquote_to_bytes(encoded.replace(b"+", b" "))
    try:
        text = encoded.decode()
    except UnicodeDecodeError:
        raise invalid_request("Invalid request: parameters must be UTF-8.") from None
    if "\x00" in text:
        raise invalid_request("Invalid request: parameters cannot contain null bytes.")
    return text


def _put(form: Form, *, name: str, value: str) -> None:
    match = _NAME.fullmatch(name)
    if match is None:
        raise invalid_request(f"Invalid parameter name: {name[:100]}", param=name[:100])
    path = [match[1], *_BRACKET.findall(match[2])]
    if len(path) > MAX_DEPTH:
        raise invalid_request("Parameters are nested too deeply.", param=match[1])
    place = form
    for step in path[:-1]:
        inner = place.setdefault(step or _next_index(place), {})
        if not isinstance(inner, dict):
            raise invalid_request(f"Invalid parameter: {name[:100]}", param=match[1])
        place = inner
    last = path[-1] or _next_index(place)
    if isinstance(place.get(last), dict):
        raise invalid_request(f"Invalid parameter: {name[:100]}", param=match[1])
    place[last] = value


def _next_index(place: Form) -> str:
    return str(len(place))


def _with_lists(form: Form) -> Form:
    """Turn hashes whose keys count 0, 1, 2, ... into lists, at every depth below the top."""
    return {name: _listed(value) for name, value in form.items()}


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if value and list(value) == [str(index) for index in range(len(value))]:
        return [_listed(item) for item in value.values()]
    return _with_lists(value)
