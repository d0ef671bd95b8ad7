"""Carts among themselves: at the same moment, left alone, and when their time is over."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from audit.models import OutboxMessage
from orders.models import Cart, CartItem, Order
from orders.services import carts
from orders.tasks import tend_carts
from payments.models import Payment
from tests import factories
from tests.concurrency.test_after_sales import alone, wait_for_somebody_to_wait
from tests.shop import Shopper, order_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def apple(shop):
    return factories.ProductFactory(sku="APPLE", price="2.00", on_hand=100)


def cart_of(shopper, *skus):
    body = {"items": [{"sku": sku, "quantity": 1} for sku in skus]} if skus else {}
    return shopper.post("/carts", body).json()["id"]


def at_once(*calls):
    """Begin all of them at the same moment; what they return, in their order."""
    barrier = threading.Barrier(len(calls))

    def run(call):
        try:
            barrier.wait(timeout=10)
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(timeout=30) for future in [pool.submit(run, call) for call in calls]]


def aged(days=0, hours=0):
    Cart.objects.update(
        changed_at=timezone.now() - timedelta(days=days, hours=hours),
        expires_at=timezone.now() - timedelta(days=days, hours=hours) + carts.LIFE,
    )


def facts():
    return list(OutboxMessage.objects.filter(fact="cart.abandoned").order_by("id"))


@pytest.mark.concurrency
class TestAtTheSameMoment:
    def test_ten_orders_of_one_cart_are_one(self, apple):
        cart = cart_of(Shopper(), "APPLE")

        answers = at_once(
            *[lambda: Shopper().order(cart_id=cart, items=None).status_code for _ in range(10)]
        )

        assert sorted(answers) == [201] + [409] * 9
        assert (Order.objects.count(), Payment.objects.count()) == (1, 1)

    def test_a_customer_gets_one_cart_however_often_it_is_asked_for(self, shopper, apple):
        ids = at_once(*[lambda: cart_of(Shopper(shopper.customer), "APPLE") for _ in range(8)])

        assert len(set(ids)) == 1
        assert Cart.objects.count() == 1

    def test_guests_carts_bound_by_one_customer_are_poured_into_one(self, shopper, apple):
        products = [factories.ProductFactory().sku for _ in range(4)]
        ids = [cart_of(Shopper(), sku) for sku in products]

        at_once(*[lambda cart=cart: shopper.get(f"/carts/{cart}").status_code for cart in ids])

        (cart,) = Cart.objects.filter(customer=shopper.customer)
        assert set(cart.items.values_list("product__sku", flat=True)) == set(products)
        assert Cart.objects.count() == 1

    def test_lines_put_there_side_by_side_are_all_there(self, apple):
        products = [factories.ProductFactory().sku for _ in range(8)]
        cart = cart_of(Shopper())

        def put(sku):
            return (
                Shopper()
                .client.put(
                    f"/api/v1/carts/{cart}/items/{sku}",
                    data={"quantity": 1},
                    content_type="application/json",
                )
                .status_code
            )

        assert at_once(*[lambda sku=sku: put(sku) for sku in products]) == [200] * 8
        assert CartItem.objects.count() == 8


@pytest.mark.concurrency
class TestWhileAnOrderIsMadeOfIt:
    """Whoever waited for the cart's row has to see the order that its holder has just made."""

    @pytest.fixture
    def cart(self, shopper, apple):
        return cart_of(shopper, "APPLE")

    def asked_meanwhile(self, cart, shopper, method, path, body=None):
        """The answer to a request that came after the lock and before the commit of an order."""
        apart = Shopper(shopper.customer)
        order = order_of(
            apart.order(("APPLE", 1), payment_method_id="pm_card_threeDSecure2Required")
        )

        def ask():
            return apart.client.generic(
                method,
                f"/api/v1{path}",
                json.dumps(body) if body else "",
                content_type="application/json",
                headers=apart.headers,
            )

        with ThreadPoolExecutor(max_workers=1) as pool:
            with transaction.atomic():
                carts.take_wish(cart_id=cart, customer_id=shopper.customer.pk, currency=None)
                asked = pool.submit(alone(ask))
                wait_for_somebody_to_wait()
                Order.objects.filter(pk=order.pk).update(cart_id=cart)
            return asked.result(timeout=30), order

    def test_it_is_not_poured_into_another(self, cart, shopper):
        pear = factories.ProductFactory(sku="PEAR")
        guests = cart_of(Shopper(), pear.sku)

        answer, order = self.asked_meanwhile(cart, shopper, "GET", f"/carts/{guests}")

        assert answer.status_code == 200
        assert [item["sku"] for item in answer.json()["items"]] == ["PEAR"]
        assert Cart.objects.get(public_id=guests).customer is None
        assert shopper.get(f"/carts/{cart}").json()["order_number"] == order.order_number
        assert shopper.order(cart_id=guests, items=None).json()["items"][0]["sku"] == "PEAR"

    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("PUT", "/carts/{cart}/items/APPLE", {"quantity": 2}),
            ("PUT", "/carts/{cart}/coupon", {"coupon_code": None}),
            ("DELETE", "/carts/{cart}", None),
            ("POST", "/carts", {"items": [{"sku": "APPLE", "quantity": 2}]}),
        ],
    )
    def test_it_stands_still(self, cart, shopper, method, path, body):
        answer, order = self.asked_meanwhile(cart, shopper, method, path.format(cart=cart), body)

        assert answer.status_code == 409, answer.content
        assert answer.json()["error"]["details"] == {"order_number": order.order_number}
        assert CartItem.objects.get(cart__public_id=cart).quantity == 1


