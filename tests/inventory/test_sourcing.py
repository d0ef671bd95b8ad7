"""Where units come from: by hand first, then what no stock and no order may break."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from inventory.sourcing import Allocation, Available, Shortage, Wanted, find_shortages, plan

EXAMPLES = settings(max_examples=80, deadline=None)


def want(product_id, quantity):
    return Wanted(product_id=product_id, sku=f"SKU-{product_id}", quantity=quantity)


def shelf(level_id, product_id, quantity, *, warehouse=1, country="US", priority=100):
    return Available(
        stock_level_id=level_id,
        product_id=product_id,
        warehouse_id=warehouse,
        warehouse_country=country,
        warehouse_priority=priority,
        quantity=quantity,
    )


def take(level_id, quantity):
    return Allocation(stock_level_id=level_id, quantity=quantity)


class TestFindShortages:
    def test_names_every_line_that_is_short_and_how_far_it_could_be_filled(self):
        stock = [shelf(1, 1, 2), shelf(2, 1, 3, warehouse=2), shelf(3, 2, 0)]
        wanted = [want(1, 6), want(2, 1), want(3, 1)]

        assert find_shortages(wanted=wanted, stock=stock) == [
            Shortage(sku="SKU-1", requested=6, available=5),
            Shortage(sku="SKU-2", requested=1, available=0),
            Shortage(sku="SKU-3", requested=1, available=0),
        ]

    def test_counts_all_buildings_together(self):
        stock = [shelf(1, 1, 2), shelf(2, 1, 3, warehouse=2)]

        assert find_shortages(wanted=[want(1, 5)], stock=stock) == []


class TestPlan:
    def test_takes_all_from_one_building_where_the_preferred_one_lacks_a_line(self):
        stock = [
            shelf(1, 1, 5, warehouse=1, priority=1),
            shelf(2, 2, 0, warehouse=1, priority=1),
            shelf(3, 1, 5, warehouse=2, priority=2),
            shelf(4, 2, 5, warehouse=2, priority=2),
        ]

        allocations = plan(wanted=[want(1, 1), want(2, 1)], stock=stock, country="US")

        assert allocations == [take(3, 1), take(4, 1)]

    def test_prefers_the_destinations_country_then_priority_then_id(self):
        abroad = shelf(1, 1, 5, warehouse=1, country="DE", priority=1)
        late = shelf(2, 1, 5, warehouse=2, priority=9)
        early = shelf(3, 1, 5, warehouse=3, priority=5)
        same = shelf(4, 1, 5, warehouse=4, priority=5)

        def chosen(country, *stock):
            return plan(wanted=[want(1, 1)], stock=stock, country=country)

        assert chosen("US", abroad, late, same, early) == [take(3, 1)]
        assert chosen("DE", abroad, late, same, early) == [take(1, 1)]
        assert chosen("FR", late, same, abroad) == [take(1, 1)]

    def test_splits_a_line_where_no_building_has_enough_best_building_first(self):
        stock = [
            shelf(1, 1, 4, warehouse=1, priority=9),
            shelf(2, 1, 3, warehouse=2, priority=1),
        ]

        assert plan(wanted=[want(1, 5)], stock=stock, country="US") == [take(1, 2), take(2, 3)]


@st.composite
def stocks(draw):
    """Some buildings with some of the products; at least one unit lies somewhere."""
    products = draw(st.integers(1, 4))
    levels = [(1, 1, "US", 2, draw(st.integers(1, 6)))]
    for warehouse in range(1, draw(st.integers(1, 4)) + 1):
        country, priority = ("US", 2) if warehouse == 1 else draw(st.tuples(COUNTRIES, PRIORITIES))
        levels += [
            (product, warehouse, country, priority, draw(st.integers(0, 6)))
            for product in range(1 if warehouse > 1 else 2, products + 1)
            if draw(st.booleans())
        ]
    ids = draw(st.permutations(range(1, len(levels) + 1)))
    stock = [
        shelf(level_id, product, quantity, warehouse=warehouse, country=country, priority=priority)
        for level_id, (product, warehouse, country, priority, quantity) in zip(
            ids, levels, strict=True
        )
    ]
    return draw(st.permutations(stock))


COUNTRIES = st.sampled_from(["US", "DE"])
PRIORITIES = st.integers(1, 3)


@st.composite
def stock_and_order(draw):
    """An order over anything, whether it can be filled or not."""
    lines = draw(st.dictionaries(st.integers(1, 4), st.integers(1, 8), min_size=1))
    return draw(stocks()), [want(product, lines[product]) for product in sorted(lines)]


@st.composite
def stock_and_order_within(draw, *, one_building):
    """An order that all buildings together can fill, or that one of them can alone."""
    stock = draw(stocks())
    chosen = draw(st.sampled_from([level for level in stock if level.quantity]))
    there = in_all(
        [level for level in stock if level.warehouse_id == chosen.warehouse_id or not one_building]
    )
    products = draw(st.sets(st.sampled_from([p for p in sorted(there) if there[p]]), min_size=1))
    return stock, [want(p, draw(st.integers(1, there[p]))) for p in sorted(products)]


def in_all(stock):
    total = Counter()
    for level in stock:
        total[level.product_id] += level.quantity
    return total


class TestWhateverTheStock:
    @EXAMPLES
    @given(stock_and_order())
    def test_a_line_is_short_exactly_if_all_buildings_together_lack_it(self, case):
        stock, wanted = case
        there = in_all(stock)

        short = find_shortages(wanted=wanted, stock=stock)

        assert [(s.sku, s.requested, s.available) for s in short] == [
            (line.sku, line.quantity, there[line.product_id])
            for line in wanted
            if line.quantity > there[line.product_id]
        ]

    @EXAMPLES
    @given(stock_and_order_within(one_building=False), st.sampled_from(["US", "DE", "FR"]))
    def test_an_order_that_can_be_filled_is_filled_exactly(self, case, country):
        stock, wanted = case
        assert find_shortages(wanted=wanted, stock=stock) == []
        by_id = {level.stock_level_id: level for level in stock}

        allocations = plan(wanted=wanted, stock=stock, country=country)

        ids = [allocation.stock_level_id for allocation in allocations]
        assert ids == sorted(set(ids))  # lock order; no row twice
        taken = Counter()
        for allocation in allocations:
            level = by_id[allocation.stock_level_id]
            assert 0 < allocation.quantity <= level.quantity
            taken[level.product_id] += allocation.quantity
        assert taken == {line.product_id: line.quantity for line in wanted}

    @EXAMPLES
    @given(stock_and_order_within(one_building=True), st.sampled_from(["US", "DE", "FR"]))
    def test_one_building_does_it_if_any_can_and_the_best_of_those(self, case, country):
        stock, wanted = case
        there = {(level.warehouse_id, level.product_id): level for level in stock}
        able = [
            (level.warehouse_country != country, level.warehouse_priority, level.warehouse_id)
            for level in stock
            if all(
                (level.warehouse_id, line.product_id) in there
                and there[level.warehouse_id, line.product_id].quantity >= line.quantity
                for line in wanted
            )
        ]
        assert able
        by_id = {level.stock_level_id: level for level in stock}

        allocations = plan(wanted=wanted, stock=stock, country=country)

        used = {by_id[allocation.stock_level_id].warehouse_id for allocation in allocations}
        assert used == {min(able)[2]}
