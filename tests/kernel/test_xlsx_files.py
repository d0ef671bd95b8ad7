"""A workbook of a stranger takes no more memory than it is allowed, however it is made."""

from __future__ import annotations

import io
import re
import tracemalloc
import zipfile

import pytest
from openpyxl import Workbook
from openpyxl.xml.constants import SHARED_STRINGS, SHEET_MAIN_NS

from config.kernel import xlsx_files
from config.kernel.xlsx_files import Rows, UnreadableWorkbookError

TEXTS, SHEET, STYLES = "xl/sharedStrings.xml", "xl/worksheets/sheet1.xml", "xl/styles.xml"
TYPES = "[Content_Types].xml"
MEGABYTE = 1024 * 1024


def workbook(*rows):
    book = Workbook()
    for row in rows:
        book.active.append(row)
    file = io.BytesIO()
    book.save(file)
    return file


def parts_of(file):
    """As Excel writes them: the texts in a table of their own."""
    with zipfile.ZipFile(file) as packed:
        parts = {name: packed.read(name) for name in packed.namelist()}
    texts = []

    def number(cell):
        texts.append(cell[2])
        return cell[1] + b't="s"><v>%d</v></c>' % (len(texts) - 1)

    parts[SHEET] = re.sub(
        rb'(<c [^>]*)t="inlineStr"><is><t>(.*?)</t></is></c>', number, parts[SHEET]
    )
    table = b"".join(b"<si><t>%s</t></si>" % text for text in texts)
    parts[TEXTS] = b'<sst xmlns="%s">%s</sst>' % (SHEET_MAIN_NS.encode(), table)
    parts[TYPES] = parts[TYPES].replace(
        b"</Types>",
        b'<Override PartName="/%s" ContentType="%s"/></Types>'
        % (TEXTS.encode(), SHARED_STRINGS.encode()),
    )
    return parts


def bomb(part, *, within, piece, times):
    """A workbook in a part of which, before an element's end, a piece stands many times."""
    parts = parts_of(workbook(["sku", "name"], ["A", "B"]))
    before, end, after = parts[part].rpartition(within)
    assert end
    parts[part] = before + piece * times + end + after
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in parts.items():
            packed.writestr(name, data)
    return file


def read(file):
    return list(Rows(file))


def test_is_read_as_texts():
    assert read(workbook(["sku", "n"], ["A", 1.5], [None, None], ["B", True])) == [
        ["sku", "n"],
        ["A", "1.5"],
        [],
        ["B", "true"],
    ]


def test_with_a_table_of_texts_is_read_likewise():
    file = bomb(TEXTS, within=b"</sst>", piece=b"<si><r><t>a</t></r><r><t>b</t></r></si>", times=3)

    assert read(file) == [["sku", "name"], ["A", "B"]]


def test_with_another_sheet_and_names_in_it_is_read_all_the_same():
    book = Workbook()
    book.active.append(["sku"])
    book.create_sheet("other").auto_filter.ref = "A1:B2"
    file = io.BytesIO()
    book.save(file)

    assert read(file) == [["sku"]]


BOMBS = {
    "texts": (TEXTS, b"</sst>", b"<si><t>a</t></si>", "more than 10,000 texts"),
    "what is no text": (TEXTS, b"</sst>", b"<t/>", "is larger than 1 MB"),
    "pieces of a text": (TEXTS, b"</si></sst>", b"<r><t>a</t></r>", "is larger than 1 MB"),
    "cells": (SHEET, b"</row></sheetData>", b"<c/>", "is larger than 1 MB"),
    "ranges": (SHEET, b"</worksheet>", b"<x/>", "is larger than 1 MB"),
    "styles": (STYLES, b"</cellXfs>", b"<xf/>", "styles.xml is larger than 1 MB"),
    "names": ("xl/workbook.xml", b"</workbook>", b"<x/>", "workbook.xml is larger than 1 MB"),
    "parts": (TYPES, b"</Types>", b"<x/>", "larger than 1 MB"),
}


@pytest.mark.parametrize(("part", "within", "piece", "why"), BOMBS.values(), ids=BOMBS)
def test_with_too_much_of_something_is_refused_before_it_is_kept(
    monkeypatch, part, within, piece, why
):
    monkeypatch.setattr(xlsx_files, "MOST_AT_ONCE", MEGABYTE)
    monkeypatch.setattr(xlsx_files, "MOST_TEXTS", 10_000)
    file = bomb(part, within=within, piece=piece, times=12 * MEGABYTE // len(piece))
    assert len(file.getvalue()) < MEGABYTE

    tracemalloc.start()
    try:
        with pytest.raises(UnreadableWorkbookError, match=re.escape(why)):
            read(file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 50 * MEGABYTE


def test_of_larger_texts_than_may_be_is_refused_unread(monkeypatch):
    monkeypatch.setattr(xlsx_files, "LARGEST_TEXTS", MEGABYTE)
    file = bomb(TEXTS, within=b"</sst>", piece=b"<si><t>a</t></si>", times=MEGABYTE // 16)

    with pytest.raises(UnreadableWorkbookError, match="is larger than 1 MB"):
        read(file)


def test_whose_row_says_it_is_the_last_of_many_is_refused(monkeypatch):
    monkeypatch.setattr(xlsx_files, "MOST_ROWS", 1_000)
    file = bomb(
        SHEET, within=b"</sheetData>", piece=b'<row r="99999999"><c><v>1</v></c></row>', times=1
    )

    with pytest.raises(UnreadableWorkbookError, match="more than 1,000 rows"):
        for _ in Rows(file):
            pass
