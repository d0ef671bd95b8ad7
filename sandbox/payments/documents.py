"""The JSON objects this server keeps and answers, and the ids it gives them."""

import secrets
from typing import Any, TypeAlias

# An API object as Stripe prints it. Dictionaries rather than classes: the shape *is* the contract,
# it is stored and answered verbatim, and its fields are Stripe's to name.
Document: TypeAlias = dict[str, Any]

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TOKEN_LENGTH = 24  # as Stripe's own ids
_TOKEN_RANGE = 62**_TOKEN_LENGTH


def new_id(prefix: str) -> str:
    """Make an unguessable id like `pi_0aZ...`."""
    return f"{prefix}_{random_token()}"


def random_token() -> str:
    """Return 24 random characters out of [0-9A-Za-z]."""
    number = secrets.randbelow(_TOKEN_RANGE)
    characters = []
    for _ in range(_TOKEN_LENGTH):
        number, digit = divmod(number, 62)
        characters.append(_ALPHABET[digit])
    return "".join(characters)
