"""How a row of values becomes a line of CSV or XLSX."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from config.kernel import csv_files, xlsx_files

if TYPE_CHECKING:
    from collections.abc import Sequence

CONTENT_TYPES: Final = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": xlsx_files.CONTENT_TYPE,
    "zip": "application/zip",
}


def csv_cells(values: Sequence[Any]) -> list[str]:
    """The cells of a line of CSV: instants in UTC, truths as true and false, no text a formula."""
    return [_csv_cell(value) for value in values]


def _csv_cell(value: Any) -> str:
    if isinstance(value, str):
        return csv_files.text(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='seconds')}Z"
    if isinstance(value, int | date):
        return str(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    raise TypeError(type(value).__name__)
