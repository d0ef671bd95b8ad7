"""Starting, stopping, dying: what was answered stays, whatever happens to the process."""

import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from config.processes import free_port
from tests.integrations.sinks import ROOT, Sinks, SinksProcess
from tests.sandbox.sink_calls import event, post


@pytest.fixture
def start(tmp_path):
    started = []

    def start(*, name="own", port=0, options=()):
        state = tmp_path / f"{name}.sqlite3"
        started.append(SinksProcess(state=state, port=port, options=options))
        return started[-1]

    yield start
    for process in started:
        if process.process.poll() is None:
            process.stop(signal.SIGKILL)


class TestKill:
    def test_loses_nothing_that_was_answered(self, start):
        process = start()
        sinks = Sinks(process.url)
        told = event()
        post(sinks, "crm", told)
        sinks.tell("webhooks", secrets={"x": ["whsec_x"]})
        before = sinks.received("crm"), sinks.journal()
        process.stop(signal.SIGKILL)

        revived = Sinks(start().url)

        assert (revived.received("crm"), revived.journal()) == before
        assert post(revived, "crm", told).json()["status"] == "duplicate"
        assert revived.received("crm").calls == 2

    def test_in_the_middle_of_traffic_keeps_what_was_answered(self, start):
        process = start()
        sinks = Sinks(process.url)
        answered, enough = [], threading.Event()

        def tell() -> str | None:
            for _ in range(100_000):
                told = event()
                try:
                    post(sinks, "crm", told)
                except httpx.TransportError:
                    return told["id"]
                answered.append(told["id"])
                if len(answered) > 100:
                    enough.set()
            return None

        with ThreadPoolExecutor(4) as threads:
            tellers = [threads.submit(tell) for _ in range(4)]
            assert enough.wait(30)
            process.stop(signal.SIGKILL)
            unanswered = {teller.result() for teller in tellers} - {None}
        received = Sinks(start().url).received("crm")

        kept = [one["id"] for one in received.bodies]
        assert len(kept) == len(set(kept))
        assert set(answered) <= set(kept) <= set(answered) | unanswered
        assert received.calls == len(kept)


class TestProcess:
    def test_stops_at_once_and_says_nothing(self, start):
        process = start()
        sinks = Sinks(process.url)
        sinks.fail("crm", "hang", seconds=60)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{process.url}/crm/events", json={}, timeout=0.2, trust_env=False)

        assert process.stop() == 0
        assert process.complaints == ""

    def test_starts_where_it_is_told(self, start):
        port = free_port()
        process = start(port=port, options=("--token", "another"))

        assert process.url == f"http://127.0.0.1:{port}"
        assert post(Sinks(process.url), "crm", event()).status_code == 401

    def test_does_not_share_its_state(self, start):
        start()
        second = start()

        assert second.line == ""
        assert second.stop() == 1
        assert "database is locked" in second.complaints

    def test_needs_a_free_port(self, start):
        with socket.socket() as stranger:
            stranger.bind(("127.0.0.1", 0))
            stranger.listen()
            process = start(port=stranger.getsockname()[1])
            assert process.stop() == 1
        assert process.complaints.startswith("sinks cannot start: ")

    def test_refuses_a_port_that_is_none(self, tmp_path):
        done = subprocess.run(
            [sys.executable, "-m", "sandbox.sinks", "--port", "70000", "--state", "x"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

        assert done.returncode == 1
        assert "--port must be from 0 to 65535" in done.stderr

    def test_is_not_disturbed_by_bytes_that_are_not_http(self, start):
        process = start()
        port = int(process.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"\x00\xff\r\n\r\n")
            connection.recv(1_000)

        assert post(Sinks(process.url), "crm", event()).status_code == 200
        process.stop()
        assert process.complaints == ""
