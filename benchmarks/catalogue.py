"""How many pages of the catalogue a second the shop shows, and how long one takes, warm.

Shoppers ask a whole running shop for the product list, for one product and for a search, over
keep-alive connections, each for the next page when the last one is there (a closed loop). Load
generator, web processes and database share this machine's cores.

Goal: for the list and the product 1,500 requests a second with a p95 under 20 ms, at 16
connections on 2 cores. Exit code 3 if a goal is missed, 1 if an answer was none.

`CPU: web` is user and system time of a request, in milliseconds, of all web processes. It tells
more than requests a second where other work runs on the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import gc
import json
import os
import platform
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from benchmarks.processes import Parts

NEEDS_SHOP = True  # bin/bench starts web, worker and beat as well, unless they run

ROOT = Path(__file__).resolve().parent.parent
PAGES: Final = {
    "list": "/api/v1/products",
    "product": "/api/v1/products/DEMO-PLENTY",
    "search": "/api/v1/products?search=organic+milk",
}
GOALS: Final = ("list", "product")
GOAL_PER_SECOND: Final = 1_500
GOAL_P95_MS: Final = 20.0
MISSED: Final = 3
MILESTONES: Final = {"p50": 0.50, "p95": 0.95, "p99": 0.99, "max": 1.0}
PARTS: Final = ("web", "postgres", "load generator")
_LENGTH = b"\r\ncontent-length:"


@dataclass
class Run:
    """What happened to the requests for one page."""

    page: str
    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    failures: int = 0
    cpu_seconds: dict[str, float] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        ordered = sorted(self.latencies_ms)
        last = len(ordered) - 1
        return {
            "page": self.page,
            "requests": len(ordered),
            "requests_per_second": round(len(ordered) / self.seconds, 1),
            "latency_ms": {
                name: round(ordered[min(last, int(share * len(ordered)))], 2)
                for name, share in MILESTONES.items()
                if ordered
            },
            "cpu_ms_per_request": {
                part: round(1000 * used / max(len(ordered), 1), 3)
                for part, used in self.cpu_seconds.items()
                if part in PARTS
            },
            "failures": self.failures,
        }


def misses_goal(summary: dict[str, Any]) -> bool:
    """Whether a page that has a goal does not reach it."""
    if summary["page"] not in GOALS:
        return False
    fast = summary["latency_ms"].get("p95", GOAL_P95_MS) < GOAL_P95_MS
    return not (fast and summary["requests_per_second"] >= GOAL_PER_SECOND)


class Shopper(asyncio.Protocol):
    """One keep-alive connection that sends the same request again and again.

    A bare protocol: it shares the cores with what it measures, and reads of an answer only its
    status, its length and when its last byte came.
    """

    def __init__(self, request: bytes, run: Run, *, until: float) -> None:
        self.request, self.run, self.until = request, run, until
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._received = b""
        self._sent_at = 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._ask()

    def data_received(self, received: bytes) -> None:
        self._received += received
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or len(body) < _body_length(head):
            return
        now = time.perf_counter()
        if head.startswith(b"HTTP/1.1 200 "):
            self.run.latencies_ms.append((now - self._sent_at) * 1000)
        else:
            self.run.failures += 1
        self._received = b""
        if now < self.until:
            self._ask()
        else:
            self._transport.close()

    def connection_lost(self, _error: Exception | None) -> None:
        if time.perf_counter() < self.until:
            self.run.failures += 1  # hung up in the middle
        if not self.ended.done():
            self.ended.set_result(None)

    def _ask(self) -> None:
        self._sent_at = time.perf_counter()
        self._transport.write(self.request)


def _body_length(head: bytes) -> int:
    _, _, rest = head.lower().partition(_LENGTH)
    return int(rest.partition(b"\r\n")[0])


async def measure(
    base_url: str, page: str, parts: Parts, *, connections: int, seconds: float
) -> Run:
    """Ask for one page for so long.

    Raises:
        OSError: no shop answers there.
    """
    url = urlsplit(base_url)
    request = f"GET {PAGES[page]} HTTP/1.1\r\nHost: {url.netloc}\r\n\r\n".encode()
    run = Run(page)
    loop = asyncio.get_running_loop()
    before = parts.snapshot()
    started = time.perf_counter()
    shoppers = []
    for _ in range(connections):
        _, shopper = await loop.create_connection(
            lambda: Shopper(request, run, until=started + seconds),
            url.hostname or "127.0.0.1",
            url.port or 80,
        )
        shoppers.append(shopper)
    await asyncio.gather(*(shopper.ended for shopper in shoppers))
    run.seconds = time.perf_counter() - started
    run.cpu_seconds = parts.snapshot() - before
    return run


async def measure_all(options: argparse.Namespace, base_url: str) -> list[dict[str, Any]]:
    home = Path(os.environ.get("ORDERKEEP_HOME", ROOT / ".local"))
    parts = Parts(home if options.base_url is None else Path(os.devnull))
    summaries = []
    for page in options.pages:
        ask = functools.partial(measure, base_url, page, parts, connections=options.connections)
        await ask(seconds=options.warmup)
        run = await ask(seconds=options.seconds)
        summaries.append(run.summary())
    return summaries


def table(summaries: list[dict[str, Any]], *, connections: int) -> Table:
    """Rates and waiting times."""
    shown = Table(title=f"the catalogue, {connections} connections, milliseconds")
    for name in ("page", "requests/s", *MILESTONES, "CPU: web", "failures", "goal"):
        shown.add_column(name, justify="left" if name == "page" else "right")
    for row in summaries:
        goal = "missed" if misses_goal(row) else "reached" if row["page"] in GOALS else ""
        figures = [row["latency_ms"].get(name, "") for name in MILESTONES]
        cpu = row["cpu_ms_per_request"].get("web", "")
        cells = (row["page"], row["requests_per_second"], *figures, cpu, row["failures"], goal)
        shown.add_row(*map(str, cells))
    shown.caption = f"goal: {GOAL_PER_SECOND:,}/s, p95 < {GOAL_P95_MS:g} ms, on 2 cores"
    return shown


def write(report: dict[str, Any]) -> Path:
    """Keep the figures beside those of the other benchmarks."""
    home = Path(os.environ.get("ORDERKEEP_HOME", ROOT / ".local"))
    path = home / "bench" / "catalogue.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")
    return path


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--connections", type=int, default=16, help="at once (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="measured, each (%(default)s)")
    parser.add_argument("--warmup", type=float, default=6.0, help="before, each (%(default)s)")
    parser.add_argument("--pages", nargs="+", choices=list(PAGES), default=list(PAGES))
    parser.add_argument("--base-url", help="a shop elsewhere")
    return parser.parse_args()


def main() -> int:
    options = parse_arguments()
    base_url = options.base_url or os.environ.get("PUBLIC_URL", "http://127.0.0.1:8000")
    gc.disable()  # nothing of ours makes cycles while it measures
    try:
        summaries = asyncio.run(measure_all(options, base_url.rstrip("/")))
    except OSError as error:
        print(f"bench catalogue: no shop answers at {base_url}: {error}", file=sys.stderr)
        return 1
    console = Console()
    console.print(table(summaries, connections=options.connections))
    report = {
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "connections": options.connections,
        "goal": {"requests_per_second": GOAL_PER_SECOND, "p95_ms": GOAL_P95_MS, "of": GOALS},
        "pages": summaries,
    }
    console.print(f"written: {write(report)}")
    if any(row["failures"] for row in summaries):
        return 1
    return MISSED if any(map(misses_goal, summaries)) else 0


if __name__ == "__main__":
    sys.exit(main())
