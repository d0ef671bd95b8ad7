"""What reads or rewrites a whole table takes as long as the table is large."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command

NO_LIMIT = "SET LOCAL statement_timeout = 0"
LONG = re.compile(r"\bVALIDATE CONSTRAINT\b|\bGENERATED ALWAYS AS\b")
WRITTEN = re.compile(r"\bValidateConstraint\(|\bGENERATED ALWAYS AS\b")
MIGRATIONS = [
    path
    for path in sorted(Path(settings.BASE_DIR).glob("*/migrations/*.py"))
    if WRITTEN.search(path.read_text())
]


@pytest.mark.django_db
@pytest.mark.parametrize("path", MIGRATIONS, ids=lambda path: path.stem)
def test_is_ended_by_no_limit_of_the_role(path, capsys):
    call_command("sqlmigrate", path.parent.parent.name, path.stem)

    before, long = LONG.split(capsys.readouterr().out, maxsplit=1)
    assert long
    assert NO_LIMIT in before
