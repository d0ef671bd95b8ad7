"""`rebuild_customer_metrics`: works out every customer's figures anew."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from orders.services import customer_metrics

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = (
        "Work out every customer's order count and lifetime value anew from orders and payments. "
        "Harmless at any time; orders go on meanwhile."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print the result as JSON")

    def handle(self, *_: Any, **options: Any) -> None:
        corrected = self.rebuild(quiet=options["json"])
        if options["json"]:
            self.stdout.write(json.dumps({"corrected": corrected}))
        else:
            self.stdout.write(f"Rows of customer metrics that were wrong or missing: {corrected}.")

    def rebuild(self, *, quiet: bool) -> int:
        """Rebuild with a progress bar for a person who watches."""
        console = Console(stderr=True)
        columns = (TextColumn("Customers"), BarColumn(), TaskProgressColumn())
        with Progress(
            *columns,
            TimeRemainingColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
        ) as bars:
            task = bars.add_task("")

            def show(done: int, last: int) -> None:
                bars.update(task, completed=done, total=last)

            return customer_metrics.rebuild_all(progress=show)
