"""What all papers have in common: pages, fonts for any script, text laid out as it is read."""

from __future__ import annotations

import math
import re
import unicodedata
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from xml.sax.saxutils import escape
from zoneinfo import ZoneInfo

from arabic_reshaper import ArabicReshaper
from babel import Locale
from babel.dates import format_date
from bidi import get_base_level, get_display
from bidi.mirror import MIRRORED
from django.conf import settings
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4, LETTER
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.lib.utils import simpleSplit
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

FONTS: Final = Path(__file__).resolve().parents[1] / "fonts"
LETTER_COUNTRIES: Final = frozenset({"US", "CA", "MX", "CL", "CO", "PH", "PR", "VE"})
MARGIN: Final = 20 * mm
PADDING: Final = 6  # of pages and cells, on each side: reportlab's own
GREY: Final = colors.HexColor("#666666")
# Chinese, Japanese and Korean, which DejaVu lacks. Embedded too, what is used of it: fonts that a
# reader is trusted to have came out as boxes.
FALLBACK: Final = "DroidSansFallback"
RIGHT_TO_LEFT: Final = frozenset({"R", "AL"})
MARK: Final = "\u034f"  # combining grapheme joiner: seen nowhere
MIRRORED_ONES: Final = re.compile("[" + re.escape("".join(MIRRORED)) + "]")
MARKED_ONES: Final = re.compile(f"{MARK}({MIRRORED_ONES.pattern})|({MIRRORED_ONES.pattern}){MARK}")
UNKNOWN: Final = "\ufffd"
ADDRESS_LINES: Final = ("name", "line1", "line2")


def page_size(country: str) -> tuple[float, float]:
    """The paper that is in printers there."""
    size: tuple[float, float] = LETTER if country in LETTER_COUNTRIES else A4
    return size


def draw_footer(canvas: Any, *, left: str, right: str, page_width: float) -> None:
    """A small line below the page."""
    canvas.setFont("DejaVu", 7)
    canvas.setFillColor(GREY)
    canvas.drawString(MARGIN, 10 * mm, left)
    canvas.drawRightString(page_width - MARGIN, 10 * mm, right)


def day(at: datetime) -> str:
    """In the shop's time zone."""
    return format_date(
        at.astimezone(ZoneInfo(settings.SHOP_TIME_ZONE)).date(),
        format="long",
        locale=Locale.parse(settings.LANGUAGE_CODE, sep="-"),
    )


def address_lines(address: Mapping[str, Any]) -> list[str]:
    """An address as it is written on paper, line by line."""
    if not address:
        return ["(erased)"]
    territories = Locale.parse(settings.LANGUAGE_CODE, sep="-").territories
    country = address.get("country", "")
    town = [address.get(part) or "" for part in ("city", "state", "postal_code")]
    lines = [address.get(part) or "" for part in ADDRESS_LINES]
    return [
        line
        for line in (*lines, " ".join(filter(None, town)), territories.get(country, country))
        if line
    ]


@cache
def styles() -> dict[str, ParagraphStyle]:
    """By their names; the fonts are there then."""
    pdfmetrics.registerFont(TTFont("DejaVu", FONTS / "DejaVuSans.ttf"))
    pdfmetrics.registerFont(TTFont("DejaVu-Bold", FONTS / "DejaVuSans-Bold.ttf"))
    plain = ParagraphStyle("plain", fontName="DejaVu", fontSize=9, leading=12, splitLongWords=1)
    head = ParagraphStyle("head", plain, fontName="DejaVu-Bold")
    return {
        "plain": plain,
        "small": ParagraphStyle("small", plain, fontSize=7.5, leading=10, textColor=GREY),
        "title": ParagraphStyle("title", head, fontSize=18, leading=24, spaceAfter=4 * mm),
        "right": ParagraphStyle("right", plain, alignment=2),
        "head": head,
        "head_right": ParagraphStyle("head_right", head, alignment=2),
    }


def text(words: str, *, width: float = math.inf) -> str:
    """Text that somebody wrote, safe in a Paragraph's markup, each run in a font that has it.

    Right-to-left text is broken into lines here: it can be laid out only line by line, and a
    Paragraph would break what is laid out already from its wrong end.
    """
    line = unicodedata.normalize("NFC", " ".join(words.split()))
    if not any(unicodedata.bidirectional(character) in RIGHT_TO_LEFT for character in line):
        return _in_fonts(line)
    direction = "R" if get_base_level(line) else "L"
    joined = _reshaper().reshape(line)
    lines = simpleSplit(joined, "DejaVu", styles()["plain"].fontSize, width)
    return "<br/>".join(_in_fonts(_as_seen(one, direction)) for one in lines)


def _as_seen(line: str, direction: str) -> str:
    """A line's characters from left to right, brackets and the like facing the right way.

    Which of them stand in right-to-left text, and are to be mirrored (UAX #9, L4), the library does
    not tell: a combining mark put after each, which always goes along with it, comes out before it.
    """
    marked = MIRRORED_ONES.sub(rf"\g<0>{MARK}", line.replace(MARK, ""))
    seen = get_display(marked, base_dir=direction)
    return MARKED_ONES.sub(lambda one: MIRRORED[one[1]] if one[1] else one[2], seen)


def _in_fonts(line: str) -> str:
    runs = []
    for font, characters in groupby(line, key=_font_of):
        run = "".join(characters)
        if font == UNKNOWN:
            runs.append(UNKNOWN * len(run))
        elif font:
            runs.append(f'<font name="{font}">{escape(run)}</font>')
        else:
            runs.append(escape(run))
    return "".join(runs)


def _font_of(character: str) -> str:
    """Empty: the page's own font; `UNKNOWN`: no font of ours has it."""
    styles()
    if ord(character) in pdfmetrics.getFont("DejaVu").face.charToGlyph:
        return ""
    return FALLBACK if ord(character) in _fallback().face.charToGlyph else UNKNOWN


@cache
def _fallback() -> TTFont:
    """Read when something needs it: it is large."""
    font = TTFont(FALLBACK, FONTS / "DroidSansFallback.ttf")
    pdfmetrics.registerFont(font)
    return font


@cache
def _reshaper() -> ArabicReshaper:
    """Joins letters by Unicode's presentation forms; those words that are one form DejaVu lacks."""
    return ArabicReshaper({"ARABIC LIGATURE ALLAH": False, "delete_harakat": False})
