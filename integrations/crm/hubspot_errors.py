"""Reads HubSpot's refusals: which property, and what is wrong with it; never what stood in it.

Its messages quote values, a person's e-mail address for one. What is kept of them are codes, and
names of properties that we have sent.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

CODE: Final = re.compile(r"[A-Z][A-Z_]{2,59}")
WRONG: Final = re.compile(r'"error":\s*"([A-Z_]{3,60})"[^{}]*?"name":\s*"([a-zA-Z0-9_]{1,100})"')
NAMED: Final = re.compile(r"propertyName=([a-zA-Z0-9_]{1,100})")
MOST_SHOWN: Final = 5


def reason(body: Any, *, naming: Mapping[str, str]) -> str:
    """Why a call was refused: `VALIDATION_ERROR, customer.email (email): INVALID_EMAIL`.

    Args:
        naming: their names of properties by ours; others are not told.
    """
    if not isinstance(body, dict):
        return ""
    problems = [body, *(each for each in body.get("errors") or () if isinstance(each, dict))]
    codes = dict.fromkeys(
        each["category"]
        for each in problems
        if isinstance(each.get("category"), str) and CODE.fullmatch(each["category"])
    )
    ours = {theirs: name for name, theirs in naming.items()}
    told = dict.fromkeys(
        f"{ours[theirs]} ({theirs}): {code}"
        for each in problems
        for theirs, code in _wrong_properties(str(each.get("message") or ""))
        if theirs in ours
    )
    return ", ".join([*codes, *list(told)[:MOST_SHOWN]])


def _wrong_properties(message: str) -> list[tuple[str, str]]:
    found = [(theirs, code) for code, theirs in WRONG.findall(message)]
    return found + [(theirs, "NOT_UNIQUE") for theirs in NAMED.findall(message)]
