"""A scheduled price begins and ends once, in its order, and never undoes what a person did."""

from __future__ import annotations

import datetime as dt
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from django.conf import settings
from django.db import connection, transaction

from audit.models import AuditLog
from config.kernel.errors import NotFoundError, ValidationFailedError
from inventory import scheduled_prices, tasks
from inventory.errors import PriceScheduleOverError, PriceScheduleOverlapsError
from inventory.models import Price, ScheduledPrice
from tests import factories

pytestmark = pytest.mark.django_db
NOON = dt.datetime(2030, 5, 1, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)


def at(hours):
    return NOON + HOUR * hours


@pytest.fixture
def tea():
    """Costs 20.00 USD and nothing in euros."""
    return factories.ProductFactory(sku="TEA", price="20.00")


def plan(product, begins, ends=None, *, amount="15.00", currency="USD", **more):
    """Planned at noon, begins and ends so many hours later."""
    return scheduled_prices.schedule_price(
        product_id=product.pk,
        currency=currency,
        amount=Decimal(amount),
        starts_at=at(begins),
        ends_at=None if ends is None else at(ends),
        now=NOON,
        **more,
    )


def come_by(hours):
    return scheduled_prices.apply_due_prices(now=at(hours))


def cost(product, currency="USD"):
    return (
        Price.objects.filter(product=product, currency=currency)
        .values_list("amount", flat=True)
        .first()
    )


def set_by_hand(product, amount):
    Price.objects.filter(product=product).update(amount=amount)


def status(scheduled):
    scheduled.refresh_from_db()
    return scheduled.status


def audited():
    rows = AuditLog.objects.filter(entity_type="scheduled_price").order_by("pk")
    return [row.event_type for row in rows]


class TestForAWhile:
    def test_begins_and_ends_at_its_moments_and_the_former_price_returns(self, tea):
        offer = plan(tea, 1, 3)

        seen = []
        for hours in (0.99, 1, 2, 2.99, 3, 4):
            come_by(hours)
            seen.append((str(cost(tea)), status(offer)))

        assert seen == [
            ("20.00", "waiting"),
            ("15.00", "running"),
            ("15.00", "running"),
            ("15.00", "running"),
            ("20.00", "done"),
            ("20.00", "done"),
        ]
        assert (offer.applied_at, offer.ended_at) == (at(1), at(3))
        assert audited() == [
            "PRICE_SCHEDULED",
            "SCHEDULED_PRICE_APPLIED",
            "SCHEDULED_PRICE_ENDED",
        ]
        begun = AuditLog.objects.get(event_type="SCHEDULED_PRICE_APPLIED").data
        assert (begun["before"], begun["after"]) == ({"amount": "20.00"}, {"amount": "15.00"})

    def test_leaves_a_price_alone_that_was_changed_by_hand_meanwhile(self, tea):
        offer = plan(tea, 1, 3)
        come_by(1)
        set_by_hand(tea, 18)

        come_by(3)

        assert (cost(tea), status(offer)) == (18, "overridden")

    def test_returns_to_a_price_that_was_changed_by_hand_before(self, tea):
        plan(tea, 1, 3)
        set_by_hand(tea, 18)
        come_by(1)

        come_by(3)

        assert cost(tea) == 18

    def test_in_a_currency_without_a_price_leaves_none_behind(self, tea):
        plan(tea, 1, 3, currency="EUR", amount="14.00")
        come_by(1)
        assert (cost(tea, "EUR"), cost(tea)) == (14, 20)

        come_by(3)

        assert (cost(tea, "EUR"), cost(tea)) == (None, 20)

    def test_stays_over_if_the_price_was_removed_by_hand(self, tea):
        offer = plan(tea, 1, 3)
        come_by(1)
        Price.objects.all().delete()

        come_by(3)

        assert (cost(tea), status(offer)) == (None, "overridden")

    def test_begins_late_if_nobody_came_by_in_time(self, tea):
        offer = plan(tea, 1, 3)

        come_by(2.5)

        assert (cost(tea), status(offer)) == (15, "running")

    def test_never_begins_if_nobody_came_by_until_it_was_over(self, tea):
        offer = plan(tea, 1, 3)

        assert come_by(3) == 1

        assert (cost(tea), status(offer)) == (20, "missed")
        assert audited() == ["PRICE_SCHEDULED", "SCHEDULED_PRICE_MISSED"]

    def test_ends_before_the_next_one_begins(self, tea):
        plan(tea, 1, 2, amount="15.00")
        plan(tea, 2, 3, amount="12.00")
        come_by(1)

        assert come_by(2) == 2
        assert cost(tea) == 12
        come_by(3)

        assert cost(tea) == 20

    def test_that_is_missed_is_in_nobodys_way(self, tea):
        plan(tea, 1, 2, amount="15.00")
        plan(tea, 2, 4, amount="12.00")

        come_by(3)
        come_by(4)

        assert cost(tea) == 20
        statuses = ScheduledPrice.objects.order_by("starts_at").values_list("status", flat=True)
        assert list(statuses) == ["missed", "done"]


