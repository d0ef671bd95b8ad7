"""Reads the rows of an export, however many, in constant memory: batch by batch along a key.

Each batch is a short read of its own; nothing is held open in between, neither a transaction nor a
cursor. A row is as it is when its batch is read; rows that are made later than the beginning are
not in it.
"""

from __future__ import annotations

import operator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING, Any, Final

from django.core.exceptions import FieldError, ValidationError
from django.db import connection, transaction
from django.db.models import Q

from config.kernel.errors import ValidationFailedError
from orders.transfer import resources
from orders.transfer.reports import DIFFERS, REPORTS, STATEMENT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from django.db.models import QuerySet

    from orders.transfer.reports import ReportFile
    from orders.transfer.resources import Export

BATCH: Final = 2_000  # instances read at a time
MOST_IDS: Final = 10_000  # rows picked one by one, by a search for one
BATCH_SECONDS: Final = 60  # a statement: the role's own limits suit requests

EXPORTS: Final[Mapping[str, type[Export]]] = {
    "orders": resources.Orders,
    "order_lines": resources.OrderLines,
    "customers": resources.Customers,
    "products": resources.Products,
    "categories": resources.Categories,
    "stock_levels": resources.StockLevels,
    "stock_movements": resources.StockMovements,
    "coupons": resources.Coupons,
    "ledger": resources.Ledger,
}
FILES: Final[Mapping[str, type[Export] | ReportFile]] = {**EXPORTS, **REPORTS}
"""All that can be asked for as a file, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which rows: those that pass all `filters`, or those of these `ids`; by default all.

    `with_personal`: also the columns that tell who somebody is.
    """

    filters: Mapping[str, Any] = field(default_factory=dict)
    ids: Sequence[int] | None = None
    with_personal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What is in the file: `columns`, about how many instances, and the rows."""

    columns: list[str]
    total: int
    rows: Iterator[tuple[int, list[list[Any]]]]
    """Batch by batch: how many instances are done by then, and the batch's rows."""
    note: str = ""
    """What whoever reads the file should know."""


def open_table(name: str, selection: Selection) -> Table:
    """Begin an export.

    Must not be called inside a transaction, which would stay open as long as the reading takes.

    Raises:
        ValidationFailedError: filters that this export has not, or values that make no sense.
    """
    if name in REPORTS:
        return _open_report(REPORTS[name], selection)
    export = EXPORTS[name]()
    wanted = _wanted(export, selection)
    columns = [
        column
        for column in export.get_export_headers()
        if selection.with_personal or column not in export.personal
    ]
    backwards = wanted.order_by(*(f"-{part}" for part in export.key))
    with _patiently():
        last = backwards.values_list(*export.key).first()
        total = wanted.count() if last else 0
    return Table(
        columns=columns,
        total=total,
        rows=_rows(export, wanted, columns=columns, last=last) if last else iter(()),
    )


def check(name: str, selection: Selection) -> None:
    """Refuse at once what `open_table` would refuse later; asks the database nothing.

    Raises:
        ValidationFailedError: likewise.
    """
    if name in REPORTS:
        REPORTS[name].days(selection.filters)
    else:
        _wanted(EXPORTS[name](), selection)


def _open_report(report: ReportFile, selection: Selection) -> Table:
    """All of it at once: its lines are few, however much they add up."""
    assert report.read is not None  # noqa: S101 - only tables are opened
    found = report.read(report.days(selection.filters), most_seconds=STATEMENT_SECONDS)
    lines = found.cells()
    return Table(
        columns=found.columns,
        total=len(lines),
        rows=iter([(len(lines), lines)]),
        note="" if found.is_equal else DIFFERS,
    )


def _wanted(export: Export, selection: Selection) -> QuerySet[Any]:
    unknown = sorted(set(selection.filters) - export.filters)
    if unknown:
        raise ValidationFailedError(f"{export.title} cannot be picked by {', '.join(unknown)}")
    rows = export.read()
    if selection.ids is not None:
        if len(selection.ids) > MOST_IDS:
            raise ValidationFailedError(f"at most {MOST_IDS:,} rows can be picked one by one")
        rows = rows.filter(pk__in=selection.ids)
    try:
        return rows.filter(**selection.filters)
    except (ValueError, TypeError, ValidationError, FieldError) as exc:
        raise ValidationFailedError("a filter has a value that makes no sense") from exc


def _rows(
    export: Export, wanted: QuerySet[Any], *, columns: list[str], last: tuple[Any, ...]
) -> Iterator[tuple[int, list[list[Any]]]]:
    key = export.key
    cells = _cells(export, columns)
    wanted = wanted.filter(_up_to(key, last)).order_by(*key)
    position: tuple[Any, ...] | None = None
    done = 0
    while batch := _batch(wanted if position is None else wanted.filter(_after(key, position))):
        rows = [
            [cell(row) for cell in cells] for instance in batch for row in export.rows_of(instance)
        ]
        done += len(batch)
        yield done, rows
        if len(batch) < BATCH:
            return
        position = tuple(getattr(batch[-1], part) for part in key)


def _cells(export: Export, columns: list[str]) -> list[Callable[[Any], Any]]:
    """As the resource's own `export_field`, which looks each field up anew for every cell."""
    found = []
    for name, column in export.fields.items():
        if (column.column_name or name) in columns:
            method = getattr(export, column.get_dehydrate_method(name), None)
            found.append((columns.index(column.column_name or name), method or column.export))
    return [cell for _, cell in sorted(found, key=operator.itemgetter(0))]


def _batch(rows: QuerySet[Any]) -> list[Any]:
    with _patiently():
        return list(rows[:BATCH])


@contextmanager
def _patiently() -> Iterator[None]:
    with transaction.atomic(), connection.cursor() as cursor:
        for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):
            cursor.execute("SELECT set_config(%s, %s, true)", [limit, f"{BATCH_SECONDS}s"])
        yield


def _after(key: tuple[str, ...], position: tuple[Any, ...]) -> Q:
    """Rows behind this one: `(a, b) > (x, y)` as ORM and planner understand it."""
    steps = []
    for depth, (part, value) in enumerate(zip(key, position, strict=True)):
        same = dict(zip(key[:depth], position[:depth], strict=True))
        steps.append(Q(**same, **{f"{part}__gt": value}))
    behind = reduce(operator.or_, steps)
    return Q(**{f"{key[0]}__gte": position[0]}) & behind


def _up_to(key: tuple[str, ...], last: tuple[Any, ...]) -> Q:
    return Q(**{f"{key[0]}__lte": last[0]})
