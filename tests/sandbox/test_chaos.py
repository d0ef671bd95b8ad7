"""The chaos run's judge finds what is wrong, and says nothing where all is right."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import socket
import threading
import time

import pytest

from benchmarks.chaos import GOAL_MISSED, exit_code
from benchmarks.chaos_figures import (
    at_most,
    doubts,
    percentile,
    recovery_seconds,
    success,
    unlucky,
)
from benchmarks.chaos_judge import IntentRow, OrderRow, judge
from benchmarks.chaos_shoppers import (
    LATER_BY_UP_TO,
    PATIENCE_SECONDS,
    RETRIES_AFTER,
    STORIES,
    WAITS_FOR_SOMEBODY,
    Heard,
    Wish,
)
from benchmarks.chaos_storm import (
    BLOWS,
    COMES_BACK_SECONDS,
    FAULTS,
    LEASE_SECONDS,
    TAKES_DOWN,
    Blow,
    Plan,
)
from benchmarks.chaos_wire import Wire

ORDER = OrderRow(
    number="AAAA",
    public_id="o-1",
    email="chaos-0-0@example.com",
    status="confirmed",
    payment_status="succeeded",
    received=10.0,
    refunded=0.0,
    created_at=1_000.0,
    decided_at=1_000.1,
)
INTENT = IntentRow(id="pi_1", order_id="o-1", status="succeeded", received=1000, refunded=0)
CREATED = Heard(at=1.0, key="k", status=201, order_number="AAAA", digest="same")
DECLINED = Heard(
    at=1.0, key="k", status=402, code="CARD_DECLINED", order_number="AAAA", digest="no"
)


def wish(*heard, **changes):
    made = Wish(
        key="k", body=b"{}", story="paid", act="", email="chaos-0-0@example.com", heard=list(heard)
    )
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def order(**changes):
    return dataclasses.replace(ORDER, **changes)


def intent(**changes):
    return dataclasses.replace(INTENT, **changes)


def again(heard, **changes):
    return dataclasses.replace(heard, **changes)


LOST = again(CREATED, status=0, order_number="", digest="")
PENDING = again(CREATED, status=202, digest="pending")


@pytest.mark.parametrize(
    ("wishes", "orders", "intents"),
    [
        ([wish(CREATED)], [ORDER], [INTENT]),
        ([wish(LOST, PENDING, CREATED, CREATED)], [ORDER], [INTENT]),
        (
            [wish(DECLINED)],
            [order(status="cancelled", received=0.0)],
            [intent(status="canceled", received=0)],
        ),
        ([wish(CREATED)], [order(status="cancelled", refunded=10.0)], [intent(refunded=1000)]),
        (
            [wish(again(CREATED, status=409, code="INSUFFICIENT_INVENTORY", order_number=""))],
            [],
            [],
        ),
    ],
)
def test_all_is_right(wishes, orders, intents):
    assert judge(wishes, orders, intents) == []


@pytest.mark.parametrize(
    ("wishes", "orders", "intents", "problem"),
    [
        ([wish(LOST, PENDING)], [ORDER], [INTENT], "never came to a definite answer"),
        ([wish(CREATED, DECLINED)], [ORDER], [INTENT], "heard different last answers"),
        ([wish(CREATED, again(CREATED, digest="x"))], [ORDER], [INTENT], "different last answers"),
        ([wish(CREATED)], [], [], "which is not there"),
        (
            [wish(PENDING, again(CREATED, order_number="BBBB"))],
            [ORDER, order(number="BBBB", public_id="o-2", email="x")],
            [INTENT, intent(id="pi_2", order_id="o-2")],
            "told of several orders",
        ),
        ([wish(CREATED)], [order(received=0.0)], [INTENT], "has no money"),
        ([wish(DECLINED)], [ORDER], [INTENT], "keeps money"),
        (
            [wish(CREATED)],
            [ORDER, order(number="BBBB", public_id="o-2")],
            [INTENT, intent(id="pi_2", order_id="o-2")],
            "made 2 orders",
        ),
        ([wish(CREATED)], [ORDER], [INTENT, intent(id="pi_2")], "was charged 2 times"),
        ([wish(CREATED)], [ORDER], [], "the provider has no money for it"),
        (
            [wish(CREATED)],
            [order(status="cancelled", refunded=10.0)],
            [intent(refunded=999)],
            "was not given back",
        ),
        ([], [], [INTENT], "charged for an order that is not there"),
        ([wish(PENDING, CREATED)], [order(status="pending")], [INTENT], "is still pending"),
    ],
)
def test_what_is_wrong_is_found(wishes, orders, intents, problem):
    assert any(problem in found for found in judge(wishes, orders, intents))


@pytest.mark.parametrize(
    ("status", "code", "definite"),
    [
        (201, "", True),
        (402, "CARD_DECLINED", True),
        (409, "INSUFFICIENT_INVENTORY", True),
        (409, "ORDER_IN_PROGRESS", False),
        (202, "", False),
        (0, "ReadError", False),
        (503, "SERVICE_UNAVAILABLE", False),
        (500, "INTERNAL_ERROR", False),
        (429, "RATE_LIMIT_EXCEEDED", False),
    ],
)
def test_only_a_last_word_is_definite(status, code, definite):
    assert Heard(at=0, key="k", status=status, code=code).is_definite == definite


def test_the_share_of_success_has_wilsons_interval():
    wishes = [wish(taken_after=1.0 if n < 9 else None) for n in range(10)]
    good, of, low, high = success(wishes)
    # Wilson's interval of 9 out of 10, as textbooks have it.
    assert (good, of, round(low, 3), round(high, 3)) == (9, 10, 0.596, 0.982)


@pytest.mark.parametrize(("taken_after", "in_time"), [(30.0, True), (30.1, False), (None, False)])
def test_an_answer_after_thirty_seconds_is_too_late(taken_after, in_time):
    assert wish(taken_after=taken_after).settled_in_time == in_time


def test_two_retries_come_after_the_lease_of_a_request_that_died_at_once():
    after_lease = [due for due in RETRIES_AFTER if due > LEASE_SECONDS]
    assert len(RETRIES_AFTER) == 5
    assert len(after_lease) == 2
    assert max(after_lease) * (1 + LATER_BY_UP_TO) < PATIENCE_SECONDS


def test_recovery_is_counted_from_the_blow_to_the_next_order_that_was_sent_after_it():
    blows = [Blow(at=2.0, kind="database killed"), Blow(at=3.0, kind="beat killed")]
    wishes = [
        wish(again(CREATED, asked_at=101.9, at=102.1)),  # on its way when the blow fell
        wish(again(CREATED, asked_at=104.0, at=104.5)),
    ]
    assert recovery_seconds(blows, wishes, kind="database killed", began=100.0) == [2.5]


@pytest.mark.parametrize(
    ("heard", "changes", "seconds"),
    [
        (CREATED, {}, []),  # no doubt
        (LOST, {}, [60.0]),
        (PENDING, {}, [60.0]),
        (PENDING, {"story": "bank debit"}, []),  # it waits for its bank
        (PENDING, {"story": "bank debit", "acted_at": 1_050.0}, [10.0]),
        (DECLINED, {"story": "3-D Secure done", "acted_at": 1_050.0}, [10.0]),
    ],
)
def test_doubt_lasts_until_the_order_is_decided(heard, changes, seconds):
    found = doubts([wish(heard, **changes)], [order(decided_at=1_060.0)])
    assert [lasted for lasted, _ in found] == seconds


def test_what_waits_for_somebody_is_what_no_card_is_charged_for_at_once():
    at_once = {story for story, *_ in STORIES} - WAITS_FOR_SOMEBODY
    assert {"paid", "declined", "no such method", "cancelled after paying"} <= at_once
    assert {"3-D Secure abandoned", "bank debit failed", "PayPal"} <= WAITS_FOR_SOMEBODY


def test_a_wish_that_was_not_settled_in_time_is_told_with_the_blows_around_it():
    wishes = [
        wish(CREATED, began=100.0, taken_after=0.1),
        wish(again(LOST, asked_at=100.0, at=100.5, code="ReadError"), began=100.0),
    ]
    blows = [Blow(at=0.4, kind="web process killed"), Blow(at=90.0, kind="beat killed")]
    (told,) = unlucky(wishes, blows, began=100.0)
    assert told["tries"] == ["+0.0 s: 0 ReadError after 0.5 s"]
    assert told["blows"] == ["+0.4 s: web process killed"]


def test_a_percentile_is_a_value_that_was_seen():
    values = list(range(1, 101))
    random.Random(1).shuffle(values)  # noqa: S311
    assert (percentile(values, 0.95), percentile(values, 1.0), percentile([], 0.5)) == (95, 100, 0)


@pytest.mark.parametrize(
    ("problems", "seconds", "code"), [([], 4.9, 0), ([], 5.0, GOAL_MISSED), (["lost"], 4.9, 1)]
)
def test_the_exit_code_tells_a_missed_goal_from_a_broken_promise(problems, seconds, code):
    goals = [dataclasses.asdict(at_most("back", seconds, 5.0))]
    assert exit_code({"problems": problems, "goals": goals}) == code


def planned(seed):
    """When what falls in five minutes, as a seed has it."""
    plan, chance = Plan(random.Random(seed)), random.Random(seed)  # noqa: S311
    now = 0.0
    fallen = []
    while now < 300.0:
        pause = chance.uniform(0.7, 4.0)
        now += pause
        fallen.append((now, plan.choose(chance, after=pause)))
    return fallen


def test_a_seed_repeats_its_plan_and_every_kind_of_blow_is_in_it():
    fallen = planned(7)
    assert fallen == planned(7) != planned(8)
    assert {kind for _, kind in fallen} == {kind for kind, _, _ in BLOWS}


def test_a_part_that_was_taken_down_may_come_back_before_it_is_taken_down_again():
    down_since = {}
    for at, kind in planned(7):
        if part := TAKES_DOWN.get(kind):
            assert at - down_since.get(part, -COMES_BACK_SECONDS) >= COMES_BACK_SECONDS
            down_since[part] = at
    assert len(down_since) == 5


def test_every_part_of_the_shop_is_hit_and_every_kind_of_answer_spoiled():
    parts = " ".join(kind for kind, _, _ in BLOWS)
    for part in ("web", "worker", "beat", "database", "cache", "payment server", "COMMIT"):
        assert part in parts
    for blow in ("killed", "frozen", "reset", "silent", "stopped past its lease", "reloaded"):
        assert blow in parts
    assert set(TAKES_DOWN) <= {kind for kind, _, _ in BLOWS}
    kinds = {fault["kind"] for fault in FAULTS}
    assert {"drop", "answer_lost", "error_before", "error_after", "malformed", "drip"} <= kinds
    assert {f"webhook_{what}" for what in ("drop", "duplicate", "delay", "reorder")} <= kinds


# --- the wire -----------------------------------------------------------------------------------

QUICKLY = 5.0


@pytest.fixture
def heard_by_server():
    """A server that says what it hears back to its client, and keeps it."""
    heard = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection):
        with connection, contextlib.suppress(OSError):
            while piece := connection.recv(1024):
                heard.append(piece)
                connection.sendall(piece)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1], heard
    listener.close()


@pytest.fixture
def wire(heard_by_server):
    port, _ = heard_by_server
    return Wire(to_port=port)


@pytest.fixture
def client(wire):
    with socket.create_connection(("127.0.0.1", wire.port), timeout=QUICKLY) as connection:
        assert said(connection, b"BEGIN") == b"BEGIN"
        yield connection


def said(connection, what):
    connection.sendall(what)
    return connection.recv(1024)


def test_a_wire_that_is_cut_resets_its_connections_and_takes_new_ones(wire, client):
    wire.cut()
    with pytest.raises(ConnectionResetError):
        client.recv(1024)
    with socket.create_connection(("127.0.0.1", wire.port), timeout=QUICKLY) as another:
        assert said(another, b"hello") == b"hello"


def test_a_silent_wire_passes_everything_on_once_it_is_healed(wire, client):
    wire.silence()
    client.sendall(b"anybody there?")
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv(1024)
    wire.heal()
    client.settimeout(QUICKLY)
    assert client.recv(1024) == b"anybody there?"


def test_a_slow_wire_takes_its_time_both_ways(wire, client):
    wire.slow(0.1)
    began = time.monotonic()
    assert said(client, b"hello") == b"hello"
    assert time.monotonic() - began >= 0.2


def test_a_commit_arrives_and_its_answer_does_not(wire, client, heard_by_server):
    _, heard = heard_by_server
    wire.swallow_commits(1)
    assert said(client, b"SELECT 1") == b"SELECT 1"
    assert said(client, b"COMMIT") == b""  # closed
    deadline = time.monotonic() + QUICKLY
    while b"COMMIT" not in heard and time.monotonic() < deadline:
        time.sleep(0.01)
    assert b"COMMIT" in heard
    with socket.create_connection(("127.0.0.1", wire.port), timeout=QUICKLY) as another:
        assert said(another, b"COMMIT") == b"COMMIT"


def test_a_wire_to_a_dead_server_refuses():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and never listens: nobody else can have the port either
        dead = Wire(to_port=nobody.getsockname()[1])
        with (
            contextlib.suppress(ConnectionResetError),  # as early as while it is still connecting
            socket.create_connection(("127.0.0.1", dead.port), timeout=QUICKLY) as connection,
        ):
            assert connection.recv(1024) == b""
