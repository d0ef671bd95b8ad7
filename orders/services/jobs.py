"""Exports and imports of staff, run by workers: asked for, taken up, handed out, forgotten.

PostgreSQL is the queue. A nudge through the broker only saves waiting for beat. A worker holds a
job by a lease that it renews with all it writes; one that dies leaves a lease that ends, and
another begins the job anew. A worker whose job was taken from it, or cancelled, can write nothing
more. An import is written in one transaction, which also says that it is done, and which holds the
job's row: it happens once or not at all.
"""

from __future__ import annotations

import io
import tempfile
import time
import traceback
import uuid
import zlib
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models.functions import Now
from django.utils import timezone

from audit import services as audit
from audit.nudger import Nudger
from config.kernel import csv_files, request_context, sql, xlsx_files
from config.kernel.db import short_transaction
from config.kernel.errors import InvalidTransitionError, NotFoundError, ValidationFailedError
from customers.models import Customer
from inventory.errors import UnusableFileError
from orders.errors import NotAllowedError
from orders.models import BackgroundJob, BackgroundJobChunk
from orders.models.jobs import LONGEST_ERROR
from orders.transfer import exports, imports
from orders.transfer.exports import EXPORTS, Selection, Table
from orders.transfer.formats import CONTENT_TYPES, csv_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import IO

    from django.db.models import QuerySet

    from config.kernel.clock import Deadline

KEPT: Final = timedelta(days=7)
LEASE: Final = timedelta(minutes=2)  # longer than a batch may take (`exports.BATCH_SECONDS`)
RENEWED_EVERY_SECONDS: Final = 15.0
IMPORT_SECONDS: Final = 300  # of each statement; the role's own limits suit short requests
MOST_ATTEMPTS: Final = 3
MOST_OPEN: Final = 10  # of one person, waiting or running
MOST_AT_ONCE: Final = max(1, settings.CELERY_WORKER_CONCURRENCY - 1)
"""Jobs that run at a time: of a worker's processes one is left to the sweeper and the relay."""
LOCK: Final = 0x1490_29  # any number that nothing else locks by
CHUNK: Final = 512 * 1024  # bytes, before they are compressed
LONGEST_KEY: Final = 255  # the column's length
TOO_MANY_TRIES: Final = "every try ended without a word: was the worker stopped, or out of memory?"

log = structlog.get_logger(__name__)


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
        subject: one of `exports.EXPORTS`.
        file_format: `csv` or `xlsx`.
        selection: which rows; no value in it may be personal: pass the ids that a search found.
        user: who asks, and alone may download it, besides superusers.
        request_key: what the form was sent with.

    Raises:
        NotAllowedError: without the right to export this.
        ValidationFailedError: an unknown format, a filter it has not, too many jobs waiting.
        NotFoundError: there is no such export.
    """
    export = EXPORTS.get(subject)
    if export is None:
        raise NotFoundError
    _require(user, export.permission)
    if file_format not in CONTENT_TYPES:
        raise ValidationFailedError(f"the format is one of {', '.join(CONTENT_TYPES)}")
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
    _require(user, imports.PERMISSIONS[subject])
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

    Opens its own transaction. The file is checked again as it is written: what has become wrong
    since the preview fails the import, and nothing is changed.

    Raises:
        NotFoundError: no preview of their own.
        NotAllowedError: without the right to import this.
        InvalidTransitionError: the preview is not finished, or found lines that are bad.
    """
    preview = list_jobs(user=user).filter(pk=preview_id, kind=BackgroundJob.Kind.PREVIEW).first()
    if preview is None:
        raise NotFoundError
    _require(user, imports.PERMISSIONS[preview.subject])
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


def _require(user: Customer, permission: str) -> None:
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
            _finish(job, BackgroundJob.Status.CANCELLED)
            audit.record(
                "JOB_CANCELLED",
                entity_type="background_job",
                entity_id=job.pk,
                data={"subject": job.subject, "kind": job.kind, "done": job.done},
            )
    return job


# --- running --------------------------------------------------------------------------------------


