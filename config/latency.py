"""Keeps how fast this machine answered, minute by minute, for the dashboard.

Prometheus keeps counts since the start. Once a minute whichever process answers a request writes
down the counts so far, of all processes of the machine; the difference of two minutes tells what
happened between them. In the cache, for some hours: a glance, not a record.
"""

from __future__ import annotations

import itertools
import os
import socket
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.core.cache import cache
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

HISTOGRAM: Final = "http_request_seconds"
GROUPS: Final[Mapping[str, tuple[str | None, str]]] = {
    "orders": ("POST", "/api/v1/orders"),
    "API": (None, "/api/v1/"),
    "admin": (None, "/admin/"),
}
"""What is told apart: the first whose method and beginning of the route fit."""
MINUTES_KEPT: Final = 240
SECONDS: Final = 60

_host = socket.gethostname()
_next_sample_at = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """How fast a group of routes answered in a minute; `begin` in Unix seconds."""

    begin: int
    requests: int
    p95_seconds: float


def sample_if_due() -> None:
    """Write the counts down if a minute has begun; costs a comparison otherwise."""
    global _next_sample_at  # noqa: PLW0603 - one a process, and a race costs a second sample
    now = time.time()
    if now < _next_sample_at:
        return
    _next_sample_at = (now // SECONDS + 1) * SECONDS
    minute = int(now // SECONDS)
    if cache.add(f"latency-taken:{_host}:{minute}", 1, SECONDS):
        cache.set(_key(minute), _counts(), MINUTES_KEPT * SECONDS)


def read_minutes(group: str, *, minutes: int) -> list[Minute]:
    """The last minutes in which there was something to tell, oldest first."""
    latest = int(time.time() // SECONDS)
    keys = {_key(minute): minute for minute in range(latest - minutes, latest + 1)}
    kept = sorted((keys[key], counts) for key, counts in cache.get_many(keys).items())
    told = []
    for (begin, before), (end, after) in itertools.pairwise(kept):
        buckets = _between(_buckets(before, group), _buckets(after, group))
        requests = max(buckets.values(), default=0)
        if requests and end - begin <= 5:  # noqa: PLR2004 - minutes; a longer gap was a pause
            told.append(
                Minute(
                    begin=begin * SECONDS, requests=requests, p95_seconds=_quantile(buckets, 0.95)
                )
            )
    return told


def _key(minute: int) -> str:
    return f"latency:{_host}:{minute}"


def _buckets(counts: Mapping[str, Mapping[str, int]], group: str) -> dict[float, int]:
    return {float(le): count for le, count in counts.get(group, {}).items()}


def _counts() -> dict[str, dict[str, int]]:
    """Requests so far by group, and by the longest they took, as Prometheus writes it."""
    registry: Any = REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):  # several processes count together
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    counts: dict[str, Counter[str]] = {group: Counter() for group in GROUPS}
    for metric in registry.collect():
        if metric.name != HISTOGRAM:
            continue
        for sample in metric.samples:
            group = _group(sample.labels)
            if group and sample.name.endswith("_bucket"):
                counts[group][sample.labels["le"]] += int(sample.value)
    return {group: dict(buckets) for group, buckets in counts.items()}


def _group(labels: Mapping[str, str]) -> str | None:
    method, route = labels.get("method"), labels.get("route", "")
    for group, (wanted, prefix) in GROUPS.items():
        if route.startswith(prefix) and wanted in {None, method}:
            return group
    return None


def _between(before: Mapping[float, int], after: Mapping[float, int]) -> dict[float, int]:
    """What was added; all of it where the servers have started anew."""
    if any(after.get(le, 0) < count for le, count in before.items()):
        before = {}
    return {le: count - before.get(le, 0) for le, count in after.items()}


def _quantile(buckets: Mapping[float, int], share: float) -> float:
    """As Prometheus' `histogram_quantile`: within a bucket requests are spread evenly."""
    ordered: Sequence[tuple[float, int]] = sorted(buckets.items())
    rank = share * ordered[-1][1]
    lower, below = 0.0, 0
    for upper, count in _finite(ordered):
        if count >= rank:
            return lower + (upper - lower) * (rank - below) / max(1, count - below)
        lower, below = upper, count
    return lower


def _finite(ordered: Iterable[tuple[float, int]]) -> Iterable[tuple[float, int]]:
    return ((upper, count) for upper, count in ordered if upper != float("inf"))
