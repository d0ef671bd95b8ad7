"""bin/manage: Django's commands against the servers of `bin/up`, started if they are down."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

from sandbox import environment, foreground
from sandbox.hosting import Host, hosted
from sandbox.processes import StartError, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COMMAND = "bin/manage"
SERVERS = ("DATABASE_URL", "REDIS_URL", "STRIPE_API_BASE")
# Settings want an address even where nothing is asked of it.
NOWHERE = {
    "DATABASE_URL": "postgres://nobody@127.0.0.1:1/none",
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "STRIPE_API_BASE": "http://127.0.0.1:1",
}
# What is for the time when they are lost.
WITHOUT_SERVERS = frozenset({"restore"})
HELP = frozenset({"-h", "--help", "help", "--version"})
HOST_STARTS_SECONDS = 120.0


def main() -> int:
    """Run the command line's Django command."""
    arguments = sys.argv[1:]
    argv = [sys.executable, str(environment.ROOT / "manage.py"), *arguments]
    if not arguments or arguments[0] in WITHOUT_SERVERS or HELP & set(arguments):
        replace_by(argv, environment.complete(NOWHERE))
    return with_servers(argv, command=COMMAND)


def with_servers(argv: Sequence[str], *, command: str) -> int:
    """Run a command with the servers of this checkout: those of the host, or our own as host.

    Raises:
        StartError: they cannot be started.
    """
    if all(environment.is_set(variable) for variable in SERVERS):
        replace_by(argv, environment.complete({}))
    host = Host(environment.home(), command=command)
    # A host that has just taken the lock is still starting its servers, or stopping them.
    settled = wait_until(
        lambda: host.become() or host.endpoints.exists(), seconds=HOST_STARTS_SECONDS
    )
    if not settled:
        raise StartError(f"{host.present()} holds the servers but does not offer them")
    if host.is_us:
        with hosted(host) as variables:
            return foreground.run(argv, env=variables)
    if variables := host.visit():
        replace_by(argv, environment.complete(variables))
    return with_servers(argv, command=command)  # the host left in between


def replace_by(argv: Sequence[str], variables: Mapping[str, str]) -> NoReturn:
    """Become the command, so that signals and exit code are its own; does not return."""
    sys.stdout.flush()
    os.execve(argv[0], list(argv), dict(variables))  # noqa: S606  # the same interpreter


if __name__ == "__main__":
    sys.exit(foreground.main(COMMAND, main))
