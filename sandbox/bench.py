"""bin/bench: runs one benchmark against the servers of `bin/up`, started if they are down.

One that says `NEEDS_SHOP = True` also gets web, worker and beat: those of a running `bin/up`, or
its own for as long as it takes, without rate limits. With `--base-url` it brings its own shop. One
that says `NEEDS_TEST_SERVERS = True` gets throwaway servers as the tests do, never the shop's.
"""

from __future__ import annotations

import ast
import os
import sys
from typing import TYPE_CHECKING

from config.processes import free_port
from sandbox import environment, foreground, up
from sandbox.hosting import Host
from sandbox.manage import NOWHERE, replace_by, with_servers
from sandbox.processes import StartError, catch_stop_signals
from sandbox.tests import test_environment

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMAND = "bin/bench"
BASE_URL = "--base-url"
BENCHMARKS = environment.ROOT / "benchmarks"
PROCESSES_A_CORE = 3  # at most: those who wait for a server leave a core to others


def main() -> int:
    """Run the named benchmark with the rest of the command line, or list them all.

    Raises:
        StartError: there is none of that name.
    """
    name, *arguments = sys.argv[1:] or ["--list"]
    known = benchmarks()
    if name == "--list":
        for each, summary in known.items():
            print(f"{each:<20} {summary}")
        return 0
    if name not in known:
        raise StartError(f"no benchmark is called {name!r}: see bin/bench --list")
    (environment.home() / "bench").mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    if any(argument.partition("=")[0] == BASE_URL for argument in arguments):
        replace_by(argv, environment.complete(NOWHERE))
    if needs_test_servers(name):
        return with_test_servers(argv)
    return with_shop(argv) if needs_shop(name) else with_servers(argv, command=COMMAND)


def with_test_servers(argv: Sequence[str]) -> int:
    """Run a command against servers of this run alone; its report outlives them.

    Raises:
        StartError: a server does not come up.
    """
    output = environment.home() / "bench"
    with test_environment(PROCESSES_A_CORE * up.cores()) as variables:
        variables |= {
            "BENCH_OUTPUT": str(output),
            "DJANGO_SETTINGS_MODULE": "config.settings.test",
            "PYTHONHASHSEED": "0",  # a seed runs the same again
        }
        return foreground.run(argv, env=variables, cwd=environment.ROOT)


def with_shop(argv: Sequence[str]) -> int:
    """Run a command beside the whole shop: the one that is up, or one of our own.

    Raises:
        StartError: it does not come up.
    """
    if variables := Host(environment.home(), command=COMMAND).visit():
        replace_by(argv, environment.complete(variables))
    os.environ["THROTTLE"] = "off"
    if not environment.is_set("PORT"):
        os.environ["PORT"] = str(free_port())
    catch_stop_signals()
    shop = up.Shop(command=COMMAND)
    try:
        shop.start()
        return shop.serve_while(argv)
    finally:
        shop.stop()


def benchmarks() -> dict[str, str]:
    """The modules of `benchmarks/` that can be run, each with the first line of its docstring."""
    found = {}
    for module in sorted(BENCHMARKS.glob("*.py")):
        source = module.read_text(encoding="utf-8")
        if "__main__" in source:  # the others are what these share
            docstring = ast.get_docstring(ast.parse(source)) or ""
            found[module.stem] = docstring.partition("\n")[0]
    return found


def needs_shop(name: str) -> bool:
    """Whether a benchmark says that it wants the whole shop."""
    return _says(name, "NEEDS_SHOP")


def needs_test_servers(name: str) -> bool:
    """Whether a benchmark says that it wants throwaway servers."""
    return _says(name, "NEEDS_TEST_SERVERS")


def _says(name: str, what: str) -> bool:
    return f"\n{what} = True" in (BENCHMARKS / f"{name}.py").read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(foreground.main(COMMAND, main))
