"""A whole shop of its own for the chaos run, and the ways to hurt it: only what it started."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import httpx
import psutil
import psycopg2
import redis

from sandbox.processes import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

READY_SECONDS: Final = 180.0
STOP_SECONDS: Final = 30.0
LEASE_SECONDS: Final = 20.0
ANY_PROVIDER_PATH: Final = "/v1/**"


class ShopDiedError(Exception):
    """bin/up itself ended, or the shop did not come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blow:
    """One thing that was done to the shop; `at` in seconds since the storm began."""

    at: float
    kind: str


class Shop:
    """`bin/up` on a fresh directory, as a child of this process."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._variables: dict[str, str] = {}

    def start(self) -> None:
        """Start from nothing, and wait until it takes orders.

        Raises:
            ShopDiedError: it does not come up.
        """
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(parents=True)
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name not in {"DATABASE_URL", "REDIS_URL", "STRIPE_API_BASE", "PUBLIC_URL"}
        }
        own = {
            "ORDERKEEP_HOME": str(self.home),
            "PORT": str(self.port),
            "THROTTLE": "off",
            "HOLD_MINUTES": "1",
        }
        with (self.home / "up.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sandbox.up"],
                env={**inherited, **own},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.wait_until_ready()
        self._variables = json.loads((self.home / "run" / "env.json").read_text())

    def wait_until_ready(self) -> float:
        """Wait for /readyz; returns how long it took.

        Raises:
            ShopDiedError: it never became ready.
        """
        began = time.monotonic()
        while time.monotonic() - began < READY_SECONDS:
            if self._process is None or self._process.poll() is not None:
                raise ShopDiedError(f"bin/up has ended, see {self.home / 'up.log'}")
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False).status_code == 200:  # noqa: PLR2004
                    return time.monotonic() - began
            time.sleep(0.2)
        raise ShopDiedError("the shop is not ready after three minutes")

    def stop(self) -> None:
        """Stop all of it."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a management command against it."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            env={**os.environ, **self._variables, "ORDERKEEP_HOME": str(self.home)},
            capture_output=True,
            text=True,
            check=False,
        )

    @contextlib.contextmanager
    def database(self) -> Any:
        """A cursor on its database."""
        connection = psycopg2.connect(self._variables["DATABASE_URL"], connect_timeout=5)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                yield cursor
        finally:
            connection.close()

    def provider(self, method: str, path: str, **more: Any) -> Any:
        """Ask its payment server."""
        headers = {"Authorization": "Bearer sk_test_chaos"}
        answer = httpx.request(
            method,
            f"{self._variables['STRIPE_API_BASE']}{path}",
            headers=headers,
            timeout=10,
            trust_env=False,
            **more,
        )
        answer.raise_for_status()
        return answer.json()

    def cache(self) -> redis.Redis:
        """Its Valkey."""
        return redis.Redis.from_url(self._variables["REDIS_URL"], socket_timeout=2)

    def family(self, name: str) -> list[psutil.Process]:
        """A part's first process and its children, the first one first; empty while it is down."""
        try:
            register = json.loads((self.home / "run" / "processes.json").read_text())
            first = psutil.Process(int(register[name]["pid"]))
            if abs(first.create_time() - register[name]["started_at"]) > 1:
                return []  # the number is somebody else's by now
            return [first, *first.children(recursive=True)]
        except (OSError, ValueError, KeyError, psutil.Error):
            return []


# --- blows ------------------------------------------------------------------------------------


