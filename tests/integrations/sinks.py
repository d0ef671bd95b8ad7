"""Drives the sinks from tests: faults, what they received, the journal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from config.processes import die_with_parent
from sandbox.sinks import TOKEN

ROOT = Path(__file__).resolve().parents[2]


class SinksProcess:
    """`python -m sandbox.sinks` in the foreground of a child process."""

    def __init__(self, *, state: Path, port: int = 0, options: tuple[str, ...] = ()) -> None:
        state.parent.mkdir(parents=True, exist_ok=True)
        self.state = state
        self.log = state.with_suffix(".log")
        self._output = self.log.open("a")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "sandbox.sinks"),
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
        words = self.line.replace("(", " ").replace(",", " ").split()
        self.url = next((word for word in words if word.startswith("http://")), "")
        self.email_url = next((word for word in words if word.startswith("smtp://")), "")

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


@dataclass(frozen=True, kw_only=True)
class Received:
    """What one receiver has got so far."""

    calls: int
    kept: int
    duplicates: int
    changed: int
    refused: int
    spoiled: int
    kinds: dict[str, int]
    items: list[dict[str, Any]]

    @property
    def bodies(self) -> list[Any]:
        """What it kept, in order of arrival."""
        return [item["body"] for item in self.items]

    @property
    def types(self) -> list[str]:
        """The types of the events it kept, in order of arrival."""
        return [item["body"]["type"] for item in self.items]


class Sinks:
    """The receivers at this address, and the test endpoints beside them."""

    token = TOKEN

    def __init__(self, url: str, *, email_url: str = "") -> None:
        """Speak with the sinks at `url`; `email_url` is what EMAIL_URL may be."""
        self.url = url
        self.email_url = email_url
        self._http = urllib3.PoolManager(timeout=10, retries=False)

    def base_url(self, receiver: str) -> str:
        """The `X_BASE_URL` of a receiver."""
        return f"{self.url}/{receiver}"

    def configure(self, settings: Any, *receivers: str) -> None:
        """Set `X_BASE_URL` and `X_TOKEN` for these."""
        for receiver in receivers:
            setattr(settings, f"{receiver.upper()}_BASE_URL", self.base_url(receiver))
            setattr(settings, f"{receiver.upper()}_TOKEN", self.token)

    def fail(
        self, receiver: str, kind: str, *, times: int | None = 1, **more: Any
    ) -> dict[str, Any]:
        """The next `times` matching calls of a receiver go wrong in this way."""
        return self.ask(
            "POST", "/_test/faults", {"receiver": receiver, "kind": kind, "times": times, **more}
        )

    def clear_faults(self) -> None:
        """Have everything go right again."""
        self.ask("DELETE", "/_test/faults")

    def received(
        self, receiver: str, *, kind: str | None = None, key: str | None = None
    ) -> Received:
        """The counts of a receiver, and all that it kept (of this kind, with this key)."""
        wanted = {"kind": kind, "key": key}
        query = {name: value for name, value in wanted.items() if value is not None}
        items: list[dict[str, Any]] = []
        while True:
            after = str(items[-1]["number"] if items else 0)
            page = self.ask("GET", f"/_test/received/{receiver}", **query, after=after)
            items += page.pop("items")
            if not items or items[-1]["number"] == int(after):
                page.pop("receiver")
                return Received(**page, items=items)

    def journal(self, **filters: str) -> list[dict[str, Any]]:
        """The calls in order of arrival: by `receiver`, `path` or `idempotency_key`."""
        calls: list[dict[str, Any]] = []
        while True:
            after = str(calls[-1]["number"] if calls else 0)
            page = self.ask("GET", "/_test/journal", **filters, after=after)["calls"]
            calls += page
            if not page:
                return calls

    def tell(self, receiver: str, **settings: Any) -> None:
        """Have a receiver know something, its webhooks' secrets for example."""
        self.ask("PUT", f"/_test/settings/{receiver}", settings)

    def wait_for(self, receiver: str, *, kept: int, seconds: float = 10.0) -> Received:
        """What a receiver has as soon as it has so much."""
        deadline = time.monotonic() + seconds
        while (found := self.received(receiver)).kept < kept:
            assert time.monotonic() < deadline, f"{receiver} has {found.kept} of {kept}"
            time.sleep(0.02)
        return found

    def reset(self) -> None:
        """Forget everything: faults, settings, what was received."""
        self.ask("POST", "/_test/reset")

    def ask(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        """Call the test endpoints; they must do what they are asked."""
        more = {"fields": query} if body is None else {"body": json.dumps(body)}
        answer = self._http.request(method, f"{self.url}{path}", **more)
        assert answer.status < 300, answer.data
        return json.loads(answer.data)
