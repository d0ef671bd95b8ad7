"""Real threads, real commits: who wins, and that nobody else pays."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection, transaction
from django.db.models import Count
from django.utils import timezone

from audit.models import OutboxMessage
from config.kernel.clock import Deadline
from inventory.models import StockLevel
from orders import books
from orders.books import reconciliation
from orders.models import Coupon, CouponRedemption, IdempotencyKey, Order
from orders.services import events, recovery
from orders.services.quarantine import end_quarantined
from orders.services.refunds import RefundWish, decide_refund, finish_refund
from payments.errors import RefundExceedsPaymentError
from payments.models import LedgerEntry, Payment, ProviderEvent, ReconciliationCase, Refund
from tests import factories, webhooks
from tests.orders.mismatches import tamper
from tests.shop import Shopper, order_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.concurrency]


def at_once(*calls):
    """Run all calls at the same moment, each on a connection of its own; their results in order."""
    barrier = threading.Barrier(len(calls))

    def run(call):
        try:
            barrier.wait(timeout=30)
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(max_workers=len(calls)) as pool:
        return [future.result(timeout=60) for future in [pool.submit(run, c) for c in calls]]


@pytest.fixture
def shop(transactional_db):
    factories.open_shop()


def guest_order(product, *, key="k", email="guest@example.com", **changes):
    who = {"email": email, "first_name": "Grace", "last_name": "Hopper"}
    return lambda: Shopper().order((product.sku, 1), key=key, customer=who, **changes)


def test_twenty_four_buyers_race_for_the_last_unit(shop, provider):
    product = factories.ProductFactory(on_hand=1)

    answers = at_once(*[guest_order(product, email=f"g{n}@example.com") for n in range(24)])

    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 23}
    losers = [answer for answer in answers if answer.status_code == 409]
    assert {answer.json()["error"]["code"] for answer in losers} == {"INSUFFICIENT_INVENTORY"}
    assert Order.objects.count() == Payment.objects.count() == 1
    level = StockLevel.objects.get()
    assert (level.on_hand, level.allocated) == (1, 1)
    winner = next(answer for answer in answers if answer.status_code == 201)
    assert len(provider.intents_of(winner.json()["id"])) == 1


def test_sixteen_requests_with_one_key_make_one_order(shop, provider):
    product = factories.ProductFactory(on_hand=100)

    answers = at_once(*[guest_order(product) for _ in range(16)])

    assert set(Counter(answer.status_code for answer in answers)) <= {201, 409}
    paid = [answer for answer in answers if answer.status_code == 201]
    assert len({answer.content for answer in paid}) == 1
    assert sum("Idempotent-Replayed" not in answer for answer in paid) == 1
    refused = [answer for answer in answers if answer.status_code == 409]
    assert {answer.json()["error"]["code"] for answer in refused} <= {"ORDER_IN_PROGRESS"}
    assert all(answer["Retry-After"] for answer in refused)
    assert Order.objects.count() == 1
    assert StockLevel.objects.get().allocated == 1
    assert len(provider.intents_of(paid[0].json()["id"])) == 1


def test_baskets_in_opposite_order_do_not_deadlock(shop):
    left, right = factories.ProductFactory(on_hand=50), factories.ProductFactory(on_hand=50)

    def buy(first, second, n):
        who = {"email": f"g{n}@example.com", "first_name": "G", "last_name": "H"}
        return lambda: Shopper().order((first.sku, 1), (second.sku, 1), customer=who)

    answers = at_once(*[buy(*((left, right) if n % 2 else (right, left)), n) for n in range(12)])

    assert {answer.status_code for answer in answers} == {201}
    assert set(StockLevel.objects.values_list("allocated", flat=True)) == {12}


def test_a_coupon_for_one_use_is_used_once(shop):
    product = factories.ProductFactory(on_hand=100)
    factories.CouponFactory(code="ONCE", max_uses=1)

    answers = at_once(
        *[guest_order(product, email=f"g{n}@example.com", coupon_code="ONCE") for n in range(12)]
    )

    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 11}
    assert Coupon.objects.get().times_used == 1


class TestTwoHundredUsesAtOnce:
    """Two hundred orders, as many under way as the server has connections for."""

    ORDERS = 200
    AT_ONCE = 40

    def place(self, product, *, buyers, **changes):
        """Send them all; whom the row kept waiting too long (503) asks again, as clients do."""

        def order(n):
            try:
                while True:
                    buyer = f"g{n % buyers}@example.com"
                    answer = guest_order(product, key=f"k{n}", email=buyer, **changes)()
                    if answer.status_code != 503:
                        return answer
            finally:
                connection.close()

        with ThreadPoolExecutor(max_workers=self.AT_ONCE) as pool:
            return list(pool.map(order, range(self.ORDERS), timeout=300))

    def test_of_a_coupon_leave_no_use_over_and_take_none_too_many(self, shop):
        product = factories.ProductFactory(on_hand=1_000)
        factories.CouponFactory(code="FIFTY", max_uses=50)

        answers = self.place(product, buyers=self.ORDERS, coupon_code="FIFTY")

        assert Counter(answer.status_code for answer in answers) == {201: 50, 409: 150}
        refused = [answer.json()["error"] for answer in answers if answer.status_code == 409]
        assert {error["details"]["reason"] for error in refused} == {"used_up"}
        assert Coupon.objects.get().times_used == 50
        assert CouponRedemption.objects.count() == Order.objects.count() == 50

    def test_of_a_coupon_once_for_each_customer(self, shop):
        product = factories.ProductFactory(on_hand=1_000)
        factories.CouponFactory(code="MINE", max_uses_per_customer=1)

        answers = self.place(product, buyers=20, coupon_code="MINE")

        assert Counter(answer.status_code for answer in answers) == {201: 20, 409: 180}
        assert Coupon.objects.get().times_used == 20
        uses = CouponRedemption.objects.values_list("redeemed_by").annotate(Count("pk"))
        assert set(dict(uses).values()) == {1}

    def test_of_an_automatic_promotion_refuse_nobody(self, shop):
        product = factories.ProductFactory(on_hand=1_000, price="10.00")
        factories.CouponFactory(code=None, name="First fifty", value=50, max_uses=50)
        factories.CouponFactory(code=None, name="Then one each", value=20, max_uses_per_customer=1)

        answers = self.place(product, buyers=40)

        assert {answer.status_code for answer in answers} == {201}
        discounts = Counter(answer.json()["discount_amount"] for answer in answers)
        used = dict(Coupon.objects.values_list("name", "times_used"))
        assert discounts["5.00"] == used["First fifty"] == 50
        assert discounts["2.00"] == used["Then one each"] <= 40
        assert discounts["0.00"] == self.ORDERS - sum(used.values())
        assert CouponRedemption.objects.count() == sum(used.values())
        assert not [finding.name for finding in books.check().findings if finding.violations]


def test_cancel_against_confirm_is_paid_or_cancelled_never_both(shop, provider):
    product = factories.ProductFactory(on_hand=1)
    who = Shopper(factories.CustomerFactory())
    first = who.order((product.sku, 1), payment_method_id="pm_card_threeDSecure2Required")
    order = order_of(first)
    provider.act(first.json()["error"]["details"]["payment_intent_id"], "succeed")

    at_once(
        lambda: Shopper(who.customer).post(f"/orders/{order.order_number}/confirm"),
        lambda: Shopper(who.customer).post(f"/orders/{order.order_number}/cancel"),
        lambda: recovery.sweep(ignore_backoff=True),
    )

    order.refresh_from_db()
    payment = order.payments.get()
    level = StockLevel.objects.get()
    if order.status == "confirmed":
        assert (payment.amount_refunded, level.allocated) == (0, 1)
    else:
        recovery.sweep(ignore_backoff=True)
        payment.refresh_from_db()
        assert order.status == "cancelled"
        assert payment.amount_refunded == payment.amount_received == order.total_amount
        assert level.allocated == 0
        assert len(provider.refunds_of(payment.payment_intent_id)) == 1


def test_two_cancellations_refund_once(shop, provider):
    product = factories.ProductFactory(on_hand=1)
    who = Shopper(factories.CustomerFactory())
    order = order_of(who.order((product.sku, 1)))

    answers = at_once(*[lambda: who.post(f"/orders/{order.order_number}/cancel") for _ in range(4)])

    assert {answer.status_code for answer in answers} <= {200, 202}
    recovery.sweep(ignore_backoff=True)
    assert Refund.objects.get().status == "succeeded"
    assert len(provider.refunds_of(order.payments.get().payment_intent_id)) == 1
    assert StockLevel.objects.get().allocated == 0


def test_two_sweepers_and_a_retry_settle_an_order_once(shop, provider):
    product = factories.ProductFactory(on_hand=5)
    provider.fail("drop", path="/v1/payment_intents/*/confirm")
    first = guest_order(product)()
    assert first.status_code == 202
    IdempotencyKey.objects.update(lease_until=timezone.now() - timedelta(seconds=1))

    at_once(
        lambda: recovery.sweep(ignore_backoff=True),
        lambda: recovery.sweep(ignore_backoff=True),
        guest_order(product),
    )

    recovery.sweep(ignore_backoff=True)
    order = order_of(first)
    assert order.status == "confirmed"
    assert order.transitions.count() == 2
    statuses = [intent["status"] for intent in provider.intents_of(str(order.public_id))]
    assert statuses == ["succeeded"]


def test_a_request_that_waits_for_a_hot_row_too_long_is_503_and_holds_nothing(shop):
    product = factories.ProductFactory(on_hand=5)
    holds_the_row, may_go = threading.Event(), threading.Event()

    def hold():
        try:
            with transaction.atomic():
                list(StockLevel.objects.select_for_update())
                holds_the_row.set()
                may_go.wait(timeout=30)
        finally:
            connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert holds_the_row.wait(timeout=10)
        (answer,) = at_once(guest_order(product))
    finally:
        may_go.set()
        holder.join(timeout=30)

    assert answer.status_code == 503
    assert answer["Retry-After"]
    assert not Order.objects.exists()
    assert StockLevel.objects.get().allocated == 0


def hear(told):
    assert webhooks.send(told).status_code == 200
    events.process_due(deadline=Deadline(60), ignore_backoff=True)


def test_ten_webhooks_at_once_settle_an_order_once(shop, provider, settings):
    settings.STRIPE_WEBHOOK_SECRETS = [webhooks.SECRET]
    product = factories.ProductFactory(on_hand=5)
    waiting = Shopper().order((product.sku, 1), payment_method_id="pm_card_threeDSecure2Required")
    order = order_of(waiting)
    intent_id = order.payments.get().payment_intent_id
    provider.act(intent_id, "succeed")
    told = webhooks.event("payment_intent.succeeded", provider.intent(intent_id))
    another = webhooks.event("payment_intent.succeeded", provider.intent(intent_id))

    at_once(*[lambda one=one: hear(one) for one in [told, another] * 5])

    order.refresh_from_db()
    assert (order.status, order.version) == ("confirmed", 1)
    assert list(ProviderEvent.objects.values_list("status", flat=True)) == ["processed"] * 2
    assert StockLevel.objects.get().allocated == 1
    assert LedgerEntry.objects.filter(kind="capture").count() == 2
    assert OutboxMessage.objects.filter(fact="order.confirmed").count() == 1


def test_a_webhook_that_beats_the_request_changes_nothing_for_it(shop, provider, settings):
    """The event is worked off between C2 and T2: the request answers 201 all the same (R4)."""
    settings.STRIPE_WEBHOOK_SECRETS = [webhooks.SECRET]
    product = factories.ProductFactory(on_hand=5)
    # The charge is done; its answer comes byte by byte while the webhook overtakes it.
    provider.fail("drip", path="/v1/payment_intents/*/confirm", seconds=0.0003)

    def overtake():
        for _ in range(2_000):
            payment = Payment.objects.exclude(payment_intent_id=None).first()
            if payment:
                intent = provider.intent(payment.payment_intent_id)
                if intent["status"] == "succeeded":
                    hear(webhooks.event("payment_intent.succeeded", intent))
                    return True
        return False

    answer, overtook = at_once(guest_order(product), overtake)

    assert overtook
    assert (answer.status_code, answer.json()["status"]) == (201, "confirmed")
    assert Order.objects.get().version == 1
    assert StockLevel.objects.get().allocated == 1
    again = guest_order(product)()
    assert (again.status_code, again.content) == (201, answer.content)


def test_two_members_of_staff_never_give_back_more_than_came_in(shop, provider):
    product = factories.ProductFactory(on_hand=5)
    order = order_of(guest_order(product)())
    most = order.total_amount - Decimal("1.00")

    def press():
        try:
            refund = decide_refund(order_id=order.pk, wish=RefundWish(reason="x", amount=most))
        except RefundExceedsPaymentError:
            return None
        finish_refund(refund_id=refund.pk, deadline=Deadline(10))
        return refund

    pressed = at_once(*[press] * 6)

    assert sum(refund is not None for refund in pressed) == 1
    given_back = provider.refunds_of(order.payments.get().payment_intent_id)
    assert [told["amount"] for told in given_back] == [int(most * 100)]


def test_one_wish_pressed_six_times_is_one_refund(shop, provider):
    product = factories.ProductFactory(on_hand=5)
    order = order_of(guest_order(product)())
    wish = RefundWish(reason="x", amount=Decimal("1.00"), request_key="desk")

    def press():
        refund = decide_refund(order_id=order.pk, wish=wish)
        finish_refund(refund_id=refund.pk, deadline=Deadline(10))
        return refund.pk

    assert len(set(at_once(*[press] * 6))) == 1
    assert len(provider.refunds_of(order.payments.get().payment_intent_id)) == 1


def test_two_reconciliations_at_once_repair_once_and_ask_one_person(shop, provider):
    provider.reset()
    product = factories.ProductFactory(on_hand=10)
    paid = order_of(guest_order(product)())
    waits = {"payment_method_id": "pm_card_threeDSecure2Required"}
    waiting = order_of(guest_order(product, key="w", email="w@example.com", **waits)())
    provider.act(waiting.payments.get().payment_intent_id, "succeed")
    provider.refund(paid.payments.get().payment_intent_id, amount=100)
    second = provider.charge_anew(paid.payments.get().create_params)

    def reconcile():
        return reconciliation.reconcile(repair=True, on_progress=lambda *_: None)

    at_once(reconcile, reconcile, reconcile)

    waiting.refresh_from_db()
    assert waiting.status == "confirmed"
    assert LedgerEntry.objects.filter(payment__order=waiting, kind="capture").count() == 2
    assert Refund.objects.get().amount == Decimal("1.00")
    case = ReconciliationCase.objects.get()
    assert (case.subject, case.resolved_at) == (second["id"], None)
    fees = LedgerEntry.objects.filter(kind="fee")
    assert fees.count() == 2 * fees.values("balance_transaction_id").distinct().count()
    assert reconcile().queued == 0


def test_two_members_of_staff_end_one_quarantine(shop, provider):
    product = factories.ProductFactory(on_hand=10)
    waits = {"payment_method_id": "pm_card_threeDSecure2Required"}
    odd = order_of(guest_order(product, **waits)())
    payment = odd.payments.get()
    provider.act(payment.payment_intent_id, "succeed")
    tamper(payment, status="quarantined", create_params={**payment.create_params, "amount": 1})

    def end():
        return end_quarantined(order_id=odd.pk, deadline=Deadline(10))

    at_once(end, end)

    odd.refresh_from_db()
    assert odd.status == "cancelled"
    given = provider.refunds_of(payment.payment_intent_id)
    received = provider.intent(payment.payment_intent_id)["amount_received"]
    assert sum(refund["amount"] for refund in given) == received
    assert StockLevel.objects.get().allocated == 0
