"""Runs the jobs of staff: takes one up by a lease, writes its file or the shop's rows, ends it.

A worker renews its lease with all it reads and writes; one that dies leaves a lease that ends, and
another begins the job anew. A worker whose job was taken from it, or cancelled, can write nothing
more. An import is read through first, and then written in one transaction, which also says that it
is done, and which holds the job's row: it happens once or not at all.
"""

from __future__ import annotations

import contextlib
import functools
import io
import tempfile
import time
import traceback
import uuid
import zlib
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now

from audit import services as audit
from audit.seals import export as seals
from config.kernel import csv_files, request_context, sql, xlsx_files
from config.kernel.db import WENT_AWAY, short_transaction
from config.kernel.errors import NotFoundError, ValidationFailedError
from inventory.errors import UnusableFileError
from orders.errors import NotAllowedError
from orders.models import BackgroundJob, BackgroundJobChunk
from orders.models.jobs import LONGEST_ERROR
from orders.services.jobs import CHUNK, LOCK, JobLostError, finish, pieces_of, require_right
from orders.transfer import exports, imports
from orders.transfer.exports import FILES, Selection, Table
from orders.transfer.formats import csv_cells
from orders.transfer.reports import REPORTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import IO

    from config.kernel.clock import Deadline

LEASE: Final = timedelta(minutes=3)  # longer than two statements of an export may take
RENEWED_EVERY_SECONDS: Final = 15.0
NOTED_EVERY_SECONDS: Final = 1.0  # how far it is, for whoever looks
IMPORT_SECONDS: Final = 300  # of each statement; the role's own limits suit short requests
MOST_ATTEMPTS: Final = 3
MOST_AT_ONCE: Final = max(1, settings.CELERY_WORKER_CONCURRENCY - 1)
"""Jobs that run at a time: of a worker's processes one is left to the sweeper and the relay."""
TOO_MANY_TRIES: Final = (
    "No try came to an end: was the worker stopped or out of memory, or the database away or slow?"
)

log = structlog.get_logger(__name__)


def run_due(*, deadline: Deadline) -> int:
    """Run jobs, oldest first, until none is waiting. Returns how many ended.

    Opens its own transactions; never call it inside one. Any number of workers may: no job is
    run by two of them, and no more than `MOST_AT_ONCE` run in all: a job that runs is leased, or
    its row is locked while an import is written.

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
            WITH abandoned AS MATERIALIZED (
                SELECT id FROM background_jobs
                WHERE status = 'running' AND lease_until <= statement_timestamp()
                FOR NO KEY UPDATE SKIP LOCKED
            )
            SELECT id, attempts FROM background_jobs
            WHERE (status = 'queued' OR id IN (SELECT id FROM abandoned))
              AND (SELECT count(*) FROM background_jobs
                   WHERE status = 'running' AND id NOT IN (SELECT id FROM abandoned)) < %(most)s
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
                _fail(job, f"{TOO_MANY_TRIES} {job.error}".strip())
                return
            _RUN[BackgroundJob.Kind(job.kind)](job)
        except JobLostError:
            log.info("job_lost", job_id=job.pk)
        except WENT_AWAY as exc:
            # The database was away, or too slow: the lease ends, and another try follows.
            connection.close()
            log.warning("job_put_off", job_id=job.pk, error=_kind(exc))
            _remember(job, exc)
        except (UnusableFileError, ValidationFailedError, NotAllowedError) as exc:
            _fail(job, str(exc))
        except Exception as exc:
            _fail(job, _described(exc))
            raise


def _export(job: BackgroundJob) -> None:
    _still_allowed(job, FILES[job.subject].permission)
    asked = job.parameters
    with_personal = asked["with_personal"]
    if job.is_personal:
        _still_allowed(job, "customers.export_customers")
    selection = Selection(filters=asked["filters"], ids=asked["ids"], with_personal=with_personal)
    written = _Written(job)
    columns: list[str] = []
    if asked["format"] == "zip":
        rows, note = _write_audit_log(selection, written)
    else:
        table = exports.open_table(job.subject, selection)
        write = _write_xlsx if asked["format"] == "xlsx" else _write_csv
        rows, columns, note = write(table, written), table.columns, table.note
    with short_transaction():
        written.flush()
        finish(
            job,
            BackgroundJob.Status.DONE,
            lease=job.lease,
            size=written.size,
            result={"rows": rows, "columns": columns, "note": note},
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


def _write_audit_log(selection: Selection, written: _Written) -> tuple[int, str]:
    """The days' rows with their seals; returns how many, and what is to be said of them."""
    days = REPORTS["audit_log"].days(selection.filters)
    try:
        extent = seals.find_extent(begin=days.begin, end=days.until)
    except NotFoundError as exc:
        raise ValidationFailedError(exc.message) from exc
    done = seals.write(
        _Taking(written),  # type: ignore[arg-type]  # what `zipfile` needs of a file
        extent,
        on_progress=lambda rows, total: written.note(rows, total=total),
    )
    notes = []
    if done.unsealed:
        notes.append(f"{done.unsealed} rows of these days have no seal yet, and are not in it.")
    if done.differing:
        notes.append(f"The rows of {done.differing} seals are not as they were sealed: verify.")
    return done.rows, " ".join(notes)


