"""Checks who calls a webhook of ours: a signature over time and body, with a secret we share."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Final

from config.kernel.errors import ValidationFailedError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

TOLERANCE_SECONDS: Final = 300
"""How old a signature may be, and how far ahead of our clock: as payment providers have it."""
_PARTS: Final = re.compile(r"t=(?P<at>[0-9]{1,12})(?P<signatures>(?:,v1=[0-9a-f]{64})+)")


def check(*, payload: bytes, signature: str, secrets: Iterable[str], now: datetime) -> None:
    """Let pass what one of these secrets has signed within the last minutes.

    Args:
        payload: the body's very bytes.
        signature: `t=<Unix seconds>,v1=<hex HMAC-SHA256 of "t.body">`; during a change of secrets
            there may be several `v1`.

    Raises:
        ValidationFailedError: nobody whom we know has signed it, or not now.
    """
    parts = _PARTS.fullmatch(signature.strip())
    if parts is None or not _is_of_one_of(secrets, parts, payload):
        raise ValidationFailedError("The signature is not valid.")
    if abs(now.timestamp() - int(parts["at"])) > TOLERANCE_SECONDS:
        raise ValidationFailedError("The signature is not of these minutes.")


def sign(*, payload: bytes, secret: str, at: int) -> str:
    """The header that `check` takes; `at` is in Unix seconds."""
    return f"t={at},v1={_digest(secret, str(at), payload)}"


def _is_of_one_of(secrets: Iterable[str], parts: re.Match[str], payload: bytes) -> bool:
    """Takes as long whichever secret it is."""
    given = [one.removeprefix("v1=") for one in parts["signatures"].split(",") if one]
    ours = [_digest(secret, parts["at"], payload) for secret in secrets]
    matches = [hmac.compare_digest(one, other) for one in given for other in ours]
    return any(matches)


def _digest(secret: str, at: str, payload: bytes) -> str:
    return hmac.new(secret.encode(), at.encode() + b"." + payload, hashlib.sha256).hexdigest()
