"""Restores the backup on the side and looks whether the shop is all there.

The live server is only read from. What is asked of the restored one is asked by our own commands,
as after a real disaster, in processes that know nothing of the shop's broker, mail server and
receivers: nothing is delivered, no worker runs, nothing is charged.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from django.conf import settings
from django.db import DatabaseError, connection
from django.utils import timezone

from config.backups import base_backup
from config.backups.directory import PARTIAL, BackupDirectory, readable_by_owner_alone
from config.backups.errors import BackupError, UnavailableError
from config.backups.programs import Programs
from config.backups.recovery import restore
from config.backups.scratch_server import HOST, ScratchServer, end_leftovers
from config.postgres import ProgramsError, choose_identity
from config.processes import FileLock, die_with_parent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from config.backups.recovery import Restored
    from config.backups.server import Server
    from config.kernel.commands import ShowStep
    from config.postgres import Identity

NOWHERE: Final = "redis://127.0.0.1:1/0"
DELIVERING: Final = frozenset({"EMAIL_URL", "SENTRY_DSN", "BACKUP_DATABASE_URL"})
WAITS_FOR_WORKERS: Final = "I19"
"""Of the invariants: that nothing waits too long. In a copy nobody works, so everything does."""
ENTERED_BY_ALL: Final = 0o711


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that was done, how long it took, and what is to be said of it."""

    name: str
    seconds: float
    told: str
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """What came of it.

    `rpo_seconds`: so much of what was committed when the drill began is lost, at most. 0: nothing.
    `rto_seconds`: from the beginning of the restore until the books were found in order.
    `restored_until`: the last commit in the restored database.
    """

    base: str
    restored_until: datetime
    rpo_seconds: float
    rto_seconds: float
    steps: list[Step]

    @property
    def problems(self) -> list[str]:
        """What is not well."""
        return [problem for step in self.steps for problem in step.problems]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moment:
    """When the disaster is supposed to be; `position`: how far the log was written by then."""

    at: datetime
    position: int | None


@contextlib.contextmanager
def scratch_directory(path: Path) -> Iterator[Path]:
    """A directory for one drill; what one that was killed has left is ended and removed first.

    Raises:
        BackupError: another drill is at work there, or it cannot be written to.
    """
    lock = FileLock(path / "drill.lock")
    work = path / "work"
    try:
        if not lock.acquire(wait=False):
            raise BackupError(f"another drill is at work in {path}")
    except OSError as exc:
        raise BackupError(f"{path} cannot be used: {exc.strerror}") from exc
    try:
        _clear(work)
        with readable_by_owner_alone():
            work.mkdir()
            if os.geteuid() == 0:
                work.chmod(ENTERED_BY_ALL)  # whoever runs PostgreSQL for root has to pass
            yield work
    finally:
        _clear(work)
        lock.release()


def _clear(work: Path) -> None:
    end_leftovers(work)
    if work.exists():
        shutil.rmtree(work)


def drill(
    directory: BackupDirectory | None, *, server: Server, work: Path, on_progress: ShowStep
) -> Drill:
    """Suppose that the database's disk is lost now, restore, and look.

    Args:
        directory: the backups to try; None: a fresh one is made, which proves less.
        server: the live primary, if it can be reached: how far it was is compared.
        work: an empty directory with room for a copy of the database.
        on_progress: takes the step, how much is done, and of how much.

    Raises:
        UnavailableError: PostgreSQL's programs are missing, or cannot run here.
        BackupError: it cannot be restored.
    """
    moment = _now(server, is_needed=directory is None)
    _copy_what_is_kept_outside(work)
    if directory is None:
        directory = BackupDirectory(work / "backup")
        base_backup.take(directory, server=server, keep=1, on_progress=on_progress)
    with directory.reading():
        frozen = _freeze(directory, work / "frozen")
        identity = _identity(frozen, work)
        began = time.monotonic()
        try:
            restored = restore(
                frozen, to=None, data_directory=work / "data", on_progress=on_progress
            )
        except BackupError as exc:
            told = str(exc).replace(str(frozen.root), str(directory.root))
            raise type(exc)(told) from exc
        steps = [_step("restore", began, f"{restored.base.name} and the log since")]
        return _look(restored, work, identity, moment, began, steps, on_progress)


