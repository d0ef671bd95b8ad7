"""What reads or rewrites a whole table takes as long as the table is large: no limit ends it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader

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


@pytest.mark.django_db(transaction=True)
def test_a_foreign_key_that_was_lost_is_made_again():
    """As an earlier form of a migration left it behind when it was ended in the middle."""
    name = "order_items_product_id_dd557d5a_fk_products_id"
    step = MigrationLoader(connection).graph.nodes["orders", "0027b_order_items_name_a_product"]
    find = "SELECT convalidated FROM pg_constraint WHERE conname = %s"
    with connection.cursor() as cursor:
        for is_lost in (True, False):
            if is_lost:
                cursor.execute(f"ALTER TABLE order_items DROP CONSTRAINT {name}")
            with connection.schema_editor(atomic=False) as editor:
                step.apply(MigrationLoader(connection).project_state([]), editor)
            cursor.execute(find, [name])
            assert cursor.fetchall() == [(True,)]
