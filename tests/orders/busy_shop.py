"""A shop in which most things that can happen to an order have happened, for real."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.utils import timezone

from audit import outbox
from inventory import documents
from inventory.models import ScheduledPrice, Warehouse
from orders.models import Order, TaxDestination
from tests import factories
from tests.provider import PaymentServer
from tests.shop import BERLIN, Shopper, order_of

A_YEAR = timedelta(days=365)


def open_busy_shop(provider: PaymentServer) -> dict[str, Order]:
    """Orders that were paid, declined, cancelled or still wait, by what became of them.

    The paid one is split over two buildings and has a coupon. The gross one goes to a country
    whose prices include tax, with an automatic promotion.
    """
    factories.open_shop()
    tea: Any = factories.ProductFactory(sku="TEA", on_hand=10)
    east = Warehouse.objects.create(
        code="EAST", name="East", country="US", time_zone="America/New_York", priority=200
    )
    with transaction.atomic():
        factories.receive(tea, 5, warehouse=east)
    factories.ProductFactory(sku="CUP", price="7.50", on_hand=20)
    factories.CouponFactory(code="SAVE10", max_uses=10, max_uses_per_customer=5)
    pot: Any = factories.ProductFactory(sku="POT")
    factories.CouponFactory(code=None, name="Pots", value=5, scoped_to=pot)
    documents.transfer(
        product_id=pot.pk,
        from_warehouse_id=Warehouse.objects.get(code="MAIN").pk,
        to_warehouse_id=east.pk,
        quantity=2,
        reason="closer to customers",
    )
    ScheduledPrice.objects.create(
        product=pot, currency="USD", amount=Decimal("17.00"), starts_at=timezone.now() + A_YEAR
    )
    TaxDestination.objects.create(country="DE", prices_include_tax=True)
    factories.TaxRateFactory(country="DE", region="", rate=Decimal("0.19"))
    buyer: Any = factories.CustomerFactory()
    customer, guest = Shopper(buyer), Shopper()

    answers = {
        "paid": customer.order(("TEA", 11), ("CUP", 2), coupon_code="SAVE10"),
        "guests": guest.order(("CUP", 1)),
        "declined": customer.order(
            ("CUP", 1), payment_method_id="pm_card_chargeDeclined", coupon_code="SAVE10"
        ),
        "waiting": customer.order(("CUP", 1), payment_method_id="pm_card_threeDSecure2Required"),
        "debit": customer.order(("CUP", 1), payment_method_id="pm_usBankAccount_success"),
        "cancelled": customer.order(("TEA", 1)),
        "gross": guest.order(("POT", 3), shipping_address=BERLIN),
    }
    assert {name: answer.status_code for name, answer in answers.items()} == {
        "paid": 201,
        "guests": 201,
        "declined": 402,
        "waiting": 402,
        "debit": 202,
        "cancelled": 201,
        "gross": 201,
    }
    orders = {name: order_of(answer) for name, answer in answers.items()}
    assert customer.post(f"/orders/{orders['cancelled'].order_number}/cancel").status_code == 200
    outbox.relay()
    return {name: Order.objects.get(pk=order.pk) for name, order in orders.items()}
