"""What answers look like, for the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final

PRODUCT: Final[dict[str, Any]] = {
    "sku": "DEMO-PLENTY",
    "name": "Plenty of It",
    "description": "There are a million of it.",
    "category": "demo",
    "price": "19.99",
    "currency": "USD",
    "image_url": "https://images.example/plenty.jpg",
    "images": [
        {"url": "https://images.example/plenty.jpg", "alt": "Plenty of It"},
        {"url": "https://images.example/plenty-open.jpg", "alt": "The same, opened"},
    ],
    "in_stock": True,
    "available_quantity": 1_000_000,
    "attributes": {},
}
PRODUCT_DETAIL: Final[dict[str, Any]] = {
    **PRODUCT,
    "price_breaks": [
        {"min_quantity": 10, "unit_price": "17.99"},
        {"min_quantity": 100, "unit_price": "15.99"},
    ],
}
PRODUCT_PAGE: Final[dict[str, Any]] = {
    "next": "https://shop.example/api/v1/products?cursor=WzAsWyJQbGVudHkiLCI3Il1d%3A1sAbCd%3AxYz",
    "previous": None,
    "results": [PRODUCT],
}
CATEGORY_PAGE: Final[dict[str, Any]] = {
    "next": None,
    "previous": None,
    "results": [
        {
            "slug": "dairy-eggs",
            "name": "Dairy & Eggs",
            "parent": "fresh-food",
            "path": ["fresh-food", "dairy-eggs"],
        }
    ],
}
