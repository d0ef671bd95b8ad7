"""The chaos run's storm: every way to hurt a shop, and the seeded plan that chooses among them.

It hurts only what the run's own shop started, by the shop's own register of processes.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import random
import signal
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx
import psutil
import psycopg2
import redis

from benchmarks.chaos_shop import ShopDiedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.chaos_shop import Shop

    Strike = Callable[["Storm", random.Random], None]

LEASE_SECONDS: Final = 20.0
BETWEEN_BLOWS_SECONDS: Final = (0.7, 4.0)
BETWEEN_FAULTS_SECONDS: Final = (2.0, 7.0)
COMES_BACK_SECONDS: Final = 8.0
PAUSE_SECONDS: Final = 0.2  # where there was nothing to fall on
READY_SECONDS: Final = 30.0
MOST_CONNECTIONS: Final = 100  # of the embedded PostgreSQL
TOO_OLD_SECONDS: Final = 900
# What a second sweeper does is what beat's does: it is no other program.
SWEEP: Final = "from orders.services import recovery; recovery.sweep()"
# A part that is down just now, or whose connection another blow has cut: no fault of the storm's.
GONE: Final = (
    psutil.Error,
    psycopg2.OperationalError,
    psycopg2.InterfaceError,
    redis.ConnectionError,
    redis.TimeoutError,
    httpx.HTTPError,
    IndexError,
    OSError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blow:
    """One thing that was done to the shop; `at` in seconds since the storm began."""

    at: float
    kind: str


class Plan:
    """What falls next: first every kind of blow once, in a random order, then by their weights.

    What takes a part down leaves it some seconds to come back before that part is taken down again:
    a recovery that is never let end cannot be measured. Everything else falls on everything.
    """

    def __init__(self, chance: random.Random) -> None:
        self._owed = chance.sample([kind for kind, _, _ in BLOWS], k=len(BLOWS))
        self._now = 0.0  # the plan's own time: what falls depends on no luck
        self._down_until: defaultdict[str, float] = defaultdict(float)

    def choose(self, chance: random.Random, *, after: float) -> str:
        """The kind of the blow that falls so many seconds after the last one."""
        self._now += after
        weights = {
            kind: weight
            for kind, weight, _ in BLOWS
            if self._now >= self._down_until[TAKES_DOWN.get(kind, "")]
        }
        kind = chance.choices(list(weights), list(weights.values()))[0]
        kind = next((owed for owed in self._owed if owed in weights), kind)
        if kind in self._owed:
            self._owed.remove(kind)
        if part := TAKES_DOWN.get(kind):
            self._down_until[part] = self._now + COMES_BACK_SECONDS
        return kind

    def owe(self, kind: str) -> None:
        """It found nothing to fall on: it is to fall later."""
        self._owed.append(kind)


class Storm:
    """Hurts the shop by a seeded plan until it is told to stop.

    Beside the blows go spells of bad luck with the payment provider.
    """

    def __init__(self, shop: Shop, *, seed: int) -> None:
        self.shop = shop
        self.blows: list[Blow] = []
        self.spells: list[Blow] = []  # what the provider was made to do to us, and when
        self.problems: list[str] = []
        self._plan = Plan(random.Random(seed))
        self._stop = threading.Event()
        self._began = time.monotonic()
        self._lasting: list[threading.Thread] = []
        self._threads = [
            threading.Thread(target=self._run, args=(work, random.Random(seed + n)))
            for n, work in enumerate((self._strike, self._spoil_provider), start=1)
        ]

    def begin(self) -> None:
        """Start hurting."""
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Stop hurting and take everything back.

        Raises:
            ShopDiedError: a server does not come back.
        """
        self._stop.set()
        for thread in (*self._threads, *self._lasting):
            thread.join()
        for wire in self.shop.wires.values():
            wire.heal()
        # What was to undo a blow may itself have found the server down.
        _until_done(lambda: self.shop.cache().config_set("maxmemory", "0"))
        _until_done(lambda: self.shop.provider("DELETE", "/_test/faults"))

    def lasting(
        self, *, seconds: float, begin: Callable[[], Any], end: Callable[[Any], object]
    ) -> None:
        """Do something now and undo it some time later, while the storm goes on."""
        begun = begin()

        def undo() -> None:
            self._stop.wait(seconds)
            with contextlib.suppress(*GONE):
                end(begun)

        thread = threading.Thread(target=undo)
        self._lasting.append(thread)
        thread.start()

    def pause(self, processes: Sequence[psutil.Process], *, seconds: float) -> None:
        """Stop processes and let them go on later."""
        self.lasting(
            seconds=seconds,
            begin=lambda: _to_each(processes, psutil.Process.suspend),
            end=lambda _: _to_each(processes, psutil.Process.resume),
        )

    def _run(self, work: Callable[[random.Random], None], chance: random.Random) -> None:
        while not self._stop.is_set():
            try:
                work(chance)
            except GONE:
                self._stop.wait(PAUSE_SECONDS)  # the next blow will find another
            except Exception as exc:  # noqa: BLE001 - a storm that has died down would be no test
                self.problems.append(f"the storm failed in {work.__name__}: {exc!r}")
                return

    def _strike(self, chance: random.Random) -> None:
        pause = chance.uniform(*BETWEEN_BLOWS_SECONDS)
        if self._stop.wait(pause):
            return
        kind = self._plan.choose(chance, after=pause)
        strike = next(strike for name, _, strike in BLOWS if name == kind)
        try:
            strike(self, chance)
        except GONE:
            if not any(blow.kind == kind for blow in self.blows):
                self._plan.owe(kind)
            raise
        self.blows.append(Blow(at=self._passed(), kind=kind))

    def _passed(self) -> float:
        return time.monotonic() - self._began

    def _spoil_provider(self, chance: random.Random) -> None:
        self.shop.provider("DELETE", "/_test/faults")
        for fault in chance.sample(FAULTS, k=chance.randint(0, 3)):
            probability = round(chance.uniform(0.05, 0.4), 2)
            seed = chance.randrange(10**6)
            armed = {"times": None, "seed": seed, "probability": probability, **fault}
            self.shop.provider("POST", "/_test/faults", json=armed)
            kind = f"provider: {fault['kind']} ({armed['probability']:.0%})"
            self.spells.append(Blow(at=self._passed(), kind=kind))
        self._stop.wait(chance.uniform(*BETWEEN_FAULTS_SECONDS))


