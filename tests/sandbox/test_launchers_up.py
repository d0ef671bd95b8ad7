"""bin/up as a person meets it: a start, a second one, mistakes told in one line, a clean end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psutil
import pytest

from config.processes import free_port, lives
from sandbox.environment import ROOT, SHARED
from sandbox.processes import wait_until

if TYPE_CHECKING:
    from pathlib import Path

START_SECONDS = 90
STOP_SECONDS = 10
UP = [sys.executable, "-m", "sandbox.up"]


@pytest.fixture
def environment(tmp_path: Path):
    inherited = {name: value for name, value in os.environ.items() if name not in SHARED}
    return {
        **inherited,
        "COMMAND": "bin/up",
        "ORDERKEEP_HOME": str(tmp_path / "home"),
        "PORT": str(free_port()),
        "PYTHONPATH": str(ROOT),
        "WEB_PROCESSES": "1",
        "WORKER_CONCURRENCY": "1",
    }


def is_ready(environment) -> bool:
    url = f"http://127.0.0.1:{environment['PORT']}/readyz"
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


@contextlib.contextmanager
def running(environment, *options: str):
    with subprocess.Popen(
        [*UP, *options],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            wait_until(
                lambda: process.poll() is not None or is_ready(environment), seconds=START_SECONDS
            )
            assert process.poll() is None, process.stdout.read()
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=STOP_SECONDS)


def try_to_start(environment, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        UP,
        env={**environment, **changes},
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )


class TestStartUpMistake:
    @pytest.mark.parametrize(
        ("changes", "complaint"),
        [
            ({"PORT": "99999"}, "PORT: must be a whole number from 1 to 65535, not '99999'"),
            ({"THROTTLE": "perhaps"}, "THROTTLE: must be 'on' or 'off', not 'perhaps'"),
            ({"ENVIRONMENT": "staging"}, "ENVIRONMENT: must be one of local, test, production"),
            ({"WEB_THREADS": "none"}, "WEB_THREADS: must be a whole number from 1 to 256"),
            (
                {"DATABASE_URL": "postgres://a:secret@127.0.0.1:1/shop"},
                'DATABASE_URL: connection to server at "127.0.0.1", port 1 failed',
            ),
            ({"REDIS_URL": "redis://127.0.0.1:1/0"}, "REDIS_URL: 127.0.0.1:1 does not answer"),
            ({"STRIPE_SECRET_KEY": "sk_live_x"}, "STRIPE_SECRET_KEY: a live key may not be sent"),
            ({"ENVIRONMENT": "production"}, "SECRET_KEY: is required here and not set"),
        ],
    )
    def test_is_told_in_one_line_before_anything_is_started(
        self, tmp_path: Path, environment, changes, complaint
    ):
        done = try_to_start(environment, **changes)

        assert done.returncode == 1
        assert done.stderr.startswith(f"bin/up: {complaint}")
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""
        assert "secret@" not in done.stderr
        assert not (tmp_path / "home" / "postgres").exists()

    def test_a_taken_port_is_named(self, environment):
        with socket.socket() as stranger:
            stranger.bind(("127.0.0.1", int(environment["PORT"])))
            stranger.listen()

            done = try_to_start(environment)

        port = environment["PORT"]
        assert done.stderr == f"bin/up: PORT: {port} is in use by another program\n"
        assert done.returncode == 1


class TestWholeShop:
    @pytest.mark.timeout(240)
    def test_runs_recovers_and_goes_without_a_trace(self, tmp_path: Path, environment):
        register = tmp_path / "home/run/processes.json"
        with running(environment) as process:
            second = try_to_start(environment)
            family = psutil.Process(process.pid).children(recursive=True)
            web = json.loads(register.read_text())["web"]["pid"]
            os.kill(web, signal.SIGKILL)
            assert wait_until(
                lambda: json.loads(register.read_text())["web"]["pid"] != web, seconds=STOP_SECONDS
            )
            assert wait_until(lambda: is_ready(environment), seconds=START_SECONDS)

            process.kill()
            process.communicate(timeout=STOP_SECONDS)

        with running(environment, "--sinks") as process:
            family += psutil.Process(process.pid).children(recursive=True)
            crm = json.loads((tmp_path / "home/run/env.json").read_text())["CRM_BASE_URL"]
            sinks = f"http://127.0.0.1:{urlsplit(crm).port}/"
            with urllib.request.urlopen(sinks, timeout=5) as response:
                assert response.status == 200
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=STOP_SECONDS)
            assert process.returncode == 0

        assert second.returncode == 1
        assert second.stderr.startswith("bin/up: already running: bin/up (pid ")
        assert [member for member in family if lives(member)] == []
        assert "Orderkeep is ready" in said
        assert f"sinks           {sinks} (what integrations tell)" in said
