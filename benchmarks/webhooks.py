"""How fast webhooks are answered: signed events, each with an id of its own, in a flood.

Sent over real HTTP to a whole running shop on this machine, the load generator included. The
events are about intents of nobody's, so that all of the time is taking them in; the worker ignores
them meanwhile. The promise is an answer within 100 ms. Exit code 1 if one event in a hundred took
longer, or was not answered 200.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import hmac
import itertools
import json
import os
import secrets
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.orders import milestones
from benchmarks.wire import Connection

if TYPE_CHECKING:
    from collections.abc import Iterator

NEEDS_SHOP = True  # bin/bench starts web, worker and beat as well, unless they run

ROOT = Path(__file__).resolve().parent.parent
PATH = "/api/v1/webhooks/stripe"
PROMISED_MS = 100.0
WARM_UP = 100


def events(secret: str) -> Iterator[tuple[bytes, str]]:
    """Bodies and their signatures, for ever."""
    run = secrets.token_hex(6)
    for number in itertools.count():
        at = int(time.time())
        about = {"object": "payment_intent", "id": f"pi_bench{run}{number}", "metadata": {}}
        body = json.dumps(
            {
                "id": f"evt_bench{run}{number}",
                "object": "event",
                "type": "payment_intent.succeeded",
                "created": at,
                "livemode": False,
                "data": {"object": about},
            }
        ).encode()
        signed = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256)
        yield body, f"t={at},v1={signed.hexdigest()}"


async def flood(
    base_url: str, *, secret: str, count: int, at_once: int, progress: Progress
) -> tuple[list[float], Counter[str], float]:
    """Send so many; returns how long each took (ms), what else was answered, and seconds in all."""
    told = events(secret)
    took: list[float] = []
    failures: Counter[str] = Counter()
    task = progress.add_task("webhooks", total=count)

    async def send(connection: Connection, share: int, *, counts: bool) -> None:
        for _ in range(share):
            body, signature = next(told)
            started = time.perf_counter()
            try:
                answer = await connection.call("POST", PATH, body, {"Stripe-Signature": signature})
            except OSError as exc:
                failures[type(exc).__name__] += counts
                continue
            if not counts:
                continue
            progress.advance(task)
            if answer.status == 200:  # noqa: PLR2004
                took.append((time.perf_counter() - started) * 1000)
            else:
                failures[str(answer.status)] += 1

    connections = [Connection(base_url) for _ in range(at_once)]
    shares = [count // at_once + (n < count % at_once) for n in range(at_once)]
    await asyncio.gather(*(send(c, WARM_UP // at_once, counts=False) for c in connections))
    started = time.perf_counter()
    await asyncio.gather(
        *(send(c, share, counts=True) for c, share in zip(connections, shares, strict=True))
    )
    seconds = time.perf_counter() - started
    for connection in connections:
        await connection.close()
    return took, failures, seconds


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="bin/bench webhooks", description=__doc__)
    parser.add_argument("--count", type=int, default=2_000, help="events (%(default)s)")
    parser.add_argument("--at-once", type=int, default=4, help="connections (%(default)s)")
    options = parser.parse_args()
    base_url = os.environ.get("PUBLIC_URL", "http://127.0.0.1:8000").rstrip("/")
    secret = os.environ.get("STRIPE_WEBHOOK_SECRET", "").split(",")[0]
    if not secret:
        print("bench webhooks: STRIPE_WEBHOOK_SECRET is not set", file=sys.stderr)
        return 1
    with Progress(console=Console(stderr=True)) as progress:
        took, failures, seconds = asyncio.run(
            flood(
                base_url,
                secret=secret,
                count=options.count,
                at_once=options.at_once,
                progress=progress,
            )
        )
    report: dict[str, Any] = {
        "events": options.count,
        "at_once": options.at_once,
        "per_second": round(len(took) / seconds, 1),
        "latency_ms": milestones(took),
        "failures": dict(failures),
    }
    table = Table("events", "at once", "per second", *report["latency_ms"], "failures")
    figures = [report["events"], report["at_once"], report["per_second"]]
    figures += [*report["latency_ms"].values(), dict(failures) or "none"]
    table.add_row(*map(str, figures))
    Console().print(table)
    home = Path(os.environ.get("ORDERKEEP_HOME", ROOT / ".local"))
    (home / "bench" / "webhooks.json").write_text(json.dumps(report, indent=2) + "\n")
    is_kept = not failures and report["latency_ms"].get("p99", PROMISED_MS) < PROMISED_MS
    return 0 if is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
