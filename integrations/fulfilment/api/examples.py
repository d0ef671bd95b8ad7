"""Bodies by example, as the OpenAPI document shows them."""

from __future__ import annotations

from typing import Any, Final

TRACKING_EVENT: Final[dict[str, Any]] = {
    "id": "scan-81723",
    "tracking_number": "1Z999AA10123456784",
    "carrier": "UPS",
    "status": "delivered",
    "occurred_at": "2026-11-28T09:30:00Z",
}
EASYPOST_EVENT: Final[dict[str, Any]] = {
    "id": "evt_1f2a3b4c5d6e",
    "object": "Event",
    "description": "tracker.updated",
    "result": {
        "id": "trk_1f2a3b4c5d6e",
        "object": "Tracker",
        "tracking_code": "1Z999AA10123456784",
        "carrier": "UPS",
        "status": "in_transit",
        "updated_at": "2026-11-28T09:30:00Z",
    },
}
RECEIVED: Final = {"received": True}
STOCK_FEED: Final[dict[str, Any]] = {
    "feed_id": "1764322200000",
    "warehouse": "MAIN",
    "items": [
        {"sku": "DEMO-PLENTY", "on_hand": 1_000_000},
        {"sku": "DEMO-LAST-ONE", "on_hand": 1, "expected": 1},
    ],
}
STOCK_FEED_APPLIED: Final[dict[str, Any]] = {
    "feed_id": "1764322200000",
    "warehouse": "MAIN",
    "document": 1871,
    "lines": 2,
    "changed": 1,
}
