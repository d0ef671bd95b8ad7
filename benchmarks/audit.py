"""How fast the audit log is sealed and verified, and whether what was tampered with is found.

In a database of its own, which is dropped afterwards: filled with rows as orders leave them, four a
transaction, sealed and verified by the very code of the commands. Then a row each is changed, taken
away and put in, and must be named. The promise is 100,000 rows verified a second. Exit code 1 if
any of this is not so.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg2
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.books import ROOT, UnusableError, own_database, start_django

if TYPE_CHECKING:
    from collections.abc import Callable

    from audit.seals.verification import Report

PROMISED_ROWS_A_SECOND: Final = 100_000
ROWS_A_TRANSACTION: Final = 4
TRANSACTIONS_AT_ONCE: Final = 5_000
PATIENCE_SECONDS: Final = 60.0
"""For a transaction of somebody else on the same server, which holds the sealing up."""
FILL: Final = """
    DO $$
    BEGIN
        FOR tx IN %(first)s .. %(last)s LOOP
            INSERT INTO audit_logs (event_type, entity_type, entity_id, user_id, ip_address,
                                    user_agent, data, request_id)
            SELECT (ARRAY['ORDER_CREATED', 'PAYMENT_CAPTURED', 'ORDER_CONFIRMED', 'ORDER_SHIPPED'])
                   [n], 'order', tx, tx %% 5000, '203.0.113.7',
                   'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0',
                   jsonb_build_object('version', n, 'to', 'confirmed', 'amount', '24.98',
                                      'currency', 'USD', 'order_id', tx),
                   gen_random_uuid()::text
            FROM generate_series(1, 4) n;
            COMMIT;
        END LOOP;
    END;
    $$
"""
TAMPERS: Final = {
    "row_altered": "UPDATE audit_logs SET user_id = user_id + 1 WHERE id = %s",
    "row_missing": "DELETE FROM audit_logs WHERE id = %s",
    "row_unknown": "INSERT INTO audit_logs (id, event_type, xid)"
    " SELECT -id, 'FORGED', xid FROM audit_logs WHERE id = %s",
}


def fill(url: str, *, rows: int, progress: Progress) -> None:
    """As many rows as transactions of orders would have left."""
    transactions = rows // ROWS_A_TRANSACTION
    task = progress.add_task("Filling", total=rows)
    with contextlib.closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = 0; SET synchronous_commit = off")
            for first in range(1, transactions + 1, TRANSACTIONS_AT_ONCE):
                last = min(first + TRANSACTIONS_AT_ONCE - 1, transactions)
                cursor.execute(FILL, {"first": first, "last": last})
                progress.update(task, completed=last * ROWS_A_TRANSACTION)
            cursor.execute("VACUUM ANALYZE audit_logs")


def timed(what: str, progress: Progress, run: Callable[[Callable[..., None]], Any]) -> Any:
    """Run it with a bar; what it returns, and how long it took."""
    task = progress.add_task(what, total=None)

    def show(done: int, total: int | None = None) -> None:
        progress.update(task, completed=done, total=total)

    started = time.monotonic()
    return run(show), time.monotonic() - started


def tamper(rows: int) -> list[tuple[str, int]]:
    """Change the log as its owner can; the findings that there have to be."""
    import pgtrigger  # noqa: PLC0415 - only once Django is set up
    from django.db import connection  # noqa: PLC0415 - as above

    expected = []
    with pgtrigger.ignore(), connection.cursor() as cursor:
        for nth, (kind, statement) in enumerate(TAMPERS.items(), start=1):
            row = rows * nth // (len(TAMPERS) + 1)
            cursor.execute(statement, [row])
            expected.append((kind, -row if kind == "row_unknown" else row))
    return expected


def measure(url: str, *, rows: int, progress: Progress) -> dict[str, Any]:
    """Fill, seal, verify, tamper, verify again."""
    from audit.models import AuditSeal  # noqa: PLC0415 - only once Django is set up
    from audit.seals import sealing, verification  # noqa: PLC0415 - as above

    def verify(show: Callable[..., None]) -> Report:
        return verification.verify(on_progress=show)

    fill(url, rows=rows, progress=progress)
    sealed, sealing_took = timed(
        "Sealing", progress, lambda show: sealing.seal_all(on_progress=lambda n: show(n, rows))
    )
    ends_at = time.monotonic() + PATIENCE_SECONDS
    while sealing.find_lag().rows and time.monotonic() < ends_at:
        time.sleep(0.1)
        sealing.seal_all()
    sound, verifying_took = timed("Verifying", progress, verify)
    nothing, idle_took = timed("Sealing nothing", progress, lambda _show: sealing.seal_all())
    expected = tamper(rows)
    broken, _ = timed("Verifying what was tampered with", progress, verify)
    found = [(finding.kind, finding.row) for finding in broken.findings]
    return {
        "rows": rows,
        "seals": AuditSeal.objects.count(),
        "sealed_rows_a_second": round(sealed.rows / sealing_took),
        "verified_rows": sound.rows,
        "verified_rows_a_second": round(sound.rows / verifying_took),
        "seconds_to_seal_nothing": round(idle_took, 4),
        "findings": sound.count + nothing.seals,
        "tampered": len(expected),
        "found": sum(one in found for one in expected),
        "accused_wrongly": len(set(found) - set(expected)),
        "process_peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def tell(report: dict[str, Any], console: Console) -> None:
    """Print what came of it."""
    table = Table("verify_audit", "")
    for what, figure in (
        ("rows", f"{report['rows']:,} in {report['seals']:,} seals"),
        ("sealed", f"{report['sealed_rows_a_second']:,} rows/s"),
        ("verified", f"{report['verified_rows_a_second']:,} rows/s"),
        ("nothing to seal", f"{report['seconds_to_seal_nothing'] * 1000:.1f} ms"),
        ("findings where nothing was done", f"{report['findings']}"),
        ("tampered and found", f"{report['found']} of {report['tampered']}"),
        ("peak memory of the process", f"{report['process_peak_mb']:.0f} MB"),
    ):
        table.add_row(what, figure)
    console.print(table)


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="bin/bench audit", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="at least 10000 (%(default)s)")
    options = parser.parse_args()
    if options.rows < 10_000:  # noqa: PLR2004 - several seals
        parser.error("--rows must be at least 10000")
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    try:
        with (
            tempfile.TemporaryDirectory() as seals,
            own_database(os.environ["DATABASE_URL"]) as url,
            Progress(*columns, console=Console(stderr=True)) as progress,
        ):
            os.environ["AUDIT_SEAL_DIR"] = seals
            start_django(url)
            report = measure(url, rows=options.rows, progress=progress)
    except UnusableError as exc:
        print(f"bench audit: {exc}", file=sys.stderr)
        return 1
    tell(report, Console())
    home = Path(os.environ.get("ORDERKEEP_HOME", ROOT / ".local"))
    (home / "bench" / "audit.json").write_text(json.dumps(report, indent=2) + "\n")
    is_kept = (
        report["rows"] == report["verified_rows"]
        and not report["findings"]
        and report["found"] == report["tampered"]
        and not report["accused_wrongly"]
        and report["verified_rows_a_second"] >= PROMISED_ROWS_A_SECOND
    )
    return 0 if is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
