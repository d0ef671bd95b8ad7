"""A cart: what somebody means to buy. It holds no stock and promises no price."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Func, Q
from django.db.models.functions import Now

from inventory.models import Product


class Cart(models.Model):
    """A basket that is kept between visits, in one currency (ISO 4217).

    `public_id` is random: whoever knows it may use the cart, until it is bound to a customer; then
    it is theirs alone, and the only one they have. `changed_at` moves with what is in it, and
    `expires_at` with it. `abandoned_at`: since that change, the world was told that nothing
    happens to it any more.
    """

    public_id = models.UUIDField(
        unique=True,
        default=uuid.uuid4,
        db_default=Func(function="gen_random_uuid"),
        editable=False,
    )
    customer = models.ForeignKey(  # its index is the unique one
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        null=True,
        blank=True,
        related_name="carts",
        db_index=False,
    )
    currency = models.CharField(max_length=3)
    coupon_code = models.CharField(max_length=50, default="", db_default="", blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    changed_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    abandoned_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "carts"
        constraints = [
            models.UniqueConstraint(name="cart_one_per_customer", fields=["customer"]),
            models.CheckConstraint(
                name="cart_currency_is_iso4217", condition=Q(currency__regex=r"^[A-Z]{3}$")
            ),
        ]
        indexes = [
            models.Index(fields=["expires_at"], name="idx_carts_expires_at"),
            models.Index(
                fields=["changed_at"],
                name="idx_carts_left_alone",
                condition=Q(abandoned_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"cart {self.pk}"


class CartItem(models.Model):
    """How many of a product, and at which `unit_price` it was put there.

    The price is what the shopper saw, in major units of the cart's currency; None where there was
    none to see. It decides nothing: it only lets the cart say that the price has changed.
    """

    cart = models.ForeignKey(Cart, models.CASCADE, related_name="items", db_index=False)
    product = models.ForeignKey(Product, models.PROTECT, related_name="+")
    quantity = models.PositiveIntegerField()
    unit_price = models.DecimalField(max_digits=12, decimal_places=2, null=True, blank=True)

    class Meta:
        db_table = "cart_items"
        constraints = [
            models.UniqueConstraint(name="cart_item_one_per_product", fields=["cart", "product"]),
            models.CheckConstraint(
                name="cart_item_quantity_within_bounds",
                condition=Q(quantity__gte=1, quantity__lte=9_999),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} of {self.product_id} in cart {self.cart_id}"
