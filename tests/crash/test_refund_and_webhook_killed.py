"""SIGKILL at every edge of a refund and of a webhook; then somebody tries again, or nobody does."""

from __future__ import annotations

import itertools
import os
import signal
from decimal import Decimal

import pytest
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from config.kernel.clock import Deadline
from inventory.models import StockLevel
from orders.models import Order
from orders.services import events, recovery
from orders.services.refunds import RefundWish, decide_refund, finish_refund
from payments import gateway
from payments.models import LedgerEntry, Payment, ProviderEvent, Refund
from tests import factories, webhooks
from tests.shop import Shopper, order_of

pytestmark = pytest.mark.django_db(transaction=True)

# More than any of these has: what is past the last edge is told by the child's surviving.
EDGES = [(n, when) for n in range(24) for when in ("before", "after")]
CALLS = ("create_refund", "list_refunds", "retrieve_intent", "cancel_intent")
SURVIVED = 7


def run_and_die(work, *, edge: int, when: str) -> bool:
    """Run in a child that kills itself at its n-th edge; False: it has not so many."""
    connection.close()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            arm(edge, when)
            work()
            code = SURVIVED
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == SURVIVED
    return False


def arm(edge: int, when: str) -> None:
    """In the child: every writing statement, every COMMIT and every call to the provider counts."""
    gateway._client.cache_clear()  # no socket shared with the parent
    numbers = itertools.count()

    def dying(really, *, counts=lambda *_: True):
        def call(*args, **kwargs):
            number = next(numbers) if counts(*args) else None
            if (number, "before") == (edge, when):
                os.kill(os.getpid(), signal.SIGKILL)
            result = really(*args, **kwargs)
            if (number, "after") == (edge, when):
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    def writes(_cursor, sql, *_):
        return str(sql).lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE"))

    BaseDatabaseWrapper._commit = dying(BaseDatabaseWrapper._commit)
    CursorWrapper.execute = dying(CursorWrapper.execute, counts=writes)  # type: ignore[method-assign]
    for name in CALLS:
        setattr(gateway, name, dying(getattr(gateway, name)))


@pytest.fixture
def paid(transactional_db):
    factories.open_shop()
    product = factories.ProductFactory(on_hand=5)
    return order_of(Shopper().order((product.sku, 1)))


@pytest.fixture
def waiting(transactional_db):
    factories.open_shop()
    product = factories.ProductFactory(on_hand=5)
    answer = Shopper().order((product.sku, 1), payment_method_id="pm_card_threeDSecure2Required")
    return order_of(answer)


def balance():
    legs = LedgerEntry.objects.filter(account="stripe_balance").values_list("amount", flat=True)
    return sum(legs, start=Decimal(0))


@pytest.mark.parametrize("amount", [None, Decimal("1.00")], ids=["whole", "part"])
@pytest.mark.parametrize("tries_again", [True, False], ids=["again", "alone"])
def test_a_refund_is_made_once_or_not_at_all(paid, provider, amount, tries_again, subtests):
    total = paid.total_amount
    died = 0
    for edge, when in EDGES:
        product = factories.ProductFactory(on_hand=5)
        order = order_of(Shopper().order((product.sku, 1)))
        before = balance()
        wish = RefundWish(reason="broken", amount=amount, request_key="desk")

        def press(order=order, wish=wish):
            refund = decide_refund(order_id=order.pk, wish=wish)
            finish_refund(refund_id=refund.pk, deadline=Deadline(10))

        if not run_and_die(press, edge=edge, when=when):
            break
        died += 1
        with subtests.test(edge=edge, when=when):
            if tries_again:
                press()
            recovery.sweep(ignore_backoff=True)

            refunds = Refund.objects.filter(payment__order=order)
            given = sum((refund.amount for refund in refunds), start=Decimal(0))
            assert len(refunds) <= 1
            assert all(refund.status == "succeeded" for refund in refunds)
            assert not tries_again or given == (amount or order.total_amount)
            told = provider.refunds_of(order.payments.get().payment_intent_id)
            assert sum(one["amount"] for one in told) == int(given * 100)
            assert balance() == before - given
            order.refresh_from_db()
            is_whole = bool(given) and amount is None
            assert order.status == ("cancelled" if is_whole else "confirmed")
            assert StockLevel.objects.get(product=product).allocated == (0 if is_whole else 1)
    assert died >= 16, "the edges are not where they were thought to be"
    assert total > 1


def test_a_webhook_is_worked_off_whatever_died_with_it(waiting, provider, settings, subtests):
    settings.STRIPE_WEBHOOK_SECRETS = [webhooks.SECRET]
    died = 0
    for edge, when in EDGES:
        product = factories.ProductFactory(on_hand=5)
        answer = Shopper().order(
            (product.sku, 1),
            key=f"k{edge}{when}",
            payment_method_id="pm_card_threeDSecure2Required",
        )
        order = order_of(answer)
        intent_id = Payment.objects.get(order=order).payment_intent_id
        provider.act(intent_id, "succeed")
        told = webhooks.event("payment_intent.succeeded", provider.intent(intent_id))

        def hear(told=told):
            assert webhooks.send(told).status_code == 200
            events.process_due(deadline=Deadline(60), ignore_backoff=True)

        if not run_and_die(hear, edge=edge, when=when):
            break
        died += 1
        with subtests.test(edge=edge, when=when):
            hear()  # the provider sends again what was not answered

            order.refresh_from_db()
            assert (order.status, order.version) == ("confirmed", 1)
            assert StockLevel.objects.get(product=product).allocated == 1
            kept = ProviderEvent.objects.get(stripe_event_id=told["id"])
            assert kept.status == "processed"
            assert LedgerEntry.objects.filter(payment__order=order, kind="capture").count() == 2
    assert died >= 16, "the edges are not where they were thought to be"
    assert Order.objects.filter(status="pending").count() >= 1
