"""bin/test: pytest against a PostgreSQL, a Valkey and a payment server of this run alone."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from config.processes import FileLock
from sandbox import environment, foreground
from sandbox.hosting import LocalServers
from sandbox.manage import SERVERS
from sandbox.processes import Register, ignore_stop_signals
from sandbox.up import cores

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

COMMAND = "bin/test"
# What a person may have set for a shop of theirs must not reach the tests.
NOT_INHERITED = (*environment.SHARED, "DJANGO_SETTINGS_MODULE")


def main() -> int:
    """Run the suite, or what the command line picks of it."""
    processes = processes_for(sys.argv[1:])
    with test_environment(processes) as variables:
        return run_pytest(sys.argv[1:], variables, processes=processes)


def processes_for(arguments: Sequence[str]) -> int:
    """Several for the whole suite; one where tests are named, or somebody wants to watch."""
    names_tests = any(Path(argument.split("::")[0]).exists() for argument in arguments)
    watches = {"-s", "--pdb", "--trace"} & set(arguments)
    return 1 if names_tests or watches else processes_for_all()


def processes_for_all() -> int:
    """One a core, and one more: some tests wait rather than work."""
    return cores() + 1


def run_pytest(arguments: Sequence[str], variables: Mapping[str, str], *, processes: int) -> int:
    """Run pytest in the repository, its caches and temporary files under our own directory."""
    scratch = variables["ORDERKEEP_HOME"]
    argv = [sys.executable, "-m", "pytest", "-p", "no:valkey"]
    argv += ["-o", f"cache_dir={variables['PYTEST_CACHE']}"]
    argv += ["--basetemp", str(Path(scratch, "tmp"))]
    if processes > 1:
        # By test, not by file: the longest file, begun last, would keep one core for a minute.
        argv += ["--numprocesses", str(processes), "--dist", "worksteal"]
    argv += arguments
    return foreground.run(argv, env=variables, cwd=environment.ROOT)


@contextlib.contextmanager
def test_environment(processes: int) -> Iterator[dict[str, str]]:
    """Servers and an environment for one run; nothing of them is left afterwards.

    Test processes share PostgreSQL and Valkey, with databases of their own, and have a payment
    server each: `config.settings.test` picks.

    Raises:
        StartError: a server does not come up.
    """
    real_home = environment.home()
    with scratch_directory(real_home / "test") as scratch:
        for name in NOT_INHERITED:
            os.environ.pop(name, None)
            os.environ.pop(f"{name}_FILE", None)
        caches = real_home / "cache"
        os.environ["ENVIRONMENT"] = "test"
        os.environ["ORDERKEEP_HOME"] = str(scratch)
        os.environ["PYTEST_CACHE"] = str(caches / "pytest")
        os.environ["RUFF_CACHE_DIR"] = str(caches / "ruff")
        os.environ["MYPY_CACHE_DIR"] = str(caches / "mypy")
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(caches / "hypothesis")
        os.environ["COVERAGE_FILE"] = str(scratch / "coverage")
        servers = LocalServers(
            scratch,
            register=Register(scratch / "processes.json"),
            throwaway=True,
            spare_payment_servers=processes - 1,
        )
        try:
            yield environment.complete(servers.start(despite=SERVERS))
        finally:
            ignore_stop_signals()
            servers.stop()
            os.environ["ORDERKEEP_HOME"] = str(real_home)


@contextlib.contextmanager
def scratch_directory(parent: Path) -> Iterator[Path]:
    """A directory of this run; those of runs that were killed are removed on the way."""
    turnstile = FileLock(parent / "turnstile.lock")
    turnstile.acquire()
    remove_stale(parent)
    directory = parent / str(os.getpid())
    in_use = FileLock(directory / "in-use.lock")
    in_use.acquire()
    turnstile.release()
    try:
        yield directory
    finally:
        # The lock's file goes with the directory: nobody may take it for a stale one meanwhile.
        turnstile.acquire()
        shutil.rmtree(directory)
        in_use.release()
        turnstile.release()


def remove_stale(parent: Path) -> None:
    """Remove the directories whose run is over without having done it itself."""
    for directory in parent.iterdir():
        lock = FileLock(directory / "in-use.lock")
        if directory.is_dir() and lock.acquire(wait=False):
            Register(directory / "processes.json").end_leftovers(directories=[directory])
            # What is still held by something that is about to end goes next time.
            shutil.rmtree(directory, ignore_errors=True)
            lock.release()


if __name__ == "__main__":
    sys.exit(foreground.main(COMMAND, main))
