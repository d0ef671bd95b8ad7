"""Faults of the sinks: what the caller sees, what the receiver has, and how often."""

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.sandbox.sink_calls import call, event, post


def kept(sinks) -> int:
    return sinks.received("crm").kept


class TestStatus:
    def test_comes_in_place_of_the_receiver(self, sinks):
        sinks.fail("crm", "status", status=503, retry_after=7, times=2)

        answers = [post(sinks, "crm", event()) for _ in range(3)]

        assert [answer.status_code for answer in answers] == [503, 503, 200]
        assert answers[0].headers["Retry-After"] == "7"
        received = sinks.received("crm")
        assert (received.calls, received.kept, received.spoiled, received.refused) == (3, 1, 2, 0)
        assert [one["fault"] for one in sinks.journal()] == ["status", "status", None]
        assert [one["status"] for one in sinks.journal()] == [503, 503, 200]

    def test_comes_after_the_receiver_has_taken_it(self, sinks):
        told = event()
        sinks.fail("crm", "status", status=500, applied=True)

        assert post(sinks, "crm", told).status_code == 500
        assert kept(sinks) == 1
        assert post(sinks, "crm", told).json()["status"] == "duplicate"
        assert kept(sinks) == 1

    def test_says_what_the_test_wants_said(self, sinks):
        sinks.fail("crm", "status", status=429, body={"category": "RATE_LIMITS"})

        answer = post(sinks, "crm", event())

        assert answer.json() == {"category": "RATE_LIMITS"}


class TestConnection:
    @pytest.mark.parametrize("reset", [False, True])
    def test_dropped_before_leaves_nothing(self, sinks, reset):
        sinks.fail("crm", "drop", reset=reset)

        with pytest.raises(httpx.TransportError):
            post(sinks, "crm", event())

        assert kept(sinks) == 0
        assert sinks.journal()[0]["status"] is None

    @pytest.mark.parametrize("reset", [False, True])
    def test_dropped_after_leaves_what_was_told(self, sinks, reset):
        sinks.fail("crm", "answer_lost", reset=reset)

        with pytest.raises(httpx.TransportError):
            post(sinks, "crm", event())

        assert kept(sinks) == 1
        assert sinks.journal()[0]["status"] is None

    @pytest.mark.parametrize(("applied", "expected"), [(True, 1), (False, 0)])
    def test_hangs(self, sinks, applied, expected):
        sinks.fail("crm", "hang", seconds=30, applied=applied)

        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                f"{sinks.url}/crm/events",
                json=(told := event()),
                headers={"Authorization": f"Bearer {sinks.token}", "Idempotency-Key": told["id"]},
                timeout=0.3,
                trust_env=False,
            )

        assert kept(sinks) == expected
        assert post(sinks, "crm", event()).status_code == 200  # nobody else waits

    def test_is_slow(self, sinks):
        sinks.fail("crm", "latency", seconds=0.3)
        began = time.monotonic()

        assert post(sinks, "crm", event()).status_code == 200
        assert time.monotonic() - began >= 0.3
        assert kept(sinks) == 1

    def test_drips(self, sinks):
        sinks.fail("crm", "drip", seconds=0.005)
        began = time.monotonic()

        assert post(sinks, "crm", event()).json()["status"] == "accepted"
        assert time.monotonic() - began >= 0.2

    def test_slow_and_then_lost(self, sinks):
        sinks.fail("crm", "latency", seconds=0.1)
        sinks.fail("crm", "answer_lost")

        with pytest.raises(httpx.TransportError):
            post(sinks, "crm", event())

        assert sinks.journal()[0]["fault"] == "latency+answer_lost"


class TestJunk:
    @pytest.mark.parametrize(
        ("form", "content"),
        [
            ("html", b"<html>"),
            ("invalid_json", b'{"id": '),
            ("truncated", b'{"id":"'),
            ("empty", b""),
            ("text", b'"OK"'),
            ("list", b"[]"),
            ("binary", b"\x00\x01"),
        ],
    )
    def test_in_place_of_an_answer(self, sinks, form, content):
        sinks.fail("crm", "junk", form=form)

        answer = post(sinks, "crm", event())

        assert answer.status_code == 200
        assert answer.content.startswith(content)
        assert answer.content or not content
        assert kept(sinks) == 1

    def test_shorter_than_promised(self, sinks):
        sinks.fail("crm", "junk", form="short")

        with pytest.raises(httpx.RemoteProtocolError):
            post(sinks, "crm", event())

    def test_instead_of_the_receiver(self, sinks):
        sinks.fail("crm", "junk", form="html", status=502, applied=False)

        answer = post(sinks, "crm", event())

        assert answer.status_code == 502
        assert answer.headers["Content-Type"].startswith("text/html")
        assert kept(sinks) == 0

    def test_huge(self, sinks):
        sinks.fail("crm", "huge", size=3_000_000)

        answer = post(sinks, "crm", event())

        assert len(answer.content) > 3_000_000
        assert answer.json()["status"] == "accepted"

    def test_redirect(self, sinks):
        sinks.fail("crm", "redirect", location="http://127.0.0.1:1/elsewhere", status=307)

        answer = post(sinks, "crm", event())

        assert answer.status_code == 307
        assert answer.headers["Location"] == "http://127.0.0.1:1/elsewhere"
        assert kept(sinks) == 0


