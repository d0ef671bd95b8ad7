"""`release_expired`: ends orders whose hold is over, so that others can buy what they held."""

from __future__ import annotations

from typing import Any

from config.kernel.commands import ServiceCommand, bar
from orders import selectors
from orders.services import recovery


class Command(ServiceCommand):
    help = (
        "End every pending order whose hold is over: its intent is cancelled at the provider and "
        "its stock released; one that was paid after all is confirmed. The sweeper does the same "
        "every 15 seconds. An order that waits for its bank keeps its stock. Exits with 1 if the "
        "provider or the database kept one from being ended."
    )

    def handle(self, *_: Any, **options: Any) -> None:
        report = self.release(quiet=options["json"])
        left = selectors.count_expired_orders()
        counts = {"ended": report.orders_settled, "waiting": left.for_bank, "left": left.for_us}
        self.answer(
            options,
            counts,
            f"Orders whose hold is over: {counts['ended']} ended, {counts['waiting']} wait for"
            f" their bank, {counts['left']} left.",
            all_is_well=not left.for_us,
        )

    def release(self, *, quiet: bool) -> recovery.SweepReport:
        """Release, telling a person who watches how far it is."""
        with bar("Ending orders", quiet=quiet) as show:
            return recovery.release_expired(on_progress=lambda seen: show(seen, None))
