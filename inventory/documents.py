"""What staff does with stock: receive, adjust, count, transfer; each leaves a document.

A document is one wish with its reason: done whole or refused whole, and done once however often it
is sent with one request key. Each function opens its own transaction. The stock levels are locked
in id order, as the orders' `services` lock them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from audit import services as audit
from config.kernel import sql
from config.kernel.api.text import normalized, problem_with
from config.kernel.db import short_transaction
from config.kernel.errors import NotFoundError, ValidationFailedError
from inventory.errors import StockChangeRefusedError, StockRequestReusedError
from inventory.models import StockDocument, StockLevel, StockMovement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Place = tuple[int, int]  # product, warehouse

LONGEST_REASON: Final = 200
LONGEST_REQUEST_KEY: Final = 255
MOST_UNITS: Final = 1_000_000_000
"""On hand in one place, and so the largest step; the column holds twice as many."""

Kind = StockMovement.Kind
_EVENT_TYPES: Final = {
    Kind.RECEIVE: "STOCK_RECEIVED",
    Kind.ADJUST: "STOCK_ADJUSTED",
    Kind.COUNT: "STOCK_COUNTED",
    Kind.TRANSFER: "STOCK_TRANSFERRED",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What is to happen to one product in one building.

    Attributes:
        quantity: the units that came, above zero (receive); the difference, not zero (adjust,
            transfer); or what lies there (count).
        seen_on_hand: what was on hand when the person looked. A count is refused if that has
            changed since: nobody could tell whether what came or went was counted.
    """

    product_id: int
    warehouse_id: int
    kind: StockMovement.Kind
    quantity: int
    reason: str
    seen_on_hand: int | None = None

    @property
    def place(self) -> Place:
        """What no two lines of a document have in common."""
        return self.product_id, self.warehouse_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a line does to a stock level, `on_hand` → `after`; or, with a `problem`, does not."""

    line: Line
    on_hand: int
    allocated: int
    after: int
    problem: str = ""


def receive(
    *,
    product_id: int,
    warehouse_id: int,
    quantity: int,
    reason: str,
    user_id: int | None = None,
    request_key: str | None = None,
) -> StockDocument:
    """Units came in: on_hand goes up. Makes a missing stock level. Opens its own transaction.

    Args:
        quantity: units, above zero.
        reason: for people: where they came from; 1 to 200 characters.
        user_id: the member of staff, if known.
        request_key: the same key again is the same document; nothing is done twice.

    Raises:
        ValidationFailedError: quantity or reason make no sense.
        StockChangeRefusedError: more than a place may hold.
        StockRequestReusedError: the key stands for something else.
        CommitOutcomeUnknownError: the COMMIT was lost; repeat it with the same key.
    """
    return _write(
        StockDocument.Kind.RECEIVE,
        [_line(Kind.RECEIVE, product_id, warehouse_id, quantity, reason)],
        reason=reason,
        user_id=user_id,
        request_key=request_key,
    )


def adjust(
    *,
    product_id: int,
    warehouse_id: int,
    delta: int,
    reason: str,
    user_id: int | None = None,
    request_key: str | None = None,
) -> StockDocument:
    """Staff puts right what is on hand: broken, found, stolen. As `receive` in all else.

    Args:
        delta: units, not 0; below zero for what is gone.

    Raises:
        StockChangeRefusedError: less would be left than orders were promised; nothing was changed.
    """
    return _write(
        StockDocument.Kind.ADJUST,
        [_line(Kind.ADJUST, product_id, warehouse_id, delta, reason)],
        reason=reason,
        user_id=user_id,
        request_key=request_key,
    )


def count(
    *,
    product_id: int,
    warehouse_id: int,
    counted: int,
    reason: str,
    seen_on_hand: int | None = None,
    user_id: int | None = None,
    request_key: str | None = None,
) -> StockDocument:
    """So many lie on the shelf: on_hand becomes that, the difference is the movement.

    A count that finds what was expected leaves a movement of 0. As `receive` in all else.

    Args:
        counted: units, those promised to orders that have not left yet among them.
        seen_on_hand: what was on hand when the count began; None to take it as it is.

    Raises:
        StockChangeRefusedError: fewer than orders were promised, or stock has moved since.
    """
    return _write(
        StockDocument.Kind.COUNT,
        [_line(Kind.COUNT, product_id, warehouse_id, counted, reason, seen_on_hand)],
        reason=reason,
        user_id=user_id,
        request_key=request_key,
    )


def transfer(
    *,
    product_id: int,
    from_warehouse_id: int,
    to_warehouse_id: int,
    quantity: int,
    reason: str,
    user_id: int | None = None,
    request_key: str | None = None,
) -> StockDocument:
    """Units are in another building now: two movements that add up to zero. As `receive` else.

    Args:
        quantity: units, above zero. Promised ones stay where they were promised from.

    Raises:
        StockChangeRefusedError: less would be left than orders were promised there.
    """
    if from_warehouse_id == to_warehouse_id:
        raise ValidationFailedError(details={"to_warehouse": ["Choose another warehouse."]})
    if not 1 <= quantity <= MOST_UNITS:
        raise _bad_quantity(f"Between 1 and {MOST_UNITS} units.")
    return _write(
        StockDocument.Kind.TRANSFER,
        [
            _line(Kind.TRANSFER, product_id, from_warehouse_id, -quantity, reason),
            _line(Kind.TRANSFER, product_id, to_warehouse_id, quantity, reason),
        ],
        reason=reason,
        user_id=user_id,
        request_key=request_key,
    )


def write_lines(
    *,
    lines: Sequence[Line],
    reason: str,
    user_id: int | None = None,
    request_key: str | None = None,
) -> StockDocument:
    """Many receipts, adjustments and counts as one document; all of them or none.

    Args:
        lines: at least one, each place once; no transfers.
        reason: of the whole; each line has its own.
    """
    if any(line.kind == Kind.TRANSFER for line in lines):
        raise AssertionError("a transfer is a document of its own")
    return _write(
        StockDocument.Kind.FILE, lines, reason=reason, user_id=user_id, request_key=request_key
    )


def preview(*, lines: Sequence[Line]) -> list[Change]:
    """What these lines would do as stock stands now, in their order. Writes and locks nothing."""
    return _planned(lines, _levels(lines))


def set_low_stock_threshold(*, stock_level_id: int, threshold: int | None) -> StockLevel:
    """From how few available units on a level counts as low; None for never.

    Opens its own transaction; setting what is set already changes nothing.

    Raises:
        ValidationFailedError: below zero or too many.
        NotFoundError: there is no such level.
    """
    if threshold is not None and not 0 <= threshold <= MOST_UNITS:
        raise ValidationFailedError(
            details={"low_stock_threshold": [f"Between 0 and {MOST_UNITS} units, or nothing."]}
        )
    with short_transaction():
        level = StockLevel.objects.select_for_update().filter(pk=stock_level_id).first()
        if level is None:
            raise NotFoundError
        before = level.low_stock_threshold
        if before != threshold:
            level.low_stock_threshold = threshold
            level.save(update_fields=["low_stock_threshold"])
            audit.record(
                "LOW_STOCK_THRESHOLD_SET",
                entity_type="stock_level",
                entity_id=level.pk,
                data={"before": before, "after": threshold},
            )
        return level


def problem_of_line(kind: StockMovement.Kind, quantity: int) -> str:
    """Why this many make no sense for a line of this kind; empty if they do."""
    if kind == Kind.RECEIVE and not 1 <= quantity <= MOST_UNITS:
        return f"Between 1 and {MOST_UNITS} units."
    if kind == Kind.COUNT and not 0 <= quantity <= MOST_UNITS:
        return f"Between 0 and {MOST_UNITS} units."
    if not 0 < abs(quantity) <= MOST_UNITS and kind != Kind.COUNT:
        return f"Not 0, and at most {MOST_UNITS} units either way."
    return ""


def problem_of_reason(reason: str) -> str:
    """Why this is no reason; empty if it is one."""
    if not reason.strip():
        return "Say why, in a few words."
    if len(reason) > LONGEST_REASON:
        return f"At most {LONGEST_REASON} characters."
    return problem_with(reason) or ""


def _line(
    kind: StockMovement.Kind,
    product_id: int,
    warehouse_id: int,
    quantity: int,
    reason: str,
    seen_on_hand: int | None = None,
) -> Line:
    return Line(
        product_id=product_id,
        warehouse_id=warehouse_id,
        kind=kind,
        quantity=quantity,
        reason=normalized(reason.strip()),
        seen_on_hand=seen_on_hand,
    )


def _write(
    kind: StockDocument.Kind,
    lines: Sequence[Line],
    *,
    reason: str,
    user_id: int | None,
    request_key: str | None,
) -> StockDocument:
    reason = normalized(reason.strip())
    _check(lines, reason=reason, request_key=request_key)
    with short_transaction():
        document, is_new = _open(kind, lines, reason, user_id, request_key)
        if is_new:
            _make_missing_levels(lines)
            levels = _levels(lines, locked=True)
            changes = _planned(lines, levels)
            _refuse(changes)
            _move(document, changes, levels)
            for change in changes:
                _tell(document, change, levels[change.line.place].id)
        return document


def _check(lines: Sequence[Line], *, reason: str, request_key: str | None) -> None:
    if not lines or len({line.place for line in lines}) != len(lines):
        raise AssertionError("a document has lines, each place once")
    for line in lines:
        if problem := problem_of_line(line.kind, line.quantity):
            raise _bad_quantity(problem)
    for text in {reason, *(line.reason for line in lines)}:
        if problem := problem_of_reason(text):
            raise ValidationFailedError(details={"reason": [problem]})
    if request_key is not None and not 1 <= len(request_key) <= LONGEST_REQUEST_KEY:
        raise ValidationFailedError(
            details={"request_key": [f"1 to {LONGEST_REQUEST_KEY} characters."]}
        )


def _bad_quantity(problem: str) -> ValidationFailedError:
    return ValidationFailedError(details={"quantity": [problem]})


def _open(
    kind: StockDocument.Kind,
    lines: Sequence[Line],
    reason: str,
    user_id: int | None,
    request_key: str | None,
) -> tuple[StockDocument, bool]:
    """A new document; or the one that has the key already, once whoever writes it is done."""
    fingerprint = _fingerprint(kind, lines)
    document = sql.fetch_model(
        StockDocument,
        """
        INSERT INTO stock_documents (kind, reason, user_id, request_key, fingerprint)
        VALUES (%(kind)s, %(reason)s, %(user_id)s, %(request_key)s, %(fingerprint)s)
        ON CONFLICT (request_key) DO NOTHING RETURNING *
        """,
        kind=kind,
        reason=reason,
        user_id=user_id,
        request_key=request_key,
        fingerprint=fingerprint,
    )
    if document is not None:
        return document, True
    earlier = StockDocument.objects.get(request_key=request_key)
    if earlier.fingerprint != fingerprint:
        raise StockRequestReusedError
    return earlier, False


def _fingerprint(kind: StockDocument.Kind, lines: Sequence[Line]) -> str:
    wish = [
        (line.product_id, line.warehouse_id, str(line.kind), line.quantity, line.reason)
        for line in lines
    ]
    return hashlib.sha256(orjson.dumps([str(kind), wish])).hexdigest()


def _make_missing_levels(lines: Sequence[Line]) -> None:
    """A refusal takes them back.

    In one order for everybody: two that make the same levels must not wait for each other.
    """
    places = sorted(line.place for line in lines)
    sql.execute(
        """
        INSERT INTO stock_levels (product_id, warehouse_id)
        SELECT * FROM unnest(%(products)s::bigint[], %(warehouses)s::bigint[])
        ON CONFLICT (product_id, warehouse_id) DO NOTHING
        """,
        products=[product_id for product_id, _ in places],
        warehouses=[warehouse_id for _, warehouse_id in places],
    )


def _levels(lines: Sequence[Line], *, locked: bool = False) -> dict[Place, Any]:
    """The stock levels of these places, as far as there are any; to be changed, in id order."""
    found = sql.fetch(
        f"""
        SELECT level.id, level.product_id, level.warehouse_id, level.on_hand, level.allocated
        FROM stock_levels AS level
        JOIN unnest(%(products)s::bigint[], %(warehouses)s::bigint[]) AS wanted (product, warehouse)
            ON level.product_id = wanted.product AND level.warehouse_id = wanted.warehouse
        ORDER BY level.id {"FOR UPDATE OF level" if locked else ""}
        """,  # noqa: S608 - a word of ours
        products=[line.product_id for line in lines],
        warehouses=[line.warehouse_id for line in lines],
    )
    return {(level.product_id, level.warehouse_id): level for level in found}


def _planned(lines: Sequence[Line], levels: Mapping[Place, Any]) -> list[Change]:
    planned = []
    for line in lines:
        level = levels.get(line.place)
        on_hand, allocated = (level.on_hand, level.allocated) if level else (0, 0)
        after = line.quantity if line.kind == Kind.COUNT else on_hand + line.quantity
        planned.append(
            Change(
                line=line,
                on_hand=on_hand,
                allocated=allocated,
                after=after,
                problem=_problem(line, on_hand=on_hand, allocated=allocated, after=after),
            )
        )
    return planned


def _problem(line: Line, *, on_hand: int, allocated: int, after: int) -> str:
    if line.kind == Kind.COUNT and line.seen_on_hand not in {None, on_hand}:
        return (
            f"{line.seen_on_hand} were on hand when the count began, {on_hand} are now:"
            " something came or left meanwhile. Look at what is on hand now, and count again."
        )
    if after < allocated and line.kind == Kind.COUNT:
        return (
            f"{line.quantity} were counted, but {allocated} are promised to orders that have not"
            " left yet: look again, or cancel orders first."
        )
    if after < allocated:
        return (
            f"{on_hand} are on hand, {allocated} of them promised to orders:"
            f" at most {on_hand - allocated} can be taken away."
        )
    if after > MOST_UNITS:
        return f"{after} would be on hand; at most {MOST_UNITS} can be."
    return ""


def _refuse(changes: Sequence[Change]) -> None:
    if problems := [change.problem for change in changes if change.problem]:
        more = f" And {len(problems) - 1} more." if len(problems) > 1 else ""
        raise StockChangeRefusedError(problems[0] + more)


def _move(document: StockDocument, changes: Sequence[Change], levels: Mapping[Place, Any]) -> None:
    """One statement: a level is changed exactly if its movement is written."""
    sql.execute(
        """
        WITH moved AS (
            UPDATE stock_levels AS level SET on_hand = level.on_hand + line.quantity
            FROM unnest(%(levels)s::bigint[], %(quantities)s::int[], %(kinds)s::text[],
                %(reasons)s::text[]) AS line (id, quantity, kind, reason)
            WHERE level.id = line.id RETURNING line.*
        )
        INSERT INTO stock_movements (document_id, stock_level_id, kind, quantity, reason, user_id)
        SELECT %(document)s, id, kind, quantity, reason, %(user_id)s FROM moved
        """,
        document=document.pk,
        user_id=document.user_id,
        levels=[levels[change.line.place].id for change in changes],
        quantities=[change.after - change.on_hand for change in changes],
        kinds=[str(change.line.kind) for change in changes],
        reasons=[change.line.reason for change in changes],
    )


def _tell(document: StockDocument, change: Change, stock_level_id: int) -> None:
    audit.record(
        _EVENT_TYPES[change.line.kind],
        entity_type="stock_level",
        entity_id=stock_level_id,
        data={
            "document": document.pk,
            "delta": change.after - change.on_hand,
            "before": {"on_hand": change.on_hand},
            "after": {"on_hand": change.after},
        },
    )
