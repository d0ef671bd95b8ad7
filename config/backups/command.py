"""What the three commands have in common: our errors in one line, and an orderly end."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING, Any

from django.core.management.base import CommandError

from config.backups.errors import BackupError
from config.kernel.commands import NOT_DONE, ServiceCommand

if TYPE_CHECKING:
    from collections.abc import Iterator

KIB = 1024


class BackupCommand(ServiceCommand):
    """A command that leaves nothing half done, unless it is killed outright."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            with stoppable():
                return super().execute(*args, **options)
        except BackupError as exc:
            raise CommandError(str(exc), returncode=exc.exit_code) from exc
        except KeyboardInterrupt:
            raise CommandError("stopped before it was done", returncode=NOT_DONE) from None


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM means what Ctrl-C means: what was begun is cleared away."""

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def amount(size: float) -> str:
    """Bytes in a unit that people read: 23.4 MiB."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < KIB:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= KIB
    return f"{size:.1f} TiB"
