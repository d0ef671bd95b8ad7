"""Shoppers for the chaos run: each does what a good client does, and writes down what it hears.

A good client repeats what has no last answer under the same key, some seconds apart and not all
at once: an outage lasts seconds, and a request that died keeps its key for 20 of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import httpx
import psycopg2

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.chaos_shop import Shop

# When the retries are due, in seconds since the first try: two come after the lease of a request
# that died at once. Each a little later at random, and none before its `Retry-After`.
RETRIES_AFTER: Final = (1.0, 4.0, 11.0, 20.5, 25.5)
LATER_BY_UP_TO: Final = 0.15
SHORTEST_PAUSE: Final = 0.5
PATIENCE_SECONDS: Final = 30.0
ANSWER_SECONDS: Final = 15.0  # above the shop's own 12
THINK_SECONDS: Final = (0.1, 1.5)
# Nothing is remembered under the key: the same request is a fresh try (CONTRACT §4).
COME_BACK: Final = frozenset({429, 500, 503})
SCARCE: Final = "DEMO-LAST-ONE"  # of which there is a single unit
SCARCE_SHARE: Final = 0.04
IN_PROGRESS: Final = "ORDER_IN_PROGRESS"
ADDRESS: Final = {
    "name": "Chris Chaos",
    "line1": "1 Main Street",
    "city": "Albany",
    "state": "NY",
    "postal_code": "12207",
    "country": "US",
}

# (name, weight, payment method, what the shopper does afterwards)
STORIES: Final = [
    ("paid", 45, "pm_card_visa", ""),
    ("declined", 7, "pm_card_visa_chargeDeclined", ""),
    ("insufficient funds", 4, "pm_card_visa_chargeDeclinedInsufficientFunds", ""),
    ("no such method", 2, "pm_none_of_mine", ""),
    ("3-D Secure done", 8, "pm_card_threeDSecure2Required", "succeed"),
    ("3-D Secure done, told by nobody", 4, "pm_card_threeDSecure2Required", "succeed in silence"),
    ("3-D Secure failed", 4, "pm_card_threeDSecure2Required", "fail"),
    ("3-D Secure abandoned", 3, "pm_card_threeDSecure2Required", ""),
    ("bank debit", 5, "pm_usBankAccount_success", "succeed in silence"),
    ("bank debit failed", 3, "pm_usBankAccount_success", "fail in silence"),
    ("PayPal", 4, "pm_paypal", "succeed"),
    ("cancelled after paying", 6, "pm_card_visa", "cancel"),
    ("cancelled while waiting", 3, "pm_card_threeDSecure2Required", "cancel"),
    ("sent twice at once", 4, "pm_card_visa", "twice"),
]
WAITS_FOR_SOMEBODY: Final = frozenset(
    story for story, _, method, _ in STORIES if not method.startswith(("pm_card_visa", "pm_none"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One answer, or none (`status` 0), to one request with a key; times in monotonic seconds."""

    at: float
    asked_at: float = 0.0
    key: str
    status: int
    code: str = ""
    order_number: str = ""
    digest: str = ""
    replayed: bool = False

    @property
    def is_definite(self) -> bool:
        """Whether it is the last word under its key; a 202 is not."""
        if self.status in COME_BACK or self.status in {0, 202}:
            return False
        return self.code != IN_PROGRESS

    @property
    def is_acknowledged(self) -> bool:
        """Whether the shop said that there is an order."""
        return self.status in {201, 202} or (self.status == 402 and bool(self.order_number))  # noqa: PLR2004


@dataclass(slots=True, kw_only=True)
class Wish:
    """An order somebody wants, under one key; the same bytes at every try."""

    key: str
    body: bytes
    story: str
    act: str
    email: str
    heard: list[Heard] = field(default_factory=list)
    tries: int = 0
    began: float = 0.0
    taken_after: float | None = None  # seconds to an answer that ends the retries; None: gave up
    acted_at: float | None = None  # Unix time at which the bank had decided

    @property
    def settled_in_time(self) -> bool:
        """Whether the client heard in its 30 seconds what became of the order."""
        return self.taken_after is not None and self.taken_after <= PATIENCE_SECONDS


