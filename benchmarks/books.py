"""How long `check_books` takes on a shop of a million orders, and whether it finds what is wrong.

In a database of its own, which is dropped afterwards: filled with orders as the services leave them
(`benchmarks.books_shop`), then checked by the very code of the command. The filled books must be in
order; then one violation each is planted for some invariants and must be found by name. The promise
is less than a minute for a million orders. Exit code 1 if any of this is not so.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

import psycopg2
from psycopg2 import sql
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks import books_shop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orders.books import Report

ROOT: Final = Path(__file__).resolve().parent.parent
DATABASE: Final = "orderkeep_bench_books"
PROMISED_SECONDS: Final = 60.0
PROMISED_ORDERS: Final = 1_000_000
SHOWN: Final = 15

# One violation each, on orders of different fates; with every trigger off.
PLANTED: Final = {
    "allocated_is_what_is_promised": "UPDATE stock_levels SET allocated = allocated - 1"
    " WHERE id = 1",
    "reserved_units_are_the_ordered_ones": "DELETE FROM reservations WHERE order_id = 87",
    "refunded_amount_is_the_sum_of_refunds": "UPDATE payments SET amount_refunded = 0.01"
    " WHERE order_id = 1",
    "ledger_has_every_capture": "DELETE FROM ledger_entries WHERE payment_id = 2"
    " AND kind = 'capture'",
    "answer_names_its_order": "UPDATE idempotency_keys SET response_body = '{}' WHERE id = 3",
    "key_owner_is_the_buyer": "UPDATE idempotency_keys SET scope = 'customer:0' WHERE id = 5",
    "order_history_ends_at_the_status": "UPDATE orders SET version = 7 WHERE id = 6",
    "transitions_are_announced_once": "UPDATE outbox_messages SET aggregate_id = 8"
    " WHERE dedupe_key = 'order.7.confirmed.1'",
    "every_subscriber_is_told": "DELETE FROM deliveries WHERE subscriber = 'email' AND message_id ="
    " (SELECT id FROM outbox_messages WHERE fact = 'order.confirmed'"
    " ORDER BY id DESC OFFSET 1 LIMIT 1)",
    "transitions_are_audited_once": "DELETE FROM audit_logs WHERE entity_id = 10"
    " AND event_type = 'ORDER_CONFIRMED'",
    "no_payment_waits_unasked": "UPDATE payments SET next_attempt_at = now() - interval '1 hour'"
    " WHERE id = (SELECT max(id) FROM payments)",
    "no_secret_is_written_down": "INSERT INTO audit_logs (event_type, data)"
    """ VALUES ('LEAKED', '{"said": "4242 4242 4242 4242"}')""",
}
# A message about another order lacks its transition, and its transition lacks a message.
TWICE: Final = frozenset({"transitions_are_announced_once"})


class UnusableError(Exception):
    """The benchmark cannot run here; the message says why in one line."""


@contextlib.contextmanager
def own_database(url: str, *, called: str = DATABASE) -> Iterator[str]:
    """An empty database beside the one that `url` names, gone afterwards.

    Raises:
        UnusableError: it cannot be made, or another run uses it.
    """
    name = sql.Identifier(called)
    try:
        with contextlib.closing(psycopg2.connect(url)) as beside:
            beside.autocommit = True
            with beside.cursor() as cursor:  # left over by a run that was killed
                cursor.execute("SET statement_timeout = 0")
                cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(name))
                cursor.execute(sql.SQL("CREATE DATABASE {}").format(name))
    except psycopg2.Error as exc:
        raise UnusableError(str(exc).splitlines()[0]) from exc
    try:
        yield urlunsplit(urlsplit(url)._replace(path=f"/{called}"))
    finally:
        with contextlib.closing(psycopg2.connect(url)) as beside:
            beside.autocommit = True
            with beside.cursor() as cursor:
                cursor.execute("SET statement_timeout = 0")
                cursor.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def start_django(url: str, *, migrate: bool = True) -> None:
    """Migrate the database and make this process one of the application's on it."""
    os.environ["DATABASE_URL"] = url
    os.environ.pop("DATABASE_URL_FILE", None)
    command = [sys.executable, str(ROOT / "manage.py"), "migrate", "--verbosity", "0"]
    if migrate:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise UnusableError(f"migrate failed: {done.stderr.strip().splitlines()[-1]}")
    import django  # noqa: PLC0415 - its settings read the address just set

    from config.env import apply_settings_module  # noqa: PLC0415 - as above

    apply_settings_module()
    django.setup()


