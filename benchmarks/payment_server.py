"""How many payments a second the local payment server takes: `python -m benchmarks.payment_server`.

The server runs on one core, this client beside it on another (where there is one), over a few
keep-alive connections, each sending its next request when the last one is answered. The client is
a bare socket on purpose: the SDK costs more processor time than the server does. The target is
500 payments a second, a payment being one create and one confirm, so that the provider is never
the bottleneck of a benchmark of the shop. `per core` is what one undisturbed core would take, by
the processor time the server used: on a busy machine it tells more than `per second`.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlencode

TARGET_PER_SECOND = 500
ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 20.0


class Connection:
    """One keep-alive HTTP/1.1 connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, *, port: int) -> "Connection":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def call(
        self, method: str, path: str, form: dict[str, str] | None = None, *, key: str = ""
    ) -> bytes:
        """Send one request and return the body of its 200.

        Raises:
            RuntimeError: anything but 200 came back.
        """
        body = urlencode(form or {}).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            "Authorization: Bearer sk_test_benchmark\r\n"
        )
        if method == "POST":
            head += (
                "Content-Type: application/x-www-form-urlencoded\r\n"
                f"Content-Length: {len(body)}\r\nIdempotency-Key: {key}\r\n"
            )
        self._writer.write(head.encode() + b"\r\n" + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.partition(b":")[2])
            for line in answer.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        text = await self._reader.readexactly(length)
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"{method} {path}: {answer[:40]!r} {text[:200]!r}")
        return text

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


Work: TypeAlias = Callable[[Connection, str], Awaitable[None]]


def _create_form(*, confirm: bool) -> dict[str, str]:
    form = {
        "amount": "1999",
        "currency": "usd",
        "payment_method": "pm_card_visa",
        "automatic_payment_methods[enabled]": "true",
        "automatic_payment_methods[allow_redirects]": "never",
        "metadata[order_id]": str(uuid.uuid4()),
        "description": "Order OK-BENCH",
    }
    return form | {"confirm": "true"} if confirm else form


async def _create_then_confirm(connection: Connection, key: str) -> None:
    created = await connection.call(
        "POST", "/v1/payment_intents", _create_form(confirm=False), key=f"pi-{key}"
    )
    intent_id = json.loads(created)["id"]
    await connection.call("POST", f"/v1/payment_intents/{intent_id}/confirm", key=f"cf-{key}-1")


async def _create_confirmed(connection: Connection, key: str) -> None:
    await connection.call(
        "POST", "/v1/payment_intents", _create_form(confirm=True), key=f"pc-{key}"
    )


async def _pay_and_refund(connection: Connection, key: str) -> None:
    paid = await connection.call(
        "POST", "/v1/payment_intents", _create_form(confirm=True), key=f"pr-{key}"
    )
    form = {"payment_intent": json.loads(paid)["id"]}
    await connection.call("POST", "/v1/refunds", form, key=f"rf-{key}")


async def _list(connection: Connection, _key: str) -> None:
    await connection.call("GET", "/v1/payment_intents?limit=10")


SCENARIOS: dict[str, Work] = {
    "create, then confirm": _create_then_confirm,
    "create confirmed": _create_confirmed,
    "create confirmed, refund": _pay_and_refund,
    "list 10 intents": _list,
}


@dataclass
class Result:
    """What one scenario took."""

    scenario: str
    seconds: float
    server_cpu_seconds: float
    latencies_ms: list[float] = field(repr=False)

    @property
    def per_second(self) -> float:
        return len(self.latencies_ms) / self.seconds

    def summary(self) -> dict[str, float | int | str]:
        cuts = statistics.quantiles(self.latencies_ms, n=100)
        return {
            "scenario": self.scenario,
            "done": len(self.latencies_ms),
            "per_second": round(self.per_second, 1),
            "per_core": round(len(self.latencies_ms) / self.server_cpu_seconds, 1),
            "p50_ms": round(cuts[49], 2),
            "p99_ms": round(cuts[98], 2),
        }


async def measure(
    *, server: subprocess.Popen[str], port: int, scenario: str, connections: int, seconds: float
) -> Result:
    """Run one scenario for a while on several connections at once."""
    latencies: list[float] = []
    cpu_before = _cpu_seconds(server.pid)
    started = time.perf_counter()
    deadline = started + seconds

    async def work() -> None:
        connection = await Connection.open(port=port)
        while (begun := time.perf_counter()) < deadline:
            await SCENARIOS[scenario](connection, str(uuid.uuid4()))
            latencies.append((time.perf_counter() - begun) * 1000)
        await connection.close()

    await asyncio.gather(*(work() for _ in range(connections)))
    elapsed = time.perf_counter() - started
    return Result(scenario, elapsed, _cpu_seconds(server.pid) - cpu_before, latencies)


def _cpu_seconds(pid: int) -> float:
    """Processor time a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = int(fields[11]), int(fields[12])  # proc(5): utime and stime, in clock ticks
    return (user + system) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="per scenario (%(default)s)")
    parser.add_argument("--connections", type=int, default=8, help="at once (%(default)s)")
    options = parser.parse_args()
    server_core, client_core = _cores()
    with tempfile.TemporaryDirectory() as directory:
        server, port = _start_server(state=Path(directory) / "state.sqlite3", core=server_core)
        try:
            _pin(client_core)
            results = [
                asyncio.run(
                    measure(
                        server=server,
                        port=port,
                        scenario=scenario,
                        connections=options.connections,
                        seconds=options.seconds,
                    )
                )
                for scenario in SCENARIOS
            ]
        finally:
            server.terminate()
            server.wait(timeout=10)
    summaries = [result.summary() for result in results]
    _print(summaries)
    _write(summaries, connections=options.connections)
    return 0 if results[0].per_second >= TARGET_PER_SECOND else 1


def _cores() -> tuple[int, int]:
    """One core for the server and another for the client, if there are two."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[0], cores[-1]


def _pin(core: int, *, process: int = 0) -> None:
    os.sched_setaffinity(process, {core})


def _start_server(*, state: Path, core: int) -> tuple[subprocess.Popen[str], int]:
    server = subprocess.Popen(
        [sys.executable, "-m", "sandbox.payments", "--port", "0", "--state", str(state)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    if server.stdout is None:
        raise RuntimeError("the server was started without a pipe to read from")
    line = server.stdout.readline()  # printed once it listens; empty if it died
    if not line:
        raise RuntimeError(f"the server did not start: exit code {server.wait(START_SECONDS)}")
    _pin(core, process=server.pid)
    return server, int(line.partition("http://127.0.0.1:")[2].split()[0])


def _print(summaries: list[dict[str, float | int | str]]) -> None:
    columns = ["done", "per_second", "per_core", "p50_ms", "p99_ms"]
    print(f"{'scenario':26}" + "".join(f"{name.replace('_', ' '):>12}" for name in columns))
    for row in summaries:
        print(f"{row['scenario']:26}" + "".join(f"{row[name]:>12}" for name in columns))
    print(f"target: {TARGET_PER_SECOND} a second of '{next(iter(SCENARIOS))}'")


def _write(summaries: list[dict[str, float | int | str]], *, connections: int) -> None:
    home = Path(os.environ.get("ORDERKEEP_HOME", ROOT / ".local"))
    path = home / "bench" / "payment_server.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "connections": connections,
        "target_per_second": TARGET_PER_SECOND,
        "scenarios": summaries,
    }
    path.write_text(json.dumps(report, indent=2) + "\n")
    print(f"written: {path}")


if __name__ == "__main__":
    sys.exit(main())
