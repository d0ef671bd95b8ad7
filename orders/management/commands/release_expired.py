"""`release_expired`: ends orders whose hold is over, so that others can buy what they held."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand
from rich.console import Console

from orders import selectors
from orders.services import recovery

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = (
        "End every pending order whose hold is over: its intent is cancelled at the provider and "
        "its stock released; one that was paid after all is confirmed. The sweeper does the same "
        "every 15 seconds. An order that waits for its bank keeps its stock. Exits with 1 if the "
        "provider or the database kept one from being ended."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print the result as JSON")

    def handle(self, *_: Any, **options: Any) -> None:
        report = self.release(quiet=options["json"])
        left = selectors.count_expired_orders()
        counts = {"ended": report.orders_settled, "waiting": left.for_bank, "left": left.for_us}
        if options["json"]:
            self.stdout.write(json.dumps(counts))
        else:
            self.stdout.write(
                f"Orders whose hold is over: {counts['ended']} ended, {counts['waiting']} wait for"
                f" their bank, {counts['left']} left."
            )
        if left.for_us:
            raise SystemExit(1)

    def release(self, *, quiet: bool) -> recovery.SweepReport:
        """Release, telling a person who watches how far it is."""
        console = Console(stderr=True, quiet=quiet or not Console(stderr=True).is_terminal)
        with console.status("Ending orders") as status:
            return recovery.release_expired(
                on_progress=lambda seen: status.update(f"Ending orders: {seen} seen")
            )
