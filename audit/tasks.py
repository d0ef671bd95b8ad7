"""What Celery runs for the outbox and the audit log: thin, repeatable, limited in time."""

from __future__ import annotations

from typing import Any

from celery import shared_task
from django.conf import settings

from audit import outbox, partitions
from audit.seals import sealing, verification
from config.kernel.clock import Deadline

RELAY_SECONDS = 5.0
"""After this a run begins no other hand-over: the sweeper shares the workers with the relay."""
NUDGE_EXPIRES_SECONDS = 5
"""A nudge older than this is worth nothing: beat's relay comes by, and none must pile up."""
SEAL_SECONDS = 20.0
"""After this a run begins no other seal: beat comes by in a few seconds."""


@shared_task(name="audit.tasks.relay", ignore_result=True, soft_time_limit=35, time_limit=45)
def relay(**_: Any) -> None:
    """Deliver what is due."""
    outbox.relay(deadline=Deadline(RELAY_SECONDS), threads=settings.RELAY_THREADS)


@shared_task(
    name="audit.tasks.extend_partitions", ignore_result=True, soft_time_limit=30, time_limit=60
)
def extend_partitions(**_: Any) -> None:
    """Make the audit log's partitions for this month and the next ones; idempotent."""
    partitions.make_ahead()


@shared_task(
    name="audit.tasks.seal", ignore_result=True, soft_time_limit=35, time_limit=45, acks_late=False
)
def seal(**_: Any) -> None:
    """Seal what the audit log holds so far, and copy the seals; beat calls it every few seconds."""
    sealing.seal_all(deadline=Deadline(SEAL_SECONDS))


@shared_task(
    name="audit.tasks.verify",
    ignore_result=True,
    soft_time_limit=6_900,
    time_limit=7_200,
    acks_late=False,
)
def verify(**_: Any) -> None:
    """Hold the whole audit log against its seals, keep the outcome; beat calls it each night."""
    verification.keep(verification.verify())


def start_verification() -> None:
    """Ask the broker, once, for a verification; raises if it does not take it."""
    verify.apply_async(retry=False)


def nudge_relay() -> None:
    """Ask the broker, once, for a run of the relay; raises or blocks as the broker pleases."""
    relay.apply_async(expires=NUDGE_EXPIRES_SECONDS, retry=False)
