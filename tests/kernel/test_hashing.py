"""Passwords are hashed one at a time, behind a short queue, at the cost that was chosen."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.hashers import check_password, identify_hasher, make_password

from customers.errors import TooManyLogInsError
from customers.hashers import NICENESS, Workshop

ARGON2ID = "customers.hashers.Argon2idHasher"


@pytest.fixture
def workshop():
    return Workshop(places=3)


class TestWorkshop:
    def test_gives_back_what_the_work_does(self, workshop):
        assert workshop.do(lambda: 42) == 42
        with pytest.raises(ZeroDivisionError):
            workshop.do(lambda: 1 // 0)
        assert workshop.do(lambda: 43) == 43

    def test_does_one_thing_at_a_time(self, workshop):
        at_work = threading.Semaphore(1)

        def work():
            assert at_work.acquire(blocking=False), "two at once"
            time.sleep(0.02)
            at_work.release()
            return True

        with ThreadPoolExecutor(3) as pool:
            assert list(pool.map(lambda _: workshop.do(work), range(9))) == [True] * 9

    def test_leaves_the_processor_for_as_long_as_it_took(self, workshop):
        def work():
            began = time.thread_time()
            while time.thread_time() - began < 0.05:
                pass
            return time.monotonic()

        ended = workshop.do(work)

        assert workshop.do(time.monotonic) - ended >= 0.05

    def test_turns_away_at_once_whom_it_has_no_place_for(self, workshop):
        done = threading.Event()
        busy = threading.Barrier(4)

        def occupy():
            threading.Thread(target=lambda: busy.wait(timeout=30)).start()
            return workshop.do(lambda: done.wait(timeout=30))

        with ThreadPoolExecutor(3) as pool:
            waiting = [pool.submit(occupy) for _ in range(3)]
            busy.wait(timeout=30)
            deadline = time.monotonic() + 30
            while workshop._places._value and time.monotonic() < deadline:
                time.sleep(0.001)
            started = time.monotonic()
            with pytest.raises(TooManyLogInsError):
                workshop.do(lambda: None)
            elapsed = time.monotonic() - started
            done.set()

        assert elapsed < 1.0
        assert [each.result() for each in waiting] == [True] * 3
        assert workshop.do(lambda: "free again") == "free again"

    def test_gives_up_on_what_takes_too_long(self):
        workshop = Workshop(places=2, wait_seconds=0.05)
        done = threading.Event()

        with pytest.raises(TooManyLogInsError):
            workshop.do(lambda: done.wait(timeout=30))

        done.set()
        assert workshop.do(lambda: True)

    @pytest.mark.skipif(not hasattr(os, "getpriority"), reason="no priorities here")
    def test_lets_everything_else_go_first(self, workshop):
        here = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

        there = workshop.do(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

        assert there == max(here, NICENESS)
        assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == here

    def test_works_in_a_forked_process(self, workshop):
        workshop.do(lambda: None)  # its thread runs here, and will not run there
        child = os.fork()
        if child == 0:
            os._exit(0 if workshop.do(lambda: 42) == 42 else 1)

        _, status = os.waitpid(child, 0)

        assert os.waitstatus_to_exitcode(status) == 0


class TestArgon2id:
    @pytest.fixture(autouse=True)
    def _as_in_production(self, settings):
        settings.PASSWORD_HASHERS = [ARGON2ID]

    def test_has_the_recommended_cost(self):
        encoded = make_password("correct horse")

        assert encoded.startswith("argon2$argon2id$v=19$m=19456,t=2,p=1$")

    def test_tells_right_from_wrong(self):
        encoded = make_password("correct horse")

        assert check_password("correct horse", encoded)
        assert not check_password("wrong horse", encoded)
        assert identify_hasher(encoded).must_update(encoded) is False

    def test_takes_every_byte_of_a_long_password(self):
        encoded = make_password("x" * 1_024)

        assert check_password("x" * 1_024, encoded)
        assert not check_password("x" * 1_023 + "y", encoded)