def _until_done(act: Callable[[], object]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            act()
        except GONE as exc:
            if time.monotonic() > deadline:
                raise ShopDiedError("a server does not come back after the storm") from exc
            time.sleep(0.2)
        else:
            return


def _to_each(processes: Sequence[psutil.Process], act: Callable[[psutil.Process], object]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            act(process)


# --- processes ----------------------------------------------------------------------------------


def _signal_child(part: str, number: signal.Signals) -> Strike:
    def strike(storm: Storm, chance: random.Random) -> None:
        chance.choice(storm.shop.family(part)[1:]).send_signal(number)

    return strike


def _signal_first(part: str, number: signal.Signals) -> Strike:
    def strike(storm: Storm, _chance: random.Random) -> None:
        storm.shop.family(part)[0].send_signal(number)

    return strike


def _pause_child(part: str, shortest: float, longest: float) -> Strike:
    def strike(storm: Storm, chance: random.Random) -> None:
        process = chance.choice(storm.shop.family(part)[1:])
        storm.pause([process], seconds=chance.uniform(shortest, longest))

    return strike


def _pause_all(part: str, shortest: float, longest: float) -> Strike:
    def strike(storm: Storm, chance: random.Random) -> None:
        family = storm.shop.family(part)
        storm.pause(family, seconds=chance.uniform(shortest, longest))

    return strike


# --- the database -------------------------------------------------------------------------------


def _cut_all_connections(storm: Storm, _chance: random.Random) -> None:
    with storm.shop.database() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )


def _cut_some_connections(storm: Storm, _chance: random.Random) -> None:
    """Preferably those that are at work."""
    with storm.shop.database() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database()"
            " ORDER BY state = 'idle', random() LIMIT 3) AS chosen"
        )


def _use_up_connections(storm: Storm, chance: random.Random) -> None:
    def begin() -> list[psycopg2.extensions.connection]:
        taken: list[psycopg2.extensions.connection] = []
        with contextlib.suppress(psycopg2.Error):
            while len(taken) < MOST_CONNECTIONS:
                taken.append(storm.shop.connect())
        return taken

    def end(taken: list[psycopg2.extensions.connection]) -> None:
        for connection in taken:
            connection.close()

    storm.lasting(seconds=chance.uniform(0.5, 3.0), begin=begin, end=end)