def run_due(*, deadline: Deadline) -> int:
    """Run jobs, oldest first, until none is waiting. Returns how many ended.

    Opens its own transactions; never call it inside one. Any number of workers may: no job is
    run by two of them, and no more than `MOST_AT_ONCE` run in all.

    Args:
        deadline: no further job begins after it.
    """
    ended = 0
    while deadline.remaining() > 0 and (job := _take()) is not None:
        _run(job)
        ended += 1
    return ended


def _take() -> BackgroundJob | None:
    """Lease the job that has waited longest, or whose worker is gone; give up what failed often."""
    with short_transaction():
        sql.execute("SELECT pg_advisory_xact_lock(%(lock)s)", lock=LOCK)
        found = sql.fetch_one(
            """
            SELECT id, attempts FROM background_jobs
            WHERE (status = 'queued' OR status = 'running' AND lease_until <= statement_timestamp())
              AND (SELECT count(*) FROM background_jobs
                   WHERE status = 'running' AND lease_until > statement_timestamp()) < %(most)s
            ORDER BY id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
            """,
            most=MOST_AT_ONCE,
        )
        if found is None:
            return None
        # What an earlier try left; what is written from now on is this one's.
        BackgroundJobChunk.objects.filter(
            job_id=found.id, part=BackgroundJobChunk.Part.RESULT
        ).delete()
        BackgroundJob.objects.filter(pk=found.id).update(
            status=BackgroundJob.Status.RUNNING,
            lease=uuid.uuid4(),
            lease_until=Now() + LEASE,
            attempts=found.attempts + 1,
            started_at=Now(),
            done=0,
            total=None,
        )
    return BackgroundJob.objects.select_related("owner", "applies").get(pk=found.id)


def _run(job: BackgroundJob) -> None:
    asker = request_context.RequestContext(user_id=job.owner_id)
    with request_context.bound(asker):
        try:
            if job.attempts > MOST_ATTEMPTS:
                _fail(job, TOO_MANY_TRIES)
                return
            _RUN[BackgroundJob.Kind(job.kind)](job)
        except JobLostError:
            log.info("job_lost", job_id=job.pk)
        except (OperationalError, InterfaceError) as exc:
            # The database was away, or too slow: the lease ends, and another try follows.
            connection.close()
            log.warning("job_put_off", job_id=job.pk, error=type(exc).__name__)
        except (UnusableFileError, ValidationFailedError, NotAllowedError) as exc:
            _fail(job, str(exc))
        except Exception as exc:
            _fail(job, _described(exc))
            raise


def _export(job: BackgroundJob) -> None:
    _still_allowed(job, EXPORTS[job.subject].permission)
    asked = job.parameters
    with_personal = asked["with_personal"]
    if job.is_personal:
        _still_allowed(job, "customers.export_customers")
    table = exports.open_table(
        job.subject,
        Selection(filters=asked["filters"], ids=asked["ids"], with_personal=with_personal),
    )
    written = _Written(job)
    write = _write_xlsx if asked["format"] == "xlsx" else _write_csv
    rows = write(table, written)
    with short_transaction():
        written.flush()
        _finish(
            job,
            BackgroundJob.Status.DONE,
            lease=job.lease,
            size=written.size,
            result={"rows": rows, "columns": table.columns},
        )
        audit.record(
            "EXPORT",
            entity_type="background_job",
            entity_id=job.pk,
            data={
                "subject": job.subject,
                "rows": rows,
                "bytes": written.size,
                "format": asked["format"],
                "filters": asked["filters"],
                "picked": None if asked["ids"] is None else len(asked["ids"]),
                "personal": job.is_personal,
            },
        )


def _write_csv(table: Table, written: _Written) -> int:
    lines = csv_files.writer(written)
    lines.writerow(csv_cells(table.columns))
    count = 0
    for done, rows in table.rows:
        lines.writerows(map(csv_cells, rows))
        count += len(rows)
        written.note(done, total=table.total)
    return count


