"""Checks the books: every invariant by name, with its violators; on demand also at the provider.

Nothing is repaired here. What one row or one table can hold, constraints and triggers hold already;
this finds what only several tables together, or we and the provider together, can get wrong.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from config.kernel.db import snapshot
from orders.books import comparison, journal
from orders.books.findings import EXAMPLES, Finding
from orders.books.invariants import INVARIANTS

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from django.db.backends.utils import CursorWrapper

    from orders.books.invariants import Invariant
    from orders.books.journal import Journal

    OnProgress = Callable[[str, int, int | None], None]

# What is no violation, but somebody should know of.
NOTES: Final = {
    "orders waiting for a bank debit": """
        SELECT count(*) FROM orders o WHERE o.status = 'pending' AND EXISTS (
            SELECT FROM payments p WHERE p.order_id = o.id AND p.status = 'processing')
    """,
    "payments in quarantine": "SELECT count(*) FROM payments WHERE status = 'quarantined'",
    "webhooks in quarantine": "SELECT count(*) FROM provider_events WHERE status = 'quarantined'",
    "disputes that need an answer": """
        SELECT count(*) FROM disputes WHERE status IN ('needs_response', 'warning_needs_response')
    """,
    "disputes whose evidence is due within three days": """
        SELECT count(*) FROM disputes WHERE status IN ('needs_response', 'warning_needs_response')
        AND evidence_due_at <= now() + interval '3 days'
    """,
    "cases of the reconciliation that wait for a person": """
        SELECT count(*) FROM reconciliation_cases WHERE resolved_at IS NULL
    """,
    "deliveries given up": "SELECT count(*) FROM deliveries WHERE status = 'dead'",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One finding an invariant, violated or not; `notes` count what is allowed yet notable.

    `checked_at` is when the snapshot was taken, by the database's clock.
    """

    findings: list[Finding]
    checked_at: datetime
    notes: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def violations(self) -> int:
        """How many violators there are in all."""
        return sum(finding.violations for finding in self.findings)


def check(
    *,
    with_provider: bool = False,
    since: datetime | None = None,
    heard: Journal | None = None,
    on_progress: OnProgress | None = None,
) -> Report:
    """Check every invariant in one read-only snapshot; then, if wanted, compare with the provider.

    Opens its own transaction, which sees no later change and holds up no writer; never call it
    inside one. The provider is asked after it has ended. Orders go on meanwhile: what the provider
    says is later than what the snapshot says, and judged so.

    Args:
        with_provider: I15-I17, too.
        since: compare only payments made at or after this instant, and what belongs to them;
            None: from the first payment on. Of no effect on the other invariants.
        heard: what a client wrote down, read before: I18, too.
        on_progress: told what is checked next, how many steps are done, and out of how many.

    Raises:
        ProviderUnavailableError: the provider's lists could not be read to their end.
    """
    tell = on_progress or _tell_nobody
    started = time.monotonic()
    with snapshot() as cursor:
        # The first statement takes the snapshot; now() would tell when the transaction began.
        cursor.execute("SELECT statement_timestamp()")
        (checked_at,) = cursor.fetchone()
        findings = check_invariants(cursor, on_progress=tell)
        if heard:
            findings += journal.check(cursor, heard)
        notes = {what: _count(cursor, sql) for what, sql in NOTES.items()}
        ours = comparison.read_ours(cursor, since=since) if with_provider else None
    if ours:
        compared = comparison.compare(ours, on_progress=tell)
        findings += compared.findings
        notes |= compared.notes
    return Report(
        findings=findings,
        checked_at=checked_at,
        notes=notes,
        seconds=time.monotonic() - started,
    )


def check_invariants(
    cursor: CursorWrapper, *, on_progress: OnProgress | None = None
) -> list[Finding]:
    """Run every query. Requires an open transaction; `snapshot` gives the right one."""
    tell = on_progress or _tell_nobody
    findings = []
    for done, invariant in enumerate(INVARIANTS):
        tell(invariant.name, done, len(INVARIANTS))
        findings.append(check_one(cursor, invariant))
    tell("", len(INVARIANTS), len(INVARIANTS))
    return findings


def check_one(cursor: CursorWrapper, invariant: Invariant) -> Finding:
    """Count an invariant's violators, and name the first few; its query runs once."""
    started = time.monotonic()
    cursor.execute(
        f"""
        WITH violators AS MATERIALIZED ({invariant.violators})
        SELECT (SELECT count(*) FROM violators),
               ARRAY(SELECT violator FROM violators LIMIT {EXAMPLES})
        """  # noqa: S608 - our own constants
    )
    violations, examples = cursor.fetchone()
    return Finding(
        id=invariant.id,
        name=invariant.name,
        says=invariant.says,
        violations=violations,
        examples=sorted(examples),
        seconds=round(time.monotonic() - started, 3),
    )


def _count(cursor: CursorWrapper, sql: str) -> int:
    cursor.execute(sql)
    return int(cursor.fetchone()[0])


def _tell_nobody(_what: str, _done: int, _total: int | None) -> None:
    """Nobody watches."""
