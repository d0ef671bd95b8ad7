"""`export_orders`: the orders of a period as CSV, one row an order or a line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit import services as audit
from config.kernel import csv_files
from config.kernel.commands import ServiceCommand, add_period, bad_argument, bar, instants
from orders.transfer.exports import Selection, open_table
from orders.transfer.formats import csv_cells

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from config.kernel.csv_files import Writable
    from orders.transfer.exports import Table


class Command(ServiceCommand):
    help = (
        "Write the orders of a period as CSV (RFC 4180, UTF-8, one header line), oldest first, in "
        "constant memory however many; orders may go on meanwhile, and those that were placed "
        "after the beginning are not in it. Amounts are in major units of the order's currency. "
        "Who bought, and the street it went to, is left out unless you say --personal. Exit code: "
        "0 all of it is written; else nothing has the name of --output that had it not before."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        add_period(parser, what="orders placed")
        parser.add_argument(
            "--output",
            type=Path,
            metavar="FILE",
            help="write there, and replace what is there, once all is written; the default is the "
            "standard output; --json needs it",
        )
        parser.add_argument(
            "--lines", action="store_true", help="one row a line of an order, instead of an order"
        )
        parser.add_argument(
            "--personal",
            action="store_true",
            help="also e-mail, name and address of who bought: keep the file as carefully",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        begin, end = instants(options)
        output = options["output"]
        if options["json"] and output is None:
            raise bad_argument("--json needs --output: the CSV itself goes to the standard output")
        subject = "order_lines" if options["lines"] else "orders"
        table = open_table(
            subject,
            Selection(
                filters={"created_at__gte": begin, "created_at__lt": end},
                with_personal=options["personal"],
            ),
        )
        told = {
            "subject": subject,
            "from": begin.isoformat(),
            "to": end.isoformat(),
            "personal": options["personal"] and not options["lines"],
        }
        # Before anybody can read a line: whoever has seen enough of it ends it in the middle.
        audit.record("EXPORT_REQUESTED", data=told)
        try:
            if output is None:
                quiet = sys.stdout.isatty()  # whoever watches reads the CSV itself
                written = _write(self.stdout, table, quiet=quiet)
                self.stdout.flush()
            else:
                with csv_files.replacing(output) as file:
                    written = _write(file, table, quiet=options["json"])
        except OSError as exc:
            raise bad_argument(f"it could not be written: {exc}") from exc
        audit.record("EXPORT", data={**told, "rows": written})
        if output is not None:
            self.answer(
                options,
                {"rows": written, "columns": table.columns, "output": str(output)},
                f"{written} rows written to {output}.",
            )


def _write(file: Writable, table: Table, *, quiet: bool) -> int:
    """Write header and rows; returns how many, the header aside."""
    lines = csv_files.writer(file)
    lines.writerow(table.columns)
    written = 0
    with bar("Orders", quiet=quiet, total=table.total) as show:
        for done, rows in table.rows:
            lines.writerows(map(csv_cells, rows))
            written += len(rows)
            show(min(done, table.total), None)
    return written
