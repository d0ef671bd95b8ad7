"""`load_demo_data`: a real catalogue, stock, coupons and a staff account to try the shop with."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError

from config.kernel.commands import ServiceCommand, bars, counted
from orders.services import demo


class Command(ServiceCommand):
    help = (
        "Create what is missing of the demo data; running it again changes nothing. "
        "Refused with ENVIRONMENT=production: it makes a staff account with a known password."
    )

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            loaded = asdict(self.load(quiet=options["json"]))
        except demo.DemoInProductionError as exc:
            raise CommandError("demo data is refused with ENVIRONMENT=production") from exc
        created = {what: count for what, count in loaded.items() if count}
        told = f"Demo data created: {counted(created)}."
        self.answer(
            options, loaded, told if created else "Demo data is complete; nothing to create."
        )

    def load(self, *, quiet: bool) -> demo.Loaded:
        """Load with a progress bar for a person who watches."""
        with bars(quiet=quiet) as show:
            return demo.load_demo_data(progress=show)
