"""Runs the database, the cache and the payment server for one command at a time.

One process of a checkout is the host: it starts the servers as its children and stops them in the
end. Others that come meanwhile use the same ones, and a host that is done waits for these guests.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from config import env
from config.processes import FileLock
from sandbox import environment, servers
from sandbox.postgres import Postgres
from sandbox.processes import (
    Child,
    Command,
    Register,
    accepts_connections,
    ignore_stop_signals,
    remembered_port,
)
from sandbox.sinks import TOKEN
from sandbox.valkey import Valkey

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


# What the shop listens to (payments.events.HANDLED), as its endpoint at the provider would be set.
WEBHOOK_EVENTS = (
    *("payment_intent.succeeded", "payment_intent.payment_failed", "payment_intent.canceled"),
    *("payment_intent.processing", "charge.refunded", "refund.created", "refund.updated"),
    *("refund.failed", "charge.dispute.*"),
)


class PaymentServer:
    """The local payment server, `sandbox.payments`, on a state file of its own."""

    name = "payments"

    def __init__(self, directory: Path, *, log: Path, webhooks_to: str | None, secret: str) -> None:
        """Keep the state under `directory`; send signed webhooks to `webhooks_to`, if anywhere."""
        self.directory = directory
        self.log = log
        self.webhooks_to = webhooks_to
        self.secret = secret
        self.port = 0

    @property
    def url(self) -> str:
        """The application's STRIPE_API_BASE."""
        return f"http://127.0.0.1:{self.port}"

    def prepare(self) -> None:
        """Choose the port."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = remembered_port(self.directory / "port")

    def command(self) -> Command:
        """The server in the foreground."""
        argv = [sys.executable, "-m", "sandbox.payments", "--port", str(self.port)]
        argv += ["--state", str(self.directory / "state.sqlite")]
        if self.webhooks_to:
            argv += ["--webhook-url", self.webhooks_to, "--webhook-secret", self.secret]
            argv += ["--webhook-events", ",".join(WEBHOOK_EVENTS)]
        return Command(
            name=self.name,
            argv=argv,
            cwd=self.directory,
            log=self.log,
            env=environment.complete({}),
            stop_seconds=1.5,
        )

    def is_ready(self) -> bool:
        """Whether it listens."""
        return accepts_connections(self.port)

    def after_start(self) -> None:
        """Nothing to complete."""


class Sinks:
    """The systems that integrations tell, played by `sandbox.sinks` on a state file of its own."""

    name = "sinks"

    def __init__(self, directory: Path, *, log: Path) -> None:
        """Keep the state under `directory`."""
        self.directory = directory
        self.log = log
        self.port = 0

    @property
    def url(self) -> str:
        """The page that shows what came in."""
        return f"http://127.0.0.1:{self.port}"

    def endpoints(self) -> dict[str, str]:
        """Address and token of each integration that the person has not configured."""
        offered: dict[str, str] = {}
        for name in environment.INTEGRATIONS:
            address, token = f"{name}_BASE_URL", f"{name}_TOKEN"
            # Neither half for somebody else's other half: our token is nothing to a real system.
            if not (environment.is_set(address) or environment.is_set(token)):
                offered |= {address: f"{self.url}/{name.lower()}", token: TOKEN}
        return offered

    def prepare(self) -> None:
        """Choose the port."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = remembered_port(self.directory / "port")

    def command(self) -> Command:
        """The server in the foreground."""
        argv = [sys.executable, "-m", "sandbox.sinks", "--port", str(self.port)]
        argv += ["--state", str(self.directory / "state.sqlite"), "--token", TOKEN]
        return Command(
            name=self.name,
            argv=argv,
            cwd=self.directory,
            log=self.log,
            env=environment.complete({}),
            stop_seconds=1.5,
        )

    def is_ready(self) -> bool:
        """Whether it listens."""
        return accepts_connections(self.port)

    def after_start(self) -> None:
        """Nothing to complete."""


