"""What letters are made of is what their sources say, and every text is told in every language."""

from __future__ import annotations

import gettext
import re

import pytest
from babel.messages.pofile import read_po

from tests.integrations import building

languages = pytest.mark.parametrize("language", building.TRANSLATED)


def test_the_html_is_what_the_mjml_says():
    assert building.HTML.read_text(encoding="utf-8") == building.compiled_html(), "run bin/letters"


@languages
class TestCatalogue:
    def test_has_every_text_of_the_code_and_no_other(self, language):
        with building.po_of(language).open("rb") as file:
            kept = {message.id for message in read_po(file)}

        assert kept == {message.id for message in building.template()}, "run bin/letters"

    def test_tells_each_of_them(self, language):
        catalog = building.catalogue(language)

        untold = [message.id for message in catalog if message.id and not message.string]
        doubtful = [message.id for message in catalog if message.id and message.fuzzy]

        assert (untold, doubtful) == ([], [])

    def test_names_what_the_text_names(self, language):
        named = re.compile(r"%\(\w+\)s")

        for message in building.catalogue(language):
            originals = message.id if isinstance(message.id, tuple) else (message.id,)
            told = message.string if isinstance(message.string, tuple) else (message.string,)
            for text in told if message.id else ():
                assert sorted(named.findall(text)) == sorted(named.findall(originals[-1])), text

    def test_is_compiled(self, language):
        with building.po_of(language).with_suffix(".mo").open("rb") as file:
            compiled = gettext.GNUTranslations(file)

        for message in building.catalogue(language):
            if isinstance(message.id, tuple):
                told = {compiled.ngettext(*message.id, number) for number in range(200)}
                assert told == set(message.string), "run bin/letters"
            elif message.id:
                assert compiled.gettext(message.id) == message.string, "run bin/letters"
