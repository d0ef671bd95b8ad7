"""The chaos run's judge finds what is wrong, and says nothing where all is right."""

from __future__ import annotations

import dataclasses
import random

import pytest

from benchmarks.chaos_judge import (
    IntentRow,
    OrderRow,
    judge,
    percentile,
    recovery_seconds,
    success,
)
from benchmarks.chaos_shop import BLOWS, FAULTS, Blow
from benchmarks.chaos_shoppers import Heard, Wish

ORDER = OrderRow(
    number="AAAA",
    public_id="o-1",
    email="chaos-0-0@example.com",
    status="confirmed",
    payment_status="succeeded",
    received=10.0,
    refunded=0.0,
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
    wishes = [wish(settled_in_time=n < 9) for n in range(10)]
    good, of, low, high = success(wishes)
    # Wilson's interval of 9 out of 10, as textbooks have it.
    assert (good, of, round(low, 3), round(high, 3)) == (9, 10, 0.596, 0.982)


def test_recovery_is_counted_from_the_blow_to_the_next_order():
    blows = [Blow(at=2.0, kind="database killed"), Blow(at=3.0, kind="beat killed")]
    wishes = [wish(again(CREATED, at=101.0)), wish(again(CREATED, at=104.5))]
    assert recovery_seconds(blows, wishes, kind="database killed", began=100.0) == [2.5]


def test_a_percentile_is_a_value_that_was_seen():
    values = list(range(1, 101))
    random.Random(1).shuffle(values)  # noqa: S311
    assert (percentile(values, 0.95), percentile(values, 1.0), percentile([], 0.5)) == (95, 100, 0)


def test_every_part_of_the_shop_is_hit_and_every_kind_of_answer_spoiled():
    parts = " ".join(kind for kind, _, _ in BLOWS)
    for part in ("web", "worker", "beat", "database", "cache", "payment server"):
        assert part in parts
    kinds = {fault["kind"] for fault in FAULTS}
    assert {"drop", "answer_lost", "error_before", "error_after", "malformed", "drip"} <= kinds
