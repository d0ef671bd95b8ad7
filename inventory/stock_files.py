"""Stock by CSV: what each line of a file would do, and then all of it or none.

A file is read strictly, twice: for the preview, and again to be applied. Between the two stock goes
on moving. A receipt or an adjustment means the same afterwards; a count does not, and is refused
where stock has moved since its sheet was made, or, without one, since the preview.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from django.db.models import Count

from config.kernel import csv_files
from config.kernel.api.text import normalized
from inventory import documents
from inventory.errors import Problem, StockFileRefusedError, UnusableFileError
from inventory.models import Product, StockLevel, StockMovement, Warehouse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from config.kernel.csv_files import Writable
    from inventory.models import StockDocument

COLUMNS: Final = ("sku", "warehouse", "quantity", "mode", "reason")
EXPECTED: Final = "expected"
"""A column that may be there besides: what was on hand when the sheet to count with was made."""
MODES: Final = {
    kind.value: kind
    for kind in (StockMovement.Kind.RECEIVE, StockMovement.Kind.ADJUST, StockMovement.Kind.COUNT)
}
MOST_LINES: Final = 2_000
"""Orders wait for the stock levels of a file while it is applied: some tenths of a second."""
MOST_BYTES: Final = 200_000
"""It is sent twice, to be previewed and to be applied, each time in one request."""

_WHOLE_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,10}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLine:
    """A line as a person finds it: `number` counts as an editor does, the header being 1."""

    number: int
    sku: str
    warehouse: str
    line: documents.Line


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a file would do. With `problems` it does nothing; each says what to do about it."""

    changes: list[tuple[FileLine, documents.Change]]
    problems: list[Problem]

    @property
    def kinds(self) -> set[StockMovement.Kind]:
        """What it does: each kind asks for its own right."""
        return {change.line.kind for _, change in self.changes}

    @property
    def seen(self) -> dict[int, int]:
        """What was on hand, by line: to be handed to `apply_file`."""
        return {told.number: change.on_hand for told, change in self.changes}


def preview_file(*, text: str) -> Preview:
    """Read a file of stock changes and say what each line would do; writes nothing.

    Raises:
        UnusableFileError: there is no header to go by, or the file is empty or too long.
    """
    lines, problems = _read(text)
    changes = documents.preview(lines=[told.line for told in lines]) if lines else []
    both = list(zip(lines, changes, strict=True))
    refused = [Problem(told.number, change.problem) for told, change in both if change.problem]
    return Preview(
        changes=both, problems=sorted([*problems, *refused], key=lambda problem: problem.line)
    )


def apply_file(
    *,
    text: str,
    reason: str,
    seen: Mapping[int, int] | None = None,
    user_id: int | None = None,
    request_key: str | None = None,
) -> StockDocument:
    """Do what a file says, all of it or nothing, as one document. Opens its own transaction.

    Args:
        text: as it was previewed.
        reason: why, for the document; each line has its own reason besides.
        seen: what the preview found on hand, by line; None if there was none.
        request_key: the same key again is the same document; nothing is done twice.

    Raises:
        UnusableFileError: as `preview_file`.
        StockFileRefusedError: bad lines, all of them at once.
        StockChangeRefusedError: stock moved since the preview, so that a line is not safe any more.
        StockRequestReusedError: the key stands for something else.
        CommitOutcomeUnknownError: the COMMIT was lost; repeat it with the same key.
    """
    lines, problems = _read(text)
    if problems:
        raise StockFileRefusedError(problems)
    seen = seen or {}
    return documents.write_lines(
        lines=[_as_seen(told, seen.get(told.number)) for told in lines],
        reason=reason,
        user_id=user_id,
        request_key=request_key,
    )


