"""Webhooks: signed, at least once, whoever dies; and spoiled on request."""

import json
import signal
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import stripe

SECRET = "whsec_of_the_tests"


class Listener:
    """A shop's endpoint: keeps what came, answers as told."""

    def __init__(self, *, port: int = 0) -> None:
        self.heard: list[dict] = []
        self.signatures: list[str] = []
        self.answers: list[int] = []  # the next ones; 200 when there is none left
        self.delay = 0.0
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                signature = self.headers["Stripe-Signature"]
                stripe.WebhookSignature.verify_header(body.decode(), signature, SECRET, 300)
                listener.signatures.append(signature)
                listener.heard.append(json.loads(body))
                time.sleep(listener.delay)
                status = listener.answers.pop(0) if listener.answers else 200
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", listener.url)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hooks"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def types(self):
        return [event["type"] for event in self.heard]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def listener():
    listener = Listener()
    yield listener
    listener.close()


def options(listener, *types):
    told = ("--webhook-url", listener.url, "--webhook-secret", SECRET)
    return (*told, "--webhook-events", ",".join(types)) if types else told


@pytest.fixture
def api(start_server, client_of, listener):
    return client_of(start_server(options=options(listener)))


def deliveries(api):
    return api.get("/_test/deliveries").json()["deliveries"]


def all_done(api):
    return lambda: all(delivery["done"] for delivery in deliveries(api))


class TestDelivery:
    def test_tells_of_every_event_signed(self, api, listener, eventually):
        api.paid()
        eventually(lambda: len(listener.heard) == 3)
        assert Counter(listener.types()) == {
            "payment_intent.created": 1,
            "charge.succeeded": 1,
            "payment_intent.succeeded": 1,
        }
        listed = api.get("/v1/events").json()["data"]
        assert sorted(e["id"] for e in listed) == sorted(e["id"] for e in listener.heard)
        assert all(event["pending_webhooks"] == 1 for event in listener.heard)
        eventually(all_done(api))

    def test_of_wanted_types_alone(self, start_server, client_of, listener, eventually):
        wanted = options(listener, "payment_intent.succeeded", "charge.dispute.*")
        api = client_of(start_server(options=wanted))
        api.paid()
        eventually(lambda: listener.types() == ["payment_intent.succeeded"])
        assert len(deliveries(api)) == 1

    @pytest.mark.parametrize("refusal", [500, 404, 302])
    def test_tries_again_until_it_is_heard(self, api, listener, eventually, refusal):
        listener.answers = [refusal]
        api.intent()
        eventually(lambda: len(listener.heard) == 2)
        assert listener.heard[0] == listener.heard[1]
        eventually(all_done(api))
        assert deliveries(api)[0] | {"event_id": ""} == {
            "event_id": "",
            "type": "payment_intent.created",
            "done": True,
            "attempts": 2,
            "outcome": "200",
        }

    def test_survives_a_listener_that_is_away(self, start_server, client_of, eventually):
        gone = Listener()
        gone.close()
        api = client_of(start_server(options=options(gone)))
        api.intent()
        eventually(lambda: deliveries(api)[0]["attempts"] >= 1)
        back = Listener(port=gone.port)
        try:
            eventually(lambda: back.types() == ["payment_intent.created"], seconds=15)
        finally:
            back.close()

    def test_survives_kill_9(self, start_server, client_of, listener, eventually):
        listener.answers = [500] * 3
        first = start_server(options=options(listener, "payment_intent.created"))
        client_of(first).intent()
        first.stop(signal.SIGKILL)
        listener.answers = []
        heard_before = len(listener.heard)

        start_server(options=options(listener, "payment_intent.created"))

        eventually(lambda: len(listener.heard) > heard_before)

    def test_costs_the_api_nothing_when_the_listener_is_slow(self, api, listener):
        listener.delay = 2.0
        api.paid()
        began = time.monotonic()
        for _ in range(10):
            api.paid()
        assert time.monotonic() - began < 2

    def test_may_be_asked_for_again(self, api, listener, eventually):
        api.intent()
        eventually(lambda: len(listener.heard) == 1)
        event = listener.heard[0]["id"]
        assert api.http.post(f"/_test/events/{event}/resend").status_code == 200
        eventually(lambda: [e["id"] for e in listener.heard] == [event, event])
        assert api.http.post("/_test/events/evt_none/resend").status_code == 404


class TestFaults:
    def test_drop_one_for_ever(self, api, listener, eventually):
        api.break_next("webhook_drop", event="payment_intent.*")
        api.intent()
        eventually(all_done(api))
        assert deliveries(api)[0]["outcome"] == "dropped"
        api.intent()
        eventually(lambda: len(listener.heard) == 1)

    def test_duplicate(self, api, listener, eventually):
        api.break_next("webhook_duplicate", copies=2)
        api.intent()
        eventually(lambda: len(listener.heard) == 3)
        assert len({event["id"] for event in listener.heard}) == 1

    def test_delay(self, api, listener, eventually):
        api.break_next("webhook_delay", seconds=0.7)
        began = time.monotonic()
        api.intent()
        eventually(lambda: len(listener.heard) == 1)
        assert time.monotonic() - began > 0.6

    def test_reorder(self, api, listener, eventually):
        api.break_next("webhook_reorder", event="payment_intent.created", count=2)
        api.paid()
        eventually(lambda: len(listener.heard) == 3)
        assert listener.types()[-1] == "payment_intent.created"

    def test_of_another_type_wait_for_theirs(self, api, listener, eventually):
        api.break_next("webhook_drop", event="charge.*")
        api.intent()
        eventually(lambda: listener.types() == ["payment_intent.created"])

    @pytest.mark.parametrize(
        "fault",
        [
            {"kind": "webhook_drop", "path": "/v1/x"},
            {"kind": "webhook_drop", "event": ""},
            {"kind": "webhook_duplicate", "copies": 0},
            {"kind": "webhook_reorder", "count": "1"},
        ],
    )
    def test_are_refused_where_they_make_no_sense(self, api, fault):
        assert api.http.post("/_test/faults", json=fault).status_code == 400
