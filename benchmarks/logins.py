"""What 100 log-ins at the same time do to everybody else's p99: it may not double.

Readers ask for a product and for a quote at a steady pace, over real HTTP from a whole running
shop. In turns they do so alone, and while 100 people log in with a wrong password, again and
again: all begin within a second, each waits as long as `Retry-After` says when turned away, and a
second before the next try.
Turns are short and many, so that other work on the machine falls on both alike.

Ends with 3 if the p99 of a route was more than twice as high beside the log-ins as alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import secrets
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from benchmarks.wire import Connection

if TYPE_CHECKING:
    from collections.abc import Sequence

NEEDS_SHOP = True  # bin/bench starts web, worker and beat as well, unless they run

ROOT = Path(__file__).resolve().parent.parent
ACCOUNTS = "/_allauth/app/v1/auth"
QUOTE = json.dumps({"items": [{"sku": "DEMO-PLENTY", "quantity": 1}]}).encode()
ROUTES = {
    "GET /products/{sku}": ("GET", "/api/v1/products/DEMO-PLENTY", b""),
    "POST /quotes": ("POST", "/api/v1/quotes", QUOTE),
}
READERS_A_ROUTE = 2
PAUSE_SECONDS = 0.02  # of a reader, between an answer and the next request
BETWEEN_LOG_INS_SECONDS = 1.0
DOUBLED = 2.0
MILESTONES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


class UnusableError(Exception):
    """The shop cannot be measured; the message says why in one line."""


class Readings:
    """Milliseconds of every answer, by route and by whether people were logging in."""

    def __init__(self) -> None:
        self.taken: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.failures: Counter[str] = Counter()
        self.log_ins: Counter[int] = Counter()
        self.seconds = 0.0

    def summary(self) -> list[dict[str, Any]]:
        return [
            {"route": route, "beside": beside, "requests": len(taken), **milestones(taken)}
            for (route, beside), taken in sorted(self.taken.items())
        ]

    def doubled(self) -> list[str]:
        """The routes whose p99 was more than twice that of their own when alone."""
        return [
            route
            for route in ROUTES
            if milestones(self.taken[route, "log-ins"])["p99"]
            > DOUBLED * milestones(self.taken[route, "nothing"])["p99"]
        ]


def milestones(values: Sequence[float]) -> dict[str, float]:
    """Nearest-rank percentiles, milliseconds."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return {
        name: round(ordered[min(last, int(share * len(ordered)))], 1)
        for name, share in MILESTONES.items()
    }


async def read(base_url: str, route: str, beside: str, readings: Readings, until: float) -> None:
    """Ask for one thing at a steady pace."""
    method, path, body = ROUTES[route]
    connection = Connection(base_url)
    while time.perf_counter() < until:
        started = time.perf_counter()
        try:
            answer = await connection.call(method, path, body)
        except OSError:
            readings.failures[f"{route}: no answer"] += 1
            continue
        if answer.status == 200:  # noqa: PLR2004
            readings.taken[route, beside].append((time.perf_counter() - started) * 1000)
        else:
            readings.failures[f"{route}: {answer.status}"] += 1
        await asyncio.sleep(PAUSE_SECONDS)
    await connection.close()


async def log_in(base_url: str, email: str, readings: Readings, until: float) -> None:
    """Try a wrong password again and again, as patiently as a person."""
    body = json.dumps({"email": email, "password": secrets.token_hex(8)}).encode()
    connection = Connection(base_url)
    await asyncio.sleep(random.random() * BETWEEN_LOG_INS_SECONDS)
    while time.perf_counter() < until:
        try:
            answer = await connection.call("POST", f"{ACCOUNTS}/login", body)
        except OSError:
            readings.failures["log-in: no answer"] += 1
            continue
        readings.log_ins[answer.status] += 1
        wait = float(answer.headers.get("retry-after", BETWEEN_LOG_INS_SECONDS))
        await asyncio.sleep(min(wait, max(0.0, until - time.perf_counter())))
    await connection.close()


