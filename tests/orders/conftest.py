"""Four orders with one fate each, and somebody else with a key to the same account."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from payments import bookkeeping
from payments.models import Payment, Refund
from tests import factories
from tests.shop import order_of


@pytest.fixture
def orders(provider, shopper):
    """The provider begins empty; then one order was paid, one cancelled, one needs 3-D Secure."""
    provider._post("/_test/reset", {})
    product = factories.ProductFactory(on_hand=50)
    answers = {
        "paid": shopper.order((product.sku, 1)),
        "cancelled": shopper.order((product.sku, 2)),
        "waiting": shopper.order(
            (product.sku, 3), payment_method_id="pm_card_threeDSecure2Required"
        ),
        "declined": shopper.order((product.sku, 4), payment_method_id="pm_card_chargeDeclined"),
    }
    orders = {name: order_of(answer) for name, answer in answers.items()}
    shopper.post(f"/orders/{orders['cancelled'].order_number}/cancel")
    bookkeeping.book_balance_transactions()
    return orders


@pytest.fixture
def payments(orders):
    return {name: Payment.objects.get(order=order) for name, order in orders.items()}


@pytest.fixture
def refund(payments):
    return Refund.objects.get()


@pytest.fixture
def stripe(provider):
    """Somebody else with a key to the same account."""

    def post(path: str, **form: Any) -> dict[str, Any]:
        answer = requests.post(
            f"{provider.base_url}{path}", data=form, auth=("sk_test_other", ""), timeout=5
        )
        assert answer.ok, answer.text
        return answer.json()

    return post
