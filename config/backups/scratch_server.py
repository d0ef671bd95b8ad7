"""A PostgreSQL on a restored data directory, on this machine alone, for as long as it is looked at.

It takes none of the settings that came with the data: neither where to archive to, nor whom to let
in, nor how much memory to use.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Final

import psycopg2

from config.backups.errors import BackupError, UnavailableError
from config.postgres import environment
from config.processes import await_end, die_with_parent, find_working_in, free_port, kill_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from config.postgres import Identity

HOST: Final = "127.0.0.1"
ACCESS: Final = f"host all all {HOST}/32 scram-sha-256\n"
SETTINGS: Final = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "archive_mode": "off",
    "archive_command": "",
    "primary_conninfo": "",
    "synchronous_standby_names": "",  # else every commit would wait for a standby
    "shared_preload_libraries": "",
    "session_preload_libraries": "",
    "shared_buffers": "128MB",
    "max_connections": "20",
    "hot_standby": "off",  # else the limits of the server that was backed up must not be undercut
    "max_wal_size": "4GB",
    "autovacuum": "off",
    "ssl": "off",
    "logging_collector": "off",
    "log_destination": "stderr",
    "external_pid_file": "",
    "dynamic_shared_memory_type": "mmap",  # in the directory, which may vanish, not in /dev/shm
}
POLL_SECONDS: Final = 0.1
STOP_SECONDS: Final = 5.0
STARTING: Final = (
    "starting up",
    "not accepting connections",
    "not yet accepting connections",
    "Connection refused",
    "in recovery mode",
)


class ScratchServer:
    """One server on one data directory; `running` starts it and ends it."""

    def __init__(self, directory: Path, *, identity: Identity, login: Mapping[str, object]) -> None:
        """Nothing is started yet.

        Args:
            directory: `data` in it is the restored data directory.
            identity: as whom to run PostgreSQL.
            login: Django's settings of the database, of which name, role and password are used.
        """
        self.directory = directory
        self.data = directory / "data"
        self.log = directory / "postgres.log"
        self.port = free_port()
        self._identity = identity
        self._login = login

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Have it run, the log replayed; whatever happens, nothing of it runs afterwards.

        Raises:
            UnavailableError: PostgreSQL cannot be run here.
            BackupError: it gives up, or does not let the shop in.
        """
        process = self._start()
        try:
            self._await_recovery(process)
            yield
        finally:
            process.send_signal(signal.SIGQUIT)  # at once: nobody needs what it has in memory
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            end_leftovers(self.directory)
            process.wait()

    @contextlib.contextmanager
    def cursor(self) -> Iterator[psycopg2.extensions.cursor]:
        """A cursor of the shop's role; each statement is a transaction.

        Raises:
            psycopg2.OperationalError: it does not answer yet, or any more.
        """
        connection = psycopg2.connect(
            host=HOST,
            port=self.port,
            dbname=self._login["NAME"],
            user=self._login["USER"],
            password=self._login["PASSWORD"],
            connect_timeout=5,
        )
        with contextlib.closing(connection):
            connection.autocommit = True
            with connection.cursor() as cursor:
                yield cursor

    def _await_recovery(self, process: subprocess.Popen[bytes]) -> None:
        while True:
            try:
                with self.cursor() as cursor:
                    cursor.execute("SELECT pg_is_in_recovery()")
                    if cursor.fetchone() == (False,):
                        return
            except psycopg2.OperationalError as exc:
                said = str(exc).strip().partition("\n")[0]
                if process.poll() is not None:
                    raise BackupError(
                        f"the restored server does not start: {self._last_words()}"
                    ) from exc
                if not any(word in said for word in STARTING):
                    raise BackupError(f"the restored server lets nobody in: {said}") from exc
            time.sleep(POLL_SECONDS)

    def _start(self) -> subprocess.Popen[bytes]:
        """Its files of settings stand beside its data: some systems keep theirs elsewhere."""
        access, settings = self.directory / "pg_hba.conf", self.directory / "postgresql.conf"
        for file, text in ((access, ACCESS), (settings, ""), (self.log, "")):
            file.write_text(text)
        values = {
            "config_file": str(settings),
            "hba_file": str(access),
            "ident_file": str(settings),
            "port": str(self.port),
            **SETTINGS,
        }
        arguments = [part for name, value in values.items() for part in ("-c", f"{name}={value}")]
        program = [*self._identity.prefix, str(self._identity.binaries / "postgres")]
        user, group = self._identity.user or (None, None)
        if user is not None:
            give(self.directory, owner=(user, group or user))
        try:
            with self.log.open("ab") as log:
                return subprocess.Popen(  # noqa: S603 - PostgreSQL's own
                    [*program, "-D", str(self.data), *arguments],
                    cwd="/",
                    env=dict(environment()),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    user=user,
                    group=group,
                    extra_groups=None if user is None else [],
                    preexec_fn=die_with_parent(signal.SIGQUIT),  # noqa: PLW1509 - no threads
                )
        except OSError as exc:
            raise UnavailableError(f"PostgreSQL cannot be run here: {exc}") from exc

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        told = [line for line in lines if "FATAL:" in line] or [line for line in lines if line]
        return told[-1].rpartition("FATAL:")[2].strip() if told else "it said nothing"


def end_leftovers(directory: Path) -> None:
    """End servers on this directory's data: those of a drill that was killed, too."""
    left = find_working_in(directory / "data", program="postgres")
    kill_all(left)
    await_end(left, seconds=STOP_SECONDS)


def give(directory: Path, *, owner: tuple[int, int]) -> None:
    """Have a directory and everything in it belong to an account."""
    for path in (directory, *directory.rglob("*")):
        os.chown(path, *owner, follow_symlinks=False)
