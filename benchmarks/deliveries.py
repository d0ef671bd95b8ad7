"""How fast a backlog of facts is delivered to other systems, and that it arrives once and in order.

In a database of its own, which is dropped afterwards: facts about orders, three to each, and
receivers that are called over real HTTP, played by the sinks in a process of their own. Worker
processes relay side by side, as Celery's do. The promise is 200 deliveries a second on two cores.
Then one receiver stalls, and the others must not notice. Exit code 1 if any of this is not so.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.books import ROOT, UnusableError, own_database, start_django

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from audit.models import OutboxMessage

NEEDS_TEST_SERVERS = True

PROMISED_A_SECOND: Final = 200
FACTS_OF_AN_ORDER: Final = ("bench.placed", "bench.paid", "bench.sent")
RECEIVERS: Final = ("crm", "fulfilment", "support", "marketing")
STALLED: Final = "support"
PATIENCE_SECONDS: Final = 300.0
LONGEST_HOLD_UP_SECONDS: Final = 5.0
TOKEN: Final = "sink_token_bench"  # noqa: S105 - of a server of this run alone


def subscribe(base_url: str) -> None:
    """Have every receiver told of every fact."""
    from audit import outbox  # noqa: PLC0415 - only once Django is set up
    from integrations import envelopes  # noqa: PLC0415 - as above

    def tell_at(receiver: str) -> Any:
        client = envelopes.receiver(name=receiver, base_url=f"{base_url}/{receiver}", token=TOKEN)

        def tell(message: OutboxMessage) -> None:
            envelopes.post(
                client,
                key=message.uuid,
                kind=message.fact,
                occurred_at=message.occurred_at,
                content=message.payload,
            )

        return tell

    for receiver in RECEIVERS:
        handler = tell_at(receiver)
        for fact in FACTS_OF_AN_ORDER:
            outbox.subscribe(fact, receiver, handler)


def work(base_url: str, seconds: float) -> None:
    """Relay for so long, as a worker that is nudged again and again."""
    from audit import outbox  # noqa: PLC0415 - only once Django is set up
    from config.kernel.clock import Deadline  # noqa: PLC0415 - as above

    subscribe(base_url)
    ends_at = Deadline(seconds)
    while ends_at.remaining() > 0:
        if not outbox.relay(deadline=Deadline(5.0), threads=12).attempted:
            time.sleep(0.2)


def state_facts(orders: int, *, run: str) -> None:
    """As many facts as so many orders state."""
    from django.db import connection  # noqa: PLC0415 - only once Django is set up

    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO outbox_messages (uuid, fact, aggregate_type, aggregate_id, dedupe_key,
                                         payload)
            SELECT gen_random_uuid(), fact, 'order', number, %(run)s || fact || number,
                   jsonb_build_object('order_id', number, 'order_number', 'BENCH-' || number,
                                      'total_amount', '24.98', 'currency', 'USD', 'step', step)
            FROM unnest(%(facts)s::text[]) WITH ORDINALITY AS stated (fact, step),
                 generate_series(%(first)s::bigint, %(last)s::bigint) AS number
            ORDER BY step, number
            """,
            {
                "run": run,
                "facts": list(FACTS_OF_AN_ORDER),
                "first": 1 if run == "drain" else 10_000_001,
                "last": orders if run == "drain" else 10_000_000 + orders,
            },
        )


@contextlib.contextmanager
def workers(count: int, *, base_url: str, database: str) -> Iterator[None]:
    """So many processes that relay."""
    command = [sys.executable, "-m", "benchmarks.deliveries", "--work", base_url]
    environment = {**os.environ, "DATABASE_URL": database}
    started = [subprocess.Popen(command, env=environment, cwd=ROOT) for _ in range(count)]
    try:
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()


@contextlib.contextmanager
def sinks(directory: str) -> Iterator[httpx.Client]:
    """The receivers, in a process of their own."""
    command = [
        *(sys.executable, "-m", "sandbox.sinks", "--port", "0"),
        *("--state", f"{directory}/sinks.sqlite", "--token", TOKEN),
    ]
    with (
        Path(f"{directory}/sinks.log").open("wb") as log,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True) as it,
    ):
        try:
            assert it.stdout is not None  # noqa: S101 - a pipe was asked for
            line = it.stdout.readline()
            if "listening on " not in line:
                raise UnusableError("the sinks do not come up")
            with httpx.Client(base_url=line.split("listening on ")[1].split()[0]) as client:
                yield client
        finally:
            it.terminate()


def count_delivered(*, receivers: Sequence[str]) -> int:
    """What the books say was delivered to these."""
    from audit.models import Delivery  # noqa: PLC0415 - only once Django is set up

    return Delivery.objects.filter(status="delivered", subscriber__in=receivers).count()


def wait_for(goal: int, *, receivers: Sequence[str], progress: Progress, what: str) -> float:
    """Until so many are delivered; returns the seconds it took.

    Raises:
        UnusableError: they are not, within minutes.
    """
    task = progress.add_task(what, total=goal)
    started = time.monotonic()
    while (done := count_delivered(receivers=receivers)) < goal:
        progress.update(task, completed=done)
        if time.monotonic() > started + PATIENCE_SECONDS:
            raise UnusableError(f"{done} of {goal} deliveries within {PATIENCE_SECONDS:.0f} s")
        time.sleep(0.05)
    progress.update(task, completed=goal)
    return time.monotonic() - started


