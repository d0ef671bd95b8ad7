"""Reads out of a refusal what may be kept and shown: codes and names of fields, never sentences."""

from __future__ import annotations

import re
from typing import Any, Final

MOST_FIELDS: Final = 5
_CODE: Final = re.compile(r"[A-Za-z0-9._-]{1,60}")


def code_of_error(body: Any) -> str:
    """The code of `{"error": {"code", "errors": [{"field"}]}}` and the fields it names.

    Its sentences may quote an address.
    """
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return _code(error)
    listed = error.get("errors")
    fields = [
        _code(one.get("field"))
        for one in (listed if isinstance(listed, list) else [])[:MOST_FIELDS]
        if isinstance(one, dict)
    ]
    return " ".join(filter(None, [_code(error.get("code")), *fields]))


def _code(value: Any) -> str:
    """A machine's word; empty if it is not one."""
    return value if isinstance(value, str) and _CODE.fullmatch(value) else ""
