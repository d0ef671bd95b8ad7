"""`backfill_events`: fetches the provider's events that no webhook brought, and works them off."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.core.management.base import CommandError
from django.utils import timezone

from config.kernel.clock import Deadline
from config.kernel.commands import NOT_DONE, ServiceCommand, bad_argument, bar
from orders.services import events
from payments.errors import ProviderUnavailableError
from payments.models import ProviderEvent

if TYPE_CHECKING:
    from argparse import ArgumentParser

KEPT_DAYS: Final = 30  # by the provider
DEFAULT_HOURS: Final = 24.0
PROCESS_SECONDS: Final = 300.0


class Command(ServiceCommand):
    help = (
        "Fetch the payment provider's events of the last hours, keep those that no webhook "
        "brought, and work off whatever waits. Repeating it is harmless. Exit code: 0 all is "
        "worked off, 1 some events wait for another try, 2 the provider is away."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--hours",
            type=float,
            default=DEFAULT_HOURS,
            help=f"how far back to look, at most {KEPT_DAYS} days (default: %(default)s)",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        hours = options["hours"]
        if not 0 < hours <= KEPT_DAYS * 24:
            raise bad_argument(f"--hours must lie between 0 and {KEPT_DAYS * 24}")
        try:
            new = self.fetch(hours=hours, quiet=options["json"])
        except ProviderUnavailableError as exc:
            raise CommandError(
                f"the payment provider's events could not be read: {exc.__cause__ or exc}",
                returncode=NOT_DONE,
            ) from exc
        deadline = Deadline(PROCESS_SECONDS)
        done = 0
        while worked_off := events.process_due(deadline=deadline, ignore_backoff=True):
            done += worked_off
        waiting = ProviderEvent.objects.filter(status=ProviderEvent.Status.RECEIVED).count()
        self.answer(
            options,
            {"new": new, "worked_off": done, "waiting": waiting},
            f"{new} new events, {done} worked off, {waiting} waiting.",
            all_is_well=not waiting,
        )

    def fetch(self, *, hours: float, quiet: bool) -> int:
        """Fetch and keep, telling a person who watches how far it is."""
        with bar("Fetching events", quiet=quiet) as show:
            return events.backfill(
                since=timezone.now() - timedelta(hours=hours),
                on_progress=lambda seen: show(seen, None),
            )
