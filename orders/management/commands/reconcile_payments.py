"""`reconcile_payments`: compares payments with the provider, and puts right what is safe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.core.management.base import CommandError
from rich.table import Table

from config.kernel.commands import (
    NOT_DONE,
    ServiceCommand,
    bad_argument,
    bars,
    counted,
    instant,
    rendered,
)
from orders.books.reconciliation import Reconciliation, reconcile
from payments.errors import ProviderUnavailableError

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from datetime import datetime

SHOWN: Final = 50


class Command(ServiceCommand):
    help = (
        "Compare every payment with the payment provider, both ways, and sort what differs: a "
        "charge without an order, an order without a charge, an amount that differs, or not "
        "decided yet. With --repair, do what is safe (settle, cancel intents that nobody can take "
        "up, follow refunds and disputes made elsewhere, book fees) and open a case for a person "
        "for what is left. A paid charge that no payment here has is given back only where you say "
        "so with --refund-strangers: after a restore from a backup it may be an order that is "
        "lost here. Exit code: 0 all match, 1 something is left, 2 the provider is away."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--repair", action="store_true", help="else nothing is changed")
        parser.add_argument(
            "--refund-strangers",
            action="store_true",
            help="with --repair: give back every paid charge with our mark that no payment here "
            "has, if its case was open before this run; so look at the list first",
        )
        parser.add_argument(
            "--since",
            type=instant,
            help="compare only payments made from this ISO 8601 date or time on (UTC unless it "
            "says otherwise); the default is the first payment",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        if options["refund_strangers"] and not options["repair"]:
            raise bad_argument("--refund-strangers needs --repair")
        try:
            found = self.reconcile_with_bar(
                since=options["since"],
                repair=options["repair"],
                refund_strangers=options["refund_strangers"],
                quiet=options["json"],
            )
        except ProviderUnavailableError as exc:
            raise CommandError(
                f"the payment provider's lists could not be read: {exc.__cause__ or exc}",
                returncode=NOT_DONE,
            ) from exc
        self.answer(options, _as_json(found), _as_text(found), all_is_well=not found.discrepancies)

    def reconcile_with_bar(
        self, *, since: datetime | None, repair: bool, refund_strangers: bool, quiet: bool
    ) -> Reconciliation:
        """Reconcile with a progress bar for a person who watches."""
        with bars(quiet=quiet) as show:
            return reconcile(
                since=since, repair=repair, refund_strangers=refund_strangers, on_progress=show
            )


def _as_json(found: Reconciliation) -> dict[str, Any]:
    return {
        "payments": found.payments,
        **found.counts(),
        "repaired": found.repaired,
        "queued": found.queued,
        "resolved": found.resolved,
        "given_back": found.given_back,
        "discrepancies": [
            {
                "classification": str(each.classification),
                "subject": each.subject,
                "order_number": each.order_number,
                "problem": each.problem,
                "remedy": each.remedy and each.remedy.value,
            }
            for each in found.discrepancies
        ],
    }


def _as_text(found: Reconciliation) -> str:
    parts: list[Any] = []
    if found.discrepancies:
        table = Table("", "order", "what", "problem", "--repair would")
        for each in found.discrepancies[:SHOWN]:
            remedy = each.remedy.value if each.remedy else "ask a person"
            kind = str(each.classification).replace("_", " ")
            table.add_row(kind, each.order_number, each.subject, each.problem, remedy)
        parts.append(table)
        if len(found.discrepancies) > SHOWN:
            parts.append(f"… and {len(found.discrepancies) - SHOWN} more: see --json")
    given_back = f", {found.given_back} charges given back" if found.given_back else ""
    parts.append(
        f"{found.payments} payments compared: {counted(found.counts())};"
        f" {found.repaired} repaired, {found.queued} cases opened,"
        f" {found.resolved} resolved{given_back}."
    )
    return rendered(*parts)
