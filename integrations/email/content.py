"""What a letter says, whichever it is, and how that becomes text and HTML.

There is one form for all of them: `mjml/letter.mjml`, which `bin/letters` compiles into
`templates/email/letter.html`, and `letter.txt` beside that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.conf import settings
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.translation import gettext as _

if TYPE_CHECKING:
    from collections.abc import Sequence

    from integrations.email.reader import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A product: `amount` is what they cost, `units` how many at which price; or how many alone."""

    name: str
    sku: str
    amount: str
    units: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """What is said, from top to bottom, in the reader's language.

    Each piece is one line: `one_line` makes it so of what others have typed. `details` and
    `amounts` are pairs of a label and a value; `addresses` pairs of a title and its lines.
    """

    subject: str
    heading: str
    paragraphs: Sequence[str]
    first_name: str = ""
    details: Sequence[tuple[str, str]] = ()
    button: str = ""
    link: str = ""
    lines: Sequence[Line] = ()
    amounts: Sequence[tuple[str, str]] = ()
    total: str = ""
    addresses: Sequence[tuple[str, Sequence[str]]] = ()
    closing: Sequence[str] = ()


def written(letter: Letter, *, reader: Reader) -> tuple[str, str]:
    """The letter as text and as HTML. What it says is shown as it is: nothing in it is markup."""
    with translation.override(reader.language):
        is_reversed = translation.get_language_bidi()
        greeting = (
            _("Hello %(name)s,") % {"name": letter.first_name} if letter.first_name else _("Hello,")
        )
        context = {
            "letter": letter,
            "language": reader.language,
            "direction": "rtl" if is_reversed else "ltr",
            "start": "right" if is_reversed else "left",
            "end": "left" if is_reversed else "right",
            "shop_name": settings.SHOP_NAME,
            "greeting": greeting,
            "total_label": _("Total"),
        }
        # Django marks whatever a template makes as safe HTML. A text is none: the sum is a `str`.
        text = render_to_string("email/letter.txt", context) + ""
        return text, render_to_string("email/letter.html", context)


def one_line(text: str) -> str:
    """A name with a line break in it must not write lines of its own into the letter."""
    return " ".join(str(text).split())
