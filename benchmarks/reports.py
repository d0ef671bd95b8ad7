"""How long the reports of tax and revenue take on a shop that has been selling for most of a year.

In a database of its own, which is dropped afterwards: filled with orders as the services leave them
(`benchmarks.books_shop`), then read by the very code of the commands, over a month and over all of
it. Exit code 1 if a sum is not the ledger's. The filled shop keeps no rates and has no credit
notes, so that the tax of its refunds is told as not known.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.books import ROOT, UnusableError, fill, own_database, size, start_django
from benchmarks.books_shop import DAYS

if TYPE_CHECKING:
    from orders.reports.listing import Report

DATABASE: Final = "orderkeep_bench_reports"
MONTH: Final = 30


def measure(url: str, *, orders: int, progress: Progress) -> dict[str, Any]:
    """Fill, then read each report of each period."""
    from django.utils import timezone  # noqa: PLC0415 - only once Django is set up

    from orders.reports import revenue, tax  # noqa: PLC0415 - as above
    from orders.reports.days import shop_days  # noqa: PLC0415 - as above

    fill(url, orders=orders, progress=progress)
    end = timezone.localdate() - timedelta(days=MONTH)
    periods = {
        f"{MONTH} days": shop_days(first=end - timedelta(days=MONTH), end=end),
        "all": shop_days(
            first=timezone.localdate() - timedelta(days=DAYS + 1),
            end=timezone.localdate() + timedelta(days=1),
        ),
    }
    rows, gigabytes = size()
    read = []
    for period, days in periods.items():
        for name, reader in (("report_revenue", revenue.read), ("report_tax", tax.read)):
            started = time.monotonic()
            report: Report = reader(days)
            seconds = time.monotonic() - started
            read.append(
                {
                    "report": name,
                    "period": period,
                    "seconds": round(seconds, 2),
                    "lines": len(list(report.cells())),
                    "is_equal": not any(each.difference for each in report.comparisons),
                }
            )
    return {
        "orders": orders,
        "rows": rows,
        "database_gb": round(gigabytes, 2),
        "read": read,
        "process_peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="bin/bench reports", description=__doc__)
    parser.add_argument("--orders", type=int, default=100_000, help="at least 1000 (%(default)s)")
    options = parser.parse_args()
    if options.orders < 1_000:  # noqa: PLR2004 - every fate has to occur
        parser.error("--orders must be at least 1000")
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    try:
        with (
            own_database(os.environ["DATABASE_URL"], called=DATABASE) as url,
            Progress(*columns, console=Console(stderr=True)) as progress,
        ):
            start_django(url)
            report = measure(url, orders=options.orders, progress=progress)
    except UnusableError as exc:
        print(f"bench reports: {exc}", file=sys.stderr)
        return 1
    table = Table(f"{report['orders']:,} orders", "period", "lines", "seconds")
    for each in report["read"]:
        table.add_row(each["report"], each["period"], str(each["lines"]), f"{each['seconds']:.2f}")
    Console().print(table)
    Console().print(f"Peak memory of the process: {report['process_peak_mb']:.0f} MB.")
    home = Path(os.environ.get("ORDERKEEP_HOME", ROOT / ".local"))
    (home / "bench" / "reports.json").write_text(json.dumps(report, indent=2) + "\n")
    return 0 if all(each["is_equal"] for each in report["read"]) else 1


if __name__ == "__main__":
    sys.exit(main())
