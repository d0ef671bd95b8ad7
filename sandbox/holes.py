"""Asks pip-audit for known holes in the dependencies that production installs.

A feed that cannot be asked has told nothing. Nor has one that does not know of the holes of an old
Flask, which is asked about besides: some indexes answer, and know of no hole at all.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

from sandbox import environment

LOCK: Final = environment.ROOT / "requirements.txt"
CANARY: Final = ("flask", "0.5")
"""Never installed; its holes have been in every feed since 2018."""
LONGEST_SECONDS: Final = 600


class Outcome(Enum):
    """What is known after the question."""

    CLEAN = "clean"
    HOLES = "holes"
    SKIPPED = "SKIPPED"


@dataclass(frozen=True)
class Verdict:
    """The outcome, and why in words."""

    outcome: Outcome
    told: str


def audit() -> Verdict:
    """Ask about everything in the lock file; needs the network."""
    with tempfile.TemporaryDirectory() as directory:
        canary = Path(directory) / "canary.txt"
        # Beside a file with hashes it wants one, which nobody compares: nothing is downloaded.
        canary.write_text(f"{'=='.join(CANARY)} --hash=sha256:{'0' * 64}\n")
        argv = [
            *(sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip"),
            *("--requirement", str(LOCK), "--requirement", str(canary)),
            *("--format", "json", "--progress-spinner", "off"),
            *("--cache-dir", str(environment.home() / "cache/pip-audit")),
        ]
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, check=False, timeout=LONGEST_SECONDS
            )
        except subprocess.TimeoutExpired:
            return _skipped(f"no answer within {LONGEST_SECONDS} s")
    return judge(done.stdout, complaint=done.stderr)


def judge(output: str, *, complaint: str = "") -> Verdict:
    """What pip-audit's JSON says of the lock file; `complaint` is what it said where it has none.

    A hole is one also where the feed is otherwise in doubt.
    """
    try:
        told: list[dict[str, Any]] = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        lines = complaint.strip().splitlines()
        return _skipped(lines[-1] if lines else "pip-audit said nothing")
    ours = [one for one in told if (one["name"], one.get("version")) != CANARY]
    if holes := [_named(one) for one in ours if one.get("vulns")]:
        return Verdict(Outcome.HOLES, "; ".join(holes))
    if not any(one.get("vulns") for one in told):
        return _skipped(f"the feed knows no hole of {' '.join(CANARY)}, so none of anything")
    if unknown := sorted(one["name"] for one in ours if "skip_reason" in one):
        return _skipped(f"the feed has never heard of {', '.join(unknown)}")
    if not ours:
        return _skipped("nothing of ours was asked about")
    return Verdict(Outcome.CLEAN, f"{len(ours)} dependencies, no known hole")


def _named(one: dict[str, Any]) -> str:
    ids = ", ".join(hole["id"] for hole in one["vulns"])
    return f"{one['name']} {one['version']}: {ids}"


def _skipped(why: str) -> Verdict:
    return Verdict(Outcome.SKIPPED, f"not all could be audited: {why}")