def _write_xlsx(table: Table, written: _Written) -> int:
    count = 0
    with xlsx_files.Writer(title="export") as sheet, tempfile.TemporaryFile() as file:
        sheet.writerow(table.columns)
        for done, rows in table.rows:
            count += len(rows)
            if count > xlsx_files.MOST_ROWS:
                most = f"{xlsx_files.MOST_ROWS:,}"
                raise ValidationFailedError(
                    f"XLSX has room for {most} rows: choose CSV, or a shorter period"
                )
            for row in rows:
                sheet.writerow(row)
            written.note(done, total=table.total)
        sheet.save(_Beating(file, written))  # type: ignore[arg-type]  # what `zipfile` needs of a file
        file.seek(0)
        for piece in iter(lambda: file.read(CHUNK), b""):
            written.add(piece)
    return count


class _Written:
    """A job's file on its way into the database; every write renews the lease, or finds it lost."""

    def __init__(self, job: BackgroundJob) -> None:
        self.size = 0
        self._job = job
        self._waiting = io.BytesIO()
        self._chunks = 0
        self._done: tuple[int, int | None] = (0, None)
        self._renewed_at = time.monotonic()

    def write(self, text: str) -> None:
        """Take text, as `csv.writer` gives it."""
        self.add(text.encode())

    def add(self, piece: bytes) -> None:
        """Take bytes; keep them as soon as they are enough for a chunk."""
        self.size += len(piece)
        self._waiting.write(piece)
        if self._waiting.tell() >= CHUNK:
            with short_transaction():
                self.flush()

    def note(self, done: int, *, total: int) -> None:
        """Say how far it is."""
        self._done = (min(done, total), total)
        self.renew(every=1.0)

    def renew(self, *, every: float = RENEWED_EVERY_SECONDS) -> None:
        """Renew the lease, unless that was done just now."""
        if time.monotonic() - self._renewed_at >= every:
            with short_transaction():
                self._renew()

    def flush(self) -> None:
        """Keep what waits. Requires a transaction."""
        self._renew()
        if piece := self._waiting.getvalue():
            BackgroundJobChunk.objects.create(
                job=self._job,
                part=BackgroundJobChunk.Part.RESULT,
                n=self._chunks,
                data=zlib.compress(piece, level=6),
            )
            self._chunks += 1
            self._waiting = io.BytesIO()

    def _renew(self) -> None:
        done, total = self._done
        held = BackgroundJob.objects.filter(
            pk=self._job.pk, lease=self._job.lease, status=BackgroundJob.Status.RUNNING
        ).update(lease_until=Now() + LEASE, done=done, total=total)
        if not held:
            raise JobLostError
        self._renewed_at = time.monotonic()


class _Beating:
    """A file that renews a job's lease while a workbook is packed into it."""

    def __init__(self, file: IO[bytes], written: _Written) -> None:
        self._file = file
        self._written = written

    def write(self, piece: bytes) -> int:
        self._written.renew()
        return self._file.write(piece)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _preview(job: BackgroundJob) -> None:
    _still_allowed(job, imports.PERMISSIONS[job.subject])
    with _upload(job) as file, _held(job):
        outcome = imports.read_file(job.subject, file, dry_run=True)
        _finish(
            job,
            BackgroundJob.Status.DONE,
            lease=job.lease,
            result=asdict(outcome),
            done=outcome.lines,
            total=outcome.lines,
        )


def _import(job: BackgroundJob) -> None:
    preview = job.applies
    assert preview is not None  # noqa: S101 - a constraint says so
    _still_allowed(job, imports.PERMISSIONS[job.subject])
    with _upload(preview) as file, _held(job):
        outcome = imports.read_file(job.subject, file, dry_run=False)
        if outcome.bad_lines:
            first = outcome.problems[0]
            raise UnusableFileError(
                f"nothing was changed: since the preview {outcome.bad_lines} lines became bad;"
                f" line {first['line']}: {first['reason']}"
            )
        counts = {"written": True, **_counts(outcome)}
        _finish(
            job,
            BackgroundJob.Status.DONE,
            lease=job.lease,
            result=counts,
            done=outcome.lines,
            total=outcome.lines,
        )
        audit.record(
            "IMPORT",
            entity_type="background_job",
            entity_id=job.pk,
            data={"subject": job.subject, "preview": preview.pk, **_counts(outcome)},
        )


