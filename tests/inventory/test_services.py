"""Stock moves whole or not at all, and every unit can be accounted for."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import Q, Sum
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.kernel.db import violated_constraint
from inventory import services as stock
from inventory.errors import InsufficientStockError
from inventory.models import Reservation, StockLevel, StockMovement
from inventory.services import Receipt
from inventory.sourcing import Wanted
from orders.models import Order
from tests import factories

pytestmark = pytest.mark.django_db


def make_order() -> Order:
    """A pending order with nothing in it: stock only asks for its id."""
    return Order.objects.create(
        order_number=f"TEST-{Order.objects.count()}",
        guest_email="guest@example.com",
        subtotal=Decimal(0),
        tax_amount=Decimal(0),
        shipping_amount=Decimal(0),
        total_amount=Decimal(0),
        shipping_address={},
        billing_address={},
    )


def want(product, quantity) -> Wanted:
    return Wanted(product_id=product.pk, sku=product.sku, quantity=quantity)


def reserve(order, *wanted, country="US") -> None:
    """As in T1: what is refused is rolled back."""
    with transaction.atomic():
        stock.reserve(order_id=order.pk, wanted=wanted, country=country)


def stands(product):
    """(on hand, allocated) of each level, in id order."""
    levels = StockLevel.objects.filter(product=product).order_by("id")
    return list(levels.values_list("on_hand", "allocated"))


def reservations(order):
    found = order.reservations.order_by("stock_level_id")
    return list(found.values_list("quantity", "status"))


class TestReserve:
    def test_holds_units_for_the_order(self):
        product = factories.ProductFactory(on_hand=5)

        reserve(order := make_order(), want(product, 3))

        assert stands(product) == [(5, 3)]
        assert reservations(order) == [(3, "held")]

    def test_takes_the_last_unit(self):
        product = factories.ProductFactory(on_hand=3)

        reserve(make_order(), want(product, 3))

        assert stands(product) == [(3, 3)]

    def test_refuses_when_short_and_changes_nothing(self):
        plenty = factories.ProductFactory(on_hand=9)
        few, none = factories.ProductFactory(on_hand=2), factories.ProductFactory(on_hand=0)
        reserve(make_order(), want(few, 1))

        with pytest.raises(InsufficientStockError) as caught:
            reserve(order := make_order(), want(plenty, 1), want(few, 2), want(none, 7))

        assert caught.value.details == {
            "unavailable_items": [
                {"sku": few.sku, "requested": 2, "available": 1},
                {"sku": none.sku, "requested": 7, "available": 0},
            ]
        }
        assert (stands(plenty), stands(few), stands(none)) == ([(9, 0)], [(2, 1)], [(0, 0)])
        assert reservations(order) == []

    def test_splits_a_line_over_buildings(self):
        product = factories.ProductFactory(on_hand=2)
        factories.receive(product, 3, warehouse=factories.WarehouseFactory(code="EAST"))

        reserve(order := make_order(), want(product, 4))

        assert stands(product) == [(2, 2), (3, 2)]
        assert reservations(order) == [(2, "held"), (2, "held")]

    def test_prefers_the_building_in_the_destinations_country(self):
        product = factories.ProductFactory(on_hand=5)
        berlin = factories.WarehouseFactory(code="BER", country="DE")
        factories.receive(product, 5, warehouse=berlin)

        reserve(make_order(), want(product, 1), country="DE")

        assert stands(product) == [(5, 0), (5, 1)]

    def test_leaves_a_closed_building_alone(self):
        product = factories.ProductFactory(on_hand=0)
        closed = factories.WarehouseFactory(code="OLD", is_active=False)
        factories.receive(product, 5, warehouse=closed)

        with pytest.raises(InsufficientStockError):
            reserve(make_order(), want(product, 1))

        assert stands(product) == [(0, 0), (5, 0)]

    def test_of_a_product_that_lies_nowhere_is_short(self):
        product = factories.ProductFactory(on_hand=0)
        StockLevel.objects.all().delete()

        with pytest.raises(InsufficientStockError):
            reserve(make_order(), want(product, 1))

    def test_twice_for_one_order_is_refused_by_the_table(self):
        product = factories.ProductFactory(on_hand=5)
        reserve(order := make_order(), want(product, 1))

        with pytest.raises(IntegrityError) as caught:
            reserve(order, want(product, 1))

        name = "reservation_one_per_order_and_stock_level"
        assert violated_constraint(caught.value) == name
        assert stands(product) == [(5, 1)]


class TestCommitReservation:
    def test_promises_for_good_without_touching_the_stock_row(self):
        product = factories.ProductFactory(on_hand=5)
        reserve(order := make_order(), want(product, 3))
        before = StockLevel.objects.values().get()

        stock.commit_reservation(order_id=order.pk)

        assert reservations(order) == [(3, "committed")]
        assert StockLevel.objects.values().get() == before

    def test_twice_is_as_once_and_never_revives_what_was_released(self):
        product = factories.ProductFactory(on_hand=5)
        reserve(kept := make_order(), want(product, 1))
        reserve(dead := make_order(), want(product, 1))
        stock.release(order_id=dead.pk)

        for order in (kept, kept, dead):
            stock.commit_reservation(order_id=order.pk)

        assert (reservations(kept), reservations(dead)) == ([(1, "committed")], [(1, "released")])


class TestRelease:
    @pytest.mark.parametrize("is_committed", [False, True])
    def test_makes_the_units_available_again_once_however_often(self, is_committed):
        product = factories.ProductFactory(on_hand=5)
        reserve(order := make_order(), want(product, 3))
        reserve(make_order(), want(product, 2))
        if is_committed:
            stock.commit_reservation(order_id=order.pk)

        for _ in range(3):
            stock.release(order_id=order.pk)

        assert stands(product) == [(5, 2)]
        assert reservations(order) == [(3, "released")]

    def test_gives_back_every_part_of_a_split(self):
        product = factories.ProductFactory(on_hand=2)
        factories.receive(product, 3, warehouse=factories.WarehouseFactory(code="EAST"))
        reserve(order := make_order(), want(product, 5))

        stock.release(order_id=order.pk)

        assert stands(product) == [(2, 0), (3, 0)]

    def test_of_an_order_without_reservations_does_nothing(self):
        product = factories.ProductFactory(on_hand=5)

        stock.release(order_id=make_order().pk)

        assert stands(product) == [(5, 0)]

    def test_of_what_was_shipped_gives_nothing_back(self):
        product = factories.ProductFactory(on_hand=5)
        reserve(order := make_order(), want(product, 3))
        stock.commit_reservation(order_id=order.pk)
        order.reservations.update(status=Reservation.Status.SHIPPED)

        stock.release(order_id=order.pk)

        assert stands(product) == [(5, 3)]
        assert reservations(order) == [(3, "shipped")]


class TestReceive:
    def test_makes_missing_levels_and_says_why(self):
        product = factories.ProductFactory(on_hand=1)
        place, other = factories.WarehouseFactory(), factories.WarehouseFactory(code="EAST")

        stock.receive(
            receipts=[
                Receipt(product_id=product.pk, warehouse_id=other.pk, quantity=7),
                Receipt(product_id=product.pk, warehouse_id=place.pk, quantity=2),
            ],
            reason="delivery 17",
        )

        assert stands(product) == [(3, 0), (7, 0)]
        moved = StockMovement.objects.filter(reason="delivery 17").order_by("stock_level_id")
        assert list(moved.values_list("kind", "quantity")) == [("receive", 2), ("receive", 7)]

    def test_of_one_place_leaves_the_others_alone(self):
        """Two products and two buildings make four places; two of them are meant."""
        first, second = (factories.ProductFactory(on_hand=1) for _ in range(2))
        main, east = factories.WarehouseFactory(), factories.WarehouseFactory(code="EAST")
        factories.receive(first, 1, warehouse=east)
        factories.receive(second, 1, warehouse=east)

        stock.receive(
            receipts=[
                Receipt(product_id=first.pk, warehouse_id=main.pk, quantity=5),
                Receipt(product_id=second.pk, warehouse_id=east.pk, quantity=6),
            ],
            reason="delivery",
        )

        assert sorted(stands(first)) == [(1, 0), (6, 0)]
        assert sorted(stands(second)) == [(1, 0), (7, 0)]

    def test_of_nothing_is_refused(self):
        product = factories.ProductFactory(on_hand=1)
        place = factories.WarehouseFactory()

        with pytest.raises(IntegrityError) as caught, transaction.atomic():
            stock.receive(
                receipts=[Receipt(product_id=product.pk, warehouse_id=place.pk, quantity=0)],
                reason="nothing",
            )

        assert violated_constraint(caught.value) == "stock_movement_moves_something"
        assert stands(product) == [(1, 0)]

    def test_of_less_than_what_is_promised_is_refused(self):
        """A negative receipt is nothing of ours; the row holds all the same."""
        product = factories.ProductFactory(on_hand=3)
        reserve(make_order(), want(product, 3))
        place = factories.WarehouseFactory()

        with pytest.raises(IntegrityError) as caught, transaction.atomic():
            stock.receive(
                receipts=[Receipt(product_id=product.pk, warehouse_id=place.pk, quantity=-1)],
                reason="lost",
            )

        assert violated_constraint(caught.value) == "stock_level_promised_within_on_hand"
        assert stands(product) == [(3, 3)]


VERBS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), st.integers(0, 4), st.integers(0, 4)),
        st.tuples(st.just("receive"), st.integers(0, 1), st.integers(1, 3)),
        st.tuples(st.just("commit"), st.integers(0, 9), st.none()),
        st.tuples(st.just("release"), st.integers(0, 9), st.none()),
    ),
    max_size=10,
)


class TestWhateverTheSequenceOfVerbs:
    @settings(
        max_examples=25,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(VERBS)
    def test_no_unit_is_promised_twice_and_every_unit_has_a_reason(self, verbs):
        with transaction.atomic():
            products = [factories.ProductFactory(on_hand=2) for _ in range(2)]
            places = [factories.WarehouseFactory(), factories.WarehouseFactory(code="EAST")]
            orders = []
            for verb in verbs:
                run(verb, products, places, orders)
                assert_accounted_for()
            transaction.set_rollback(True)


def run(verb, products, places, orders):
    match verb:
        case ("reserve", first, second):
            quantities = zip(products, (first, second), strict=True)
            wanted = [want(product, quantity) for product, quantity in quantities if quantity]
            available = [sum(h - a for h, a in stands(product)) for product in products]
            fits = first <= available[0] and second <= available[1]
            orders.append(make_order())
            try:
                reserve(orders[-1], *wanted)
                assert fits
            except InsufficientStockError:
                assert not fits
        case ("receive", place, quantity):
            for product in products:
                factories.receive(product, quantity, warehouse=places[place])
        case ("commit", number, _) if orders:
            stock.commit_reservation(order_id=orders[number % len(orders)].pk)
        case ("release", number, _) if orders:
            stock.release(order_id=orders[number % len(orders)].pk)


def assert_accounted_for():
    for level in StockLevel.objects.all():
        assert 0 <= level.allocated <= level.on_hand
        assert level.on_hand == total(level.movements)
        is_open = Q(status__in=["held", "committed"])
        assert level.allocated == total(level.reservations.filter(is_open))


def total(rows):
    return rows.aggregate(total=Sum("quantity"))["total"] or 0


@pytest.mark.concurrency
@pytest.mark.django_db(transaction=True)
class TestAtTheSameTime:
    def test_twenty_orders_for_ten_units_in_any_order_of_lines_take_exactly_ten(self):
        left, right = (factories.ProductFactory(on_hand=10) for _ in range(2))
        orders = [make_order() for _ in range(20)]
        barrier = threading.Barrier(len(orders))

        def buy(number, order):
            pair = (left, right) if number % 2 else (right, left)
            try:
                barrier.wait(timeout=30)
                reserve(order, *[want(product, 1) for product in pair])
            except InsufficientStockError:
                return "short"
            finally:
                connection.close()
            return "reserved"

        with ThreadPoolExecutor(max_workers=len(orders)) as pool:
            outcomes = list(pool.map(buy, range(len(orders)), orders))

        assert sorted(outcomes) == ["reserved"] * 10 + ["short"] * 10
        assert (stands(left), stands(right)) == ([(10, 10)], [(10, 10)])

    def test_releasing_once_from_eight_threads_gives_back_once(self):
        product = factories.ProductFactory(on_hand=5)
        reserve(order := make_order(), want(product, 3))
        reserve(make_order(), want(product, 2))
        barrier = threading.Barrier(8)

        def release(_number):
            try:
                barrier.wait(timeout=30)
                with transaction.atomic():
                    stock.release(order_id=order.pk)
            finally:
                connection.close()

        with ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(release, range(8)))

        assert stands(product) == [(5, 2)]
