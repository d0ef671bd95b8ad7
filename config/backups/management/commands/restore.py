"""`restore`: makes a data directory of a backup, as of any moment that it reaches."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings

from config.backups import recovery
from config.backups.command import BackupCommand
from config.backups.directory import BackupDirectory
from config.kernel.commands import bars, instant

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from config.backups.recovery import Restored

THEN: Final = (
    "set AUDIT_SEAL_DIR's directory aside, give it an empty one, then bin/manage seal_audit",
    "bin/manage erase_customer --replay",
    "bin/manage backfill_events --hours 720",
    "bin/manage reconcile_payments",
    "bin/manage check_books --stripe",
)


class Command(BackupCommand):
    help = (
        "Make a data directory for PostgreSQL out of a directory that `backup` wrote: the database "
        "as it was at a moment, or as far as the log goes. Nothing that exists is changed and no "
        "server is started: you start one on the result, and it replays the log up to that moment. "
        "Run it as the user PostgreSQL runs as. Exit code: 0 done, 1 the backup is damaged or does "
        "not reach that moment, or something is in the way, 2 PostgreSQL's programs are missing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("directory", type=Path, metavar="DIR", help="that `backup` wrote")
        parser.add_argument(
            "--to",
            type=instant,
            metavar="TIME",
            help="whatever was committed after this ISO 8601 instant is left out (UTC unless it "
            "says otherwise); the default is all there is",
        )
        parser.add_argument(
            "--data-directory",
            type=Path,
            default=settings.ORDERKEEP_HOME / "restored",
            metavar="PATH",
            help="to be made, or empty; best beside the lost one, on the same disk (default: "
            "restored/ under ORDERKEEP_HOME)",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        with bars(quiet=options["json"]) as show:
            restored = recovery.restore(
                BackupDirectory(options["directory"]),
                to=options["to"],
                data_directory=options["data_directory"],
                on_progress=show,
            )
        self.answer(options, _as_json(restored), _as_text(restored))


def _as_json(restored: Restored) -> dict[str, Any]:
    return {
        "data_directory": str(restored.data_directory),
        "backup": restored.base.name,
        "until": recovery.told(restored.until),
        "then": list(THEN),
    }


def _as_text(restored: Restored) -> str:
    where = shlex.quote(str(restored.data_directory))
    begins = f"{where} will be the database as of {recovery.told(restored.until)}, from"
    steps = [
        f"start PostgreSQL {restored.base.major} on it: pg_ctl -D {where} start",
        *THEN,
        "begin a new directory for backups: this server's history is a new one",
    ]
    return "\n".join(
        [
            f"{begins} {restored.base.name} and the log since. Now, with the shop stopped:",
            *(f"  {number}. {step}" for number, step in enumerate(steps, start=1)),
        ]
    )
