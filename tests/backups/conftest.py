"""A PostgreSQL of these tests alone, with one table of notes, and what is done to it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg2
import pytest

from config import env
from config.backups import base_backup, recovery
from config.backups.directory import BackupDirectory
from config.backups.programs import Programs
from config.backups.scratch_server import ScratchServer
from config.backups.server import Server
from config.postgres import choose_identity
from sandbox import servers
from sandbox.postgres import Postgres

ROOT = Path(__file__).resolve().parents[2]


def quietly(_step, _done, _total):
    """Progress that nobody watches."""


class Source:
    """The database that is backed up."""

    def __init__(self, cluster: Postgres) -> None:
        self.cluster = cluster
        self.login = env_database(cluster.url)
        self.password = env_database(cluster.backup_url)["PASSWORD"]

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "DATABASE_URL": self.cluster.url,
            "BACKUP_DATABASE_URL": self.cluster.backup_url,
        }

    def write(self, *notes: str):
        """Commit them; the instant of the last commit, by the server's clock."""
        with self.cursor() as cursor:
            for note in notes:
                cursor.execute("INSERT INTO notes VALUES (%s)", [note])
            cursor.execute("SELECT clock_timestamp()")
            return cursor.fetchone()[0]

    def fill_segment(self) -> None:
        """Let the log go on in its next file."""
        with contextlib.closing(self.cluster._connect()) as owner, owner.cursor() as cursor:
            cursor.execute("SELECT pg_logical_emit_message(false, 'test', 'x'), pg_switch_wal()")

    @contextlib.contextmanager
    def cursor(self):
        with contextlib.closing(psycopg2.connect(self.cluster.url)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                yield cursor

    def slots(self) -> dict[str, bool]:
        """By name, whether somebody receives."""
        with self.cursor() as cursor:
            cursor.execute("SELECT slot_name, active FROM pg_replication_slots")
            return dict(cursor.fetchall())

    def drop_slots(self) -> None:
        wait_until(lambda: not any(self.slots().values()))  # the last receiver's end is noticed
        with contextlib.closing(self.cluster._connect()) as owner, owner.cursor() as cursor:
            cursor.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")

    def received(self) -> bool:
        """Whether all of the log is with whoever follows."""
        with self.cursor() as cursor:
            cursor.execute(
                "SELECT bool_and(active AND restart_lsn >= pg_current_wal_flush_lsn())"
                " FROM pg_replication_slots"
            )
            return bool(cursor.fetchone()[0])


def env_database(url: str) -> dict[str, object]:
    os.environ["URL_OF_A_TEST"] = url
    try:
        return env.database("URL_OF_A_TEST")
    finally:
        del os.environ["URL_OF_A_TEST"]


@pytest.fixture(scope="session", autouse=True)
def _nothing_waits_for_the_disk():
    """A thousand files a backup, and the machine of the tests does not lose power."""
    run = Programs.run

    def run_without_sync(self, program, *arguments, **more):
        if program == "pg_basebackup":
            arguments += ("--no-sync",)
        run(self, program, *arguments, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Programs, "run", run_without_sync)
        patch.setattr("os.sync", lambda: None)
        yield


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    directory = tmp_path_factory.mktemp("source")
    server = Postgres(directory / "postgres", log=directory / "log", throwaway=True)
    with servers.running(server):
        with (
            contextlib.closing(psycopg2.connect(server.url)) as made,
            made,
            made.cursor() as cursor,
        ):
            cursor.execute("CREATE TABLE notes (note text)")
        yield server


@pytest.fixture
def source(cluster, settings):
    """The database, empty, and nobody who follows it."""
    settings.BACKUP_DATABASE = env_database(cluster.backup_url)
    source = Source(cluster)
    with source.cursor() as cursor:
        cursor.execute("DELETE FROM notes")
    yield source
    source.drop_slots()


@pytest.fixture
def backups(tmp_path):
    """A backup directory that does not exist yet; its name wants to be quoted."""
    return BackupDirectory(tmp_path / "it's 100% a backup")


def take(backups: BackupDirectory, *, keep: int = 7):
    return base_backup.take(backups, server=Server(), keep=keep, on_progress=quietly)


FOLLOW = """
import json, pathlib, sys
from django.conf import settings
settings.configure(BACKUP_DATABASE=json.loads(sys.argv[1]), POSTGRES_BIN="")
from config.backups import directory, server, wal_archive
wal_archive.follow(
    directory.BackupDirectory(pathlib.Path(sys.argv[2])),
    server=server.Server(), is_over=lambda: False, say=print,
)
"""


@contextlib.contextmanager
def following(source: Source, backups: BackupDirectory):
    """The log is followed; not by the command itself, which begins slowly: it needs no Django."""
    login = json.dumps(env_database(source.cluster.backup_url))
    with running(source, "-c", FOLLOW, login, str(backups.root)) as process:
        wait_until(source.received)
        yield process


@contextlib.contextmanager
def serving(source: Source, backups: BackupDirectory):
    """`backup DIR --follow` in a process of its own, as a service runs it."""
    with manage(source, "backup", str(backups.root), "--follow", "--json") as process:
        wait_until(source.received)
        yield process


def manage(source: Source, *arguments: str):
    """One of our commands in a process of its own; ended if it is still there in the end."""
    return running(source, str(ROOT / "manage.py"), *arguments)


@contextlib.contextmanager
def running(source: Source, *arguments: str):
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env=source.environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)


def restored_notes(backups, tmp_path, *, login, to=None) -> list[str]:
    """What a server on the restored data has, in the order of writing."""
    work = tmp_path / "restored"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    restored = recovery.restore(backups, to=to, data_directory=work / "data", on_progress=quietly)
    binaries = Programs(major=restored.base.major).directory
    scratch = ScratchServer(work, identity=choose_identity(binaries, directory=work), login=login)
    with scratch.running(), scratch.cursor() as cursor:
        cursor.execute("SELECT note FROM notes ORDER BY ctid")
        return [note for (note,) in cursor.fetchall()]


def wait_until(holds, *, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
