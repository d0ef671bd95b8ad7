"""bin/demo: plays the shop's main job over real HTTP and tells, step by step, what it saw.

Each scene knows what the contract promises and fails in words when it sees something else. The
last two buy real baskets, several customers at once, and have the books checked.
"""

from __future__ import annotations

import argparse
import contextlib
import email
import email.policy
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import httpx
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from config import env
from orders.demo_data import files
from sandbox import environment
from sandbox.hosting import Host
from sandbox.shopper import API, NotAsPromisedError, Shopper, encode, expect, expect_equal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import FrameType

    from orders.demo_data.files import Basket

ORDERS: Final = f"{API}/orders"
WANTED: Final = (("bananas", 6), ("fluid milk", 1), ("wheat bread", 2))
CURRENCY: Final = "USD"
WAIT_SECONDS: Final = 30.0  # for what the worker does
POLL_SECONDS: Final = 0.2
SHOPPERS_AT_ONCE: Final = 4
BASKETS_A_CUSTOMER: Final = 100  # below the shop's limit of orders a minute for one account
SHOWN_FAILURES: Final = 3
TOLD_EVERY_SECONDS: Final = 15.0
WIDTH_WITHOUT_TERMINAL: Final = 100

HELD, FAILED, SKIPPED = "[green]held[/]", "[bold red]did not hold[/]", "[yellow]skipped[/]"
NEW_YORK: Final = {
    "name": "Dana Demo",
    "line1": "350 Fifth Avenue",
    "city": "New York",
    "state": "NY",
    "postal_code": "10118",
    "country": "US",
}
SEATTLE: Final = NEW_YORK | {"city": "Seattle", "state": "WA", "postal_code": "98101"}
PORTLAND: Final = NEW_YORK | {"city": "Portland", "state": "OR", "postal_code": "97204"}
AUSTIN: Final = NEW_YORK | {"city": "Austin", "state": "TX", "postal_code": "78701"}
ADDRESSES: Final = (NEW_YORK, SEATTLE, PORTLAND, AUSTIN)


class SkippedError(Exception):
    """A scene that cannot be played here; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a scene went, for the table at the end."""

    title: str
    verdict: str
    seen: str


def main() -> int:
    """Play everything; 0 only if all of it held."""
    options = parse_arguments()
    console = make_console()
    leave_at_once_on_signals(console)
    story = Story(options, console)
    console.rule(f"[bold]Orderkeep, played against {options.base_url}")
    for number, (title, scene) in enumerate(story.scenes(), start=1):
        console.print(f"\n[bold]{number:>2}  {title}[/]")
        story.play(title, scene)
    console.print()
    console.print(story.summary())
    return 0 if story.all_held else 1


def parse_arguments() -> argparse.Namespace:
    """Read the command line; the addresses default to those of the `bin/up` that runs."""
    shop = environment.load(Host(environment.home(), command="bin/demo").endpoints) | os.environ
    parser = argparse.ArgumentParser(prog="python -m sandbox.demo")
    parser.add_argument("--base-url", default=shop.get("PUBLIC_URL", "http://127.0.0.1:8000"))
    parser.add_argument("--payment-url", default=shop.get("STRIPE_API_BASE", ""))
    parser.add_argument("--baskets", type=int, default=200, metavar="N", help="real baskets to buy")
    return parser.parse_args()


