"""Reads a request's JSON strictly: what two readers could understand differently is refused."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from email.message import Message
from typing import IO, TYPE_CHECKING, Any, NoReturn

from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.parsers import BaseParser

from config.kernel.api.text import problem_with, unprintable_in
from config.kernel.errors import ValidationFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_DEPTH = 32
MULTILINE_FIELDS = frozenset({"notes"})
NUMBERED_FIELDS = frozenset({"sku", "feed_id"})
"""One in ten barcodes (GTIN) has the check digit of a card number, and shops use them as SKUs; so
has one in ten moments in milliseconds, which feeds are called by."""
BODY = "non_field_errors"
"""The key in `details` under which problems of the body as a whole are told."""

MOST_PROBLEMS = 20  # a client that errs more often reads the first ones
_MOST_LIST_ITEMS = 1_000  # beyond this index a problem is told of the list as a whole
_LONGEST_NAME = 64


class StrictJSONParser(BaseParser):
    """The only parser of the API: `application/json` in UTF-8, one object."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,  # noqa: ARG002 - DRF's signature
    ) -> dict[str, Any]:
        """Read the body.

        Raises:
            UnsupportedMediaType: a charset that is not UTF-8.
            ValidationFailedError: anything else that is wrong with it.
        """
        if not is_utf8_json(media_type or self.media_type):
            raise UnsupportedMediaType(media_type or "")
        return parse_object(stream.read())


def is_utf8_json(content_type: str) -> bool:
    """Whether a Content-Type header means JSON in UTF-8."""
    header = Message()
    header["Content-Type"] = content_type
    charset = header.get_content_charset("utf-8")
    return header.get_content_type() == "application/json" and charset in {"utf-8", "utf8"}


def parse_object(body: bytes, *, free_text_fields: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The JSON object in these bytes.

    Refused: other encodings than UTF-8, a BOM, anything after the object, NaN and Infinity,
    a key given twice, nesting beyond `MAX_DEPTH`, text that `problem_with` names.

    Args:
        body: all of it; its size is capped at the edge.
        free_text_fields: top-level fields whose text is not looked into (passwords).

    Raises:
        ValidationFailedError: `details` name the fields, never their values.
    """
    try:
        parsed = _decode(body.decode("utf-8"))
    except UnicodeDecodeError:
        _refuse("The body is not valid UTF-8.")
    except RecursionError:
        _refuse(f"The body is nested deeper than {MAX_DEPTH} levels.")
    except ValueError:
        _refuse("The body is not valid JSON.")
    if not isinstance(parsed, dict):
        _refuse("The body must be a JSON object.")
    problems = _Problems(free_text_fields=free_text_fields)
    details = problems.of_object(parsed, depth=1)
    if details:
        raise ValidationFailedError(details=details)
    return parsed


def canonical_fingerprint(parsed_json: Any) -> str:
    """SHA-256 in hex over the canonical form of parsed JSON.

    Two bodies have the same one exactly when they parse to the same JSON: white space, the order
    of keys and the way characters are escaped make no difference; 1 and 1.0 do.
    """
    canonical = json.dumps(parsed_json, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def shown_name(name: str) -> str:
    """A field name as it may stand in an error: short, and never something secret."""
    if problem_with(name):
        return "(unreadable field name)"
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"


class _ObjectWithRepeatedKeys(dict[str, Any]):
    """What the decoder makes of `{"a": 1, "a": 2}`, so that the walk can say where it stood."""

    repeated: frozenset[str] = frozenset()


def _read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    marked = _ObjectWithRepeatedKeys(found)
    times = Counter(name for name, _ in pairs)
    marked.repeated = frozenset(name for name, count in times.items() if count > 1)
    return marked


def _refuse_constant(_name: str) -> NoReturn:
    raise ValueError


def _decode(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError:
        raise
    except ValueError:
        # Python converts no integer of more than 4,300 digits. As a float it is simply no whole
        # number, and its field is named.
        return _DECODER_WITHOUT_INTEGERS.decode(text)


_DECODER = json.JSONDecoder(object_pairs_hook=_read_object, parse_constant=_refuse_constant)
_DECODER_WITHOUT_INTEGERS = json.JSONDecoder(
    object_pairs_hook=_read_object, parse_constant=_refuse_constant, parse_int=float
)


class _Problems:
    """Walks parsed JSON and builds `details` in its shape: `{field: [messages]}`, nested."""

    def __init__(self, *, free_text_fields: frozenset[str]) -> None:
        self.left = MOST_PROBLEMS
        self.free_text_fields = free_text_fields

    def of_object(self, found: dict[str, Any], *, depth: int) -> dict[str, Any]:
        if depth > MAX_DEPTH:
            return {BODY: [self._told(f"Nested deeper than {MAX_DEPTH} levels.")]}
        details: dict[str, Any] = {}
        repeated = found.repeated if isinstance(found, _ObjectWithRepeatedKeys) else ()
        for name, value in found.items():
            if self.left <= 0:
                break
            if problem := problem_with(name):
                details[BODY] = [self._told(f"A field name is not acceptable: {problem}")]
            elif name in repeated:
                details[shown_name(name)] = [self._told("This field is given more than once.")]
            elif depth == 1 and name in self.free_text_fields and isinstance(value, str):
                continue
            elif name in NUMBERED_FIELDS and isinstance(value, str):
                if problem := unprintable_in(value):
                    details[shown_name(name)] = [self._told(problem)]
            elif problems := self._of(value, depth=depth, multiline=name in MULTILINE_FIELDS):
                details[shown_name(name)] = problems
        return details

    def _of(self, value: Any, *, depth: int, multiline: bool = False) -> Any:
        if isinstance(value, str):
            problem = problem_with(value, multiline=multiline)
            return [self._told(problem)] if problem else None
        if isinstance(value, dict):
            return self.of_object(value, depth=depth + 1)
        if isinstance(value, list):
            return self._of_list(value, depth=depth + 1)
        return None

    def _of_list(self, found: list[Any], *, depth: int) -> Any:
        if depth > MAX_DEPTH:
            return [self._told(f"Nested deeper than {MAX_DEPTH} levels.")]
        details: list[Any] = []
        for index, value in enumerate(found):
            if not isinstance(value, (str, dict, list)) or self.left <= 0:
                continue
            problems = self._of(value, depth=depth)
            if not problems:
                continue
            if index > _MOST_LIST_ITEMS:
                return ["An item of this list is not acceptable."]
            details.extend({} for _ in range(index - len(details)))
            details.append(problems)
        return details

    def _told(self, message: str) -> str:
        self.left -= 1
        return message


def _refuse(message: str) -> NoReturn:
    raise ValidationFailedError(details={BODY: [message]}) from None
