"""`backup`: copies the database into a directory; with `--follow` its log, as it is written."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.backups import base_backup, wal_archive
from config.backups.command import BackupCommand, amount
from config.backups.directory import BackupDirectory
from config.backups.server import Server
from config.kernel.commands import bad_argument, bars

if TYPE_CHECKING:
    from argparse import ArgumentParser

    from config.backups.base_backup import Taken
    from config.backups.wal_archive import Following


class Command(BackupCommand):
    help = (
        "Copy the whole database into a directory while the shop goes on, verify the copy, and "
        "remove copies that are too old. With --follow, run until stopped and receive the "
        "database's log into the same directory as it is written, so that every moment can be "
        "restored: run that as a service, and the other from cron. Exit code: 0 all is well, 1 "
        "refused, not sound, or the log is not being followed any more, 2 the database is away."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "directory",
            type=Path,
            metavar="DIR",
            help="new, or with backups of the same database; on another disk than the database's",
        )
        parser.add_argument(
            "--follow",
            action="store_true",
            help="receive the database's log, until stopped, in place of making a copy",
        )
        parser.add_argument(
            "--keep",
            type=int,
            metavar="N",
            help="so many copies are left, the new one among them, and the log since the oldest "
            f"(default: {base_backup.KEPT})",
        )

    def handle(self, *_: Any, **options: Any) -> None:
        keep = options["keep"]
        if options["follow"] and keep is not None:
            raise bad_argument("--keep is for copies: it is not allowed with --follow")
        if keep is not None and keep < 1:
            raise bad_argument("--keep: at least 1 copy has to be left")
        directory = BackupDirectory(options["directory"])
        if options["follow"]:
            self.follow(directory, options)
        else:
            self.take(directory, options, keep=keep or base_backup.KEPT)

    def take(self, directory: BackupDirectory, options: dict[str, Any], *, keep: int) -> None:
        """Make a copy, with progress bars for a person who watches."""
        began = time.monotonic()
        with bars(quiet=options["json"]) as show:
            taken = base_backup.take(directory, server=Server(), keep=keep, on_progress=show)
        seconds = time.monotonic() - began
        self.answer(
            options,
            _as_json(taken, seconds),
            _as_text(taken, seconds),
            all_is_well=taken.following.is_well,
        )

    def follow(self, directory: BackupDirectory, options: dict[str, Any]) -> None:
        """Receive the log until SIGTERM or Ctrl-C, which are how it ends."""
        stops: list[int] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _frame: stops.append(received))
        restarts = wal_archive.follow(
            directory, server=Server(), is_over=lambda: bool(stops), say=self.stderr.write
        )
        self.answer(
            options,
            {"restarts": restarts},
            f"Stopped; the receiver was started again {restarts} times.",
        )


def _as_json(taken: Taken, seconds: float) -> dict[str, Any]:
    following = taken.following
    return {
        "backup": taken.base.name,
        "bytes": taken.base.size,
        "seconds": round(seconds, 3),
        "kept": taken.kept,
        "removed": taken.removed,
        "log": {
            "wanted": following.is_wanted,
            "followed": following.is_active,
            "lost": following.is_lost,
            "lag_bytes": following.lag_bytes,
        },
    }


def _as_text(taken: Taken, seconds: float) -> str:
    removed = f", {len(taken.removed)} removed" if taken.removed else ""
    return (
        f"{taken.base.name}: {amount(taken.base.size)} in {seconds:.1f} s, verified;"
        f" {taken.kept} kept{removed}. {_on_the_log(taken.following)}"
    )


def _on_the_log(following: Following) -> str:
    if not following.is_wanted:
        return "The log is not followed: what is written from now on is in no backup."
    if following.is_lost:
        return (
            "The log CANNOT be followed any more: the server dropped what had not been received."
            " Begin a new directory."
        )
    if not following.is_active:
        return (
            f"The log is NOT being followed; the server keeps {amount(following.lag_bytes)} of it."
            " Start backup --follow again."
        )
    if not following.is_well:
        return f"The log is followed, but {amount(following.lag_bytes)} behind."
    return "The log is followed."
