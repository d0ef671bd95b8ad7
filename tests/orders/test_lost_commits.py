"""The connection breaks while a COMMIT is under way: it happened or not, and the order is right."""

from __future__ import annotations

import contextlib
from unittest import mock

import pytest
from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql.base import DatabaseWrapper

from config.kernel.db import CommitOutcomeUnknownError, short_transaction
from inventory.models import StockLevel
from orders.models import IdempotencyKey, Order
from orders.services import recovery
from payments.models import Payment
from tests import factories
from tests.proof.edges import cut_connection
from tests.shop import Shopper, order_of

pytestmark = pytest.mark.django_db(transaction=True)

T1, T1B, T2 = 0, 1, 2


@pytest.fixture
def product(transactional_db):
    factories.open_shop()
    return factories.ProductFactory(on_hand=5)


@contextlib.contextmanager
def commit_lost(*numbers: int, applied: bool):
    """Lose the connection in the COMMITs with these numbers, after or before they happen."""
    really_commit = BaseDatabaseWrapper._commit
    seen = 0

    def commit(self):
        nonlocal seen
        number, seen = seen, seen + 1
        if number not in numbers:
            return really_commit(self)
        if applied:
            really_commit(self)
        self.connection.close()
        raise OperationalError("server closed the connection unexpectedly")

    with mock.patch.object(BaseDatabaseWrapper, "_commit", commit):
        yield


def order(product):
    return Shopper().order((product.sku, 1), key="k")


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("number", [T1, T1B, T2])
def test_one_lost_commit_is_read_again_and_gone_on_from(provider, product, number, applied):
    with commit_lost(number, applied=applied):
        answer = order(product)

    assert answer.status_code == 201
    one_paid_order(provider, answer)


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("numbers", [(T1, 1, 2), (T1B, 2, 3), (T2, 3, 4)])
def test_when_it_keeps_failing_the_client_hears_409_and_a_retry_is_right(
    provider, product, numbers, applied
):
    with commit_lost(*numbers, applied=applied):
        first = order(product)
    assert first.status_code in {201, 409}
    if first.status_code == 409:
        assert first.json()["error"]["code"] == "ORDER_IN_PROGRESS"
        assert first["Retry-After"]
    IdempotencyKey.objects.filter(response_status=None).update(lease_until="2000-01-01T00:00Z")

    retry = order(product)

    assert retry.status_code == 201
    one_paid_order(provider, retry)


def test_a_database_that_is_away_before_the_order_exists_is_503(product):
    with mock.patch.object(DatabaseWrapper, "create_cursor", side_effect=OperationalError("gone")):
        answer = order(product)

    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "SERVICE_UNAVAILABLE"
    assert answer["Retry-After"]
    assert not Order.objects.exists()


def test_a_database_that_goes_away_after_the_charge_is_409_and_nothing_is_lost(provider, product):
    """The charge has happened, T2 cannot be written: the sweeper finds the money."""
    with (
        mock.patch("orders.services.placement._settle", side_effect=OperationalError("gone")),
        mock.patch("orders.services.placement._resume", side_effect=OperationalError("gone")),
    ):
        first = order(product)
    assert first.status_code == 409
    assert first.json()["error"]["code"] == "ORDER_IN_PROGRESS"
    IdempotencyKey.objects.update(lease_until="2000-01-01T00:00Z")

    recovery.sweep(ignore_backoff=True)

    one_paid_order(provider, order(product))


def one_paid_order(provider, answer) -> None:
    placed = order_of(answer)
    assert Order.objects.count() == Payment.objects.count() == 1
    assert placed.status == "confirmed"
    assert placed.transitions.count() == 2
    assert StockLevel.objects.get().allocated == 1
    statuses = [intent["status"] for intent in provider.intents_of(str(placed.public_id))]
    assert statuses == ["succeeded"]


def test_what_breaks_into_a_commit_does_not_spoil_the_connection(provider, product):
    """A worker's time limit, for one: nobody knows what was committed, and the next one works."""
    really_commit = BaseDatabaseWrapper._commit

    def interrupted(_self):
        raise TimeoutError("the task took too long")

    with (
        mock.patch.object(BaseDatabaseWrapper, "_commit", interrupted),
        pytest.raises(CommitOutcomeUnknownError),
        short_transaction(),
    ):
        IdempotencyKey.objects.count()

    assert BaseDatabaseWrapper._commit is really_commit
    assert order(product).status_code == 201


def test_a_sweep_waits_for_a_database_that_went_away(provider, product):
    """Else all it had claimed would fail in the same instant, and wait for its claim to end."""
    provider.fail("drop", path="/v1/payment_intents/*/confirm", times=3)
    for n in range(3):
        assert Shopper().order((product.sku, 1), key=f"k{n}").status_code == 202
    really_recover, really_connect = recovery.recover_order, DatabaseWrapper.get_new_connection
    calls, away = iter([True]), iter([True, True])

    def goes_away(**options):
        if next(calls, False):
            cut_connection()
        return really_recover(**options)

    def connect(self, params):
        if next(away, False):
            raise OperationalError("connection refused")
        return really_connect(self, params)

    with (
        mock.patch.object(recovery, "recover_order", goes_away),
        mock.patch.object(DatabaseWrapper, "get_new_connection", connect),
    ):
        report = recovery.sweep(ignore_backoff=True)

    assert (report.orders_seen, report.problems) == (3, 1)
    assert Order.objects.filter(status="confirmed").count() == 2
