"""Exports and imports of staff: asked for, looked at, cancelled, handed out, forgotten.

PostgreSQL is the queue; a nudge through the broker only saves waiting for beat. What workers do
with a job is in `job_running`.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.functions import Now
from django.utils import timezone

from audit import services as audit
from audit.nudger import Nudger
from config.kernel import sql
from config.kernel.db import short_transaction
from config.kernel.errors import InvalidTransitionError, NotFoundError, ValidationFailedError
from customers.models import Customer
from orders.errors import NotAllowedError
from orders.models import BackgroundJob, BackgroundJobChunk
from orders.transfer import exports, imports
from orders.transfer.exports import FILES, Selection
from orders.transfer.formats import CONTENT_TYPES

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from django.db.models import QuerySet

KEPT: Final = timedelta(days=7)
MOST_OPEN: Final = 10  # of one person, waiting or running
LOCK: Final = 0x1490_29  # any number that nothing else locks by
CHUNK: Final = 512 * 1024  # bytes, before they are compressed
LONGEST_KEY: Final = 255  # the column's length


class JobLostError(Exception):
    """The job was cancelled, or its lease ran out and another worker has it."""


# --- nudging --------------------------------------------------------------------------------------
_nudger: Nudger | None = None


def set_nudge(nudge: Callable[[], None]) -> None:
    """Have `nudge` called, on a thread of its own, soon after a job was asked for."""
    global _nudger  # noqa: PLW0603 - one bell a process
    _nudger = Nudger(nudge)


# --- asking ---------------------------------------------------------------------------------------


def request_export(
    *, subject: str, file_format: str, selection: Selection, user: Customer, request_key: str
) -> BackgroundJob:
    """Have a worker write a file; the same `request_key` of the same person is the same job.

    Opens its own transaction. Columns that tell who a customer is are left out for those who may
    not export customers, whatever `selection` says.

    Args:
        subject: one of `exports.FILES`.
        file_format: one of its `formats`.
        selection: which rows; no value in it may be personal: pass the ids that a search found.
        user: who asks, and alone may download it, besides superusers.
        request_key: what the form was sent with.

    Raises:
        NotAllowedError: without the right to export this.
        ValidationFailedError: an unknown format, a filter it has not, too many jobs waiting.
        NotFoundError: there is no such export.
    """
    export = FILES.get(subject)
    if export is None:
        raise NotFoundError
    require_right(user, export.permission)
    if file_format not in export.formats:
        raise ValidationFailedError(f"the format is one of {', '.join(export.formats)}")
    exports.check(subject, selection)
    with_personal = user.has_perm("customers.export_customers")
    now = timezone.now()
    return _create(
        user=user,
        request_key=request_key,
        event_type="EXPORT_REQUESTED",
        kind=BackgroundJob.Kind.EXPORT,
        subject=subject,
        parameters={
            "format": file_format,
            "filters": {name: str(value) for name, value in selection.filters.items()},
            "ids": None if selection.ids is None else list(selection.ids),
            "with_personal": with_personal,
        },
        is_personal=export.is_personal or (bool(export.personal) and with_personal),
        file_name=f"{subject.replace('_', '-')}-{now:%Y-%m-%d-%H%M}.{file_format}",
        content_type=CONTENT_TYPES[file_format],
    )


def request_preview(
    *, subject: str, file_name: str, content: Iterable[bytes], user: Customer, request_key: str
) -> BackgroundJob:
    """Keep an uploaded file and have a worker say what it would change; nothing is changed.

    Opens its own transaction. The same `request_key` of the same person is the same job.

    Raises:
        NotAllowedError: without the right to import this.
        ValidationFailedError: empty, larger than `MAX_UPLOAD_BYTES`; too many jobs waiting.
        NotFoundError: there is no such import.
    """
    if subject not in imports.IMPORTS:
        raise NotFoundError
    require_right(user, imports.PERMISSIONS[subject])
    pieces, size = [], 0
    for piece in content:
        size += len(piece)
        if size > settings.MAX_UPLOAD_BYTES:
            largest = settings.MAX_UPLOAD_BYTES // 1024**2
            raise ValidationFailedError(f"the file is larger than {largest} MB: split it")
        pieces.append(piece)
    if not size:
        raise ValidationFailedError("the file is empty")
    whole = b"".join(pieces)
    return _create(
        [whole[begin : begin + CHUNK] for begin in range(0, size, CHUNK)],
        user=user,
        request_key=request_key,
        event_type="IMPORT_UPLOADED",
        kind=BackgroundJob.Kind.PREVIEW,
        subject=subject,
        file_name=_plain_name(file_name),
        size=size,
    )


def confirm_import(*, preview_id: int, user: Customer) -> BackgroundJob:
    """Have a worker write what a preview showed; each preview at most once, however often asked.

    Opens its own transaction. The preview is kept as long as its import. The file is checked again
    before it is written: what has become wrong since the preview fails the import, and nothing is
    changed.

    Raises:
        NotFoundError: no preview of their own.
        NotAllowedError: without the right to import this.
        InvalidTransitionError: the preview is not finished, or found lines that are bad.
    """
    preview = list_jobs(user=user).filter(pk=preview_id, kind=BackgroundJob.Kind.PREVIEW).first()
    if preview is None:
        raise NotFoundError
    require_right(user, imports.PERMISSIONS[preview.subject])
    if (there := BackgroundJob.objects.filter(applies=preview).first()) is not None:
        return there
    if preview.status != BackgroundJob.Status.DONE or preview.result is None:
        raise InvalidTransitionError("The preview is not finished.")
    if preview.result["bad_lines"]:
        raise InvalidTransitionError("Correct the lines that were refused, and upload it again.")
    return _create(
        user=user,
        request_key=f"applies {preview.uuid}",
        event_type="IMPORT_CONFIRMED",
        kind=BackgroundJob.Kind.IMPORT,
        subject=preview.subject,
        applies=preview,
        file_name=preview.file_name,
    )


def _create(
    upload: Sequence[bytes] = (),
    *,
    user: Customer,
    request_key: str,
    event_type: str,
    **fields: Any,
) -> BackgroundJob:
    if not 1 <= len(request_key) <= LONGEST_KEY:
        raise ValidationFailedError("the form has no key: load the page again")
    with short_transaction():
        # One at a time of one person: the same form sent twice, and the count of what is open.
        Customer.objects.select_for_update(no_key=True).only("pk").get(pk=user.pk)
        mine = BackgroundJob.objects.filter(owner=user)
        if (there := mine.filter(request_key=request_key).first()) is not None:
            return there
        if mine.filter(status__in=BackgroundJob.OPEN).count() >= MOST_OPEN:
            raise ValidationFailedError(
                f"{MOST_OPEN} of your jobs are waiting or running: wait for one, or cancel it"
            )
        job = BackgroundJob.objects.create(
            owner=user, request_key=request_key, expires_at=timezone.now() + KEPT, **fields
        )
        if job.applies is not None:
            BackgroundJob.objects.filter(pk=job.applies.pk).update(expires_at=job.expires_at)
        for n, piece in enumerate(upload):
            BackgroundJobChunk.objects.create(
                job=job, part=BackgroundJobChunk.Part.UPLOAD, n=n, data=zlib.compress(piece)
            )
        audit.record(
            event_type,
            entity_type="background_job",
            entity_id=job.pk,
            data={"subject": job.subject, "kind": job.kind, "personal": job.is_personal},
        )
        if _nudger is not None:
            transaction.on_commit(_nudger.ring, robust=True)
    return job


def require_right(user: Customer, permission: str) -> None:
    if not (user.is_active and user.is_staff and user.has_perm(permission)):
        raise NotAllowedError


def _plain_name(name: str) -> str:
    """Of an uploaded file's name, which may say anything, what is harmless in a header."""
    kept = "".join(c for c in name if c.isascii() and (c.isalnum() or c in "._- "))
    return kept[-100:].strip() or "upload"


