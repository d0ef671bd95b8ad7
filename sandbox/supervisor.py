"""Looks after the running children: starts again what dies, stops all of it in bounded time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.processes import kill_all
from sandbox.processes import Child, Command, Register, StartError, session_members, spawn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FIRST_DELAY_SECONDS = 0.25
LONGEST_DELAY_SECONDS = 10.0
# One that ran this long had a start in order: its next death is a new story.
STEADY_SECONDS = 30.0
STOP_SECONDS = 9.0


@dataclass(kw_only=True)
class Watched:
    """One command and the child that runs it at the moment."""

    command: Command
    child: Child | None
    deaths: int = 0
    restart_at: float = 0.0


class Supervisor:
    """The children in the order of their start, in tiers that stop together, last tier first."""

    def __init__(self, *, register: Register, say: Callable[[str], None]) -> None:
        """Write every child into `register`; `say` tells the person at the terminal."""
        self._register = register
        self._say = say
        self._tiers: list[list[Watched]] = []

    def adopt(self, child: Child) -> None:
        """Look after a child that was started elsewhere, in a tier of its own."""
        self._tiers.append([Watched(command=child.command, child=child)])

    def open_tier(self) -> None:
        """What is started from now on stops together."""
        self._tiers.append([])

    def start(self, command: Command) -> None:
        """Start a command in the open tier.

        Raises:
            StartError: the program cannot be run.
        """
        child = self._spawn(command)
        self._tiers[-1].append(Watched(command=command, child=child))

    def look_after(self) -> None:
        """One round: notice who died, start again whose time has come. Never waits."""
        for watched in self._watched():
            if watched.child is not None:
                self._notice_death(watched, watched.child)
            elif time.monotonic() >= watched.restart_at:
                self._restart(watched)

    def deaths(self, name: str) -> int:
        """How often a child died without a steady run in between."""
        return next(watched.deaths for watched in self._watched() if watched.command.name == name)

    def stop(self) -> None:
        """Stop everything, the last tier first, within STOP_SECONDS; nothing is left running."""
        last_moment = time.monotonic() + STOP_SECONDS
        while self._tiers:
            children = [watched.child for watched in self._tiers[-1] if watched.child is not None]
            for child in children:
                child.ask_to_stop()
            asked_at = time.monotonic()
            for child in children:
                child.finish(deadline=min(asked_at + child.command.stop_seconds, last_moment))
            self._tiers.pop()
        self._register.clear()

    def _watched(self) -> Iterator[Watched]:
        for tier in self._tiers:
            yield from tier

    def _spawn(self, command: Command) -> Child:
        child = spawn(command)
        self._register.add(child)
        return child

    def _notice_death(self, watched: Watched, child: Child) -> None:
        code = child.exit_code()
        if code is None:
            return
        # Its own children may hold its port or files still.
        kill_all(session_members(child.process.pid))
        steady = time.monotonic() - child.started_at > STEADY_SECONDS
        watched.deaths = 1 if steady else watched.deaths + 1
        delay = min(FIRST_DELAY_SECONDS * 2 ** (watched.deaths - 1), LONGEST_DELAY_SECONDS)
        watched.child = None
        watched.restart_at = time.monotonic() + delay
        self._say(
            f"{child.name} ended ({describe(code)}), starting it again; log: {child.command.log}"
        )

    def _restart(self, watched: Watched) -> None:
        if watched.command.clear_away is not None:
            watched.command.clear_away()
        try:
            watched.child = self._spawn(watched.command)
        except StartError as error:  # out of memory, for example: tried again a little later
            self._say(str(error))
            watched.restart_at = time.monotonic() + LONGEST_DELAY_SECONDS


def describe(code: int) -> str:
    """An exit code in words."""
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"
