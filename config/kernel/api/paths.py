"""What stands in a path."""

from __future__ import annotations

import uuid

from config.kernel.errors import NotFoundError


def uuid_in_path(text: str) -> uuid.UUID:
    """The id that a path names.

    Raises:
        NotFoundError: nothing has an id of that form.
    """
    try:
        return uuid.UUID(text)
    except ValueError:
        raise NotFoundError from None
