"""Order count and lifetime value of a customer: right whatever facts come, in whatever order."""

from __future__ import annotations

import json
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from audit import outbox
from audit.models import Delivery, OutboxMessage
from config.kernel.clock import Deadline
from customers.models import CustomerMetrics
from customers.selectors import lock_customers
from inventory.models import Price
from orders.services import customer_metrics, refunds
from payments import services as payments
from payments.models import Payment
from tests import factories
from tests.shop import Shopper, order_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def tea(shop):
    product = factories.ProductFactory(sku="TEA", price="20.00")
    Price.objects.create(product=product, currency="EUR", amount=Decimal("18.00"))
    factories.ShippingMethodFactory(currency="EUR", amount=Decimal("3.00"))
    return product


def buy(shopper, **changes):
    answer = shopper.order(("TEA", 1), **changes)
    assert answer.status_code == 201, answer.content
    return order_of(answer)


def cancel(shopper, order):
    assert shopper.post(f"/orders/{order.order_number}/cancel").status_code == 200


def refund_in_part(order, amount):
    """Decided and sent, until the money is back."""
    with transaction.atomic():
        payment = Payment.objects.select_for_update().get(order=order)
        refund = payments.request_refund(payment, amount=Decimal(amount), reason="broken")
    assert refunds.finish_refund(refund_id=refund.pk, deadline=Deadline(10.0))


def figures(shopper):
    rows = CustomerMetrics.objects.filter(customer=shopper.customer)
    return {row.currency: (row.order_count, row.lifetime_value) for row in rows}


def messages():
    wanted = OutboxMessage.objects.filter(fact__in=customer_metrics.FACTS)
    return list(wanted.order_by("pk"))


class TestFigures:
    def test_are_there_once_the_confirmation_is_delivered(self, shopper, tea):
        order = buy(shopper)
        assert figures(shopper) == {}

        outbox.relay()

        assert figures(shopper) == {"USD": (1, order.total_amount)}
        delivery = Delivery.objects.get(subscriber="customer_metrics")
        assert (delivery.status, delivery.last_error) == ("delivered", "")

    def test_are_not_added_up_over_currencies(self, shopper, tea):
        dollars, more_dollars = buy(shopper), buy(shopper)
        euros = buy(shopper, currency="EUR")

        outbox.relay()

        assert figures(shopper) == {
            "USD": (2, dollars.total_amount + more_dollars.total_amount),
            "EUR": (1, euros.total_amount),
        }

    def test_leave_out_what_was_never_paid(self, shopper, tea):
        declined = shopper.order(("TEA", 1), payment_method_id="pm_card_chargeDeclined")
        waiting = shopper.order(("TEA", 1), payment_method_id="pm_card_threeDSecure2Required")
        assert (declined.status_code, waiting.status_code) == (402, 402)

        outbox.relay()

        assert figures(shopper) == {}

    def test_leave_out_what_was_cancelled(self, shopper, tea):
        kept, returned = buy(shopper), buy(shopper)
        outbox.relay()
        cancel(shopper, returned)

        outbox.relay()

        assert figures(shopper) == {"USD": (1, kept.total_amount)}

    def test_fall_to_zero_with_the_only_order(self, shopper, tea):
        cancel(shopper, buy(shopper))

        outbox.relay()

        assert figures(shopper) == {"USD": (0, Decimal("0.00"))}

    def test_are_less_what_was_refunded_of_a_living_order(self, shopper, tea):
        order = buy(shopper)
        refund_in_part(order, "4.50")

        customer_metrics.refresh(messages()[0])

        assert figures(shopper) == {"USD": (1, order.total_amount - Decimal("4.50"))}

    def test_belong_to_each_customer_alone(self, shopper, tea):
        other = Shopper(factories.CustomerFactory())
        mine, theirs = buy(shopper), buy(other)

        outbox.relay()

        assert figures(shopper) == {"USD": (1, mine.total_amount)}
        assert figures(other) == {"USD": (1, theirs.total_amount)}

    def test_are_not_kept_of_guests(self, guest, tea):
        buy(guest)

        outbox.relay()

        assert not CustomerMetrics.objects.exists()
        delivery = Delivery.objects.get(subscriber="customer_metrics")
        assert delivery.status == "delivered"
        assert "guest" in delivery.last_error