def _look(
    restored: Restored,
    work: Path,
    identity: Identity,
    moment: _Moment,
    began: float,
    steps: list[Step],
    on_progress: ShowStep,
) -> Drill:
    login = settings.DATABASES["default"]
    scratch = ScratchServer(work, identity=identity, login=login)
    on_progress("Replaying the log", 0, None)
    replay_began = time.monotonic()
    with scratch.running():
        until, position = _end_of(scratch, restored)
        steps.append(_step("replay", replay_began, f"until {until:%Y-%m-%d %H:%M:%S} UTC"))
        shop = _Shop(scratch, work)
        on_progress("Erasing again", 0, None)
        steps.append(shop.erase_again())
        on_progress("Checking the books", 0, None)
        steps.append(shop.check_books())
        rto_seconds = time.monotonic() - began
        on_progress("Comparing with the provider", 0, None)
        steps.append(shop.reconcile(until=until))
        on_progress("Verifying the audit log", 0, None)
        steps.append(shop.verify_audit())
    nothing_is_lost = moment.position is not None and position >= moment.position
    lost = 0.0 if nothing_is_lost else (moment.at - until).total_seconds()
    return Drill(
        base=restored.base.name,
        restored_until=until,
        rpo_seconds=max(0.0, lost),
        rto_seconds=rto_seconds,
        steps=steps,
    )


def _now(server: Server, *, is_needed: bool) -> _Moment:
    """By the live server if it can be asked: it may be lost for real, or out of reach."""
    try:
        return _Moment(position=server.written(), at=server.now())
    except UnavailableError:
        if is_needed:
            raise
        return _Moment(position=None, at=timezone.now())


def _copy_what_is_kept_outside(work: Path) -> None:
    """Before anything else: the database has to have whatever these know of."""
    outside = work / "home"
    outside.mkdir()
    for name in ("ERASURE_JOURNAL", "AUDIT_SEAL_DIR"):
        path = Path(getattr(settings, name, "") or "/nonexistent")
        if path.is_dir():
            shutil.copytree(path, outside / name)
        elif path.exists():
            shutil.copyfile(path, outside / name)


def _freeze(directory: BackupDirectory, frozen: Path) -> BackupDirectory:
    """The backup as it is now: what goes on being received into it must not be counted.

    Complete segments do not change any more, so that links to them are enough. Not for root: whom
    it runs PostgreSQL as may not read them.
    """
    wal = frozen / "wal"
    wal.mkdir(parents=True)
    take = shutil.copyfile if os.geteuid() == 0 else _link
    for name in directory.partials():
        with contextlib.suppress(FileNotFoundError):  # complete since we looked
            shutil.copyfile(directory.wal / f"{name}{PARTIAL}", wal / f"{name}{PARTIAL}")
    bases = directory.bases()[-1:]
    archive = directory.archive()
    needed = archive.name_of(archive.number_of(bases[0].start)) if bases else ""
    for name in directory.segments():
        if name >= needed:
            (wal / f"{name}{PARTIAL}").unlink(missing_ok=True)
            take(directory.wal / name, wal / name)
    for base in bases:
        (frozen / "base").mkdir()
        _link(base.path, frozen / "base" / base.name)
    shutil.copyfile(directory.root / "archive.json", frozen / "archive.json")
    return BackupDirectory(frozen)


def _link(source: Path, target: Path) -> None:
    target.symlink_to(source)


def _identity(frozen: BackupDirectory, work: Path) -> Identity:
    bases = frozen.bases()
    if not bases:
        raise BackupError("there is no complete base backup to restore")
    programs = Programs(major=bases[-1].major)
    try:
        return choose_identity(programs.directory, directory=work)
    except ProgramsError as exc:
        raise UnavailableError(f"PostgreSQL: {exc}") from exc


def _end_of(scratch: ScratchServer, restored: Restored) -> tuple[datetime, int]:
    """The last commit that was replayed, and the position of the log after it.

    Without any since the base backup, nothing is known but what the backup says.
    """
    with scratch.cursor() as cursor:
        cursor.execute(
            """
            SELECT pg_last_xact_replay_timestamp(),
                   pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint
            """
        )
        last_commit, position = cursor.fetchone()
    return last_commit or restored.until, int(position)