# --- looking and cancelling -----------------------------------------------------------------------


def find_job(*, job_id: int, user: Customer) -> BackgroundJob:
    """A job that this person may see: their own, or any for a superuser.

    Raises:
        NotFoundError: there is none, or it is somebody else's.
    """
    jobs = BackgroundJob.objects.all() if user.is_superuser else list_jobs(user=user)
    job = jobs.filter(pk=job_id).first()
    if job is None:
        raise NotFoundError
    return job


def list_jobs(*, user: Customer) -> Any:
    """The jobs of one person, the latest first."""
    return BackgroundJob.objects.filter(owner=user).order_by("-pk")


def cancel(*, job_id: int, user: Customer) -> BackgroundJob:
    """Stop a job that waits or runs; of one that is over nothing changes. Opens a transaction.

    Raises:
        NotFoundError: there is none of theirs.
        InvalidTransitionError: its import is being written at this moment.
    """
    find_job(job_id=job_id, user=user)
    with short_transaction():
        job = (
            BackgroundJob.objects.select_for_update(skip_locked=True, no_key=True)
            .filter(pk=job_id)
            .first()
        )
        if job is None:
            raise InvalidTransitionError("It is being written at this moment; look again soon.")
        if job.status in BackgroundJob.OPEN:
            finish(job, BackgroundJob.Status.CANCELLED)
            audit.record(
                "JOB_CANCELLED",
                entity_type="background_job",
                entity_id=job.pk,
                data={"subject": job.subject, "kind": job.kind, "done": job.done},
            )
    return job


