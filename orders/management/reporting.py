"""What the commands of reports have in common: what they take, where it goes, how they end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.core.management.base import CommandError
from rich.table import Table

from audit import services as audit
from config.kernel import csv_files, files, xlsx_files
from config.kernel.commands import (
    SOMETHING_LEFT,
    ServiceCommand,
    add_days,
    bad_argument,
    bar,
    rendered,
)
from config.kernel.errors import ValidationFailedError
from orders.reports.days import shop_days
from orders.transfer.formats import csv_cells

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from rich.console import RenderableType

    from config.kernel.csv_files import Writable
    from orders.reports.days import Days
    from orders.reports.listing import Report

FORMATS: Final = ("csv", "xlsx", "json")
DIFFERS: Final = "The report is not what the ledger says: see the differences. Run check_books."


class ReportCommand(ServiceCommand):
    """Prints a report for people, or writes it as CSV, XLSX or JSON."""

    subject: ClassVar[str]
    what: ClassVar[str]

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        add_days(parser, what=self.what)
        parser.add_argument(
            "--format",
            choices=FORMATS,
            help="of the file; without --output printed instead of the table; the default is csv",
        )
        parser.add_argument(
            "--output",
            type=Path,
            metavar="FILE",
            help="write there, and replace what is there, once all is written; xlsx needs it",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        output, form = options["output"], options["format"]
        if output is None and form == "xlsx":
            raise bad_argument("--format xlsx needs --output: a workbook is nothing to print")
        if output is None and form == "csv" and options["json"]:
            raise bad_argument("--json needs --output: the CSV itself goes to the standard output")
        try:
            days = shop_days(first=options["first"], end=options["end"])
        except ValidationFailedError as exc:
            raise bad_argument(f"--from, --to: {exc.message}") from exc
        told = {
            "subject": self.subject,
            "from": days.first.isoformat(),
            "to": days.end.isoformat(),
        }
        audit.record("EXPORT_REQUESTED", data=told)
        with bar("Reading the books", quiet=options["json"]):
            report = self.read_report(days)
        lines = report.cells()
        try:
            if output is not None:
                _write(output, form or "csv", report, lines)
            elif form == "csv":
                _write_csv(self.stdout, report, lines)
                self.stdout.flush()
        except OSError as exc:
            raise bad_argument(f"it could not be written: {exc}") from exc
        audit.record("EXPORT", data={**told, "rows": len(lines), "is_equal": report.is_equal})
        self.say(report, len(lines), options)

    def read_report(self, days: Days) -> Report:
        """The report of these days."""
        raise NotImplementedError

    def tables(self, report: Any) -> list[RenderableType]:
        """The same for a person's eyes."""
        raise NotImplementedError

    def say(self, report: Report, lines: int, options: dict[str, Any]) -> None:
        """The answer, or what there is to say beside it."""
        output, is_json = options["output"], options["json"] or options["format"] == "json"
        if not report.days.is_over:
            self.stderr.write("The last day is not over: these figures will still change.")
        if output is not None:
            self.answer(
                options,
                {"lines": lines, "output": str(output), "is_equal": report.is_equal},
                f"{lines} lines written to {output}." + ("" if report.is_equal else f" {DIFFERS}"),
                all_is_well=report.is_equal,
            )
        elif is_json:
            self.answer({"json": True}, report.as_json(), "", all_is_well=report.is_equal)
        elif options["format"] is None:
            text = rendered(*self.tables(report), "" if report.is_equal else DIFFERS)
            self.answer(options, None, text.rstrip("\n"), all_is_well=report.is_equal)
        elif not report.is_equal:
            raise CommandError(DIFFERS, returncode=SOMETHING_LEFT)


def add_numbers(table: Table, *names: str) -> None:
    """Columns of amounts."""
    for name in names:
        table.add_column(name, justify="right")


def ledger_table(report: Report) -> Table:
    """How a report stands to the ledger."""
    table = Table("", "compared")
    add_numbers(table, "this report", "the ledger", "difference")
    for each in report.comparisons:
        told = each.as_json()
        table.add_row(
            *(each.currency, each.title),
            *(told[name] for name in ("reported", "booked", "difference")),
            style="bold red" if each.difference else None,
        )
    return table


def _write(output: Path, form: str, report: Report, lines: list[list[Any]]) -> None:
    if form == "csv":
        with csv_files.replacing(output) as text:
            _write_csv(text, report, lines)
        return
    with files.replacing(output) as file:
        if form == "json":
            file.write(json.dumps(report.as_json(), indent=2).encode() + b"\n")
            return
        with xlsx_files.Writer(title="report") as sheet:
            for line in (report.columns, *lines):
                sheet.writerow(line)
            sheet.save(file)


def _write_csv(file: Writable, report: Report, lines: list[list[Any]]) -> None:
    csv = csv_files.writer(file)
    csv.writerow(report.columns)
    csv.writerows(map(csv_cells, lines))
