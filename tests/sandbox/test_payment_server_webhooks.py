"""Webhooks: signed, at least once, whoever dies; and spoiled on request."""

import asyncio
import json
import random
import signal
import threading
import time
from collections import Counter
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import stripe

from sandbox.payments import webhooks
from sandbox.payments.faults import Faults
from sandbox.payments.store import Store

SECRET = "whsec_of_the_tests"


class Listener:
    """A shop's endpoint: keeps what came, answers as told."""

    def __init__(self, *, port: int = 0) -> None:
        self.heard: list[dict[str, Any]] = []
        self.times: list[float] = []
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
                listener.times.append(time.monotonic())
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
        serve = partial(self.server.serve_forever, poll_interval=0.02)
        threading.Thread(target=serve, daemon=True).start()

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


def strikes(seed):
    """What two rolls of a fault with this seed and a probability of one half bring."""
    chance = random.Random(seed)  # noqa: S311 - the fault's own dice
    return [chance.random() < 0.5 for _ in range(2)]


@pytest.fixture
def courier(tmp_path, listener):
    """A courier of this process, so that it can be broken from inside."""
    store = Store(path=tmp_path / "state.sqlite3")
    store.is_listened_to = lambda _kind: True
    told = webhooks.Listener(url=listener.url, secret=SECRET)
    yield webhooks.Courier(store=store, faults=Faults(), listener=told)
    store.close()


def happen(courier, name):
    body = {"id": f"evt_{name}", "object": "event", "created": 1, "type": f"test.{name}"}
    with courier.store.transaction():
        courier.store.add_event(body)


def run(courier, *, seconds):
    async def work():
        task = asyncio.create_task(courier.run())
        await asyncio.sleep(seconds)
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(work())


class TestCourier:
    @pytest.mark.parametrize(
        ("attempts", "pause"), [(0, 1), (1, 2), (5, 32), (6, 60), (1_024, 60), (4_320, 60)]
    )
    def test_pauses_longer_and_longer_up_to_a_minute(self, courier, attempts, pause):
        happen(courier, "one")
        courier.store.execute("UPDATE deliveries SET attempts = ?", (attempts,))
        (delivery,) = courier.store.deliveries_due(now=time.time(), limit=9)

        courier._note(delivery, outcome="500", heard=False)

        due = courier.store.execute("SELECT due FROM deliveries").fetchone()["due"]
        assert due - time.time() == pytest.approx(pause, abs=0.5)

    def test_leaves_what_breaks_it_alone_and_carries_the_rest(
        self, courier, listener, monkeypatch, caplog
    ):
        note, noted = courier._note, []

        def note_or_break(delivery, **outcome):
            noted.append(delivery.kind)
            if delivery.kind == "test.bad":
                raise RuntimeError
            note(delivery, **outcome)

        monkeypatch.setattr(courier, "_note", note_or_break)
        for name in ("bad", "good"):
            happen(courier, name)

        run(courier, seconds=1.2)

        assert sorted(noted) == sorted(listener.types()) == ["test.bad", "test.good"]
        assert len(caplog.records) == 1

    def test_goes_on_after_a_round_that_failed(self, courier, listener, monkeypatch, caplog):
        read, failures = courier.store.deliveries_due, [1, 2]

        def read_or_fail(**wanted):
            if failures:
                failures.pop()
                raise OSError
            return read(**wanted)

        monkeypatch.setattr(courier.store, "deliveries_due", read_or_fail)
        happen(courier, "one")

        run(courier, seconds=1.5)

        assert listener.types() == ["test.one"]
        assert [record.message for record in caplog.records] == [
            "the deliveries that are due cannot be read"
        ] * 2


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

    def test_duplicate_side_by_side(self, api, listener, eventually):
        listener.delay = 0.5
        api.break_next("webhook_duplicate", copies=5)
        api.intent()
        eventually(lambda: len(listener.heard) == 6)
        assert max(listener.times) - min(listener.times) < 0.5

    def test_leave_alone_what_was_tried_before(self, api, listener, eventually):
        listener.answers = [500]
        api.intent()
        eventually(lambda: deliveries(api)[0]["attempts"] == 1)
        api.break_next("webhook_drop", times=None)
        eventually(all_done(api))
        assert len(listener.heard) == 2
        assert api.get("/_test/faults").json()["faults"][0]["hits"] == 0

    def test_roll_their_dice_once_for_each_event(self, api, listener, eventually):
        seed = next(s for s in range(99) if strikes(s) == [False, True])
        api.break_next("webhook_drop", times=None, probability=0.5, seed=seed)
        listener.answers = [500]
        api.intent()
        eventually(all_done(api))
        assert [found["outcome"] for found in deliveries(api)] == ["200"]

    def test_leave_alone_what_is_told_once_more(self, api, listener, eventually):
        api.intent()
        eventually(lambda: len(listener.heard) == 1)
        api.break_next("webhook_drop")
        api.http.post(f"/_test/events/{listener.heard[0]['id']}/resend")
        eventually(lambda: len(listener.heard) == 2)

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

    def test_reorder_behind_what_was_heard(self, start_server, client_of, listener, eventually):
        wanted = options(listener, "payment_intent.created", "payment_intent.succeeded")
        api = client_of(start_server(options=wanted))
        api.break_next("webhook_reorder", event="payment_intent.created", count=1)
        listener.answers = [500]
        api.paid()
        eventually(lambda: len(listener.heard) == 3)
        assert listener.types() == [*["payment_intent.succeeded"] * 2, "payment_intent.created"]

    def test_reorder_counts_an_event_once(self, api, listener, eventually):
        api.break_next("webhook_reorder", event="payment_intent.created", count=2)
        api.break_next("webhook_duplicate", event="charge.succeeded", copies=3)
        api.paid()
        eventually(lambda: len(listener.heard) == 6)
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
