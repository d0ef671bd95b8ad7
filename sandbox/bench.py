"""bin/bench: runs one benchmark against the servers of `bin/up`, started if they are down."""

from __future__ import annotations

import ast
import sys

from sandbox import environment, foreground
from sandbox.manage import with_servers
from sandbox.processes import StartError

COMMAND = "bin/bench"


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
    return with_servers(argv, command=COMMAND)


def benchmarks() -> dict[str, str]:
    """The modules of `benchmarks/` that can be run, each with the first line of its docstring."""
    found = {}
    for module in sorted((environment.ROOT / "benchmarks").glob("*.py")):
        source = module.read_text(encoding="utf-8")
        if "__main__" in source:  # the others are what these share
            docstring = ast.get_docstring(ast.parse(source)) or ""
            found[module.stem] = docstring.partition("\n")[0]
    return found


if __name__ == "__main__":
    sys.exit(foreground.main(COMMAND, main))
