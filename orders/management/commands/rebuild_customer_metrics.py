"""`rebuild_customer_metrics`: works out every customer's figures anew."""

from __future__ import annotations

from typing import Any

from config.kernel.commands import ServiceCommand, bar
from orders.services import customer_metrics


class Command(ServiceCommand):
    help = (
        "Work out every customer's order count and lifetime value anew from orders and payments. "
        "Harmless at any time; orders go on meanwhile."
    )

    def handle(self, *_: Any, **options: Any) -> None:
        corrected = self.rebuild(quiet=options["json"])
        self.answer(
            options,
            {"corrected": corrected},
            f"Rows of customer metrics that were wrong or missing: {corrected}.",
        )

    def rebuild(self, *, quiet: bool) -> int:
        """Rebuild with a progress bar for a person who watches."""
        with bar("Customers", quiet=quiet) as show:
            return customer_metrics.rebuild_all(progress=show)
