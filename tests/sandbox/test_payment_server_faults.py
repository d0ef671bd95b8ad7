"""Every way to break a request, and what it leaves behind."""

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest


def executed(api):
    return [entry["executed"] for entry in api.journal() if entry["method"] == "POST"]


class TestOnArrival:
    @pytest.mark.parametrize("reset", [False, True])
    def test_drop_closes_the_connection_and_does_nothing(self, api, reset):
        api.break_next("drop", reset=reset)

        with pytest.raises(httpx.TransportError):
            api.create(key="k")

        assert api.intents() == []
        again = api.create(key="k")
        assert (again.status_code, "Idempotent-Replayed" in again.headers) == (200, False)

    @pytest.mark.parametrize(
        ("fault", "status", "code"),
        [
            ({"kind": "rate_limit"}, 429, "rate_limit"),
            ({"kind": "unavailable"}, 503, None),
            ({"kind": "conflict"}, 409, "lock_timeout"),
            ({"kind": "conflict", "status": 429}, 429, "lock_timeout"),
        ],
    )
    def test_refusals_are_not_remembered(self, api, fault, status, code):
        api.break_next(**fault)

        refused = api.create(key="k")

        assert refused.status_code == status
        assert refused.json()["error"].get("code") == code
        assert api.intents() == []
        again = api.create(key="k")
        assert (again.status_code, "Idempotent-Replayed" in again.headers) == (200, False)

    def test_rate_limit_says_when_to_come_back(self, api):
        api.break_next("rate_limit", retry_after=3)

        assert api.create().headers["Retry-After"] == "3"

    def test_redirect_sends_elsewhere(self, api):
        api.break_next("redirect", location="http://127.0.0.1:9/stolen")

        answer = api.create()

        assert (answer.status_code, answer.headers["Location"]) == (
            302,
            "http://127.0.0.1:9/stolen",
        )
        assert api.intents() == []

    def test_hang_without_effect_answers_nothing(self, api):
        api.break_next("hang", seconds=0.3, applied=False)
        begun = time.monotonic()

        with pytest.raises(httpx.TransportError):
            api.create(key="k")

        assert time.monotonic() - begun >= 0.3
        assert api.intents() == []

    def test_hang_without_effect_does_not_hold_the_key(self, api, eventually):
        api.break_next("hang", seconds=3, applied=False)
        with ThreadPoolExecutor(1) as threads:
            hanging = threads.submit(api.create, key="k")
            eventually(lambda: api.journal() != [])
            assert api.create(key="k").status_code == 200
            with pytest.raises(httpx.TransportError):
                hanging.result()


class TestInExecution:
    def test_error_before_does_nothing_and_is_remembered(self, api):
        api.break_next("error_before")

        failed = api.create(key="k")
        replayed = api.create(key="k")

        assert (failed.status_code, failed.json()["error"]["type"]) == (500, "api_error")
        assert (replayed.status_code, replayed.content) == (500, failed.content)
        assert "Idempotent-Replayed" not in failed.headers
        assert replayed.headers["Idempotent-Replayed"] == "true"
        assert api.intents() == []
        assert api.create(key="k2").status_code == 200

    def test_error_after_has_happened_and_is_remembered(self, api):
        intent = api.intent()
        api.break_next("error_after", path="/v1/payment_intents/*/confirm")

        failed = api.confirm(intent, key="k")
        replayed = api.confirm(intent, key="k")

        assert (failed.status_code, replayed.status_code) == (500, 500)
        assert replayed.headers["Idempotent-Replayed"] == "true"
        assert api.read(intent)["status"] == "succeeded"

    def test_errors_wait_for_a_real_execution(self, api):
        api.create(key="k")
        api.break_next("error_before")

        assert api.create(key="k").status_code == 200
        assert api.create(key="k2", amount=0).status_code == 400
        assert api.create(key="k2").status_code == 500

    def test_latency_is_answered_late(self, api):
        api.break_next("latency", seconds=0.3)
        begun = time.monotonic()

        assert api.create().status_code == 200
        assert time.monotonic() - begun >= 0.3

    def test_latency_goes_on_when_the_client_has_gone(self, api, eventually):
        api.break_next("latency", seconds=0.5)

        with pytest.raises(httpx.ReadTimeout):
            api.http.post(
                "/v1/payment_intents", data={"amount": "1", "currency": "usd"}, timeout=0.1
            )

        assert api.intents() == []
        eventually(lambda: len(api.intents()) == 1)


