"""bin/up and bin/demo: the whole shop on this machine, in the foreground, until it is stopped."""

from __future__ import annotations

import argparse
import errno
import http.client
import os
import shutil
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, TextIO
from urllib.parse import urlsplit

import psycopg2
import redis

from config import env
from sandbox import environment, valkey
from sandbox.hosting import Host, LocalServers
from sandbox.manage import NOWHERE
from sandbox.processes import (
    Command,
    StartError,
    StopRequestedError,
    catch_stop_signals,
    spawn,
    stop_was_requested,
    wait_until,
)
from sandbox.supervisor import Supervisor, describe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ROUND_SECONDS = 0.1
HOST_LEAVES_SECONDS = 30.0
READY_SECONDS = 90.0
READY = "ready"
WORKER_NICENESS = 5  # about a third of the processor time of a web process, where both want it
DEATHS_BEFORE_GIVING_UP = 3
# Longer than any request may take would break the promise to be down within 10 s.
APPLICATION_STOP_SECONDS = 5.5
PREPARE_SECONDS = 600.0
CONNECT_SECONDS = 5


def main() -> int:
    """Run everything until a signal comes; see the usage for the demo's options."""
    options = parse_arguments()
    catch_stop_signals()
    shop = Shop(command="bin/demo" if options.demo else "bin/up")
    try:
        tell(shop.start(with_sinks=options.sinks))
        return shop.play(options) if options.demo else shop.serve()
    except StartError as error:
        print(f"{shop.command}: {error}", file=sys.stderr)
        return 1
    except env.ConfigurationError as error:
        print(f"{shop.command}: {str(error).removeprefix('orderkeep: ')}", file=sys.stderr)
        return 1
    except StopRequestedError:
        return 0
    finally:
        shop.stop()


