"""Readers: each turns the raw value of one parameter into what an endpoint works with, or refuses.

A refusal raised here comes before anything is executed and names the parameter.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from sandbox.payments.currencies import CURRENCIES
from sandbox.payments.errors import invalid_request, not_built
from sandbox.payments.forms import Form

# Reads the raw value of the named parameter.
Reader: TypeAlias = Callable[[Any, str], Any]
Schema: TypeAlias = Mapping[str, Reader]

MAX_AMOUNT = 99_999_999  # Stripe: eight digits
MAX_TEXT = 5_000  # Stripe's general limit on strings
MAX_METADATA_KEYS, MAX_METADATA_KEY, MAX_METADATA_VALUE = 50, 40, 500
MAX_PAGE = 100
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s]+")


# --- one value each -----------------------------------------------------------------------------


def text(value: Any, name: str, *, longest: int = MAX_TEXT) -> str:
    if not isinstance(value, str):
        raise invalid_request(f"Invalid string: {_shown(value)}", param=name)
    if value == "":
        raise invalid_request(
            f"You passed an empty string for '{name}'. We assume empty values are an attempt to "
            f"unset a parameter; however '{name}' cannot be unset. You should remove '{name}' "
            "from your request or supply a non-empty value.",
            param=name,
            code="parameter_invalid_empty",
        )
    if len(value) > longest:
        raise invalid_request(
            f"Invalid string: {_shown(value)}; must be at most {longest} characters", param=name
        )
    return value


def text_up_to(longest: int) -> Reader:
    return lambda value, name: text(value, name, longest=longest)


def url(value: Any, name: str) -> str:
    if _URL.fullmatch(text(value, name)) is None:
        raise invalid_request("Not a valid URL", param=name, code="url_invalid")
    return str(value)


def email(value: Any, name: str) -> str:
    before, at, after = text(value, name, longest=512).partition("@")
    if not (before and at and "." in after and " " not in value):
        raise invalid_request(
            f"Invalid email address: {_shown(value)}", param=name, code="email_invalid"
        )
    return str(value)


def integer(value: Any, name: str) -> int:
    if not isinstance(value, str) or _INTEGER.fullmatch(value) is None:
        raise invalid_request(
            f"Invalid integer: {_shown(value)}", param=name, code="parameter_invalid_integer"
        )
    return int(value)


def amount(value: Any, name: str) -> int:
    minor_units = integer(value, name)
    if minor_units < 1:
        raise invalid_request(
            "This value must be greater than or equal to 1.",
            param=name,
            code="parameter_invalid_integer",
        )
    if minor_units > MAX_AMOUNT:
        raise invalid_request(
            f"Amount must be no more than {MAX_AMOUNT}.", param=name, code="amount_too_large"
        )
    return minor_units


def page_size(value: Any, name: str) -> int:
    size = integer(value, name)
    if not 1 <= size <= MAX_PAGE:
        raise invalid_request(
            f"This value must be between 1 and {MAX_PAGE}.",
            param=name,
            code="parameter_invalid_integer",
        )
    return size


def currency(value: Any, name: str) -> str:
    code = text(value, name).lower()
    if code not in CURRENCIES:
        raise invalid_request(
            f"Invalid currency: {_shown(value)}. Stripe currently supports these currencies: "
            f"{', '.join(sorted(CURRENCIES))}",
            param=name,
        )
    return code


def boolean(value: Any, name: str) -> bool:
    if value not in ("true", "false"):
        raise invalid_request(f"Invalid boolean: {_shown(value)}", param=name)
    return bool(value == "true")


def one_of(*choices: str) -> Reader:
    def read(value: Any, name: str) -> str:
        if value not in choices:
            listed = ", ".join(choices[:-1])
            either = f"{listed}, or {choices[-1]}" if listed else choices[-1]
            raise invalid_request(f"Invalid {name}: must be one of {either}", param=name)
        return str(value)

    return read


def off_session(value: Any, name: str) -> bool:
    """True, false, or the reason the shopper is away (`one_off`, `recurring`), which means true."""
    return value in ("one_off", "recurring") or boolean(value, name)


def metadata(value: Any, name: str) -> dict[str, str] | None:
    """Up to 50 short texts; an empty one removes its key, an empty parameter removes all."""
    if value == "":
        return None
    if isinstance(value, list):  # keys 0, 1, 2 ... are read as an array; here they are just keys
        value = {str(index): item for index, item in enumerate(value)}
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise invalid_request("Invalid object", param=name)
    if len(value) > MAX_METADATA_KEYS:
        raise invalid_request(
            f"You cannot have more than {MAX_METADATA_KEYS} keys in metadata.", param=name
        )
    for key, item in value.items():
        if len(key) > MAX_METADATA_KEY:
            raise invalid_request(
                f"Metadata keys can have up to {MAX_METADATA_KEY} characters, but you passed in "
                f"a key that is {len(key)} characters. Invalid key: {key[:100]}",
                param=name,
            )
        if len(item) > MAX_METADATA_VALUE:
            raise invalid_request(
                f"Metadata values can have up to {MAX_METADATA_VALUE} characters, but you passed "
                f"in a value that is {len(item)} characters. Invalid value: {item[:100]}",
                param=f"{name}[{key}]",
            )
    return value


# --- what the local payment server does not do --------------------------------------------------


def refused(value: Any, name: str) -> Any:  # noqa: ARG001 - a reader like the others
    """A parameter of Stripe's whose silent loss would change where money goes."""
    raise not_built(param=name)


@dataclass(frozen=True)
class RefusedWhen:
    """Reads a parameter of which some values are `refused`."""

    reader: Reader
    sent: tuple[str, ...]  # those values, as the form has them

    def __call__(self, value: Any, name: str) -> Any:
        if value in self.sent:
            raise not_built(param=name, value=value)
        return self.reader(value, name)


# --- values that hold others; classes, so that a test can look inside ---------------------------


@dataclass(frozen=True)
class Unsettable:
    """Accepts an empty string as "remove this value"."""

    reader: Reader

    def __call__(self, value: Any, name: str) -> Any:
        return None if value == "" else self.reader(value, name)


@dataclass(frozen=True)
class ArrayOf:
    """Reads an array by the reader of its items."""

    reader: Reader

    def __call__(self, value: Any, name: str) -> list[Any]:
        if value == "":  # how the form encoding writes an empty array
            return []
        if not isinstance(value, list):
            raise invalid_request("Invalid array", param=name)
        return [self.reader(item, f"{name}[{index}]") for index, item in enumerate(value)]


@dataclass(frozen=True)
class HashOf:
    """Reads a hash by the readers of its keys."""

    schema: Schema
    required: tuple[str, ...] = ()

    def __call__(self, value: Any, name: str) -> Form:
        if not isinstance(value, dict):
            raise invalid_request("Invalid object", param=name)
        for key in value:
            if key not in self.schema:
                raise invalid_request(
                    f"Received unknown parameter: {name}[{key}]",
                    param=f"{name}[{key}]",
                    code="parameter_unknown",
                )
        for key in self.required:
            if key not in value:
                raise invalid_request(
                    f"Missing required param: {name}[{key}].",
                    param=f"{name}[{key}]",
                    code="parameter_missing",
                )
        return {key: self.schema[key](item, f"{name}[{key}]") for key, item in value.items()}


def _shown(value: Any) -> str:
    return value[:100] if isinstance(value, str) else type(value).__name__
