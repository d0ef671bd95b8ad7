"""What a sweep takes does not depend on how PostgreSQL happens to read the tables."""

from __future__ import annotations

from itertools import combinations

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from orders import selectors
from orders.models import Order
from orders.services.recovery import CLAIM
from payments.models import Payment, Refund
from tests import factories
from tests.shop import order_of

pytestmark = pytest.mark.django_db

JOINS = ("enable_hashjoin", "enable_mergejoin", "enable_nestloop")
SCANS = ("enable_seqscan", "enable_indexscan", "enable_bitmapscan", "enable_material")
WAYS = [
    (*joins, *scans)
    for joins in [(), *combinations(JOINS, 1), *combinations(JOINS, 2)]
    for scans in [(), *combinations(SCANS, 1), *combinations(SCANS, 2)]
]


@pytest.fixture
def product(shop):
    return factories.ProductFactory(on_hand=50)


@pytest.fixture
def read_otherwise():
    """Take ways of reading away from the planner until the next call."""

    def read_otherwise(taken_away):
        with connection.cursor() as cursor:
            for setting in (*JOINS, *SCANS):
                cursor.execute(f"SET LOCAL {setting} = {setting not in taken_away}")

    return read_otherwise


def make_due(model):
    model.objects.update(next_attempt_at=Now())


def test_orders(shopper, product, read_otherwise, settings):
    settings.THROTTLE = False
    for _ in range(5):
        shopper.order((product.sku, 1), payment_method_id="pm_card_threeDSecure2Required")
    Order.objects.update(hold_expires_at=Now())
    all_of_them = list(Payment.objects.order_by("pk").values_list("pk", flat=True))
    for way in WAYS:
        make_due(Payment)
        read_otherwise(way)
        for expired_only in (False, True):
            claimed = selectors.claim_orders_in_doubt(
                limit=20, ignore_backoff=True, lease=CLAIM, expired_only=expired_only
            )
            assert [payment.pk for payment in claimed] == all_of_them, way
            assert all(p.next_attempt_at > timezone.now() for p in Payment.objects.all()), way


def test_refunds(shopper, product, provider, read_otherwise):
    provider.fail("drop", path="/v1/refunds", method="POST", times=None)
    for _ in range(3):
        order = order_of(shopper.order((product.sku, 1)))
        shopper.post(f"/orders/{order.order_number}/cancel")
    all_of_them = list(Refund.objects.order_by("pk").values_list("pk", flat=True))
    assert len(all_of_them) == 3
    for way in WAYS:
        make_due(Refund)
        read_otherwise(way)
        claimed = selectors.claim_refunds_due(limit=20, ignore_backoff=False, lease=CLAIM)
        assert [refund.pk for refund in claimed] == all_of_them, way
        assert all(r.next_attempt_at > timezone.now() for r in Refund.objects.all()), way