def _lock_stock(storm: Storm, chance: random.Random) -> None:
    """Somebody forgot a transaction that holds the stock of what everybody buys."""

    def begin() -> psycopg2.extensions.connection:
        connection = storm.shop.connect()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM stock_levels ORDER BY id FOR UPDATE")
        return connection

    storm.lasting(seconds=chance.uniform(0.5, 4.0), begin=begin, end=lambda held: held.close())


# --- the cache and broker -----------------------------------------------------------------------


def _empty_cache(storm: Storm, _chance: random.Random) -> None:
    storm.shop.cache().flushall()


def _fill_cache(storm: Storm, chance: random.Random) -> None:
    """Nothing can be written any more, as when its memory is used up; a restart ends it, too."""
    storm.lasting(
        seconds=chance.uniform(1.0, 6.0),
        begin=lambda: storm.shop.cache().config_set("maxmemory", "1"),
        end=lambda _: storm.shop.cache().config_set("maxmemory", "0"),
    )


# --- the wires between the shop and its servers --------------------------------------------------


def _cut_wire(name: str) -> Strike:
    def strike(storm: Storm, _chance: random.Random) -> None:
        storm.shop.wires[name].cut()

    return strike


def _silence_wire(name: str, shortest: float, longest: float) -> Strike:
    def strike(storm: Storm, chance: random.Random) -> None:
        wire = storm.shop.wires[name]
        storm.lasting(
            seconds=chance.uniform(shortest, longest),
            begin=wire.silence,
            end=lambda _: wire.heal(),
        )

    return strike


def _slow_wire(name: str, shortest: float, longest: float) -> Strike:
    def strike(storm: Storm, chance: random.Random) -> None:
        wire, delay = storm.shop.wires[name], chance.uniform(0.01, 0.05)
        storm.lasting(
            seconds=chance.uniform(shortest, longest),
            begin=lambda: wire.slow(delay),
            end=lambda _: wire.heal(),
        )

    return strike


def _swallow_commits(storm: Storm, chance: random.Random) -> None:
    storm.shop.wires["database"].swallow_commits(chance.randint(1, 4))


# --- sweepers and forgers -----------------------------------------------------------------------


def _sweep_beside(storm: Storm, chance: random.Random) -> None:
    """A second sweeper beside the worker's; killed if it is not done by then."""
    storm.lasting(
        seconds=chance.uniform(2.0, 12.0),
        begin=lambda: storm.shop.begin_manage("shell", "-c", SWEEP),
        end=lambda sweeper: (sweeper.kill(), sweeper.wait()),
    )


def _forge_webhooks(storm: Storm, chance: random.Random) -> None:
    """Events that are not the provider's: signed with another secret, long ago, or not at all."""
    secret = storm.shop.webhook_secret
    now = int(time.time())
    event = b'{"id": "evt_forged_%d", "object": "event", "type": "payment_intent.succeeded"}'
    body = event % chance.randrange(10**9)
    for header in (
        _signature(body, secret="whsec_of_somebody_else", at=now),  # noqa: S106
        _signature(body, secret=secret, at=now - TOO_OLD_SECONDS),
        _signature(body, secret=secret, at=now + TOO_OLD_SECONDS),
        _signature(body + b" ", secret=secret, at=now),
        "",
    ):
        answer = httpx.post(
            f"{storm.shop.url}/api/v1/webhooks/stripe",
            content=body,
            headers={"Stripe-Signature": header, "Content-Type": "application/json"},
            timeout=5,
            trust_env=False,
        )
        if answer.is_success:
            storm.problems.append(f"a forged webhook was taken: {header!r}, {body.decode()}")


