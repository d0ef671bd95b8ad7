"""Breaks the code on purpose, one rule at a time: the crash grid and the schedules must notice.

Each mutant is a change of a line or two in a copy of the code: a lock that is not taken, a fact
that is not told, a key that is not the same twice. Schedules and cells of the grid run against it
until one breaks. A check that cannot fail proves nothing. Exit code 0 only if every mutant is
killed; one whose text is not in the code any more is an error.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks.mutations import CONTROL, EVERYWHERE, MUTANTS, Mutant
from benchmarks.proving import output_directory, processes, told_progress

if TYPE_CHECKING:
    from tests.proof.actors import Stage
    from tests.proof.workers import Done
    from tests.proof.world import World

NEEDS_TEST_SERVERS = True
ROOT: Final = Path(__file__).resolve().parent.parent
CODE: Final = ("config", "integrations", "orders", "customers", "inventory", "payments", "audit")
ALSO: Final = ("benchmarks", "tests", "sandbox", "manage.py", "pyproject.toml")
SEEDS_A_BATCH: Final = 25
BATCHES: Final = 8
ONE_CELL_IN: Final = 5
NEAR_STORIES_ONE_IN: Final = 2
HUNT_SECONDS: Final = 1_800
COMMAND: Final = "benchmarks.mutants"


def main() -> int:
    """Run it; returns the exit code."""
    options = parse_arguments()
    if options.hunt is not None:
        print(json.dumps(hunt(options.hunt, options.near)))
        return 0
    console = Console()
    wanted = [CONTROL, *(mutant for mutant in MUTANTS if options.only in mutant.rule)]
    results: list[dict[str, Any]] = []
    began = time.monotonic()
    numbers: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(processes(options)):
        numbers.put(number)
    with (
        told_progress(console) as progress,
        tempfile.TemporaryDirectory() as directory,
        ThreadPoolExecutor(processes(options)) as pool,
    ):
        task = progress.add_task("mutants", total=len(wanted), told="")

        def try_one(mutant: Mutant) -> dict[str, Any]:
            number = numbers.get()
            try:
                return try_mutant(mutant, Path(directory, str(number)), number)
            finally:
                numbers.put(number)

        for trying in as_completed([pool.submit(try_one, mutant) for mutant in wanted]):
            result = trying.result()
            results.append(result)
            killed = sum(bool(one["killed_by"]) for one in results)
            progress.update(task, advance=1, told=f"{killed} killed")
            if not console.is_terminal:
                told = f"{result['killed_by'] or 'nothing'} in {result['seconds']:.0f} s"
                console.print(f"{result['rule']}: killed by {told}", soft_wrap=True)
    results.sort(key=lambda one: [mutant.rule for mutant in wanted].index(one["rule"]))
    report = {"seconds": round(time.monotonic() - began, 1), "mutants": results}
    tell(report, console)
    (output_directory() / "mutants.json").write_text(json.dumps(report, indent=1) + "\n")
    return 0 if all(map(_is_right, results)) else 1


def _is_right(result: dict[str, Any]) -> bool:
    survives = not result["killed_by"]
    return survives == bool(result["rule"] == CONTROL.rule)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bin/bench mutants", description=__doc__)
    parser.add_argument("--only", default="", help="those whose rule has this in it")
    parser.add_argument("--processes", type=int, default=0, help="(three for two cores)")
    parser.add_argument("--hunt", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--near", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


# --- one mutant -------------------------------------------------------------------------------


def try_mutant(mutant: Mutant, copy: Path, number: int) -> dict[str, Any]:
    """Break a copy of the code, and let the proofs loose on it."""
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for name in (*CODE, *ALSO):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, copy / name)
    break_code(mutant, copy)
    began = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-m", COMMAND, "--hunt", str(number), "--near", mutant.near],
            cwd=copy,
            env=os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=HUNT_SECONDS,
            check=True,
        )
        found = json.loads(done.stdout.splitlines()[-1])
    except subprocess.CalledProcessError as exc:
        found = _nothing(f"the hunt broke off: {exc.stderr[-200:]}")
    except subprocess.TimeoutExpired:
        found = _nothing(f"the hunt took more than {HUNT_SECONDS} s")
    return {"rule": mutant.rule, **found, "seconds": round(time.monotonic() - began, 1)}


def _nothing(why: str, *, after: int = 0) -> dict[str, Any]:
    return {"killed_by": "", "after": after, "because": why}


def break_code(mutant: Mutant, root: Path) -> None:
    """Make the mutant's edits.

    Raises:
        ValueError: a text is not there exactly once: the code has moved on without its mutant.
    """
    path = root / mutant.file
    text = path.read_text(encoding="utf-8")
    for old, new in mutant.edits:
        if text.count(old) != 1:
            raise ValueError(
                f"{mutant.rule}: {text.count(old)} times in {mutant.file}: {old.strip()!r}"
            )
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def hunt(number: int, near: str) -> dict[str, Any]:
    """In the copy: schedules and cells in turn until a promise is broken; no other error counts."""
    from tests.proof.workers import run_batches  # noqa: PLC0415 - the copy's

    tried = 0
    errors: list[str] = []
    for result in run_batches(hunt_batch, _hunting_ground(near), processes=1, first=number):
        tried += sum(n for by, n in result.counts.items() if by[0] in {"plays", "cells"})
        errors += result.errors
        if result.broken:
            told = " ".join(result.broken[0].split())
            return {"killed_by": result.batch[0], "after": tried, "because": _clue(told)}
    return _nothing(f"only errors: {errors[0][-200:]}" if errors else "all held", after=tried)


def hunt_batch(world: World, stage: Stage, batch: tuple[str, Any]) -> Done:
    """Some schedules, or some cells of the grid."""
    from benchmarks import crash, schedules  # noqa: PLC0415

    work = schedules.play_batch if batch[0] == "schedules" else crash.strike_everywhere
    return work(world, stage, batch[1])


def _hunting_ground(near: str) -> list[tuple[str, Any]]:
    """First a named race or a use case, then a few schedules, a few cells, and so on in turn."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.test")
    import django  # noqa: PLC0415

    django.setup()
    from tests.proof.schedules import CASTS  # noqa: PLC0415
    from tests.proof.usecases import USE_CASES  # noqa: PLC0415

    near_ones = {mutant.near for mutant in MUTANTS} if near == EVERYWHERE else {near}
    first: list[tuple[str, Any]] = [
        ("schedules", (0, SEEDS_A_BATCH, race)) for race in sorted(near_ones & CASTS.keys())
    ]
    cells = [
        ("crash", (number, (story,), ONE_CELL_IN))
        for number, use_case in enumerate(USE_CASES)
        for story in range(len(use_case.stories))
    ]
    first += [
        one
        for one in cells
        if any(USE_CASES[one[1][0]].name.startswith(name) for name in near_ones)
        and one[1][1][0] % NEAR_STORIES_ONE_IN == 0
    ]
    seeds = [
        ("schedules", (start, start + SEEDS_A_BATCH, ""))
        for start in range(0, BATCHES * SEEDS_A_BATCH, SEEDS_A_BATCH)
    ]
    cells = cells[::8]
    mixed: list[tuple[str, Any]] = []
    while cells or seeds:
        mixed += seeds[:1] + cells[:2]
        seeds, cells = seeds[1:], cells[2:]
    return first + mixed


def _clue(told: str) -> str:
    """The first words of what broke."""
    for mark in ("BrokenError(", "BrokenError:", "Error: "):
        if mark in told:
            return told.split(mark, 1)[1][:110]
    return told[:110]


def tell(report: dict[str, Any], console: Console) -> None:
    """Print who was killed by what."""
    table = Table("mutant", "killed by", "after", "seconds", "what broke")
    for one in report["mutants"]:
        killed_by = one["killed_by"] or "nothing"
        table.add_row(
            one["rule"],
            killed_by if _is_right(one) else f"[bold red]{killed_by}[/]",
            str(one["after"]),
            str(one["seconds"]),
            one["because"],
        )
    console.print(table)
    mutants = [one for one in report["mutants"] if one["rule"] != CONTROL.rule]
    killed = sum(bool(one["killed_by"]) for one in mutants)
    console.print(f"{killed} of {len(mutants)} mutants killed, {report['seconds']:.0f} s.")


if __name__ == "__main__":
    sys.exit(main())
