"""What all tests share: real PostgreSQL, real Valkey, the real local payment server."""

from __future__ import annotations

import pgtrigger
import pytest
from django.conf import settings
from django.core.cache import cache
from django.test import TransactionTestCase

from config.kernel import limits
from inventory.api import caching
from payments import gateway
from tests import factories
from tests.provider import PaymentServer
from tests.shop import Shopper

_flush = TransactionTestCase._fixture_teardown


def _flush_append_only_tables_too(self: TransactionTestCase) -> None:
    """Tests with real commits clean up by TRUNCATE, which our triggers refuse to everybody else."""
    with pgtrigger.ignore():
        _flush(self)


TransactionTestCase._fixture_teardown = _flush_append_only_tables_too


def pytest_terminal_summary(terminalreporter, exitstatus, config):
    """A failure that the order of the tests has a part in comes again with the same order."""
    seed = config.getoption("randomly_seed", None)
    if exitstatus == pytest.ExitCode.TESTS_FAILED and seed is not None:
        terminalreporter.write_line(f"This order again: bin/test --randomly-seed={seed}")


@pytest.fixture(autouse=True)
def _fresh_process_memory():
    """The cache and what a process remembers do not outlive a test."""
    cache.clear()
    limits.memory.clear()
    caching.answers.clear()
    gateway.breaker.cache_clear()
    gateway.bulkhead.cache_clear()


@pytest.fixture
def provider():
    """The local payment server: its faults, its shopper's actions, its journal."""
    server = PaymentServer(settings.STRIPE_API_BASE)
    server.clear_faults()
    yield server
    server.clear_faults()


@pytest.fixture
def shop(db):
    """A warehouse, a way to ship and a tax rate."""
    factories.open_shop()


@pytest.fixture
def shopper(shop):
    """A customer who is logged in."""
    return Shopper(factories.CustomerFactory())


@pytest.fixture
def guest(shop):
    """Somebody without an account."""
    return Shopper()
