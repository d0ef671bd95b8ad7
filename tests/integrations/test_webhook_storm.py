"""Merchants' systems in trouble: counts equal afterwards, one id a message, nobody else delayed."""

from __future__ import annotations

import gc
import random
import threading
import time
from collections import Counter
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F

from audit import outbox
from audit.models import Delivery, OutboxMessage, Receiver
from audit.outbox import pump
from integrations.webhooks import delivery
from integrations.webhooks.models import WebhookAttempt
from tests.integrations.webhook_receiver import (
    MerchantsServer,
    answering,
    babbling,
    flooding,
    make_endpoint,
    stalling,
    wait_until,
)

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.concurrency,
    pytest.mark.usefixtures("hands"),
]

CONSENT = "customer.marketing_consent_changed"
HANDS = 12


@pytest.fixture
def hands():
    """Threads that hold connections to the test's database end with the test."""
    yield
    pump.let_hands_go()
    gc.collect()


@pytest.fixture
def second(loopback_allowed):
    server = MerchantsServer()
    yield server
    server.close()


def state(count, *, aggregates=None):
    OutboxMessage.objects.bulk_create(
        OutboxMessage(
            fact=CONSENT,
            aggregate_type="customer",
            aggregate_id=1 + n % (aggregates or count),
            dedupe_key=f"c.{n}",
            payload={"customer_id": 1 + n % (aggregates or count), "marketing_consent": True},
        )
        for n in range(count)
    )


def let_pass(seconds):
    span = timedelta(seconds=seconds)
    Delivery.objects.filter(status="pending").update(next_attempt_at=F("next_attempt_at") - span)
    for column in ("retry_at", "spent_until"):
        rows = Receiver.objects.filter(**{f"{column}__isnull": False})
        rows.update(**{column: F(column) - span})


def relay_until_told(*subscribers, rounds=60):
    """As beat does, with the waits between tries cut short."""
    waiting = Delivery.objects.filter(subscriber__in=subscribers, status="pending")
    for _ in range(rounds):
        outbox.relay(threads=HANDS)
        if not waiting.exists():
            return
        let_pass(4_000)
    raise AssertionError(f"{waiting.count()} still wait")


def test_after_a_storm_both_sides_count_the_same(merchant, second, monkeypatch):
    monkeypatch.setattr(delivery, "CALL_SECONDS", 0.5)
    chance = random.Random(7)  # noqa: S311 - the same storm each time
    faults = [
        answering(500, b"<b>oops</b>"),
        answering(503),
        answering(429),
        answering(302, Location=second.url),
        babbling,
        flooding,
        stalling(2),
    ]
    failing = Counter()

    def answer(request):
        """Of each message the first tries fail, some after they were taken."""
        failing[request.id] += 1
        if failing[request.id] <= 2 and chance.random() < 0.4:
            return chance.choice(faults)
        return answering(200, b"thanks")

    stormy, secret = make_endpoint(merchant, CONSENT)
    calm, _ = make_endpoint(second, CONSENT)
    merchant.answer = answer
    state(60)

    relay_until_told(stormy.subscriber, calm.subscriber)

    uuids = {str(uuid) for uuid in OutboxMessage.objects.values_list("uuid", flat=True)}
    delivered = Delivery.objects.filter(status="delivered", last_error="")
    assert delivered.filter(subscriber=stormy.subscriber).count() == 60
    assert delivered.filter(subscriber=calm.subscriber).count() == 60
    assert Counter(merchant.taken) == Counter(dict.fromkeys(uuids, 1))
    assert Counter(second.taken) == Counter(dict.fromkeys(uuids, 1))
    assert len(merchant.requests) > 60
    assert {request.id for request in merchant.requests} == uuids
    assert all(request.is_signed_with(secret) for request in merchant.requests)
    tries = WebhookAttempt.objects.filter(endpoint=stormy)
    assert tries.filter(outcome="delivered").count() == 60
    assert tries.count() == len(merchant.requests)


def test_an_answer_that_is_lost_makes_a_repetition_that_the_id_tells(merchant, monkeypatch):
    """It was taken, and nobody said so: the same id comes again, and the receiver knows it."""
    endpoint, _ = make_endpoint(merchant, CONSENT)
    seen = set()

    def answer(request):
        is_new = request.id not in seen
        seen.add(request.id)
        return babbling if is_new else answering(200)

    merchant.answer = answer
    state(10)

    relay_until_told(endpoint.subscriber)

    assert len(seen) == 10
    assert len(merchant.requests) == 20


def test_events_of_one_thing_come_in_order_whatever_fails(merchant):
    endpoint, _ = make_endpoint(merchant, CONSENT)
    chance = random.Random(3)  # noqa: S311 - likewise
    merchant.answer = lambda _: answering(500 if chance.random() < 0.3 else 204)
    state(48, aggregates=6)

    relay_until_told(endpoint.subscriber)

    number = dict(OutboxMessage.objects.values_list("uuid", "id"))
    order = {str(uuid): (pk, pk % 6) for uuid, pk in number.items()}
    taken = [order[one] for one in merchant.taken]
    assert len(taken) == 48
    for aggregate in range(6):
        mine = [pk for pk, group in taken if group == aggregate]
        assert mine == sorted(mine)


def test_an_endpoint_that_hangs_delays_no_other(merchant, second):
    """The first holds each hand-over as long as it may; the second is told at once."""
    make_endpoint(merchant, CONSENT)
    make_endpoint(second, CONSENT)
    merchant.answers(stalling(30))
    state(40)

    def run():
        try:
            outbox.relay(threads=HANDS)
        finally:
            connection.close()

    relay = threading.Thread(target=run)
    began = time.monotonic()
    relay.start()
    try:
        wait_until(lambda: len(second.taken) == 40, seconds=7)
        assert time.monotonic() - began < 7  # one call to the first takes eight
        assert merchant.taken == []
    finally:
        merchant.let_go.set()
        relay.join(timeout=60)
    assert not relay.is_alive()
