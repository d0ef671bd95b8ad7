"""`reset_second_factor`: lets a member of staff in again who has lost phone and recovery codes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from config.kernel.errors import DomainError
from customers.selectors import find_customer_id
from customers.services import reset_second_factor

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    help = (
        "Take the second factor of a member of staff away: all their sessions end, they are told"
        " by e-mail, and set up another at the next log-in. A superuser does the same in the"
        " admin, for anybody but themselves; this is for the last one. Exit code: 0 it is gone."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--json", action="store_true", help="print the result as JSON")

    def handle(self, *_: Any, **options: Any) -> None:
        customer_id = find_customer_id(email=options["email"])
        if customer_id is None:
            raise CommandError("there is no account with this address")
        try:
            reset_second_factor(customer_id=customer_id, user_id=None)
        except DomainError as exc:
            raise CommandError(exc.message) from exc
        if options["json"]:
            self.stdout.write(json.dumps({"customer": customer_id, "reset": True}))
            return
        self.stdout.write(
            f"Customer {customer_id} sets up another second factor at the next log-in."
        )
