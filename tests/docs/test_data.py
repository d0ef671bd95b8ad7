"""docs/data.md names every table of the database, and how long it keeps what."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from orders.services import retention

PAGE = (Path(settings.BASE_DIR) / "docs/data.md").read_text()
ROWS = {
    name: line
    for line in PAGE.splitlines()
    if line.startswith("| `")
    for name in re.findall(r"`([a-z_]+)`", line.split("|")[1])
}
"""Lines of its tables by the names in their first column."""


@pytest.mark.django_db
def test_every_table_has_its_line():
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT relname FROM pg_class
            WHERE relkind IN ('r', 'p') AND NOT relispartition
              AND relnamespace = 'public'::regnamespace
            """
        )
        tables = {name for (name,) in cursor.fetchall()}

    assert len(tables) > 50
    assert {name for name in ROWS if name.islower()} == tables


@pytest.mark.parametrize("policy", retention.POLICIES, ids=lambda policy: policy.table)
def test_every_period_is_the_one_that_is_set(policy):
    kept = ROWS[policy.table].split("|")[3]

    assert policy.kept in kept
    if policy.setting:
        assert f"`{policy.setting}`" in kept


def test_nothing_else_is_said_to_go_by_itself():
    by_itself = {name for name, line in ROWS.items() if re.search(r"\d+ days", line.split("|")[3])}

    parts = {"cart_items", "deliveries", "background_job_chunks"}
    assert by_itself - parts <= set(retention.tables())
