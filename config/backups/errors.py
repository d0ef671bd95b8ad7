"""What can go wrong with backups, each told in one line that says what to do."""

from typing import ClassVar

from config.kernel.commands import NOT_DONE, SOMETHING_LEFT


class BackupError(Exception):
    """Refused, or found to be wrong; nothing was changed."""

    exit_code: ClassVar[int] = SOMETHING_LEFT


class UnavailableError(BackupError):
    """What is needed for it is not there: the server, PostgreSQL's programs."""

    exit_code = NOT_DONE