def finish(
    job: BackgroundJob,
    status: BackgroundJob.Status,
    *,
    lease: uuid.UUID | None = None,
    **fields: Any,
) -> None:
    """End a job, and remove its files unless it is done. Requires a transaction.

    Raises:
        JobLostError: it is not held by `lease` any more.
    """
    fields = {"error": "", **fields}  # a try that was put off may have left one
    held = BackgroundJob.objects.filter(pk=job.pk, status__in=BackgroundJob.OPEN)
    if lease is not None:
        held = held.filter(lease=lease)
    if not held.update(status=status, lease=None, lease_until=None, finished_at=Now(), **fields):
        raise JobLostError
    if status != BackgroundJob.Status.DONE:
        BackgroundJobChunk.objects.filter(job=job).delete()
    job.status = status


# --- handing out and forgetting -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """A finished file; `pieces` are read from the database as they are sent."""

    file_name: str
    content_type: str
    size: int
    pieces: Iterator[bytes]


def download(*, job_id: int, user: Customer) -> Download:
    """Hand out the file of an export. Every time is written down.

    Opens its own transaction.

    Raises:
        NotFoundError: there is none of theirs, it is not done, or its time is over.
        NotAllowedError: the right to export this was taken away since.
    """
    job = find_job(job_id=job_id, user=user)
    is_there = job.status == BackgroundJob.Status.DONE and job.expires_at > timezone.now()
    if job.kind != BackgroundJob.Kind.EXPORT or not is_there:
        raise NotFoundError
    require_right(user, FILES[job.subject].permission)
    if job.is_personal:
        require_right(user, "customers.export_customers")
    with short_transaction():
        audit.record(
            "EXPORT_DOWNLOADED",
            entity_type="background_job",
            entity_id=job.pk,
            data={"subject": job.subject, "bytes": job.size, "personal": job.is_personal},
        )
    return Download(
        file_name=job.file_name,
        content_type=job.content_type,
        size=job.size,
        pieces=pieces_of(job.pk, BackgroundJobChunk.Part.RESULT),
    )


def pieces_of(job_id: int, part: BackgroundJobChunk.Part) -> Iterator[bytes]:
    """One chunk at a time, each read by itself: nothing is held open in between."""
    chunks = BackgroundJobChunk.objects.filter(job_id=job_id, part=part).order_by("n")
    n = 0
    while (data := chunks.filter(n=n).values_list("data", flat=True).first()) is not None:
        yield zlib.decompress(data)
        n += 1


def count_expired() -> int:
    """How many jobs `forget_expired` would remove."""
    return _expired().count()


def forget_expired(*, limit: int) -> int:
    """Remove jobs whose time is over, with their files. Returns how many; opens transactions."""
    ids = list(_expired().order_by("-pk").values_list("pk", flat=True)[:limit])
    for job_id in ids:  # an import before the preview that it applies
        with short_transaction():
            BackgroundJob.objects.filter(pk=job_id).delete()
    return len(ids)


def _expired() -> QuerySet[BackgroundJob]:
    """Not what is still to be done, nor the preview whose file that writes."""
    is_open = Q(status__in=BackgroundJob.OPEN)
    is_applied = Exists(BackgroundJob.objects.filter(is_open, applies=OuterRef("pk")))
    return BackgroundJob.objects.filter(~is_open, ~is_applied, expires_at__lte=Now())


def forget_people() -> None:
    """Somebody was erased: files that may tell of them go, and those being written begin anew.

    Requires an open transaction; idempotent. No job is taken up until that has ended: it might
    read once more what is being erased.
    """
    sql.execute("SELECT pg_advisory_xact_lock(%(lock)s)", lock=LOCK)
    personal = BackgroundJob.objects.filter(is_personal=True)
    # In this order: one that ends in between is met by the second.
    personal.filter(status=BackgroundJob.Status.RUNNING).update(
        status=BackgroundJob.Status.QUEUED,
        lease=None,
        lease_until=None,
        attempts=F("attempts") - 1,  # this one is no failure; those before it were
    )
    personal.exclude(status__in=BackgroundJob.OPEN).update(expires_at=Now())
    BackgroundJobChunk.objects.filter(
        job__in=personal.filter(status=BackgroundJob.Status.QUEUED)
    ).delete()
