"""`sync_marketing`: tells the marketing tool of every contact anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.conf import settings

from config.kernel.commands import ServiceCommand, bad_argument, bar
from integrations.marketing.resync import resync

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from integrations.marketing.resync import Resync

MOST_SHOWN: Final = 20


class Command(ServiceCommand):
    help = (
        "Tell the marketing tool of everybody who wants to be written to, and have it remove"
        " whoever does not any more: for a new tool, or one that lost something. No faster than"
        " MARKETING_PER_SECOND, beside everything else, and repeating it is harmless. Exit code: 0"
        " all were told, 1 it ended before (go on with --after) or somebody was refused, 2 no tool"
        " is named."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--after",
            type=int,
            default=0,
            metavar="CUSTOMER",
            help="go on behind this customer's number, where an earlier run has ended",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        if not settings.MARKETING_BASE_URL:
            raise bad_argument("no marketing tool is named: set MARKETING_BASE_URL")
        with bar("contacts", quiet=options["json"]) as show:
            outcome = resync(after=options["after"], progress=show)
        result = {
            "told": outcome.told,
            "failed": outcome.failed,
            "refused": [{"customer": pk, "problem": problem} for pk, problem in outcome.refused],
            "done_up_to": outcome.done,
            "problem": outcome.problem,
        }
        all_is_well = not (outcome.failed or outcome.problem)
        self.answer(options, result, _in_words(outcome), all_is_well=all_is_well)


def _in_words(outcome: Resync) -> str:
    lines = [f"{outcome.told} customers were told of."]
    lines += [f"Customer {pk}: {problem}" for pk, problem in outcome.refused[:MOST_SHOWN]]
    if (more := outcome.failed - MOST_SHOWN) > 0:
        lines.append(f"and {more} more were refused")
    if outcome.problem:
        lines.append(f"{outcome.problem}. Go on with --after {outcome.done}.")
    return "\n".join(lines)
