"""What requests and answers look like, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample

ADDRESS: dict[str, str] = {
    "name": "Ada Lovelace",
    "line1": "1 Main Street",
    "city": "New York",
    "state": "NY",
    "postal_code": "10001",
    "country": "US",
}
BASKET: dict[str, Any] = {
    "items": [{"sku": "DEMO-PLENTY", "quantity": 2}],
    "shipping_address": ADDRESS,
}
TOTALS: dict[str, Any] = {
    "currency": "USD",
    "items": [
        {
            "sku": "DEMO-PLENTY",
            "product_name": "Plenty of It",
            "quantity": 2,
            "unit_price": "19.99",
            "discount_amount": "0.00",
            "tax_amount": "1.60",
            "total_price": "39.98",
        }
    ],
    "subtotal": "39.98",
    "discount_amount": "0.00",
    "shipping_amount": "4.99",
    "tax_amount": "1.60",
    "total_amount": "46.57",
    "shipping_method": "standard",
    "estimated_delivery": "2026-12-01",
}

QUOTE_REQUEST = OpenApiExample("a basket", value=BASKET, request_only=True)
QUOTE = OpenApiExample(
    "its price",
    value={
        **TOTALS,
        "shipping_methods": [
            {
                "code": "standard",
                "name": "Standard",
                "amount": "4.99",
                "estimated_delivery": "2026-12-01",
            }
        ],
        "unavailable_items": [],
    },
    response_only=True,
    status_codes=["200"],
)
ORDER_REQUEST = OpenApiExample(
    "an order",
    value={**BASKET, "payment_method_id": "pm_card_visa", "expected_total": "46.57"},
    request_only=True,
)
ORDER = OpenApiExample(
    "confirmed and paid",
    value={
        "id": "0192f0c1-7a51-7c3e-9d5e-3f0a5b9c1d2e",
        "order_number": "K7M2-Q9XD-4T",
        "status": "confirmed",
        "payment_status": "succeeded",
        **TOTALS,
        "refunded_amount": "0.00",
        "shipping_address": ADDRESS,
        "billing_address": ADDRESS,
        "notes": None,
        "shipments": [],
        "created_at": "2026-11-22T12:00:00Z",
        "updated_at": "2026-11-22T12:00:01Z",
        "shipped_at": None,
        "delivered_at": None,
    },
    response_only=True,
    status_codes=["201"],
)
