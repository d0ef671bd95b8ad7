"""A sample of the crash grid: of every use case every other boundary, struck in one way.

Which ones, the seed of the run decides. The whole grid, every boundary struck in every way in every
outcome of the payment, is `bin/bench crash`.
"""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from orders.services import settlement
from tests.proof import grid, stories
from tests.proof.children import in_child
from tests.proof.edges import Blow, Kind, Striker
from tests.proof.usecases import PLACING, RELAYING, SWEEPING_BEFORE_T2, USE_CASES
from tests.proof.world import LEASE, BrokenError

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.concurrency]


@pytest.mark.parametrize("use_case", USE_CASES, ids=lambda use_case: use_case.name)
def test_struck_anywhere_every_promise_holds(world, stage, use_case):
    story = use_case.stories[0]
    edges = grid.boundaries(world, use_case, story)
    by_boundary: dict[int, list[grid.Cell]] = {}
    for cell in grid.cells(use_case, story, edges):
        by_boundary.setdefault(cell.at, []).append(cell)
    assert list(by_boundary) == list(range(len(edges)))
    sample = list(by_boundary.items())[random.randrange(2) :: 2]  # noqa: S311 - a sample
    struck = [of_it[at % len(of_it)] for at, of_it in sample]

    reached = {cell.at for cell in struck if grid.run(world, stage, cell)}

    assert reached == {at for at, _ in sample}
    world.check_books()


@pytest.mark.parametrize("use_case", USE_CASES, ids=lambda use_case: use_case.name)
def test_undisturbed_every_outcome_ends_as_it_should(world, use_case):
    for story in use_case.stories:
        assert grid.boundaries(world, use_case, story)
    world.check_books()


def test_the_boundaries_are_where_an_order_meets_the_world(world):
    edges = grid.boundaries(world, PLACING, stories.PAID)

    outside = [str(edge) for edge in edges if edge.kind is not Kind.STATEMENT]
    assert outside == [
        "COMMIT",  # T1
        "POST /v1/payment_intents",
        "COMMIT",  # T1b
        "POST /v1/payment_intents/*/confirm",
        "COMMIT",  # T2
        "nudge",
    ]
    mails = [edge for edge in grid.boundaries(world, RELAYING, stories.PAID) if edge.name[0] == "s"]
    assert [edge.kind for edge in mails] == [Kind.MAIL]


@pytest.mark.parametrize("story", [stories.PAID, stories.DECLINED], ids=lambda story: story.name)
def test_a_request_that_an_exception_ended_leaves_what_a_killed_one_leaves(world, story):
    placing = grid.boundaries(world, PLACING, story)
    _, _, before_t2 = (at for at, edge in enumerate(placing) if edge.kind is Kind.COMMIT)

    def be_killed(scene):
        assert in_child(scene.place, Striker(Blow.KILLED_BEFORE, at=before_t2))
        world.pass_time(LEASE)

    after_a_kill = replace(SWEEPING_BEFORE_T2, prepare=be_killed)
    assert grid.boundaries(world, SWEEPING_BEFORE_T2, story) == grid.boundaries(
        world, after_a_kill, story
    )


def test_a_hole_is_found(world, stage, monkeypatch):
    """Who settles without writing the key's answer leaves it open when the request dies."""
    monkeypatch.setattr(settlement, "answer_if_final", lambda *_, **__: None)

    def kill_everywhere():
        edges = grid.boundaries(world, PLACING, stories.PAID)
        for cell in grid.cells(PLACING, stories.PAID, edges):
            if cell.blow is Blow.KILLED_BEFORE:
                grid.run(world, stage, cell)

    with pytest.raises(BrokenError):
        kill_everywhere()
