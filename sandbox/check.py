"""bin/check: everything CI holds against a change; runs all of it and names what failed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from sandbox import environment, foreground
from sandbox.tests import run_pytest, test_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMAND = "bin/check"


def main() -> int:
    """Run every step, also after a failure; 0 only if all of them passed."""
    failed = []
    with test_environment() as variables:
        for name, argv in steps().items():
            announce(name)
            if foreground.run(argv, env=caching(variables), cwd=environment.ROOT):
                failed.append(name)
        announce("tests")
        if run_pytest(["--cov", "--cov-report=term"], variables):
            failed.append("tests")
    if failed:
        print(f"{COMMAND}: FAILED: {', '.join(failed)}", file=sys.stderr)
        return 1
    print(f"{COMMAND}: all is well")
    return 0


def steps() -> dict[str, list[str]]:
    """The quick ones first."""
    python = sys.executable
    imports = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    cache = str(environment.home() / "cache")
    return {
        "lint": [python, "-m", "ruff", "check", "."],
        "format": [python, "-m", "ruff", "format", "--check", "."],
        "import contracts": [python, "-c", imports, "--cache-dir", f"{cache}/import-linter"],
        "types": [python, "-m", "mypy", "--cache-dir", f"{cache}/mypy", "."],
        "migrations in step": [python, "manage.py", "makemigrations", "--check", "--dry-run"],
    }


def caching(variables: Mapping[str, str]) -> dict[str, str]:
    """Keep ruff's cache with the others, which their options place."""
    return {**variables, "RUFF_CACHE_DIR": str(environment.home() / "cache/ruff")}


def announce(name: str) -> None:
    """Head a step's output."""
    print(f"== {name}", flush=True)


if __name__ == "__main__":
    sys.exit(foreground.main(COMMAND, main))
