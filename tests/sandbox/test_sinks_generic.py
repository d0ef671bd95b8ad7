"""The plain receivers: what they take, refuse, recognize and remember."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from sandbox.sinks import generic
from sandbox.sinks.calls import GENERIC
from tests.sandbox.sink_calls import EVENT, call, event, post, refusal

RECEIVERS = GENERIC


@pytest.mark.parametrize("receiver", RECEIVERS)
class TestEvent:
    def test_is_taken_and_remembered_word_for_word(self, sinks, receiver):
        told = event(data={"order_number": "ABC", "total_amount": "19.99", "note": "ü"})

        answer = post(sinks, receiver, told)

        assert answer.status_code == 200
        assert answer.json() == {"id": told["id"], "status": "accepted"}
        received = sinks.received(receiver)
        assert received.bodies == [told]
        assert (received.calls, received.kept, received.duplicates) == (1, 1, 0)
        others = [sinks.received(other).calls for other in RECEIVERS if other != receiver]
        assert others == [0] * len(others)

    def test_that_comes_again_is_kept_once(self, sinks, receiver):
        told = event()
        answers = [post(sinks, receiver, told) for _ in range(3)]

        assert [answer.json()["status"] for answer in answers] == [
            *("accepted", "duplicate", "duplicate")
        ]
        received = sinks.received(receiver)
        assert (received.calls, received.kept) == (3, 1)
        assert (received.duplicates, received.changed) == (2, 0)


class TestRepetition:
    def test_with_another_body_changes_nothing_and_is_told_apart(self, sinks):
        told = event(data={"order_number": "ABC"})
        post(sinks, "crm", told)

        answer = post(sinks, "crm", {**told, "data": {"order_number": "XYZ"}})

        assert answer.json()["status"] == "duplicate"
        received = sinks.received("crm")
        assert received.bodies == [told]
        assert received.changed == 1

    def test_at_the_same_moment_is_kept_once(self, sinks):
        told = event()
        with ThreadPoolExecutor(8) as threads:
            answers = [*threads.map(lambda _: post(sinks, "crm", told).json()["status"], range(24))]

        assert sorted(answers) == ["accepted", *["duplicate"] * 23]
        assert sinks.received("crm").kept == 1


class TestRefusal:
    @pytest.mark.parametrize(
        "headers",
        [{"Authorization": ""}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eDp5"}],
    )
    def test_of_who_does_not_know_the_token(self, sinks, headers):
        answer = post(sinks, "crm", event(), **headers)

        assert answer.status_code == 401
        assert sinks.received("crm").kept == 0

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ({"id": "7"}, "id: must be a UUID in lower case"),
            ({"id": str(uuid.uuid4()).upper()}, "id: must be a UUID in lower case"),
            ({"id": 7}, "id: must be a UUID in lower case"),
            ({"type": "confirmed"}, "type: must be words joined by dots"),
            ({"type": "order.Confirmed"}, "type: must be words joined by dots"),
            ({"type": None}, "type: must be words joined by dots"),
            ({"occurred_at": "2026-01-31T12:00:00"}, "occurred_at: must be a time"),
            ({"occurred_at": "2026-02-31T12:00:00Z"}, "occurred_at: must be a time"),
            ({"occurred_at": 1_700_000_000}, "occurred_at: must be a time"),
            ({"data": []}, "data: must be an object"),
            ({"data": None}, "data: must be an object"),
            ({"version": 1}, "an event has exactly id, type, occurred_at, data"),
        ],
    )
    def test_of_a_malformed_envelope(self, sinks, change, complaint):
        told = {**event(), **change}

        answer = post(sinks, "crm", told, **{"Idempotency-Key": str(told["id"])})

        assert answer.status_code == 422
        assert refusal(answer).startswith(complaint)
        received = sinks.received("crm")
        assert (received.calls, received.kept, received.refused) == (1, 0, 1)

    @pytest.mark.parametrize("name", generic.FIELDS)
    def test_of_a_missing_field(self, sinks, name):
        told = event()
        key = told["id"]
        del told[name]

        answer = post(sinks, "crm", told, **{"Idempotency-Key": key})

        assert answer.status_code == 422
        assert refusal(answer) == "an event has exactly id, type, occurred_at, data"

    @pytest.mark.parametrize("key", [None, "", "another"])
    def test_without_the_events_id_as_the_key(self, sinks, key):
        headers = {} if key is None else {"Idempotency-Key": key}

        answer = call(sinks, "POST", "/crm/events", event(), headers)

        assert answer.status_code == 400
        assert refusal(answer) == "Idempotency-Key must be the event's id"

    @pytest.mark.parametrize(
        ("method", "path", "content", "content_type", "status"),
        [
            ("GET", "/crm/events", b"", "application/json", 405),
            ("POST", "/crm/orders", b"{}", "application/json", 404),
            ("POST", "/crm", b"{}", "application/json", 404),
            ("POST", "/nobody/events", b"{}", "application/json", 404),
            ("POST", "/crm/events", b"{", "application/json", 400),
            ("POST", "/crm/events", b"\xff", "application/json", 400),
            ("POST", "/crm/events", b"[]", "application/json", 422),
            ("POST", "/crm/events", b"a=b", "application/x-www-form-urlencoded", 415),
            ("POST", "/crm/events", b" " * 262_145, "application/json", 413),
        ],
    )
    def test_of_what_is_no_event_at_all(self, sinks, method, path, content, content_type, status):
        answer = httpx.request(
            method,
            f"{sinks.url}{path}",
            content=content,
            headers={"Authorization": f"Bearer {sinks.token}", "Content-Type": content_type},
            trust_env=False,
        )

        assert answer.status_code == status
        assert answer.json()["error"]["message"]

    def test_of_a_body_that_no_receiver_would_read(self, sinks):
        answer = httpx.post(f"{sinks.url}/crm/events", content=b" " * 2_000_000, trust_env=False)

        assert answer.status_code == 413
        assert post(sinks, "crm", event()).status_code == 200


class TestBatch:
    def test_is_taken_event_by_event(self, sinks):
        first, second, third = event(), event(), event()
        one = call(sinks, "POST", "/analytics/events/batch", {"events": [first, second]}, KEY)
        other = call(sinks, "POST", "/analytics/events/batch", {"events": [second, third]}, KEY)

        assert one.json() == {"accepted": 2, "duplicates": 0}
        assert other.json() == {"accepted": 1, "duplicates": 1}
        received = sinks.received("analytics")
        assert received.bodies == [first, second, third]
        assert (received.calls, received.duplicates) == (2, 1)
        assert [one["kept"] for one in sinks.journal(receiver="analytics")] == [2, 1]

    @pytest.mark.parametrize(
        "events", [[], [EVENT] * 101, {}, None, [{**EVENT, "data": None}, EVENT], [7]]
    )
    def test_that_is_wrong_anywhere_is_refused_whole(self, sinks, events):
        answer = call(sinks, "POST", "/analytics/events/batch", {"events": events}, KEY)

        assert answer.status_code == 422
        assert sinks.received("analytics").kept == 0

    def test_names_the_event_that_is_wrong(self, sinks):
        wrong = {**event(), "type": "?"}
        answer = call(sinks, "POST", "/analytics/events/batch", {"events": [EVENT, wrong]}, KEY)

        assert refusal(answer).startswith("events[1]: type: must be")


class TestControl:
    def test_pages_through_what_was_received(self, sinks):
        told = [event() for _ in range(5)]
        for one in told:
            post(sinks, "crm", one)

        first = sinks.ask("GET", "/_test/received/crm", limit="2")
        rest = sinks.ask("GET", "/_test/received/crm", after=str(first["items"][-1]["number"]))

        assert [item["body"] for item in first["items"] + rest["items"]] == told
        assert first["kept"] == rest["kept"] == 5

    def test_finds_by_key(self, sinks):
        told = [event() for _ in range(3)]
        for one in told:
            post(sinks, "crm", one)

        assert sinks.received("crm", key=told[1]["id"]).bodies == [told[1]]
        assert sinks.received("crm", kind="event").bodies == told
        assert sinks.received("crm", kind="ticket").bodies == []

    def test_forgets_one_receiver_or_all(self, sinks):
        post(sinks, "crm", event())
        post(sinks, "support", event())
        post(sinks, "marketing", event())

        sinks.ask("DELETE", "/_test/received/crm")
        assert [sinks.received(name).calls for name in ("crm", "support")] == [0, 1]
        assert [one["receiver"] for one in sinks.journal()] == ["support", "marketing"]

        sinks.ask("DELETE", "/_test/received")
        counts = sinks.ask("GET", "/_test/received")
        assert not any(any(counted.values()) for counted in counts.values())
        assert sinks.journal() == []

    def test_what_was_forgotten_is_new_when_it_comes_again(self, sinks):
        told = event()
        post(sinks, "crm", told)
        number = sinks.received("crm").items[0]["number"]
        sinks.ask("DELETE", "/_test/received")

        assert post(sinks, "crm", told).json()["status"] == "accepted"
        assert sinks.received("crm").items[0]["number"] > number

    def test_shows_every_call_with_its_key(self, sinks):
        told = event()
        post(sinks, "crm", told)
        post(sinks, "crm", told)
        post(sinks, "crm", event())

        calls = sinks.journal(idempotency_key=told["id"])

        assert [json.loads(one["body"]) for one in calls] == [told, told]
        assert [(one["kept"], one["duplicates"]) for one in calls] == [(1, 0), (0, 1)]
        assert {one["status"] for one in calls} == {200}

    def test_keeps_no_secret(self, sinks):
        post(sinks, "crm", event())

        assert sinks.token not in json.dumps(sinks.journal())

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/_test/received/nobody", 404),
            ("GET", "/_test/received/crm?color=red", 400),
            ("GET", "/_test/received/crm?after=x", 400),
            ("POST", "/_test/received/crm", 405),
            ("GET", "/_test/nothing", 404),
            ("PUT", "/_test/settings/crm", 400),
        ],
    )
    def test_says_what_it_cannot_do(self, sinks, method, path, status):
        answer = httpx.request(method, f"{sinks.url}{path}", content=b"[]", trust_env=False)

        assert answer.status_code == status
        assert answer.json()["error"]["message"]


class TestPage:
    def test_shows_people_what_came_in_and_nothing_of_it_as_markup(self, sinks):
        post(sinks, "crm", event(data={"name": "<script>alert(1)</script>"}))

        answer = httpx.get(f"{sinks.url}/", trust_env=False)

        assert answer.headers["Content-Type"].startswith("text/html")
        assert "order.confirmed" in answer.text
        assert "&lt;script&gt;alert(1)" in answer.text
        assert "<script" not in answer.text
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


KEY = {"Idempotency-Key": "a-batch"}
