"""A TypeScript client generated from our document has types that a storefront can be written in."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from config import docs

HERE = Path(__file__).parent
HOME = HERE.parents[1] / ".local/client"  # git-ignored, and kept between runs
LOCK = "package-lock.json"


@pytest.fixture(scope="module")
def packages():
    """The directory where the locked packages are installed; skips where they cannot be had."""
    if shutil.which("npm") is None:
        pytest.skip("Node is not installed: the TypeScript client is not checked")
    HOME.mkdir(parents=True, exist_ok=True)
    locked = (HERE / LOCK).read_text()
    installed = HOME / "installed.json"
    if not installed.exists() or installed.read_text() != locked:
        for name in ("package.json", LOCK):
            shutil.copy(HERE / name, HOME / name)
        done = run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
        if done.returncode:
            pytest.skip(f"npm cannot install the locked packages: {done.stderr.strip()[-200:]}")
        installed.write_text(locked)
    return HOME / "node_modules/.bin"


def run(*argv):
    return subprocess.run(argv, cwd=HOME, capture_output=True, text=True, check=False, timeout=110)


def test_a_journey_type_checks_against_the_generated_client(packages):
    for name in ("journey.ts", "tsconfig.json"):
        shutil.copy(HERE / name, HOME / name)
    (HOME / "openapi.json").write_text(json.dumps(docs._document()))
    generated = run(str(packages / "openapi-typescript"), "openapi.json", "-o", "api.d.ts")
    assert generated.returncode == 0, generated.stderr

    checked = run(str(packages / "tsc"), "-p", ".")

    assert checked.stdout == ""
    assert checked.returncode == 0
