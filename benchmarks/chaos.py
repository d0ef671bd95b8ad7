"""Kills, cuts and garbles at random while shoppers order; then everything has to be right.

A shop of its own (`bin/up` on a fresh directory) is hurt by a seeded plan: web, worker, beat,
database, cache and payment server killed, frozen and restarted, connections cut, processes stopped
past their lease; the provider drops, delays, garbles and loses its answers and webhooks. Shoppers
do what good clients do, and keep a journal. Afterwards every request must have come to one definite
answer, every acknowledged order must be there, and order books and provider must agree to the cent.
Exit code: 0 all is well, 1 something is wrong or lost, 3 all is right but a goal was missed.
`--seed` repeats the plan, though not the machine's own timing.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
import sys
import time
from collections import Counter, defaultdict
from dataclasses import asdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from benchmarks.chaos_figures import (
    Goal,
    at_most,
    doubts,
    percentile,
    recovery_seconds,
    success,
    unlucky,
)
from benchmarks.chaos_judge import IntentRow, judge, read_orders
from benchmarks.chaos_shop import Shop, ShopDiedError
from benchmarks.chaos_shoppers import Journal, Shopper
from benchmarks.chaos_storm import Storm
from sandbox import environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.chaos_judge import OrderRow
    from benchmarks.chaos_shoppers import Wish

QUIET_SECONDS: Final = 120.0  # nothing may be pending after it; HOLD_MINUTES=1 here
SKUS: Final = 12
PAGE: Final = "100"
JOURNAL: Final = "journal.jsonl"
COLUMN_SECONDS: Final = 5.0
SHOWN_PROBLEMS: Final = 20
SHOWN_UNLUCKY: Final = 10
LONGEST_DOUBTS: Final = 10
GOAL_MISSED: Final = 3
SUCCESS_WANTED: Final = 0.999
BACK_SECONDS: Final = {  # (95 % of them, all of them) have taken an order again by then
    "database killed": (5.0, 10.0),
    "web master killed": (5.0, 10.0),
}
DOUBT_SECONDS: Final = (60.0, 120.0)  # 99 % of payments in doubt, and all of them


def main() -> int:
    """Run it; returns the exit code."""
    options = parse_arguments()
    home = environment.home() / "bench" / "chaos"
    console = Console()
    console.print(f"seed {options.seed}; everything of this run lies in {home}")
    shop = Shop(home)
    try:
        with console.status("Starting a shop of its own"):
            shop.start()
        result = play(shop, options, console)
    except ShopDiedError as exc:
        console.print(f"[bold red]{exc}[/]")
        return 1
    finally:
        shop.stop()
    tell(result, console)
    (environment.home() / "bench" / "chaos.json").write_text(json.dumps(result, indent=1))
    return exit_code(result)


def exit_code(result: dict[str, Any]) -> int:
    """A broken promise is worse than a missed goal."""
    if result["problems"]:
        return 1
    return 0 if all(goal["is_met"] for goal in result["goals"]) else GOAL_MISSED


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bin/bench chaos", description=__doc__)
    parser.add_argument("--seconds", type=int, default=300, help="of the storm (%(default)s)")
    parser.add_argument("--shoppers", type=int, default=32, help="at a time (%(default)s)")
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(10**6), help="repeats a plan"
    )
    return parser.parse_args()


def play(shop: Shop, options: argparse.Namespace, console: Console) -> dict[str, Any]:
    """The storm, the quiet after it, and the verdict."""
    journal = Journal(shop.home / JOURNAL)
    skus = _choose_skus(shop)
    shoppers = [
        Shopper(shop, journal, number=number, seed=options.seed, skus=skus)
        for number in range(options.shoppers)
    ]
    storm = Storm(shop, seed=options.seed)
    began = time.monotonic()
    storm.begin()
    for shopper in shoppers:
        shopper.start()
    _watch(shoppers, storm, seconds=options.seconds, console=console)
    storm.end()
    for shopper in shoppers:
        shopper.stop()
    for shopper in shoppers:
        shopper.join()
    wishes = [wish for shopper in shoppers for wish in shopper.wishes]
    with console.status("Quiet: waiting for everything to settle"):
        ready_after = shop.wait_until_ready()
        _ask_until_taken(shoppers)
        settled_after = _wait_until_settled(shop, time.monotonic())
        _ask_until_definite(shoppers)
        balances = _wait_until_booked(shop)
    with console.status("Judging"):
        return _verdict(
            shop,
            wishes,
            storm,
            began=began,
            options=options,
            ready_after=ready_after,
            settled_after=settled_after,
            balances=balances,
        )


def _choose_skus(shop: Shop) -> list[str]:
    """A dozen that are there in plenty."""
    with shop.database() as cursor:
        cursor.execute(
            "SELECT p.sku FROM products p JOIN stock_levels l ON l.product_id = p.id"
            " JOIN prices r ON r.product_id = p.id AND r.currency = 'USD'"
            " WHERE p.is_active AND l.on_hand - l.allocated > 500 ORDER BY p.sku LIMIT %s",
            [SKUS],
        )
        return [sku for (sku,) in cursor]


def _watch(shoppers: Sequence[Shopper], storm: Storm, *, seconds: int, console: Console) -> None:
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[told]}"),
        TimeRemainingColumn(),
    ]
    until = time.monotonic() + seconds
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("Storm", total=seconds, told="")
        while (left := until - time.monotonic()) > 0:
            heard = [one for s in shoppers for wish in list(s.wishes) for one in list(wish.heard)]
            taken = sum(one.status in {201, 202} for one in heard)
            told = f"{len(heard)} requests, {taken} taken, {len(storm.blows)} blows"
            progress.update(task, completed=seconds - left, told=told)
            time.sleep(min(0.5, left))


def _decide_debits(shop: Shop) -> None:
    """The banks decide about every debit that waits, so that nothing has a reason to wait.

    Some get to the bank in the quiet only: the sweeper is the first to reach the provider.
    """
    with shop.database() as cursor:
        cursor.execute(
            "SELECT payment_intent_id FROM payments WHERE payment_intent_id IS NOT NULL"
            " AND status IN ('created', 'processing') AND payment_method_id LIKE 'pm_usBank%'"
        )
        waiting = [intent_id for (intent_id,) in cursor]
    for intent_id in waiting:
        path = f"/v1/payment_intents/{intent_id}"
        if shop.provider("GET", path)["status"] == "processing":
            path = f"/_test/payment_intents/{intent_id}/action"
            shop.provider("POST", path, json={"outcome": "succeed"})


def _wait_until_settled(shop: Shop, since: float) -> float:
    """Wait until nothing is pending, by the shop's own workers alone; returns how long it took."""
    while time.monotonic() - since < QUIET_SECONDS:
        _decide_debits(shop)
        with shop.database() as cursor:
            cursor.execute(
                "SELECT (SELECT count(*) FROM orders WHERE status = 'pending')"
                " + (SELECT count(*) FROM refunds WHERE status = 'due')"
                " + (SELECT count(*) FROM provider_events WHERE status = 'received')"
            )
            if cursor.fetchone()[0] == 0:
                break
        time.sleep(1.0)
    return time.monotonic() - since