class Journal:
    """An own, fsynced file of every request and every answer, before anything is made of it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()

    def write(self, **line: Any) -> None:
        """Add a line and see it on the disk."""
        text = json.dumps({"time": time.time(), **line})
        with self._lock:
            self._file.write(text + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())


class Shopper(threading.Thread):
    """One buyer who goes on ordering until told to stop."""

    def __init__(
        self, shop: Shop, journal: Journal, *, number: int, seed: int, skus: list[str]
    ) -> None:
        super().__init__(name=f"shopper-{number}")
        self.wishes: list[Wish] = []
        self._shop = shop
        self._journal = journal
        self._number = number
        self._random = random.Random(f"{seed}/{number}")
        self._jitter = random.Random(f"{seed}/{number}/pauses")  # what is bought depends on no luck
        self._skus = skus
        self._leave = threading.Event()
        self._come_back_after = 0.0
        self._http = httpx.Client(base_url=shop.url, timeout=ANSWER_SECONDS, trust_env=False)

    def stop(self) -> None:
        """Finish the wish at hand and go."""
        self._leave.set()

    def run(self) -> None:
        while not self._leave.wait(self._random.uniform(*THINK_SECONDS)):
            wish = self._make_wish(len(self.wishes))
            self.wishes.append(wish)
            self._order(wish)
            self._act(wish)

    def ask(self, wish: Wish) -> Heard:
        """Send the wish once; the answer is in the journal before it is returned."""
        wish.tries += 1
        self._journal.write(
            sent=wish.key, attempt=wish.tries, body=hashlib.sha256(wish.body).hexdigest()
        )
        headers = {"Idempotency-Key": wish.key, "Content-Type": "application/json"}
        asked_at = time.monotonic()
        self._come_back_after = 0.0
        try:
            answer = self._http.post("/api/v1/orders", content=wish.body, headers=headers)
        except httpx.HTTPError as exc:
            heard = Heard(
                at=time.monotonic(),
                asked_at=asked_at,
                key=wish.key,
                status=0,
                code=type(exc).__name__,
            )
        else:
            heard = _heard(wish.key, answer, asked_at=asked_at)
            self._come_back_after = float(answer.headers.get("Retry-After", 0.0))
        self._journal.write(
            heard=wish.key,
            status=heard.status,
            code=heard.code,
            order=heard.order_number,
            digest=heard.digest,
            replayed=heard.replayed,
        )
        wish.heard.append(heard)
        return heard

    def _make_wish(self, number: int) -> Wish:
        chance = self._random
        story, _, method, act = chance.choices(STORIES, [story[1] for story in STORIES])[0]
        key = f"chaos-{self._number}-{number}"
        email = f"{key}@example.com"
        skus = chance.sample(self._skus, k=min(3, len(self._skus)))
        if chance.random() < SCARCE_SHARE:
            skus[0] = SCARCE
        body = {
            "items": [{"sku": sku, "quantity": chance.randint(1, 2)} for sku in skus],
            "payment_method_id": method,
            "shipping_address": ADDRESS,
            "customer": {"email": email, "first_name": "Chris", "last_name": "Chaos"},
        }
        return Wish(key=key, body=json.dumps(body).encode(), story=story, act=act, email=email)

    def _order(self, wish: Wish) -> None:
        """Five more tries within `PATIENCE_SECONDS` at most, as a good client does."""
        wish.began = time.monotonic()
        beside = threading.Thread(target=self._send_beside, args=(wish,))
        if wish.act == "twice":
            beside.start()
        for due in (*RETRIES_AFTER, None):
            heard = self.ask(wish)
            if heard.is_definite or heard.status == 202:  # noqa: PLR2004 - it settles by itself
                wish.taken_after = heard.at - wish.began
                break
            if due is None or not self._pause(wish, due):
                break
        if wish.act == "twice":
            beside.join()

    def _pause(self, wish: Wish, due: float) -> bool:
        """Sleep until the next try is due; False if that is too late."""
        later = 1 + self._jitter.uniform(0, LATER_BY_UP_TO)
        passed = time.monotonic() - wish.began
        after = max(due * later - passed, max(self._come_back_after, SHORTEST_PAUSE) * later)
        if passed + after > PATIENCE_SECONDS:
            return False
        time.sleep(after)
        return True

    def _send_beside(self, wish: Wish) -> None:
        twin = Shopper(self._shop, self._journal, number=self._number, seed=0, skus=[])
        twin.ask(wish)

    def _act(self, wish: Wish) -> None:
        """What comes after the order: the bank's page, `/confirm`, a change of mind."""
        last = next((heard for heard in reversed(wish.heard) if heard.order_number), None)
        if last is None or wish.act in {"", "twice"}:
            return
        outcome = wish.act.split()[0]
        try:
            if outcome == "cancel":
                self._call(wish, last.order_number, "cancel")
                return
            intent_id = self._intent_of(last.order_number)
            if intent_id is None:
                return
            self._shop.provider(
                "POST", f"/_test/payment_intents/{intent_id}/action", json={"outcome": outcome}
            )
            wish.acted_at = time.time()
            if "silence" not in wish.act:
                self._call(wish, last.order_number, "confirm")
        except (httpx.HTTPError, psycopg2.Error):
            return  # the shopper gives up; the shop has to settle it by itself

    def _call(self, wish: Wish, order_number: str, what: str) -> None:
        token = self._guest_token(wish)
        if token:
            self._http.post(f"/api/v1/orders/{order_number}/{what}?token={token}", json={})

    def _guest_token(self, wish: Wish) -> str:
        return next((token for heard in wish.heard if (token := _TOKENS.get(heard.digest))), "")

    def _intent_of(self, order_number: str) -> str | None:
        with self._shop.database() as cursor:
            cursor.execute(
                "SELECT payment_intent_id FROM payments p JOIN orders o ON o.id = p.order_id"
                " WHERE o.order_number = %s",
                [order_number],
            )
            row = cursor.fetchone()
        return str(row[0]) if row and row[0] else None


_TOKENS: dict[str, str] = {}  # guests' tokens by the digest of the answer they came in


def _heard(key: str, answer: httpx.Response, *, asked_at: float) -> Heard:
    at = time.monotonic()
    try:
        body = answer.json()
    except ValueError:
        return Heard(at=at, asked_at=asked_at, key=key, status=answer.status_code, code="no JSON")
    error = body.get("error") or {}
    details = error.get("details")
    details = details if isinstance(details, dict) else {}
    digest = hashlib.sha256(answer.content).hexdigest()
    token = body.get("guest_token") or details.get("guest_token")
    if token:
        _TOKENS[digest] = token
    return Heard(
        at=at,
        asked_at=asked_at,
        key=key,
        status=answer.status_code,
        code=error.get("code", ""),
        order_number=body.get("order_number") or details.get("order_number") or "",
        digest=digest,
        replayed=answer.headers.get("Idempotent-Replayed") == "true",
    )
