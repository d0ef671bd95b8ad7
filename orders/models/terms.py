"""What prices depend on besides the catalogue: coupons, taxes, ways to the customer."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now


class Coupon(models.Model):
    """A discount that customers ask for by its code.

    `percent`: `value` per cent of the goods; `fixed`: `value` in major units of `currency`;
    `free_shipping`: the shipping costs nothing.
    """

    class Kind(models.TextChoices):
        PERCENT = "percent"
        FIXED = "fixed"
        FREE_SHIPPING = "free_shipping"

    code = models.CharField(max_length=50, unique=True)
    kind = models.CharField(max_length=20, choices=Kind)
    value = models.DecimalField(max_digits=12, decimal_places=2, default=0, db_default=0)
    currency = models.CharField(max_length=3, null=True, blank=True)
    minimum_subtotal = models.DecimalField(max_digits=12, decimal_places=2, default=0, db_default=0)
    starts_at = models.DateTimeField(null=True, blank=True)
    ends_at = models.DateTimeField(null=True, blank=True)
    max_uses = models.PositiveIntegerField(null=True, blank=True)
    max_uses_per_customer = models.PositiveIntegerField(null=True, blank=True)
    times_used = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    is_active = models.BooleanField(default=True, db_default=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "coupons"
        constraints = [
            models.CheckConstraint(
                name="coupon_code_is_upper_case", condition=Q(code__regex=r"^[A-Z0-9_-]+$")
            ),
            models.CheckConstraint(
                name="coupon_kind_known",
                condition=Q(kind__in=["percent", "fixed", "free_shipping"]),
            ),
            models.CheckConstraint(
                name="coupon_value_fits_kind",
                condition=Q(kind="percent", value__gt=0, value__lte=100)
                | Q(kind="fixed", value__gt=0, currency__isnull=False)
                | Q(kind="free_shipping"),
            ),
            models.CheckConstraint(
                name="coupon_minimum_has_a_currency",
                condition=Q(minimum_subtotal=0) | Q(currency__isnull=False),
            ),
            models.CheckConstraint(
                name="coupon_used_within_limit",
                condition=Q(max_uses__isnull=True) | Q(times_used__lte=F("max_uses")),
            ),
        ]

    def __str__(self) -> str:
        return self.code


class TaxRate(models.Model):
    """Tax on one class of goods at a destination, as a fraction: 0.0825 is 8.25 %.

    `region` is the state or province where rates differ within a country, empty for the rest.
    """

    country = models.CharField(max_length=2)
    region = models.CharField(max_length=50, default="", db_default="", blank=True)
    tax_class = models.CharField(max_length=30, default="standard", db_default="standard")
    rate = models.DecimalField(max_digits=6, decimal_places=5)

    class Meta:
        db_table = "tax_rates"
        constraints = [
            models.UniqueConstraint(
                name="tax_rate_one_per_destination", fields=["country", "region", "tax_class"]
            ),
            models.CheckConstraint(
                name="tax_rate_is_a_fraction", condition=Q(rate__gte=0) & Q(rate__lt=1)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.country}{self.region and '-' + self.region} {self.tax_class}"


class ShippingMethod(models.Model):
    """A way to the customer. Delivery takes business days, counted from the warehouse's dispatch.

    `countries` empty: everywhere. `free_from`: no charge for goods of this value or more.
    """

    code = models.CharField(max_length=30)
    name = models.CharField(max_length=100)
    currency = models.CharField(max_length=3)
    amount = models.DecimalField(max_digits=12, decimal_places=2)
    free_from = models.DecimalField(max_digits=12, decimal_places=2, null=True, blank=True)
    countries = ArrayField(models.CharField(max_length=2), default=list, blank=True)
    tax_class = models.CharField(max_length=30, default="shipping", db_default="shipping")
    min_business_days = models.PositiveSmallIntegerField()
    max_business_days = models.PositiveSmallIntegerField()
    is_active = models.BooleanField(default=True, db_default=True)

    class Meta:
        db_table = "shipping_methods"
        constraints = [
            models.UniqueConstraint(
                name="shipping_method_one_per_currency", fields=["code", "currency"]
            ),
            models.CheckConstraint(
                name="shipping_method_amount_not_negative", condition=Q(amount__gte=0)
            ),
            models.CheckConstraint(
                name="shipping_method_days_in_order",
                condition=Q(min_business_days__lte=F("max_business_days")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.code} {self.currency}"
