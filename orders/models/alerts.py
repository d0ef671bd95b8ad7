"""Who wants to hear that something can be ordered again."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from inventory.models import Product


class StockAlert(models.Model):
    """A customer's wish to be told, once, when a product is available; gone when it was told."""

    customer = models.ForeignKey(  # its index is the unique one
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="stock_alerts", db_index=False
    )
    product = models.ForeignKey(Product, models.CASCADE, related_name="+")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "stock_alerts"
        constraints = [
            models.UniqueConstraint(
                name="stock_alert_once_per_product", fields=["customer", "product"]
            ),
        ]

    def __str__(self) -> str:
        return f"alert {self.pk}"
