"""Writes and reads XLSX row by row, in bounded memory; a stranger's file is never trusted.

On the way out no text becomes a formula. On the way in nothing is evaluated: of a formula the value
counts that was saved with it. A small file that unpacks into a huge one is refused unread. Of what
is read the format's table of texts is kept whole, and the names and styles: each has its limit, and
so has what may be read of the sheet before a row has come of it.
"""

from __future__ import annotations

import zipfile
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from xml.etree.ElementTree import ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import iterparse
from openpyxl import Workbook
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from openpyxl.cell.text import Text
from openpyxl.packaging.relationship import get_rels_path
from openpyxl.reader.excel import ExcelReader, _find_workbook_part
from openpyxl.styles.stylesheet import apply_stylesheet
from openpyxl.utils.exceptions import InvalidFileException
from openpyxl.worksheet._read_only import ReadOnlyWorksheet
from openpyxl.xml.constants import ARC_CONTENT_TYPES, ARC_STYLE, SHARED_STRINGS, SHEET_MAIN_NS

from config.kernel import csv_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import IO, Self
    from xml.etree.ElementTree import Element
    from zipfile import ZipFile

CONTENT_TYPE: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
MOST_ROWS: Final = 1_048_575
"""Below the header: the format itself has no more (Excel specifications and limits)."""
LONGEST_CELL: Final = 32_767  # characters; likewise
MOST_UNPACKED: Final = 200 * 1024 * 1024  # bytes of all that is in an uploaded file
MOST_PARTS: Final = 1_000  # files in it
LARGEST_WHOLE: Final = 1024 * 1024  # bytes of a part of it that is read whole, such as its styles
LARGEST_TEXTS: Final = 100 * 1024 * 1024  # bytes of the table of its texts
MOST_TEXTS: Final = 1_000_000  # in that table: each takes some sixty bytes besides its characters
MOST_AT_ONCE: Final = 4 * 1024 * 1024  # bytes that are read before a row or a text has come of them
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
        return csv_files.guarded(ILLEGAL_CHARACTERS_RE.sub("", value)[: LONGEST_CELL - 1])
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None)
    if value is None or isinstance(value, bool | int | Decimal | date):
        return value
    raise TypeError(type(value).__name__)


class Rows:
    """The rows of a workbook's first sheet as texts; `line_num` is the number of the last one.

    Reads as `csv.reader` does, whose place it takes.

    Raises:
        UnreadableWorkbookError: it is no XLSX, or larger inside than the limits above.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.line_num = 0
        _refuse_bombs(file)
        try:
            self._sheet = _first_sheet(file)
            self._rows = self._sheet.iter_rows(max_col=MOST_COLUMNS, values_only=True)
        except _UNREADABLE as exc:
            raise UnreadableWorkbookError("this is not an XLSX file") from exc

    def __iter__(self) -> Iterator[list[str]]:
        return self

    def __next__(self) -> list[str]:
        try:
            values = next(self._rows)
        except _UNREADABLE as exc:
            raise UnreadableWorkbookError(f"row {self.line_num + 1} cannot be read") from exc
        self._sheet.metered.begin_anew()
        self.line_num += 1
        if self.line_num > MOST_ROWS + 1:  # a row may say that it is any
            raise UnreadableWorkbookError(f"it has more than {MOST_ROWS:,} rows")
        if values.count(None) == len(values):  # of which one line of a file can make a million
            return []
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


def _first_sheet(file: IO[bytes]) -> _Sheet:
    """As `load_workbook` does, but for what nobody asks for, and with a limit on each part."""
    reader = ExcelReader(file, read_only=True, data_only=True, keep_links=False)
    parts = reader.archive
    _refuse_larger(parts, ARC_CONTENT_TYPES, LARGEST_WHOLE)
    reader.read_manifest()
    book = _find_workbook_part(reader.package).PartName[1:]
    for name in (book, get_rels_path(book), ARC_STYLE):
        _refuse_larger(parts, name, LARGEST_WHOLE)
    reader.read_workbook()
    apply_stylesheet(parts, reader.wb)  # by its number format a cell is a date
    for sheet, rel in reader.parser.find_sheets():
        if "chartsheet" not in rel.Type:
            return _Sheet(reader.wb, sheet.name, rel.target, _texts(reader))
    raise UnreadableWorkbookError("it has no sheet")


def _refuse_larger(parts: ZipFile, name: str, limit: int) -> None:
    if name in parts.namelist() and parts.getinfo(name).file_size > limit:
        raise UnreadableWorkbookError(f"its part {name[:50]} is larger than {limit // 1024**2} MB")


def _texts(reader: ExcelReader) -> list[str]:
    """The table of texts, to which cells refer by number."""
    part = reader.package.find(SHARED_STRINGS)
    if part is None:
        return []
    name = part.PartName[1:]
    _refuse_larger(reader.archive, name, LARGEST_TEXTS)
    texts: list[str] = []
    root = None
    with _Metered(reader.archive.open(name)) as source:
        for event, node in iterparse(source, events=("start", "end")):
            root = node if root is None else root
            if event == "end" and node.tag == _TEXT:
                if len(texts) == MOST_TEXTS:
                    raise UnreadableWorkbookError(f"it has more than {MOST_TEXTS:,} texts")
                texts.append(_text_of(node).replace("x005F_", ""))
                node.clear()
                root.clear()
                source.begin_anew()
    return texts


def _text_of(node: Element) -> str:
    if len(node) == 1 and node[0].tag == _PLAIN:
        return node[0].text or ""
    return str(Text.from_tree(node).content)  # pieces, each with its looks: five times as slow


_TEXT: Final = f"{{{SHEET_MAIN_NS}}}si"
_PLAIN: Final = f"{{{SHEET_MAIN_NS}}}t"


class _Metered:
    """A part that is read; refuses once too much was read before anything came of it."""

    def __init__(self, part: IO[bytes]) -> None:
        self._part = part
        self._read = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._part.close()

    def read(self, size: int = -1) -> bytes:
        """As of any file."""
        if self._read > MOST_AT_ONCE:
            raise UnreadableWorkbookError(
                f"a row or text of it is larger than {MOST_AT_ONCE // 1024**2} MB"
            )
        piece = self._part.read(size)
        self._read += len(piece)
        return piece

    def begin_anew(self) -> None:
        """Something came of what was read."""
        self._read = 0


class _Sheet(ReadOnlyWorksheet):  # type: ignore[misc]  # untyped
    metered: _Metered

    def _get_size(self) -> None:
        """What it says of its own size may be a lie; to look may take reading all of it."""

    def _get_source(self) -> _Metered:
        self.metered = _Metered(super()._get_source())
        return self.metered


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
