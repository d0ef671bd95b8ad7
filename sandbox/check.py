"""bin/check: everything CI holds against a change; runs all of it and names what failed.

With --nightly also the proofs that take too long for every change (docs/correctness.md).
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from sandbox import environment, foreground, holes
from sandbox.processes import StartError
from sandbox.tests import processes_for_all, run_pytest, test_environment

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = "bin/check"
NIGHTLY = {
    "every boundary struck": ["crash"],
    "interleavings": ["schedules", "--count", "5000"],
    "mutants": ["mutants"],
    "chaos": ["chaos", "--seconds", "300"],
    "the books of a million orders": ["books"],
    "requests nobody thought of": ["fuzz"],
}


def main() -> int:
    """Run every step, also after a failure; 0 only if all of them passed.

    Raises:
        StartError: an argument that is not --nightly.
    """
    arguments = sys.argv[1:]
    if arguments not in ([], ["--nightly"]):
        raise StartError(f"unknown: {' '.join(arguments)}; there is only --nightly")
    surroundings = dict(os.environ)  # tests have others
    failed = []
    cache = environment.home() / "cache/import-linter"  # the others take theirs from a variable
    processes = processes_for_all()
    with test_environment(processes) as variables:
        for name, argv in steps(cache=cache).items():
            announce(name)
            if foreground.run(argv, env=variables, cwd=environment.ROOT):
                failed.append(name)
        announce("tests")
        if run_pytest(["--cov", "--cov-report=term"], variables, processes=processes):
            failed.append("tests")
    for name, benchmark in NIGHTLY.items() if arguments else ():
        announce(name)
        if foreground.run([str(environment.ROOT / "bin/bench"), *benchmark], env=surroundings):
            failed.append(name)
    skipped = ""
    if arguments:
        announce("known holes in dependencies")
        verdict = holes.audit()
        print(f"{verdict.outcome.value}: {verdict.told}")
        if verdict.outcome is holes.Outcome.HOLES:
            failed.append("known holes in dependencies")
        elif verdict.outcome is holes.Outcome.SKIPPED:
            skipped = "; SKIPPED: known holes in dependencies"
    if failed:
        print(f"{COMMAND}: FAILED: {', '.join(failed)}", file=sys.stderr)
        return 1
    print(f"{COMMAND}: all is well{skipped}")
    return 0


def steps(*, cache: Path) -> dict[str, list[str]]:
    """The quick ones first."""
    python = sys.executable
    imports = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    return {
        "lint": [python, "-m", "ruff", "check", "."],
        "format": [python, "-m", "ruff", "format", "--check", "."],
        "import contracts": [python, "-c", imports, "--cache-dir", str(cache)],
        "types": [python, "-m", "mypy", "."],
        "migrations in step": [python, "manage.py", "makemigrations", "--check", "--dry-run"],
    }


def announce(name: str) -> None:
    """Head a step's output."""
    print(f"== {name}", flush=True)


if __name__ == "__main__":
    sys.exit(foreground.main(COMMAND, main))
