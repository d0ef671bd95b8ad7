"""The nudge after a commit: what it costs, and that a broker's state never shows in an order."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest
from celery import Celery
from django.db import transaction

from audit import outbox
from audit import services as audit
from audit.models import OutboxMessage
from audit.nudger import NUDGES_LOST, Nudger


def wait_until(condition, *, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


@pytest.fixture
def nudge_with():
    yield outbox.set_nudge
    outbox.set_nudge(None)


def publish():
    audit.publish("x.done", aggregate_type="x", aggregate_id=1, dedupe_key="x.1", payload={})


class TestNudger:
    def test_many_rings_melt_into_few_sends(self):
        sent = []
        nudger = Nudger(lambda: sent.append(1), gap_seconds=0.05)

        for _ in range(1000):
            nudger.ring()

        wait_until(lambda: sent)
        assert len(sent) <= 3

    def test_a_ring_during_a_send_is_not_lost(self):
        sending, go_on = threading.Event(), threading.Event()
        sent = []

        def send():
            sending.set()
            assert go_on.wait(10)
            sent.append(1)

        nudger = Nudger(send, gap_seconds=0)
        nudger.ring()
        assert sending.wait(10)

        nudger.ring()
        go_on.set()

        wait_until(lambda: len(sent) == 2)

    def test_counts_a_lost_nudge_and_goes_on(self):
        outcomes = [ConnectionRefusedError(), None]
        sent = []

        def send():
            if (error := outcomes.pop(0)) is not None:
                raise error
            sent.append(1)

        before = NUDGES_LOST._value.get()
        nudger = Nudger(send, gap_seconds=0)

        nudger.ring()
        wait_until(lambda: NUDGES_LOST._value.get() == before + 1)
        nudger.ring()

        wait_until(lambda: sent)

    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_rings_in_a_forked_process_too(self):
        reader, writer = os.pipe()
        nudger = Nudger(lambda: os.write(writer, str(os.getpid()).encode()), gap_seconds=0)
        nudger.ring()
        assert os.read(reader, 20) == str(os.getpid()).encode()

        child = os.fork()
        if child == 0:
            nudger.ring()
            time.sleep(10)  # the parent ends this
            os._exit(0)
        try:
            assert os.read(reader, 20) == str(child).encode()
        finally:
            os.kill(child, 9)
            os.waitpid(child, 0)


@pytest.mark.django_db(transaction=True)
class TestNudgeOnCommit:
    def test_rings_after_the_commit_only(self, nudge_with):
        seen = []

        def send():
            seen.append(OutboxMessage.objects.exists())
            transaction.get_connection().close()

        nudge_with(send)

        with transaction.atomic():
            publish()
            transaction.set_rollback(True)
        with transaction.atomic():
            publish()
            assert seen == []

        wait_until(lambda: seen)
        assert seen == [True]

    @pytest.mark.parametrize("broker", ["refusing", "silent"])
    def test_costs_the_order_nothing_while_the_broker_is_away(self, nudge_with, broker):
        """Rows 27 and 29 of the fault matrix: the broker is down, or swallows everything."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1] if broker == "silent" else 1
            asked = threading.Event()
            away = Celery(broker=f"redis://127.0.0.1:{port}/0", set_as_current=False)
            away.conf.broker_transport_options = {"socket_timeout": 0.5}

            def send():
                asked.set()
                away.send_task("audit.tasks.relay", retry=False)

            nudge_with(send)

            started_at = time.perf_counter()
            with transaction.atomic():
                publish()
            seconds = time.perf_counter() - started_at

            assert asked.wait(10)
        assert OutboxMessage.objects.count() == 1
        assert seconds < 0.5  # a broker waited for would cost seconds
