"""Writes CSV that people open in spreadsheets: no text in it is a formula, no file is half there.

The dialect is RFC 4180's: commas, CRLF, quotes where they are needed; in UTF-8. What spreadsheets
write may have other characters between its cells, and is read all the same.
"""

from __future__ import annotations

import contextlib
import csv
import io
import re
from typing import TYPE_CHECKING, Any, Final

from config.kernel import files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Protocol, TextIO

    class Writable(Protocol):
        """Whatever takes text."""

        def write(self, text: str, /) -> Any: ...


# What a spreadsheet takes for the beginning of a formula, in its full-width forms, too
# (https://owasp.org/www-community/attacks/CSV_Injection).
FORMULA_BEGINS_WITH: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\0", "＝", "＋", "－", "＠")  # noqa: RUF001
# And behind what it may look for one: where cells end with semicolons or tabs, ours is several, and
# a quote within a line begins nothing.
_FORMULA_WITHIN: Final = r"(?=[ \"']*[=+\-@＝＋－＠])"  # noqa: RUF001
_WITHIN: Final = re.compile(rf"([;|\t\r\n]){_FORMULA_WITHIN}")
_KEPT_WITHIN: Final = re.compile(rf"([;|\t\r\n])'{_FORMULA_WITHIN}")
SNIFFED: Final = 4_096  # characters


def writer(file: Writable) -> Any:
    """A `csv.writer` of this dialect."""
    return csv.writer(file, dialect="excel", lineterminator="\r\n")


def reader(file: TextIO) -> Any:
    """A `csv.reader`, strict, of a file with commas, semicolons or tabs between its cells.

    Args:
        file: at its beginning, opened with `newline=""`; its first line tells which.
    """
    first = file.read(SNIFFED).partition("\n")[0]
    file.seek(0)
    return csv.reader(file, strict=True, delimiter=max(",;\t", key=first.count))


def text(value: str | None) -> str:
    """A cell of text: apostrophes keep spreadsheets from taking it, or a part, for a formula.

    For text alone: an amount such as -1.00 is a number and stays one. `plain` takes them back.
    """
    return "" if value is None else _WITHIN.sub(r"\1'", guarded(value))


def plain(cell: str) -> str:
    """What a cell said before `text` put apostrophes into it; any other cell as it is."""
    return unguarded(_KEPT_WITHIN.sub(r"\1", cell))


def guarded(value: str) -> str:
    """`text` where no cell can be taken for two: in a workbook."""
    return f"'{value}" if _begins_a_formula(value) else value


def unguarded(cell: str) -> str:
    """What a cell said before it was `guarded`; any other cell as it is."""
    return cell[1:] if cell.startswith("'") and _begins_a_formula(cell) else cell


def _begins_a_formula(value: str) -> bool:
    # With apostrophes before it, too: else `unguarded` would take away one that was there before.
    return value.lstrip("'").startswith(FORMULA_BEGINS_WITH)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A file to write, which gets its name only when it is whole: `files.replacing`.

    Raises:
        OSError: it cannot be written there, or something that is not a file has the name.
    """
    with files.replacing(path) as raw:
        file = io.TextIOWrapper(raw, encoding="utf-8", newline="")
        yield file
        file.flush()
        file.detach()
