"""What all tests share: real PostgreSQL, real Valkey, the real local payment server."""

from __future__ import annotations

import gc

import pgtrigger
import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import connection, transaction
from django.test import Client, TransactionTestCase
from django.utils import timezone

from config.kernel import limits
from customers import staff_log_in
from inventory.api import caching
from payments import gateway
from tests import factories
from tests.integrations.sinks import Sinks, SinksProcess
from tests.provider import PaymentServer
from tests.shop import Shopper

BEGIN_FIRST = (
    "crash/",
    "storefront/",
    "staff/",
    "sandbox/test_launchers",
    "sandbox/test_bench",
    "protocol/",
)
"""Where single tests take many seconds: begun last, they would keep one core for all others."""
KEPT = {
    *("django_migrations", "django_content_type", "auth_permission"),
    *("auth_group", "auth_group_permissions"),
}
"""Tables whose rows come with the schema."""


def _delete_what_was_committed(self: TransactionTestCase) -> None:
    """Tests with real commits leave no row behind; our triggers let nobody else empty some tables.

    Django's own flush truncates every table and makes every content type and permission anew, which
    takes longer than most tests. Here what is empty costs nothing, and foreign keys, all deferred,
    are looked at when everything is gone.
    """
    names = set(connection.introspection.django_table_names()) - KEPT
    exist = " UNION ALL ".join(f"(SELECT '{name}' FROM {name} LIMIT 1)" for name in sorted(names))  # noqa: S608 - names of our own tables
    with pgtrigger.ignore(), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(exist)
        if used := [name for (name,) in cursor.fetchall()]:
            cursor.execute(";".join(f"DELETE FROM {name}" for name in used))  # noqa: S608 - likewise


TransactionTestCase._fixture_teardown = _delete_what_was_committed


def _log_in_with_both_factors(self: Client, user, backend=None) -> None:
    """`force_login` with a session that has passed the second factor, which staff need.

    Without it: `log_in_by_password_alone`.
    """
    self.log_in_by_password_alone(user, backend)
    session = self.session
    staff_log_in.mark(session, now=timezone.now())
    session.save()


setattr(Client, "log_in_by_password_alone", Client.force_login)  # noqa: B010 - none of its own
setattr(Client, "force_login", _log_in_with_both_factors)  # noqa: B010 - likewise


@pytest.hookimpl(trylast=True)  # after pytest-randomly
def pytest_collection_modifyitems(config, items):
    root = config.rootpath / "tests"
    items.sort(key=lambda item: not str(item.path.relative_to(root)).startswith(BEGIN_FIRST))


def pytest_collection_finish(session):
    """What is imported and collected by now is no garbage; to look through it takes long."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


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


@pytest.fixture(scope="session")
def sinks_process(tmp_path_factory):
    """One process of the receivers of integrations; most tests want `sinks`."""
    state = tmp_path_factory.mktemp("sinks") / "state.sqlite3"
    process = SinksProcess(state=state, options=("--smtp-port", "0"))
    yield process
    process.stop()
    assert process.complaints == ""


@pytest.fixture
def sinks(sinks_process):
    """The receivers of integrations, which have forgotten all other tests."""
    sinks = Sinks(sinks_process.url, email_url=sinks_process.email_url)
    sinks.reset()
    return sinks


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


@pytest.fixture(scope="module")
def chromium():
    """One browser for the tests of a file.

    Not for longer: its loop stays in this thread, and other tests have loops of their own.
    """
    from tests.browser import launched  # noqa: PLC0415 - few tests need one, and it loads long

    with launched() as browser:
        yield browser
