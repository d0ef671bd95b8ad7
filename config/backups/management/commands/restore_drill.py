"""`restore_drill`: restores the backup on the side, and proves that the shop is all there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from rich.table import Table

from config.backups import drill
from config.backups.command import BackupCommand
from config.backups.directory import BackupDirectory
from config.backups.recovery import told
from config.backups.server import Server
from config.kernel.commands import bars, rendered

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from config.backups.drill import Drill


class Command(BackupCommand):
    help = (
        "Suppose that the database's disk is lost now: restore the backup into a scratch server on "
        "this machine, erase again whom the journal names, check the books, compare with the "
        "payment provider, and remove everything again. Prints how much would have been lost (RPO) "
        "and how long it would have taken (RTO). The shop goes on meanwhile and is only read from. "
        "Exit code: 0 all is well, 1 something is not and is named, 2 it could not be tried."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "directory",
            type=Path,
            nargs="?",
            metavar="DIR",
            help="that `backup` wrote; without it a fresh copy is made and thrown away, which "
            "proves less",
        )
        parser.add_argument(
            "--scratch",
            type=Path,
            default=settings.ORDERKEEP_HOME / "drill",
            metavar="PATH",
            help="where there is room for a copy of the database (default: drill/ under "
            "ORDERKEEP_HOME)",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        named = options["directory"]
        with (
            bars(quiet=options["json"]) as show,
            drill.scratch_directory(options["scratch"].absolute()) as work,
        ):
            done = drill.drill(
                BackupDirectory(named) if named else None,
                server=Server(),
                work=work,
                on_progress=show,
            )
        self.answer(options, _as_json(done), _as_text(done), all_is_well=not done.problems)


def _as_json(done: Drill) -> dict[str, Any]:
    return {
        "backup": done.base,
        "restored_until": told(done.restored_until),
        "rpo_seconds": round(done.rpo_seconds, 3),
        "rto_seconds": round(done.rto_seconds, 3),
        "problems": done.problems,
        "steps": [
            {"step": step.name, "seconds": round(step.seconds, 3), "told": step.told}
            for step in done.steps
        ],
    }


def _as_text(done: Drill) -> str:
    table = Table("", "seconds", "")
    table.columns[1].justify = "right"
    for step in done.steps:
        style = "bold red" if step.problems else None
        table.add_row(step.name, f"{step.seconds:.1f}", step.told, style=style)
    verdict = f"{len(done.problems)} problems." if done.problems else "All is well."
    return rendered(
        table,
        *done.problems,
        f"RPO {done.rpo_seconds:.1f} s, RTO {done.rto_seconds:.1f} s. {verdict}",
    )
