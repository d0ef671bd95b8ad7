"""Segment as its documentation tells it: what it takes, forgets twice and refuses silently."""

import httpx
import pytest

from tests.sandbox.sink_calls import http


def track(message_id="m-1", **changes):
    return {
        "type": "track",
        "messageId": message_id,
        "userId": "u-1",
        "event": "Order Completed",
        "properties": {"total": 19.99},
        **changes,
    }


def batch(sinks, *events, key=None, **more):
    key = sinks.token if key is None else key
    return http.post(
        f"{sinks.url}/segment/v1/batch", json={"batch": [*events], **more}, auth=(key, "")
    )


def rejected(sinks):
    return [one["reason"] for one in sinks.received("segment", kind="rejected").bodies]


class TestBatch:
    def test_is_kept_event_by_event(self, sinks):
        answer = batch(sinks, track("m-1"), track("m-2"), context={"ip": "0.0.0.0"})  # noqa: S104

        assert (answer.status_code, answer.json()) == (200, {"success": True})
        received = sinks.received("segment", kind="track")
        assert [one["messageId"] for one in received.bodies] == ["m-1", "m-2"]
        assert received.bodies[0]["context"] == {"ip": "0.0.0.0"}  # noqa: S104
        assert (received.calls, received.kept, received.refused) == (1, 2, 0)

    def test_that_comes_again_is_kept_once(self, sinks):
        batch(sinks, track("m-1"), track("m-2"))
        batch(sinks, track("m-2"), track("m-3"))

        received = sinks.received("segment")
        assert (received.kept, received.duplicates) == (3, 1)

    def test_is_signed_in_its_body_too(self, sinks):
        url = f"{sinks.url}/segment/v1/batch"
        http.post(url, json={"writeKey": sinks.token, "batch": [track("m-1")]})
        http.post(url, json={"writeKey": "wrong", "batch": [track("m-2")]})

        received = sinks.received("segment", kind="track")
        assert received.bodies == [track("m-1")]
        assert rejected(sinks) == ["unknown write key"]

    @pytest.mark.parametrize(
        ("event", "reason"),
        [
            (track(userId=""), "no_user_anon_id"),
            (track(event=None), "no event name"),
            (track(type="dance"), "unknown type"),
            (track(None), "messageId must be a text of fewer than 100 characters"),
            (track("m" * 100), "messageId must be a text of fewer than 100 characters"),
            ("text", "no object"),
        ],
    )
    def test_says_200_to_what_it_rejects(self, sinks, event, reason):
        answer = batch(sinks, event, track("good"))

        assert answer.status_code == 200
        assert rejected(sinks) == [reason]
        received = sinks.received("segment")
        assert (received.kept, received.refused) == (1, 1)

    def test_of_a_stranger_is_rejected_silently(self, sinks):
        assert batch(sinks, track(), key="wrong").status_code == 200
        assert rejected(sinks) == ["unknown write key"]
        assert sinks.received("segment").kept == 0

    def test_of_too_many_is_rejected_silently(self, sinks):
        events = [{"type": "track", "messageId": str(n)} for n in range(2_501)]

        assert batch(sinks, *events).status_code == 200
        assert rejected(sinks) == ["more than 2500 events"]

    def test_has_a_limit_of_size(self, sinks):
        fits = [track(f"m-{n}", properties={"x": "x" * 24_000}) for n in range(20)]
        big = track("big", properties={"x": "x" * 32_000})

        assert batch(sinks, *fits).status_code == 200
        assert batch(sinks, *fits, track("one", properties={"x": "x" * 24_000})).status_code == 400
        assert batch(sinks, big).status_code == 400
        assert sinks.received("segment").kept == 20


class TestSingle:
    @pytest.mark.parametrize("kind", ["track", "identify"])
    def test_is_kept(self, sinks, kind):
        event = {"messageId": "m-1", "anonymousId": "a-1", "event": "Order Completed"}
        answer = http.post(f"{sinks.url}/segment/v1/{kind}", json=event, auth=(sinks.token, ""))

        assert answer.json() == {"success": True}
        assert sinks.received("segment", kind=kind).bodies == [{**event, "type": kind}]

    def test_has_a_limit_of_size(self, sinks):
        event = track(properties={"x": "x" * 32_000})
        answer = http.post(f"{sinks.url}/segment/v1/track", json=event, auth=(sinks.token, ""))

        assert answer.status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "/v1/batch", b"{", 400),
        ("POST", "/v1/batch", b"[]", 400),
        ("POST", "/v1/batch", b'{"batch": 7}', 400),
        ("POST", "/v2/batch", b"{}", 404),
        ("GET", "/v1/batch", b"", 404),
    ],
)
def test_says_what_is_no_batch_at_all(sinks, method, path, content, status):
    answer = httpx.request(
        method,
        f"{sinks.url}/segment{path}",
        content=content,
        headers={"Content-Type": "application/json"},
        auth=(sinks.token, ""),
        trust_env=False,
    )

    assert answer.status_code == status
    assert answer.json()["success"] is False
