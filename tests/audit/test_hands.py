"""A relay with several hands: real connections, receivers that stall, relays that die."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from django.db import connection
from django.db.models.functions import Now

from audit import outbox
from audit.models import Delivery, OutboxMessage, Receiver
from audit.outbox import deliveries, pump
from config.kernel.clock import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.concurrency,
    pytest.mark.usefixtures("nobody_listens", "hands"),
]

FACT = "parcel.sent"
HANDS = 12
LONG = 30.0


@pytest.fixture
def hands():
    """Threads that hold connections to the test's database end with the test."""
    yield
    pump.let_hands_go()
    gc.collect()  # Django's connections are parts of cycles


def make_messages(count: int, *, aggregates: int | None = None) -> None:
    OutboxMessage.objects.bulk_create(
        OutboxMessage(
            fact=FACT,
            aggregate_type="order",
            aggregate_id=1 + n % (aggregates or count),
            dedupe_key=f"p.{n}",
            payload={"n": n},
        )
        for n in range(count)
    )


def relay_aside(**options) -> threading.Thread:
    """A relay of its own, on a thread of its own."""

    def run() -> None:
        try:
            outbox.relay(threads=HANDS, **options)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def wait_until(condition: Callable[[], bool], *, seconds: float = LONG) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


class Told:
    """Counts what a subscriber was told, from any thread."""

    def __init__(self, name: str) -> None:
        self.counted: Counter[str] = Counter()
        self.order: list[int] = []
        self.lock = threading.Lock()
        outbox.subscribe(FACT, name, self.hear)

    def hear(self, message: OutboxMessage) -> None:
        with self.lock:
            self.counted[message.dedupe_key] += 1
            self.order.append(message.payload["n"])


def test_everything_is_told_once_and_by_many():
    told = Told("desk")
    threads: set[str] = set()
    both = threading.Barrier(2)

    def hear(message: OutboxMessage) -> None:
        if threading.current_thread().name not in threads:
            threads.add(threading.current_thread().name)
            if len(threads) <= 2:
                both.wait(timeout=LONG)
        told.hear(message)

    outbox.subscribe("other", "desk", hear)
    deliveries_of_other = 40
    make_messages(200)
    OutboxMessage.objects.filter(payload__n__lt=deliveries_of_other).update(fact="other")

    report = outbox.relay(threads=HANDS)

    assert report == outbox.RelayReport(fanned_out=200, delivered=200)
    assert set(told.counted.values()) == {1}
    assert len(threads) >= 2
    assert set(Delivery.objects.values_list("status", "attempts")) == {("delivered", 1)}


def test_facts_about_one_thing_keep_their_order():
    told = Told("desk")
    make_messages(300, aggregates=7)

    outbox.relay(threads=HANDS)

    for aggregate in range(7):
        mine = [n for n in told.order if n % 7 == aggregate]
        assert mine == sorted(mine)
    assert len(told.order) == 300


def test_receivers_that_stall_hold_up_nobody_else():
    """Not even three of them, nor what is stated meanwhile."""
    let_go = threading.Event()
    for number in range(3):
        outbox.subscribe(FACT, f"stalling{number}", lambda _, n=number: let_go.wait(LONG) and None)
    told = Told("desk")
    make_messages(100)
    aside = relay_aside()
    try:
        wait_until(lambda: len(told.counted) == 100, seconds=5)
        OutboxMessage.objects.create(
            fact=FACT,
            aggregate_type="order",
            aggregate_id=999,
            dedupe_key="meanwhile",
            payload={"n": 999},
        )
        wait_until(lambda: told.counted["meanwhile"] == 1, seconds=5)
        assert Delivery.objects.filter(subscriber="stalling0", status="delivered").count() == 0
    finally:
        let_go.set()
        aside.join(LONG)
    assert set(told.counted.values()) == {1}


def test_a_long_hand_over_is_held_on_to(monkeypatch):
    monkeypatch.setattr(deliveries, "LEASE", deliveries.LEASE / 8)
    monkeypatch.setattr(pump, "RENEWAL_SECONDS", 0.1)
    let_go = threading.Event()
    asked: list[str] = []

    def hear(message: OutboxMessage) -> None:
        asked.append(message.dedupe_key)
        let_go.wait(LONG)

    outbox.subscribe(FACT, "desk", hear)
    make_messages(1)
    aside = relay_aside()
    try:
        wait_until(lambda: len(asked) == 1)
        three_leases = Deadline(3 * deliveries.LEASE.total_seconds())
        while three_leases.remaining() > 0:
            assert outbox.relay() == outbox.RelayReport()
    finally:
        let_go.set()
        aside.join(LONG)

    assert asked == ["p.0"]
    assert Delivery.objects.get().status == "delivered"


def in_child(work: Callable[[], object]) -> int:
    """Run it in a child of this process; returns the signal that killed it, or 0."""
    child = os.fork()
    if child == 0:
        kept = connection.connection  # the parent's: neither to be used nor to be closed
        connection.connection = None
        try:
            work()
        finally:
            del kept
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
class TestAMessageThatKillsItsRelay:
    """Kill -9 in the middle of a hand-over, again and again."""

    def test_is_given_up_and_takes_no_other_with_it(self):
        reader, writer = os.pipe()

        def hear(message: OutboxMessage) -> None:
            if message.payload["n"] == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            os.write(writer, f"{message.payload['n']} ".encode())

        outbox.subscribe(FACT, "desk", hear)
        make_messages(20)
        killed = 0
        for _ in range(60):
            killed += in_child(lambda: outbox.relay(threads=HANDS)) == signal.SIGKILL
            Delivery.objects.filter(status="pending").update(next_attempt_at=Now(), last_error="")
            if not Delivery.objects.filter(status="pending").exists():
                break
        os.close(writer)
        with os.fdopen(reader) as told:
            counted = Counter(told.read().split())

        assert killed == pump.MAX_ATTEMPTS
        assert Delivery.objects.get(status="dead").message.payload["n"] == 3
        assert Delivery.objects.filter(status="delivered").count() == 19
        assert set(counted) == {str(n) for n in range(20) if n != 3}

    def test_is_free_again_soon_and_later_each_time(self):
        outbox.subscribe(FACT, "desk", lambda _: os.kill(os.getpid(), signal.SIGKILL))
        make_messages(1)
        waits = []
        for _ in range(4):
            assert in_child(outbox.relay) == signal.SIGKILL
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT extract(epoch FROM next_attempt_at - statement_timestamp())"
                    " FROM deliveries"
                )
                waits.append(float(cursor.fetchone()[0]))
            Delivery.objects.update(next_attempt_at=Now())

        for wait, expected in zip(waits, (4, 8, 16, 32), strict=True):
            assert expected - 2 < wait <= expected


def test_hands_survive_a_server_that_was_started_again():
    """Their connections are looked at before each hand-over, as a request's is."""
    outbox.subscribe("looks", "desk", lambda _: Receiver.objects.count() and None)
    make_messages(20)
    OutboxMessage.objects.update(fact="looks")
    outbox.relay(threads=HANDS)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    Delivery.objects.update(status="pending", delivered_at=None, attempts=0, next_attempt_at=Now())

    report = outbox.relay(threads=HANDS)

    assert (report.delivered, report.failed) == (20, 0)