class TestOnTheAnswer:
    @pytest.mark.parametrize(
        "fault",
        [
            {"kind": "answer_lost"},
            {"kind": "answer_lost", "reset": True},
            {"kind": "hang", "seconds": 0.2},
        ],
    )
    def test_lost_has_happened(self, api, fault):
        api.break_next(**fault)

        with pytest.raises(httpx.TransportError):
            api.create(key="k", confirm="true")

        assert [intent["status"] for intent in api.intents()] == ["succeeded"]
        replayed = api.create(key="k", confirm="true")
        assert replayed.headers["Idempotent-Replayed"] == "true"
        assert executed(api) == [True, False]

    def test_lost_may_be_a_replay_too(self, api):
        api.create(key="k")
        api.break_next("answer_lost")

        with pytest.raises(httpx.TransportError):
            api.create(key="k")
        assert len(api.intents()) == 1

    @pytest.mark.parametrize(
        ("form", "body"),
        [
            ("html", "<html>"),
            ("empty", ""),
            ("list", "[]"),
            ("error_200", '{"error"'),
            ("truncated", '{"id"'),
        ],
    )
    def test_malformed_is_a_200_nobody_can_use(self, api, form, body):
        api.break_next("malformed", form=form)

        answer = api.create(key="k")

        assert answer.status_code == 200
        assert answer.text.startswith(body)
        assert "amount_received" not in answer.text or form == "truncated"
        assert len(api.intents()) == 1
        assert api.create(key="k").json() == api.intents()[0]

    def test_malformed_may_promise_more_than_it_sends(self, api):
        api.break_next("malformed", form="short")

        with pytest.raises(httpx.RemoteProtocolError):
            api.create(key="k")
        assert len(api.intents()) == 1

    def test_drip_sends_byte_by_byte(self, api):
        api.break_next("drip", seconds=0.002)
        begun = time.monotonic()

        answer = api.create()

        assert answer.json() == api.intents()[0]
        assert time.monotonic() - begun >= 0.002 * len(answer.content)

    def test_wrong_amount_lies_once(self, api):
        api.break_next("wrong_amount")

        lie = api.create(key="k", confirm="true").json()

        assert (lie["amount"], lie["amount_received"]) == (2000, 2000)
        assert api.intents()[0]["amount"] == 1999
        assert api.create(key="k", confirm="true").json()["amount"] == 1999

    def test_wrong_amount_can_be_told_what_to_say(self, api):
        api.break_next("wrong_amount", amount=1)

        assert api.create().json()["amount"] == 1

    def test_altered_changes_any_field(self, api):
        api.break_next("altered", fields={"id": "pi_other", "currency": "eur"})

        lie = api.create().json()

        assert (lie["id"], lie["currency"]) == ("pi_other", "eur")
        assert api.intents()[0]["currency"] == "usd"


class TestMatching:
    def test_happens_once_unless_told(self, api):
        api.break_next("unavailable")

        assert [api.create().status_code for _ in range(3)] == [503, 200, 200]

    def test_times_and_skip_count_matching_requests(self, api):
        api.break_next("unavailable", times=2, skip=1)

        assert [api.create().status_code for _ in range(4)] == [200, 503, 503, 200]

    def test_without_times_lasts_until_deleted(self, api):
        fault = api.break_next("unavailable", times=None)
        assert [api.create().status_code for _ in range(3)] == [503, 503, 503]

        assert api.http.delete(f"/_test/faults/{fault['id']}").json() == {"faults": []}
        assert api.create().status_code == 200

    def test_looks_at_method_and_path(self, api):
        intent = api.intent()
        api.break_next("unavailable", path="/v1/payment_intents/*/confirm")
        api.break_next("unavailable", method="GET", path="/v1/payment_intents/*")

        assert api.create().status_code == 200
        assert api.get("/v1/payment_intents").status_code == 200
        assert api.confirm(intent).status_code == 503
        assert api.get(f"/v1/payment_intents/{intent['id']}").status_code == 503
        assert api.confirm(intent).status_code == 200

    def test_two_stars_reach_deeper(self, api):
        intent = api.intent()
        api.break_next("unavailable", path="/v1/payment_intents/**", times=None)

        assert api.confirm(intent).status_code == 503
        assert api.cancel(intent).status_code == 503
        assert api.create().status_code == 200

    def test_looks_at_metadata_and_key(self, api):
        api.break_next("unavailable", metadata={"order_id": "7"}, idempotency_key="pi-*")

        assert api.create(key="pi-1", **{"metadata[order_id]": "8"}).status_code == 200
        assert api.create(key="cf-1", **{"metadata[order_id]": "7"}).status_code == 200
        assert api.create(key="pi-2", **{"metadata[order_id]": "7"}).status_code == 503

    def test_with_a_seed_is_chance_that_repeats(self, api):
        def run():
            api.http.delete("/_test/faults")
            api.break_next("unavailable", probability=0.5, seed=7, times=None)
            return [api.create().status_code for _ in range(12)]

        first = run()
        assert set(first) == {200, 503}
        assert run() == first

    def test_stages_add_up(self, api):
        api.break_next("latency", seconds=0.1)
        api.break_next("answer_lost")

        with pytest.raises(httpx.TransportError):
            api.create()
        assert [entry["fault"] for entry in api.journal()] == ["latency+answer_lost"]


