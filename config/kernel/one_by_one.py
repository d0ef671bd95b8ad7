"""Keeps one's trouble from the others, where many are gone through."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import structlog
from django.db import connection

from config.kernel.db import WENT_AWAY
from config.kernel.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import Iterator

log = structlog.get_logger(__name__)


@contextlib.contextmanager
def by_itself(subject: str) -> Iterator[None]:
    """One's trouble is logged and does not stop the others; whoever comes by next tries again.

    Args:
        subject: an id of it, for the log.
    """
    try:
        yield
    except WENT_AWAY:
        connection.close()
        log.warning("one_of_many_database_trouble", subject=subject)
    except DomainError as exc:
        log.warning("one_of_many_refused", subject=subject, problem=exc.message)
    except Exception:  # whatever it is, the others must not wait for it; staff see the log
        log.exception("one_of_many_failed", subject=subject)