def _signature(body: bytes, *, secret: str, at: int) -> str:
    signed = hmac.new(secret.encode(), b"%d." % at + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={signed}"


BLOWS: Final[list[tuple[str, int, Strike]]] = [  # name, weight, what it does
    ("web process killed", 26, _signal_child("web", signal.SIGKILL)),
    ("web process stopped for seconds", 8, _pause_child("web", 0.5, 6.0)),
    (
        "web process stopped past its lease",
        2,
        _pause_child("web", LEASE_SECONDS + 2, LEASE_SECONDS + 5),
    ),
    ("web master killed", 5, _signal_first("web", signal.SIGKILL)),
    ("web reloaded", 4, _signal_first("web", signal.SIGHUP)),
    ("worker process killed", 9, _signal_child("worker", signal.SIGKILL)),
    ("worker process stopped for seconds", 3, _pause_child("worker", 1.0, 15.0)),
    ("worker master killed", 4, _signal_first("worker", signal.SIGKILL)),
    ("worker asked to stop", 3, _signal_first("worker", signal.SIGTERM)),
    ("beat killed", 3, _signal_first("beat", signal.SIGKILL)),
    ("second sweeper", 2, _sweep_beside),
    ("database killed", 10, _signal_first("postgres", signal.SIGKILL)),
    ("database stopped at once", 2, _signal_first("postgres", signal.SIGQUIT)),
    ("database shut down", 2, _signal_first("postgres", signal.SIGINT)),
    ("database frozen for seconds", 3, _pause_all("postgres", 0.5, 3.0)),
    ("all database connections cut", 8, _cut_all_connections),
    ("some database connections cut", 10, _cut_some_connections),
    ("database connections used up", 2, _use_up_connections),
    ("stock locked for seconds", 4, _lock_stock),
    ("answers to COMMITs lost", 8, _swallow_commits),
    ("database connections reset", 6, _cut_wire("database")),
    ("database silent for seconds", 3, _silence_wire("database", 0.5, 4.0)),
    ("database slow for seconds", 3, _slow_wire("database", 1.0, 6.0)),
    ("cache killed", 5, _signal_first("valkey", signal.SIGKILL)),
    ("cache frozen for seconds", 4, _pause_all("valkey", 1.0, 8.0)),
    ("cache emptied", 4, _empty_cache),
    ("cache full for seconds", 3, _fill_cache),
    ("cache connections reset", 3, _cut_wire("cache")),
    ("cache silent for seconds", 3, _silence_wire("cache", 1.0, 8.0)),
    ("payment server killed", 5, _signal_first("payments", signal.SIGKILL)),
    ("payment server frozen for seconds", 4, _pause_all("payments", 0.5, 6.0)),
    ("webhooks forged", 4, _forge_webhooks),
]

TAKES_DOWN: Final = {
    "web master killed": "web",
    "worker master killed": "worker",
    "worker asked to stop": "worker",
    "database killed": "database",
    "database stopped at once": "database",
    "database shut down": "database",
    "database frozen for seconds": "database",
    "database connections used up": "database",
    "database silent for seconds": "database",
    "cache killed": "cache",
    "cache frozen for seconds": "cache",
    "cache silent for seconds": "cache",
    "payment server killed": "payment server",
    "payment server frozen for seconds": "payment server",
}

_INTENTS: Final = "/v1/payment_intents**"
FAULTS: Final[list[dict[str, Any]]] = [
    {"kind": "drop", "path": _INTENTS},
    {"kind": "drop", "path": _INTENTS, "method": "GET", "reset": True},
    {"kind": "answer_lost", "path": _INTENTS},
    {"kind": "answer_lost", "path": "/v1/refunds", "reset": True},
    {"kind": "error_before", "path": _INTENTS},
    {"kind": "error_after", "path": _INTENTS, "status": 502},
    {"kind": "error_before", "path": "/v1/refunds"},
    {"kind": "error_after", "path": "/v1/refunds"},
    {"kind": "unavailable", "path": _INTENTS},
    {"kind": "unavailable", "path": "/v1/**", "method": "*", "probability": 1.0},
    {"kind": "conflict", "path": _INTENTS},
    {"kind": "rate_limit", "path": _INTENTS, "retry_after": 1},
    {"kind": "redirect", "path": _INTENTS, "location": "http://127.0.0.1:9/"},
    {"kind": "latency", "path": _INTENTS, "seconds": 1.5},
    {"kind": "hang", "path": _INTENTS, "seconds": 9.0, "applied": True},
    {"kind": "hang", "path": _INTENTS, "seconds": 9.0, "applied": False},
    {"kind": "drip", "path": _INTENTS, "seconds": 0.05},
    *(
        {"kind": "malformed", "path": _INTENTS, "form": form}
        for form in ("truncated", "html", "empty", "short", "error_200", "list")
    ),
    {"kind": "webhook_drop", "event": "*"},
    {"kind": "webhook_duplicate", "event": "*", "copies": 3},
    {"kind": "webhook_delay", "event": "*", "seconds": 5.0},
    {"kind": "webhook_reorder", "event": "*", "count": 5},
]
