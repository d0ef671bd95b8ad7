"""Watches the books unasked: checks them, and keeps how each invariant stood.

What is kept is one row an invariant, so that every web process can tell it at `/metrics` and staff
sees it in the admin. It holds names, counts and order numbers, nothing of a person.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog
from django.db import connection, transaction

from orders import books
from orders.books.alerts import INVARIANT_NAMES
from orders.models import CheckedInvariant

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.backends.utils import CursorWrapper

    from orders.books import Report

LONGEST_EXAMPLE: Final = 200

# A check may end after another one that began later, and must not take its place.
_KEEP: Final = """
    INSERT INTO checked_invariants AS kept
        (name, invariant, violations, examples, checked_at, seconds)
    VALUES (%(name)s, %(invariant)s, %(violations)s, %(examples)s, %(checked_at)s, %(seconds)s)
    ON CONFLICT (name) DO UPDATE
    SET invariant = excluded.invariant, violations = excluded.violations,
        examples = excluded.examples, checked_at = excluded.checked_at, seconds = excluded.seconds
    WHERE kept.checked_at <= excluded.checked_at
"""

log = structlog.get_logger(__name__)


class Kept(NamedTuple):
    """How an invariant stood at `checked_at`."""

    invariant: str
    name: str
    violations: int
    checked_at: datetime


def watch(*, with_provider: bool = False, since: datetime | None = None) -> Report:
    """Check the books, keep what was found, and say it aloud if something is violated.

    Opens its own transactions; never call it inside one. Any number may run at once.

    Args:
        with_provider: compare with the provider, too: payments made at or after `since`.

    Raises:
        ProviderUnavailableError: the provider's lists could not be read; nothing is kept.
    """
    report = books.check(with_provider=with_provider, since=since)
    keep(report)
    violated = {found.name: found.violations for found in report.findings if found.violations}
    if violated:
        log.error("books_violated", violations=report.violations, invariants=violated)
    else:
        log.info("books_checked", invariants=len(report.findings), seconds=round(report.seconds, 1))
    return report


def keep(report: Report) -> None:
    """Put what was found in place of what was found in an earlier snapshot.

    What was not looked at, or in a later snapshot, stays as it was. Names that no invariant bears
    any more go.
    """
    rows: list[dict[str, Any]] = [
        {
            "name": found.name,
            "invariant": found.id,
            "violations": found.violations,
            "examples": [example[:LONGEST_EXAMPLE] for example in found.examples],
            "checked_at": report.checked_at,
            "seconds": found.seconds,
        }
        # In one order for everybody: two that write at once must not wait for each other.
        for found in sorted(report.findings, key=lambda found: found.name)
    ]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.executemany(_KEEP, rows)
        CheckedInvariant.objects.exclude(name__in=INVARIANT_NAMES).delete()


def read_kept(cursor: CursorWrapper) -> list[Kept]:
    """Every invariant as it last stood; one short statement."""
    cursor.execute(
        "SELECT invariant, name, violations, checked_at FROM checked_invariants ORDER BY id"
    )
    return [Kept(*row) for row in cursor.fetchall()]
