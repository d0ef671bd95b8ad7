"""`release_expired`: ends orders whose hold is over, so that others can buy what they held."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from django.core.management.base import BaseCommand

from orders.services import recovery

if TYPE_CHECKING:
    from argparse import ArgumentParser

BATCH: Final = 1_000


class Command(BaseCommand):
    help = (
        "End every pending order whose hold is over: its intent is cancelled at the provider and "
        "its stock released; one that was paid after all is confirmed. The sweeper does the same "
        "every 15 seconds. Exits with 1 if the provider or the database kept one from being ended."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print the result as JSON")

    def handle(self, *_: Any, **options: Any) -> None:
        report = recovery.release_expired(limit=BATCH)
        left = report.orders_seen - report.orders_settled
        if options["json"]:
            counts = {"expired": report.orders_seen, "ended": report.orders_settled, "left": left}
            self.stdout.write(json.dumps(counts))
        else:
            self.stdout.write(
                f"{report.orders_seen} orders with a hold that is over: {report.orders_settled}"
                f" ended, {left} left (a bank debit waits for its bank)."
            )
        if report.problems:
            raise SystemExit(1)
