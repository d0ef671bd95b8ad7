"""The breaker's memory, with its clock in our hands and a TCP port that opens and closes."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from payments import breaker as module
from payments.breaker import FAILURES_TO_OPEN, FRESH_SECONDS, OPEN_SECONDS, Breaker


class Clock:
    """What `time.monotonic` says; it stands still unless told otherwise."""

    def __init__(self):
        self.now = 1_000.0

    def monotonic(self):
        return self.now

    def pass_by(self, seconds):
        self.now += seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def probes(monkeypatch):
    """Every TCP connection that was tried; `probes.refuse = True`: the port is closed."""

    class Probes(list):
        refuse = False

    tried = Probes()

    def connect(address, timeout):
        tried.append((address, timeout))
        if tried.refuse:
            raise ConnectionRefusedError
        return socket.socket()

    monkeypatch.setattr(module.socket, "create_connection", connect)
    return tried


@pytest.fixture
def breaker():
    return Breaker(address="http://127.0.0.1:12111")


def fail(breaker, times):
    for _ in range(times):
        breaker.note_failure()


class TestClosed:
    def test_while_answers_are_fresh_and_without_a_probe(self, breaker, probes, clock):
        breaker.note_answer()
        clock.pass_by(FRESH_SECONDS - 0.1)

        assert not breaker.is_open()
        assert probes == []

    def test_probes_where_nothing_was_ever_heard(self, breaker, probes):
        assert not breaker.is_open()
        assert probes == [(("127.0.0.1", 12111), module.PROBE_SECONDS)]

    def test_probes_again_once_the_last_answer_is_stale(self, breaker, probes, clock):
        breaker.note_answer()
        clock.pass_by(FRESH_SECONDS)

        assert not breaker.is_open()
        assert len(probes) == 1

    def test_stays_closed_after_fewer_failures_than_it_takes(self, breaker, probes):
        fail(breaker, FAILURES_TO_OPEN - 1)

        assert not breaker.is_open()
        assert len(probes) == 1

    def test_forgets_failures_that_an_answer_interrupts(self, breaker, probes):
        fail(breaker, FAILURES_TO_OPEN - 1)
        breaker.note_answer()
        fail(breaker, FAILURES_TO_OPEN - 1)

        assert not breaker.is_open()

    @pytest.mark.parametrize(
        ("address", "host_and_port"),
        [
            ("https://api.stripe.com", ("api.stripe.com", 443)),
            ("http://provider.test", ("provider.test", 80)),
            ("http://[::1]:5000/path", ("::1", 5000)),
        ],
    )
    def test_probes_the_port_that_the_address_means(self, probes, address, host_and_port):
        Breaker(address=address).is_open()

        assert probes[0][0] == host_and_port


class TestOpen:
    def test_after_three_failures_without_even_a_probe(self, breaker, probes):
        fail(breaker, FAILURES_TO_OPEN)

        assert breaker.is_open()
        assert breaker.is_open()
        assert probes == []

    def test_at_once_for_an_order_whose_probe_fails(self, breaker, probes):
        probes.refuse = True

        assert breaker.is_open()
        assert len(probes) == 1

    def test_after_as_many_probes_as_open_it_spares_the_next(self, breaker, probes):
        probes.refuse = True

        tries = FAILURES_TO_OPEN + 1
        assert [breaker.is_open() for _ in range(tries)] == [True] * tries
        assert len(probes) == FAILURES_TO_OPEN

    def test_a_name_that_resolves_to_nothing_is_away_too(self, breaker, monkeypatch):
        def unknown_name(*_args, **_kwargs):
            raise socket.gaierror

        monkeypatch.setattr(module.socket, "create_connection", unknown_name)

        assert breaker.is_open()


class TestHalfOpen:
    def test_lets_one_order_in_five_seconds_try_its_luck(self, breaker, probes, clock):
        fail(breaker, FAILURES_TO_OPEN)
        clock.pass_by(OPEN_SECONDS)

        tried = [breaker.is_open() for _ in range(3)]
        clock.pass_by(OPEN_SECONDS)
        later = [breaker.is_open() for _ in range(3)]

        assert tried == later == [False, True, True]

    def test_closes_with_the_first_answer(self, breaker, probes, clock):
        fail(breaker, FAILURES_TO_OPEN)
        clock.pass_by(OPEN_SECONDS)
        assert not breaker.is_open()

        breaker.note_answer()

        assert [breaker.is_open() for _ in range(3)] == [False] * 3

    def test_stays_open_for_another_while_when_the_trial_fails(self, breaker, probes, clock):
        fail(breaker, FAILURES_TO_OPEN)
        clock.pass_by(OPEN_SECONDS)
        assert not breaker.is_open()

        breaker.note_failure()
        clock.pass_by(OPEN_SECONDS - 0.1)

        assert breaker.is_open()

    def test_does_not_let_an_order_in_whose_probe_fails(self, breaker, probes, clock):
        fail(breaker, FAILURES_TO_OPEN)
        clock.pass_by(OPEN_SECONDS)
        probes.refuse = True

        assert breaker.is_open()
        assert breaker.is_open()
        assert len(probes) == 1


class TestManyThreads:
    def test_one_of_them_is_the_trial(self, breaker, probes, clock):
        fail(breaker, FAILURES_TO_OPEN)
        clock.pass_by(OPEN_SECONDS)
        barrier = threading.Barrier(16)

        def ask(_number):
            barrier.wait(timeout=10)
            return breaker.is_open()

        with ThreadPoolExecutor(max_workers=16) as pool:
            answers = list(pool.map(ask, range(16)))

        assert sorted(answers) == [False] + [True] * 15

    def test_lose_no_failure(self, breaker, probes):
        barrier = threading.Barrier(8)

        def note(_number):
            barrier.wait(timeout=10)
            fail(breaker, 500)

        with ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(note, range(8)))

        assert breaker._failures == 8 * 500

    def test_are_not_held_up_by_a_probe_that_hangs(self, breaker, clock, monkeypatch):
        probing, give_up = threading.Event(), threading.Event()

        def hang(*_args, **_kwargs):
            probing.set()
            give_up.wait(timeout=10)
            raise TimeoutError

        monkeypatch.setattr(module.socket, "create_connection", hang)
        with ThreadPoolExecutor(max_workers=1) as pool:
            first = pool.submit(breaker.is_open)
            assert probing.wait(timeout=10)

            breaker.note_answer()
            is_open_meanwhile = breaker.is_open()
            give_up.set()

        assert not is_open_meanwhile
        assert first.result()