async def measure(options: argparse.Namespace, *, base_url: str) -> Readings:
    """Read alone and beside the log-ins, in turns.

    Raises:
        UnusableError: no shop answers, or nobody can sign up.
    """
    email = await sign_up(base_url)
    warm, readings = Readings(), Readings()
    await asyncio.gather(
        *(read(base_url, route, "", warm, time.perf_counter() + 2.0) for route in ROUTES)
    )
    for _ in range(options.turns):
        for beside, people in (("nothing", 0), ("log-ins", options.people)):
            until = time.perf_counter() + options.seconds
            await asyncio.gather(
                *(log_in(base_url, email, readings, until) for _ in range(people)),
                *(
                    read(base_url, route, beside, readings, until)
                    for route in ROUTES
                    for _ in range(READERS_A_ROUTE)
                ),
            )
        readings.seconds += options.seconds
    return readings


async def sign_up(base_url: str) -> str:
    """An account whose password is guessed at."""
    email = f"bench-{secrets.token_hex(6)}@example.com"
    person = {"first_name": "Benny", "last_name": "Mark", "password": secrets.token_hex(12)}
    connection = Connection(base_url)
    try:
        body = json.dumps({**person, "email": email}).encode()
        answer = await connection.call("POST", f"{ACCOUNTS}/signup", body)
    except OSError as exc:
        raise UnusableError(f"no shop answers at {base_url}: {exc}") from exc
    finally:
        await connection.close()
    if answer.status != 200:  # noqa: PLR2004
        raise UnusableError(f"the sign-up answered {answer.status}")
    return email


def table(readings: Readings) -> Table:
    """Waiting times of the readers."""
    shown = Table(title="milliseconds to an answer")
    shown.add_column("route")
    shown.add_column("beside")
    for name in ("requests", *MILESTONES):
        shown.add_column(name, justify="right")
    for row in readings.summary():
        shown.add_row(*(str(row[name]) for name in ("route", "beside", "requests", *MILESTONES)))
    return shown


def write(report: dict[str, Any]) -> Path:
    """Keep the figures beside those of the other benchmarks."""
    home = Path(os.environ.get("ORDERKEEP_HOME", ROOT / ".local"))
    path = home / "bench" / "logins.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")
    return path


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--people", type=int, default=100, help="logging in (%(default)s)")
    parser.add_argument("--turns", type=int, default=5, help="of each kind (%(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a turn (%(default)s)")
    parser.add_argument("--base-url", help="a shop elsewhere, with its throttle off")
    return parser.parse_args()


def main() -> int:
    options = parse_arguments()
    base_url = options.base_url or os.environ.get("PUBLIC_URL", "http://127.0.0.1:8000")
    try:
        readings = asyncio.run(measure(options, base_url=base_url.rstrip("/")))
    except UnusableError as error:
        print(f"bench logins: {error}", file=sys.stderr)
        return 1
    console = Console()
    console.print(table(readings))
    tried = readings.log_ins[400]
    console.print(
        f"{tried / readings.seconds:.0f} log-ins a second were looked at,"
        f" {readings.log_ins[503] / readings.seconds:.0f} turned away for the moment"
    )
    doubled = readings.doubled()
    for route in doubled:
        console.print(f"[bold red]{route}: the p99 beside log-ins is more than twice that alone")
    for name, count in readings.failures.items():
        console.print(f"[bold red]{count} x {name}")
    report = {
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "people": options.people,
        "seconds": readings.seconds,
        "routes": readings.summary(),
        "log_ins": {str(status): count for status, count in readings.log_ins.items()},
        "failures": dict(readings.failures),
        "doubled": doubled,
    }
    console.print(f"written: {write(report)}")
    if doubled:
        return 3
    return 1 if readings.failures or not tried else 0


if __name__ == "__main__":
    sys.exit(main())
