"""`retry_deliveries`: tries every waiting delivery again, now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from audit import outbox
from audit.management.commands import relay_outbox

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(relay_outbox.Command):
    help = (
        "Deliver everything that waits for its next try, without waiting. "
        "Exits with 1 if a delivery failed again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--dead", action="store_true", help="also those that were given up after 12 tries"
        )

    def handle(self, *_: Any, **options: Any) -> None:
        retried = outbox.retry(include_dead=options["dead"])
        report = self.deliver_due(quiet=options["json"])
        self.finish(options, report, retried=retried)
