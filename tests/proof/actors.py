"""Actors on real threads and real connections who pass one I/O boundary at a time, when told to.

Everybody stands still but the one who was told to go on; so an order of steps, once written down,
happens again. Whoever has to wait for a row of somebody who stands still is known by asking
PostgreSQL, and goes on by itself as soon as the row is free.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from django.db import connection
from psycopg2.errors import DeadlockDetected
from psycopg2.extensions import TRANSACTION_STATUS_IDLE

from tests.proof.edges import cut_connection, unwatched, watched

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.proof.edges import Edge

LOOK_SECONDS = 0.003  # longer than most statements take: then it may be waiting for a lock
STUCK_SECONDS = 30.0


class DiedError(BaseException):
    """The process is gone: nothing of ours catches it, and its connection is cut."""


class StuckError(AssertionError):
    """An actor neither comes back nor waits for a row: the harness, or a lock in memory."""


class Actor:
    """One piece of work, done by a stagehand's thread, a boundary at a time.

    `at` is the boundary it stands before; None: it has not begun, is on its way, or is done.
    """

    def __init__(self, name: str, work: Callable[[], Any]) -> None:
        self.name = name
        self.work = work
        self.at: Edge | None = None
        self.is_done = False
        self.is_blocked = False
        self.result: Any = None
        self.error: BaseException | None = None
        self.backend_pid = 0
        self.was_ended_by_deadlock = False
        self.stands = threading.Event()
        self._may_go = threading.Semaphore(0)
        self._walks_freely = False
        self._dies = self._is_dead = False

    # --- on its own thread --------------------------------------------------------------------

    def run(self) -> None:
        """Do the work, waiting before each boundary."""
        self._may_go.acquire()
        try:
            if not self._dies:
                connection.ensure_connection()  # whom it waits for is asked by its backend
                with watched(self):
                    self.result = self.work()
        except BaseException as exc:  # noqa: BLE001 - told to whoever asks; DiedError among them
            # What it makes of its death (a 500, say) nobody hears.
            self.error = DiedError() if self._is_dead else exc
        finally:
            if self.error is not None:
                connection.close()
            self.is_done = True
            self.at = None
            self.stands.set()

    def before(self, edge: Edge) -> None:
        if self._is_dead:
            raise DiedError  # whatever caught it the first time
        if self._walks_freely:
            return
        self.at = edge
        raw = connection.connection
        self.backend_pid = raw.info.backend_pid if raw is not None and not raw.closed else 0
        self.stands.set()
        self._may_go.acquire()
        if self._dies:
            self._is_dead = True
            cut_connection()
            raise DiedError

    def after(self, _edge: Edge) -> None:
        error = sys.exc_info()[1]
        if error is not None and isinstance(error.__cause__, DeadlockDetected):
            self.was_ended_by_deadlock = True

    # --- on the director's --------------------------------------------------------------------

    def go(self) -> None:
        """Pass one boundary; `stands` tells when it stands before the next, or is done."""
        self.stands.clear()
        self.at = None
        self._may_go.release()

    def go_on_freely(self) -> None:
        """Pass all that is left without waiting."""
        self._walks_freely = True
        self.go()

    def dismiss(self) -> None:
        """Send home somebody who has not begun."""
        self._dies = True
        self.go()
        self.stands.wait(STUCK_SECONDS)

    def die(self) -> None:
        """End where it stands, as a process does that is killed."""
        self._dies = True
        self.go()


class Stage:
    """Stagehands, each with a thread and a connection of its own that outlive one play."""

    def __init__(self, size: int) -> None:
        self._work: queue.SimpleQueue[Actor | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._serve, name=f"stage-{n}", daemon=True)
            for n in range(size)
        ]
        for thread in self._threads:
            thread.start()

    def enter(self, actor: Actor) -> None:
        """Give an actor a thread; it begins when told to go."""
        self._work.put(actor)

    def close(self) -> None:
        """Let the threads end, their connections with them."""
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join(timeout=STUCK_SECONDS)

    def _serve(self) -> None:
        while (actor := self._work.get()) is not None:
            actor.run()
        connection.close()


class Director:
    """Tells actors, one after the other, to pass their next boundary; keeps the order of it."""

    def __init__(self, stage: Stage, actors: Sequence[Actor]) -> None:
        self.actors = list(actors)
        self.trace: list[str] = []
        self.circles = 0  # how often nobody could go on
        for actor in actors:
            stage.enter(actor)
            actor.stands.set()

    def ready(self) -> list[Actor]:
        """Who can be told to go on."""
        return [one for one in self.actors if not one.is_done and not one.is_blocked]

    @property
    def has_met_deadlock(self) -> bool:
        """Whether PostgreSQL had to end somebody."""
        return any(one.was_ended_by_deadlock for one in self.actors)

    @property
    def is_over(self) -> bool:
        """Whether everybody is done."""
        return all(one.is_done for one in self.actors)

    def step(self, actor: Actor) -> None:
        """Have an actor pass one boundary; returns when all stand, are done, or wait for a row."""
        self.trace.append(f"{actor.name}: {actor.at or 'begins'}")
        actor.go()
        self._await(actor)
        self._await_freed()

    def kill(self, actor: Actor) -> None:
        """Have an actor die where it stands."""
        self.trace.append(f"{actor.name}: dies before {actor.at or 'it begins'}")
        actor.die()
        self._await(actor)
        self._await_freed()

    def wait_for_blocked(self) -> None:
        """Nobody can go on: PostgreSQL puts a queue in another order, or ends one of them."""
        self.circles += 1
        give_up_at = time.monotonic() + STUCK_SECONDS
        while not any(one.stands.is_set() for one in self.actors if one.is_blocked):
            if time.monotonic() > give_up_at:
                raise StuckError(self._told())
            time.sleep(LOOK_SECONDS)
        for one in self.actors:
            if one.is_blocked and one.stands.is_set():
                one.is_blocked = False

    def _await_freed(self) -> None:
        """Whoever comes free may in turn free somebody who queued behind it."""
        is_still = False
        while not is_still:
            is_still = True
            for blocked in [one for one in self.actors if one.is_blocked]:
                self._await(blocked)
                is_still = is_still and blocked.is_blocked

    def _await(self, actor: Actor) -> None:
        give_up_at = time.monotonic() + STUCK_SECONDS
        while not actor.stands.wait(LOOK_SECONDS):
            if self._waits_for_another(actor):
                actor.is_blocked = True
                return
            if time.monotonic() > give_up_at:
                raise StuckError(self._told())
        actor.is_blocked = False

    def _waits_for_another(self, actor: Actor) -> bool:
        """Whether an actor is in its way. What else may be, as autovacuum, ends by itself."""
        if not actor.backend_pid:
            return False
        others = {one.backend_pid for one in self.actors if not one.is_done}
        return not others.isdisjoint(_blocking_pids(actor.backend_pid))

    def _told(self) -> str:
        return "\n".join([*self.trace, *(f"{one.name} stands at {one.at}" for one in self.actors)])


def _blocking_pids(backend_pid: int) -> list[int]:
    with unwatched(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_blocking_pids(%s)", [backend_pid])
        blocking: list[int] = cursor.fetchone()[0]
        return blocking


def end_session_as_postgres_does() -> bool:
    """Have a transaction that this thread leaves open ended by its time limit; is there one?"""
    raw = connection.connection
    if raw is None or raw.closed or raw.info.transaction_status == TRANSACTION_STATUS_IDLE:
        return False
    with raw.cursor() as cursor:
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = '1ms'")
    return True


def wait_until_session_is_over(backend_pid: int) -> None:
    """Return once PostgreSQL has ended a session, its locks with it."""
    give_up_at = time.monotonic() + STUCK_SECONDS
    while time.monotonic() < give_up_at:
        with unwatched(), connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", [backend_pid])
            if not cursor.fetchone()[0]:
                return
        time.sleep(0.001)
    raise StuckError(f"session {backend_pid} does not end")
