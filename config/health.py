"""Tells load balancers and Prometheus how this process is; answered before any middleware."""

from __future__ import annotations

import functools
import os
from hmac import compare_digest
from typing import TYPE_CHECKING

import redis
import structlog
from celery import current_app
from django.conf import settings
from django.db import Error as DatabaseFailure
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpResponse, HttpResponseNotAllowed, JsonResponse
from kombu.exceptions import OperationalError as BrokerFailure
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from audit.outbox.subscribers import kind_of
from audit.selectors import list_backlogs
from config.kernel import request_context
from orders.books import alerts, watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.http import HttpRequest
    from prometheus_client import Metric

    from audit.selectors import ReceiverBacklog
    from orders.books.watch import Kept

log = structlog.get_logger(__name__)

PART_TIMEOUT_SECONDS = 1.0
_LOOPBACK = frozenset({"127.0.0.1", "::1"})


def healthz(_request: HttpRequest) -> HttpResponse:
    """The process is up; touches nothing."""
    return JsonResponse({"status": "ok"})


def readyz(_request: HttpRequest) -> HttpResponse:
    """Everything this process needs answers; else 503 with the failing parts named."""
    checks = {**_database_checks(), "cache": _cache_check(), "broker": _broker_check()}
    failing = [part for part, state in checks.items() if state != "ok"]
    if failing:
        log.warning("not_ready", **checks)
        body = {"status": "unavailable", "failing": failing, "checks": checks}
        return JsonResponse(body, status=503, headers={"Retry-After": "2"})
    return JsonResponse({"status": "ready", "checks": checks})


def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus text; for 127.0.0.1 alone, or for whoever brings METRICS_TOKEN."""
    if not _may_see_metrics(request):
        return JsonResponse({"status": "forbidden"}, status=403)
    registry = REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):  # several processes count together
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return HttpResponse(
        generate_latest(registry) + _metrics_of_the_database(), content_type=CONTENT_TYPE_LATEST
    )


def _only_reading(
    view: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    @functools.wraps(view)
    def checked(request: HttpRequest) -> HttpResponse:
        if request.method not in {"GET", "HEAD"}:
            return HttpResponseNotAllowed(["GET", "HEAD"])
        return view(request)

    return checked


PROBES = {
    "/healthz": _only_reading(healthz),
    "/readyz": _only_reading(readyz),
    "/metrics": _only_reading(metrics),
}


class _Books(Collector):
    """How the books stood when they were last checked: the same from every process."""

    def __init__(self, kept: list[Kept]) -> None:
        self.kept = kept

    def collect(self) -> Iterator[Metric]:
        violations = GaugeMetricFamily(
            alerts.VIOLATIONS, "Violators of an invariant.", labels=["invariant", "name"]
        )
        oldest: dict[str, float] = {}
        for one in self.kept:
            violations.add_metric([one.invariant, one.name], one.violations)
            against, at = alerts.checked_against(one.invariant), one.checked_at.timestamp()
            oldest[against] = min(at, oldest.get(against, at))
        yield violations
        checked = GaugeMetricFamily(
            alerts.CHECKED_AT, "When the oldest of these was checked.", labels=["against"]
        )
        for against, at in oldest.items():
            checked.add_metric([against], at)
        yield checked


class _Outbox(Collector):
    """What has not been delivered, by receiver; those that come and go are one."""

    def __init__(self, backlogs: list[ReceiverBacklog]) -> None:
        self.backlogs = backlogs

    def collect(self) -> Iterator[Metric]:
        kinds: dict[str, list[ReceiverBacklog]] = {}
        for one in self.backlogs:
            kinds.setdefault(kind_of(one.subscriber), []).append(one)
        told: tuple[tuple[str, str, Callable[[list[ReceiverBacklog]], float]], ...] = (
            ("waiting", "Deliveries not there yet.", lambda of: sum(one.waiting for one in of)),
            ("dead", "Deliveries given up.", lambda of: sum(one.dead for one in of)),
            ("lag_seconds", "Age of the oldest.", lambda of: max(one.lag for one in of)),
            ("resting", "Receivers let rest.", lambda of: sum(one.is_resting for one in of)),
            ("paused", "Receivers paused.", lambda of: sum(one.is_paused for one in of)),
        )
        for name, says, figure in told:
            gauge = GaugeMetricFamily(f"orderkeep_outbox_{name}", says, labels=["subscriber"])
            for kind, backlogs in kinds.items():
                gauge.add_metric([kind], figure(backlogs))
            yield gauge


def _metrics_of_the_database() -> bytes:
    """What stands in the database; nothing while that is away: an alert is for what is missing."""
    probe = connection.copy()
    try:
        with probe.cursor() as cursor:
            collectors = (_Books(watch.read_kept(cursor)), _Outbox(list_backlogs(cursor)))
    except DatabaseFailure:
        return b""
    finally:
        probe.close()
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return generate_latest(registry)


def _database_checks() -> dict[str, str]:
    """A connection of its own: the thread's may hang in a server that has stopped answering."""
    probe = connection.copy()
    try:
        applied = set(MigrationRecorder(probe).applied_migrations())
    except DatabaseFailure:
        return {"database": "unreachable", "migrations": "unknown"}
    finally:
        probe.close()
    return {
        "database": "ok",
        "migrations": "ok" if _expected_migrations() <= applied else "missing",
    }


@functools.cache
def _expected_migrations() -> frozenset[tuple[str, str]]:
    return frozenset(MigrationLoader(None).graph.leaf_nodes())


def _cache_check() -> str:
    """Asked directly: the cache itself forgives, and would say that all is well."""
    try:
        with redis.Redis.from_url(
            settings.REDIS_URL,
            socket_timeout=PART_TIMEOUT_SECONDS,
            socket_connect_timeout=PART_TIMEOUT_SECONDS,
        ) as client:
            client.ping()
    except (redis.RedisError, OSError):
        return "unreachable"
    return "ok"


def _broker_check() -> str:
    try:
        with current_app.connection_for_write() as broker:
            broker.transport_options = {
                **(broker.transport_options or {}),
                "socket_timeout": PART_TIMEOUT_SECONDS,
                "socket_connect_timeout": PART_TIMEOUT_SECONDS,
            }
            broker.ensure_connection(max_retries=1, interval_start=0, timeout=1)
    except (BrokerFailure, OSError):
        return "unreachable"
    return "ok"


def _may_see_metrics(request: HttpRequest) -> bool:
    if settings.METRICS_TOKEN:
        sent = request.headers.get("Authorization", "")
        return compare_digest(sent.encode(), f"Bearer {settings.METRICS_TOKEN}".encode())
    # A request that came through a proxy on this machine is not from this machine.
    came_directly = "X-Forwarded-For" not in request.headers or settings.TRUSTED_PROXIES > 0
    return came_directly and request_context.current().ip_address in _LOOPBACK
