"""Holds what a client wrote down against the books: what was acknowledged is durable (I18).

The journal is the client's own file, written and synced before anything is made of an answer: one
JSON object a line. A line that counts has `heard` (the idempotency key), `status`, `order` (the
number that the answer named, else empty) and `digest` (SHA-256 of the body, in hex).
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orders.books.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from django.db.backends.utils import CursorWrapper

LAST_WORDS: Final = (201, 402, 502)  # what is remembered on a key
CHUNK: Final = 5_000


class JournalUnreadableError(Exception):
    """It is no journal; the message names the line."""


class Acknowledged(NamedTuple):
    """An answer that named an order."""

    key: str
    status: int
    order_number: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """Every different answer of a file that named an order; `keys`: all that were answered."""

    acknowledged: list[Acknowledged]
    keys: int


def read(path: Path) -> Journal:
    """Read a journal; a last line that was cut off is passed over: its answer was not taken in.

    Raises:
        JournalUnreadableError: the file cannot be read, or a line is not what it should be.
    """
    acknowledged: dict[Acknowledged, None] = {}  # a set that keeps the order
    keys: set[str] = set()
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.endswith("\n"):
                    break
                told = _parse(line, where=f"{path}, line {number}")
                if told is None:
                    continue
                keys.add(told.key)
                if told.order_number:
                    acknowledged[told] = None
    except (OSError, UnicodeDecodeError) as exc:
        raise JournalUnreadableError(f"{path}: {exc}") from exc
    return Journal(acknowledged=list(acknowledged), keys=len(keys))


def check(cursor: CursorWrapper, journal: Journal) -> list[Finding]:
    """Compare with the books. Requires an open transaction that began after the journal was read.

    An order may outlive its key: then its answer is no longer compared.
    """
    exists = Finding(
        id="I18",
        name="acknowledged_orders_exist",
        says="each order that a client was told of exists, and under that client's key",
    )
    remembered = Finding(
        id="I18",
        name="acknowledged_answers_are_remembered",
        says="the last answer that a client heard is the one on the key, to the byte",
    )
    one = Finding(
        id="I18",
        name="acknowledged_keys_name_one_order",
        says="whatever a client heard under one key was about one order",
    )
    orders_by_key: defaultdict[str, set[str]] = defaultdict(set)
    for told in journal.acknowledged:
        orders_by_key[told.key].add(told.order_number)
    for key, numbers in orders_by_key.items():
        if len(numbers) > 1:
            one.add(f"key {key}")
    lost: dict[str, None] = {}  # named once, however often a client was told of it
    for told, ours in _looked_up(cursor, journal.acknowledged):
        if not ours.exists or (ours.key is not None and ours.key != told.key):
            lost[told.order_number] = None
        elif (
            told.status in LAST_WORDS
            and ours.key is not None
            and (ours.status, ours.digest) != (told.status, told.digest)
        ):
            remembered.add(told.order_number)
    for order_number in lost:
        exists.add(order_number)
    return [exists, remembered, one]


class _Ours(NamedTuple):
    exists: bool
    key: str | None
    status: int | None
    digest: str | None


def _looked_up(
    cursor: CursorWrapper, acknowledged: Iterable[Acknowledged]
) -> Iterator[tuple[Acknowledged, _Ours]]:
    waiting = iter(acknowledged)
    while chunk := list(islice(waiting, CHUNK)):
        cursor.execute(
            """
            SELECT told.nth, o.id IS NOT NULL, key.key, key.response_status,
                   encode(sha256(convert_to(key.response_body, 'UTF8')), 'hex')
            FROM unnest(%s::text[]) WITH ORDINALITY AS told (order_number, nth)
            LEFT JOIN orders o ON o.order_number = told.order_number
            LEFT JOIN idempotency_keys key ON key.id = o.idempotency_key_id
            """,
            [[told.order_number for told in chunk]],
        )
        for nth, *ours in cursor.fetchall():
            yield chunk[nth - 1], _Ours(*ours)


def _parse(line: str, *, where: str) -> Acknowledged | None:
    """The answer that a line tells of; None: it tells of something else.

    Raises:
        JournalUnreadableError: it is no JSON object, or an answer without what one has.
    """
    try:
        found: Any = json.loads(line)
        if not isinstance(found, dict):
            raise TypeError  # noqa: TRY301 - as what else is wrong with a line
        if "heard" not in found:
            return None
        return Acknowledged(
            key=_text(found["heard"]),
            status=_whole_number(found["status"]),
            order_number=_text(found["order"]),
            digest=_text(found["digest"]),
        )
    except (ValueError, TypeError, KeyError, RecursionError) as exc:
        raise JournalUnreadableError(f"{where} is not a line of a journal") from exc


def _text(found: Any) -> str:
    """It, if it is text that the database can be asked for.

    Raises:
        TypeError: it is something else.
        ValueError: it has a NUL or half a character.
    """
    if not isinstance(found, str):
        raise TypeError
    if "\0" in found:
        raise ValueError
    found.encode()
    return found


def _whole_number(found: Any) -> int:
    """It, if it is one.

    Raises:
        TypeError: it is not; true and 1e3 are none.
    """
    if type(found) is not int:
        raise TypeError
    return found
