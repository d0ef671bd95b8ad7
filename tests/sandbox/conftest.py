"""A real payment server on a free port, in its own process, for the tests of this directory."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from config.processes import die_with_parent

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk_test_of_the_tests"
NO_REDIRECTS = {
    "automatic_payment_methods[enabled]": "true",
    "automatic_payment_methods[allow_redirects]": "never",
}


class ServerProcess:
    """`python -m sandbox.payments` in the foreground of a child process."""

    def __init__(self, *, state: Path, port: int = 0, options: tuple[str, ...] = ()) -> None:
        state.parent.mkdir(parents=True, exist_ok=True)
        self.state = state
        self.log = state.with_suffix(".log")
        self._output = self.log.open("a")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "sandbox.payments"),
                *("--port", str(port), "--state", str(state), *options),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=self._output,
            text=True,
            preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 - touches no lock
        )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()  # printed once it listens, empty if it died
        self.url = ""
        if self.line:
            self.url = self.line.split("listening on ")[1].split()[0]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            os.kill(self.process.pid, number)
        code = self.process.wait(timeout=15)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._output.close()
        return code

    @property
    def complaints(self) -> str:
        return self.log.read_text()


class Api:
    """What a client of the server says most often."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=30, trust_env=False
        )

    def post(
        self, path: str, form: dict[str, Any] | None = None, *, key: str | None = None
    ) -> httpx.Response:
        headers = {} if key is None else {"Idempotency-Key": key}
        form = {name: str(value) for name, value in (form or {}).items()}
        return self.http.post(path, data=form, headers=headers)

    def get(self, path: str, /, **params: Any) -> httpx.Response:
        return self.http.get(path, params=params)

    def create(self, *, key: str | None = None, **form: Any) -> httpx.Response:
        basics = {"amount": 1999, "currency": "usd", "payment_method": "pm_card_visa"}
        return self.post("/v1/payment_intents", {**basics, **NO_REDIRECTS, **form}, key=key)

    def intent(self, **form: Any) -> dict[str, Any]:
        answer = self.create(**form)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def paid(self, **form: Any) -> dict[str, Any]:
        intent = self.intent(confirm="true", **form)
        assert intent["status"] == "succeeded"
        return intent

    def read(self, intent: dict[str, Any]) -> dict[str, Any]:
        return self.get(f"/v1/payment_intents/{intent['id']}").json()

    def confirm(self, intent: dict[str, Any], *, key: str | None = None, **form: Any):
        return self.post(f"/v1/payment_intents/{intent['id']}/confirm", form, key=key)

    def cancel(self, intent: dict[str, Any], **form: Any) -> httpx.Response:
        return self.post(f"/v1/payment_intents/{intent['id']}/cancel", form)

    def refund(self, intent: dict[str, Any], *, key: str | None = None, **form: Any):
        return self.post("/v1/refunds", {"payment_intent": intent["id"], **form}, key=key)

    def act(self, intent: dict[str, Any], outcome: str) -> httpx.Response:
        path = f"/_test/payment_intents/{intent['id']}/action"
        return self.http.post(path, json={"outcome": outcome})

    def break_next(self, kind: str, **fault: Any) -> dict[str, Any]:
        answer = self.http.post("/_test/faults", json={"kind": kind, **fault})
        assert answer.status_code == 201, answer.text
        return answer.json()

    def journal(self, **filters: Any) -> list[dict[str, Any]]:
        return self.get("/_test/journal", **filters).json()["requests"]

    def intents(self) -> list[dict[str, Any]]:
        return self.get("/v1/payment_intents", limit=100).json()["data"]


def wait_until(holds: Callable[[], bool], *, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = ServerProcess(state=tmp_path_factory.mktemp("payments") / "state.sqlite3")
    yield server
    server.stop()
    assert server.complaints == ""


@pytest.fixture(scope="session")
def shared_client(shared_server: ServerProcess) -> Iterator[Api]:
    client = Api(shared_server.url)  # one for all: making a client costs more than a test
    yield client
    client.http.close()


@pytest.fixture
def api(shared_client: Api) -> Api:
    """A client of the shared server, which has forgotten all other tests."""
    shared_client.http.post("/_test/reset").raise_for_status()
    return shared_client


@pytest.fixture(scope="session")
def stranger(shared_server: ServerProcess) -> Iterator[httpx.Client]:
    """A client without any key."""
    with httpx.Client(base_url=shared_server.url, trust_env=False) as client:
        yield client


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Start servers of one's own, to be stopped or killed by the test."""
    started: list[ServerProcess] = []

    def start(*, name: str = "own", port: int = 0, options: tuple[str, ...] = ()) -> ServerProcess:
        server = ServerProcess(state=tmp_path / f"{name}.sqlite3", port=port, options=options)
        started.append(server)
        return server

    yield start
    for server in started:
        if server.process.poll() is None:
            server.stop(signal.SIGKILL)


@pytest.fixture
def eventually() -> Callable[..., None]:
    return wait_until


@pytest.fixture
def client_of() -> Iterator[Callable[[ServerProcess], Api]]:
    clients: list[Api] = []

    def connect(server: ServerProcess) -> Api:
        clients.append(Api(server.url))
        return clients[-1]

    yield connect
    for client in clients:
        client.http.close()
