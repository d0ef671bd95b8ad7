"""Thousands of requests that nobody thought of, as three identities: every answer as documented.

schemathesis makes them of our OpenAPI document: its examples, every edge of every field, random
ones good and bad, and chains of calls. Each answer must have a status, headers and a body that the
document promises, and never be a 500. A batch begins with an empty shop, and the same seed sends
the same again. Exit code 1 on any failure, and for an operation that never succeeded for anybody.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks.proving import Teller, output_directory, processes, show_broken, told_progress
from tests.proof.workers import Done, run_batches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.proof.actors import Stage
    from tests.proof.world import World

    Batch = tuple[str, int, int]

NEEDS_TEST_SERVERS = True
WIDE: Final = 150
IDENTITIES: Final = ("anonymous", "customer", "staff")
CASES_A_BATCH: Final = 1_000
FIRST: Final[dict[str, Any]] = {
    "generation": {"max-examples": 10, "deterministic": False, "no-shrink": True},
    # Numbers learnt from answers would let one operation cancel the order of another's example.
    "phases": {"examples": {"extra-data-sources": {"responses": False}}},
}
"""The first batch of an identity: every phase."""
AT_RANDOM: Final[dict[str, Any]] = {
    "generation": {"max-examples": 40, "deterministic": False, "no-shrink": True},
    "phases": {name: {"enabled": False} for name in ("examples", "coverage", "stateful")},
}


def send(world: World, stage: Stage, batch: Batch) -> Done:  # noqa: ARG001 - as `run_batches` wants
    """So many requests, or a few more: an operation's are sent to the end."""
    from tests.fuzz import fuzzing  # noqa: PLC0415 - Django has to be set up

    identity, number, seed = batch
    shop = fuzzing.furnish(identity)
    result = Done()
    sent = 0
    while sent < CASES_A_BATCH:
        settings = FIRST if number == 0 and sent == 0 else AT_RANDOM
        report = fuzzing.run(shop, settings={**settings, "seed": seed + sent})
        for operation, statuses in report.statuses.items():
            for status, times in statuses.items():
                result.count(operation, status, times=times)
        for failure in report.failures:
            result.count(failure.operation, "failures")
            result.broken.append(f"{identity}, {failure.operation}: {failure.said}")
        sent += report.cases
    return result


def main() -> int:
    """Run it; returns the exit code."""
    options = parse_arguments()
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDE)
    batches = _batches(cases=options.cases, seed=options.seed)
    began = time.monotonic()
    done: list[Done] = []
    tell_now_and_then = Teller(console)
    with told_progress(console) as progress:
        task = progress.add_task("batches", total=len(batches), told="")
        for result in run_batches(send, batches, processes=processes(options), stagehands=1):
            done.append(result)
            broken = sum(len(each.broken) + len(each.errors) for each in done)
            told = f"{sum(map(_cases, done)):,} cases, {broken} broken"
            progress.update(task, completed=len(done), told=told)
            tell_now_and_then(done=len(done), total=len(batches), told=told)
    report = summary(done, unreachable=_unreachable(), seed=options.seed)
    report["seconds"] = round(time.monotonic() - began, 1)
    tell(report, console)
    (output_directory() / "fuzz.json").write_text(json.dumps(report, indent=1) + "\n")
    show_broken(report["broken"], console)
    return 1 if report["broken"] or report["never_succeeded"] else 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bin/bench fuzz", description=__doc__)
    parser.add_argument(
        "--cases", type=int, default=10_000, metavar="N", help="of each identity (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=20_261_127, help="(%(default)s)")
    parser.add_argument("--processes", type=int, default=0, help="(three for two cores)")
    return parser.parse_args()


def _batches(*, cases: int, seed: int) -> list[Batch]:
    """The long first ones first."""
    return [
        (identity, number, seed + number * CASES_A_BATCH * 10)
        for number in range(-(-cases // CASES_A_BATCH))
        for identity in IDENTITIES
    ]


def _cases(done: Done) -> int:
    return sum(times for (_, what), times in done.counts.items() if what != "failures")


def _unreachable() -> dict[str, str]:
    import django  # noqa: PLC0415 - only here and in the workers

    django.setup()
    from tests.fuzz.fuzzing import UNREACHABLE  # noqa: PLC0415

    return UNREACHABLE


def summary(done: Sequence[Done], *, unreachable: dict[str, str], seed: int) -> dict[str, Any]:
    """What was sent as whom, and what came of it by operation."""
    statuses: dict[str, Counter[int]] = defaultdict(Counter)
    failures: Counter[str] = Counter()
    sent_as: Counter[str] = Counter()
    for result in done:
        sent_as[result.batch[0]] += _cases(result)
        for (operation, what), times in result.counts.items():
            if what == "failures":
                failures[operation] += times
            else:
                statuses[operation][what] += times
    return {
        "seed": seed,
        "cases": dict(sent_as),
        "operations": {
            operation: {
                "cases": seen.total(),
                "statuses": {str(status): seen[status] for status in sorted(seen)},
                "failures": failures[operation],
            }
            for operation, seen in sorted(statuses.items())
        },
        "never_succeeded": sorted(
            operation
            for operation, seen in statuses.items()
            if operation not in unreachable and not any(200 <= status < 300 for status in seen)  # noqa: PLR2004
        ),
        "broken": [one for result in done for one in (*result.broken, *result.errors)],
    }


def tell(report: dict[str, Any], console: Console) -> None:
    """Print every operation with the statuses it gave."""
    table = Table("operation", "cases", "statuses", "failures", title="Answers by operation")
    table.columns[1].justify = table.columns[3].justify = "right"
    for operation, told in report["operations"].items():
        seen = ", ".join(f"{status} × {times}" for status, times in told["statuses"].items())
        table.add_row(operation, f"{told['cases']:,}", seen, str(told["failures"] or ""))
    console.print(table)
    for operation in report["never_succeeded"]:
        console.print(f"[red]never succeeded: {operation}[/]")
    sent = ", ".join(f"{cases:,} as {who}" for who, cases in report["cases"].items())
    console.print(f"{sent}; {report['seconds']:.0f} s, {len(report['broken'])} failures.")


if __name__ == "__main__":
    sys.exit(main())
