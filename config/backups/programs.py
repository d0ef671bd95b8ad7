"""Runs PostgreSQL's own programs, which do the copying and the verifying."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from typing import TYPE_CHECKING, Final

from django.conf import settings

from config.backups.errors import BackupError, UnavailableError
from config.postgres import ProgramsError, find_programs
from config.processes import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Show = Callable[[int, int | None], None]

KIB: Final = 1024
PROGRESS: Final = re.compile(r"\s*(\d+)/(\d+) kB")
NAME_OF_SPEAKER: Final = re.compile(r"^\w+: (?:error|fatal|detail|warning): ")


class Programs:
    """The programs of one major version of PostgreSQL."""

    def __init__(self, *, major: int) -> None:
        """Find them.

        Raises:
            UnavailableError: there are none of that version on this machine.
        """
        try:
            self.directory: Path = find_programs(major=major, chosen=settings.POSTGRES_BIN)
        except ProgramsError as exc:
            raise UnavailableError(str(exc)) from exc

    def run(
        self,
        program: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        on_progress: Show | None = None,
    ) -> None:
        """Run one to its end; it ends with us, however we do.

        Args:
            program: its name.
            arguments: without anything secret, since everybody on the machine may read them.
            environment: ours unless told otherwise.
            on_progress: takes bytes done and to be done, of programs with `--progress`.

        Raises:
            BackupError: it failed; the message is what it said first.
        """
        said = []
        with subprocess.Popen(  # noqa: S603 - PostgreSQL's own
            [self.directory / program, *arguments],
            env=quiet(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent(signal.SIGINT),  # noqa: PLW1509 - we have no threads
        ) as process:
            assert process.stderr is not None  # noqa: S101 - a pipe was asked for
            try:
                for line in process.stderr:
                    if found := PROGRESS.match(line):
                        if on_progress is not None:
                            on_progress(int(found[1]) * KIB, int(found[2]) * KIB)
                    elif line.strip():
                        said.append(NAME_OF_SPEAKER.sub("", line.strip()))
            except BaseException:  # Ctrl-C, too, takes the program along; passed on
                process.kill()
                raise
        if process.returncode:
            more = f" (and {len(said) - 1} more)" if len(said) > 1 else ""
            reason = said[0] if said else f"exit code {process.returncode}"
            raise BackupError(f"{program}: {reason}{more}")

    def read(self, program: str, *arguments: str) -> tuple[str, str]:
        """What one prints, and what it complains of; an exit code above 0 is no error here."""
        done = subprocess.run(  # noqa: S603 - PostgreSQL's own
            [self.directory / program, *arguments],
            env=quiet(None),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout, done.stderr


def quiet(environment: Mapping[str, str] | None) -> dict[str, str]:
    """An environment in which programs speak English and tell the time in UTC."""
    return {**(os.environ if environment is None else environment), "LC_ALL": "C", "TZ": "UTC"}
