"""Every letter in every language: as pictures are made of it, and as text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from config.kernel.languages import LANGUAGES
from integrations.email import content, samples
from integrations.email.samples import reader_of
from tests.browser import BROWSER, SCREENSHOTS

NARROW, WIDE = 360, 1200
LONGEST = "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichenträgerverzeichnis" * 2
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
SIDE = """() => {
    const heading = document.querySelector("td div[style*='24px']");
    const range = document.createRange();
    range.selectNodeContents(heading);
    const text = range.getBoundingClientRect(), box = heading.getBoundingClientRect();
    return text.left - box.left < box.right - text.right ? "left" : "right";
}"""
each_letter = pytest.mark.parametrize("name", samples.LETTERS)
each_language = pytest.mark.parametrize("language", LANGUAGES)
in_a_browser = pytest.mark.skipif(not BROWSER, reason="no Chromium here: apt-get install chromium")


def written(name, language):
    reader = reader_of(language)
    return content.written(samples.compose(name, reader=reader), reader=reader)


class Outside(HTMLParser):
    """What a mail client would load from elsewhere, or run."""

    LOADS = ("src", "srcset", "background", "poster", "data")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag in {"script", "iframe", "object", "embed", "form", "link", "base", "img"}:
            self.found.append(tag)
        self.found += [name for name, _ in attrs if name in self.LOADS or name.startswith("on")]


@each_letter
@each_language
class TestLetter:
    def test_loads_nothing_from_outside_and_runs_nothing(self, name, language):
        _, html = written(name, language)

        assert Outside(html).found == []
        assert "url(" not in html
        assert "@import" not in html

    def test_is_marked_with_its_language_and_direction(self, name, language):
        _, html = written(name, language)

        direction = "rtl" if language == "ar" else "ltr"
        assert f'<html lang="{language}" dir="{direction}"' in html

    def test_leaves_no_part_of_its_form_unfilled(self, name, language):
        for text in written(name, language):
            assert not re.search(r"\{[{%#]|[%#}]\}|%\(|None\b", text)

    def test_says_the_same_as_text(self, name, language):
        reader = reader_of(language)
        letter = samples.compose(name, reader=reader)

        text, _ = content.written(letter, reader=reader)

        assert type(text) is str  # not one that is taken for HTML
        for said in (*letter.paragraphs, *letter.closing, letter.link, letter.button, letter.total):
            assert said in text


@each_letter
def test_is_told_in_another_way_in_each_language(name):
    told = {
        samples.compose(name, reader=reader_of(language)).paragraphs[0] for language in LANGUAGES
    }

    assert len(told) == len(LANGUAGES)


@in_a_browser
class TestPicture:
    @each_language
    @pytest.mark.parametrize("width", [NARROW, WIDE])
    def test_fits_into_the_window(self, chromium, language, width):
        with_pictures = SCREENSHOTS / "letters"
        with_pictures.mkdir(parents=True, exist_ok=True)
        page = chromium.new_page(viewport={"width": width, "height": 800})
        page.route("**/*", lambda route: route.abort())  # it needs nothing
        for name in samples.LETTERS:
            page.set_content(written(name, language)[1])
            page.screenshot(path=with_pictures / f"{name}-{language}-{width}.png", full_page=True)
            assert page.evaluate(OVERFLOW) <= 0, name
            assert page.evaluate(SIDE) == ("right" if language == "ar" else "left"), name
        page.close()

    def test_fits_with_the_longest_words(self, chromium):
        reader = reader_of("de")
        told = samples.made_up("order.confirmed")
        for line in told.lines:
            line.product_name = line.product_sku = LONGEST
        told.order.customer.first_name = LONGEST
        told.order.shipping_address = {**samples.ADDRESS, "line1": LONGEST, "city": LONGEST}
        letter = samples.compose("order.confirmed", reader=reader, occasion=told)
        page = chromium.new_page(viewport={"width": NARROW, "height": 800})

        page.set_content(content.written(letter, reader=reader)[1])

        assert page.evaluate(OVERFLOW) <= 0
        page.close()
