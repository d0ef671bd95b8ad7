"""Forgets what is kept no longer: one table of policies, the only place that says what goes when.

Money and what proves it is in no policy: orders, payments, refunds, the ledger, invoices and stock
movements stay (docs/data.md). Each app has its own statement; here they are called, batch by batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db import transaction

from audit import outbox, partitions
from audit import services as audit
from config.kernel import sql
from customers import services as customers
from orders import idempotency
from orders.services import carts, jobs, letters, payment_links
from payments import events

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import datetime

    from config.kernel.clock import Deadline

    Progress = Callable[[str, int, int | None], None]

BATCH: Final = 1_000  # rows of one statement: milliseconds each, and nobody waits for them
JOBS_AT_ONCE: Final = 100  # with their files


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What of one table goes, and when.

    Rows go by age, `setting` names the days; or by an end of their own, which `ends` tells in
    words. `count` and `forget` are given the instant before which rows go, in the latter case now;
    `forget` takes one batch, answers with how many went, and leaves what is
    unfinished or held by somebody.
    """

    table: str
    what: str
    count: Callable[[datetime], int]
    forget: Callable[[datetime], int]
    setting: str = ""
    ends: str = ""

    @property
    def kept(self) -> str:
        """How long, in words."""
        return self.ends or f"{getattr(settings, self.setting)} days"

    def before(self, now: datetime) -> datetime:
        """Which rows have had their time: those from before then."""
        return now - timedelta(days=getattr(settings, self.setting)) if self.setting else now


POLICIES: Final[list[Policy]] = [
    Policy(
        table="sessions",
        what="sessions that are over",
        ends="until they are over",
        count=lambda now: customers.count_dead_sessions(now=now),
        forget=lambda now: customers.forget_dead_sessions(now=now, limit=BATCH),
    ),
    Policy(
        table="carts",
        what="carts that nobody changed, with what is in them",
        ends=f"{carts.LIFE.days} days after their last change",
        count=lambda _: carts.count_expired(),
        forget=lambda _: carts.forget_expired(limit=BATCH),
    ),
    Policy(
        table="payment_links",
        what="links that became no order",
        ends=f"{payment_links.FORGOTTEN_AFTER.days} days after their end",
        count=lambda _: payment_links.count_expired(),
        forget=lambda _: payment_links.forget_expired(limit=BATCH),
    ),
    Policy(
        table="background_jobs",
        what="exports and imports, with their files",
        ends=f"{jobs.KEPT.days} days",
        count=lambda _: jobs.count_expired(),
        forget=lambda _: jobs.forget_expired(limit=JOBS_AT_ONCE),
    ),
    Policy(
        table="idempotency_keys",
        what="answered keys of decided orders",
        setting="IDEMPOTENCY_KEY_DAYS",
        count=lambda before: idempotency.count_old(before=before),
        forget=lambda before: idempotency.forget_old(before=before, limit=BATCH),
    ),
    Policy(
        table="outbox_messages",
        what="facts that everybody was told of, with their deliveries",
        setting="OUTBOX_DAYS",
        count=lambda before: outbox.count_told(before=before),
        forget=lambda before: outbox.forget_told(before=before, limit=BATCH),
    ),
    Policy(
        table="provider_events",
        what="webhooks that are worked off",
        setting="PROVIDER_EVENT_DAYS",
        count=lambda before: events.count_worked_off(before=before),
        forget=lambda before: events.forget_worked_off(before=before, limit=BATCH),
    ),
    Policy(
        table="letters",
        what="what letters said and whom they went to; that they were sent, stays",
        setting="LETTER_DAYS",
        count=lambda before: letters.count_readable(before=before),
        forget=lambda before: letters.blank_old(before=before, limit=BATCH),
    ),
    Policy(  # the last: what went of the others is in it, and a month that is not sealed ends here
        table="audit_logs",
        what="whole months of the log; their seals stay",
        setting="AUDIT_LOG_DAYS",
        count=lambda before: partitions.count_before(before.date()),
        forget=lambda before: sum(one.rows for one in partitions.drop_before(before.date())),
    ),
]


def add_policy(policy: Policy) -> None:
    """Have rows of a table above orders forgotten, too; called in `ready()`, again is fine."""
    if policy not in POLICIES:
        POLICIES.insert(len(POLICIES) - 1, policy)  # the log stays the last


def tables() -> tuple[str, ...]:
    """The tables of all policies."""
    return tuple(policy.table for policy in POLICIES)


def count(*, now: datetime, tables: Collection[str] | None = None) -> dict[str, int]:
    """How many rows of each table would go; changes nothing.

    Args:
        tables: only these; None: all of `tables()`.
    """
    return {policy.table: _count(policy, policy.before(now)) for policy in _policies(tables)}


def prune(
    *,
    now: datetime,
    tables: Collection[str] | None = None,
    deadline: Deadline | None = None,
    on_progress: Progress | None = None,
) -> dict[str, int]:
    """Forget what is kept no longer, batch by batch.

    Opens its own transactions; never call it inside one. May be killed at any moment and run beside
    itself and orders: nobody is waited for, and what somebody holds is left for the next time.
    Audited twice: beforehand what may go, since the books look no further back then (I11), and what
    went.

    Args:
        tables: only these, of `tables()`; None: all.
        deadline: no batch begins after it; None: none.
        on_progress: told the table, how many rows of it went, and of how many: they are counted
            first.

    Returns:
        How many rows of each table went.
    """
    policies = _policies(tables)
    before = {policy.table: policy.before(now) for policy in policies}
    audit.record(
        "PRUNING_BEGAN",
        data={"before": {table: instant.isoformat() for table, instant in before.items()}},
    )
    went = {
        policy.table: _prune(policy, before[policy.table], deadline, on_progress)
        for policy in policies
    }
    audit.record("PRUNED", data={"rows": went})
    return went


def _prune(
    policy: Policy, before: datetime, deadline: Deadline | None, on_progress: Progress | None
) -> int:
    total = None if on_progress is None else _count(policy, before)
    went = 0
    while deadline is None or deadline.remaining() > 0:
        batch = policy.forget(before)
        went += batch
        if on_progress is not None:
            on_progress(policy.table, went, total)
        if not batch:
            break
    return went


def _count(policy: Policy, before: datetime) -> int:
    with transaction.atomic():
        # However many there are: the role's own limit suits short requests.
        sql.execute("SET LOCAL statement_timeout = 0")
        return policy.count(before)


def _policies(tables: Collection[str] | None) -> list[Policy]:
    return [policy for policy in POLICIES if tables is None or policy.table in tables]
