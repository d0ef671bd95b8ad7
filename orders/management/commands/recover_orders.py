"""`recover_orders`: settles every order in doubt, now."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from config.kernel.clock import Deadline
from config.kernel.commands import ServiceCommand, counted, rendered
from orders.books.open_orders import OpenOrder, list_open_orders
from orders.services import recovery

PATIENCE_SECONDS: Final = 30.0  # a lease lasts 20; counted from when a sweep last settled something
PAUSE_SECONDS: Final = 0.5
BATCH: Final = 1_000
PROGRESS: Final = ("orders_settled", "refunds_done", "events_done", "keys_answered")


class Command(ServiceCommand):
    help = (
        "Settle every order in doubt and every refund due now, whenever their next try would be; "
        "wait up to 30 s for requests that hold a lease. Orders that wait for their customer or "
        "for a bank are listed as waiting. Exits with 1, and a list, if something else is left."
    )

    def handle(self, *_: Any, **options: Any) -> None:
        report, still_open = self.recover(quiet=options["json"])
        left = [order for order in still_open if not order.is_waiting]
        waiting = [order for order in still_open if order.is_waiting]
        self.answer(
            options,
            _as_json(report, waiting=waiting, left=left),
            _as_text(report, waiting=waiting, left=left),
            all_is_well=not left,
        )

    def recover(self, *, quiet: bool) -> tuple[recovery.SweepReport, list[OpenOrder]]:
        """Sweep until nothing is left that a sweep could settle, or patience ends."""
        total = recovery.SweepReport()
        deadline = Deadline(PATIENCE_SECONDS)
        console = Console(stderr=True, quiet=quiet or not Console(stderr=True).is_terminal)
        with console.status("Settling"):
            while True:
                report = recovery.sweep(limit=BATCH, ignore_backoff=True)
                total.add(report)
                if any(_settled(report)[what] for what in PROGRESS):
                    deadline = Deadline(PATIENCE_SECONDS)
                still_open = list_open_orders()
                may_move = any(not (o.is_waiting or o.needs_staff) for o in still_open)
                if not may_move or deadline.remaining() <= 0:
                    return total, still_open
                time.sleep(PAUSE_SECONDS)


def _as_json(
    report: recovery.SweepReport, *, waiting: list[OpenOrder], left: list[OpenOrder]
) -> dict[str, Any]:
    return {
        **_settled(report),
        "waiting": [{"order_number": o.order_number, "reason": o.reason} for o in waiting],
        "left": [{"order_number": o.order_number, "reason": o.reason} for o in left],
    }


def _as_text(
    report: recovery.SweepReport, *, waiting: list[OpenOrder], left: list[OpenOrder]
) -> str:
    told = f"{counted(_settled(report))}, waiting {len(waiting)}, left in doubt {len(left)}."
    if not (waiting or left):
        return told
    table = Table("order", "", "why")
    for order in waiting:
        table.add_row(order.order_number, "waiting", order.reason)
    for order in left:
        table.add_row(order.order_number, "in doubt", order.reason, style="bold red")
    return rendered(table, told)


def _settled(report: recovery.SweepReport) -> dict[str, int]:
    """What was done in all; how often something was looked at meanwhile tells nobody anything."""
    counts = asdict(report)
    return {name: counts[name] for name in (*PROGRESS, "problems")}
