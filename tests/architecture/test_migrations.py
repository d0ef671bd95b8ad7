"""Migrations run beside the old code: they build no index in an order's way, nor a circle with it.

Who locks one of an order's tables alone never waits for somebody who waits for that one. Nor do
they read a table under a lock for a foreign key: Django drops and makes one anew for as little as
an index that is not wanted any more.
"""

from __future__ import annotations

import pytest
from django.contrib.postgres.operations import AddIndexConcurrently, ValidateConstraint
from django.db import models
from django.db.migrations import operations
from django.db.migrations.loader import MigrationLoader

ON_THE_WAY = {
    ("orders", "order"),
    ("orders", "orderitem"),
    ("orders", "idempotencykey"),
    ("orders", "coupon"),
    ("orders", "shipment"),
    ("payments", "payment"),
    ("payments", "refund"),
    ("payments", "ledgerentry"),
    ("inventory", "reservation"),
    ("inventory", "stocklevel"),
    ("inventory", "stockmovement"),
}
"""Tables that requests read or write between an order and its parcel."""
GROW = ON_THE_WAY - {("orders", "coupon"), ("inventory", "stocklevel")}
BEFORE_THE_FIRST_ORDER = {
    ("orders", "0003_stricter_checks"),
    ("orders", "0004_open_keys_index"),
    ("inventory", "0002_promises_to_orders"),
    ("payments", "0002_disputes_fees_events"),
    ("payments", "0003_booked_entries"),
    ("payments", "0004_illegal_moves_alone_call"),
}
TOGETHER = [
    (
        [operations.AddIndex("order", models.Index(fields=["status"], name="x"))],
        {"builds an index of order"},
    ),
    ([operations.AddField("order", "x", models.UUIDField(null=True))], set()),
    (
        [operations.AddField("order", "x", models.UUIDField(null=True, unique=True))],
        {"builds an index of order"},
    ),
    (
        [
            operations.AddField("order", "x", models.UUIDField(null=True)),
            operations.AddField("coupon", "x", models.UUIDField(null=True)),
        ],
        {"locks coupon, order"},
    ),
    (
        [
            operations.AlterField(
                "order", "x", models.ForeignKey("orders.cart", models.PROTECT, db_index=False)
            )
        ],
        {"makes the foreign key of order.x anew"},
    ),
    (
        [operations.RunSQL("ALTER TABLE a ADD CONSTRAINT b\n FOREIGN KEY (c) REFERENCES d (e)")],
        {"adds a foreign key that is valid at once"},
    ),
    (
        [operations.RunSQL("ALTER TABLE a ADD FOREIGN KEY (c) REFERENCES d (e) NOT VALID")],
        set(),
    ),
]


def faults(app, steps, *, there):
    """What a transaction of these operations would do to orders that go on meanwhile."""
    found, locked = set(), set()
    for step in steps:
        found |= faults_of_keys(step)
        table = (app, getattr(step, "model_name", "").lower())
        if table not in there & ON_THE_WAY or isinstance(step, ValidateConstraint):
            continue
        locked.add(table[1])
        if table in GROW and builds_an_index(step):
            found.add(f"builds an index of {table[1]}")
    return found | ({f"locks {', '.join(sorted(locked))}"} if len(locked) > 1 else set())


def faults_of_keys(step):
    """Make it a change of the state alone, or NOT VALID and then valid."""
    if isinstance(step, operations.RunSQL):
        words = " ".join(str(step.sql).split())
        if "FOREIGN KEY" in words and "NOT VALID" not in words:
            return {"adds a foreign key that is valid at once"}
    if isinstance(step, operations.AlterField) and step.field.remote_field is not None:
        return {f"makes the foreign key of {step.model_name}.{step.name} anew"}
    return set()


def builds_an_index(step):
    if isinstance(step, operations.AddConstraint):
        return not isinstance(step.constraint, models.CheckConstraint)
    if isinstance(step, (operations.AddField, operations.AlterField)):
        return step.field.unique or step.field.db_index
    return isinstance(step, operations.AddIndex) and not isinstance(step, AddIndexConcurrently)


def test_leave_orders_alone():
    graph = MigrationLoader(None).graph
    there, found = set(), {}
    for key in graph._generate_plan(graph.leaf_nodes(), at_end=True):
        steps = graph.nodes[key].operations
        transactions = [steps] if graph.nodes[key].atomic else [[step] for step in steps]
        if key not in BEFORE_THE_FIRST_ORDER:
            found[key] = set().union(
                *(faults(key[0], together, there=there) for together in transactions)
            )
        made = [step for step in steps if isinstance(step, operations.CreateModel)]
        there |= {(key[0], step.name_lower) for step in made}

    assert there >= ON_THE_WAY
    assert {key: wrong for key, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize(("together", "expected"), TOGETHER)
def test_that_do_not_are_found(together, expected):
    assert faults("orders", together, there=ON_THE_WAY) == expected