class TestDefinitions:
    def test_are_listed_with_their_hits_and_cleared(self, api):
        api.break_next("drop", times=3)
        api.break_next("latency", seconds=0)
        with pytest.raises(httpx.TransportError):
            api.create()

        listed = api.get("/_test/faults").json()["faults"]

        assert [(fault["kind"], fault["times"], fault["hits"]) for fault in listed] == [
            ("drop", 2, 1),
            ("latency", 1, 0),
        ]
        assert api.http.delete("/_test/faults").json() == {"faults": []}
        assert api.get("/_test/faults").json() == {"faults": []}

    @pytest.mark.parametrize(
        ("definition", "complaint"),
        [
            ([], "a fault is a JSON object"),
            ({}, "kind: must be one of drop,"),
            ({"kind": "explode"}, "kind: must be one of drop,"),
            ({"kind": ["drop"]}, "kind: must be one of drop,"),
            ({"kind": "drop", "secs": 1}, "secs: unknown; a drop fault takes"),
            ({"kind": "drop", "seconds": 1}, "seconds: unknown"),
            ({"kind": "drop", "times": 0}, "times: must be a whole number from 1, or null"),
            ({"kind": "drop", "times": True}, "times: must be"),
            ({"kind": "drop", "times": 1.0}, "times: must be"),
            ({"kind": "drop", "skip": -1}, "skip: must be"),
            ({"kind": "drop", "probability": 2}, "probability: must be a number from 0 to 1"),
            ({"kind": "drop", "method": "PATCH"}, "method: must be GET, POST or *"),
            ({"kind": "drop", "path": "payment_intents"}, "path: must be a path under /v1/"),
            ({"kind": "drop", "metadata": {"a": 1}}, "metadata: must be an object of texts"),
            ({"kind": "latency", "seconds": "1"}, "seconds: must be a number from 0 to 3600"),
            ({"kind": "latency", "seconds": 4000}, "seconds: must be"),
            ({"kind": "malformed", "form": "odd"}, "form: must be one of truncated,"),
            ({"kind": "altered", "fields": 1}, "fields: must be an object"),
            ({"kind": "conflict", "status": 200}, "status: must be a status from 400 to 599"),
            ({"kind": "redirect", "location": "http://x/\r\nX: y"}, "location: must be a URL"),
            ({"kind": "redirect", "location": "http://x/ y"}, "location: must be a URL"),
            ({"kind": "redirect", "location": ""}, "location: must be a URL"),
        ],
    )
    def test_that_are_wrong_are_refused(self, api, definition, complaint):
        answer = api.http.post("/_test/faults", json=definition)

        assert answer.status_code == 400
        assert answer.json()["error"]["message"].startswith(complaint)
        assert api.get("/_test/faults").json() == {"faults": []}

    def test_have_to_be_json(self, api):
        answer = api.http.post("/_test/faults", content=b"{kind: drop}")

        assert answer.status_code == 400
        assert answer.json()["error"]["message"].startswith("the body is not JSON")

    def test_do_not_survive_a_restart(self, start_server, client_of):
        server = start_server()
        client_of(server).break_next("drop", times=None)
        server.stop()

        assert client_of(start_server()).create().status_code == 200
