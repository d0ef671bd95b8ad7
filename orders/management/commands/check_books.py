"""`check_books`: every invariant by name with its count of violators."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError
from rich.table import Table

from config.kernel.commands import NOT_DONE, ServiceCommand, bars, instant, rendered
from orders import books
from orders.books import alerts, journal, watch
from payments.errors import ProviderUnavailableError

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from datetime import datetime

    from orders.books.journal import Journal


class Command(ServiceCommand):
    help = (
        "Check every invariant of the books in one read-only snapshot; orders may go on meanwhile. "
        "Prints each with its count of violators and the first few by order number. "
        "Exit code: 0 all is well, 1 something is violated, 2 it could not be checked: the payment "
        "provider is away, or the journal is none."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
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
                returncode=NOT_DONE,
            ) from exc
        except journal.JournalUnreadableError as exc:
            raise CommandError(str(exc), returncode=NOT_DONE) from exc
        if options["record"]:
            watch.keep(report)
        self.answer(options, _as_json(report), _as_text(report), all_is_well=not report.violations)

    def check_with_bar(
        self, *, with_provider: bool, since: datetime | None, heard: Journal | None, quiet: bool
    ) -> books.Report:
        """Check with a progress bar for a person who watches."""
        with bars(quiet=quiet) as show:
            return books.check(
                with_provider=with_provider, since=since, heard=heard, on_progress=show
            )


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
    notes = [f"Note: {what}: {count}" for what, count in report.notes.items() if count]
    told = (
        f"{len(report.findings)} invariants checked in {report.seconds:.1f} s:"
        f" {report.violations or 'no'} violations."
    )
    return rendered(table, *notes, told)
