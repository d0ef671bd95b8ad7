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
    assert len(counted) <= BUDGET, "\n".join(counted)
    assert len(statements) - len(counted) == (buyer == "customer")
