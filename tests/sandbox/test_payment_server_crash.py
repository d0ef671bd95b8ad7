"""Starting, stopping, dying: what was answered stays, whatever happens to the process."""

import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest


class TestKill:
    def test_loses_nothing_that_was_answered(self, start_server, client_of):
        server = start_server()
        api = client_of(server)
        intent = api.paid(**{"metadata[order_id]": "7"})
        refund = api.refund(intent, amount=5, key="rf").json()
        server.stop(signal.SIGKILL)

        revived = client_of(start_server())

        assert revived.read(intent) == intent
        assert revived.get(f"/v1/refunds/{refund['id']}").json() == refund
        replayed = revived.refund(intent, amount=5, key="rf")
        assert replayed.json() == refund
        assert replayed.headers["Idempotent-Replayed"] == "true"
        posted = [entry for entry in revived.journal(order_id="7") if entry["method"] == "POST"]
        assert [entry["executed"] for entry in posted] == [True]

    def test_in_the_middle_of_traffic_keeps_keys_and_effects_together(
        self, start_server, client_of, eventually
    ):
        server = start_server()
        api = client_of(server)
        answered, stop = {}, threading.Event()

        def pay(worker):
            for number in range(100_000):
                key = f"{worker}-{number}"
                try:
                    answer = api.create(key=key, confirm="true")
                except httpx.TransportError:
                    return key
                answered[key] = answer.json()["id"]
                if stop.is_set():
                    return None
            return None

        with ThreadPoolExecutor(4) as threads:
            workers = [threads.submit(pay, number) for number in range(4)]
            eventually(lambda: len(answered) > 40, seconds=30)
            server.stop(signal.SIGKILL)
            stop.set()
            unanswered = [worker.result() for worker in workers if worker.result()]
        revived = client_of(start_server())

        for key, intent_id in answered.items():
            replayed = revived.create(key=key, confirm="true")
            assert replayed.json()["id"] == intent_id
            assert replayed.headers["Idempotent-Replayed"] == "true"
        for key in unanswered:
            assert revived.create(key=key, confirm="true").json()["status"] == "succeeded"
        intents, page = [], {"has_more": True}
        while page["has_more"]:
            after = {"starting_after": intents[-1]} if intents else {}
            page = revived.get("/v1/payment_intents", limit=100, **after).json()
            intents += [intent["id"] for intent in page["data"]]
        assert len(intents) == len(set(intents)) == len(answered) + len(unanswered)

    def test_while_a_request_waits_leaves_no_trace_of_it(self, start_server, client_of, eventually):
        server = start_server()
        api = client_of(server)
        api.break_next("latency", seconds=30)
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(api.create, key="k")
            eventually(lambda: api.journal() != [])
            server.stop(signal.SIGKILL)
            with pytest.raises(httpx.TransportError):
                waiting.result()

        revived = client_of(start_server())

        assert revived.intents() == []
        assert revived.journal(path="/v1/payment_intents")[0]["executed"] is False
        assert revived.create(key="k").status_code == 200


class TestJournalNumbers:
    @pytest.mark.parametrize(("method", "path"), [("DELETE", "journal"), ("POST", "reset")])
    def test_are_not_used_again_after_a_restart(self, start_server, client_of, method, path):
        server = start_server()
        api = client_of(server)
        api.paid()
        before = api.journal()[-1]["id"]
        api.http.request(method, f"/_test/{path}")
        server.stop(signal.SIGKILL)

        revived = client_of(start_server())
        revived.paid()

        assert [entry["id"] for entry in revived.journal()] == [before + 1]


class TestStop:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_is_clean_and_quick(self, start_server, client_of, number):
        server = start_server()
        client_of(server).paid()

        assert server.stop(number) == 0
        assert server.complaints == ""

    def test_does_not_wait_for_a_hanging_request(self, start_server, client_of, eventually):
        server = start_server()
        api = client_of(server)
        api.break_next("hang", seconds=60)
        with ThreadPoolExecutor(1) as threads:
            hanging = threads.submit(api.create)
            eventually(lambda: api.journal() != [])
            begun = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - begun < 8
            with pytest.raises(httpx.TransportError):
                hanging.result()


class TestStart:
    def test_says_in_one_line_where_it_listens(self, start_server):
        server = start_server()

        assert server.line == f"payment server listening on {server.url} (state: {server.state})\n"

    def test_refuses_a_state_file_in_use(self, start_server):
        server = start_server()

        second = self._run("--port", "0", "--state", str(server.state))

        assert second.returncode == 1
        assert second.stderr == (
            f"payment server cannot start: {server.state}: database is locked\n"
        )

    def test_refuses_a_file_that_is_no_database(self, tmp_path):
        file = tmp_path / "letter.txt"
        file.write_text("Dear Ada, " * 500)

        failed = self._run("--port", "0", "--state", str(file))

        assert failed.returncode == 1
        assert failed.stderr == (f"payment server cannot start: {file}: file is not a database\n")

    def test_refuses_a_port_in_use(self, tmp_path):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            failed = self._run("--port", str(port), "--state", str(tmp_path / "s"))

        assert failed.returncode == 1
        assert failed.stderr.startswith("payment server cannot start: ")
        assert failed.stderr.count("\n") == 1

    def test_refuses_a_place_where_no_file_can_be(self, tmp_path):
        failed = self._run("--port", "0", "--state", str(tmp_path))

        assert failed.returncode == 1
        assert failed.stderr == (
            f"payment server cannot start: {tmp_path}: unable to open database file\n"
        )

    @pytest.mark.parametrize("port", ["99999", "-1"])
    def test_refuses_a_port_that_is_none(self, tmp_path, port):
        failed = self._run("--port", port, "--state", str(tmp_path / "s"))

        assert failed.returncode == 1
        assert failed.stderr == "--port must be from 0 to 65535\n"

    @pytest.mark.parametrize(
        "url", ["nowhere", "127.0.0.1:9/hooks", "ftp://127.0.0.1/", "http://", "http://x:99999/"]
    )
    def test_refuses_to_tell_nobody_of_events(self, tmp_path, url):
        failed = self._run(
            *("--port", "0", "--state", str(tmp_path / "s")),
            *("--webhook-url", url, "--webhook-secret", "whsec_x"),
        )

        assert failed.returncode == 1
        assert failed.stderr == (
            "--webhook-url must be an address like http://127.0.0.1:8000/hooks\n"
        )

    def test_wants_a_secret_to_sign_events_with(self, tmp_path):
        told = self._run(
            *("--port", "0", "--state", str(tmp_path / "s")),
            *("--webhook-url", "http://127.0.0.1:9/"),
        )

        assert told.returncode == 1
        assert "--webhook-secret" in told.stderr

    @staticmethod
    def _run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "sandbox.payments", *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
