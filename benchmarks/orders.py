"""How many orders a second the shop takes, how long one takes and what it costs: `POST /orders`.

Guests buy several different products over real HTTP from a whole running shop: web, worker, beat,
database, cache and the local payment server, all on this machine, the load generator included.
Every buyer sends the next order when the last one is answered (a closed loop).

`latency` is what a buyer waits. `without provider` is the same less the time that the web process
waited for the payment provider's answers: from the last byte of each request to the last byte of
its answer, as told by the `Server-Timing: provider` header of that very response.

`CPU per order` counts user and system time of all processes of a part, from the first measured
order until the worker has sent the last e-mail. It tells more than orders a second where other
work runs on the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import platform
import random
import secrets
import string
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg2
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from benchmarks.processes import Parts
from benchmarks.wire import Connection

if TYPE_CHECKING:
    from collections.abc import Sequence

NEEDS_SHOP = True  # bin/bench starts web, worker and beat as well, unless they run

ROOT = Path(__file__).resolve().parent.parent
HOT_SKU = "DEMO-PLENTY"
LEAST_STOCK = 100  # of a product that is bought by chance: no run should sell it out
DRAIN_SECONDS = 120.0
ADDRESS = {
    "name": "Benny Mark",
    "line1": "1 Main Street",
    "city": "New York",
    "state": "NY",
    "postal_code": "10001",
    "country": "US",
}
MILESTONES = {"p50": 0.50, "p95": 0.95, "p99": 0.99, "max": 1.0}


class UnusableError(Exception):
    """The shop cannot be measured; the message says why in one line."""


@dataclass
class Stage:
    """What happened with so many buyers at once."""

    buyers: int
    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    provider_ms: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    order_numbers: list[str] = field(default_factory=list)
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    drain_seconds: float = 0.0

    @property
    def orders(self) -> int:
        return len(self.latencies_ms)

    @property
    def without_provider_ms(self) -> list[float]:
        """Per order; empty unless every answer told its provider time."""
        if len(self.provider_ms) != self.orders:
            return []
        return [
            whole - provider
            for whole, provider in zip(self.latencies_ms, self.provider_ms, strict=True)
        ]

    def summary(self) -> dict[str, Any]:
        return {
            "buyers": self.buyers,
            "orders": self.orders,
            "orders_per_second": round(self.orders / self.seconds, 1),
            "latency_ms": milestones(self.latencies_ms),
            "without_provider_ms": milestones(self.without_provider_ms),
            "failures": dict(self.failures),
            "cpu_ms_per_order": {
                part: round(1000 * used / max(self.orders, 1), 2)
                for part, used in self.cpu_seconds.items()
            },
            "emails_out_after_seconds": round(self.drain_seconds, 1),
        }


def milestones(values: Sequence[float]) -> dict[str, float]:
    """Nearest-rank percentiles; empty where nothing was measured."""
    ordered = sorted(values)
    if not ordered:
        return {}
    last = len(ordered) - 1
    return {
        name: round(ordered[min(last, int(share * len(ordered)))], 1)
        for name, share in MILESTONES.items()
    }


# --- buying ---------------------------------------------------------------------------------------


class Till:
    """Makes orders of random baskets, each by another guest under another key."""

    def __init__(self, *, base_url: str, skus: Sequence[str], lines: int) -> None:
        self.base_url = base_url
        self.skus = skus
        self.lines = lines
        # No digits: with those of the number they might be a card number's, which is refused.
        self._run = "".join(secrets.choice(string.ascii_lowercase) for _ in range(10))
        self._numbers = itertools.count()

    async def buy(self, connection: Connection, stage: Stage | None) -> None:
        """Place one order; without a stage it only warms the shop up."""
        number = next(self._numbers)
        body = {
            "items": [{"sku": sku, "quantity": 1} for sku in random.sample(self.skus, self.lines)],
            "payment_method_id": "pm_card_visa",
            "shipping_address": ADDRESS,
            "customer": {
                "email": f"bench-{self._run}-{number}@example.com",
                "first_name": "Benny",
                "last_name": "Mark",
            },
        }
        content = json.dumps(body).encode()
        key = {"Idempotency-Key": f"bench-{self._run}-{number}"}
        started = time.perf_counter()
        try:
            answer = await connection.call("POST", "/api/v1/orders", content, key)
        except OSError:
            if stage is not None:
                stage.failures["no answer"] += 1
            return
        elapsed_ms = (time.perf_counter() - started) * 1000
        if stage is None:
            return
        if answer.status != 201:  # noqa: PLR2004
            stage.failures[_name_of(answer)] += 1
            return
        stage.latencies_ms.append(elapsed_ms)
        stage.order_numbers.append(answer.json()["order_number"])
        if (provider_ms := answer.timing("provider")) is not None:
            stage.provider_ms.append(provider_ms)


def _name_of(answer: Any) -> str:
    try:
        return f"{answer.status} {answer.json()['error']['code']}"
    except (ValueError, LookupError, TypeError):
        return str(answer.status)


async def run_stage(
    till: Till, *, buyers: int, warmup: float, seconds: float, parts: Parts, progress: Progress
) -> Stage:
    """Let so many buyers buy for a while, then wait for the worker to catch up."""
    stage = Stage(buyers)
    task = progress.add_task(f"{buyers} buyer{'s' * (buyers > 1)}", total=warmup + seconds)
    begun = time.perf_counter()
    before = parts.snapshot()

    async def shop(connection: Connection, *, until: float, into: Stage | None) -> None:
        while time.perf_counter() < until:
            await till.buy(connection, into)
            progress.update(task, completed=time.perf_counter() - begun)

    for into, length in ((None, warmup), (stage, seconds)):
        # New ones each time: the server hangs up on those that had nothing to say for a while.
        connections = [Connection(till.base_url) for _ in range(buyers)]
        before = parts.snapshot()
        started = time.perf_counter()
        await asyncio.gather(
            *(shop(connection, until=started + length, into=into) for connection in connections)
        )
        stage.seconds = time.perf_counter() - started
        for connection in connections:
            await connection.close()
        if into is None and warmup:  # its e-mails are not this stage's
            parts.wait_until_idle(["worker"], seconds=DRAIN_SECONDS)
    progress.update(task, description=f"{buyers} buyers: e-mails")
    if "worker" in parts.roots:
        stage.drain_seconds = parts.wait_until_idle(["worker"], seconds=DRAIN_SECONDS)
    stage.cpu_seconds = parts.snapshot() - before
    progress.update(task, completed=warmup + seconds, description=f"{buyers} buyers: done")
    return stage


async def choose_skus(base_url: str, *, hot: bool, lines: int) -> list[str]:
    """Products that will not be sold out during the run.

    Raises:
        UnusableError: the shop is not there, or has not enough of them.
    """
    if hot:
        return [HOT_SKU]
    connection = Connection(base_url)
    skus: list[str] = []
    path = "/api/v1/products?in_stock=true&page_size=100"
    try:
        while path:
            answer = await connection.call("GET", path)
            if answer.status != 200:  # noqa: PLR2004
                raise UnusableError(f"GET {path} answered {_name_of(answer)}")
            page = answer.json()
            skus += [
                found["sku"]
                for found in page["results"]
                if found["available_quantity"] >= LEAST_STOCK
            ]
            path = "/api/v1" + page["next"].partition("/api/v1")[2] if page["next"] else ""
    except OSError as exc:
        raise UnusableError(f"no shop answers at {base_url}: {exc}") from exc
    finally:
        await connection.close()
    if len(skus) < lines:
        raise UnusableError(f"only {len(skus)} products have {LEAST_STOCK} or more in stock")
    return skus


# --- afterwards -----------------------------------------------------------------------------------


def check(order_numbers: Sequence[str]) -> list[str]:
    """What is wrong with the orders that were acknowledged: none may be missing, no book untrue."""
    database = os.environ.get("DATABASE_URL")
    if database is None:
        return ["unchecked: the shop's database is not ours to look into"]
    with psycopg2.connect(database) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM orders WHERE order_number = ANY(%s) AND status = 'confirmed'",
            [list(order_numbers)],
        )
        (found,) = cursor.fetchone() or (0,)
    problems = []
    if found != len(order_numbers):
        problems.append(f"{len(order_numbers)} orders were acknowledged, {found} are confirmed")
    books = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "check_books"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if books.returncode:
        problems.append(f"check_books: {(books.stdout or books.stderr).strip()}")
    return problems


# --- telling --------------------------------------------------------------------------------------


def latency_table(summaries: Sequence[dict[str, Any]]) -> Table:
    """Rates and waiting times."""
    table = Table(title="orders by guests, milliseconds")
    names = [*MILESTONES, *(f"{name}*" for name in MILESTONES)]
    for name in ("buyers", "orders", "orders/s", *names):
        table.add_column(name, justify="right")
    table.add_column("failures")
    for row in summaries:
        figures = [row["latency_ms"].get(name, "") for name in MILESTONES]
        figures += [row["without_provider_ms"].get(name, "") for name in MILESTONES]
        failures = ", ".join(f"{count} x {name}" for name, count in row["failures"].items())
        cells = (row["buyers"], row["orders"], row["orders_per_second"], *figures)
        table.add_row(*map(str, cells), failures or "none")
    table.caption = "* without provider: less what Server-Timing says its answers took"
    return table


def cost_table(summaries: Sequence[dict[str, Any]]) -> Table:
    """Processor time of an order, by part of the shop."""
    parts = list(dict.fromkeys(part for row in summaries for part in row["cpu_ms_per_order"]))
    table = Table(title="CPU per order, milliseconds")
    for name in ("buyers", *parts, "all", "e-mails out after"):
        table.add_column(name, justify="right")
    for row in summaries:
        costs = row["cpu_ms_per_order"]
        cells = [f"{costs.get(part, 0):.1f}" for part in parts]
        total = f"{sum(costs.values()):.1f}"
        drained = f"{row['emails_out_after_seconds']} s"
        table.add_row(str(row["buyers"]), *cells, total, drained)
    return table


def write(report: dict[str, Any]) -> Path:
    """Keep the figures beside those of the other benchmarks."""
    home = Path(os.environ.get("ORDERKEEP_HOME", ROOT / ".local"))
    path = home / "bench" / "orders.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n")
    return path


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--buyers", type=_counts, default=[1, 8, 32], metavar="N,N", help="at once (1,8,32)"
    )
    parser.add_argument("--seconds", type=float, default=15.0, help="measured, each (%(default)s)")
    parser.add_argument("--warmup", type=float, default=3.0, help="before, each (%(default)s)")
    parser.add_argument("--lines", type=int, default=3, help="different products (%(default)s)")
    parser.add_argument("--hot", action="store_true", help=f"everybody buys one {HOT_SKU}")
    parser.add_argument("--base-url", help="a shop elsewhere; no CPU, no check of its books")
    return parser.parse_args()


def _counts(text: str) -> list[int]:
    counts = [int(part) for part in text.split(",")]
    if min(counts) < 1:
        raise argparse.ArgumentTypeError("at least one buyer")
    return counts


async def measure(options: argparse.Namespace, *, base_url: str, parts: Parts) -> list[Stage]:
    lines = 1 if options.hot else options.lines
    skus = await choose_skus(base_url, hot=options.hot, lines=lines)
    till = Till(base_url=base_url, skus=skus, lines=lines)
    bar = (TextColumn("{task.description:20}"), BarColumn(), TimeRemainingColumn())
    with Progress(*bar, console=Console(stderr=True)) as progress:
        return [
            await run_stage(
                till,
                buyers=buyers,
                warmup=options.warmup,
                seconds=options.seconds,
                parts=parts,
                progress=progress,
            )
            for buyers in options.buyers
        ]


def main() -> int:
    options = parse_arguments()
    base_url = options.base_url or os.environ.get("PUBLIC_URL", "http://127.0.0.1:8000")
    home = Path(os.environ.get("ORDERKEEP_HOME", ROOT / ".local"))
    parts = Parts(home if options.base_url is None else Path(os.devnull))
    try:
        stages = asyncio.run(measure(options, base_url=base_url.rstrip("/"), parts=parts))
    except UnusableError as error:
        print(f"bench orders: {error}", file=sys.stderr)
        return 1
    summaries = [stage.summary() for stage in stages]
    memory = parts.peak_memory_mb("web")
    numbers = [number for stage in stages for number in stage.order_numbers]
    problems = check(numbers) if options.base_url is None else []
    console = Console()
    console.print(latency_table(summaries), cost_table(summaries))
    if memory is not None:
        console.print(f"largest web process: {memory:.0f} MB at its peak")
    for problem in problems:
        console.print(f"[bold red]{problem}")
    if not problems and options.base_url is None:
        console.print(f"all {len(numbers)} acknowledged orders are confirmed; the books are true")
    report = {
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "lines": 1 if options.hot else options.lines,
        "hot": options.hot,
        "seconds": options.seconds,
        "web_peak_memory_mb": memory and round(memory, 1),
        "stages": summaries,
        "problems": problems,
    }
    console.print(f"written: {write(report)}")
    return 1 if problems or any(stage.failures for stage in stages) else 0


if __name__ == "__main__":
    sys.exit(main())
