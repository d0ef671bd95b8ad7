"""`check_books`: every invariant by name with its count of violators."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from orders import books
from orders.books import alerts, journal, watch
from payments.errors import ProviderUnavailableError

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from datetime import datetime

    from orders.books.journal import Journal

NOT_CHECKED: Final = 2
WIDTH_OF_FILES: Final = 200


class Command(BaseCommand):
    help = (
        "Check every invariant of the books in one read-only snapshot; orders may go on meanwhile. "
        "Prints each with its count of violators and the first few by order number. "
        "Exit code: 0 all is well, 1 something is violated, 2 it could not be checked: the payment "
        "provider is away, or the journal is none."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--stripe",
            action="store_true",
            help="compare payments and refunds with the payment provider, too, both ways",
        )
        parser.add_argument(
            "--since",
            type=instant,
            help="with --stripe: compare only payments made from this ISO 8601 date or time on "
            "(UTC unless it says otherwise); the default is the first payment",
        )
        parser.add_argument(
            "--journal",
            type=Path,
            metavar="FILE",
            help="what a client wrote down of the answers it heard, as bin/bench chaos does: every "
            "order it was told of has to be there, with the same answer",
        )
        parser.add_argument(
            "--record",
            action="store_true",
            help="keep the result for /metrics and the admin, as the hourly check does",
        )
        parser.add_argument("--json", action="store_true", help="print the result as JSON")
        parser.add_argument(
            "--alert-rules",
            action="store_true",
            help="check nothing; print Prometheus' alert rules for all invariants",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        if options["alert_rules"]:
            self.stdout.write(alerts.render(), ending="")
            return
        try:
            report = self.check_with_bar(
                with_provider=options["stripe"],
                since=options["since"],
                heard=journal.read(options["journal"]) if options["journal"] else None,
                quiet=options["json"],
            )
        except ProviderUnavailableError as exc:
            raise CommandError(
                f"the payment provider's lists could not be read: {exc.__cause__ or exc}",
                returncode=NOT_CHECKED,
            ) from exc
        except journal.JournalUnreadableError as exc:
            raise CommandError(str(exc), returncode=NOT_CHECKED) from exc
        if options["record"]:
            watch.keep(report)
        if options["json"]:
            self.stdout.write(json.dumps(_as_json(report)))
        else:
            self.stdout.write(_as_text(report))
        if report.violations:
            raise SystemExit(1)

    def check_with_bar(
        self, *, with_provider: bool, since: datetime | None, heard: Journal | None, quiet: bool
    ) -> books.Report:
        """Check with a progress bar for a person who watches."""
        console = Console(stderr=True)
        with Progress(console=console, disable=quiet or not console.is_terminal) as progress:
            task = progress.add_task("Checking", total=None)

            def show(what: str, done: int, total: int | None) -> None:
                progress.update(task, description=what, completed=done, total=total)

            return books.check(
                with_provider=with_provider, since=since, heard=heard, on_progress=show
            )


def console_for_output() -> Console:
    """As wide as the terminal; a file or a pipe gets whole lines."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH_OF_FILES)


def _as_json(report: books.Report) -> dict[str, Any]:
    return {
        "violations": report.violations,
        "invariants": [asdict(finding) for finding in report.findings],
        "notes": report.notes,
        "seconds": round(report.seconds, 3),
    }


def _as_text(report: books.Report) -> str:
    table = Table("", "invariant", "violations", "for example")
    table.columns[2].justify = "right"
    for finding in report.findings:
        table.add_row(
            finding.id,
            finding.name,
            str(finding.violations),
            ", ".join(finding.examples),
            style="bold red" if finding.violations else None,
        )
    console = console_for_output()
    with console.capture() as printed:
        console.print(table)
        for what, count in report.notes.items():
            if count:
                console.print(f"Note: {what}: {count}")
        console.print(
            f"{len(report.findings)} invariants checked in {report.seconds:.1f} s:"
            f" {report.violations or 'no'} violations."
        )
    return printed.get()


def instant(text: str) -> datetime:
    """Read --since.

    Raises:
        ValueError: it is no ISO 8601 date or time.
    """
    found = parse_datetime(text)
    if found is None and (day := parse_date(text)):
        found = parse_datetime(f"{day}T00:00:00")
    if found is None:
        raise ValueError(text)
    return timezone.make_aware(found) if timezone.is_naive(found) else found