def kept(client: httpx.Client, receiver: str) -> dict[str, Any]:
    """What a receiver counted."""
    answer: dict[str, Any] = client.get(f"/_test/received/{receiver}").raise_for_status().json()
    return answer


def longest_hold_up() -> float:
    """Seconds from a fact's fan-out to its delivery, the longest of those who did not stall."""
    from config.kernel import sql  # noqa: PLC0415 - only once Django is set up

    row = sql.fetch_one(
        """
        SELECT max(extract(epoch FROM delivered_at - message.fanned_out_at))::float AS longest
        FROM deliveries JOIN outbox_messages AS message ON message.id = message_id
        WHERE dedupe_key LIKE 'stall%%' AND subscriber <> %(stalled)s
        """,
        stalled=STALLED,
    )
    return float(row.longest) if row is not None else 0.0


def out_of_order(client: httpx.Client) -> int:
    """Events that arrived before an earlier one about the same order, as receivers count."""
    wrong = 0
    for receiver in RECEIVERS:
        told: dict[int, int] = {}
        after = 0
        while items := client.get(f"/_test/received/{receiver}", params={"after": after}).json()[
            "items"
        ]:
            after = items[-1]["number"]
            for content in (item["body"]["data"] for item in items):
                wrong += content["step"] < told.get(content["order_id"], 0)
                told[content["order_id"]] = content["step"]
    return wrong


def measure(
    url: str, client: httpx.Client, *, orders: int, processes: int, progress: Progress
) -> dict[str, Any]:
    """Drain a backlog, then deliver while one receiver stalls."""
    base_url = str(client.base_url).rstrip("/")
    facts = orders * len(FACTS_OF_AN_ORDER)
    state_facts(orders, run="drain")
    with workers(processes, base_url=base_url, database=url):
        wait_for(1, receivers=RECEIVERS, progress=progress, what="Workers come up")
        drained = count_delivered(receivers=RECEIVERS)
        took = wait_for(
            facts * len(RECEIVERS), receivers=RECEIVERS, progress=progress, what="Draining"
        )
        counts = {name: kept(client, name) for name in RECEIVERS}
        client.post(
            "/_test/faults", json={"receiver": STALLED, "kind": "hang", "times": None}
        ).raise_for_status()
        others = [name for name in RECEIVERS if name != STALLED]
        few = max(1, orders // 20)
        before = count_delivered(receivers=others)
        state_facts(few, run="stall")
        wait_for(
            before + few * len(FACTS_OF_AN_ORDER) * len(others),
            receivers=others,
            progress=progress,
            what="One stalls",
        )
    return {
        "orders": orders,
        "deliveries": facts * len(RECEIVERS),
        "processes": processes,
        "seconds": round(took, 2),
        "deliveries_a_second": round((facts * len(RECEIVERS) - drained) / took, 1),
        "kept": {name: each["kept"] for name, each in counts.items()},
        "duplicates": sum(each["duplicates"] for each in counts.values()),
        "out_of_order": out_of_order(client),
        "longest_hold_up_seconds": round(longest_hold_up(), 2),
    }


def tell(report: dict[str, Any], console: Console) -> None:
    """Print what came of it."""
    table = Table("deliveries", "")
    for what, figure in (
        ("facts to receivers", f"{report['deliveries']:,}, {report['processes']} processes"),
        ("delivered", f"{report['deliveries_a_second']:,} a second"),
        ("kept by each receiver", ", ".join(f"{n:,}" for n in report["kept"].values())),
        ("came twice", f"{report['duplicates']}"),
        ("came out of order", f"{report['out_of_order']}"),
        ("longest wait while one stalls", f"{report['longest_hold_up_seconds']} s"),
    ):
        table.add_row(what, figure)
    console.print(table)


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="bin/bench deliveries", description=__doc__)
    parser.add_argument("--orders", type=int, default=1_000, help="(%(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="that relay (%(default)s)")
    parser.add_argument("--work", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if options.work:
        start_django(os.environ["DATABASE_URL"], migrate=False)
        work(options.work, PATIENCE_SECONDS * 2)
        return 0
    if options.orders < 20:  # noqa: PLR2004 - so that some stall
        parser.error("--orders must be at least 20")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    try:
        with (
            tempfile.TemporaryDirectory() as directory,
            own_database(os.environ["DATABASE_URL"]) as url,
            sinks(directory) as client,
            Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as progress,
        ):
            start_django(url)
            report = measure(
                url, client, orders=options.orders, processes=options.processes, progress=progress
            )
    except UnusableError as exc:
        print(f"bench deliveries: {exc}", file=sys.stderr)
        return 1
    tell(report, Console())
    home = Path(os.environ.get("BENCH_OUTPUT", ROOT / ".local" / "bench"))
    (home / "deliveries.json").write_text(json.dumps(report, indent=2) + "\n")
    each = report["deliveries"] // len(RECEIVERS)
    is_kept = (
        report["deliveries_a_second"] >= PROMISED_A_SECOND
        and set(report["kept"].values()) == {each}
        and not report["duplicates"]
        and not report["out_of_order"]
        and report["longest_hold_up_seconds"] <= LONGEST_HOLD_UP_SECONDS
    )
    return 0 if is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
