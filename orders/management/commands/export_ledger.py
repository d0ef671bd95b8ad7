"""`export_ledger`: the ledger's entries of a period as CSV, for accounting."""

from __future__ import annotations

import sys
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table

from audit import services as audit
from config.kernel import csv_files, money
from config.kernel.commands import ServiceCommand, add_period, bad_argument, bar, instants, rendered
from config.kernel.db import snapshot
from payments import selectors

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from config.kernel.csv_files import Writable
    from payments.selectors import AccountTotals, LedgerLine

TOLD_EVERY: Final = 1_000


class Command(ServiceCommand):
    help = (
        "Write the ledger's entries of a period as CSV (RFC 4180, UTF-8, one header line), as one "
        "read-only snapshot has them; orders may go on meanwhile. An amount is signed: a positive "
        "one is a debit, a negative one a credit, and the entries of a transaction add up to zero. "
        "Fees and disputes bear the provider's day and are booked some minutes later: export a "
        "period when it is over. Exit code: 0 all of it is written; else nothing has the name of "
        "--output that had it not before."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        add_period(parser, what="entries booked")
        parser.add_argument(
            "--output",
            type=Path,
            metavar="FILE",
            help="write there, and replace what is there, once all is written; the default is the "
            "standard output",
        )
        parser.add_argument(
            "--summary",
            action="store_true",
            help="also print what each account held before, what moved it, and what it holds then, "
            "by currency, to the standard error output",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        begin, end = instants(options)
        output = options["output"]
        if options["json"] and output is None:
            raise bad_argument("--json needs --output: the CSV itself goes to the standard output")
        told = {"subject": "ledger", "from": begin.isoformat(), "to": end.isoformat()}
        audit.record("EXPORT_REQUESTED", data=told)
        try:
            if output is None:
                quiet = sys.stdout.isatty()  # whoever watches reads the CSV itself
                written, totals = self.export(self.stdout, begin=begin, end=end, quiet=quiet)
                self.stdout.flush()
            else:
                quiet = options["json"]
                with csv_files.replacing(output) as file:
                    written, totals = self.export(file, begin=begin, end=end, quiet=quiet)
        except OSError as exc:
            raise bad_argument(f"it could not be written: {exc}") from exc
        audit.record("EXPORT", data={**told, "rows": written})
        if output is not None:
            self.answer(
                options,
                {"entries": written, "output": str(output), "accounts": _as_json(totals)},
                f"{written} entries written to {output}.",
            )
        if options["summary"] and not options["json"]:
            self.stderr.write(_summary(totals))

    def export(
        self, file: Writable, *, begin: datetime, end: datetime, quiet: bool
    ) -> tuple[int, list[AccountTotals]]:
        """Write header and entries; returns how many, and what they make, of the same snapshot."""
        csv = csv_files.writer(file)
        written = 0
        with snapshot() as cursor:
            totals = selectors.ledger_totals(cursor, begin=begin, end=end)
            total = selectors.count_ledger_lines(cursor, begin=begin, end=end)
            lines = selectors.ledger_lines(cursor, begin=begin, end=end)
            csv.writerow(selectors.LedgerLine._fields)
            for line in _with_bar(lines, total=total, quiet=quiet):
                csv.writerow(_cells(line))
                written += 1
        return written, totals


def _with_bar(lines: Iterable[LedgerLine], *, total: int, quiet: bool) -> Iterator[LedgerLine]:
    """The same, with a progress bar for a person who watches."""
    with bar("Writing entries", quiet=quiet, total=total) as show:
        for done, line in enumerate(lines, start=1):
            yield line
            if done % TOLD_EVERY == 0:
                show(done, None)
        show(total, None)


def _cells(line: LedgerLine) -> list[str]:
    booked_at = line.booked_at.astimezone(UTC).replace(tzinfo=None)
    return [
        str(line.entry),
        f"{booked_at.isoformat(timespec='seconds')}Z",
        line.transaction,
        csv_files.text(line.kind),
        csv_files.text(line.account),
        money.format_amount(line.amount, line.currency),
        csv_files.text(line.currency),
        csv_files.text(line.order_number),
        line.payment,
        csv_files.text(line.payment_intent),
        csv_files.text(line.refund),
        csv_files.text(line.provider_refund),
        csv_files.text(line.dispute),
        csv_files.text(line.balance_transaction),
    ]


def _as_json(totals: list[AccountTotals]) -> list[dict[str, Any]]:
    return [
        {
            "currency": total.currency,
            "account": total.account,
            "opening": money.format_amount(total.opening, total.currency),
            "movements": {
                kind: money.format_amount(amount, total.currency)
                for kind, amount in total.movements.items()
            },
            "closing": money.format_amount(total.closing, total.currency),
        }
        for total in totals
    ]


def _summary(totals: list[AccountTotals]) -> str:
    table = Table("currency", "account", "", "amount")
    table.columns[3].justify = "right"
    for total in _as_json(totals):
        rows = [
            ("opening", total["opening"]),
            *total["movements"].items(),
            ("closing", total["closing"]),
        ]
        for what, amount in rows:
            table.add_row(total["currency"], total["account"], what, amount)
        table.add_section()
    return rendered(table, stderr=True)
