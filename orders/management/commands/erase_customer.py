"""`erase_customer`: removes a person, account and orders, or everyone in the erasure journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError
from django.utils import timezone

from config.kernel.commands import ServiceCommand, counted
from config.kernel.errors import DomainError
from orders.services import privacy

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(ServiceCommand):
    help = (
        "Remove a person from the database, as DELETE /me does: the account under this address and "
        "the orders that were placed under it without one. Orders that are still to be sent keep "
        "their address until then; the hourly task removes it. Every erasure is written into a "
        "journal beside the database; --replay erases again whoever stands there, which is needed "
        "after a restore from a backup. Exits with 1 if anyone is left, or nobody has the address."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        whom = parser.add_mutually_exclusive_group(required=True)
        whom.add_argument("email", nargs="?", metavar="EMAIL", help="whom to erase")
        whom.add_argument("--replay", action="store_true", help="everyone in the journal")

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            result = self.replay() if options["replay"] else self.erase(options["email"])
        except DomainError as exc:
            raise CommandError(exc.message) from exc
        self.answer(
            options,
            result,
            f"{counted(result)}.",
            all_is_well=not result["left"] and result.get("found") != 0,
        )

    def replay(self) -> dict[str, int]:
        """Erase the journal's people again."""
        found, refused = privacy.replay_journal(now=timezone.now())
        return {"erased_again": found - refused, "left": refused + privacy.finish_erasures()}

    def erase(self, email: str) -> dict[str, int]:
        """Erase the account, if there is one, and what was bought without it."""
        customer_id = privacy.find_account(email=email)
        now = timezone.now()
        guests_orders, left = privacy.erase_guest(email=email, now=now)
        if customer_id is not None:
            privacy.erase_customer(customer_id=customer_id, now=now)
            left += privacy.erase_orders_of(customer_id=customer_id)
        return {"found": int(customer_id is not None) + guests_orders, "left": left}
