"""What the proofs (crash, schedules, mutants) share: where they write, and what they show."""

from __future__ import annotations

import os
import time
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

from sandbox.bench import PROCESSES_A_CORE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from rich.console import Console

SHOWN: Final = 5
TOLD_EVERY_SECONDS: Final = 30.0


def output_directory() -> Path:
    """Where reports go; the servers' own directory vanishes with them."""
    directory = Path(os.environ["BENCH_OUTPUT"])
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def processes(options: argparse.Namespace) -> int:
    """As many as asked for, else three for two cores: two a core get in each other's way."""
    cores = len(os.sched_getaffinity(0))
    return min(options.processes or (3 * cores + 1) // 2, PROCESSES_A_CORE * cores)


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


class Teller:
    """Tells whoever has no terminal, every half minute, how far it is."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = self._told_at = time.monotonic()

    def __call__(self, *, done: int, total: int, told: str) -> None:
        """So much is done."""
        now = time.monotonic()
        if self._console.is_terminal or now - self._told_at < TOLD_EVERY_SECONDS:
            return
        self._told_at = now
        left = (now - self._began) * (total - done) / max(done, 1)
        self._console.print(f"{done} of {total}, {told}, {left:.0f} s to go", soft_wrap=True)


def show_broken(broken: Sequence[str], console: Console) -> None:
    """The first few, whole: each is a defect."""
    for one in broken[:SHOWN]:
        console.print(one, style="red", highlight=False, markup=False)
    if len(broken) > SHOWN:
        console.print(f"… and {len(broken) - SHOWN} more: see the report's JSON.")
