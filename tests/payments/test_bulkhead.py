"""Some threads are kept from the provider, so that the catalogue stays fast while it is slow."""

from __future__ import annotations

import threading
import time

import pytest

from orders.models import IdempotencyKey, Order
from payments import gateway
from payments.bulkhead import Bulkhead
from tests import factories
from tests.shop import order_of


class TestPlaces:
    def test_are_given_and_given_back(self):
        bulkhead = Bulkhead(places=1)
        for _ in range(3):
            with bulkhead.place() as has_place:
                assert has_place

    def test_are_given_back_whatever_happens(self):
        bulkhead = Bulkhead(places=1)
        with pytest.raises(ZeroDivisionError), bulkhead.place():
            raise ZeroDivisionError
        with bulkhead.place() as has_place:
            assert has_place

    def test_are_waited_for_no_longer_than_that(self):
        bulkhead = Bulkhead(places=1, wait_seconds=0.2)
        with bulkhead.place():
            started = time.monotonic()
            with bulkhead.place() as has_place:
                waited = time.monotonic() - started
                assert not has_place
        assert 0.15 < waited < 1

    def test_are_not_waited_for_where_nothing_moves(self):
        bulkhead = Bulkhead(places=1, wait_seconds=0.2)
        with bulkhead.place():
            with bulkhead.place() as has_place:
                assert not has_place
            started = time.monotonic()
            with bulkhead.place() as has_place:
                assert not has_place
            assert time.monotonic() - started < 0.1

    def test_go_to_whoever_waits_when_one_is_free(self):
        bulkhead = Bulkhead(places=1, wait_seconds=5)
        inside, leave = threading.Event(), threading.Event()

        def stay():
            with bulkhead.place():
                inside.set()
                leave.wait(5)

        other = threading.Thread(target=stay)
        other.start()
        inside.wait(5)
        threading.Timer(0.05, leave.set).start()
        with bulkhead.place() as has_place:
            assert has_place
        other.join()

    def test_of_a_refused_one_are_not_given_back_twice(self):
        bulkhead = Bulkhead(places=1, wait_seconds=0.01)
        with bulkhead.place():
            for _ in range(3):
                with bulkhead.place() as has_place:
                    assert not has_place
        with bulkhead.place() as first, bulkhead.place() as second:
            assert (first, second) == (True, False)


@pytest.mark.django_db
class TestWithoutAPlace:
    @pytest.fixture
    def product(self, shop):
        return factories.ProductFactory(on_hand=5)

    @pytest.fixture
    def full(self, monkeypatch):
        """Every place is taken, and nothing moves."""
        bulkhead = Bulkhead(places=1, wait_seconds=0.01)
        monkeypatch.setattr(gateway, "bulkhead", lambda: bulkhead)
        return bulkhead

    def test_a_new_order_is_503_and_holds_nothing(self, shopper, product, full):
        with full.place():
            answer = shopper.order((product.sku, 1), key="k")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "SERVICE_UNAVAILABLE")
        assert answer["Retry-After"]
        assert not Order.objects.exists()
        assert not IdempotencyKey.objects.exists()
        assert shopper.order((product.sku, 1), key="k").status_code == 201

    def test_an_answer_that_was_given_is_given_again(self, shopper, product, full):
        first = shopper.order((product.sku, 1), key="k")
        with full.place():
            again = shopper.order((product.sku, 1), key="k")
        assert (again.status_code, again.content) == (201, first.content)

    def test_an_order_that_exists_is_202_never_503(self, shopper, product, full, provider):
        provider.fail("answer_lost", path="/v1/payment_intents/*/confirm")
        provider.fail("drop", path="/v1/payment_intents/*", method="GET")
        assert shopper.order((product.sku, 1), key="k").status_code == 202
        with full.place():
            again = shopper.order((product.sku, 1), key="k")
        assert (again.status_code, again.json()["status"]) == (202, "pending")
        assert shopper.order((product.sku, 1), key="k").status_code == 201

    def test_confirm_and_cancel_are_202(self, shopper, product, full, provider):
        answer = shopper.order((product.sku, 1), payment_method_id="pm_card_threeDSecure2Required")
        order = order_of(answer)
        paid = order_of(shopper.order((product.sku, 1)))
        with full.place():
            assert shopper.post(f"/orders/{order.order_number}/confirm").status_code == 202
            assert shopper.post(f"/orders/{order.order_number}/cancel").status_code == 202
            # Decided here and now; only the money is still on its way.
            cancelled = shopper.post(f"/orders/{paid.order_number}/cancel")
            assert (cancelled.status_code, cancelled.json()["status"]) == (202, "cancelled")

    def test_the_catalogue_is_served(self, client, product, full):
        with full.place():
            assert client.get(f"/api/v1/products/{product.sku}").status_code == 200