def fill(url: str, *, orders: int, progress: Progress) -> float:
    """Fill the database; returns how long that took."""
    task = progress.add_task("Filling", total=None)

    def show(what: str, done: int, total: int) -> None:
        progress.update(task, description=f"Filling: {what}"[:60], completed=done, total=total)

    started = time.monotonic()
    with contextlib.closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            books_shop.fill(cursor, orders=orders, on_progress=show)
    progress.update(task, description="Filled")
    return time.monotonic() - started


def check(what: str, progress: Progress) -> Report:
    """Check the books as the command does, and show how far that is."""
    from orders import books  # noqa: PLC0415 - only once Django is set up

    task = progress.add_task(what, total=None)

    def show(name: str, done: int, total: int | None) -> None:
        progress.update(task, description=f"{what}: {name}", completed=done, total=total)

    report = books.check(on_progress=show)
    progress.update(task, description=what)
    return report


def plant() -> None:
    """Break one thing for each of the invariants in `PLANTED`."""
    import pgtrigger  # noqa: PLC0415 - only once Django is set up
    from django.db import connection  # noqa: PLC0415 - as above

    with pgtrigger.ignore(), connection.cursor() as cursor:
        for statement in PLANTED.values():
            cursor.execute(statement)


def size() -> tuple[int, float]:
    """Rows in all, and gigabytes on disk with indexes."""
    from django.db import connection  # noqa: PLC0415 - only once Django is set up

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sum(reltuples)::bigint, pg_database_size(current_database()) / 1e9"
            " FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        rows, gigabytes = cursor.fetchone()
    return int(rows), float(gigabytes)


def measure(url: str, *, orders: int, progress: Progress) -> dict[str, Any]:
    """Fill, check, break, check again."""
    filled = fill(url, orders=orders, progress=progress)
    sound = check("Checking", progress)
    rows, gigabytes = size()
    plant()
    broken = {found.name: found for found in check("Checking what was broken", progress).findings}
    return {
        "orders": orders,
        "rows": rows,
        "database_gb": round(gigabytes, 2),
        "filled_in_seconds": round(filled, 1),
        "seconds": round(sound.seconds, 2),
        "invariants": len(sound.findings),
        "violations": {found.name: found.examples for found in sound.findings if found.violations},
        "not_found": [
            name for name in PLANTED if broken[name].violations != (2 if name in TWICE else 1)
        ],
        "planted": len(PLANTED),
        "seconds_by_invariant": {
            f"{found.id} {found.name}": found.seconds
            for found in sorted(sound.findings, key=lambda found: -found.seconds)
        },
        "process_peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def tell(report: dict[str, Any], console: Console) -> None:
    """Print what came of it."""
    table = Table("check_books", "")
    for what, figure in (
        ("orders", f"{report['orders']:,}"),
        ("rows in all", f"{report['rows']:,}"),
        ("database", f"{report['database_gb']} GB, filled in {report['filled_in_seconds']:.0f} s"),
        ("checked", f"{report['invariants']} invariants in {report['seconds']:.1f} s"),
        ("peak memory of the process", f"{report['process_peak_mb']:.0f} MB"),
        ("violations", report["violations"] or "none"),
        (
            "planted and found",
            f"{report['planted'] - len(report['not_found'])} of {report['planted']}",
        ),
    ):
        table.add_row(what, str(figure))
    console.print(table)
    slowest = Table("the slowest", "seconds")
    slowest.columns[1].justify = "right"
    for name, seconds in list(report["seconds_by_invariant"].items())[:SHOWN]:
        slowest.add_row(name, f"{seconds:.2f}")
    console.print(slowest)
    for name in report["not_found"]:
        console.print(f"[bold red]not found: {name}[/]")


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="bin/bench books", description=__doc__)
    parser.add_argument(
        "--orders", type=int, default=PROMISED_ORDERS, help="at least 1000 (%(default)s)"
    )
    options = parser.parse_args()
    if options.orders < 1_000:  # noqa: PLR2004 - every fate has to occur
        parser.error("--orders must be at least 1000")
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    try:
        with (
            own_database(os.environ["DATABASE_URL"]) as url,
            Progress(*columns, console=Console(stderr=True)) as progress,
        ):
            start_django(url)
            report = measure(url, orders=options.orders, progress=progress)
    except UnusableError as exc:
        print(f"bench books: {exc}", file=sys.stderr)
        return 1
    tell(report, Console())
    home = Path(os.environ.get("ORDERKEEP_HOME", ROOT / ".local"))
    (home / "bench" / "books.json").write_text(json.dumps(report, indent=2) + "\n")
    promised = PROMISED_SECONDS * max(1.0, options.orders / PROMISED_ORDERS)
    is_kept = not report["violations"] and not report["not_found"] and report["seconds"] < promised
    return 0 if is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