class TestForGood:
    def test_changes_the_price_once(self, tea):
        rise = plan(tea, 1, amount="25.00")

        assert [come_by(1), come_by(2)] == [1, 0]

        assert (cost(tea), status(rise)) == (25, "done")

    def test_happens_late_rather_than_never_and_in_its_order(self, tea):
        plan(tea, 2, amount="30.00")
        plan(tea, 1, amount="25.00")

        come_by(48)

        assert cost(tea) == 30
        begun = AuditLog.objects.filter(event_type="SCHEDULED_PRICE_APPLIED").order_by("pk")
        assert [row.data["after"]["amount"] for row in begun] == ["25.00", "30.00"]

    def test_may_make_a_first_price(self, tea):
        plan(tea, 1, currency="JPY", amount="1999")

        come_by(1)

        assert cost(tea, "JPY") == 1999

    def test_may_follow_the_end_of_a_while(self, tea):
        plan(tea, 1, 2, amount="15.00")
        plan(tea, 2, amount="25.00")

        come_by(1)
        come_by(2)

        assert cost(tea) == 25


class TestPlanning:
    @pytest.mark.parametrize(
        ("first", "second"), [((1, 3), (2, 4)), ((1, 3), (2, None)), ((2, None), (2, 4))]
    )
    def test_of_what_overlaps_is_refused(self, tea, first, second):
        plan(tea, *first)

        with pytest.raises(PriceScheduleOverlapsError):
            plan(tea, *second)

        assert ScheduledPrice.objects.count() == 1
        assert audited() == ["PRICE_SCHEDULED"]

    def test_sent_twice_is_refused_the_second_time(self, tea):
        plan(tea, 1)

        with pytest.raises(PriceScheduleOverlapsError):
            plan(tea, 1)

    def test_of_other_products_and_currencies_is_in_nobodys_way(self, tea):
        plan(tea, 1, 3)
        plan(tea, 1, 3, currency="EUR")
        plan(factories.ProductFactory(), 1, 3)

        assert ScheduledPrice.objects.count() == 3

    def test_after_a_cancelled_one_is_free(self, tea):
        first = plan(tea, 1, 3)
        scheduled_prices.stop_scheduled_price(scheduled_price_id=first.pk, now=NOON)

        plan(tea, 1, 3)

        assert come_by(1) == 1

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"begins": 0}, "starts_at"),
            ({"begins": -1}, "starts_at"),
            ({"ends": 1}, "ends_at"),
            ({"amount": "-1"}, "amount"),
            ({"amount": "0.001"}, "amount"),
            ({"amount": "NaN"}, "amount"),
            ({"amount": "10000000"}, "amount"),
            ({"amount": "19.99", "currency": "JPY"}, "amount"),
            ({"currency": "usd"}, "currency"),
            ({"currency": "BHD"}, "currency"),
        ],
    )
    def test_of_what_makes_no_sense_is_refused(self, tea, changes, field):
        with pytest.raises(ValidationFailedError) as caught:
            plan(tea, **{"begins": 1, **changes})

        assert caught.value.details.keys() == {field}
        assert not ScheduledPrice.objects.exists()

    def test_of_no_product_is_refused(self, tea):
        tea.pk += 1_000

        with pytest.raises(NotFoundError):
            plan(tea, 1)

    def test_notes_who_did_it(self, tea):
        user = factories.CustomerFactory()

        assert plan(tea, 1, user_id=user.pk).created_by == user


