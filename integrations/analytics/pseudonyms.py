"""Who did something, to analytics: a name that only this shop can lead back to a person."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from django.conf import settings

CHARACTERS: Final = 32
"""128 bits: no two of a shop's customers are taken for one."""


def of_customer(customer_id: int) -> str:
    """The same for every event of an account, and for as long as `ANALYTICS_SALT` is the same."""
    return _pseudonym("customer", customer_id)


def of_order(order_id: int) -> str:
    """Whoever placed an order without an account: one name an order, so orders tell no story."""
    return _pseudonym("order", order_id)


def of_cart(cart_id: int) -> str:
    """Whoever has filled a cart without an account."""
    return _pseudonym("cart", cart_id)


def _pseudonym(kind: str, number: int) -> str:
    digest = hmac.new(settings.ANALYTICS_SALT, f"{kind}:{number}".encode(), hashlib.sha256)
    return digest.hexdigest()[:CHARACTERS]