class LocalServers:
    """The servers that no variable names, kept under one directory."""

    def __init__(
        self,
        directory: Path,
        *,
        register: Register,
        throwaway: bool = False,
        spare_payment_servers: int = 0,
        with_sinks: bool = False,
    ) -> None:
        """Keep everything under `directory`; `throwaway` if that is to vanish afterwards.

        Spare payment servers are for test processes that run side by side, each with its own
        faults; they are told as `STRIPE_API_BASE_1` and so on. `with_sinks` if the integrations
        that are not configured are to have somebody to tell.
        """
        self.register = register
        self.running: list[Child] = []
        self.sinks: Sinks | None = None
        logs = directory / "log"
        settings = environment.complete({})
        webhooks_to = f"{settings['PUBLIC_URL'].rstrip('/')}/api/v1/webhooks/stripe"
        self._wanted: dict[str, Postgres | Valkey | PaymentServer] = {
            "DATABASE_URL": Postgres(
                directory / "postgres", log=logs / "postgres.log", throwaway=throwaway
            ),
            "REDIS_URL": Valkey(directory / "valkey", log=logs / "valkey.log"),
            "STRIPE_API_BASE": PaymentServer(
                directory / "payments",
                log=logs / "payments.log",
                # A throwaway's would reach whoever happens to serve at that address.
                webhooks_to=None if throwaway else webhooks_to,
                # While a secret is rotated there are several; the first is the one to sign with.
                secret=env.text("STRIPE_WEBHOOK_SECRET", settings.get("STRIPE_WEBHOOK_SECRET", ""))
                .split(",")[0]
                .strip(),
            ),
        }
        for number in range(1, spare_payment_servers + 1):
            self._wanted[f"STRIPE_API_BASE_{number}"] = PaymentServer(
                directory / f"payments-{number}",
                log=logs / f"payments-{number}.log",
                webhooks_to=None,
                secret="",
            )

        if with_sinks:
            self.sinks = Sinks(directory / "sinks", log=logs / "sinks.log")

    def start(self, *, despite: tuple[str, ...] = ()) -> dict[str, str]:
        """Start what is not configured, one after the other; returns where each one is.

        Args:
            despite: variables whose server is started even if the person set them.

        Raises:
            StartError: one does not come up; those before it still run.
        """
        endpoints = {}
        for variable, server in self._wanted.items():
            if environment.is_set(variable) and variable not in despite:
                continue
            self.running.append(servers.start(server, register=self.register))
            endpoints[variable] = server.url
            if isinstance(server, Postgres):
                endpoints["BACKUP_DATABASE_URL"] = server.backup_url
        if self.sinks is not None:
            self.running.append(servers.start(self.sinks, register=self.register))
            endpoints |= self.sinks.endpoints()
        return endpoints

    def hand_over(self) -> list[Child]:
        """Leave what runs to somebody else, who stops it from now on."""
        handed, self.running = self.running, []
        return handed

    def stop(self) -> None:
        """Stop everything in reverse order."""
        while self.running:
            self.running[-1].stop()
            self.running.pop()
        self.register.clear()


class Host:
    """Who runs the servers of this checkout: at most one process at a time."""

    def __init__(self, home: Path, *, command: str) -> None:
        """Speak for a command, `bin/up` for example, on the state under `home`."""
        self.command = command
        self.home = home
        self.run = home / "run"
        self.endpoints = self.run / "env.json"
        self.register = Register(self.run / "processes.json")
        self._hosting = FileLock(self.run / "host.lock")
        self._guests = FileLock(self.run / "guests.lock")
        self.is_us = False

    def become(self) -> bool:
        """Become the host and clear away what a killed one left; False if there is one."""
        if not self._hosting.acquire(wait=False):
            return False
        self.is_us = True
        self._hosting.write_holder(f"{self.command} (pid {os.getpid()})")
        self.endpoints.unlink(missing_ok=True)
        left = self.register.end_leftovers(directories=[self.home, environment.ROOT])
        if left:
            print(
                f"{self.command}: ended what a killed run left behind: {', '.join(left)}",
                file=sys.stderr,
            )
        return True

    def present(self) -> str:
        """The host as it introduced itself."""
        return self._hosting.read_holder()

    def announce(self, variables: dict[str, str]) -> None:
        """Tell guests where the servers are."""
        environment.save(self.endpoints, variables)

    def visit(self) -> dict[str, str]:
        """Become a guest; returns the host's variables, empty while it has none to offer."""
        self._guests.acquire(shared=True)
        variables = environment.load(self.endpoints)
        if not variables:
            self._guests.release()
        else:
            self._guests.keep_over_exec()
        return variables

    def wait_for_guests(self) -> None:
        """Return once nobody else uses the servers."""
        if not self._guests.acquire(wait=False):
            print(f"{self.command}: others still use the servers, waiting", file=sys.stderr)
            self._guests.acquire()

    def resign(self) -> None:
        """Make way for the next host; the servers must be stopped by now."""
        self.endpoints.unlink(missing_ok=True)
        self._hosting.release()
        self._guests.release()


@contextlib.contextmanager
def hosted(host: Host) -> Iterator[dict[str, str]]:
    """Run the servers as their host for a `with` block; gives the complete environment.

    `host.become` comes first.

    Raises:
        StartError: a server does not come up; those that did are stopped.
    """
    local = LocalServers(host.home, register=host.register)
    try:
        variables = environment.complete(local.start())
        host.announce(variables)
        yield variables
        host.wait_for_guests()
    finally:
        ignore_stop_signals()
        local.stop()
        host.resign()