class TestStopping:
    def stop(self, scheduled, hours):
        return scheduled_prices.stop_scheduled_price(scheduled_price_id=scheduled.pk, now=at(hours))

    def test_one_that_waits_cancels_it_once(self, tea):
        offer = plan(tea, 1, 3)

        for _ in range(2):
            self.stop(offer, 0.5)

        assert (come_by(1), cost(tea), status(offer)) == (0, 20, "cancelled")
        assert audited() == ["PRICE_SCHEDULED", "SCHEDULED_PRICE_CANCELLED"]

    def test_one_that_runs_ends_it_at_once(self, tea):
        offer = plan(tea, 1, 3)
        come_by(1)

        self.stop(offer, 2)

        assert (cost(tea), status(offer), offer.ended_at) == (20, "done", at(2))
        assert come_by(3) == 0

    @pytest.mark.parametrize("window", [(1,), (1, 2)])
    def test_one_that_is_over_is_refused(self, tea, window):
        offer = plan(tea, *window)
        come_by(1)
        come_by(2)

        with pytest.raises(PriceScheduleOverError):
            self.stop(offer, 2)

    def test_none_is_refused(self, tea):
        with pytest.raises(NotFoundError):
            scheduled_prices.stop_scheduled_price(scheduled_price_id=0, now=NOON)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("begins", [1, 2])
def test_one_whose_price_is_locked_waits_and_the_others_do_not(tea, begins):
    cup = factories.ProductFactory(sku="CUP", price="7.00")
    plan(tea, begins)
    plan(cup, 3 - begins)
    locked, go_on = threading.Event(), threading.Event()

    def imports():
        try:
            with transaction.atomic():
                list(Price.objects.select_for_update().filter(product=tea))
                locked.set()
                assert go_on.wait(20)
        finally:
            connection.close()

    with ThreadPoolExecutor(max_workers=1) as pool:
        running = pool.submit(imports)
        assert locked.wait(20)
        try:
            done = come_by(3)
        finally:
            go_on.set()
        running.result(20)

    assert (done, cost(cup), cost(tea)) == (1, 15, 20)
    assert come_by(3) == 1
    assert cost(tea) == 15


class TestBeat:
    def test_comes_by_often_enough_for_15_seconds(self):
        (entry,) = (
            entry
            for entry in settings.CELERY_BEAT_SCHEDULE.values()
            if entry["task"] == tasks.apply_scheduled_prices.name
        )

        assert entry["schedule"] < dt.timedelta(seconds=15)

    def test_begins_what_is_due_now(self, tea):
        ScheduledPrice.objects.create(
            product=tea, currency="USD", amount=15, starts_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
        )

        tasks.apply_scheduled_prices()

        assert cost(tea) == 15

    def test_asks_one_query_if_nothing_is_due(self, tea, django_assert_max_num_queries):
        plan(tea, 1)

        with django_assert_max_num_queries(3):  # with its transaction's two
            assert come_by(0.5) == 0


@pytest.mark.concurrency
@pytest.mark.django_db(transaction=True)
def test_four_workers_at_once_end_and_begin_everything_once_and_in_order():
    products = [factories.ProductFactory(price="20.00") for _ in range(5)]
    for product in products:
        plan(product, 1, 2, amount="15.00")
        plan(product, 2, 3, amount="12.00")
    come_by(1)
    barrier = threading.Barrier(4)

    def work(_number):
        try:
            barrier.wait(timeout=30)
            return come_by(2)
        finally:
            connection.close()

    with ThreadPoolExecutor(max_workers=4) as pool:
        done = sum(pool.map(work, range(4)))
    done += come_by(2)  # who saw an end under way left the beginning behind it to the next run

    assert done == 10
    assert {cost(product) for product in products} == {Decimal("12.00")}
    come_by(3)
    assert {cost(product) for product in products} == {Decimal("20.00")}


@pytest.mark.concurrency
@pytest.mark.django_db(transaction=True)
def test_nothing_begins_while_another_worker_still_ends_what_is_before_it():
    product = factories.ProductFactory(price="20.00")
    ending = plan(product, 1, 2, amount="15.00")
    plan(product, 2, 3, amount="12.00")
    come_by(1)
    is_held, may_end = threading.Event(), threading.Event()

    def hold():
        try:
            with transaction.atomic():
                ScheduledPrice.objects.select_for_update().get(pk=ending.pk)
                is_held.set()
                assert may_end.wait(timeout=30)
        finally:
            connection.close()

    with ThreadPoolExecutor(max_workers=1) as pool:
        held = pool.submit(hold)
        try:
            assert is_held.wait(timeout=30)
            assert (come_by(2), cost(product)) == (0, 15)
        finally:
            may_end.set()
        held.result(timeout=30)

    assert (come_by(2), cost(product)) == (2, 12)
