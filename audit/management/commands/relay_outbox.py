"""`relay_outbox`: delivers every fact that is due, now, in this process."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from audit import outbox, selectors

if TYPE_CHECKING:
    from argparse import ArgumentParser

STEP = 25
"""Deliveries between two moves of the progress bar."""


class Command(BaseCommand):
    help = "Deliver what is due in the outbox. Exits with 1 if a delivery failed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print the result as JSON")

    def handle(self, *_: Any, **options: Any) -> None:
        report = self.deliver_due(quiet=options["json"])
        self.finish(report, as_json=options["json"])

    def deliver_due(self, *, quiet: bool) -> outbox.RelayReport:
        """Run the relay until nothing is due, with a progress bar for a person who watches."""
        console = Console(stderr=True)
        report = outbox.RelayReport()
        with Progress(console=console, disable=quiet or not console.is_terminal) as progress:
            task = progress.add_task("Delivering", total=selectors.get_backlog().due)
            while True:
                step = outbox.relay(limit=STEP)
                report += step
                progress.update(task, completed=report.attempted)
                if step.attempted < STEP:
                    return report

    def finish(self, report: outbox.RelayReport, *, as_json: bool, **more: int) -> None:
        """Print what was done and what is left.

        Raises:
            SystemExit: with 1, if a delivery failed.
        """
        backlog = selectors.get_backlog()
        result = more | asdict(report) | {"waiting": backlog.waiting, "dead_in_all": backlog.dead}
        if as_json:
            self.stdout.write(json.dumps(result))
        else:
            table = Table(*(name.replace("_", " ") for name in result))
            table.add_row(*(str(count) for count in result.values()))
            console = Console()
            with console.capture() as printed:
                console.print(table)
            self.stdout.write(printed.get())
        if report.failed:
            raise SystemExit(1)
