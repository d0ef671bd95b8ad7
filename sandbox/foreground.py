"""Runs a command for the person at the terminal, with servers of ours behind it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from config.processes import die_with_parent
from sandbox.processes import StartError, ignore_stop_signals

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

SIGNAL_EXIT_CODE = 128  # by the shell's custom: 128 + the signal's number


class AskedToStopError(Exception):
    """A signal came while no command of the person's was running."""

    def __init__(self, exit_code: int) -> None:
        """Remember the exit code that tells it."""
        super().__init__(exit_code)
        self.exit_code = exit_code


def run(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path | None = None) -> int:
    """Run a command to its end and return its exit code.

    It shares our terminal and process group: a Ctrl-C reaches it directly and it decides what that
    means, while SIGTERM, which reaches only us, is passed on.
    """
    # Killed together with us: without its servers it could only fail.
    follow_us = die_with_parent(signal.SIGTERM)
    with subprocess.Popen(
        list(argv),
        env=dict(env),
        cwd=cwd,
        preexec_fn=follow_us,  # noqa: PLW1509  # we have no threads
    ) as process:
        before = {
            signal.SIGINT: signal.signal(signal.SIGINT, lambda _number, _frame: None),
            signal.SIGTERM: signal.signal(
                signal.SIGTERM, lambda _number, _frame: process.terminate()
            ),
        }
        try:
            code = process.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    return SIGNAL_EXIT_CODE - code if code < 0 else code


def main(command: str, action: Callable[[], int]) -> int:
    """Run an action; what can be explained is explained in one line, without a traceback."""

    def on_signal(number: int, _frame: object) -> None:
        ignore_stop_signals()
        raise AskedToStopError(SIGNAL_EXIT_CODE + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    try:
        return action()
    except StartError as error:
        print(f"{command}: {error}", file=sys.stderr)
        return 1
    except AskedToStopError as stop:
        return stop.exit_code
    finally:
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.flush()
