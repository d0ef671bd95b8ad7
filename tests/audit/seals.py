"""Writes into the audit log and seals it, as several transactions do."""

from __future__ import annotations

import time

from django.db import connection, transaction

from audit import services as audit
from audit.models import AuditLog
from audit.seals import sealing


def write(rows: int, *, at_once: int = 1) -> list[int]:
    """Rows of `rows / at_once` transactions; their ids."""
    before = set(AuditLog.objects.values_list("pk", flat=True))
    for first in range(0, rows, at_once):
        with transaction.atomic():
            for n in range(first, first + at_once):
                audit.record(
                    "TESTED",
                    entity_type="order",
                    entity_id=n,
                    data={"amount": f"{n}.00", "to": "confirmed"},
                )
    return sorted(set(AuditLog.objects.values_list("pk", flat=True)) - before)


def seal_everything(seconds: float = 60.0) -> sealing.Sealed:
    """Seal until nothing waits: transactions of other tests hold it up."""
    seals = rows = copied = 0
    ends_at = time.monotonic() + seconds
    while True:
        done = sealing.seal_all()
        seals, rows, copied = seals + done.seals, rows + done.rows, copied + done.copied
        if not sealing.find_lag().rows:
            return sealing.Sealed(seals=seals, rows=rows, copied=copied, copy_error=done.copy_error)
        assert time.monotonic() < ends_at, "somebody holds a transaction open"
        time.sleep(0.02)


def execute(statement: str, values=()) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.rowcount


def switch_triggers_off() -> None:
    """As whoever owns the tables can; for the rest of the transaction."""
    for table in ("audit_logs", "audit_seals"):
        execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    for constraint in (
        *("covers_rows_or_retires_them", "counts_from_one_and_zero"),
        "has_a_leaf_for_each_row",
    ):
        execute(f"ALTER TABLE audit_seals DROP CONSTRAINT audit_seal_{constraint}")