_RUN: Final[Mapping[BackgroundJob.Kind, Callable[[BackgroundJob], None]]] = {
    BackgroundJob.Kind.EXPORT: _export,
    BackgroundJob.Kind.PREVIEW: _preview,
    BackgroundJob.Kind.IMPORT: _import,
}


def _counts(outcome: imports.Outcome) -> dict[str, int]:
    names = ("lines", "created", "updated", "unchanged", "prices", "bad_lines")
    return {name: getattr(outcome, name) for name in names}


@contextmanager
def _held(job: BackgroundJob) -> Iterator[None]:
    """One transaction that holds the job's row: whoever looks for work passes it by meanwhile.

    However long it takes, no lease is needed: the lock ends with the worker.
    """
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        for limit in ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"):
            cursor.execute("SELECT set_config(%s, %s, true)", [limit, f"{IMPORT_SECONDS}s"])
        held = BackgroundJob.objects.select_for_update(no_key=True).filter(
            pk=job.pk, lease=job.lease, status=BackgroundJob.Status.RUNNING
        )
        if not held.exists():
            raise JobLostError
        yield


@contextmanager
def _upload(job: BackgroundJob) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        for piece in _pieces(job.pk, BackgroundJobChunk.Part.UPLOAD):
            file.write(piece)
        file.seek(0)
        yield file


def _still_allowed(job: BackgroundJob, permission: str) -> None:
    try:
        _require(job.owner, permission)
    except NotAllowedError:
        raise NotAllowedError("whoever asked for it may not do this any more") from None


def _fail(job: BackgroundJob, error: str) -> None:
    with short_transaction():
        try:
            _finish(job, BackgroundJob.Status.FAILED, lease=job.lease, error=error[:LONGEST_ERROR])
        except JobLostError:
            return
        BackgroundJobChunk.objects.filter(job=job, part=BackgroundJobChunk.Part.RESULT).delete()
        audit.record(
            "JOB_FAILED",
            entity_type="background_job",
            entity_id=job.pk,
            data={"subject": job.subject, "kind": job.kind, "attempts": job.attempts},
        )


def _finish(
    job: BackgroundJob,
    status: BackgroundJob.Status,
    *,
    lease: uuid.UUID | None = None,
    **fields: Any,
) -> None:
    """End a job. Requires a transaction.

    Raises:
        JobLostError: it is not held by `lease` any more.
    """
    held = BackgroundJob.objects.filter(pk=job.pk, status__in=BackgroundJob.OPEN)
    if lease is not None:
        held = held.filter(lease=lease)
    if not held.update(status=status, lease=None, lease_until=None, finished_at=Now(), **fields):
        raise JobLostError
    job.status = status


def _described(exc: Exception) -> str:
    """Name an error and its place; its text may quote personal data."""
    last_frame = traceback.extract_tb(exc.__traceback__)[-1:]
    where = "".join(f" at {frame.name}:{frame.lineno}" for frame in last_frame)
    return f"{type(exc).__name__}{where}"


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
    _require(user, EXPORTS[job.subject].permission)
    if job.is_personal:
        _require(user, "customers.export_customers")
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
        pieces=_pieces(job.pk, BackgroundJobChunk.Part.RESULT),
    )


def _pieces(job_id: int, part: BackgroundJobChunk.Part) -> Iterator[bytes]:
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
    over = BackgroundJob.objects.filter(expires_at__lte=Now())
    return over.exclude(status=BackgroundJob.Status.RUNNING)


def forget_people() -> None:
    """Somebody was erased: files that may tell of them go, and those being written begin anew.

    Requires an open transaction; idempotent. No job is taken up until that has ended: it might
    read once more what is being erased.
    """
    sql.execute("SELECT pg_advisory_xact_lock(%(lock)s)", lock=LOCK)
    personal = BackgroundJob.objects.filter(is_personal=True)
    # In this order: one that ends in between is met by the second.
    personal.filter(status=BackgroundJob.Status.RUNNING).update(
        status=BackgroundJob.Status.QUEUED, lease=None, lease_until=None, attempts=0
    )
    personal.filter(status=BackgroundJob.Status.DONE).update(expires_at=Now())
