"""The exhaustive crash test: every boundary of every use case, struck in every way, in every story.

A cell is one such run. The boundaries are found by running the use case once, undisturbed; then it
is run again for each of them and each blow, recovery runs, the client comes back or does not, and
the judge looks at the order. The books as a whole are checked after every few cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from django.db import InterfaceError, OperationalError, connection

from config.kernel.db import CommitOutcomeUnknownError
from config.kernel.errors import DomainError
from orders.books import reconciliation
from tests.proof.actors import (
    Actor,
    end_session_as_postgres_does,
    wait_until_session_is_over,
)
from tests.proof.children import in_child
from tests.proof.edges import Blow, Edge, Recorder, Striker, StruckError, watched
from tests.proof.world import CLAIM, LEASE, BrokenError, World, require

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.proof.actors import Stage
    from tests.proof.stories import Story
    from tests.proof.usecases import UseCase
    from tests.proof.world import Scene

ENDS_SECONDS: Final = 60.0
# What a worker's task or a command may end with: it is logged, and beat calls the next one.
TOLD_TO_THE_CALLER: Final = (
    StruckError,
    CommitOutcomeUnknownError,
    OperationalError,
    InterfaceError,
    DomainError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One run: where, what falls, in which story, and whether the client comes back."""

    use_case: UseCase
    story: Story
    at: int
    edge: Edge
    blow: Blow
    comes_back: bool

    def __str__(self) -> str:
        back = "client comes back" if self.comes_back else "client gone"
        return (
            f"{self.use_case.name} | {self.story.name} | {self.at}: {self.edge} | "
            f"{self.blow.value} | {back}"
        )


def boundaries(world: World, use_case: UseCase, story: Story) -> list[Edge]:
    """Run a use case once, undisturbed: which boundaries it passes; it must come out right."""
    scene = world.scene(story)
    use_case.prepare(scene)
    recorder = Recorder()
    with watched(recorder):
        use_case.act(scene)
    finish(world, use_case, scene, comes_back=True)
    return recorder.edges


def cells(use_case: UseCase, story: Story, edges: Sequence[Edge]) -> Iterator[Cell]:
    """Every cell of one use case in one story.

    Killed after one boundary is killed before the next: nothing lies between, and it is run once.
    So it is with the database lost, but where something was committed of which nobody then hears.
    At placing the client both comes back and is gone; elsewhere, where coming back means to press
    again, these take turns from one boundary, and one story, to the next.
    """
    turn = use_case.stories.index(story)
    for at, edge in enumerate(edges):
        blows = [Blow.KILLED_BEFORE, Blow.EXCEPTION, Blow.CUT_BEFORE, Blow.STOPPED]
        if edge.commits:
            blows.append(Blow.CUT_AFTER)
        if at == len(edges) - 1:
            blows.append(Blow.KILLED_AFTER)
        for nth, blow in enumerate(blows):
            its_turn = (at + nth + turn) % 2 == 0
            for comes_back in (True, False) if use_case.is_placing else (its_turn,):
                yield Cell(
                    use_case=use_case,
                    story=story,
                    at=at,
                    edge=edge,
                    blow=blow,
                    comes_back=comes_back,
                )


def run(world: World, stage: Stage, cell: Cell) -> bool:
    """Run a cell; returns whether its boundary was reached.

    Raises:
        BrokenError: a promise is broken; the message names the cell.
    """
    try:
        scene = world.scene(cell.story)
        cell.use_case.prepare(scene)
        if cell.blow.kills:
            striker = Striker(cell.blow, at=cell.at)
            reached = in_child(lambda: cell.use_case.act(scene), striker)
        elif cell.blow is Blow.STOPPED:
            reached = _act_and_stop(world, stage, cell, scene)
        else:
            reached = _act_and_be_struck(cell, scene)
        finish(world, cell.use_case, scene, comes_back=cell.comes_back)
    except BrokenError as exc:
        raise BrokenError(f"{cell}\n    {exc}") from exc
    return reached


def finish(world: World, use_case: UseCase, scene: Scene, *, comes_back: bool) -> None:
    """Time passes, the client comes back or not, our workers do theirs; then the verdict."""
    go_on(world, use_case, scene, comes_back=comes_back)
    scene.judge(ends=use_case.ends(scene) if comes_back else None)
    world.provider.clear_faults()


def go_on(world: World, use_case: UseCase, scene: Scene, *, comes_back: bool) -> None:
    """Until nothing is under way any more."""
    world.forget()
    world.pass_time(LEASE if comes_back else LEASE + CLAIM)
    if comes_back:
        use_case.again(scene)
        scene.settle(waited=LEASE)
    else:
        scene.settle(waited=LEASE + CLAIM)
        if use_case.is_news_from_the_provider:
            world.fetch_events()
            scene.settle()
    if use_case.is_news_from_the_provider and scene.story.quarantines:
        reconciliation.reconcile(repair=True, on_progress=lambda *_: None)  # the next night


def _act_and_be_struck(cell: Cell, scene: Scene) -> bool:
    """In this process, which goes on with whatever it makes of it."""
    striker = Striker(cell.blow, at=cell.at)
    try:
        with watched(striker):
            cell.use_case.act(scene)
    except TOLD_TO_THE_CALLER:
        pass
    finally:
        connection.close_if_unusable_or_obsolete()
    return striker.has_struck


def _act_and_stop(world: World, stage: Stage, cell: Cell, scene: Scene) -> bool:
    """On a thread, which stands still while the world goes on without it, and then goes on."""
    scene.is_alone = False
    actor = _Stopped(cell, scene)
    stage.enter(actor)
    actor.go_to_stop()
    reached = not actor.is_done
    if reached:
        go_on(world, cell.use_case, scene, comes_back=cell.comes_back)
        actor.go_on_freely()
        require("the stopped one comes to an end", holds=actor.stands.wait(ENDS_SECONDS))
    if actor.error is not None and not isinstance(actor.error, TOLD_TO_THE_CALLER):
        raise actor.error
    return reached


class _Stopped(Actor):
    """Walks freely up to its boundary, and stands there."""

    def __init__(self, cell: Cell, scene: Scene) -> None:
        super().__init__("stopped", lambda: cell.use_case.act(scene))
        self._left = cell.at
        self._loses_session = False

    def go_to_stop(self) -> None:
        """Return when it stands there, or is done before; its open transaction is over then."""
        self.go()
        require("it comes to its boundary, or its end", holds=self.stands.wait(ENDS_SECONDS))
        if self._loses_session:
            wait_until_session_is_over(self.backend_pid)

    def before(self, edge: Edge) -> None:
        self._left -= 1
        if self._left == -1:
            self._loses_session = end_session_as_postgres_does()
            super().before(edge)
