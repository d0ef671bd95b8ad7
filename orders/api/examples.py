"""What requests and answers look like, for the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

ORDER_NUMBER: Final = "K7M2-Q9XD-4T"
GUEST_TOKEN: Final = "h0VtWqgXcZ3nJ5dQ2mYb8sKfRr1uLx7AoEiPpTvNw6M"  # noqa: S105 - opens nothing
IDEMPOTENCY_KEY: Final = "0192f0c1-7a51-7c3e-9d5e-3f0a5b9c1d2e"

ADDRESS: Final[dict[str, str]] = {
    "name": "Ada Lovelace",
    "line1": "1 Main Street",
    "city": "New York",
    "state": "NY",
    "postal_code": "10001",
    "country": "US",
}

BASKET: Final[dict[str, Any]] = {
    "items": [{"sku": "DEMO-PLENTY", "quantity": 2}],
    "shipping_address": ADDRESS,
}
ORDER_REQUEST: Final[dict[str, Any]] = {
    **BASKET,
    "payment_method_id": "pm_card_visa",
    "expected_total": "46.57",
}
CART_ORDER_REQUEST: Final[dict[str, Any]] = {
    "cart_id": "5f2b8a7e-6c1d-4e0f-9a3b-2d4c6e8f0a1b",
    **{name: value for name, value in ORDER_REQUEST.items() if name != "items"},
}
GUEST_ORDER_REQUEST: Final[dict[str, Any]] = {
    **ORDER_REQUEST,
    "customer": {"email": "grace@example.com", "first_name": "Grace", "last_name": "Hopper"},
}
CLAIM_REQUEST: Final[dict[str, Any]] = {"guest_token": GUEST_TOKEN}
CANCEL_REQUEST: Final[dict[str, Any]] = {"reason": "Ordered twice."}

CART_ID: Final = "5f2b8a7e-6c1d-4e0f-9a3b-2d4c6e8f0a1b"
CART_REQUEST: Final[dict[str, Any]] = {"items": BASKET["items"], "coupon_code": "WELCOME10"}
CART_ITEM_REQUEST: Final[dict[str, Any]] = {"quantity": 2}
CART_COUPON_REQUEST: Final[dict[str, Any]] = {"coupon_code": "WELCOME10"}

TOTALS: Final[dict[str, Any]] = {
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
    "tax_included": False,
    "shipping_method": "standard",
    "estimated_delivery": "2026-12-01",
}
QUOTE: Final[dict[str, Any]] = {
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
}

CART: Final[dict[str, Any]] = {
    "id": CART_ID,
    "expires_at": "2026-12-22T12:00:00.104733Z",
    "coupon_code": None,
    "order_number": None,
    "problems": [
        {
            "code": "price_changed",
            "sku": "DEMO-PLENTY",
            "old_price": "18.99",
            "new_price": "19.99",
        },
        {"code": "gone", "sku": "DEMO-FORGOTTEN"},
    ],
    **QUOTE,
}

PAYMENT_LINK_ID: Final = "8d0f6b1c-3a2e-4c57-b9d4-1e6f7a8b9c0d"
PAYMENT_LINK: Final[dict[str, Any]] = {
    "id": PAYMENT_LINK_ID,
    "cart_id": "c2a7d9e4-5b1f-4a36-8e70-94d3b2c1a0f5",
    "expires_at": "2026-11-29T12:00:00.104733Z",
    "customer": {"email": "grace@example.com", "first_name": "Grace", "last_name": "Hopper"},
    "shipping_address": ADDRESS,
    "coupon_code": None,
    "notes": "Ring twice.",
    **QUOTE,
}

ORDER: Final[dict[str, Any]] = {
    "id": "0192f0c1-7a52-7d01-8b3c-5e6f70819a2b",
    "order_number": ORDER_NUMBER,
    "status": "confirmed",
    "payment_status": "succeeded",
    **TOTALS,
    "refunded_amount": "0.00",
    "shipping_address": ADDRESS,
    "billing_address": ADDRESS,
    "notes": None,
    "shipments": [],
    "created_at": "2026-11-22T12:00:00.104733Z",
    "updated_at": "2026-11-22T12:00:01.250180Z",
    "shipped_at": None,
    "delivered_at": None,
}
GUEST_ORDER: Final[dict[str, Any]] = {**ORDER, "guest_token": GUEST_TOKEN}
UNDECIDED_ORDER: Final[dict[str, Any]] = {
    **ORDER,
    "status": "pending",
    "payment_status": "pending",
}
SHIPPED_ORDER: Final[dict[str, Any]] = {
    **ORDER,
    "status": "shipped",
    "shipments": [
        {
            "carrier": "UPS",
            "tracking_number": "1Z999AA10123456784",
            "tracking_url": "https://www.ups.com/track?tracknum=1Z999AA10123456784",
            "shipped_at": "2026-11-24T15:30:00.420913Z",
            "items": [{"sku": "DEMO-PLENTY", "quantity": 2}],
        }
    ],
    "updated_at": "2026-11-24T15:30:00.420913Z",
    "shipped_at": "2026-11-24T15:30:00.420913Z",
}
CANCELLED_ORDER: Final[dict[str, Any]] = {
    **ORDER,
    "status": "cancelled",
    "payment_status": "refunded",
    "refunded_amount": "46.57",
}
REFUND_UNDER_WAY: Final[dict[str, Any]] = {
    **ORDER,
    "status": "cancelled",
    "payment_status": "succeeded",
}
ORDER_PAGE: Final[dict[str, Any]] = {
    "next": "https://shop.example/api/v1/orders?cursor=WzAsWyIyMDI2LTExLTIyIl1d%3A1sAbCd%3AxYz",
    "previous": None,
    "results": [SHIPPED_ORDER],
}

CARD: Final[dict[str, Any]] = {
    "id": "pm_1Q9xK7Ge4kLm0pQr",
    "type": "card",
    "brand": "visa",
    "last4": "4242",
    "exp_month": 12,
    "exp_year": 2034,
}
CARD_PAGE: Final[dict[str, Any]] = {"next": None, "previous": None, "results": [CARD]}
SAVE_CARD_REQUEST: Final[dict[str, Any]] = {"payment_method_id": "pm_1Q9xK7Ge4kLm0pQr"}

PDF: Final = "%PDF-1.4 …"
RETURN_ID: Final = "0192f0c1-7a60-7b11-9c4d-6a7b8c9d0e1f"
RETURN_REQUEST: Final[dict[str, Any]] = {
    "items": [{"sku": "DEMO-PLENTY", "quantity": 1}],
    "reason": "One came broken.",
}
RETURN: Final[dict[str, Any]] = {
    "id": RETURN_ID,
    "status": "requested",
    **RETURN_REQUEST,
    "created_at": "2026-11-30T09:15:00.318204Z",
}
RETURN_PAGE: Final[dict[str, Any]] = {"next": None, "previous": None, "results": [RETURN]}
EVENTS: Final[list[dict[str, Any]]] = [
    {"at": "2026-11-22T12:00:00.104733Z", "event": "placed"},
    {"at": "2026-11-22T12:00:01.250180Z", "event": "confirmed"},
    {
        "at": "2026-11-24T15:30:00.420913Z",
        "event": "shipped",
        "data": {
            "carrier": "UPS",
            "tracking_number": "1Z999AA10123456784",
            "tracking_url": "https://www.ups.com/track?tracknum=1Z999AA10123456784",
            "items": [{"sku": "DEMO-PLENTY", "quantity": 2}],
        },
    },
]
TIMELINE: Final[dict[str, Any]] = {"next": None, "previous": None, "results": EVENTS}
CREDIT_NOTE_NUMBER: Final = "CN-000007"
DOCUMENTS: Final[list[dict[str, Any]]] = [
    {
        "document_number": "INV-000042",
        "kind": "invoice",
        "total_amount": "46.57",
        "currency": "USD",
        "issued_at": "2026-11-22T12:00:02.010203Z",
    },
    {
        "document_number": CREDIT_NOTE_NUMBER,
        "kind": "credit_note",
        "total_amount": "20.79",
        "currency": "USD",
        "issued_at": "2026-12-02T10:00:00.405060Z",
    },
]
DOCUMENT_PAGE: Final[dict[str, Any]] = {"next": None, "previous": None, "results": DOCUMENTS}
EXPORT: Final[dict[str, Any]] = {
    "exported_at": "2026-12-03T08:00:00.104733Z",
    "account": {
        "id": 4711,
        "email": "ada@example.com",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "phone": None,
        "date_of_birth": None,
        "email_verified": True,
        "marketing_consent": False,
        "status": "active",
        "tier": "",
        "language": "en",
        "created_at": "2026-11-20T08:00:00.313370Z",
        "last_login": "2026-11-27T07:59:00.512001Z",
    },
    "email_addresses": [{"email": "ada@example.com", "verified": True, "primary": True}],
    "addresses": [{**ADDRESS, "created_at": "2026-11-20T08:05:00.882210Z"}],
    "bought": [{"currency": "USD", "order_count": 1, "lifetime_value": "46.57"}],
    "staff_notes": [
        {"text": "Wants to be called before noon.", "created_at": "2026-11-25T10:00:00.104733Z"}
    ],
    "email_suppressions": [
        {
            "reason": "bounced",
            "created_at": "2026-11-24T10:00:00.104733Z",
            "lifted_at": "2026-11-25T09:00:00.250180Z",
        }
    ],
    "activity": [
        {
            "created_at": "2026-11-27T07:59:00.512001Z",
            "event_type": "LOGIN",
            "ip_address": "203.0.113.7",
            "user_agent": "Mozilla/5.0",
        }
    ],
    "orders": [
        {
            **SHIPPED_ORDER,
            "cancellation_reason": "",
            "language": "en",
            "guest_email": None,
            "guest_first_name": "",
            "guest_last_name": "",
            "refunds": [
                {
                    "status": "succeeded",
                    "amount": "20.79",
                    "currency": "USD",
                    "reason": "One came broken.",
                    "created_at": "2026-12-02T09:59:58.104733Z",
                }
            ],
            "refund_proposals": [
                {
                    "status": "approved",
                    "amount": "20.79",
                    "currency": "USD",
                    "reason": "One came broken.",
                    "refusal": "",
                    "proposed_at": "2026-12-02T09:41:12.480211Z",
                }
            ],
            "returns": [{**RETURN, "refusal": ""}],
            "documents": [
                {**document, "buyer": {"billing_address": ADDRESS, "shipping_address": ADDRESS}}
                for document in DOCUMENTS
            ],
            "letters": [
                {
                    "recipient": "ada@example.com",
                    "subject": f"Order {ORDER_NUMBER} confirmed",
                    "text": "Hello Ada, …",
                    "sent_at": "2026-11-22T12:00:03.250180Z",
                }
            ],
            "staff_notes": [
                {"text": "Leave it next door.", "created_at": "2026-11-23T09:00:00.104733Z"}
            ],
        }
    ],
    "carts": [
        {
            "id": CART_ID,
            "currency": "USD",
            "coupon_code": "",
            "changed_at": "2026-11-26T19:00:00.104733Z",
            "items": [{"sku": "DEMO-PLENTY", "quantity": 2}],
        }
    ],
    "stock_alerts": [{"sku": "DEMO-SOLD-OUT", "created_at": "2026-11-26T20:00:00.104733Z"}],
    "payment_links": [
        {
            **PAYMENT_LINK["customer"],
            "shipping_address": ADDRESS,
            "notes": PAYMENT_LINK["notes"],
            "created_at": "2026-11-22T12:00:00.104733Z",
            "expires_at": PAYMENT_LINK["expires_at"],
        }
    ],
    "told_to_others": {
        "marketing": {
            "segments": "orders=one recency=active value_USD=low",
            "told_at": "2026-11-23T01:47:00.104733Z",
        },
        "support": [{"matter": "return.0192f0c1-7a51-7c3e-9d5e-3f0a5b9c1d2e", "settled": True}],
    },
}

EVENT: Final[dict[str, Any]] = {
    "id": "evt_1Q9xK7",
    "object": "event",
    "type": "payment_intent.succeeded",
    "created": 1_795_348_800,
    "livemode": False,
    "data": {"object": {"id": "pi_3Q9xK7", "object": "payment_intent", "status": "succeeded"}},
}
RECEIVED: Final = {"received": True}