def make_console() -> Console:
    """Full width on a terminal, a readable one in a file."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH_WITHOUT_TERMINAL
    return console


def leave_at_once_on_signals(console: Console) -> None:
    """Go with all threads, wherever they are; nothing here needs to be finished."""

    def leave(number: int, _frame: FrameType | None) -> None:
        console.show_cursor()
        os._exit(128 + number)

    signal.signal(signal.SIGINT, leave)
    signal.signal(signal.SIGTERM, leave)


class Story:
    """The scenes in their order; what one finds the next ones use."""

    def __init__(self, options: argparse.Namespace, console: Console) -> None:
        """Play against the shop and payment server of `options`."""
        self.base_url = str(options.base_url)
        self.payment_url = str(options.payment_url).rstrip("/")
        self.baskets = max(0, int(options.baskets))
        self.console = console
        self.run = secrets.token_hex(4)
        self.results: list[Result] = []
        self.shopper = Shopper(self.base_url, on_answer=self.show)
        self.items: list[dict[str, Any]] = []
        self.quote: dict[str, Any] = {}
        self.order_request = b""
        self.first_answer: httpx.Response | None = None
        self.order: dict[str, Any] = {}
        self.last_shown: tuple[str, httpx.URL, int] | None = None

    def scenes(self) -> list[tuple[str, Callable[[], str]]]:
        """Title and scene."""
        return [
            ("Sign up", self.sign_up),
            ("Look around", self.look),
            ("Ask for the price", self.ask_price),
            ("Order and pay", self.place_order),
            ("Send it all again", self.replay),
            ("Be declined", self.be_declined),
            ("Pay with 3-D Secure", self.pay_securely),
            ("Pay with 3-D Secure and walk away", self.walk_away),
            ("Pay while the provider's answers are lost", self.lose_answers),
            ("Want what is sold out", self.order_sold_out),
            ("Cancel the paid order", self.cancel),
            ("Read the e-mail", self.read_mail),
            (f"Buy {self.baskets} real baskets", self.buy_baskets),
            ("Compare with the payment provider", self.reconcile),
            ("Check the books", self.check_books),
        ]

    def play(self, title: str, scene: Callable[[], str]) -> None:
        """Play one scene and remember how it went."""
        try:
            seen = scene()
            result = Result(title=title, verdict=HELD, seen=seen)
        except NotAsPromisedError as error:
            result = Result(title=title, verdict=FAILED, seen=str(error))
        except SkippedError as reason:
            result = Result(title=title, verdict=SKIPPED, seen=str(reason))
        self.results.append(result)
        mark = {HELD: "[green]✓[/]", FAILED: "[bold red]✗[/]", SKIPPED: "[yellow]–[/]"}
        self.console.print(f"    {mark[result.verdict]} {escape(result.seen)}")

    @property
    def all_held(self) -> bool:
        """Whether nothing failed."""
        return all(result.verdict != FAILED for result in self.results)

    def summary(self) -> Table:
        """What held and what did not."""
        verdict = "Everything held" if self.all_held else "Not everything held"
        table = Table(title=verdict, title_style="bold")
        table.add_column("scene", no_wrap=True)
        table.add_column("", no_wrap=True)
        table.add_column("seen", ratio=1)
        for result in self.results:
            table.add_row(result.title, result.verdict, escape(result.seen))
        return table

    def show(self, response: httpx.Response) -> None:
        """Print one exchange; the same one again and again is told once."""
        request = response.request
        exchange = (request.method, request.url, response.status_code)
        if exchange == self.last_shown:
            return
        self.last_shown = exchange
        milliseconds = response.elapsed.total_seconds() * 1000
        self.console.print(
            f"    [dim]{request.method} {escape(request.url.raw_path.decode())} → "
            f"{response.status_code} in {milliseconds:.0f} ms[/]"
        )

    # --- the scenes -----------------------------------------------------------------------------

    def sign_up(self) -> str:
        self.shopper.sign_up()
        profile = expect(self.shopper.get(f"{API}/me"), 200)
        expect_equal("the e-mail address of /me", profile.get("email"), self.shopper.email)
        return f"{self.shopper.email} has an account and an access token."

    def look(self) -> str:
        categories = expect(self.shopper.get(f"{API}/categories", page_size=100), 200)["results"]
        table = Table("SKU", "name", "category", "price", "available", box=None, padding=(0, 2))
        for search, quantity in WANTED:
            answer = self.shopper.get(
                f"{API}/products", search=search, currency=CURRENCY, in_stock="true", page_size=1
            )
            found = expect(answer, 200)["results"]
            if not found:
                raise NotAsPromisedError(f"nothing is in stock for {search!r}")
            [product] = found
            category = product["category"]
            self.items.append({"sku": product["sku"], "quantity": quantity})
            table.add_row(
                product["sku"],
                product["name"],
                category["name"] if isinstance(category, dict) else str(category),
                f"{product['price']} {product['currency']}",
                f"{product['available_quantity']:,}",
            )
        self.console.print(table)
        return f"{len(categories)} categories; three products for the basket."

    def ask_price(self) -> str:
        basket = self.basket(self.items) | {"coupon_code": "WELCOME10"}
        self.quote = expect(self.shopper.post(f"{API}/quotes", basket), 200)
        self.console.print(quote_table(self.quote))
        subtotal, discount, shipping, tax, total = (
            Decimal(self.quote[name])
            for name in (
                *("subtotal", "discount_amount", "shipping_amount"),
                *("tax_amount", "total_amount"),
            )
        )
        ten_percent = (subtotal / 10).quantize(Decimal("0.01"), ROUND_HALF_UP)
        expect_equal("WELCOME10's discount", discount, ten_percent)
        expect_equal("the total", total, subtotal - discount + shipping + tax)
        delivery = self.quote["estimated_delivery"]
        return f"{total} {self.quote['currency']}, with 10 % off; delivery by {delivery}."

    def place_order(self) -> str:
        if not self.quote:
            raise NotAsPromisedError("there is no quote to order by")
        self.order_request = encode(
            self.basket(self.items)
            | {
                "coupon_code": "WELCOME10",
                "payment_method_id": "pm_card_visa",
                "expected_total": self.quote["total_amount"],
            }
        )
        answer = self.shopper.post(ORDERS, self.order_request, key=self.key("order"))
        order = expect(answer, 201)
        expect_equal("its status", order["status"], "confirmed")
        expect_equal("its payment", order["payment_status"], "succeeded")
        expect_equal("its total", order["total_amount"], self.quote["total_amount"])
        self.order, self.first_answer = order, answer
        return f"Order {order['order_number']} is confirmed and paid: {order['total_amount']} USD."

    def replay(self) -> str:
        if self.first_answer is None:
            raise NotAsPromisedError("there is no answered order to repeat")
        again = self.shopper.post(ORDERS, self.order_request, key=self.key("order"))
        expect(again, 201)
        expect_equal("Idempotent-Replayed", again.headers.get("Idempotent-Replayed"), "true")
        expect_equal("the body", again.content, self.first_answer.content)
        return "The first answer came back, byte for byte: no second order, no second charge."

    def be_declined(self) -> str:
        before = self.available("DEMO-PLENTY")
        wish = self.plenty() | {"payment_method_id": "pm_card_visa_chargeDeclined"}
        answer = self.shopper.post(ORDERS, wish, key=self.key("declined"))
        details = expect(answer, 402, code="CARD_DECLINED")["error"]["details"]
        if not until(lambda: self.available("DEMO-PLENTY") >= before):
            raise NotAsPromisedError("the declined order keeps its stock")
        return (
            f"402 CARD_DECLINED ({details['decline_code']}); "
            f"order {details['order_number']} holds no stock any more."
        )

    def pay_securely(self) -> str:
        wish = self.plenty() | {"payment_method_id": "pm_card_threeDSecure2Required"}
        answer = self.shopper.post(ORDERS, wish, key=self.key("3ds"))
        details = expect(answer, 402, code="PAYMENT_REQUIRES_ACTION")["error"]["details"]
        number = details["order_number"]
        if not self.payments_are_local:
            expect(self.shopper.post(f"{ORDERS}/{number}/cancel"), 200)
            raise SkippedError("402 PAYMENT_REQUIRES_ACTION; the rest needs a person at the bank.")
        expect(self.do_3d_secure(details["payment_intent_id"]), 200)
        order = expect(self.shopper.post(f"{ORDERS}/{number}/confirm"), 200)
        expect_equal("its status", order["status"], "confirmed")
        expect_equal("its payment", order["payment_status"], "succeeded")
        return f"402 first; after the bank's check order {number} is confirmed and paid."

    def walk_away(self) -> str:
        if not self.payments_are_local:
            raise SkippedError("a person has to be at the bank.")
        wish = self.plenty() | {"payment_method_id": "pm_card_threeDSecure2Required"}
        answer = self.shopper.post(ORDERS, wish, key=self.key("walk-away"))
        details = expect(answer, 402, code="PAYMENT_REQUIRES_ACTION")["error"]["details"]
        number = details["order_number"]
        began = time.monotonic()
        expect(self.do_3d_secure(details["payment_intent_id"]), 200)
        self.await_confirmation(number)
        seconds = time.monotonic() - began
        return f"Nobody said so to the shop: the webhook confirmed {number} within {seconds:.1f} s."

    def lose_answers(self) -> str:
        if not self.payments_are_local:
            raise SkippedError("only the local payment server loses answers on demand.")
        wish = encode(self.plenty() | {"payment_method_id": "pm_card_visa"})
        intent = "/v1/payment_intents/*"
        # The money is taken, and the answer lost; whoever asks afterwards hears nothing, at first.
        with self.faults(
            {"kind": "answer_lost", "path": f"{intent}/confirm", "times": 1},
            {"kind": "drop", "path": intent, "method": "GET", "times": 3},
        ):
            answer = self.shopper.post(ORDERS, wish, key=self.key("lost"))
            order = expect(answer, 202)
            expect_equal("its status", order["status"], "pending")
            began = time.monotonic()
            self.await_confirmation(order["order_number"])
        seconds = time.monotonic() - began
        again = expect(self.shopper.post(ORDERS, wish, key=self.key("lost")), 201)
        expect_equal("the order", again["order_number"], order["order_number"])
        charges = self.charges_of(again["id"])
        expect_equal("how often it was charged", charges, 1)
        return (
            f"202 at first; {order['order_number']} settled by itself after {seconds:.1f} s, "
            "charged once, and the same request now hears 201."
        )

    def order_sold_out(self) -> str:
        wish = self.basket([{"sku": "DEMO-SOLD-OUT", "quantity": 1}])
        answer = self.shopper.post(
            ORDERS, wish | {"payment_method_id": "pm_card_visa"}, key=self.key("sold-out")
        )
        details = expect(answer, 409, code="INSUFFICIENT_INVENTORY")["error"]["details"]
        shortage = {"sku": "DEMO-SOLD-OUT", "requested": 1, "available": 0}
        expect_equal("unavailable_items", details["unavailable_items"], [shortage])
        return "409 INSUFFICIENT_INVENTORY says which item and how many there are; no charge."

    def cancel(self) -> str:
        if not self.order:
            raise NotAsPromisedError("there is no paid order to cancel")
        number = self.order["order_number"]
        answer = self.shopper.post(f"{ORDERS}/{number}/cancel", {"reason": "changed my mind"})
        order = expect(answer, 202 if answer.status_code == httpx.codes.ACCEPTED else 200)
        on_its_way = answer.status_code == httpx.codes.ACCEPTED
        give_up_at = time.monotonic() + WAIT_SECONDS
        while order["payment_status"] != "refunded" and time.monotonic() < give_up_at:
            time.sleep(POLL_SECONDS)
            order = expect(self.shopper.get(f"{ORDERS}/{number}"), 200)
        expect_equal("its status", order["status"], "cancelled")
        expect_equal("its payment", order["payment_status"], "refunded")
        expect_equal("what was refunded", order["refunded_amount"], order["total_amount"])
        when = "after a moment" if on_its_way else "at once"
        return f"Order {number} is cancelled and all money is back, {when}."

    def read_mail(self) -> str:
        if not self.order:
            raise NotAsPromisedError("there is no confirmed order to write about")
        if os.environ.get("EMAIL_URL") or os.environ.get("EMAIL_URL_FILE"):
            raise SkippedError("mail goes to the server of EMAIL_URL.")
        inbox = Inbox(environment.home() / "mail")
        number = self.order["order_number"]
        if not until(lambda: inbox.find(number) is not None):
            raise NotAsPromisedError(
                f"no e-mail with {number} in its subject within {WAIT_SECONDS:.0f} s "
                f"in {inbox.directory}"
            )
        return f"It is there: “{inbox.find(number)}”."

    def buy_baskets(self) -> str:
        if not self.baskets:
            raise SkippedError("none were asked for.")
        crowd = Crowd(self.base_url, run=self.run, console=self.console)
        baskets = choose_baskets(self.baskets)
        seen = crowd.buy(baskets)
        if (different := len({basket.basket_id for basket in baskets})) < len(baskets):
            seen += f" There are {different} different baskets; the others were bought again."
        return seen

    def reconcile(self) -> str:
        return self.manage("reconcile_payments", "--repair")

    def check_books(self) -> str:
        return self.manage("check_books", "--stripe")

    def manage(self, command: str, *arguments: str) -> str:
        """Run a management command; its last line, which sums up."""
        argv = [sys.executable, "-m", "sandbox.manage", command, *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        for line in done.stdout.rstrip().splitlines():
            self.console.print(f"    [dim]{escape(line)}[/]", soft_wrap=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["see above"])[-1]
            raise NotAsPromisedError(f"{command} ended with {done.returncode}: {last}")
        return (done.stdout.strip().splitlines() or [f"{command} said nothing."])[-1]

    # --- what scenes share ----------------------------------------------------------------------

    def key(self, name: str) -> str:
        return f"demo-{self.run}-{name}"

    def basket(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {"items": list(items), "shipping_address": NEW_YORK, "currency": CURRENCY}

    def plenty(self) -> dict[str, Any]:
        return self.basket([{"sku": "DEMO-PLENTY", "quantity": 1}])

    def available(self, sku: str) -> int:
        product = expect(self.shopper.get(f"{API}/products/{sku}", currency=CURRENCY), 200)
        return int(product["available_quantity"])

    @property
    def payments_are_local(self) -> bool:
        return urlsplit(self.payment_url).hostname in env.LOOPBACK_HOSTS

    def do_3d_secure(self, payment_intent_id: str) -> httpx.Response:
        """The shopper's part at the bank, which the local payment server offers to tests."""
        path = f"/_test/payment_intents/{payment_intent_id}/action"
        answer = self.ask_payment_server("POST", path, json={"outcome": "succeed"})
        self.show(answer)
        return answer

    @contextlib.contextmanager
    def faults(self, *faults: dict[str, Any]) -> Iterator[None]:
        """Let the local payment server misbehave for as long as this lasts."""
        for fault in faults:
            expect(self.ask_payment_server("POST", "/_test/faults", json=fault), 201)
        try:
            yield
        finally:
            self.ask_payment_server("DELETE", "/_test/faults")

    def charges_of(self, order_id: str) -> int:
        """How many of an order's intents the provider has been paid."""
        answer = self.ask_payment_server("GET", "/v1/payment_intents", params={"limit": 20})
        return sum(
            intent["status"] == "succeeded" and intent["metadata"].get("order_id") == order_id
            for intent in expect(answer, 200)["data"]
        )

    def ask_payment_server(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"Authorization": "Bearer sk_test_demo"}
        try:
            return httpx.request(
                method, f"{self.payment_url}{path}", headers=headers, trust_env=False, **more
            )
        except httpx.TransportError as exc:
            raise NotAsPromisedError(f"the payment server does not answer: {exc!r}") from exc

    def await_confirmation(self, order_number: str) -> None:
        """Nobody does anything more; it has to be confirmed all the same."""

        def is_confirmed() -> bool:
            order = expect(self.shopper.get(f"{ORDERS}/{order_number}"), 200)
            return (order["status"], order["payment_status"]) == ("confirmed", "succeeded")

        if not until(is_confirmed):
            raise NotAsPromisedError(f"{order_number} was not confirmed by itself")


