"""What the processes of a running shop cost: processor time by part, peak memory of a process."""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping

IDLE_SHARE = 0.03  # of one core: below that a part only looks whether there is anything to do


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Processor seconds used so far, by part of the shop."""

    at: float
    cpu_seconds: Mapping[str, float]

    def __sub__(self, earlier: Snapshot) -> dict[str, float]:
        return {
            part: used - earlier.cpu_seconds.get(part, 0.0)
            for part, used in self.cpu_seconds.items()
        }


class Parts:
    """The families of processes that `bin/up` wrote down under `home`, and this process."""

    def __init__(self, home: Path) -> None:
        try:
            register = json.loads((home / "run" / "processes.json").read_text())
        except (OSError, ValueError):
            register = {}
        self.roots: dict[str, int] = {name: int(entry["pid"]) for name, entry in register.items()}

    def snapshot(self) -> Snapshot:
        """Everything used until now, by living processes and by those they have outlived."""
        used = {name: _family_seconds(pid) for name, pid in self.roots.items()}
        times = os.times()
        used["load generator"] = times.user + times.system
        return Snapshot(time.perf_counter(), used)

    def peak_memory_mb(self, name: str) -> float | None:
        """The most memory that one process of a part, its master included, ever had in RAM."""
        if name not in self.roots:
            return None
        peaks = [_peak_bytes(process) for process in _family(self.roots[name])]
        return max(peaks, default=0) / 2**20

    def wait_until_idle(self, names: list[str], *, seconds: float) -> float:
        """Wait for these parts to have nothing to do; returns how long that took."""
        started = time.perf_counter()
        before = self.snapshot()
        while time.perf_counter() - started < seconds:
            time.sleep(0.5)
            now = self.snapshot()
            used = now - before
            if sum(used.get(name, 0.0) for name in names) < IDLE_SHARE * (now.at - before.at):
                break
            before = now
        return time.perf_counter() - started


def _family(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _family_seconds(pid: int) -> float:
    total = 0.0
    for process in _family(pid):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            times = process.cpu_times()
            # Of children that have ended and were waited for; the living ones are in the family.
            ended = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
            total += times.user + times.system + ended
    return total


def _peak_bytes(process: psutil.Process) -> int:
    with contextlib.suppress(OSError):  # not on Linux, or gone
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0
