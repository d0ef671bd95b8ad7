"""Where an order's money and its goods are, as staff sees it at a glance."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from config.kernel.clock import Deadline
from inventory.models import Warehouse
from orders.services.cancellation import cancel_order
from orders.services.overview import Place, lines_of, money_of
from orders.services.refunds import RefundWish, decide_refund, finish_refund
from orders.services.returns import (
    Arrived,
    accept_return,
    receive_return,
    request_return,
)
from orders.services.shipping import Parcel, ship_order
from payments import bookkeeping
from tests import factories
from tests.shop import order_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def order(shopper, provider):
    for sku in ("TEA", "CUP"):
        factories.ProductFactory(sku=sku, price="10.00", on_hand=9)
    return order_of(shopper.order(("TEA", 3), ("CUP", 1)))


def refund(order, **wish):
    return decide_refund(order_id=order.pk, wish=RefundWish(reason="broken", **wish))


def by_sku(order):
    return {line.item.product_sku: line for line in lines_of(order)}


class TestMoney:
    def test_all_of_it_is_here_once_it_is_paid(self, order):
        money = money_of(order)

        assert money.captured == money.net == money.refundable == order.total_amount
        assert (money.refunded, money.refund_under_way, money.disputed, money.fees) == (0, 0, 0, 0)
        assert money.currency == "USD"

    def test_tells_what_is_on_its_way_from_what_is_back(self, order, provider):
        back = refund(order, amount=Decimal("2.50"))
        finish_refund(refund_id=back.pk, deadline=Deadline(9))
        refund(order, amount=Decimal("1.00"))

        money = money_of(order)

        assert (money.refunded, money.refund_under_way) == (Decimal("2.50"), Decimal("1.00"))
        assert money.refundable == order.total_amount - Decimal("3.50")
        assert money.net == order.total_amount - Decimal("2.50")

    def test_counts_the_providers_fees_once_they_are_booked(self, order):
        bookkeeping.book_balance_transactions()

        money = money_of(order)

        assert money.fees > 0
        assert money.net == order.total_amount - money.fees

    def test_is_nothing_before_a_payment(self, shopper, order):
        waiting = order_of(
            shopper.order(("TEA", 1), payment_method_id="pm_card_threeDSecure2Required")
        )

        money = money_of(waiting)

        assert (money.captured, money.net, money.refundable) == (0, 0, 0)

    def test_asks_two_statements(self, order, django_assert_num_queries):
        refund(order, amount=Decimal("1.00"))

        with django_assert_num_queries(2):
            money_of(order)


class TestLines:
    def test_lie_where_they_are_promised(self, order):
        tea = by_sku(order)["TEA"]

        assert tea.places == (Place(warehouse="MAIN", status="committed", quantity=3, shipped=0),)
        assert (tea.to_ship, tea.shipped, tea.refunded, tea.returned) == (3, 0, 0, 0)

    def test_tell_of_each_warehouse(self, shopper, order):
        there = Warehouse.objects.create(
            code="EAST", name="East", country="US", time_zone="America/New_York"
        )
        product = factories.ProductFactory(sku="MUG", on_hand=2)
        factories.receive(product, 2, warehouse=there)

        split = order_of(shopper.order(("MUG", 4)))

        assert [(p.warehouse, p.quantity) for p in by_sku(split)["MUG"].places] == [
            ("EAST", 2),
            ("MAIN", 2),
        ]

    def test_count_what_left_what_was_refunded_and_what_came_back(self, order):
        refund(order, units={"CUP": 1})
        ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS", units={"TEA": 2}))
        assert by_sku(order)["TEA"].to_ship == 1
        ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS"))
        wish = request_return(order_id=order.pk, units={"TEA": 2}, reason="cold")
        accept_return(return_id=wish.pk)
        receive_return(return_id=wish.pk, arrived={"TEA": Arrived(quantity=1, restocked=1)})

        order.refresh_from_db()
        lines = by_sku(order)

        tea, cup = lines["TEA"], lines["CUP"]
        assert (tea.to_ship, tea.shipped, tea.announced, tea.returned) == (0, 3, 2, 1)
        assert (cup.to_ship, cup.shipped, cup.refunded) == (0, 0, 1)

    def test_of_a_cancelled_order_are_not_to_be_sent(self, order):
        cancel_order(order_id=order.pk, reason="", deadline=Deadline(9))

        order.refresh_from_db()
        assert [line.to_ship for line in lines_of(order)] == [0, 0]

    def test_ask_as_many_statements_for_many_as_for_one(self, shopper, order):
        one = order_of(shopper.order(("TEA", 1)))
        counts = []
        for each in (one, order):
            with CaptureQueriesContext(connection) as queries:
                lines_of(each)
            counts.append(len(queries))

        assert counts == [8, 8]