def _wait_until_booked(shop: Shop) -> dict[str, tuple[Decimal, Decimal]]:
    """Wait until the last fees are booked; the ledger's balance and the provider's, by currency."""
    since = time.monotonic()
    while True:
        balances = _balances(shop)
        if all(ours == theirs for ours, theirs in balances.values()):
            return balances
        if time.monotonic() - since > QUIET_SECONDS:
            return balances
        time.sleep(1.0)


def _balances(shop: Shop) -> dict[str, tuple[Decimal, Decimal]]:
    with shop.database() as cursor:
        cursor.execute(
            "SELECT currency, sum(amount) FROM ledger_entries"
            " WHERE account = 'stripe_balance' GROUP BY currency"
        )
        ours = dict(cursor.fetchall())
    theirs: Counter[str] = Counter()
    balance = shop.provider("GET", "/v1/balance")
    for part in (*balance["available"], *balance["pending"]):
        theirs[part["currency"].upper()] += part["amount"]
    return {  # its minor units are cents: this shop sells in dollars and euros
        currency: (ours.get(currency, Decimal(0)), Decimal(theirs[currency]) / 100)
        for currency in sorted({*ours, *theirs})
    }


def _exported(shop: Shop) -> defaultdict[str, Decimal]:
    """What `export_ledger`'s CSV says lies at the provider, by currency."""
    done = shop.manage("export_ledger", "--from=2000-01-01", "--to=2100-01-01")
    found: defaultdict[str, Decimal] = defaultdict(Decimal)
    for line in csv.DictReader(io.StringIO(done.stdout)):
        if line["account"] == "stripe_balance":
            found[line["currency"]] += Decimal(line["amount"])
    return found


def _ask_until_taken(shoppers: Sequence[Shopper]) -> None:
    """Repeat the requests that nobody answered: the last orders begin before quiet does."""
    since = time.monotonic()
    for shopper, wish in _wishes(shoppers):
        last = wish.heard[-1]
        while not (last.is_definite or last.order_number):
            if time.monotonic() - since > QUIET_SECONDS:
                return
            time.sleep(0.2)
            last = shopper.ask(wish)


