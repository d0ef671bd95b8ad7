"""Bodies by example, as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Any, Final

from orders.api.examples import ORDER_NUMBER

CONTEXT: Final[dict[str, Any]] = {
    "customer_url": "https://shop.example/admin/customers/customer/42/change/",
    "orders": [
        {
            "order_number": ORDER_NUMBER,
            "status": "shipped",
            "payment_status": "succeeded",
            "total_amount": "44.97",
            "currency": "USD",
            "created_at": "2026-11-28T09:30:00Z",
            "url": "https://shop.example/admin/orders/order/1871/change/",
        }
    ],
}
