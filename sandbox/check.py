"""bin/check: everything CI holds against a change; runs all of it and names what failed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from sandbox import environment, foreground
from sandbox.tests import run_pytest, test_environment
from sandbox.up import cores

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = "bin/check"


def main() -> int:
    """Run every step, also after a failure; 0 only if all of them passed."""
    failed = []
    cache = environment.home() / "cache/import-linter"  # the others take theirs from a variable
    with test_environment(cores()) as variables:
        for name, argv in steps(cache=cache).items():
            announce(name)
            if foreground.run(argv, env=variables, cwd=environment.ROOT):
                failed.append(name)
        announce("tests")
        if run_pytest(["--cov", "--cov-report=term"], variables, processes=cores()):
            failed.append("tests")
    if failed:
        print(f"{COMMAND}: FAILED: {', '.join(failed)}", file=sys.stderr)
        return 1
    print(f"{COMMAND}: all is well")
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
