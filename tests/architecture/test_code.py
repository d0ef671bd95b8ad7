"""The house as a whole: who may import whom, and that models and migrations agree."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

ROOT = Path(__file__).resolve().parents[2]


def test_imports_point_one_way():
    ended = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "0 broken" in ended.stdout


@pytest.mark.django_db
def test_migrations_are_in_step_with_the_models():
    said = StringIO()

    call_command("makemigrations", "--check", "--dry-run", stdout=said, stderr=said)

    assert "No changes detected" in said.getvalue()


@pytest.mark.django_db
def test_django_finds_nothing_to_complain_about():
    call_command("check", "--fail-level", "WARNING", stdout=StringIO(), stderr=StringIO())


class TestRequirements:
    @pytest.mark.parametrize("name", ["requirements.in", "requirements-dev.in"])
    def test_each_come_with_a_reason(self, name):
        lines = (ROOT / name).read_text().splitlines()

        asked_for = [line for line in lines if line.strip() and not line.startswith(("#", "-"))]

        assert asked_for
        without = [line for line in asked_for if not re.fullmatch(r"\S+\s+# \S.*", line)]
        assert without == []

    @pytest.mark.parametrize("name", ["requirements", "requirements-dev"])
    def test_are_all_locked(self, name):
        wanted = (ROOT / f"{name}.in").read_text().splitlines()
        lock = (ROOT / f"{name}.txt").read_text()
        locked = {
            canonical(found) for found in re.findall(r"^([\w.-]+)(?:\[.*\])?==", lock, re.MULTILINE)
        }

        names = {
            canonical(re.match(r"[\w.-]+", line)[0])
            for line in wanted
            if line.strip() and not line.startswith(("#", "-"))
        }

        assert names - locked == set()


def canonical(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


class TestConfiguration:
    def test_names_every_variable_that_is_read(self):
        """`docs/configuration.md` is where an operator looks first."""
        code = "\n".join(
            path.read_text()
            for folder in ("config", "sandbox")
            for path in sorted((ROOT / folder).rglob("*.py"))
        )
        read = set(re.findall(r"env\.\w+\(\s*f?\"([A-Z][A-Z_]+)\"", code))

        documented = (ROOT / "docs" / "configuration.md").read_text()

        assert len(read) > 20
        assert {name for name in read if f"`{name}`" not in documented} == set()
