"""The process dies, really, by SIGKILL, at every edge of placing an order; then life goes on.

Nothing is planted in the code: the child process wraps what it does at its edges (each COMMIT, each
call to the provider) and kills itself before or after the n-th of them.
"""

from __future__ import annotations

import os
import signal

import pytest
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from inventory.models import StockLevel
from orders.models import IdempotencyKey, Order
from orders.services import recovery
from payments import gateway
from tests import factories
from tests.shop import Shopper, order_of

pytestmark = pytest.mark.django_db(transaction=True)

EDGES = ["T1", "create", "T1b", "confirm", "T2"]
CELLS = [(edge, when) for edge in EDGES for when in ("before", "after")]
PAID_BY_THEN = {("confirm", "after"), ("T2", "before"), ("T2", "after")}
NOTHING_YET = {("T1", "before")}


@pytest.fixture
def product(transactional_db):
    factories.open_shop()
    return factories.ProductFactory(on_hand=5)


def order(product):
    return Shopper().order((product.sku, 1), key="k")


def place_and_die(product, *, edge: str, when: str) -> None:
    """Place an order in a child process that kills itself at this edge."""
    connection.close()
    child = os.fork()
    if child == 0:
        try:
            arm(edge, when)
            order(product)
        finally:
            os._exit(1)  # it should not have come this far
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"the child survived {when} {edge}"
    assert os.WTERMSIG(status) == signal.SIGKILL


def arm(edge: str, when: str) -> None:
    """In the child: wrap the edges, in the order in which an order passes them."""
    gateway._client.cache_clear()  # no socket shared with the parent
    commits = iter(["T1", "T1b", "T2"])
    commit = BaseDatabaseWrapper._commit

    def dying(name, really):
        def call(*args, **kwargs):
            if (name, "before") == (edge, when):
                os.kill(os.getpid(), signal.SIGKILL)
            result = really(*args, **kwargs)
            if (name, "after") == (edge, when):
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    def dying_commit(self):
        return dying(next(commits), commit)(self)

    BaseDatabaseWrapper._commit = dying_commit
    gateway.create_intent = dying("create", gateway.create_intent)
    gateway.confirm_intent = dying("confirm", gateway.confirm_intent)


@pytest.mark.parametrize(("edge", "when"), CELLS)
def test_a_retry_with_the_same_key_makes_one_order_and_one_charge(provider, product, edge, when):
    place_and_die(product, edge=edge, when=when)
    if (edge, when) not in NOTHING_YET | {("T2", "after")}:
        too_early = order(product)
        assert too_early.status_code == 409  # the dead request's lease still runs
        assert too_early.json()["error"]["code"] == "ORDER_IN_PROGRESS"
    IdempotencyKey.objects.filter(response_status=None).update(lease_until="2000-01-01T00:00Z")

    retry = order(product)

    assert retry.status_code == 201
    placed = order_of(retry)
    assert Order.objects.count() == 1
    assert placed.status == "confirmed"
    assert StockLevel.objects.get().allocated == 1
    statuses = [intent["status"] for intent in provider.intents_of(str(placed.public_id))]
    assert statuses == ["succeeded"]


@pytest.mark.parametrize(("edge", "when"), CELLS)
def test_without_a_retry_the_sweeper_keeps_what_was_paid_and_ends_the_rest(
    provider, product, edge, when
):
    place_and_die(product, edge=edge, when=when)
    if (edge, when) in NOTHING_YET:
        assert not Order.objects.exists()
        return
    IdempotencyKey.objects.filter(response_status=None).update(lease_until="2000-01-01T00:00Z")

    recovery.sweep(ignore_backoff=True)

    placed = Order.objects.get()
    statuses = {intent["status"] for intent in provider.intents_of(str(placed.public_id))}
    if (edge, when) in PAID_BY_THEN:
        assert placed.status == "confirmed"
        assert statuses == {"succeeded"}
        assert StockLevel.objects.get().allocated == 1
    else:
        assert placed.status == "cancelled"
        assert statuses <= {"canceled", "requires_confirmation"}
        assert StockLevel.objects.get().allocated == 0
    assert IdempotencyKey.objects.get().response_status in {201, 402}
