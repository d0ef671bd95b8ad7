"""What the proofs (crash, schedules, mutants) share: where they write, and what they show."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from rich.console import Console

SHOWN: Final = 5


def output_directory() -> Path:
    """Where reports go; the servers' own directory vanishes with them."""
    directory = Path(os.environ["BENCH_OUTPUT"])
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def processes(options: argparse.Namespace) -> int:
    """As many as asked for, else one a core; there is a payment server for no more."""
    cores = len(os.sched_getaffinity(0))
    return min(options.processes or cores, cores)


def told_progress(console: Console) -> Progress:
    """A bar with a few words behind it."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}"),
        TimeElapsedColumn(),
        TextColumn("so far,"),
        TimeRemainingColumn(),
        TextColumn("to go"),
        console=console,
        disable=not console.is_terminal,
    )


def show_broken(broken: Sequence[str], console: Console) -> None:
    """The first few, whole: each is a defect."""
    for one in broken[:SHOWN]:
        console.print(one, style="red", highlight=False, markup=False)
    if len(broken) > SHOWN:
        console.print(f"… and {len(broken) - SHOWN} more: see the report's JSON.")