class TestWhich:
    def test_only_one_receiver(self, sinks):
        sinks.fail("crm", "status", times=None)

        assert post(sinks, "support", event()).status_code == 200
        assert post(sinks, "crm", event()).status_code == 503

    def test_every_receiver(self, sinks):
        sinks.fail("*", "status", times=None)

        answers = [post(sinks, name, event()) for name in ("crm", "support", "marketing")]

        assert {answer.status_code for answer in answers} == {503}

    def test_a_poison_message(self, sinks):
        poison = event()
        sinks.fail("crm", "status", status=400, idempotency_key=poison["id"], times=None)

        answers = [post(sinks, "crm", one) for one in (event(), poison, event(), poison)]

        assert [answer.status_code for answer in answers] == [200, 400, 200, 400]

    def test_a_word_in_the_body(self, sinks):
        sinks.fail("crm", "status", contains="order.refunded", times=None)

        answers = [post(sinks, "crm", event(type=f"order.{kind}")) for kind in ("paid", "refunded")]

        assert [answer.status_code for answer in answers] == [200, 503]

    def test_a_path_and_a_method(self, sinks):
        sinks.fail("crm", "status", path="/events/batch", method="POST", times=None)

        batch = call(
            sinks, "POST", "/crm/events/batch", {"events": [event()]}, {"Idempotency-Key": "1"}
        )

        assert batch.status_code == 503
        assert post(sinks, "crm", event()).status_code == 200

    def test_a_share_of_the_calls_the_same_with_the_same_seed(self, sinks):
        def storm() -> list[int]:
            sinks.reset()
            sinks.fail("crm", "status", probability=0.5, seed=7, times=None)
            return [post(sinks, "crm", event()).status_code for _ in range(40)]

        first = storm()

        assert first == storm()
        assert 5 < first.count(503) < 35

    def test_after_some(self, sinks):
        sinks.fail("crm", "status", skip=2)

        answers = [post(sinks, "crm", event()).status_code for _ in range(4)]

        assert answers == [200, 200, 503, 200]

    def test_until_it_is_taken_away(self, sinks):
        fault = sinks.fail("crm", "status", times=None)
        assert post(sinks, "crm", event()).status_code == 503
        assert sinks.ask("GET", "/_test/faults")["faults"][0]["hits"] == 1

        sinks.ask("DELETE", f"/_test/faults/{fault['id']}")

        assert post(sinks, "crm", event()).status_code == 200

    def test_all_at_once_can_be_taken_away(self, sinks):
        sinks.fail("crm", "drop", times=None)
        sinks.fail("support", "status", times=None)

        sinks.clear_faults()

        assert post(sinks, "crm", event()).status_code == 200
        assert post(sinks, "support", event()).status_code == 200

    @pytest.mark.parametrize(
        ("definition", "complaint"),
        [
            ([], "a fault is a JSON object"),
            ({}, "kind: must be one of status"),
            ({"kind": "quake"}, "kind: must be one of status"),
            ({"kind": "status", "status": 600}, "status: must be a status from 200 to 599"),
            ({"kind": "status", "seconds": 1}, "seconds: unknown; a status fault takes applied"),
            ({"kind": "latency", "seconds": -1}, "seconds: must be a number from 0 to 3600"),
            ({"kind": "junk", "form": "poem"}, "form: must be one of html"),
            ({"kind": "drop", "times": 0}, "times: must be a whole number from 1, or null"),
            ({"kind": "drop", "path": "events"}, "path: must be a path behind"),
            ({"kind": "drop", "receiver": "nobody"}, "receiver: must be one of"),
            ({"kind": "junk", "receiver": "smtp"}, "junk: is no fault of mail"),
            ({"kind": "refuse", "receiver": "crm"}, "refuse: is a fault of mail alone"),
        ],
    )
    def test_cannot_be_understood(self, sinks, definition, complaint):
        answer = httpx.post(f"{sinks.url}/_test/faults", json=definition, trust_env=False)

        assert answer.status_code == 400
        assert answer.json()["error"]["message"].startswith(complaint)
        assert sinks.ask("GET", "/_test/faults")["faults"] == []


class TestStorm:
    def test_leaves_each_message_once_where_the_caller_repeats(self, sinks):
        sinks.fail("crm", "status", probability=0.2, seed=1, times=None)
        sinks.fail("crm", "drop", probability=0.2, seed=2, times=None, reset=True)
        sinks.fail("crm", "answer_lost", probability=0.2, seed=3, times=None)
        sinks.fail("crm", "status", status=500, applied=True, probability=0.2, seed=4, times=None)
        sinks.fail("crm", "junk", form="html", probability=0.2, seed=5, times=None)
        told = [event() for _ in range(60)]

        def tell(one) -> int:
            for attempt in range(1, 200):
                try:
                    answer = post(sinks, "crm", one)
                    if answer.status_code == 200 and answer.json()["id"] == one["id"]:
                        return attempt
                except (httpx.TransportError, ValueError):
                    continue
            pytest.fail("never taken")

        with ThreadPoolExecutor(4) as threads:
            attempts = sum(threads.map(tell, told))

        received = sinks.received("crm")
        assert sorted(one["id"] for one in received.bodies) == sorted(one["id"] for one in told)
        assert received.calls == attempts
        assert received.spoiled > 20
        assert received.duplicates > 5
        assert received.changed == 0
