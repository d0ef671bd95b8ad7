"""Tells customers who asked for it that a product can be ordered again; each once.

Nothing of it touches the path of an order: beat looks at what is waited for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from audit import services as audit
from config.kernel import sql
from config.kernel.db import short_transaction
from config.kernel.errors import NotFoundError, RateLimitExceededError
from customers import selectors as customers
from customers.errors import InactiveCustomerError
from inventory import selectors as stock
from inventory.models import Product
from orders.errors import AvailableNowError
from orders.models import StockAlert

if TYPE_CHECKING:
    from collections.abc import Sequence

DUE: Final = "stock_alert.due"
MOST_ALERTS: Final = 50
"""So many products one customer waits for."""
SKUS_AT_ONCE: Final = 200

# Whoever has not verified the address may have typed somebody else's: they wait until they have.
TAKE: Final = """
    WITH due AS MATERIALIZED (
        SELECT alert.id FROM stock_alerts AS alert
        JOIN products ON products.id = alert.product_id
        JOIN customers ON customers.id = alert.customer_id
        WHERE products.sku = ANY(%(skus)s) AND products.is_active
          AND customers.email_verified AND customers.status = 'active'
        ORDER BY alert.id LIMIT %(limit)s FOR UPDATE OF alert SKIP LOCKED
    )
    DELETE FROM stock_alerts USING due WHERE stock_alerts.id = due.id
    RETURNING stock_alerts.id, stock_alerts.customer_id, stock_alerts.product_id
"""


def ask(*, customer_id: int, sku: str) -> bool:
    """Tell this customer, once, when a product can be ordered again. Opens its own transaction.

    Nothing is told before they have verified their address.

    Returns:
        Whether it is new; False: they wait for it already.

    Raises:
        NotFoundError: no such product, or it is not sold any more.
        InactiveCustomerError: suspended or inactive.
        AvailableNowError: it can be ordered now.
        RateLimitExceededError: they wait for `MOST_ALERTS` products.
    """
    product = Product.objects.filter(sku=sku, is_active=True).first()
    if product is None:
        raise NotFoundError
    if stock.get_available_by_sku(skus=[sku]).get(sku, 0) > 0:
        raise AvailableNowError
    with short_transaction():
        if not customers.lock_active(customer_id=customer_id):
            raise InactiveCustomerError
        own = StockAlert.objects.filter(customer_id=customer_id)
        if own.filter(product=product).exists():
            return False
        if own.count() >= MOST_ALERTS:
            raise RateLimitExceededError(
                f"You wait for {MOST_ALERTS} products already; give one up first."
            )
        StockAlert.objects.create(customer_id=customer_id, product=product)
    return True


def wait_again(*, customer_id: int, product_id: int) -> None:
    """Put back a wish that was taken and could not be told. Repeating is harmless."""
    StockAlert.objects.get_or_create(customer_id=customer_id, product_id=product_id)


def give_up(*, customer_id: int, sku: str) -> None:
    """Do not tell them any more. Repeating is harmless."""
    StockAlert.objects.filter(customer_id=customer_id, product__sku=sku).delete()


def tell_available(*, limit: int = 500) -> int:
    """State `stock_alert.due` of each wish whose product can be ordered; the wish is gone then.

    Opens its own transactions; never call it inside one. Any number may run at once: a wish is
    taken by one of them.

    Returns:
        How many were told.
    """
    waited_for = (
        StockAlert.objects.order_by("product__sku")
        .values_list("product__sku", flat=True)
        .distinct()
    )
    told = 0
    skus = list(waited_for)
    for start in range(0, len(skus), SKUS_AT_ONCE):
        available = stock.get_available_by_sku(skus=skus[start : start + SKUS_AT_ONCE])
        there = [sku for sku, units in available.items() if units > 0]
        while there:
            taken = _take(there, limit=limit)
            told += taken
            if taken < limit:
                break
    return told


def export_alerts(*, customer_id: int) -> list[dict[str, object]]:
    """What a customer waits for, ready for JSON."""
    alerts = StockAlert.objects.filter(customer_id=customer_id).select_related("product")
    return [
        {"sku": alert.product.sku, "created_at": alert.created_at}
        for alert in alerts.order_by("pk")
    ]


def forget(*, customer_id: int) -> None:
    """Remove what is kept of a customer. Requires a transaction."""
    StockAlert.objects.filter(customer_id=customer_id).delete()


def _take(skus: Sequence[str], *, limit: int) -> int:
    with short_transaction():
        taken = sql.fetch(TAKE, skus=list(skus), limit=limit)
        for alert in taken:
            audit.publish(
                DUE,
                aggregate_type="customer",
                aggregate_id=alert.customer_id,
                dedupe_key=f"stock_alert.{alert.id}",
                payload={"customer_id": alert.customer_id, "product_id": alert.product_id},
            )
    return len(taken)