def _ask_until_definite(shoppers: Sequence[Shopper]) -> None:
    """Repeat every order's request until its last answer is heard: it must be always the same.

    What was refused before there was an order is left at that: asked again, it is a fresh try.
    """
    since = time.monotonic()
    for shopper, wish in _wishes(shoppers):
        if not any(heard.order_number for heard in wish.heard):
            continue
        while not shopper.ask(wish).is_definite:
            if time.monotonic() - since > QUIET_SECONDS:
                return
            time.sleep(0.2)


def _wishes(shoppers: Sequence[Shopper]) -> Iterator[tuple[Shopper, Wish]]:
    return ((shopper, wish) for shopper in shoppers for wish in shopper.wishes)


def _verdict(
    shop: Shop,
    wishes: list[Wish],
    storm: Storm,
    *,
    began: float,
    options: argparse.Namespace,
    ready_after: float,
    settled_after: float,
    balances: dict[str, tuple[Decimal, Decimal]],
) -> dict[str, Any]:
    with shop.database() as cursor:
        orders = read_orders(cursor)
    refunded = _refunded(shop)
    intents = [
        IntentRow(
            id=intent["id"],
            order_id=intent["metadata"].get("order_id", ""),
            status=intent["status"],
            received=intent["amount_received"],
            refunded=refunded[intent["id"]],
        )
        for intent in _intents(shop)
    ]
    exported = _exported(shop)
    problems = [
        *(
            f"export_ledger says {exported[currency]} {currency}, the ledger {ours}"
            for currency, (ours, _) in balances.items()
            if exported[currency] != ours
        ),
        *judge(wishes, orders, intents),
        *storm.problems,
        *(
            f"the ledger has {ours} {currency} at the provider, which has {theirs}"
            for currency, (ours, theirs) in balances.items()
            if ours != theirs
        ),
    ]
    journal = str(shop.home / JOURNAL)
    for command in (["recover_orders"], ["check_books", "--stripe", "--journal", journal]):
        done = shop.manage(*command)
        if done.returncode:
            problems.append(f"{' '.join(command)}: {(done.stdout + done.stderr)[-3000:]}")
    heard = [one for wish in wishes for one in wish.heard]
    return {
        "seed": options.seed,
        "seconds": options.seconds,
        "shoppers": options.shoppers,
        "requests": len(heard),
        "wishes": len(wishes),
        "orders": len(orders),
        "orders_by_status": dict(Counter(f"{o.status}/{o.payment_status}" for o in orders)),
        "succeeded_intents": sum(intent.status == "succeeded" for intent in intents),
        "answers": dict(sorted(Counter(f"{h.status} {h.code}".strip() for h in heard).items())),
        "stories": dict(Counter(wish.story for wish in wishes)),
        "blows": dict(Counter(blow.kind for blow in storm.blows)),
        "faults_armed": dict(Counter(spell.kind.split()[1] for spell in storm.spells)),
        "ready_after": ready_after,
        "settled_after": settled_after,
        "goals": [
            asdict(goal)
            for goal in _goals(
                wishes, orders, storm, began=began, balances=balances, settled_after=settled_after
            )
        ],
        "problems": problems,
        "longest_doubts": doubts(wishes, orders)[:LONGEST_DOUBTS],
        "unlucky": unlucky(wishes, [*storm.blows, *storm.spells], began=began),
        "plan": [asdict(blow) for blow in (*storm.blows, *storm.spells)],
        "timeline": _timeline(wishes, storm, began=began, seconds=options.seconds),
    }


def _goals(
    wishes: Sequence[Wish],
    orders: Sequence[OrderRow],
    storm: Storm,
    *,
    began: float,
    balances: dict[str, tuple[Decimal, Decimal]],
    settled_after: float,
) -> list[Goal]:
    good, total, low, high = success(wishes)
    goals = [
        Goal(
            what="answered within 30 s and 5 retries",
            figure=f"{good / max(total, 1):.2%}: {good} of {total} (95 %: {low:.2%} to {high:.2%})",
            wanted=f">= {SUCCESS_WANTED:.1%}",
            is_met=good >= SUCCESS_WANTED * total > 0,
        )
    ]
    seconds = [seconds for seconds, _ in doubts(wishes, orders)]
    of = f" of {len(seconds)} payments"
    p99, longest = DOUBT_SECONDS
    goals += [
        at_most("in doubt, p99", percentile(seconds, 0.99), p99, detail=of),
        at_most("in doubt, longest", max(seconds, default=0.0), longest, detail=of),
        at_most("nothing pending after the storm", settled_after, QUIET_SECONDS),
    ]
    for kind, (p95, latest) in BACK_SECONDS.items():
        waits = recovery_seconds(storm.blows, wishes, kind=kind, began=began)
        of = f" of {len(waits)} times"
        if waits:
            what = f"{kind}, then an order"
            goals += [
                at_most(f"{what}: p95", percentile(waits, 0.95), p95, detail=of),
                at_most(f"{what}: longest", max(waits), latest, detail=of),
            ]
    goals += [
        Goal(
            what=f"ledger and provider's balance in {currency}",
            figure=f"{ours:.2f} and {theirs:.2f}",
            wanted="equal",
            is_met=ours == theirs,
        )
        for currency, (ours, theirs) in balances.items()
    ]
    return goals