class Storm:
    """Hurts the shop by a seeded plan until it is told to stop."""

    def __init__(self, shop: Shop, *, seed: int) -> None:
        self.shop = shop
        self.blows: list[Blow] = []
        self.faults: dict[str, int] = {}
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._began = time.monotonic()
        self._stopped_processes: list[psutil.Process] = []
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
        """Stop hurting and take all faults back."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for process in self._stopped_processes:
            with contextlib.suppress(psutil.Error):
                process.resume()
        for _ in range(50):
            with contextlib.suppress(httpx.HTTPError):
                self.shop.provider("DELETE", "/_test/faults")
                return
            time.sleep(0.2)
        raise ShopDiedError("the payment server does not answer any more")

    def _run(self, work: Callable[[random.Random], None], chance: random.Random) -> None:
        while not self._stop.is_set():
            # A part that is down just now, or a server that is: the next blow will find another.
            with contextlib.suppress(
                psutil.Error, psycopg2.Error, redis.RedisError, httpx.HTTPError, IndexError
            ):
                work(chance)

    def _strike(self, chance: random.Random) -> None:
        if self._stop.wait(chance.uniform(0.7, 4.0)):
            return
        kinds, weights = zip(*((kind, weight) for kind, weight, _ in BLOWS), strict=True)
        kind = chance.choices(kinds, weights)[0]
        strike = next(strike for name, _, strike in BLOWS if name == kind)
        strike(self, chance)
        self.blows.append(Blow(at=time.monotonic() - self._began, kind=kind))

    def _spoil_provider(self, chance: random.Random) -> None:
        self.shop.provider("DELETE", "/_test/faults")
        for fault in chance.sample(FAULTS, k=chance.randint(0, 3)):
            armed = {"times": None, "seed": chance.randrange(10**6), **fault}
            armed["probability"] = round(chance.uniform(0.05, 0.4), 2)
            self.shop.provider("POST", "/_test/faults", json=armed)
            self.faults[fault["kind"]] = self.faults.get(fault["kind"], 0) + 1
        self._stop.wait(chance.uniform(2.0, 7.0))

    def pause(self, process: psutil.Process, seconds: float) -> None:
        """Stop a process and let it go on later, while the storm goes on."""

        def resume() -> None:
            with contextlib.suppress(psutil.Error):
                process.resume()

        process.suspend()
        self._stopped_processes.append(process)
        timer = threading.Timer(seconds, resume)
        timer.daemon = True
        timer.start()


def _kill_child(part: str) -> Callable[[Storm, random.Random], None]:
    def strike(storm: Storm, chance: random.Random) -> None:
        chance.choice(storm.shop.family(part)[1:]).send_signal(signal.SIGKILL)

    return strike


def _kill_first(part: str) -> Callable[[Storm, random.Random], None]:
    def strike(storm: Storm, _chance: random.Random) -> None:
        storm.shop.family(part)[0].send_signal(signal.SIGKILL)

    return strike


def _pause_web(shortest: float, longest: float) -> Callable[[Storm, random.Random], None]:
    def strike(storm: Storm, chance: random.Random) -> None:
        process = chance.choice(storm.shop.family("web")[1:])
        storm.pause(process, chance.uniform(shortest, longest))

    return strike


def _cut_connections(storm: Storm, _chance: random.Random) -> None:
    with storm.shop.database() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )


def _empty_cache(storm: Storm, _chance: random.Random) -> None:
    storm.shop.cache().flushall()


BLOWS: Final[list[tuple[str, int, Callable[[Storm, random.Random], None]]]] = [
    ("web process killed", 30, _kill_child("web")),
    ("web master killed", 6, _kill_first("web")),
    ("web process stopped for seconds", 8, _pause_web(0.5, 6.0)),
    ("web process stopped past its lease", 1, _pause_web(LEASE_SECONDS + 2, LEASE_SECONDS + 5)),
    ("worker process killed", 10, _kill_child("worker")),
    ("worker master killed", 4, _kill_first("worker")),
    ("beat killed", 3, _kill_first("beat")),
    ("database killed", 8, _kill_first("postgres")),
    ("database connections cut", 14, _cut_connections),
    ("cache killed", 6, _kill_first("valkey")),
    ("cache emptied", 4, _empty_cache),
    ("payment server killed", 5, _kill_first("payments")),
]

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
    {"kind": "conflict", "path": _INTENTS},
    {"kind": "rate_limit", "path": _INTENTS, "retry_after": 1},
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


@dataclass(slots=True, kw_only=True)
class Quiet:
    """What the shop says once the storm is over."""

    ready_after: float
    pending_after: float
    left: list[str] = field(default_factory=list)
