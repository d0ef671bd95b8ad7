"""What staff does with stock is done once, whole or not at all, and never breaks a promise."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.models import AuditLog
from config.kernel.errors import NotFoundError, ValidationFailedError
from inventory import documents
from inventory import services as stock
from inventory.documents import MOST_UNITS, Kind, Line
from inventory.errors import (
    InsufficientStockError,
    StockChangeRefusedError,
    StockRequestReusedError,
)
from inventory.models import StockDocument, StockLevel, StockMovement
from tests import factories
from tests.inventory.test_services import make_order, reserve, stands, total, want

pytestmark = pytest.mark.django_db


@pytest.fixture
def main():
    return factories.WarehouseFactory()


@pytest.fixture
def east():
    return factories.WarehouseFactory(code="EAST")


@pytest.fixture
def apples(main):
    """Ten on hand in MAIN, four of them promised."""
    product = factories.ProductFactory(on_hand=10)
    reserve(make_order(), want(product, 4))
    return product


def at(product, warehouse):
    return {"product_id": product.pk, "warehouse_id": warehouse.pk}


def moved(document):
    found = document.movements.order_by("stock_level__warehouse__code")
    return list(found.values_list("stock_level__warehouse__code", "kind", "quantity", "reason"))


def audited():
    rows = AuditLog.objects.filter(entity_type="stock_level").order_by("pk")
    return [(row.event_type, row.entity_id, row.data) for row in rows]


def nothing_happened():
    return not StockDocument.objects.exists() and not audited()


class TestReceive:
    def test_adds_units_and_leaves_document_movement_and_audit_row(self, apples, main):
        user = factories.CustomerFactory()

        done = documents.receive(
            **at(apples, main), quantity=5, reason=" delivery 17 ", user_id=user.pk, request_key="a"
        )

        assert stands(apples) == [(15, 4)]
        assert (done.kind, done.reason, done.user_id) == ("receive", "delivery 17", user.pk)
        assert moved(done) == [("MAIN", "receive", 5, "delivery 17")]
        assert done.movements.get().user_id == user.pk
        told = {
            "document": done.pk,
            "delta": 5,
            "before": {"on_hand": 10},
            "after": {"on_hand": 15},
        }
        assert audited() == [("STOCK_RECEIVED", apples.stock_levels.get().pk, told)]

    def test_makes_a_place_for_what_never_lay_there(self, apples, east):
        documents.receive(**at(apples, east), quantity=5, reason="delivery")

        assert stands(apples) == [(10, 4), (5, 0)]

    @pytest.mark.parametrize("quantity", [0, -1, MOST_UNITS + 1])
    def test_takes_no_quantity_that_makes_no_sense(self, apples, main, quantity):
        with pytest.raises(ValidationFailedError) as caught:
            documents.receive(**at(apples, main), quantity=quantity, reason="delivery")

        assert caught.value.details.keys() == {"quantity"}
        assert nothing_happened()

    @pytest.mark.parametrize("reason", ["", "  ", "x" * 201, "a\nb", "4242 4242 4242 4242"])
    def test_wants_a_reason(self, apples, main, reason):
        with pytest.raises(ValidationFailedError) as caught:
            documents.receive(**at(apples, main), quantity=1, reason=reason)

        assert caught.value.details.keys() == {"reason"}
        assert nothing_happened()

    def test_stops_at_what_a_place_may_hold(self, apples, main):
        with pytest.raises(StockChangeRefusedError, match="at most"):
            documents.receive(**at(apples, main), quantity=MOST_UNITS, reason="typing error")

        assert stands(apples) == [(10, 4)]
        assert nothing_happened()


class TestAdjust:
    @pytest.mark.parametrize(("delta", "on_hand"), [(3, 13), (-6, 4)])
    def test_puts_right_what_is_on_hand(self, apples, main, delta, on_hand):
        done = documents.adjust(**at(apples, main), delta=delta, reason="broken")

        assert stands(apples) == [(on_hand, 4)]
        assert moved(done) == [("MAIN", "adjust", delta, "broken")]
        assert [event for event, *_ in audited()] == ["STOCK_ADJUSTED"]

    def test_never_takes_what_is_promised(self, apples, main):
        with pytest.raises(StockChangeRefusedError) as caught:
            documents.adjust(**at(apples, main), delta=-7, reason="broken")

        assert caught.value.message == (
            "10 are on hand, 4 of them promised to orders: at most 6 can be taken away."
        )
        assert stands(apples) == [(10, 4)]
        assert nothing_happened()

    def test_by_nothing_is_refused(self, apples, main):
        with pytest.raises(ValidationFailedError):
            documents.adjust(**at(apples, main), delta=0, reason="broken")

    def test_takes_nothing_from_where_nothing_ever_lay(self, apples, east):
        with pytest.raises(StockChangeRefusedError, match="0 are on hand"):
            documents.adjust(**at(apples, east), delta=-1, reason="broken")

        assert not StockLevel.objects.filter(warehouse=east).exists()


class TestCount:
    @pytest.mark.parametrize(("counted", "difference"), [(12, 2), (4, -6), (10, 0)])
    def test_writes_the_difference_none_included(self, apples, main, counted, difference):
        done = documents.count(**at(apples, main), counted=counted, reason="stock-take")

        assert stands(apples) == [(counted, 4)]
        assert moved(done) == [("MAIN", "count", difference, "stock-take")]
        ((event, _, told),) = audited()
        assert (event, told["delta"]) == ("STOCK_COUNTED", difference)
        assert (told["before"], told["after"]) == ({"on_hand": 10}, {"on_hand": counted})

    def test_below_what_is_promised_says_how_many_are(self, apples, main):
        with pytest.raises(StockChangeRefusedError, match="3 were counted, but 4 are promised"):
            documents.count(**at(apples, main), counted=3, reason="stock-take")

        assert stands(apples) == [(10, 4)]
        assert nothing_happened()

    def test_is_worth_nothing_if_stock_has_moved_meanwhile(self, apples, main):
        documents.receive(**at(apples, main), quantity=1, reason="delivery")

        with pytest.raises(StockChangeRefusedError, match=r"10 were .* 11 are now.*count again"):
            documents.count(**at(apples, main), counted=10, seen_on_hand=10, reason="stock-take")

        assert stands(apples) == [(11, 4)]

    def test_of_an_empty_place_is_kept_too(self, apples, east):
        documents.count(**at(apples, east), counted=0, seen_on_hand=0, reason="stock-take")

        assert stands(apples) == [(10, 4), (0, 0)]

    @pytest.mark.parametrize("counted", [-1, MOST_UNITS + 1])
    def test_takes_no_quantity_that_makes_no_sense(self, apples, main, counted):
        with pytest.raises(ValidationFailedError):
            documents.count(**at(apples, main), counted=counted, reason="stock-take")


class TestTransfer:
    def carry(self, product, source, target, quantity, **more):
        return documents.transfer(
            product_id=product.pk,
            from_warehouse_id=source.pk,
            to_warehouse_id=target.pk,
            quantity=quantity,
            reason="closer to customers",
            **more,
        )

    def test_is_two_movements_of_one_document_that_add_up_to_zero(self, apples, main, east):
        done = self.carry(apples, main, east, 6)

        assert stands(apples) == [(4, 4), (6, 0)]
        assert moved(done) == [
            ("EAST", "transfer", 6, "closer to customers"),
            ("MAIN", "transfer", -6, "closer to customers"),
        ]
        assert [(event, told["delta"]) for event, _, told in audited()] == [
            ("STOCK_TRANSFERRED", -6),
            ("STOCK_TRANSFERRED", 6),
        ]

    def test_leaves_what_is_promised_where_it_is(self, apples, main, east):
        with pytest.raises(StockChangeRefusedError, match="at most 6"):
            self.carry(apples, main, east, 7)

        assert stands(apples) == [(10, 4)]
        assert nothing_happened()

    @pytest.mark.parametrize("quantity", [0, -1, MOST_UNITS + 1])
    def test_takes_no_quantity_that_makes_no_sense(self, apples, main, east, quantity):
        with pytest.raises(ValidationFailedError):
            self.carry(apples, main, east, quantity)

    def test_to_the_same_place_is_none(self, apples, main):
        with pytest.raises(ValidationFailedError):
            self.carry(apples, main, main, 1)


class TestTheSameKeyAgain:
    def test_is_the_same_document(self, apples, main):
        first, again = (
            documents.receive(**at(apples, main), quantity=5, reason="delivery", request_key="k")
            for _ in range(2)
        )

        assert again.pk == first.pk
        assert stands(apples) == [(15, 4)]
        assert len(audited()) == 1

    def test_is_the_same_document_also_once_it_would_be_refused(self, apples, main):
        for _ in range(2):
            documents.adjust(**at(apples, main), delta=-6, reason="broken", request_key="k")

        assert stands(apples) == [(4, 4)]

    def test_of_a_count_without_a_difference_counts_once_whatever_came_since(self, apples, main):
        def count():
            documents.count(
                **at(apples, main),
                counted=10,
                seen_on_hand=10,
                reason="stock-take",
                request_key="k",
            )

        count()
        documents.receive(**at(apples, main), quantity=5, reason="delivery")
        count()

        assert stands(apples) == [(15, 4)]

    def test_with_other_content_is_refused(self, apples, main):
        documents.receive(**at(apples, main), quantity=5, reason="delivery", request_key="k")

        with pytest.raises(StockRequestReusedError):
            documents.receive(**at(apples, main), quantity=6, reason="delivery", request_key="k")
        with pytest.raises(StockRequestReusedError):
            documents.adjust(**at(apples, main), delta=5, reason="delivery", request_key="k")

        assert stands(apples) == [(15, 4)]

    def test_may_be_tried_again_after_a_refusal(self, apples, main):
        with pytest.raises(StockChangeRefusedError):
            documents.adjust(**at(apples, main), delta=-7, reason="broken", request_key="k")
        documents.receive(**at(apples, main), quantity=1, reason="delivery")

        documents.adjust(**at(apples, main), delta=-7, reason="broken", request_key="k")

        assert stands(apples) == [(4, 4)]

    @pytest.mark.parametrize("key", ["", "k" * 256])
    def test_has_1_to_255_characters(self, apples, main, key):
        with pytest.raises(ValidationFailedError):
            documents.receive(**at(apples, main), quantity=1, reason="delivery", request_key=key)


class TestManyLines:
    def lines(self, *wanted):
        return [
            Line(**at(product, place), kind=kind, quantity=quantity, reason="file")
            for product, place, kind, quantity in wanted
        ]

    def test_are_one_document(self, apples, main, east):
        pears = factories.ProductFactory(on_hand=3)
        wanted = self.lines(
            (apples, main, Kind.ADJUST, -1),
            (apples, east, Kind.RECEIVE, 2),
            (pears, main, Kind.COUNT, 7),
        )

        done = documents.write_lines(lines=wanted, reason="Monday's file")

        assert (stands(apples), stands(pears)) == ([(9, 4), (2, 0)], [(7, 0)])
        assert (done.kind, done.movements.count()) == ("file", 3)
        assert len(audited()) == 3

    def test_are_all_refused_with_one(self, apples, main, east):
        wanted = self.lines((apples, east, Kind.RECEIVE, 2), (apples, main, Kind.ADJUST, -7))

        with pytest.raises(StockChangeRefusedError):
            documents.write_lines(lines=wanted, reason="file")

        assert stands(apples) == [(10, 4)]
        assert nothing_happened()

    def test_previewed_write_nothing(self, apples, main, east):
        wanted = self.lines((apples, east, Kind.RECEIVE, 2), (apples, main, Kind.COUNT, 3))

        east_change, main_change = documents.preview(lines=wanted)

        assert (east_change.on_hand, east_change.after, east_change.problem) == (0, 2, "")
        assert (main_change.on_hand, main_change.after, main_change.allocated) == (10, 3, 4)
        assert "4 are promised" in main_change.problem
        assert stands(apples) == [(10, 4)]
        assert nothing_happened()

    def test_take_few_statements(self, main, django_assert_max_num_queries):
        products = [factories.ProductFactory() for _ in range(30)]
        wanted = self.lines(*[(product, main, Kind.RECEIVE, 1) for product in products])

        with django_assert_max_num_queries(8):
            documents.write_lines(lines=wanted, reason="file")


class TestLowStockThreshold:
    def test_is_set_once_and_audited_with_before_and_after(self, apples):
        level = apples.stock_levels.get()

        for threshold in (5, 5, None):
            documents.set_low_stock_threshold(stock_level_id=level.pk, threshold=threshold)

        level.refresh_from_db()
        assert level.low_stock_threshold is None
        assert audited() == [
            ("LOW_STOCK_THRESHOLD_SET", level.pk, {"before": None, "after": 5}),
            ("LOW_STOCK_THRESHOLD_SET", level.pk, {"before": 5, "after": None}),
        ]

    @pytest.mark.parametrize("threshold", [-1, MOST_UNITS + 1])
    def test_makes_sense(self, apples, threshold):
        with pytest.raises(ValidationFailedError):
            documents.set_low_stock_threshold(
                stock_level_id=apples.stock_levels.get().pk, threshold=threshold
            )

    def test_of_no_level_is_refused(self):
        with pytest.raises(NotFoundError):
            documents.set_low_stock_threshold(stock_level_id=0, threshold=1)


VERBS = st.lists(
    st.tuples(
        st.sampled_from(["receive", "adjust", "count", "transfer", "reserve"]),
        st.integers(0, 1),
        st.integers(-3, 6),
    ),
    max_size=12,
)


class TestWhateverTheSequence:
    @settings(
        max_examples=40,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(VERBS)
    def test_every_unit_has_a_reason_and_no_promise_is_broken(self, verbs):
        product = factories.ProductFactory(on_hand=3)
        places = [factories.WarehouseFactory(), factories.WarehouseFactory(code="EAST")]
        for verb, place, number in verbs:
            self.run(verb, product, places, place, number)
            for level in product.stock_levels.all():
                assert 0 <= level.allocated <= level.on_hand
                assert level.on_hand == total(level.movements)
            assert total(StockMovement.objects.filter(kind="transfer")) == 0

    def run(self, verb, product, places, place, number):
        where = at(product, places[place])
        try:
            match verb:
                case "receive":
                    documents.receive(**where, quantity=number, reason="x")
                case "adjust":
                    documents.adjust(**where, delta=number, reason="x")
                case "count":
                    documents.count(**where, counted=number, reason="x")
                case "transfer":
                    documents.transfer(
                        product_id=product.pk,
                        from_warehouse_id=places[place].pk,
                        to_warehouse_id=places[1 - place].pk,
                        quantity=number,
                        reason="x",
                    )
                case "reserve" if number > 0:
                    reserve(make_order(), want(product, number))
        except (ValidationFailedError, StockChangeRefusedError, InsufficientStockError):
            pass


@pytest.mark.concurrency
@pytest.mark.django_db(transaction=True)
class TestAtTheSameTime:
    def at_once(self, *calls):
        barrier = threading.Barrier(len(calls))

        def run(call):
            try:
                barrier.wait(timeout=30)
                return call()
            except (StockChangeRefusedError, InsufficientStockError) as exc:
                return type(exc).__name__
            finally:
                connection.close()

        with ThreadPoolExecutor(max_workers=len(calls)) as pool:
            return [future.result(timeout=60) for future in [pool.submit(run, c) for c in calls]]

    def test_one_form_sent_eight_times_counts_once(self):
        product, main = factories.ProductFactory(on_hand=10), factories.WarehouseFactory()

        def send():
            return documents.receive(
                **at(product, main), quantity=5, reason="delivery", request_key="k"
            ).pk

        assert len(set(self.at_once(*[send] * 8))) == 1
        assert stands(product) == [(15, 0)]
        assert len(audited()) == 1

    def test_transfers_there_and_back_do_not_deadlock_and_lose_nothing(self):
        product, main = factories.ProductFactory(on_hand=10), factories.WarehouseFactory()
        east = factories.WarehouseFactory(code="EAST")
        with transaction.atomic():
            factories.receive(product, 10, warehouse=east)

        def carry(source, target):
            return lambda: (
                documents.transfer(
                    product_id=product.pk,
                    from_warehouse_id=source.pk,
                    to_warehouse_id=target.pk,
                    quantity=1,
                    reason="there and back",
                ).kind
            )

        ways = itertools.islice(itertools.cycle([carry(main, east), carry(east, main)]), 12)

        assert Counter(self.at_once(*ways)) == {"transfer": 12}
        assert stands(product) == [(10, 0), (10, 0)]

    def test_orders_and_an_adjustment_race_for_the_last_units_and_nothing_is_oversold(self):
        product, main = factories.ProductFactory(on_hand=5), factories.WarehouseFactory()
        orders = [make_order() for _ in range(6)]

        def buy(order):
            def call():
                with transaction.atomic():
                    stock.reserve(order_id=order.pk, wanted=[want(product, 1)], country="US")
                return "reserved"

            return call

        def lose():
            documents.adjust(**at(product, main), delta=-3, reason="broken")
            return "adjusted"

        outcomes = Counter(self.at_once(lose, *[buy(order) for order in orders]))

        ((on_hand, allocated),) = stands(product)
        assert allocated == outcomes["reserved"]
        assert on_hand == 5 - 3 * outcomes["adjusted"]
        assert allocated == on_hand  # whoever came too late was told so
