"""Staff find an order by whatever they have in hand."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from orders import search
from orders.models import Shipment
from payments.models import Refund
from tests.admin import rows
from tests.admin.plans import read_without_an_index

pytestmark = pytest.mark.django_db


@pytest.fixture
def order():
    rows.make_everything(2)
    shop = rows.make_everything(1, order_number="ABCD-EF23-7Z")
    Refund.objects.filter(payment__order=shop.order).update(stripe_refund_id="re_1")
    return shop.order


@pytest.mark.parametrize(
    "text",
    [
        "ABCD-EF23-7Z",
        "abcd-ef23-7z",
        "ABCDEF237Z",
        "  abcdef237z ",
        "ann1@example.com",
        "Ann1@Example.COM",
        "APPLE-1",
        "apple-1",
        "1Z1",
        "pi_1",
        "re_1",
        "dp_1",
    ],
)
def test_finds_it_alone(order, text):
    assert list(search.search_orders(text)) == [order]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-",
        "ABCD-EF23-7",
        "ann",
        "@",
        "pi_",
        "pi_9",
        "re_2",
        "%",
        "_",
        "APPLE",
        "'; --",
        "x" * 9_000,
    ],
)
def test_finds_nothing_else(order, text):
    assert list(search.search_orders(text)) == []


def test_finds_a_guests(order):
    guests = rows.make_order(3, guest_email="guest@example.com")

    assert list(search.search_orders("Guest@example.com")) == [guests]


def test_parcels_without_a_number_are_not_found(order):
    Shipment.objects.create(order=order, carrier="UPS", tracking_number="")

    assert list(search.search_orders("")) == []


def test_of_a_best_seller_the_newest_are_found(order, monkeypatch):
    monkeypatch.setattr(search, "MOST_OF_A_PRODUCT", 2)
    product = order.items.get().product
    newer = [rows.make_order(n) for n in (3, 4)]
    for one in newer:
        rows.add_item(one, product=product)

    assert set(search.search_orders("APPLE-1")) == set(newer)


@pytest.mark.parametrize("text", ["ABCD-EF23-7Z", "ann1@example.com", "APPLE-1", "1Z1", "pi_1"])
def test_looks_into_indexes(order, text):
    with CaptureQueriesContext(connection) as queries:
        assert list(search.search_orders(text)) == [order]

    assert read_without_an_index(queries.captured_queries) == {}
