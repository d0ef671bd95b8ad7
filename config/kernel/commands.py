"""What our management commands have in common: one answer, a bar for who watches, an exit code.

The answer goes to the standard output: a table or a line for a person, with `--json` one JSON
document and nothing else. Whatever else is said goes to the standard error output. Exit code 0
means that all is well, 1 that something is left to do or was refused, 2 that it could not be done
at all: bad arguments, or a server that is away.
"""

from __future__ import annotations

import contextlib
import json
from argparse import ArgumentTypeError
from typing import TYPE_CHECKING, Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.db import InterfaceError, OperationalError
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from config.kernel.db import LOCK_NOT_AVAILABLE, QUERY_CANCELED, sqlstate

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Callable, Iterator
    from datetime import date, datetime

    from rich.console import RenderableType

    Show = Callable[[int, int | None], None]
    ShowStep = Callable[[str, int, int | None], None]

SOMETHING_LEFT: Final = 1
NOT_DONE: Final = 2
WIDTH_OF_FILES: Final = 200
_TOO_LONG: Final = {
    LOCK_NOT_AVAILABLE: "others hold what it needs, try again",
    QUERY_CANCELED: "a statement took longer than it may",
}


class ServiceCommand(BaseCommand):
    """A command that calls one service and answers with what it did."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--json", action="store_true", help="answer with one JSON document, for programs"
        )

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        parser: Any = super().create_parser(prog_name, subcommand, **kwargs)
        # Before a mistake's one line stood a dozen options, most of them Django's; --help has them.
        parser.print_usage = lambda _file=None: None
        return parser

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except (OperationalError, InterfaceError) as exc:
            problem = _TOO_LONG.get(sqlstate(exc) or "", "the database is away")
            reason = str(exc).partition("\n")[0]
            raise CommandError(f"{problem}: {reason}", returncode=NOT_DONE) from exc

    def answer(
        self, options: dict[str, Any], result: Any, text: str, *, all_is_well: bool = True
    ) -> None:
        """Print what came of it, once: `result` as JSON if that is wanted, else `text`.

        Raises:
            SystemExit: with 1, if not all is well.
        """
        self.stdout.write(json.dumps(result) if options["json"] else text)
        if not all_is_well:
            raise SystemExit(SOMETHING_LEFT)


def bad_argument(problem: str) -> CommandError:
    """To be raised where the parser cannot see what is wrong with an argument, such as a file."""
    return CommandError(problem, returncode=NOT_DONE)


@contextlib.contextmanager
def bars(*, quiet: bool) -> Iterator[ShowStep]:
    """Progress of work in named steps, each a bar of its own; shown on a terminal alone.

    The yielded function takes a step's name, how much of it is done, and out of how much, if that
    is known.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        disable=quiet or not console.is_terminal,
    ) as progress:
        steps = {}

        def show(what: str, done: int, total: int | None) -> None:
            if what not in steps:
                steps[what] = progress.add_task(what, total=total)
            progress.update(steps[what], completed=done, total=total)

        yield show


@contextlib.contextmanager
def bar(what: str, *, quiet: bool, total: int | None = None) -> Iterator[Show]:
    """The same for work of one step; how much there is may be told first or on the way."""
    with bars(quiet=quiet) as show:

        def show_step(done: int, now_of: int | None) -> None:
            show(what, done, total if now_of is None else now_of)

        show_step(0, None)
        yield show_step


def rendered(*parts: RenderableType, stderr: bool = False) -> str:
    """Tables and lines as wide as the terminal; a file or a pipe gets whole lines."""
    console = Console(stderr=stderr)
    if not console.is_terminal:
        console = Console(stderr=stderr, width=WIDTH_OF_FILES)
    with console.capture() as printed:
        for part in parts:
            console.print(part)
    return printed.get()


def counted(counts: dict[str, int]) -> str:
    """`orders_settled 3, refunds_done 0`, in words."""
    return ", ".join(f"{what.replace('_', ' ')} {count}" for what, count in counts.items())


def instant(text: str) -> datetime:
    """Read an argument that is an ISO 8601 date or time; UTC unless it says otherwise.

    Raises:
        ArgumentTypeError: it is neither.
    """
    try:
        found = parse_datetime(text) or parse_datetime(f"{parse_date(text)}T00:00:00")
    except ValueError:  # it looks like one, and is none: 30 February
        found = None
    if found is None:
        raise ArgumentTypeError(f"{text!r} is no date or time like 2026-11-01T00:00Z")
    return timezone.make_aware(found) if timezone.is_naive(found) else found


def add_period(parser: ArgumentParser, *, what: str) -> None:
    """Have a command ask for a period: `--from` and `--to`.

    Args:
        what: what lies in it, as in "orders placed".
    """
    parser.add_argument(
        "--from",
        dest="begin",
        type=instant,
        required=True,
        metavar="INSTANT",
        help=f"{what} at this ISO 8601 date or time or later (inclusive; UTC unless it says"
        " otherwise)",
    )
    parser.add_argument(
        "--to",
        dest="end",
        type=instant,
        required=True,
        metavar="INSTANT",
        help="and before this one (exclusive): --from 2026-11-01 --to 2026-12-01 is November",
    )


def day(text: str) -> date:
    """Read an argument that is an ISO 8601 day.

    Raises:
        ArgumentTypeError: it is none, or more than a day.
    """
    try:
        found = parse_date(text)
    except ValueError:  # it looks like one, and is none: 30 February
        found = None
    if found is None:
        raise ArgumentTypeError(f"{text!r} is no day like 2026-11-01")
    return found


def add_days(parser: ArgumentParser, *, what: str) -> None:
    """Have a command ask for whole days of the shop's time zone: `--from` and `--to`.

    Args:
        what: what lies in them, as in "orders placed".
    """
    parser.add_argument(
        "--from",
        dest="first",
        type=day,
        required=True,
        metavar="DAY",
        help=f"{what} on this ISO 8601 day or later (inclusive), by the clock of SHOP_TIME_ZONE",
    )
    parser.add_argument(
        "--to",
        dest="end",
        type=day,
        required=True,
        metavar="DAY",
        help="and before this one (exclusive): --from 2026-11-01 --to 2026-12-01 is November",
    )


def instants(options: dict[str, Any]) -> tuple[datetime, datetime]:
    """The period that was asked for.

    Raises:
        CommandError: it ends before it begins.
    """
    begin, end = options["begin"], options["end"]
    if begin >= end:
        raise bad_argument("--from must be earlier than --to")
    return begin, end
