"""Exports and imports that staff asked for, and the files they read or make.

PostgreSQL keeps the files: any web process hands them out, and no disk has to be shared.
"""

from __future__ import annotations

import pgtrigger
from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from config.kernel.models import legal_statuses, new_uuid

LONGEST_ERROR = 500


class BackgroundJob(models.Model):
    """One export or import, from the wish to the file.

    `parameters` say which rows and which format, never anything of a person: a search for an
    e-mail address is kept as the ids it found. `lease` and `lease_until` belong to the worker that
    runs it; when the lease is over another may begin it anew, and the first can write no more.
    `result` is what an import found: counts, and by line what would change or was refused.
    `applies` names the preview whose file an import writes: each at most once. After `expires_at`
    the files are gone, and with them the job.
    """

    class Kind(models.TextChoices):
        EXPORT = "export"
        PREVIEW = "preview", "import, preview"
        IMPORT = "import"

    class Status(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        CANCELLED = "cancelled"

    OPEN = ("queued", "running")

    uuid = models.UUIDField(unique=True, default=new_uuid, editable=False)
    kind = models.CharField(max_length=20, choices=Kind)
    subject = models.CharField(max_length=30, help_text="What is in the file: orders, products …")
    parameters = models.JSONField(default=dict, blank=True)
    status = models.CharField(
        max_length=20, choices=Status, default=Status.QUEUED, db_default=Status.QUEUED
    )
    done = models.PositiveIntegerField(default=0, db_default=0)
    total = models.PositiveIntegerField(null=True, blank=True)
    error = models.CharField(max_length=LONGEST_ERROR, default="", db_default="", blank=True)
    result = models.JSONField(null=True, blank=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="background_jobs", db_index=False
    )
    request_key = models.CharField(max_length=255)
    applies = models.OneToOneField(
        "self", models.CASCADE, null=True, blank=True, related_name="applied_by"
    )
    is_personal = models.BooleanField(default=False, db_default=False)
    file_name = models.CharField(max_length=200, default="", db_default="", blank=True)
    content_type = models.CharField(max_length=100, default="", db_default="", blank=True)
    size = models.PositiveBigIntegerField(default=0, db_default=0)
    attempts = models.PositiveSmallIntegerField(default=0, db_default=0)
    lease = models.UUIDField(null=True, blank=True, editable=False)
    lease_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "background_jobs"
        constraints = [
            models.CheckConstraint(
                name="background_job_kind_known",
                condition=Q(kind__in=["export", "preview", "import"]),
            ),
            models.CheckConstraint(
                name="background_job_status_known",
                condition=Q(status__in=["queued", "running", "done", "failed", "cancelled"]),
            ),
            models.UniqueConstraint(
                name="background_job_once_per_request", fields=["owner", "request_key"]
            ),
            models.CheckConstraint(
                name="background_job_leased_while_running",
                condition=Q(status="running", lease__isnull=False, lease_until__isnull=False)
                | ~Q(status="running") & Q(lease__isnull=True, lease_until__isnull=True),
            ),
            models.CheckConstraint(
                name="background_job_finished_at_its_end",
                condition=Q(status__in=["queued", "running"], finished_at__isnull=True)
                | ~Q(status__in=["queued", "running"]) & Q(finished_at__isnull=False),
            ),
            models.CheckConstraint(
                name="background_job_import_applies_a_preview",
                condition=Q(kind="import", applies__isnull=False)
                | ~Q(kind="import") & Q(applies__isnull=True),
            ),
            models.CheckConstraint(
                name="background_job_done_within_total",
                condition=Q(total__isnull=True) | Q(done__lte=F("total")),
            ),
        ]
        indexes = [
            models.Index(fields=["owner", "-id"], name="idx_background_jobs_owner"),
            models.Index(
                fields=["id"],
                name="idx_background_jobs_open",
                condition=Q(status__in=["queued", "running"]),
            ),
            models.Index(fields=["expires_at"], name="idx_background_jobs_expires"),
        ]
        triggers = legal_statuses(
            start=["queued"],
            transitions={
                "queued": ["running", "cancelled", "failed"],
                "running": ["done", "failed", "cancelled", "queued"],
            },
        )

    def __str__(self) -> str:
        return f"{self.kind} of {self.subject} {self.uuid}"


class BackgroundJobChunk(models.Model):
    """A piece of a job's file, compressed by itself: `n` counts them, without a gap."""

    class Part(models.TextChoices):
        UPLOAD = "upload"
        RESULT = "result"

    job = models.ForeignKey(BackgroundJob, models.CASCADE, related_name="chunks", db_index=False)
    part = models.CharField(max_length=10, choices=Part)
    n = models.PositiveIntegerField()
    data = models.BinaryField()

    class Meta:
        db_table = "background_job_chunks"
        constraints = [
            models.UniqueConstraint(
                name="background_job_chunk_once_in_its_place", fields=["job", "part", "n"]
            ),
            models.CheckConstraint(
                name="background_job_chunk_part_known", condition=Q(part__in=["upload", "result"])
            ),
        ]
        triggers = [
            pgtrigger.Protect(name="stays_as_written", operation=pgtrigger.Update),
        ]

    def __str__(self) -> str:
        return f"{self.job_id} {self.part} {self.n}"
