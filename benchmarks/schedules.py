"""Seeded interleavings: two to six actors on an order, one I/O step at a time, in a drawn order.

Requests, retries with the same key, confirmations, cancellations, webhooks twice and out of order,
sweepers, staff and the clock; some die on the way. A seed decides everything and runs the same
again: `--replay SEED` prints it step by step. Three in ten are the named races R1 to R15; `--race`
runs one alone. Exit code 0 only if every promise held in all of them.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks.proving import Teller, output_directory, processes, show_broken, told_progress
from tests.proof.workers import Done, run_batches

if TYPE_CHECKING:
    from tests.proof.actors import Stage
    from tests.proof.world import World

NEEDS_TEST_SERVERS = True
BATCH: Final = 50


def play_batch(world: World, stage: Stage, batch: tuple[int, int, str]) -> Done:
    """Play the seeds from the first up to the last, and check the books of the whole shop."""
    from tests.proof import schedules  # noqa: PLC0415 - Django has to be set up
    from tests.proof.world import BrokenError, UnexpectedError  # noqa: PLC0415

    first, last, race = batch
    result = Done()
    seed_of_order: dict[str, int] = {}
    for seed in range(first, last):
        cast = schedules.CASTS[race] if race else schedules.cast_of(seed)
        try:
            play = schedules.play(world, stage, seed=seed, cast=cast)
        except BrokenError as exc:
            result.broken.append(f"{cast.name}: {exc}")
            continue
        except UnexpectedError as exc:
            result.errors.append(f"{cast.name}: {exc}")
            continue
        result.count("plays", cast.name)
        result.count("steps", times=len(play.trace))
        result.count("actors", len(play.roles))
        for scene in play.scenes:
            if standing := scene.standing:
                result.count("ends", standing.order.status)
                seed_of_order[standing.order.order_number] = seed
    try:
        world.check_books()
    except BrokenError as exc:
        named = sorted({seed for number, seed in seed_of_order.items() if number in str(exc)})
        result.broken.append(f"after seeds {first} to {last - 1}, see {named}: {exc}")
    return result


def main() -> int:
    """Run it; returns the exit code."""
    options = parse_arguments()
    console = Console()
    if options.replay is not None:
        return replay(options.replay, options.race, console)
    first, count = options.seed, options.count
    batches = [
        (start, min(start + BATCH, first + count), options.race)
        for start in range(first, first + count, BATCH)
    ]
    console.print(f"seeds {first} to {first + count - 1}")
    began = time.monotonic()
    done: list[Done] = []
    tell_now_and_then = Teller(console)
    with told_progress(console) as progress:
        task = progress.add_task("schedules", total=count, told="")
        broken = 0
        for result in run_batches(play_batch, batches, processes=processes(options)):
            done.append(result)
            broken += len(result.broken) + len(result.errors)
            start, end, _ = result.batch
            told = f"{broken} broken"
            progress.update(task, advance=end - start, told=told)
            tell_now_and_then(done=min(len(done) * BATCH, count), total=count, told=told)
    report = _report(done, options, seconds=time.monotonic() - began)
    tell(report, console)
    (output_directory() / "schedules.json").write_text(json.dumps(report, indent=1) + "\n")
    show_broken(report["broken"], console)
    return 1 if report["broken"] else 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bin/bench schedules", description=__doc__)
    parser.add_argument("--count", type=int, default=5_000, help="schedules (%(default)s)")
    parser.add_argument(
        "--seed",
        type=int,
        default=random.SystemRandom().randrange(10**9),
        help="of the first; the others follow (drawn)",
    )
    parser.add_argument("--race", default="", metavar="R1", help="only this one (R1 to R15)")
    parser.add_argument("--replay", type=int, metavar="SEED", help="one schedule, step by step")
    parser.add_argument("--processes", type=int, default=0, help="(three for two cores)")
    return parser.parse_args()


def replay(seed: int, race: str, console: Console) -> int:
    """Run one schedule and print its steps."""
    (result,) = run_batches(play_and_tell, [(seed, race)], processes=1)
    wrong = [*result.broken, *result.errors]
    for line in [*(by[0] for by in result.counts), *wrong]:
        console.print(line, highlight=False, markup=False)
    return 1 if wrong else 0


def play_and_tell(world: World, stage: Stage, batch: tuple[int, str]) -> Done:
    """One schedule; what is counted are its steps, in their order."""
    from tests.proof import schedules  # noqa: PLC0415
    from tests.proof.world import BrokenError  # noqa: PLC0415

    seed, race = batch
    result = Done()
    cast = schedules.CASTS[race] if race else schedules.cast_of(seed)
    result.count(f"seed {seed}, {cast.name}: {cast.says}")
    try:
        play = schedules.play(world, stage, seed=seed, cast=cast)
        world.check_books()
    except BrokenError as exc:
        result.broken.append(str(exc))
        return result
    for number, step in enumerate(play.trace, 1):
        result.count(f"{number:>4}  {step}")
    for scene in play.scenes:
        order = scene.order if scene.exists else None
        stands = f"{order.status}, {order.payment_status}" if order else "was never placed"
        result.count(f"{scene.story.name}: {order.order_number if order else '-'} {stands}")
    return result


def _report(done: list[Done], options: argparse.Namespace, *, seconds: float) -> dict[str, Any]:
    counts: dict[str, Counter[str]] = {}
    for result in done:
        for (what, *by), count in result.counts.items():
            counts.setdefault(what, Counter())[str(by[0]) if by else ""] += count
    return {
        "first_seed": options.seed,
        "schedules": options.count,
        "held": sum(counts.get("plays", Counter()).values()),
        "steps": sum(counts.get("steps", Counter()).values()),
        "seconds": round(seconds, 1),
        "by_play": dict(counts.get("plays", Counter())),
        "by_actors": dict(counts.get("actors", Counter())),
        "orders": dict(counts.get("ends", Counter())),
        "broken": [one for result in done for one in (*result.broken, *result.errors)],
    }


def tell(report: dict[str, Any], console: Console) -> None:
    """Print what was played and what held."""
    table = Table("play", "what must hold", "schedules")
    import django  # noqa: PLC0415 - for the names of the plays alone

    django.setup()
    from tests.proof.schedules import CASTS  # noqa: PLC0415

    for name, cast in CASTS.items():
        if count := report["by_play"].get(name):
            table.add_row(name, cast.says, f"{count:,}")
    console.print(table)
    console.print(f"actors: {report['by_actors']}; orders: {report['orders']}")
    console.print(
        f"{report['schedules']:,} schedules, {report['steps']:,} steps in"
        f" {report['seconds']:.0f} s, {len(report['broken'])} broken."
    )


if __name__ == "__main__":
    sys.exit(main())
