"""The languages that the shop writes letters in, and which of them somebody asks for."""

from __future__ import annotations

from typing import Final

from django.utils.translation.trans_real import parse_accept_lang_header

LANGUAGES: Final = {"en": "English", "de": "Deutsch", "fr": "Français", "ar": "العربية"}
"""By their ISO 639-1 codes; each but the first has its catalogue, docs/e-mail.md."""


def preferred(accept_language: str) -> str:
    """The first of our languages in an `Accept-Language` header; empty if none of them is in it."""
    for tag, _ in parse_accept_lang_header(accept_language):
        language = tag.partition("-")[0]
        if language in LANGUAGES:
            return language
    return ""
