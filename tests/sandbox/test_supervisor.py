"""The supervisor on small children of our own: deaths, stops, leftovers of a killed run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from config.processes import FileLock, lives
from sandbox import processes
from sandbox import supervisor as supervision
from sandbox.environment import ROOT
from sandbox.processes import Command, Register, session_members, spawn, wait_until
from sandbox.supervisor import Supervisor

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 15
# Leads a session of two and does not listen to SIGTERM.
STUBBORN = "trap '' TERM; sleep 1000 & echo started; wait; sleep 1000"
HARNESS = """
import sys, time
from pathlib import Path
from sandbox.processes import Command, Register, catch_stop_signals, stop_was_requested
from sandbox.supervisor import Supervisor

here = Path(sys.argv[1])
catch_stop_signals()
children = Supervisor(register=Register(here / "processes.json"), say=print)
for name in ("first", "second"):
    argv = ["/bin/sh", "-c", sys.argv[2]]
    command = Command(name=name, argv=argv, cwd=here, log=here / name, stop_seconds=0.5)
    children.open_tier()
    children.start(command)
print("ready", flush=True)
while not stop_was_requested():
    children.look_after()
    time.sleep(0.05)
children.stop()
"""


@pytest.fixture
def said():
    return []


@pytest.fixture
def supervisor(tmp_path: Path, said):
    supervisor = Supervisor(register=Register(tmp_path / "processes.json"), say=said.append)
    supervisor.open_tier()
    yield supervisor
    supervisor.stop()


def command(directory: Path, script: str, *, name: str = "child", **options) -> Command:
    argv = ["/bin/sh", "-c", script]
    log = directory / f"{name}.log"
    return Command(name=name, argv=argv, cwd=directory, log=log, stop_seconds=0.3, **options)


def registered(directory: Path) -> dict[str, int]:
    with contextlib.suppress(FileNotFoundError):
        entries = json.loads((directory / "processes.json").read_text())
        return {name: entry["pid"] for name, entry in entries.items()}
    return {}


def appears(path: Path, text: str) -> bool:
    return wait_until(lambda: text in path.read_text(), seconds=SECONDS)


def has_replaced(supervisor: Supervisor, directory: Path, pid: int) -> bool:
    supervisor.look_after()
    now = registered(directory)["child"]
    return now != pid and bool(session_members(now))


@contextlib.contextmanager
def harness(directory: Path, script: str):
    argv = [sys.executable, "-c", HARNESS, str(directory), script]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def families(directory: Path) -> list[psutil.Process]:
    return [member for pid in registered(directory).values() for member in session_members(pid)]


class TestChildThatDies:
    def test_is_started_again_and_the_message_names_it_with_its_end(
        self, tmp_path: Path, supervisor, said
    ):
        supervisor.start(command(tmp_path, "sleep 1000"))
        pid = registered(tmp_path)["child"]

        os.kill(pid, signal.SIGKILL)

        assert wait_until(lambda: has_replaced(supervisor, tmp_path, pid), seconds=SECONDS)
        log = tmp_path / "child.log"
        assert said == [f"child ended (killed by signal 9), starting it again; log: {log}"]

    def test_takes_its_own_children_with_it(self, tmp_path: Path, supervisor):
        supervisor.start(command(tmp_path, STUBBORN))
        pid = registered(tmp_path)["child"]
        assert wait_until(lambda: len(session_members(pid)) == 2, seconds=SECONDS)

        os.kill(pid, signal.SIGKILL)

        assert wait_until(lambda: has_replaced(supervisor, tmp_path, pid), seconds=SECONDS)
        assert session_members(pid) == []

    def test_waits_longer_after_every_death_in_a_row(self, tmp_path: Path, supervisor, said):
        supervisor.start(command(tmp_path, "exit 3"))

        def died_three_times() -> bool:
            supervisor.look_after()
            return supervisor.deaths("child") == 3

        began = time.monotonic()
        assert wait_until(died_three_times, seconds=SECONDS)

        first, second = supervision.FIRST_DELAY_SECONDS, 2 * supervision.FIRST_DELAY_SECONDS
        assert time.monotonic() - began >= first + second
        assert len(said) == 3
        assert "exit code 3" in said[0]

    def test_has_its_leftovers_cleared_before_the_next_start(self, tmp_path: Path, supervisor):
        cleared = []
        supervisor.start(
            command(tmp_path, "sleep 1000", clear_away=lambda: cleared.append("cleared"))
        )
        pid = registered(tmp_path)["child"]

        os.kill(pid, signal.SIGKILL)

        assert wait_until(lambda: has_replaced(supervisor, tmp_path, pid), seconds=SECONDS)
        assert cleared == ["cleared"]


class TestStop:
    def test_stops_the_last_tier_first(self, tmp_path: Path, supervisor):
        for name in ("database", "web"):
            script = f"trap 'echo {name} >> ends; exit' TERM; echo up; while :; do sleep 0.05; done"
            supervisor.open_tier()
            supervisor.start(command(tmp_path, script, name=name))
            log = tmp_path / f"{name}.log"
            assert appears(log, "up")

        supervisor.stop()

        assert (tmp_path / "ends").read_text().split() == ["web", "database"]
        assert registered(tmp_path) == {}

    def test_sigterm_leaves_no_process_even_of_those_that_do_not_listen(self, tmp_path: Path):
        with harness(tmp_path, STUBBORN) as process:
            assert wait_until(lambda: len(families(tmp_path)) == 4, seconds=SECONDS)
            family = families(tmp_path)

            process.terminate()

            assert process.wait(timeout=SECONDS) == 0
        assert [member for member in family if lives(member)] == []


class TestLeftovers:
    def test_of_a_killed_run_are_found_and_ended(self, tmp_path: Path):
        with harness(tmp_path, STUBBORN) as process:
            assert wait_until(lambda: len(families(tmp_path)) == 4, seconds=SECONDS)
            process.kill()
            process.wait()
        family = families(tmp_path)
        assert len(family) == 4

        ended = Register(tmp_path / "processes.json").end_leftovers(directories=[tmp_path])

        assert sorted(ended) == ["first", "second"]
        assert [member for member in family if lives(member)] == []
        assert registered(tmp_path) == {}

    def test_are_found_though_their_leader_is_dead(self, tmp_path: Path):
        register = Register(tmp_path / "processes.json")
        child = spawn(command(tmp_path, STUBBORN))
        register.add(child)
        assert wait_until(lambda: len(session_members(child.process.pid)) == 2, seconds=SECONDS)
        child.process.kill()
        child.process.wait()
        (survivor,) = session_members(child.process.pid)

        ended = Register(register.path).end_leftovers(directories=[tmp_path])

        assert ended == ["child"]
        assert not lives(survivor)

    def test_never_include_a_stranger_who_got_the_number(self, tmp_path: Path):
        stranger = spawn(command(tmp_path, "sleep 1000"))
        long_ago = psutil.Process(stranger.process.pid).create_time() - 3600
        entry = {"pid": stranger.process.pid, "started_at": long_ago, "stop_signal": 15}
        (tmp_path / "processes.json").write_text(json.dumps({"web": entry}))

        ended = Register(tmp_path / "processes.json").end_leftovers(directories=[tmp_path])

        assert ended == []
        assert stranger.exit_code() is None
        stranger.stop()


class TestFileLock:
    def test_is_gone_with_its_killed_holder(self, tmp_path: Path):
        path = tmp_path / "lock"
        script = (
            "import sys, time; from pathlib import Path; from config.processes import FileLock;"
            "FileLock(Path(sys.argv[1])).acquire(); print('held', flush=True); time.sleep(1000)"
        )
        argv = [sys.executable, "-c", script, str(path)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        lock = FileLock(path)
        with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout.readline() == "held\n"
            refused = lock.acquire(wait=False)
            holder.kill()

        assert refused is False
        assert lock.acquire(wait=False) is True
        lock.release()


def test_a_nice_child_leaves_the_processor_to_others(tmp_path):
    """Within its session, and its session among the others."""
    told = tmp_path / "told"
    say = "import os, pathlib, sys; told = pathlib.Path('/proc/self/autogroup');"
    say += "group = told.read_text() if told.exists() else '';"
    say += "pathlib.Path(sys.argv[1]).write_text(f'{os.nice(0)} {group}')"
    before = os.nice(0)

    child = processes.spawn(
        processes.Command(
            name="nice",
            argv=[sys.executable, "-c", say, str(told)],
            cwd=tmp_path,
            log=tmp_path / "log",
            niceness=3,
        )
    )
    child.process.wait(timeout=10)

    niceness, _, group = told.read_text().partition(" ")
    assert int(niceness) == before + 3
    assert os.nice(0) == before
    if group.strip():
        assert group.split()[-2:] == ["nice", "3"]
