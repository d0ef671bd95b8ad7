"""How often an order goes to the database: each time is a round trip."""

from __future__ import annotations

import pytest
from django.db import connection

from tests import factories
from tests.shop import Shopper

BUDGET = 12  # SAVEPOINT and SET count, BEGIN, COMMIT and authentication do not


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("buyer", ["customer", "guest"])
def test_an_order_of_three_lines_takes_at_most_twelve_round_trips(buyer):
    factories.open_shop()

    counted, besides = round_trips_of_an_order(buyer)

    assert len(counted) <= BUDGET, "\n".join(counted)
    assert besides == (buyer == "customer")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("terms", "more"), [({}, 1), ({"max_uses": 9}, 1), ({"max_uses_per_customer": 9}, 2)]
)
def test_a_promotion_takes_one_more_and_a_limit_for_each_customer_another(terms, more):
    factories.open_shop()
    factories.CouponFactory(code=None, name="Autumn", **terms)

    counted, _ = round_trips_of_an_order("guest")

    assert sum("UPDATE coupons" in sql for sql in counted) == 1
    assert len(counted) <= BUDGET + more, "\n".join(counted)


def round_trips_of_an_order(buyer):
    """What an order of three lines asks the database, and how often besides for the session."""
    products = [factories.ProductFactory() for _ in range(3)]
    shopper = Shopper(factories.CustomerFactory() if buyer == "customer" else None)
    statements: list[str] = []

    def note(execute, sql, params, many, context):
        statements.append(sql.decode() if isinstance(sql, bytes) else sql)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        answer = shopper.order(*[(product.sku, 2) for product in products])

    assert answer.status_code == 201
    counted = [sql for sql in statements if "sessions" not in sql]
    return counted, len(statements) - len(counted)
