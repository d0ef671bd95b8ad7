"""Celery's way into sweeper, webhooks and books: thin, repeatable, limited in time.

The long ones are acknowledged when they begin: the broker would hand them out a second time while
they still run. Should they die, beat comes by again.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from celery import shared_task
from django.utils import timezone

from config.kernel.clock import Deadline
from orders.books import reconciliation, watch
from orders.services import (
    carts,
    events,
    job_running,
    jobs,
    payment_links,
    privacy,
    recovery,
    retention,
    stock_alerts,
    waiting_payments,
)
from payments import bookkeeping

EVENTS_SECONDS = 25.0  # others wait for the worker
BACKFILL = timedelta(hours=3)  # beat comes by every hour
RECONCILED = timedelta(days=3)  # what is older is looked up where a case is open
CARTS_AT_ONCE = 500
JOBS_SECONDS = 1_500.0  # after this a run begins no other job: beat comes by
JOBS_AT_ONCE = 100
PRUNE_SECONDS = 3_300.0  # the rest goes the next night
NUDGE_EXPIRES_SECONDS = 5  # beat sweeps anyway, and none must pile up


@shared_task(soft_time_limit=90, time_limit=120, acks_late=False)
def sweep(**_: Any) -> None:
    """Settle what is in doubt; beat calls it every 15 seconds."""
    recovery.sweep()


@shared_task(soft_time_limit=90, time_limit=120, acks_late=False)
def process_events(**_: Any) -> None:
    """Work off webhooks that came in."""
    events.process_due(deadline=Deadline(EVENTS_SECONDS))


@shared_task(soft_time_limit=280, time_limit=300, acks_late=False)
def backfill_events(**_: Any) -> None:
    """Fetch what no webhook brought; beat calls it every hour."""
    events.backfill(since=timezone.now() - BACKFILL)


@shared_task(soft_time_limit=280, time_limit=300, acks_late=False)
def book_balance_transactions(**_: Any) -> None:
    """Book the fees and disputes that the provider took; beat calls it every minute."""
    bookkeeping.book_balance_transactions()


@shared_task(soft_time_limit=280, time_limit=300, acks_late=False)
def tend_carts(**_: Any) -> None:
    """Tell of carts left alone, forget those whose time is over; beat calls it every 5 minutes."""
    while carts.tell_abandoned(limit=CARTS_AT_ONCE) == CARTS_AT_ONCE:
        pass
    while carts.forget_expired(limit=CARTS_AT_ONCE) == CARTS_AT_ONCE:
        pass
    while payment_links.forget_expired(limit=CARTS_AT_ONCE) == CARTS_AT_ONCE:
        pass


@shared_task(soft_time_limit=50, time_limit=60, acks_late=False)
def tell_waiting_payments(**_: Any) -> None:
    """Tell of payments that wait for their buyer; beat calls it every minute."""
    waiting_payments.tell_waiting()


@shared_task(soft_time_limit=50, time_limit=60, acks_late=False)
def tell_back_in_stock(**_: Any) -> None:
    """Tell whoever waits for what can be ordered again; beat calls it every minute."""
    stock_alerts.tell_available()


@shared_task(soft_time_limit=280, time_limit=300, acks_late=False)
def finish_erasures(**_: Any) -> None:
    """Remove the person from orders that were still to be sent; beat calls it every hour."""
    privacy.finish_erasures()


@shared_task(soft_time_limit=3_500, time_limit=3_600, acks_late=False)
def reconcile_payments(**_: Any) -> None:
    """Compare the last days with the provider and repair what is safe; beat calls it each night."""
    since = timezone.now() - RECONCILED
    try:
        reconciliation.reconcile(since=since, repair=True, on_progress=lambda *_progress: None)
    finally:
        # Disputes, and refunds made by hand, come long after the payment: their events tell of
        # them. Neither depends on the other, and a long gap must not take up the night.
        events.backfill(since=since)


@shared_task(soft_time_limit=1_700, time_limit=1_800, acks_late=False)
def check_books(**_: Any) -> None:
    """Check every invariant in the database; beat calls it every hour."""
    watch.watch()


@shared_task(soft_time_limit=3_500, time_limit=3_600, acks_late=False)
def compare_books(**_: Any) -> None:
    """Check everything, at the provider too; beat calls it once the night's repairs are done."""
    watch.watch(with_provider=True, since=timezone.now() - RECONCILED)


@shared_task(soft_time_limit=3_500, time_limit=3_600, acks_late=False)
def run_jobs(**_: Any) -> None:
    """Run exports and imports that staff asked for; beat calls it every 15 seconds."""
    job_running.run_due(deadline=Deadline(JOBS_SECONDS))


@shared_task(soft_time_limit=280, time_limit=300, acks_late=False)
def forget_jobs(**_: Any) -> None:
    """Remove files of exports and imports whose time is over; beat calls it every hour."""
    while jobs.forget_expired(limit=JOBS_AT_ONCE) == JOBS_AT_ONCE:
        pass


@shared_task(soft_time_limit=3_500, time_limit=3_600, acks_late=False)
def prune(**_: Any) -> None:
    """Forget what is kept no longer, as `docs/data.md` says; beat calls it each night."""
    retention.prune(now=timezone.now(), deadline=Deadline(PRUNE_SECONDS))


def nudge_events() -> None:
    """Ask the broker, once, to work off webhooks; raises or blocks as the broker pleases."""
    process_events.apply_async(expires=NUDGE_EXPIRES_SECONDS, retry=False)


def nudge_jobs() -> None:
    """Ask the broker, once, to run jobs; likewise."""
    run_jobs.apply_async(expires=NUDGE_EXPIRES_SECONDS, retry=False)
