"""No text of ours is a formula for a spreadsheet, whatever it takes for the end of a cell."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from config.kernel import csv_files

SIGNS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # noqa: RUF001
TRICKY = st.text(st.sampled_from([*SIGNS, *";,|\t\r\n\"' ax\0"]), max_size=12)


def cells_of(content, delimiter):
    """As a spreadsheet reads it that expects this between its cells: not strictly."""
    rows = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=False)
    return [cell for row in rows for cell in row]


def written(*cells):
    file = io.StringIO()
    csv_files.writer(file).writerow(cells)
    return file.getvalue()


@given(texts=st.lists(TRICKY, min_size=1, max_size=3))
@example(texts=["x;=cmd|' /C calc'!A0"])
@example(texts=['a;"=1+1'])
@example(texts=["a\n=1+1", "b\r\n@x"])
@example(texts=["a; '=1"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_begins_like_a_formula_in_no_cell(delimiter, texts):
    content = written(*map(csv_files.text, texts))

    formulas = [cell for cell in cells_of(content, delimiter) if cell.startswith(SIGNS)]
    assert formulas == []


@given(text=TRICKY)
@example(text="'=")
@example(text="a;''=1")
@example(text="\t=\n\n-1")
def test_is_read_back_as_it_was(text):
    assert csv_files.plain(csv_files.text(text)) == text
    assert csv_files.unguarded(csv_files.guarded(text)) == text


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("Tea; green", "Tea; green"),
        ("soft\nwarm", "soft\nwarm"),
        ("50-50", "50-50"),
        ("x;=1", "x;'=1"),
        ("Washing:\n- cold\n- by hand", "Washing:\n'- cold\n'- by hand"),
        ("a\r\n\r\nb", "a\r\n\r\nb"),
    ],
)
def test_is_changed_only_where_it_must(text, cell):
    assert csv_files.text(text) == cell


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_any_spreadsheets_file_is_read(delimiter):
    file = io.StringIO(delimiter.join("ab") + "\r\n" + delimiter.join("12") + "\r\n", newline="")

    assert list(csv_files.reader(file)) == [["a", "b"], ["1", "2"]]
