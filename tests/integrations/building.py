"""Builds what letters are made of: HTML from MJML, and catalogues from the texts in the code.

`bin/letters` writes it all; `test_building.py` sees that what is in the tree is what would be
written. Nothing of this is needed where letters are sent.
"""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import mrml
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from config.kernel.languages import LANGUAGES

ROOT: Final = Path(__file__).resolve().parents[2]
SOURCES: Final = ROOT / "integrations" / "email"
MJML: Final = SOURCES / "mjml" / "letter.mjml"
HTML: Final = ROOT / "integrations" / "templates" / "email" / "letter.html"
TRANSLATED: Final = tuple(LANGUAGES)[1:]
KEYWORDS: Final = {"_": None, "ngettext": (1, 2)}
LONG_AGO: Final = datetime(2026, 1, 1, tzinfo=UTC)  # the same texts are the same file
HEADER: Final = "# Letters to customers. `bin/letters` brings it up to date; docs/e-mail.md."


def po_of(language: str) -> Path:
    """Where a language's catalogue stands, as text."""
    return SOURCES / "locale" / language / "LC_MESSAGES" / "django.po"


def compiled_html() -> str:
    """The HTML that the MJML stands for; Django fills it in when a letter is sent."""
    output = mrml.to_html(MJML.read_text(encoding="utf-8"))
    assert not output.warnings, output.warnings
    return f"{output.content}\n"


def template() -> Catalog:
    """Every text of the code, untranslated."""
    catalog = Catalog(charset="utf-8")
    found = extract_from_dir(
        str(SOURCES), method_map=[("**.py", "python")], keywords=KEYWORDS, comment_tags=()
    )
    for name, _line, texts, _comments, context in sorted(found):
        catalog.add(texts, locations=[(name, 0)], context=context)
    return catalog


def catalogue(language: str) -> Catalog:
    """A language's catalogue as it is in the tree."""
    path = po_of(language)
    if not path.exists():
        return Catalog(locale=language, charset="utf-8")
    with path.open("rb") as file:
        return read_po(file, locale=language)


def updated(language: str) -> Catalog:
    """The same with every text of the code, and no other."""
    catalog = catalogue(language)
    catalog.update(template(), no_fuzzy_matching=True)
    catalog.obsolete.clear()
    catalog.header_comment = HEADER
    catalog.creation_date = catalog.revision_date = LONG_AGO
    catalog.project, catalog.version = "Orderkeep", "1"
    catalog.last_translator = catalog.msgid_bugs_address = ""
    catalog.fuzzy = False
    return catalog


def po_bytes(catalog: Catalog) -> bytes:
    """A catalogue as text; which lines its texts stand on would change with every edit."""
    file = io.BytesIO()
    write_po(file, catalog, width=98, sort_output=True, include_lineno=False)
    return file.getvalue()


def mo_bytes(catalog: Catalog) -> bytes:
    """A catalogue as gettext reads it."""
    file = io.BytesIO()
    write_mo(file, catalog)
    return file.getvalue()


def main() -> None:
    """Write everything, and say what is not translated yet."""
    HTML.write_text(compiled_html(), encoding="utf-8")
    for language in TRANSLATED:
        catalog = updated(language)
        path = po_of(language)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(po_bytes(catalog))
        path.with_suffix(".mo").write_bytes(mo_bytes(catalog))
        missing = [message.id for message in catalog if message.id and not message.string]
        sys.stdout.write(f"{language}: {len(catalog)} texts, {len(missing)} without translation\n")


if __name__ == "__main__":
    main()
