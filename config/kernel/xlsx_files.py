"""Writes and reads XLSX row by row in constant memory; a stranger's file is never trusted.

On the way out no text becomes a formula. On the way in nothing is evaluated: of a formula the value
counts that was saved with it. A small file that unpacks into a huge one is refused unread.
"""

from __future__ import annotations

import zipfile
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException
from openpyxl import Workbook, load_workbook
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from openpyxl.utils.exceptions import InvalidFileException

from config.kernel import csv_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import IO, Self

CONTENT_TYPE: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
MOST_ROWS: Final = 1_048_575
"""Below the header: the format itself has no more (Excel specifications and limits)."""
LONGEST_CELL: Final = 32_767  # characters; likewise
MOST_UNPACKED: Final = 200 * 1024 * 1024  # bytes of all that is in an uploaded file
MOST_PARTS: Final = 1_000  # files in it
MOST_COLUMNS: Final = 256  # read of an uploaded one
SIGNIFICANT_DIGITS: Final = ".15g"  # as many as a spreadsheet keeps of a number


class UnreadableWorkbookError(Exception):
    """Not an XLSX file, or one that nobody should unpack; says why in one line."""


class Writer:
    """Writes one sheet, as a `with` block: until `save` its rows lie in a temporary file."""

    def __init__(self, *, title: str) -> None:
        self._book = Workbook(write_only=True)
        self._sheet = self._book.create_sheet(title)
        self._saved = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if (writer := self._sheet._writer) is not None and not self._saved:  # noqa: SLF001 - nothing else ends it
            self._sheet.close()
            writer.cleanup()

    def writerow(self, values: Sequence[Any]) -> None:
        """Append a row of texts, numbers, instants (written in UTC), dates, truths and None."""
        self._sheet.append([_cell(value) for value in values])

    def save(self, file: IO[bytes]) -> None:
        """Write the workbook into a file."""
        self._book.save(file)
        self._saved = True


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return csv_files.text(ILLEGAL_CHARACTERS_RE.sub("", value)[: LONGEST_CELL - 1])
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None)
    if value is None or isinstance(value, bool | int | Decimal | date):
        return value
    raise TypeError(type(value).__name__)


class Rows:
    """The rows of a workbook's first sheet as texts; `line_num` is the number of the last one.

    Reads as `csv.reader` does, whose place it takes.

    Raises:
        UnreadableWorkbookError: it is no XLSX, or unpacks into more than `MOST_UNPACKED`.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.line_num = 0
        _refuse_bombs(file)
        try:
            book = load_workbook(file, read_only=True, data_only=True, keep_links=False)
            sheet = book.worksheets[0]
            sheet.reset_dimensions()  # what it says of its own size may be a lie
            self._rows = sheet.iter_rows(max_col=MOST_COLUMNS, values_only=True)
        except _UNREADABLE as exc:
            raise UnreadableWorkbookError("this is not an XLSX file") from exc

    def __iter__(self) -> Iterator[list[str]]:
        return self

    def __next__(self) -> list[str]:
        try:
            values = next(self._rows)
        except _UNREADABLE as exc:
            raise UnreadableWorkbookError(f"row {self.line_num + 1} cannot be read") from exc
        self.line_num += 1
        cells = [_text(value) for value in values]
        while cells and not cells[-1]:
            cells.pop()
        return cells


_UNREADABLE: Final = (
    *(InvalidFileException, zipfile.BadZipFile, DefusedXmlException, ParseError),
    *(KeyError, IndexError, ValueError, TypeError, AttributeError, EOFError, OSError),
)
"""What openpyxl raises of a file that is broken in one of many ways."""


def _refuse_bombs(file: IO[bytes]) -> None:
    try:
        with zipfile.ZipFile(file) as packed:
            parts = packed.infolist()
    except (zipfile.BadZipFile, ValueError, OSError) as exc:
        raise UnreadableWorkbookError("this is not an XLSX file") from exc
    # `zipfile` unpacks no more than the directory says, so that it cannot lie.
    if len(parts) > MOST_PARTS or sum(part.file_size for part in parts) > MOST_UNPACKED:
        raise UnreadableWorkbookError(
            f"unpacked it would be larger than {MOST_UNPACKED // 1024**2} MB"
        )
    file.seek(0)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return format(value, SIGNIFICANT_DIGITS)
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value)