class Inbox:
    """The directory in which local mail ends up, one file a message."""

    def __init__(self, directory: Path) -> None:
        """Read below `directory`."""
        self.directory = directory
        self.subjects: dict[Path, str] = {}

    def find(self, order_number: str) -> str | None:
        """The subject that names an order."""
        for path in self.directory.glob("*.eml"):
            if path not in self.subjects:
                with path.open("rb") as file:
                    message = email.message_from_binary_file(file, policy=email.policy.default)
                self.subjects[path] = str(message["Subject"])
        return next((found for found in self.subjects.values() if order_number in found), None)


class Crowd:
    """Several customers who buy real baskets at once."""

    def __init__(self, base_url: str, *, run: str, console: Console) -> None:
        """Buy at `base_url`, under idempotency keys of this run."""
        self.base_url = base_url
        self.run = run
        self.console = console
        self.outcomes: Counter[str] = Counter()
        self.lock = threading.Lock()  # of `outcomes`, which all customers count in
        self.surprises: list[str] = []
        self.progress = Progress(
            TextColumn("   "),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("baskets, {task.fields[rate]:.0f} orders/s,"),
            TimeElapsedColumn(),
            TextColumn("so far,"),
            TimeRemainingColumn(),
            TextColumn("to go"),
            console=console,
            disable=not console.is_terminal,
        )
        self.bar = TaskID(0)
        self.started_at = self.told_at = 0.0

    def buy(self, baskets: Sequence[Basket]) -> str:
        """Buy them all, and say how that went.

        Raises:
            NotAsPromisedError: an answer that is neither an order nor a shortage.
        """
        customers = max(SHOPPERS_AT_ONCE, -(-len(baskets) // BASKETS_A_CUSTOMER))
        self.started_at = self.told_at = time.perf_counter()
        with self.progress, ThreadPoolExecutor(SHOPPERS_AT_ONCE) as pool:
            self.bar = self.progress.add_task("", total=len(baskets), rate=0.0)
            numbered = list(enumerate(baskets))
            shares = [numbered[first::customers] for first in range(customers)]
            list(pool.map(self.buy_share, shares))
        seconds = time.perf_counter() - self.started_at
        if self.surprises:
            shown = "; ".join(self.surprises[:SHOWN_FAILURES])
            raise NotAsPromisedError(f"{len(self.surprises)} of {len(baskets)}: {shown}")
        return self.told(customers=customers, seconds=seconds)

    def tick(self) -> None:
        """One basket more; who has no terminal is told every few seconds."""
        now = time.perf_counter()
        with self.lock:
            rate = self.outcomes["confirmed"] / (now - self.started_at)
            self.progress.update(self.bar, advance=1, rate=rate)
            if self.console.is_terminal or now - self.told_at < TOLD_EVERY_SECONDS:
                return
            self.told_at = now
        task = self.progress.tasks[0]
        left = (now - self.started_at) * (task.total or 0) / task.completed
        left -= now - self.started_at
        self.console.print(
            f"    [dim]{task.completed:.0f} of {task.total:.0f} baskets, "
            f"{rate:.0f} orders/s, {left:.0f} s to go[/]"
        )

    def buy_share(self, baskets: Sequence[tuple[int, Basket]]) -> None:
        """One customer buys some baskets, one after the other."""
        shopper = Shopper(self.base_url, on_answer=lambda _: None)
        try:
            shopper.sign_up()
        except NotAsPromisedError as error:
            self.surprises.append(str(error))
            return
        for number, basket in baskets:
            try:
                self.count(self.buy_one(shopper, number, basket))
            except NotAsPromisedError as error:
                self.surprises.append(str(error))
            self.tick()
        self.count("waits", shopper.waits)
        self.count("resends", shopper.resends)
        shopper.http.close()

    def count(self, outcome: str, times: int = 1) -> None:
        with self.lock:
            self.outcomes[outcome] += times

    def buy_one(self, shopper: Shopper, number: int, basket: Basket) -> str:
        """Returns "confirmed" or "out of stock", the two answers that a real shop gives."""
        wish = {
            "items": [{"sku": sku, "quantity": quantity} for sku, quantity in basket.lines],
            "shipping_address": ADDRESSES[basket.household_id % len(ADDRESSES)],
            "payment_method_id": "pm_card_visa",
            "currency": CURRENCY,
        }
        answer = shopper.post(ORDERS, wish, key=f"demo-{self.run}-basket-{number}")
        if answer.status_code == httpx.codes.CONFLICT:
            expect(answer, 409, code="INSUFFICIENT_INVENTORY")
            return "out of stock"
        order = expect(answer, 201)
        expect_equal(f"basket {basket.basket_id}'s status", order["status"], "confirmed")
        return "confirmed"

    def told(self, *, customers: int, seconds: float) -> str:
        """The outcome in a sentence."""
        confirmed, short = self.outcomes["confirmed"], self.outcomes["out of stock"]
        sentence = (
            f"{confirmed} orders by {customers} customers in {seconds:.1f} s "
            f"({confirmed / seconds:.0f} orders/s), {short} out of stock"
        )
        if waits := self.outcomes["waits"]:
            sentence += f", {waits} times told to come back later"
        if resends := self.outcomes["resends"]:
            sentence += f", {resends} times sent again"
        return sentence + "."


def choose_baskets(wanted: int) -> list[Basket]:
    """So many baskets evenly spread over the year; from its beginning again if it has too few."""
    every = list(files.read_baskets())
    if wanted >= len(every):
        return [every[index % len(every)] for index in range(wanted)]
    return [every[index * len(every) // wanted] for index in range(wanted)]


def quote_table(quote: dict[str, Any]) -> Table:
    """The quote as a receipt."""
    table = Table("", "quantity", "each", "total", box=None, padding=(0, 2))
    for item in quote["items"]:
        table.add_row(
            item["product_name"], str(item["quantity"]), item["unit_price"], item["total_price"]
        )
    shipping = f"shipping, {quote['shipping_method']}"
    for label, amount in (
        ("discount", f"-{quote['discount_amount']}"),
        (shipping, quote["shipping_amount"]),
        ("tax", quote["tax_amount"]),
        ("[bold]total[/]", f"[bold]{quote['total_amount']}[/]"),
    ):
        table.add_row(label, "", "", amount)
    return table


def until(holds: Callable[[], bool]) -> bool:
    """Ask again and again until it holds or `WAIT_SECONDS` are over."""
    give_up_at = time.monotonic() + WAIT_SECONDS
    while not holds():
        if time.monotonic() > give_up_at:
            return False
        time.sleep(POLL_SECONDS)
    return True


if __name__ == "__main__":
    sys.exit(main())