def _intents(shop: Shop) -> list[dict[str, Any]]:
    return _list(shop, "/v1/payment_intents")


def _refunded(shop: Shop) -> Counter[str]:
    given: Counter[str] = Counter()
    for refund in _list(shop, "/v1/refunds"):
        if refund["status"] == "succeeded":
            given[refund["payment_intent"]] += refund["amount"]
    return given


def _list(shop: Shop, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        params = {"limit": PAGE, **({"starting_after": found[-1]["id"]} if found else {})}
        page = shop.provider("GET", path, params=params)
        found += page["data"]
        if not page["has_more"]:
            return found


def _timeline(
    wishes: Sequence[Wish], storm: Storm, *, began: float, seconds: int
) -> list[dict[str, Any]]:
    """What happened in each few seconds: orders taken, requests without luck, blows."""
    columns: list[dict[str, Any]] = [
        {"from": n * COLUMN_SECONDS, "taken": 0, "failed": 0, "blows": []}
        for n in range(int(seconds / COLUMN_SECONDS) + 1)
    ]
    for wish in wishes:
        for heard in wish.heard:
            at = int((heard.at - began) / COLUMN_SECONDS)
            if 0 <= at < len(columns):
                what = "taken" if heard.status in {201, 202} else "failed"
                if what == "taken" or heard.status in {0, 500, 503}:
                    columns[at][what] += 1
    for blow in storm.blows:
        at = int(blow.at / COLUMN_SECONDS)
        if at < len(columns):
            columns[at]["blows"].append(blow.kind)
    return columns


def tell(result: dict[str, Any], console: Console) -> None:
    """Print what came of it."""
    minutes = result["seconds"] / 60
    table = Table("chaos", "")
    rows = {
        "seed": result["seed"],
        "requests": result["requests"],
        "wishes": f"{result['wishes']}, each with a key of its own,"
        f" {result['wishes'] / result['seconds']:.0f} a second",
        "orders": _counted(result["orders_by_status"]),
        "answers": _counted(result["answers"]),
        "blows": f"{sum(result['blows'].values()) / minutes:.0f} a minute:"
        f" {_counted(result['blows'])}",
        "provider faults armed": f"{sum(result['faults_armed'].values()) / minutes:.0f} a minute:"
        f" {_counted(result['faults_armed'])}",
        "settled after the storm": f"{result['settled_after']:.0f} s (holds last 60 s)",
        "problems": len(result["problems"]),
    }
    for name, value in rows.items():
        table.add_row(name, str(value))
    console.print(table)
    _draw(result["timeline"], console)
    for story in result["unlucky"][:SHOWN_UNLUCKY]:
        console.print(
            f"[yellow]not in time: {story['key']} ({story['story']}) at {story['at']} s[/]\n"
            f"  {'; '.join(story['tries'])}\n  blows: {'; '.join(story['blows'])}",
            highlight=False,
            soft_wrap=True,
        )
    for problem in result["problems"][:SHOWN_PROBLEMS]:
        console.print(f"[bold red]{problem}[/]", highlight=False)
    console.print(_verdicts(result["goals"], problems=len(result["problems"])))


def _verdicts(goals: list[dict[str, Any]], *, problems: int) -> Table:
    table = Table("", "figure", "goal", "verdict")
    table.add_row(
        "lost, doubled, oversold, contradicted", str(problems), "0", _verdict_of(not problems)
    )
    for goal in goals:
        table.add_row(goal["what"], goal["figure"], goal["wanted"], _verdict_of(goal["is_met"]))
    return table


def _verdict_of(is_met: bool) -> str:  # noqa: FBT001
    return "[green]met[/]" if is_met else "[bold red]missed[/]"


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} × {what}" for what, n in sorted(counts.items(), key=lambda c: -c[1]))


def _draw(timeline: list[dict[str, Any]], console: Console) -> None:
    """Orders taken in each few seconds as a bar, and the blows beside it."""
    most = max((column["taken"] for column in timeline), default=0) or 1
    for column in timeline:
        bar = "█" * round(30 * column["taken"] / most)
        blows = ", ".join(column["blows"])
        console.print(
            f"{column['from']:>5.0f} s [green]{bar:<30}[/] {column['taken']:>4}"
            f" [red]{column['failed']:>4}[/] {blows}",
            highlight=False,
            soft_wrap=True,
        )


if __name__ == "__main__":
    sys.exit(main())