class TestDeliveries:
    def test_may_come_twice_late_and_in_any_order(self, shopper, tea):
        kept, in_part, returned = buy(shopper), buy(shopper), buy(shopper)
        cancel(shopper, returned)
        refund_in_part(in_part, "1.25")
        right = {"USD": (2, kept.total_amount + in_part.total_amount - Decimal("1.25"))}
        told = messages()
        assert sorted(message.fact for message in told) == [
            "order.cancelled",
            *["order.confirmed"] * 3,
            *["order.refunded"] * 2,
        ]

        for seed in range(8):
            CustomerMetrics.objects.all().delete()
            for message in random.Random(seed).sample(told * 2, k=2 * len(told)):  # noqa: S311
                customer_metrics.refresh(message)
                assert figures(shopper) == right

    def test_write_nothing_that_is_right_already(self, shopper, tea):
        buy(shopper)
        outbox.relay()
        before = CustomerMetrics.objects.get()

        customer_metrics.refresh(messages()[0])

        assert CustomerMetrics.objects.get().updated_at == before.updated_at
        assert CustomerMetrics.objects.get().pk == before.pk

    def test_cost_as_much_for_the_tenth_order_as_for_the_first(self, shopper, tea):
        def statements():
            CustomerMetrics.objects.all().delete()
            message = messages()[-1]
            with CaptureQueriesContext(connection) as queries:
                customer_metrics.refresh(message)
            return [query["sql"].split()[0] for query in queries]

        buy(shopper)
        for_one = statements()
        for _ in range(9):
            buy(shopper)

        assert statements() == for_one
        assert len([verb for verb in for_one if verb in {"SELECT", "INSERT", "UPDATE"}]) == 5

    def test_hold_no_personal_data(self, shopper, tea):
        buy(shopper)

        outbox.relay()

        kept = str(CustomerMetrics.objects.values().get()) + str(messages()[0].payload)
        assert shopper.customer.email not in kept
        assert shopper.customer.last_name not in kept


@pytest.mark.concurrency
@pytest.mark.django_db(transaction=True)
class TestAtTheSameTime:
    def test_who_knew_less_never_has_the_last_word(self, shopper, tea, monkeypatch):
        """One delivery has read the orders and is slow to write; meanwhile there is another."""
        has_read, may_write = threading.Event(), threading.Event()
        replace_metrics = customer_metrics.replace_metrics

        def slow_once(**given):
            if not has_read.is_set():
                has_read.set()
                assert may_write.wait(timeout=30)
            return replace_metrics(**given)

        monkeypatch.setattr(customer_metrics, "replace_metrics", slow_once)

        with ThreadPoolExecutor(2) as pool:
            first = buy(shopper)
            slow = pool.submit(in_a_thread, partial(customer_metrics.refresh, messages()[0]))
            assert has_read.wait(timeout=30)
            second = buy(shopper)
            quick = pool.submit(in_a_thread, partial(customer_metrics.refresh, messages()[1]))
            while not (quick.done() or somebody_waits_for_a_lock()):
                time.sleep(0.01)
            may_write.set()
            slow.result(timeout=30)
            quick.result(timeout=30)

        assert figures(shopper) == {"USD": (2, first.total_amount + second.total_amount)}

    def test_orders_are_placed_while_the_customer_is_locked(self, shopper, tea):
        with transaction.atomic():
            assert lock_customers(customer_ids=[shopper.customer.pk]) == [shopper.customer.pk]

            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(in_a_thread, lambda: buy(shopper)).result(timeout=30).pk


def in_a_thread(call):
    try:
        return call()
    finally:
        connection.close()


def somebody_waits_for_a_lock():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        return cursor.fetchone()[0] > 0


class TestRebuild:
    def test_puts_every_figure_right(self, shopper, tea, capsys):
        other = Shopper(factories.CustomerFactory())
        mine, theirs = buy(shopper), buy(other)
        outbox.relay()
        CustomerMetrics.objects.filter(customer=shopper.customer).update(order_count=7)
        CustomerMetrics.objects.filter(customer=other.customer).update(currency="EUR")

        call_command("rebuild_customer_metrics", "--json")

        assert json.loads(capsys.readouterr().out) == {"corrected": 3}
        assert figures(shopper) == {"USD": (1, mine.total_amount)}
        assert figures(other) == {"USD": (1, theirs.total_amount)}

    def test_goes_by_batches_and_says_how_far_it_is(self, shop, monkeypatch):
        monkeypatch.setattr(customer_metrics, "REBUILD_BATCH", 2)
        ids = [factories.CustomerFactory().pk for _ in range(5)]
        seen = []

        corrected = customer_metrics.rebuild_all(
            progress=lambda done, last: seen.append((done, last))
        )

        assert corrected == 0
        assert seen == [(ids[1], ids[4]), (ids[3], ids[4]), (ids[4], ids[4])]

    def test_finds_nothing_to_do_in_an_empty_shop(self, db, capsys):
        call_command("rebuild_customer_metrics")

        assert capsys.readouterr().out.strip().endswith("missing: 0.")
