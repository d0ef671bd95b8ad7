"""`load_demo_data`: a real catalogue, stock, coupons and a staff account to try the shop with."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import Progress

from orders.services import demo

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = (
        "Create what is missing of the demo data; running it again changes nothing. "
        "Refused with ENVIRONMENT=production: it makes a staff account with a known password."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print what was created as JSON")

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            loaded = asdict(self.load(quiet=options["json"]))
        except demo.DemoInProductionError as exc:
            raise CommandError("demo data is refused with ENVIRONMENT=production") from exc
        if options["json"]:
            self.stdout.write(json.dumps(loaded))
        elif created := [f"{what.replace('_', ' ')} {n}" for what, n in loaded.items() if n]:
            self.stdout.write(f"Demo data created: {', '.join(created)}.")
        else:
            self.stdout.write("Demo data is complete; nothing to create.")

    def load(self, *, quiet: bool) -> demo.Loaded:
        """Load with a progress bar for a person who watches."""
        console = Console(stderr=True)
        with Progress(console=console, disable=quiet or not console.is_terminal) as bars:
            tasks = {}

            def show(what: str, done: int, total: int) -> None:
                if what not in tasks:
                    tasks[what] = bars.add_task(what, total=total)
                bars.update(tasks[what], completed=done)

            return demo.load_demo_data(progress=show)
