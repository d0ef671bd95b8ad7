"""Says what is wrong with a piece of text that somebody sent, without ever repeating it."""

from __future__ import annotations

import re
import unicodedata
from itertools import accumulate

from config.kernel.errors import ValidationFailedError

# C0, DEL and C1 (Unicode category Cc); line and paragraph separators, which break lines in logs
# and mail headers just like a newline; explicit bidirectional controls, which show one text and
# store another (https://unicode.org/reports/tr36/#Bidirectional_Text_Spoofing).
_FORBIDDEN = "\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"
_CONTROL = re.compile(f"[{_FORBIDDEN}]")
_CONTROL_BUT_LINES = re.compile(f"[{_FORBIDDEN}]".replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))
_SURROGATE = re.compile("[\ud800-\udfff]")

# Digits of any script; between them spaces, dashes and invisible joiners.
_SEPARATOR = r"[\s\-\u00ad\u200b-\u200d\u2010-\u2015\u2060\u2212\ufeff]"
_DIGIT_RUN = re.compile(rf"\d(?:{_SEPARATOR}*\d){{12,}}")
_DIGIT_GROUP = re.compile(r"\d+")
_TOO_LONG = re.compile(r"\d{20,}")  # a group that is part of no card number
# RFC 9562, as we hand them out. One in 350 has a run of digits that passes the Luhn check.
_UUID = re.compile(r"[\da-f]{8}-[\da-f]{4}-[1-8][\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}", re.ASCII)
LONGEST_TEXT = 10_000
"""More than any field of any body takes, spaces around it aside."""
CARD_DIGITS = range(13, 20)
"""ISO/IEC 7812: as many digits has a payment card number."""


def problem_with(text: str, *, multiline: bool = False) -> str | None:
    """A sentence about what makes this text unacceptable, or None.

    Args:
        text: anything that a client sent.
        multiline: newline and tab are welcome.
    """
    if problem := unprintable_in(text, multiline=multiline):
        return problem
    # Beyond its end no field takes a text, whatever is in it.
    if (
        CARD_DIGITS.start <= len(text.strip()) <= LONGEST_TEXT
        and looks_like_card_number(text)
        and not _UUID.fullmatch(text.lower())
    ):
        return "This looks like a card number: never send one here."
    return None


def unprintable_in(text: str, *, multiline: bool = False) -> str | None:
    """A sentence about a character that no text of ours may have, or None.

    Args:
        text: anything that somebody wrote.
        multiline: newline and tab are welcome.
    """
    if text.isascii() and text.isprintable():  # most text is, and needs no closer look
        return None
    if _SURROGATE.search(text):
        return "This text is not valid Unicode."
    if (_CONTROL_BUT_LINES if multiline else _CONTROL).search(text):
        return "Control characters are not allowed."
    return None


def normalized(text: str) -> str:
    """The one spelling (NFC) under which equal looking text is stored and compared."""
    return unicodedata.normalize("NFC", text)


def checked(text: str, *, field: str, longest: int, multiline: bool = False) -> str:
    """A text that somebody of the shop has typed, trimmed, as it is to be kept.

    Args:
        field: what an error calls it.
        longest: in characters, once trimmed.

    Raises:
        ValidationFailedError: nothing in it, too long, control characters, or a card number.
    """
    kept = normalized(text.replace("\r\n", "\n").strip())
    if not kept:
        problem: str | None = "Write something."
    elif len(kept) > longest:
        problem = f"At most {longest:,} characters."
    else:
        problem = problem_with(kept, multiline=multiline)
    if problem:
        raise ValidationFailedError(details={field: [problem]})
    return kept


def looks_like_card_number(text: str) -> bool:
    """Whether some 13 to 19 digits in it pass the Luhn check, spaces and dashes ignored.

    Within a longer run of digits ("4242 4242 4242 4242 12 28") every sequence of whole groups
    is tried: a card number does not begin or end inside a group.
    """
    return any(
        _hides_card_number(part)
        for run in _DIGIT_RUN.finditer(text)
        for part in _TOO_LONG.split(run.group())
    )


def _hides_card_number(run: str) -> bool:
    """The Luhn check (ISO/IEC 7812-1, annex B) on each sequence of groups that is long enough.

    The digits between two running totals pass if both end in the same digit. Whole lists of totals
    are compared, a length and a half at a time, as numbers: a body full of digits stays cheap.
    """
    groups = _DIGIT_GROUP.findall(run)
    digits = bytes(map(int, "".join(groups)))
    edges = {0, *accumulate(map(len, groups))}
    # The last digit stays as it is, the one before is doubled, and so on: those at even places
    # are doubled in a number that ends before an even place, the others in the others.
    for half in (0, 1):
        values = bytearray(digits)
        values[half::2] = digits[half::2].translate(_DOUBLED)
        totals = accumulate(values, initial=0)
        ends = [total % 10 if at in edges else _NO_END for at, total in enumerate(totals)]
        starts = bytes(_NO_START if end == _NO_END else end for end in ends)
        for length in CARD_DIGITS:
            first = length + (length + half) % 2
            if _meet(bytes(ends[first::2]), starts[first - length :: 2]):
                return True
    return False


def _meet(ends: bytes, starts: bytes) -> bool:
    """Whether both hold the same at some place, as far as `ends` goes."""
    differences = int.from_bytes(ends) ^ int.from_bytes(starts[: len(ends)])
    return 0 in differences.to_bytes(len(ends))


_DOUBLED = bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)).ljust(256, b"\0")
_NO_START, _NO_END = 254, 255  # equal to no total, nor to each other
