"""Whoever tries out cards is stopped; whoever buys is not."""

from __future__ import annotations

import pytest

from orders.models import Order
from tests import factories
from tests.shop import Shopper

pytestmark = pytest.mark.django_db

DECLINED = "pm_card_visa_chargeDeclined"


@pytest.fixture(autouse=True)
def _limits(settings):
    settings.THROTTLE = True
    settings.THROTTLE_RATES = {
        **settings.THROTTLE_RATES,
        "declines": (2, 3_600),
        "guest_declines": (3, 3_600),
    }


@pytest.fixture
def product(shop):
    return factories.ProductFactory(on_hand=50)


def decline(shopper, product, **changes):
    return shopper.order((product.sku, 1), payment_method_id=DECLINED, **changes)


def test_a_customer_is_refused_after_so_many_declines(shopper, product):
    assert [decline(shopper, product).status_code for _ in range(2)] == [402, 402]

    answer = shopper.order((product.sku, 1))

    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "RATE_LIMIT_EXCEEDED")
    assert 0 < int(answer["Retry-After"]) <= 3_601
    assert Order.objects.count() == 2
    assert Shopper(factories.CustomerFactory()).order((product.sku, 1)).status_code == 201


def test_a_guest_is_counted_by_address_whatever_the_name(guest, product):
    for n in range(3):
        who = {"email": f"g{n}@example.com", "first_name": "G", "last_name": "H"}
        assert decline(guest, product, customer=who).status_code == 402
    who = {"email": "another@example.com", "first_name": "G", "last_name": "H"}
    assert guest.order((product.sku, 1), customer=who).status_code == 429


def test_a_guest_s_ipv6_addresses_count_as_one(guest, product):
    for host in range(3):
        guest.client.defaults["REMOTE_ADDR"] = f"2001:db8:1:2::{host}"
        assert decline(guest, product).status_code == 402

    guest.client.defaults["REMOTE_ADDR"] = "2001:db8:1:2:ffff::1"
    assert guest.order((product.sku, 1)).status_code == 429
    guest.client.defaults["REMOTE_ADDR"] = "2001:db8:1:3::1"
    assert guest.order((product.sku, 1)).status_code == 201


def test_orders_that_are_paid_do_not_count(shopper, product):
    for _ in range(5):
        assert shopper.order((product.sku, 1)).status_code == 201


def test_what_was_answered_is_answered_again(shopper, product):
    first = decline(shopper, product, key="k")
    decline(shopper, product)
    again = decline(shopper, product, key="k")
    assert (again.status_code, again.content) == (402, first.content)


def test_replays_do_not_count(shopper, product):
    for _ in range(4):
        decline(shopper, product, key="k")
    assert shopper.order((product.sku, 1)).status_code == 201


def test_nothing_is_counted_while_limits_are_off(shopper, product, settings):
    settings.THROTTLE = False
    assert [decline(shopper, product).status_code for _ in range(4)] == [402] * 4