class _Taking:
    """A file that hands on what is written, and cannot be gone back in."""

    def __init__(self, written: _Written) -> None:
        self._written = written

    def write(self, piece: bytes) -> int:
        self._written.add(piece)
        return len(piece)

    def flush(self) -> None:
        """What waits for a whole chunk goes on waiting."""


class _Lease:
    """A worker's hold on its job: renewed as the work goes on, or found to be lost."""

    def __init__(self, job: BackgroundJob) -> None:
        self._job = job
        self._done: tuple[int, int | None] = (0, None)
        self._renewed_at = time.monotonic()

    def note(self, done: int, *, total: int | None = None) -> None:
        """Say how far it is."""
        self._done = (done if total is None else min(done, total), total)
        self.renew(every=NOTED_EVERY_SECONDS)

    def renew(self, *, every: float = RENEWED_EVERY_SECONDS) -> None:
        """Renew the lease, unless that was done just now."""
        if time.monotonic() - self._renewed_at >= every:
            with short_transaction():
                self._renew()

    def _renew(self) -> None:
        done, total = self._done
        held = BackgroundJob.objects.filter(
            pk=self._job.pk, lease=self._job.lease, status=BackgroundJob.Status.RUNNING
        ).update(lease_until=Now() + LEASE, done=done, total=total)
        if not held:
            raise JobLostError
        self._renewed_at = time.monotonic()


class _Written(_Lease):
    """A job's file on its way into the database; every write renews the lease, or finds it lost."""

    def __init__(self, job: BackgroundJob) -> None:
        super().__init__(job)
        self.size = 0
        self._waiting = io.BytesIO()
        self._chunks = 0

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
    progress = _Lease(job).note
    with _upload(job) as file, imports.check_file(job.subject, file, progress=progress) as checked:
        outcome = checked.preview()
    with short_transaction():
        finish(
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
    total = preview.result["lines"] if preview.result else None
    progress = functools.partial(_Lease(job).note, total=total)
    with (
        _upload(preview) as file,
        imports.check_file(job.subject, file, progress=progress) as checked,
        _held(job),
    ):
        outcome = checked.write()
        if outcome.bad_lines:
            first = outcome.problems[0]
            raise UnusableFileError(
                f"nothing was changed: since the preview {outcome.bad_lines} lines became bad;"
                f" line {first['line']}: {first['reason']}"
            )
        counts = {"written": True, **_counts(outcome)}
        finish(
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


@contextlib.contextmanager
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


@contextlib.contextmanager
def _upload(job: BackgroundJob) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        for piece in pieces_of(job.pk, BackgroundJobChunk.Part.UPLOAD):
            file.write(piece)
        file.seek(0)
        yield file


def _still_allowed(job: BackgroundJob, permission: str) -> None:
    try:
        require_right(job.owner, permission)
    except NotAllowedError:
        raise NotAllowedError("whoever asked for it may not do this any more") from None


def _remember(job: BackgroundJob, exc: Exception) -> None:
    """Why a try was put off, for whoever reads that all of them were; if the database is there."""
    with contextlib.suppress(*WENT_AWAY):
        BackgroundJob.objects.filter(
            pk=job.pk, lease=job.lease, status=BackgroundJob.Status.RUNNING
        ).update(error=f"The last one: {_kind(exc)}.")


def _kind(exc: Exception) -> str:
    """What the database called it, like QueryCanceled; its text may quote personal data."""
    return type(exc.__cause__ or exc).__name__


def _fail(job: BackgroundJob, error: str) -> None:
    with short_transaction():
        try:
            finish(job, BackgroundJob.Status.FAILED, lease=job.lease, error=error[:LONGEST_ERROR])
        except JobLostError:
            return
        audit.record(
            "JOB_FAILED",
            entity_type="background_job",
            entity_id=job.pk,
            data={"subject": job.subject, "kind": job.kind, "attempts": job.attempts},
        )


def _described(exc: Exception) -> str:
    """Name an error and its place; its text may quote personal data."""
    last_frame = traceback.extract_tb(exc.__traceback__)[-1:]
    where = "".join(f" at {frame.name}:{frame.lineno}" for frame in last_frame)
    return f"{type(exc).__name__}{where}"
