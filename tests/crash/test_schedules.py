"""Interleavings in small numbers: the named races, some of everybody, and that a seed repeats.

Many more: `bin/bench schedules --count 5000 --seed S`.
"""

from __future__ import annotations

import functools

import pytest
from django.db import OperationalError, connection, transaction

from orders.models import Order
from orders.services import settlement
from tests.proof import actors, schedules
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


def test_who_is_not_on_stage_is_waited_for(stage, monkeypatch):
    """Autovacuum may be in a migration's way: it ends by itself, and nobody is stuck."""

    def migrate():
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")

    outsider = connection.get_new_connection(connection.get_connection_params())
    with outsider.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE orders IN SHARE UPDATE EXCLUSIVE MODE")
    its_pid = outsider.info.backend_pid
    really = actors._blocking_pids
    looks = 0

    def ends_after_five_looks(backend_pid):
        nonlocal looks
        found = really(backend_pid)
        looks += its_pid in found
        if looks == 5:
            outsider.cursor().execute("ROLLBACK")
        return found

    monkeypatch.setattr(actors, "_blocking_pids", ends_after_five_looks)
    migration = actors.Actor("migration", migrate)
    director = actors.Director(stage, [migration])

    try:
        while not director.is_over:
            assert director.ready() == [migration]
            director.step(migration)
    finally:
        outsider.close()

    assert migration.error is None
    assert looks >= 5


def direct(stage, steps, **statements):
    """Actors who send their statements in a transaction each, in this order of steps."""

    def send(all_of_them):
        with transaction.atomic(), connection.cursor() as cursor:
            for statement in all_of_them:
                cursor.execute(statement)

    cast = {
        name: actors.Actor(name, functools.partial(send, its)) for name, its in statements.items()
    }
    director = actors.Director(stage, list(cast.values()))
    for name in [*statements, *steps]:
        director.step(cast[name])
    assert director.ready() == []
    while not director.is_over:
        if not director.ready():
            director.wait_for_blocked()
        for one in director.ready():
            director.step(one)
    return director


FIRST, SECOND = "SELECT pg_advisory_xact_lock(1)", "SELECT pg_advisory_xact_lock(2)"
WRITES = "LOCK TABLE orders IN ROW EXCLUSIVE MODE"
ADDS_INDEX = "LOCK TABLE orders IN SHARE MODE"


def test_who_had_to_be_ended_is_found(stage):
    director = direct(stage, "abab", a=[FIRST, SECOND], b=[SECOND, FIRST])

    assert director.circles
    assert director.has_met_deadlock
    assert [type(one.error) for one in director.actors].count(OperationalError) == 1


def test_a_queue_that_postgres_puts_in_another_order_ends_nobody(stage):
    """As seed 2026681 did: b waits behind an index, which waits for a, who waits for b."""
    director = direct(stage, "baiba", a=[WRITES, FIRST], b=[FIRST, WRITES], i=[ADDS_INDEX])

    assert director.circles
    assert not director.has_met_deadlock
    assert [one.error for one in director.actors] == [None] * 3


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
