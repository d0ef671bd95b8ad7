"""The JSON objects this server keeps and answers, and the ids it gives them."""

import base64
import os
from typing import Any, TypeAlias

# An API object as Stripe prints it. Dictionaries rather than classes: the shape *is* the contract,
# it is stored and answered verbatim, and its fields are Stripe's to name.
Document: TypeAlias = dict[str, Any]

_TOKEN_BYTES = 18  # make 24 characters, as long as Stripe's own ids
_NO_PUNCTUATION = b"xZ"  # stand for the + and / of base 64: two letters twice as likely, no more


def new_id(prefix: str) -> str:
    """Make an unguessable id like `pi_0aZ...`."""
    return f"{prefix}_{random_token()}"


def random_token() -> str:
    """Return 24 unguessable characters out of [0-9A-Za-z]."""
    return base64.b64encode(os.urandom(_TOKEN_BYTES), _NO_PUNCTUATION).decode()