class _Shop:
    """The restored shop, asked by our own commands."""

    def __init__(self, scratch: ScratchServer, work: Path) -> None:
        self._environment = _environment(scratch, work / "home")

    def erase_again(self) -> Step:
        began = time.monotonic()
        code, told, complaint = self._ask("erase_customer", "--replay")
        if told is None:
            return _failed("erase_customer --replay", began, code, complaint)
        return _step("erase_customer --replay", began, f"{told['erased_again']} erased again")

    def check_books(self) -> Step:
        began = time.monotonic()
        code, told, complaint = self._ask("check_books")
        if told is None:
            return _failed("check_books", began, code, complaint)
        problems, waiting = [], 0
        for found in told["invariants"]:
            if found["id"] == WAITS_FOR_WORKERS:
                waiting += found["violations"]
            elif found["violations"]:
                problems.append(f"check_books: {found['name']}: {found['violations']}")
        words = f"{len(told['invariants'])} invariants, {len(problems)} violated"
        if waiting:
            words += f"; {waiting} things wait for a worker, as is to be expected"
        return _step("check_books", began, words, problems)

    def reconcile(self, *, until: datetime) -> Step:
        """What the live shop did since, the copy cannot know: that is no difference."""
        began = time.monotonic()
        code, told, complaint = self._ask("reconcile_payments")
        if told is None:
            return _failed("reconcile_payments", began, code, complaint)
        open_ones = [each for each in told["discrepancies"] if not each["remedy"]]
        since = _made_since(until, subjects=[each["subject"] for each in open_ones])
        left = [each for each in open_ones if each["subject"] not in since]
        mendable = len(told["discrepancies"]) - len(open_ones)
        problems = [
            f"reconcile_payments: {each['subject']} {each['order_number']}: {each['problem']}"
            for each in left
        ]
        words = f"{told['payments']} payments, {len(left)} differ"
        if mendable or since:
            words += f"; {mendable} --repair would mend, {len(since)} were made since"
        return _step("reconcile_payments", began, words, problems)

    def verify_audit(self) -> Step:
        began = time.monotonic()
        code, told, complaint = self._ask("verify_audit")
        if told is None:
            return _failed("verify_audit", began, code, complaint)
        problems = [f"verify_audit: exit code {code}"] if code else []
        return _step("verify_audit", began, "findings" if code else "intact", problems)

    def _ask(self, *command: str) -> tuple[int, dict[str, Any] | None, str]:
        """Run one of our commands against the copy; its exit code, answer and last complaint."""
        done = subprocess.run(  # noqa: S603 - our own commands
            [sys.executable, str(settings.BASE_DIR / "manage.py"), *command, "--json"],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=die_with_parent(signal.SIGTERM),
        )
        lines = done.stderr.strip().splitlines()
        complaint = lines[-1].removeprefix("CommandError: ") if lines else ""
        try:
            return done.returncode, json.loads(done.stdout), complaint
        except ValueError:
            return done.returncode, None, complaint


def _environment(scratch: ScratchServer, home: Path) -> dict[str, str]:
    """Ours, but with the copy as the database, and nobody to deliver anything to."""
    login = settings.DATABASES["default"]
    user, password = (quote(str(login[part]), safe="") for part in ("USER", "PASSWORD"))
    url = f"postgres://{user}:{password}@{HOST}:{scratch.port}/{quote(str(login['NAME']), safe='')}"
    replaced = {
        "DATABASE_URL": url,
        "REDIS_URL": NOWHERE,
        "ORDERKEEP_HOME": str(home),
        "ERASURE_JOURNAL": str(home / "ERASURE_JOURNAL"),
        "AUDIT_SEAL_DIR": str(home / "AUDIT_SEAL_DIR"),
    }
    kept = {
        name: value
        for name, value in os.environ.items()
        if not _delivers(name.removesuffix("_FILE")) and name.removesuffix("_FILE") not in replaced
    }
    return {**kept, **replaced}


def _delivers(name: str) -> bool:
    return name in DELIVERING or name.endswith("_BASE_URL")


def _made_since(until: datetime, *, subjects: list[str]) -> set[str]:
    """Which of these ids of the provider the live shop wrote down after the copy's last commit."""
    if not subjects:
        return set()
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                """
                SELECT payment_intent_id FROM payments
                WHERE payment_intent_id = ANY(%(subjects)s) AND created_at > %(until)s
                UNION ALL
                SELECT stripe_refund_id FROM refunds
                WHERE stripe_refund_id = ANY(%(subjects)s) AND created_at > %(until)s
                """,
                {"subjects": subjects, "until": until},
            )
            return {subject for (subject,) in cursor.fetchall()}
    except DatabaseError:  # it is lost for real, or out of reach: then nobody can tell
        return set()


def _step(name: str, began: float, told: str, problems: list[str] | None = None) -> Step:
    seconds = time.monotonic() - began
    return Step(name=name, seconds=seconds, told=told, problems=problems or [])


def _failed(name: str, began: float, code: int, complaint: str) -> Step:
    return _step(name, began, "failed", [f"{name}: {complaint or f'exit code {code}'}"])
