"""Interleavings in small numbers: the named races, some of everybody, and that a seed repeats.

Many more: `bin/bench schedules --count 5000 --seed S`.
"""

from __future__ import annotations

import pytest

from orders.models import Order
from orders.services import settlement
from tests.proof import schedules
from tests.proof.world import BrokenError

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.concurrency]

RACE_SEEDS = range(3)
SEEDS = range(90, 130)


@pytest.mark.parametrize("race", schedules.RACES, ids=lambda race: race.name)
def test_a_race_has_the_result_it_must_have(world, stage, race):
    for seed in RACE_SEEDS:
        schedules.play(world, stage, seed=seed, cast=race)
    world.check_books()


def test_anybody_in_any_order(world, stage):
    for seed in SEEDS:
        schedules.play(world, stage, seed=seed, cast=schedules.ANYBODY)
    world.check_books()


def test_a_seed_runs_the_same_again(world, stage):
    first = schedules.play(world, stage, seed=7, cast=schedules.ANYBODY)
    again = schedules.play(world, stage, seed=7, cast=schedules.ANYBODY)

    assert first.trace == again.trace
    assert len(first.trace) > 20


def test_a_hole_is_found(world, stage, monkeypatch):
    """Settling what was read before the locks lets a cancelled order be confirmed, or the like."""

    def settle_anything(locked, *_args, **_kwargs):
        Order.objects.filter(pk=locked.order.pk, status="pending").update(status="confirmed")

    monkeypatch.setattr(settlement, "settle_locked", settle_anything)

    def play_some():
        for seed in range(20):
            schedules.play(world, stage, seed=seed, cast=schedules.ANYBODY)

    with pytest.raises(BrokenError, match="seed"):
        play_some()