class TestTheDatabase:
    def test_refuses_a_second_living_order_of_a_cart(self, guest, apple):
        order = order_of(guest.order(("APPLE", 1)))
        other = order_of(guest.order(("APPLE", 1)))
        cart = cart_of(guest)
        Order.objects.filter(pk=order.pk).update(cart_id=cart)

        with (
            pytest.raises(IntegrityError, match="order_one_living_per_cart"),
            transaction.atomic(),
        ):
            Order.objects.filter(pk=other.pk).update(cart_id=cart)


class TestLeftAlone:
    def test_it_is_told_once(self, shopper, apple):
        cart_of(shopper, "APPLE")
        tend_carts()
        assert facts() == []
        aged(hours=5)

        tend_carts()
        tend_carts()

        (fact,) = facts()
        cart = Cart.objects.get()
        assert fact.payload == {"cart_id": cart.pk, "customer_id": shopper.customer.pk}

    def test_it_is_told_anew_after_a_change(self, shopper, apple):
        cart = cart_of(shopper, "APPLE")
        aged(hours=5)
        tend_carts()
        shopper.client.put(
            f"/api/v1/carts/{cart}/items/APPLE",
            data={"quantity": 2},
            content_type="application/json",
            headers=shopper.headers,
        )
        tend_carts()
        assert len(facts()) == 1
        aged(hours=5)

        tend_carts()

        assert len(facts()) == 2

    @pytest.mark.parametrize("method", ["pm_card_visa", "pm_card_threeDSecure2Required"])
    def test_one_that_is_empty_or_ordered_is_not(self, apple, method):
        cart_of(Shopper())
        ordered = cart_of(Shopper(), "APPLE")
        Shopper().order(cart_id=ordered, items=None, payment_method_id=method)
        aged(hours=5)

        tend_carts()

        assert facts() == []


class TestItsTimeIsOver:
    def test_it_is_forgotten_with_what_was_in_it(self, apple):
        cart_of(Shopper(), "APPLE")
        aged(days=29)
        tend_carts()
        assert Cart.objects.count() == 1
        aged(days=31)

        tend_carts()

        assert (Cart.objects.count(), CartItem.objects.count()) == (0, 0)

    def test_never_with_money_in_flight(self, apple):
        cart = cart_of(Shopper(), "APPLE")
        Shopper().order(cart_id=cart, items=None, payment_method_id="pm_card_threeDSecure2Required")
        aged(days=31)

        tend_carts()
        assert Cart.objects.count() == 1

    def test_of_a_paid_order_it_may_go_and_the_order_stays(self, guest, apple):
        cart = cart_of(guest, "APPLE")
        order = order_of(guest.order(cart_id=cart, items=None))
        aged(days=31)

        tend_carts()

        assert not Cart.objects.exists()
        order.refresh_from_db()
        assert (order.status, str(order.cart_id)) == ("confirmed", cart)

    def test_an_order_being_made_of_it_is_waited_for(self, apple):
        cart = cart_of(Shopper(), "APPLE")
        aged(days=31)
        with transaction.atomic():
            carts.take_wish(cart_id=cart, customer_id=None, currency=None)

            (forgotten,) = at_once(lambda: carts.forget_expired(limit=10))

            assert forgotten == 0
        assert carts.forget_expired(limit=10) == 0
        assert Cart.objects.count() == 1

    def test_looking_at_it_does_not_prolong_it(self, guest, apple):
        cart = cart_of(guest, "APPLE")
        aged(days=31)

        guest.get(f"/carts/{cart}")

        assert carts.forget_expired(limit=10) == 1
