"""A link by which a customer pays for what staff has put together for them."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Func
from django.db.models.functions import Now


class PaymentLink(models.Model):
    """An order taken by telephone, to be placed and paid by the customer: it is none before that.

    `public_id` is random: whoever knows it sees what is in it, name and address among them, until
    it expires, is withdrawn or was used. It holds no stock and promises no price. What is wished
    for lies in a cart of its own; the living order with that `cart_id` is the one that was made of
    it, so a link is good for one. Like the cart it is forgotten when its time is long over, unless
    it became an order. `fingerprint` tells a form that is sent twice from another one.
    """

    public_id = models.UUIDField(
        unique=True,
        default=uuid.uuid4,
        db_default=Func(function="gen_random_uuid"),
        editable=False,
    )
    # The cart's public id. No foreign key: carts are forgotten, orders are not.
    cart_id = models.UUIDField(editable=False)
    customer = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="+"
    )
    email = models.CharField(max_length=254, blank=True)
    first_name = models.CharField(max_length=100, blank=True)
    last_name = models.CharField(max_length=100, blank=True)
    shipping_address = models.JSONField()
    shipping_method = models.CharField(max_length=30, default="", db_default="", blank=True)
    notes = models.CharField(max_length=2_000, default="", db_default="", blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, related_name="+", db_index=False
    )
    request_key = models.CharField(max_length=64)
    fingerprint = models.CharField(max_length=64, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField()
    withdrawn_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "payment_links"
        constraints = [
            models.UniqueConstraint(name="payment_link_one_per_cart", fields=["cart_id"]),
            models.UniqueConstraint(name="payment_link_once_per_request", fields=["request_key"]),
        ]
        indexes = [
            models.Index(fields=["email"], name="idx_payment_links_email"),
            models.Index(fields=["expires_at"], name="idx_payment_links_expires_at"),
        ]

    def __str__(self) -> str:
        return f"payment link {self.pk}"
