"""`relay_outbox`: delivers every fact that is due, now, in this process."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.conf import settings
from rich.table import Table

from audit import outbox, selectors
from config.kernel.commands import ServiceCommand, bar, rendered

STEP = 200
"""Deliveries between two moves of the progress bar."""


class Command(ServiceCommand):
    help = "Deliver what is due in the outbox. Exits with 1 if a delivery failed."

    def handle(self, *_: Any, **options: Any) -> None:
        report = self.deliver_due(quiet=options["json"])
        self.finish(options, report)

    def deliver_due(self, *, quiet: bool) -> outbox.RelayReport:
        """Run the relay until nothing is due, with a progress bar for a person who watches."""
        report = outbox.RelayReport()
        with bar("Delivering", quiet=quiet, total=selectors.get_backlog().due) as show:
            while True:
                step = outbox.relay(limit=STEP, threads=settings.RELAY_THREADS)
                report += step
                show(report.attempted, None)
                if step.attempted < STEP:
                    return report

    def finish(self, options: dict[str, Any], report: outbox.RelayReport, **more: int) -> None:
        """Print what was done and what is left.

        Raises:
            SystemExit: with 1, if a delivery failed.
        """
        backlog = selectors.get_backlog()
        result = more | asdict(report) | {"waiting": backlog.waiting, "dead_in_all": backlog.dead}
        table = Table(*(name.replace("_", " ") for name in result))
        table.add_row(*(str(count) for count in result.values()))
        self.answer(options, result, rendered(table), all_is_well=not report.failed)