def tell(message: str, *, stream: TextIO | None = None) -> None:
    """Print; a reader that is gone must not end the shop."""
    stream = stream or sys.stdout
    try:
        print(message, file=stream, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def parse_arguments() -> argparse.Namespace:
    """Read the command line; bin/demo adds `--demo` to it."""
    parser = argparse.ArgumentParser(prog=os.environ.get("COMMAND", "bin/up"))
    parser.add_argument("--demo", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "--sinks", action="store_true", help="have integrations tell receivers that only listen"
    )
    if "--demo" in sys.argv:
        parser.add_argument(
            "--baskets", type=int, default=200, metavar="N", help="real baskets to play"
        )
        parser.add_argument(
            "--exit", action="store_true", help="stop when done; 0 only if all held"
        )
    return parser.parse_args()


class Shop:
    """Servers, web, worker and beat of this checkout."""

    def __init__(self, *, command: str) -> None:
        """Speak to the person as `command`."""
        self.command = command
        self.home = environment.home()
        self.logs = self.home / "log"
        self.host = Host(self.home, command=command)
        self.supervisor = Supervisor(register=self.host.register, say=self.say)
        self.servers: LocalServers | None = None
        self.variables: dict[str, str] = {}

    def say(self, message: str) -> None:
        """Tell the person at the terminal."""
        tell(f"{self.command}: {message}", stream=sys.stderr)

    # --- start ---

    def start(self, *, with_sinks: bool = False) -> str:
        """Bring everything up; returns what to tell once /readyz says 200.

        Raises:
            StartError: something is wrong; the message says what in one line.
            StopRequestedError: a stop signal came meanwhile.
        """
        self.become_host()
        self.check_configuration()
        self.servers = LocalServers(self.home, register=self.host.register, with_sinks=with_sinks)
        endpoints = self.servers.start()
        for child in self.servers.hand_over():
            self.supervisor.adopt(child)
        self.variables = environment.complete(endpoints)
        self.host.announce(self.variables)
        self.prepare_database()
        application = self.application()
        self.supervisor.open_tier()
        self.supervisor.start(application["web"])
        self.wait_until_ready()
        # Only now, so that they do not take the cores from what the first request waits for.
        self.supervisor.start(application["worker"])
        self.supervisor.start(application["beat"])
        return self.welcome(endpoints)

    def become_host(self) -> None:
        """Make sure that nobody else runs the servers of this checkout.

        Raises:
            StartError: somebody does.
        """
        if self.host.become():
            return
        if "bin/up" in self.host.present() or "bin/demo" in self.host.present():
            raise StartError(f"already running: {self.host.present()}")
        self.say(f"waiting for {self.host.present()}, which uses the servers")
        if not wait_until(self.host.become, seconds=HOST_LEAVES_SECONDS):
            raise StartError(f"the servers are in use by {self.host.present()}")

    def check_configuration(self) -> None:
        """Find a start-up mistake before anything is started.

        Raises:
            StartError: a bad value, a port in use, a server that does not answer.
        """
        variables = environment.complete(NOWHERE)
        environment.check_settings(variables, log=self.logs / "settings.log")
        web_processes()
        web_threads()
        check_port(variables["BIND"], int(variables["PORT"]))
        if environment.is_set("DATABASE_URL"):
            check_database(env.text("DATABASE_URL"))
        if environment.is_set("REDIS_URL"):
            check_redis(env.text("REDIS_URL"))

    def prepare_database(self) -> None:
        """Migrate and load the demo data.

        Raises:
            StartError: it failed; the message carries what it said last.
        """
        log = self.logs / "prepare.log"
        argv = [sys.executable, "-m", "sandbox.prepare"]
        child = spawn(
            Command(name="prepare", argv=argv, cwd=self.home, log=log, env=self.variables)
        )
        self.host.register.add(child)
        try:
            ended = wait_until(lambda: child.exit_code() is not None, seconds=PREPARE_SECONDS)
        finally:
            child.stop()
            self.host.register.remove(child)
        if not ended or child.exit_code():
            said = child.last_words() or describe(child.exit_code() or 0)
            raise StartError(f"preparing the database failed: {said} (log: {log})")

    def application(self) -> dict[str, Command]:
        """Web, worker and beat."""
        run = self.host.run
        # Counters of all processes of this run together; those of the last run are over.
        metrics = emptied(run / "metrics")
        # A killed worker leaves its temporary files, and nothing may be left outside our home.
        temporary = emptied(run / "tmp")
        concurrency = env.integer("WORKER_CONCURRENCY", max(2, cores()), minimum=1, maximum=256)
        variables = {
            **self.variables,
            "PROMETHEUS_MULTIPROC_DIR": str(metrics),
            "TMPDIR": str(temporary),
            "WORKER_CONCURRENCY": str(concurrency),  # jobs leave one of them to others
        }
        celery = [sys.executable, "-m", "celery", "--app", "config"]
        worker = [*celery, "worker", "--loglevel", "INFO"]
        beat = [*celery, "beat", "--loglevel", "INFO", "--schedule", str(run / "beat-schedule")]
        commands = {"web": granian(variables), "worker": worker, "beat": beat}
        return {
            name: Command(
                name=name,
                argv=argv,
                cwd=self.home,
                log=self.logs / f"{name}.log",
                env=variables,
                stop_seconds=APPLICATION_STOP_SECONDS,
                # What a customer waits for goes before what nobody waits for.
                niceness=WORKER_NICENESS if name == "worker" else 0,
            )
            for name, argv in commands.items()
        }

    def wait_until_ready(self) -> None:
        """Wait for /readyz to answer 200, looking after the children meanwhile.

        Raises:
            StartError: the web server keeps dying, or it takes too long.
        """
        answer = ""

        def settled() -> bool:
            nonlocal answer
            self.supervisor.look_after()
            if self.supervisor.deaths("web") >= DEATHS_BEFORE_GIVING_UP:
                raise StartError(f"web does not start (log: {self.logs / 'web.log'})")
            answer = ask_readyz(self.variables["BIND"], int(self.variables["PORT"]))
            return answer == READY

        if not wait_until(settled, seconds=READY_SECONDS):
            raise StartError(f"not ready, /readyz says: {answer} (logs: {self.logs})")

    def welcome(self, endpoints: dict[str, str]) -> str:
        """Where everything is."""
        address = self.variables["PUBLIC_URL"].rstrip("/")
        sinks = self.servers.sinks if self.servers else None
        places = {
            "shop": f"{address}/" if self.variables.get("STOREFRONT_DIR") else "",
            "shop API": f"{address}/api/v1",
            "API docs": f"{address}/api/docs",
            "admin": f"{address}/admin/ (the first log-in sets up an authenticator app)",
            "payment server": endpoints.get("STRIPE_API_BASE", ""),
            "sinks": f"{sinks.url}/ (what integrations tell)" if sinks else "",
            "mail": "" if environment.is_set("EMAIL_URL") else str(self.home / "mail"),
            "logs": str(self.logs),
        }
        lines = [f"  {name:<15} {place}" for name, place in places.items() if place]
        return "\n".join(["Orderkeep is ready. Ctrl-C stops it.", *lines])

    # --- run and stop ---

    def serve(self) -> int:
        """Look after everything until a stop signal comes."""
        while not stop_was_requested():
            self.supervisor.look_after()
            time.sleep(ROUND_SECONDS)
        return 0

    def play(self, options: argparse.Namespace) -> int:
        """Play the demo, then go on serving or, with `--exit`, return its result."""
        argv = [sys.executable, "-m", "sandbox.demo", "--base-url", self.variables["PUBLIC_URL"]]
        code = self.serve_while([*argv, "--baskets", str(options.baskets)])
        if options.exit or stop_was_requested():
            return code
        tell("Still serving. Ctrl-C stops it.")
        self.serve()
        return code

    def serve_while(self, argv: Sequence[str]) -> int:
        """Look after everything while a command runs; returns its exit code."""
        # In our process group and on our terminal: it prints, and a Ctrl-C ends it with us.
        with subprocess.Popen(argv, env=self.variables) as command:
            try:
                while command.poll() is None and not stop_was_requested():
                    self.supervisor.look_after()
                    time.sleep(ROUND_SECONDS)
            finally:
                command.terminate()
        return command.returncode

    def stop(self) -> None:
        """Stop all that was started and make way for the next start."""
        if self.host.is_us:
            self.supervisor.stop()
            if self.servers is not None:
                self.servers.stop()
            self.host.resign()


def emptied(directory: Path) -> Path:
    """A directory that exists and holds nothing."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


# --- the web server -----------------------------------------------------------------------------


def granian(variables: dict[str, str]) -> list[str]:
    """Granian's command line."""
    options = {
        "--interface": "wsgi",
        "--host": variables["BIND"],
        "--port": variables["PORT"],
        "--http": "1",
        "--workers": str(web_processes()),
        "--blocking-threads": str(web_threads()),
        "--http1-header-read-timeout": "10000",
        "--respawn-interval": "5",  # so long has a new process at a reload before an old one ends
        "--workers-kill-timeout": "5",
    }
    arguments = [part for option in options.items() for part in option]
    return [
        *(sys.executable, "-m", "granian", "config.wsgi:application"),
        *(*arguments, "--respawn-failed-workers", "--no-ws", "--no-log"),
    ]


def web_processes() -> int:
    """How many web processes: one a core, since each runs Python on one at a time."""
    return env.integer("WEB_PROCESSES", max(2, cores()), minimum=1, maximum=64)


def web_threads() -> int:
    """How many requests a process works on at once; most of them wait for the provider."""
    return env.integer("WEB_THREADS", 8, minimum=1, maximum=256)


def cores() -> int:
    """How many cores are ours."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ask_readyz(bind: str, port: int) -> str:
    """READY if the shop says that it can take orders, else what it says."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind, bind)  # noqa: S104
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        if response.status == http.HTTPStatus.OK:
            return READY
        return response.read(500).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return str(error)
    finally:
        connection.close()


# --- start-up mistakes --------------------------------------------------------------------------


def check_port(bind: str, port: int) -> None:
    """Make sure that the web server can listen.

    Raises:
        StartError: the port is taken, or BIND is no address of this machine.
    """
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise StartError(f"PORT: {port} is in use by another program") from error
            raise StartError(f"BIND: cannot listen on {bind}:{port}: {error.strerror}") from error


def check_database(url: str) -> None:
    """Make sure that the configured database answers.

    Raises:
        StartError: it does not.
    """
    try:
        psycopg2.connect(url, connect_timeout=CONNECT_SECONDS).close()
    except psycopg2.Error as error:
        reason = str(error).strip().splitlines()[0]
        raise StartError(f"DATABASE_URL: {reason}") from error


def check_redis(url: str) -> None:
    """Make sure that the configured cache and broker answers.

    Raises:
        StartError: it does not.
    """
    parts = urlsplit(url)
    try:
        with valkey.connect(url, seconds=CONNECT_SECONDS) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        where = f"{parts.hostname}:{parts.port or 6379}"
        raise StartError(f"REDIS_URL: {where} does not answer: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
