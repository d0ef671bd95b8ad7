"""What the dashboard tells of the last minutes is what Prometheus counted in them."""

import pytest
from django.core.cache import cache

from config import latency
from config.middleware import request_seconds


@pytest.fixture
def minute(monkeypatch):
    """Begin a minute and write down the counts so far."""
    cache.clear()
    now = {"at": 1_000 * 60.0}
    monkeypatch.setattr(latency.time, "time", lambda: now["at"])
    monkeypatch.setattr(latency, "_next_sample_at", 0.0)

    def begin(after=60.0):
        now["at"] += after
        latency.sample_if_due()

    return begin


def answered(seconds, times=1, method="POST", route="/api/v1/orders"):
    for _ in range(times):
        request_seconds.labels(method, route).observe(seconds)


def test_a_minute_is_what_was_answered_in_it(minute):
    answered(9.0, times=50)
    minute()
    answered(0.02, times=100)
    minute()

    (told,) = latency.read_minutes("orders", minutes=10)

    assert told.requests == 100
    assert 0.01 < told.p95_seconds <= 0.025


def test_the_slow_ones_show(minute):
    minute()
    answered(0.02, times=90)
    answered(0.8, times=10)
    minute()

    (told,) = latency.read_minutes("orders", minutes=10)

    assert 0.5 < told.p95_seconds <= 1


def test_groups_are_told_apart(minute):
    minute()
    answered(0.02, method="GET", route="/api/v1/products")
    answered(0.2, method="GET", route="/admin/orders/order/")
    minute()

    assert latency.read_minutes("orders", minutes=10) == []
    assert [one.requests for one in latency.read_minutes("API", minutes=10)] == [1]
    assert [one.requests for one in latency.read_minutes("admin", minutes=10)] == [1]


def test_servers_that_started_anew_count_from_nothing(minute, monkeypatch):
    answered(0.02, times=500)
    minute()
    before = latency._counts()
    monkeypatch.setattr(
        latency,
        "_counts",
        lambda: {group: {le: min(n, 7) for le, n in b.items()} for group, b in before.items()},
    )
    minute()

    (told,) = latency.read_minutes("orders", minutes=10)

    assert told.requests == 7


def test_a_pause_is_no_minute(minute):
    minute()
    answered(0.02)
    minute(after=20 * 60)

    assert latency.read_minutes("orders", minutes=60) == []


def test_within_a_minute_nothing_is_written(minute, monkeypatch):
    minute()
    monkeypatch.setattr(latency, "_counts", pytest.fail)
    minute(after=10)
