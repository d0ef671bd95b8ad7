"""`sync_crm`: gives the CRM every customer and order anew."""

from __future__ import annotations

from argparse import ArgumentTypeError
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core.management.base import CommandError

from audit.outbox import DeliveryFailedError, ReceiverAwayError
from config.kernel.clock import Deadline
from config.kernel.commands import (
    NOT_DONE,
    SOMETHING_LEFT,
    ServiceCommand,
    bad_argument,
    bars,
    instant,
)
from integrations.crm import adapter
from integrations.crm.resync import BEGINNING, CUSTOMERS, ORDERS, Place, resync

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from integrations.crm.resync import Resync

MOST_SHOWN: Final = 20
PREPARE_SECONDS: Final = 120.0


class Command(ServiceCommand):
    help = (
        "Give the CRM every customer and every paid order as they are now, and have it forget whom "
        "the shop has erased: for a new CRM, or one that lost something. No faster than "
        "CRM_PER_SECOND, beside all deliveries, and repeating it is harmless. Exit code: 0 all "
        "were told, 1 it ended before (go on with --after) or a record was refused, 2 no CRM is "
        "named, or it is away."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--since",
            type=instant,
            metavar="INSTANT",
            help="those alone that have changed at this ISO 8601 date or time or later (UTC unless "
            "it says otherwise)",
        )
        parser.add_argument(
            "--after",
            type=place,
            default=BEGINNING,
            metavar="PLACE",
            help="go on where an earlier run has ended: customers:NUMBER or orders:NUMBER, as it "
            "said",
        )
        parser.add_argument(
            "--prepare",
            action="store_true",
            help="make the properties in HubSpot that records are kept in, and nothing else",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        if not settings.CRM_BASE_URL:
            raise bad_argument("no CRM is named: set CRM_BASE_URL")
        if options["prepare"]:
            self.prepare(options)
            return
        with bars(quiet=options["json"]) as show:
            outcome = resync(since=options["since"], after=options["after"], progress=show)
        result = {
            "customers": outcome.customers,
            "orders": outcome.orders,
            "failed": outcome.failed,
            "refused": outcome.refused,
            "done_up_to": str(outcome.done),
            "problem": outcome.problem,
        }
        all_is_well = not (outcome.failed or outcome.problem)
        self.answer(options, result, _in_words(outcome), all_is_well=all_is_well)

    def prepare(self, options: dict[str, Any]) -> None:
        """Make what has to be there before anything can be told."""
        try:
            made = adapter.chosen(deadline=Deadline(PREPARE_SECONDS)).prepare()
        except DeliveryFailedError as exc:
            code = NOT_DONE if isinstance(exc, ReceiverAwayError) else SOMETHING_LEFT
            raise CommandError(str(exc), returncode=code) from exc
        self.answer(
            options,
            {"made": made},
            f"Made: {', '.join(made)}." if made else "Nothing had to be made.",
        )


def place(text: str) -> Place:
    """Read an argument that says how far an earlier run has come.

    Raises:
        ArgumentTypeError: it does not.
    """
    step, _, number = text.partition(":")
    if step not in (CUSTOMERS, ORDERS) or not (number.isascii() and number.isdigit()):
        raise ArgumentTypeError(f"{text!r} is no place like orders:1200")
    return Place(step, int(number))


def _in_words(outcome: Resync) -> str:
    lines = [f"{outcome.customers} customers and {outcome.orders} orders were told."]
    lines += outcome.refused[:MOST_SHOWN]
    if (more := outcome.failed - MOST_SHOWN) > 0:
        lines.append(f"and {more} more were refused")
    if outcome.problem:
        lines.append(f"{outcome.problem}. Go on with --after {outcome.done}.")
    return "\n".join(lines)
