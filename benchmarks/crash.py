"""Kills, cuts and stops at every I/O boundary, in every payment's outcome; nothing may be lost.

Each boundary of each use case (found by running it once) is struck in every way: the process is
killed, gets an exception, loses its database, or is stopped past its lease and goes on. Then
recovery runs, the client comes back or does not, and all promises must hold; the books of the
whole shop, here and at the provider, after every few outcomes. Exit code 0 only if every cell held
and every boundary was reached.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks.proving import Teller, output_directory, processes, show_broken, told_progress
from tests.proof.workers import Done, run_batches

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.proof.actors import Stage
    from tests.proof.usecases import UseCase
    from tests.proof.world import World

    Batch = tuple[int, Sequence[int], int]

NEEDS_TEST_SERVERS = True
WIDE: Final = 150  # a file is not narrow: a column a use case
STORIES_A_SHOP: Final = 4  # an empty shop, and its books, take as long as a few cells
LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"


def strike_everywhere(world: World, stage: Stage, batch: Batch) -> Done:
    """All cells of one use case in some of its stories, or every n-th of them; then the books."""
    from tests.proof import usecases  # noqa: PLC0415 - Django has to be set up
    from tests.proof.world import BrokenError  # noqa: PLC0415

    use_case_number, story_numbers, one_in = batch
    use_case = usecases.USE_CASES[use_case_number]
    result = Done()
    for number in story_numbers:
        _strike_story(world, stage, use_case, number, one_in=one_in, result=result)
    try:
        world.check_books()
    except BrokenError as exc:
        names = ", ".join(use_case.stories[number].name for number in story_numbers)
        result.broken.append(f"{use_case.name} | {names} | afterwards: {exc}")
    return result


def _strike_story(
    world: World,
    stage: Stage,
    use_case: UseCase,
    story_number: int,
    *,
    one_in: int,
    result: Done,
) -> None:
    from tests.proof import grid  # noqa: PLC0415
    from tests.proof.world import BrokenError  # noqa: PLC0415

    story = use_case.stories[story_number]
    edges = grid.boundaries(world, use_case, story)
    result.count("boundaries", story_number, times=len(edges))
    reached = set()
    for number, cell in enumerate(grid.cells(use_case, story, edges)):
        if (number + story_number) % one_in:
            continue
        try:
            if grid.run(world, stage, cell):
                reached.add(cell.at)
                result.count("cells", story_number, cell.blow.value)
            else:
                result.count("not reached", story_number, str(cell))
        except BrokenError as exc:
            result.broken.append(str(exc))
            world.provider.clear_faults()
    result.count("boundaries reached", story_number, times=len(reached))


def main() -> int:
    """Run it; returns the exit code."""
    options = parse_arguments()
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)
    names = _names(options.only)
    batches = _batches(names, one_in=options.one_in)
    began = time.monotonic()
    done = []
    tell_now_and_then = Teller(console)
    with told_progress(console) as progress:
        task = progress.add_task("outcomes", total=len(names), told="")
        cells = broken = outcomes = 0
        for result in run_batches(
            strike_everywhere, batches, processes=processes(options), stagehands=1
        ):
            done.append(result)
            outcomes += len(result.batch[1])
            cells += sum(n for by, n in result.counts.items() if by[0] == "cells")
            broken += len(result.broken) + len(result.errors)
            told = f"{cells:,} cells, {broken} broken"
            progress.update(task, completed=outcomes, told=told)
            tell_now_and_then(done=outcomes, total=len(names), told=told)
    report = _report(done, names, seconds=time.monotonic() - began)
    tell(report, console)
    (output_directory() / "crash.json").write_text(json.dumps(report, indent=1) + "\n")
    show_broken(report["broken"], console)
    return 1 if report["broken"] or report["not_reached"] else 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bin/bench crash", description=__doc__)
    parser.add_argument("--only", default="", help="use cases whose name begins so")
    parser.add_argument(
        "--one-in", type=int, default=1, metavar="N", help="every N-th cell (%(default)s: all)"
    )
    parser.add_argument("--processes", type=int, default=0, help="(three for two cores)")
    return parser.parse_args()


def _names(only: str) -> dict[tuple[int, int], tuple[str, str]]:
    """Every use case and its outcome by their numbers, the long ones first."""
    import django  # noqa: PLC0415 - only here and in the workers

    django.setup()
    from tests.proof.usecases import USE_CASES  # noqa: PLC0415

    return {
        (number, story_number): (use_case.name, story.name)
        for number, use_case in enumerate(USE_CASES)
        if use_case.name.startswith(only)
        for story_number, story in enumerate(use_case.stories)
    }


def _batches(numbers: Iterable[tuple[int, int]], *, one_in: int) -> list[Batch]:
    """A few stories of a use case to a shop."""
    stories: dict[int, list[int]] = {}
    for use_case, story in numbers:
        stories.setdefault(use_case, []).append(story)
    return [
        (use_case, of_it[first : first + STORIES_A_SHOP], one_in)
        for use_case, of_it in stories.items()
        for first in range(0, len(of_it), STORIES_A_SHOP)
    ]


def _report(
    done: list[Done], names: dict[tuple[int, int], tuple[str, str]], *, seconds: float
) -> dict[str, Any]:
    cells: dict[str, dict[str, int]] = {}
    boundaries: Counter[str] = Counter()
    reached: Counter[str] = Counter()
    blows: Counter[str] = Counter()
    not_reached = []
    for result in done:
        for (what, story, *more), count in result.counts.items():
            use_case, outcome = names[result.batch[0], story]
            if what == "cells":
                of_outcome = cells.setdefault(outcome, {})
                of_outcome[use_case] = of_outcome.get(use_case, 0) + count
                blows[more[0]] += count
            elif what == "boundaries":
                boundaries[use_case] += count
            elif what == "boundaries reached":
                reached[use_case] += count
            else:
                not_reached.append(more[0])
    return {
        "cells": sum(blows.values()),
        "seconds": round(seconds, 1),
        "by_outcome": cells,
        "by_blow": dict(blows),
        "boundaries": dict(boundaries),
        "boundaries_reached": dict(reached),
        "not_reached": not_reached,
        "broken": [one for result in done for one in (*result.broken, *result.errors)],
    }


def tell(report: dict[str, Any], console: Console) -> None:
    """Print cells by use case and outcome, and what there was in all."""
    use_cases = list(report["boundaries"])
    table = Table("outcome", *LETTERS[: len(use_cases)], title="Cells by outcome and use case")
    for column in table.columns[1:]:
        column.justify = "right"
    for outcome, counts in report["by_outcome"].items():
        table.add_row(outcome, *(str(counts.get(name, "")) for name in use_cases))
    console.print(table)
    legend = Table("", "use case", "boundaries", "reached", "cells")
    for letter, name in zip(LETTERS, use_cases, strict=False):
        count = sum(counts.get(name, 0) for counts in report["by_outcome"].values())
        figures = report["boundaries"][name], report["boundaries_reached"].get(name, 0), count
        legend.add_row(letter, name, *map(str, figures))
    console.print(legend)
    for blow, count in report["by_blow"].items():
        console.print(f"{count:>7,}  {blow}")
    for cell in report["not_reached"][:20]:
        console.print(f"[red]not reached: {cell}[/]")
    console.print(
        f"{report['cells']:,} cells in {report['seconds']:.0f} s, {len(report['broken'])} broken,"
        f" {len(report['not_reached'])} not reached."
    )


if __name__ == "__main__":
    sys.exit(main())
