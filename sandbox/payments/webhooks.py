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
    sent: int = 0
    _under_way: set[int] = field(default_factory=set)
    _held: dict[int, int] = field(default_factory=dict)  # delivery -> may go when so many are sent
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Something new is to be told."""
        self._woken.set()

    async def run(self) -> None:
        """Carry until cancelled."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        connector = aiohttp.TCPConnector(limit=AT_A_TIME)
        async with (
            aiohttp.ClientSession(timeout=timeout, connector=connector) as http,
            asyncio.TaskGroup() as tasks,
        ):
            while True:
                for delivery in self._due():
                    self._under_way.add(delivery.id)
                    tasks.create_task(self._carry(http, delivery))
                try:
                    await asyncio.wait_for(self._woken.wait(), ROUND_SECONDS)
                except TimeoutError:
                    continue
                self._woken.clear()

    def _due(self) -> list[Delivery]:
        now = time.time()
        ready = [number for number, after in self._held.items() if self.sent >= after]
        if ready:
            with self.store.transaction():
                for number in ready:
                    self.store.postpone_delivery(number, due=now)
                    del self._held[number]
        free = AT_A_TIME - len(self._under_way)
        due = self.store.deliveries_due(now=now, limit=free + len(self._under_way))
        return [delivery for delivery in due if delivery.id not in self._under_way][:free]

    async def _carry(self, http: aiohttp.ClientSession, delivery: Delivery) -> None:
        try:
            copies = 1 if delivery.is_marked else self._spoil(delivery)
            for _ in range(copies):
                await self._send(http, delivery)
        except Exception:
            logger.exception("delivery %s failed", delivery.id)
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
                    self._held[delivery.id] = self.sent + fault.settings["count"]
                    self.store.postpone_delivery(delivery.id, due=now + REORDER_SECONDS)
                case _:
                    return int(1 + fault.settings["copies"])
        return 0

    async def _send(self, http: aiohttp.ClientSession, delivery: Delivery) -> None:
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
        self.sent += 1
        self._note(delivery, outcome=outcome, heard=heard)

    def _note(self, delivery: Delivery, *, outcome: str, heard: bool) -> None:
        now = time.time()
        with self.store.transaction():
            if heard or now - delivery.created > GIVE_UP_SECONDS:
                self.store.finish_delivery(delivery.id, outcome=outcome)
                return
            pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**delivery.attempts)
            self.store.postpone_delivery(delivery.id, due=now + pause, outcome=outcome)
