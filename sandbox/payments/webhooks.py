"""Tells a listener of events: at least once, signed, again and again until it says 2xx.

What is to be told lies in the store from the moment it happened, so a killed server goes on where
it stood. Nothing here holds up the API: a dead or slow listener costs it nothing.
"""

import asyncio
import hashlib
import hmac
import logging
import time
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import aiohttp

from sandbox.payments.faults import Faults
from sandbox.payments.store import Delivery, Store

logger = logging.getLogger(__name__)

AT_A_TIME = 4
ANSWER_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
_MOST_DOUBLINGS = 6  # make the first pause longer than the longest; 2**1024 is no float any more
GIVE_UP_SECONDS = 3 * 86_400.0
ROUND_SECONDS = 0.5
REORDER_SECONDS = 5.0  # a delivery held back for others goes out after this at the latest


@dataclass(frozen=True, kw_only=True)
class Listener:
    """Where events go to: an address, the secret they are signed with, and which types."""

    url: str
    secret: str
    types: tuple[str, ...] = ("*",)

    def wants(self, kind: str) -> bool:
        return any(fnmatchcase(kind, pattern) for pattern in self.types)


def sign(body: bytes, *, secret: str, at: int) -> str:
    """The `Stripe-Signature` header: https://docs.stripe.com/webhooks#verify-manually."""
    signed = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={signed}"


@dataclass(kw_only=True)
class Courier:
    """Carries the deliveries that are due to the listener."""

    store: Store
    faults: Faults
    listener: Listener
    heard: int = 0  # deliveries that the listener has taken
    _under_way: set[int] = field(default_factory=set)
    _resting: dict[int, float] = field(default_factory=dict)  # delivery -> left alone until then
    _held: dict[int, int] = field(default_factory=dict)  # delivery -> goes when so many are heard
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Something new is to be told."""
        self._woken.set()

    async def run(self) -> None:
        """Carry until cancelled."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        connector = aiohttp.TCPConnector(limit=0)  # a delivery's copies go beside each other
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=connector) as http,
            asyncio.TaskGroup() as tasks,
        ):
            while True:
                for delivery in self._next():
                    self._under_way.add(delivery.id)
                    tasks.create_task(self._carry(http, delivery))
                try:
                    await asyncio.wait_for(self._woken.wait(), ROUND_SECONDS)
                except TimeoutError:
                    continue
                self._woken.clear()

    def _next(self) -> list[Delivery]:
        """What is to be carried now; nothing if the store fails, which must not end the rounds."""
        try:
            return self._due(now=time.time())
        except Exception:
            logger.exception("the deliveries that are due cannot be read")
            return []

    def _due(self, *, now: float) -> list[Delivery]:
        ready = [number for number, after in self._held.items() if self.heard >= after]
        if ready:
            with self.store.transaction():
                for number in ready:
                    self.store.postpone_delivery(number, due=now)
        self._resting = {number: until for number, until in self._resting.items() if until > now}
        passed_over = self._under_way | self._resting.keys()
        free = AT_A_TIME - len(self._under_way)
        due = self.store.deliveries_due(now=now, limit=free + len(passed_over))
        chosen = [delivery for delivery in due if delivery.id not in passed_over][:free]
        for number in [*ready, *(delivery.id for delivery in chosen)]:
            self._held.pop(number, None)
        return chosen

    async def _carry(self, http: aiohttp.ClientSession, delivery: Delivery) -> None:
        is_first_way = not delivery.is_marked and delivery.attempts == 0
        try:
            copies = self._spoil(delivery) if is_first_way else 1
            heard = await asyncio.gather(*(self._send(http, delivery) for _ in range(copies)))
            self.heard += any(heard)
        except Exception:
            logger.exception("delivery %s failed", delivery.id)
            self._resting[delivery.id] = time.time() + LONGEST_PAUSE_SECONDS
        finally:
            self._under_way.discard(delivery.id)
            self._woken.set()

    def _spoil(self, delivery: Delivery) -> int:
        """Let a fault have its way with a delivery's first journey; returns how often to send."""
        fault = self.faults.take_webhook(delivery.kind)
        if fault is None:
            return 1
        now = time.time()
        with self.store.transaction():
            self.store.mark_delivery(delivery.id)  # once is enough
            match fault.kind:
                case "webhook_drop":
                    self.store.finish_delivery(delivery.id, outcome="dropped")
                case "webhook_delay":
                    due = now + fault.settings["seconds"]
                    self.store.postpone_delivery(delivery.id, due=due)
                case "webhook_reorder":
                    self._held[delivery.id] = self.heard + fault.settings["count"]
                    self.store.postpone_delivery(delivery.id, due=now + REORDER_SECONDS)
                case _:
                    return int(1 + fault.settings["copies"])
        return 0

    async def _send(self, http: aiohttp.ClientSession, delivery: Delivery) -> bool:
        """Try once; returns whether it was heard."""
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": sign(
                delivery.body, secret=self.listener.secret, at=int(time.time())
            ),
            "User-Agent": "Stripe/1.0 (+local payment server)",
        }
        try:
            async with http.post(
                self.listener.url, data=delivery.body, headers=headers, allow_redirects=False
            ) as answer:
                outcome = str(answer.status)
                heard = 200 <= answer.status < 300  # noqa: PLR2004 - any success will do
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            outcome, heard = type(exc).__name__, False
        self._note(delivery, outcome=outcome, heard=heard)
        return heard

    def _note(self, delivery: Delivery, *, outcome: str, heard: bool) -> None:
        now = time.time()
        with self.store.transaction():
            if heard or now - delivery.created > GIVE_UP_SECONDS:
                self.store.finish_delivery(delivery.id, outcome=outcome)
                return
            doublings = min(delivery.attempts, _MOST_DOUBLINGS)
            pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**doublings)
            self.store.postpone_delivery(delivery.id, due=now + pause, outcome=outcome)
