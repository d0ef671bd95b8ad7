"""A whole shop of its own for the chaos run: `bin/up` on a fresh directory.

It reaches its database and its cache over wires that can be cut; the run itself does not.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import httpx
import psutil
import psycopg2
import redis

from benchmarks.chaos_wire import Wire
from config.processes import free_port
from sandbox import environment

if TYPE_CHECKING:
    from pathlib import Path

READY_SECONDS: Final = 180.0
STOP_SECONDS: Final = 30.0
SERVERS: Final = "import sys; from benchmarks import chaos_servers; sys.exit(chaos_servers.main())"
REGISTERS: Final = ("processes.json", "servers.processes.json")


class ShopDiedError(Exception):
    """bin/up itself ended, or the shop did not come back."""


class Shop:
    """`bin/up` and its servers on a fresh directory, as children of this process."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.wires: dict[str, Wire] = {}  # "database" and "cache"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._variables: dict[str, str] = {}
        self._servers: dict[str, str] = {}

    def start(self) -> None:
        """Start from nothing, and wait until it takes orders.

        Raises:
            ShopDiedError: it does not come up.
        """
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(parents=True)
        own = {
            "ORDERKEEP_HOME": str(self.home),
            "PORT": str(self.port),
            "THROTTLE": "off",
            "HOLD_MINUTES": "1",
        }
        self._spawn("servers", "-c", SERVERS, variables=own)
        self._servers = self._await_servers()
        for name, variable in (("database", "DATABASE_URL"), ("cache", "REDIS_URL")):
            port = urlsplit(self._servers[variable]).port or 0
            self.wires[name] = wire = Wire(to_port=port)
            own[variable] = self._servers[variable].replace(f":{port}/", f":{wire.port}/")
        self._spawn("up", "-m", "sandbox.up", variables=own)
        self.wait_until_ready()
        self._variables = json.loads((self.home / "run" / "env.json").read_text())

    def _spawn(self, name: str, *arguments: str, variables: dict[str, str]) -> None:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name not in {"DATABASE_URL", "REDIS_URL", "STRIPE_API_BASE", "PUBLIC_URL"}
        }
        with (self.home / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                env={**inherited, **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._processes.append(process)

    def _await_servers(self) -> dict[str, str]:
        began = time.monotonic()
        while time.monotonic() - began < READY_SECONDS:
            self._check_alive()
            with contextlib.suppress(FileNotFoundError):
                addresses: dict[str, str] = json.loads(
                    (self.home / "run" / "servers.json").read_text()
                )
                return addresses
            time.sleep(0.1)
        raise ShopDiedError("database and cache do not come up")

    def _check_alive(self) -> None:
        if any(process.poll() is not None for process in self._processes):
            raise ShopDiedError(f"bin/up or its servers have ended, see the logs in {self.home}")

    def wait_until_ready(self) -> float:
        """Wait for /readyz; returns how long it took.

        Raises:
            ShopDiedError: it never became ready.
        """
        began = time.monotonic()
        while time.monotonic() - began < READY_SECONDS:
            self._check_alive()
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False).status_code == 200:  # noqa: PLR2004
                    return time.monotonic() - began
            time.sleep(0.2)
        raise ShopDiedError("the shop is not ready after three minutes")

    def stop(self) -> None:
        """Stop all of it, the servers last."""
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a management command against it."""
        return subprocess.run(
            [sys.executable, str(environment.ROOT / "manage.py"), *arguments],
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    def begin_manage(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a management command beside everything else; it logs into `beside.log`."""
        with (self.home / "beside.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, str(environment.ROOT / "manage.py"), *arguments],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self._variables, "ORDERKEEP_HOME": str(self.home)}

    @property
    def webhook_secret(self) -> str:
        """What its webhooks are signed with."""
        return self._variables["STRIPE_WEBHOOK_SECRET"]

    def connect(self) -> psycopg2.extensions.connection:
        """A connection to its database, as the application's role."""
        return psycopg2.connect(self._servers["DATABASE_URL"], connect_timeout=5)

    @contextlib.contextmanager
    def database(self) -> Any:
        """A cursor on its database."""
        connection = self.connect()
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
        return redis.Redis.from_url(self._servers["REDIS_URL"], socket_timeout=2)

    def family(self, name: str) -> list[psutil.Process]:
        """A part's first process and its children, the first one first; empty while it is down."""
        for register in REGISTERS:
            with contextlib.suppress(OSError, ValueError, KeyError, psutil.Error):
                entry = json.loads((self.home / "run" / register).read_text())[name]
                first = psutil.Process(int(entry["pid"]))
                if abs(first.create_time() - entry["started_at"]) > 1:
                    return []  # the number is somebody else's by now
                return [first, *first.children(recursive=True)]
        return []