def count_sheets() -> list[tuple[Warehouse, int]]:
    """The buildings, each with how many sheets it takes to count everything in it: one at least.

    Each sheet is one file, to be read. One statement.
    """
    found = Warehouse.objects.annotate(levels=Count("stock_levels")).order_by("priority", "code")
    return [(one, max(1, -(-one.levels // MOST_LINES))) for one in found]


def write_count_sheet(file: Writable, *, warehouse: Warehouse, sheet: int = 1) -> None:
    """A file that `preview_file` reads: a count of what is in a building, with what is expected.

    Whoever counts puts what lies there into `quantity`, and a reason, and leaves `expected` alone.

    Args:
        sheet: which one, from 1 to `count_sheets`; each begins where the last one ends, by SKU.
    """
    writer = csv_files.writer(file)
    writer.writerow((*COLUMNS, EXPECTED))
    levels = StockLevel.objects.filter(warehouse=warehouse).order_by("product__sku")
    begin = (sheet - 1) * MOST_LINES
    code, mode = csv_files.text(warehouse.code), StockMovement.Kind.COUNT.value
    for sku, on_hand in levels.values_list("product__sku", "on_hand")[begin : begin + MOST_LINES]:
        writer.writerow([csv_files.text(sku), code, on_hand, mode, "", on_hand])


def write_problems(file: Writable, problems: Sequence[Problem]) -> None:
    """The bad lines, for whoever made the file."""
    writer = csv_files.writer(file)
    writer.writerow(["line", "problem"])
    for problem in problems:
        writer.writerow([problem.line, csv_files.text(problem.reason)])


def _as_seen(told: FileLine, on_hand: int | None) -> documents.Line:
    if told.line.kind != StockMovement.Kind.COUNT or told.line.seen_on_hand is not None:
        return told.line
    return replace(told.line, seen_on_hand=on_hand)


class _BadLineError(Exception):
    """A line that cannot be taken; says why, and what to do."""


def _read(text: str) -> tuple[list[FileLine], list[Problem]]:
    """The good lines and what is wrong with the others."""
    text = text.replace("\r\n", "\n")  # a browser sends it back with more line ends than it had
    if len(text.encode()) > MOST_BYTES:
        raise UnusableFileError(f"the file has more than {MOST_BYTES} bytes; split it")
    rows, problems = _rows(text)
    if not rows and not problems:
        raise UnusableFileError("the file has no lines below its header")
    if len(rows) > MOST_LINES:
        raise UnusableFileError(f"the file has more than {MOST_LINES} lines; split it")
    skus = {sku for _, row in rows if (sku := _code(row, "sku").upper()).isprintable()}
    products = dict(Product.objects.filter(sku__in=skus).values_list("sku", "pk"))
    warehouses = dict(Warehouse.objects.values_list("code", "pk"))
    lines: list[FileLine] = []
    first: dict[tuple[int, int], int] = {}
    for number, row in rows:
        try:
            told = _file_line(number, row, products, warehouses)
            begun = first.setdefault(told.line.place, number)
            if begun != number:
                raise _BadLineError(  # noqa: TRY301 - one place that notes what is wrong
                    f"{told.sku} in {told.warehouse} is on line {begun} already: make one of them"
                )
            lines.append(told)
        except _BadLineError as exc:
            problems.append(Problem(number, str(exc)))
    return lines, problems


def _rows(text: str) -> tuple[list[tuple[int, dict[str, str]]], list[Problem]]:
    """The lines below the header, by column, each with its number; and those that are no lines."""
    reader = csv_files.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    columns = _columns(reader)
    rows: list[tuple[int, dict[str, str]]] = []
    problems: list[Problem] = []
    begun = reader.line_num + 1
    try:
        for cells in reader:
            if len(cells) == len(columns):
                plain = map(csv_files.plain, cells)
                rows.append((begun, dict(zip(columns, plain, strict=True))))
            elif cells:
                problems.append(
                    Problem(begun, f"has {len(cells)} cells, the header has {len(columns)}")
                )
            begun = reader.line_num + 1
    except csv.Error as exc:  # what follows is not known to be lines
        problems.append(Problem(begun, f"is not CSV, and nothing behind it was read: {exc}"))
    return rows, problems


def _columns(lines: Iterator[list[str]]) -> list[str]:
    try:
        columns = [name.strip().lower() for name in next(lines, [])]
    except csv.Error as exc:
        raise UnusableFileError(f"the first line is not CSV: {exc}") from exc
    if sorted({*columns, EXPECTED}) != sorted((*COLUMNS, EXPECTED)) or len(set(columns)) != len(
        columns
    ):
        raise UnusableFileError(
            f"the first line names the columns: {', '.join(COLUMNS)}, and {EXPECTED} if it is"
            " known; each of them once"
        )
    return columns


def _file_line(
    number: int, row: Mapping[str, str], products: Mapping[str, int], warehouses: Mapping[str, int]
) -> FileLine:
    sku, code = _code(row, "sku").upper(), _code(row, "warehouse")
    if sku not in products:
        raise _BadLineError("sku: there is no such product; look it up under Products")
    if code not in warehouses:
        raise _BadLineError(f"warehouse: is one of {', '.join(sorted(warehouses))}")
    mode = row["mode"].strip().lower()
    if mode not in MODES:
        raise _BadLineError(f"mode: is one of {', '.join(MODES)}")
    kind, quantity = MODES[mode], row["quantity"].strip()
    if not _WHOLE_NUMBER.fullmatch(quantity):
        raise _BadLineError("quantity: is a whole number of units, like 12 or -3")
    if problem := documents.problem_of_line(kind, int(quantity)):
        raise _BadLineError(f"quantity: {problem}")
    expected = row.get(EXPECTED, "").strip()
    if expected and not _WHOLE_NUMBER.fullmatch(expected):
        raise _BadLineError(f"{EXPECTED}: is what the sheet said, a whole number, or empty")
    reason = normalized(row["reason"].strip())
    if problem := documents.problem_of_reason(reason):
        raise _BadLineError(f"reason: {problem}")
    return FileLine(
        number=number,
        sku=sku,
        warehouse=code,
        line=documents.Line(
            product_id=products[sku],
            warehouse_id=warehouses[code],
            kind=kind,
            quantity=int(quantity),
            reason=reason,
            seen_on_hand=int(expected) if expected and kind == StockMovement.Kind.COUNT else None,
        ),
    )


def _code(row: Mapping[str, str], column: str) -> str:
    return row[column].strip()
