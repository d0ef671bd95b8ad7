"""What prices depend on besides the catalogue: promotions, taxes, ways to the customer."""

from __future__ import annotations

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import ArrayField, BigIntegerRangeField, RangeOperators
from django.db import models
from django.db.models import F, Func, Q, Value
from django.db.models.functions import Now

from inventory.models import Category, Product


class Coupon(models.Model):
    """A promotion: customers ask for it by its code, or it has none and applies by itself.

    `percent`: `value` per cent of the goods; `fixed`: `value` in major units of `currency`;
    `free_shipping`: the shipping costs nothing; `buy_x_get_y`: of so many units in a row the last
    `get_quantity` are `value` per cent cheaper. `tier` empty: for everybody. It covers what its
    `scopes` name, or everything if there are none.
    """

    class Kind(models.TextChoices):
        PERCENT = "percent"
        FIXED = "fixed"
        FREE_SHIPPING = "free_shipping"
        BUY_X_GET_Y = "buy_x_get_y"

    code = models.CharField(
        max_length=50,
        unique=True,
        null=True,
        blank=True,
        help_text="What customers type, in upper case; without one it applies by itself",
    )
    name = models.CharField(
        max_length=100, default="", db_default="", blank=True, help_text="What staff call it"
    )
    kind = models.CharField(max_length=20, choices=Kind)
    value = models.DecimalField(max_digits=12, decimal_places=2, default=0, db_default=0)
    currency = models.CharField(max_length=3, null=True, blank=True)
    buy_quantity = models.PositiveSmallIntegerField(null=True, blank=True)
    get_quantity = models.PositiveSmallIntegerField(null=True, blank=True)
    minimum_subtotal = models.DecimalField(max_digits=12, decimal_places=2, default=0, db_default=0)
    tier = models.CharField(max_length=30, default="", db_default="", blank=True)
    starts_at = models.DateTimeField(null=True, blank=True)
    ends_at = models.DateTimeField(null=True, blank=True)
    max_uses = models.PositiveIntegerField(null=True, blank=True)
    max_uses_per_customer = models.PositiveIntegerField(null=True, blank=True)
    times_used = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    is_active = models.BooleanField(default=True, db_default=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "coupons"
        permissions = [
            ("export_coupons", "Can export coupons"),
            ("import_coupons", "Can import coupons"),
        ]
        constraints = [
            models.CheckConstraint(
                name="coupon_code_is_upper_case", condition=Q(code__regex=r"^[A-Z0-9_-]+$")
            ),
            models.CheckConstraint(
                name="coupon_has_code_or_name",
                condition=Q(code__isnull=False) | ~Q(name=""),
                violation_error_message="Give it a code, or a name if it applies by itself.",
            ),
            models.CheckConstraint(
                name="coupon_kind_known",
                condition=Q(kind__in=["percent", "fixed", "free_shipping", "buy_x_get_y"]),
            ),
            models.CheckConstraint(
                name="coupon_value_fits_kind",
                condition=Q(kind__in=["percent", "buy_x_get_y"], value__gt=0, value__lte=100)
                | Q(kind="fixed", value__gt=0, currency__isnull=False)
                | Q(kind="free_shipping"),
                violation_error_message=(
                    "A percentage is above 0 and at most 100; an amount is above 0 and has a"
                    " currency."
                ),
            ),
            models.CheckConstraint(
                name="coupon_quantities_fit_kind",
                condition=Q(
                    kind="buy_x_get_y",
                    buy_quantity__isnull=False,
                    buy_quantity__gt=0,
                    get_quantity__isnull=False,
                    get_quantity__gt=0,
                )
                | ~Q(kind="buy_x_get_y") & Q(buy_quantity=None, get_quantity=None),
                violation_error_message="Buy how many, get how many: for “buy x get y” alone.",
            ),
            models.CheckConstraint(
                name="coupon_minimum_has_a_currency",
                condition=Q(minimum_subtotal=0) | Q(currency__isnull=False),
            ),
            models.CheckConstraint(
                name="coupon_tier_is_a_slug",
                condition=Q(tier__regex=r"^[a-z0-9_-]*$"),
                violation_error_message="Lower-case letters, digits, _ and - only.",
            ),
            models.CheckConstraint(
                name="coupon_used_within_limit",
                condition=Q(max_uses__isnull=True) | Q(times_used__lte=F("max_uses")),
            ),
        ]
        indexes = [
            models.Index(
                fields=["id"],
                name="idx_coupons_automatic",
                condition=Q(code__isnull=True, is_active=True),
            ),
        ]

    def __str__(self) -> str:
        return self.code or self.name


class CouponScope(models.Model):
    """What a promotion covers: a product, or all in a category and in those below it."""

    coupon = models.ForeignKey(  # its index is the first unique one
        Coupon, models.CASCADE, related_name="scopes", db_index=False
    )
    product = models.ForeignKey(Product, models.PROTECT, null=True, blank=True, related_name="+")
    category = models.ForeignKey(Category, models.PROTECT, null=True, blank=True, related_name="+")

    class Meta:
        db_table = "coupon_scopes"
        constraints = [
            models.UniqueConstraint(
                name="coupon_scope_names_a_product_once",
                fields=["coupon", "product"],
                violation_error_message="This product is named already.",
            ),
            models.UniqueConstraint(
                name="coupon_scope_names_a_category_once",
                fields=["coupon", "category"],
                violation_error_message="This category is named already.",
            ),
            models.CheckConstraint(
                name="coupon_scope_is_one_thing",
                condition=Q(product__isnull=False, category__isnull=True)
                | Q(product__isnull=True, category__isnull=False),
                violation_error_message="Either a product or a category.",
            ),
        ]

    def __str__(self) -> str:
        meant = f"product {self.product_id}" if self.product_id else f"category {self.category_id}"
        return f"{self.coupon_id}: {meant}"


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


class TaxDestination(models.Model):
    """How prices are meant in a country. Where there is no row, tax comes on top of them."""

    country = models.CharField(max_length=2, unique=True)
    prices_include_tax = models.BooleanField()

    class Meta:
        db_table = "tax_destinations"
        constraints = [
            models.CheckConstraint(
                name="tax_destination_is_a_country",
                condition=Q(country__regex=r"^[A-Z]{2}$"),
                violation_error_message="An ISO 3166 code in upper case, like DE.",
            ),
        ]

    def __str__(self) -> str:
        return self.country


class ShippingZone(models.Model):
    """A part of the world to which shipping costs the same.

    An empty list does not narrow it. A destination lies in one zone: of those that match the one
    with the longest postal prefix, else with regions, else with countries; then the first by id.
    """

    name = models.CharField(max_length=100, unique=True)
    countries = ArrayField(
        models.CharField(max_length=2), default=list, blank=True, help_text="US, CA"
    )
    regions = ArrayField(
        models.CharField(max_length=100),
        default=list,
        blank=True,
        help_text="States or provinces as addresses have them, in upper case: HI, AK",
    )
    postal_prefixes = ArrayField(
        models.CharField(max_length=20),
        default=list,
        blank=True,
        help_text="How postal codes begin, in upper case and without spaces: 967, 968",
    )

    class Meta:
        db_table = "shipping_zones"
        constraints = [
            models.CheckConstraint(
                name="shipping_zone_parts_of_one_country",
                condition=Q(regions__len=0, postal_prefixes__len=0) | Q(countries__len=1),
                violation_error_message="Regions and postal codes need their one country.",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class ShippingMethod(models.Model):
    """A way to the customer. Delivery takes business days, counted from the warehouse's dispatch.

    `countries` empty: everywhere. `free_from`: no charge for goods of this value or more. A method
    with rates costs what they say and is offered nowhere else; one without, `amount` for any
    weight.
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


def _range(lowest: str, highest: str) -> Func:
    """Both ends included; NULL is no end."""
    return Func(
        F(lowest),
        F(highest),
        Value("[]"),
        function="int8range",
        output_field=BigIntegerRangeField(),
    )


class ShippingRate(models.Model):
    """What a method costs in a zone for baskets of some weight, in the method's currency.

    Both weights are inclusive; without a highest one it carries anything.
    """

    method = models.ForeignKey(  # its index is the exclusion's
        ShippingMethod, models.CASCADE, related_name="rates", db_index=False
    )
    zone = models.ForeignKey(ShippingZone, models.PROTECT, related_name="rates")
    min_weight_grams = models.PositiveIntegerField(default=0, db_default=0)
    max_weight_grams = models.PositiveIntegerField(null=True, blank=True)
    amount = models.DecimalField(max_digits=12, decimal_places=2)
    free_from = models.DecimalField(max_digits=12, decimal_places=2, null=True, blank=True)

    class Meta:
        db_table = "shipping_rates"
        constraints = [
            models.CheckConstraint(
                name="shipping_rate_weights_in_order",
                condition=Q(max_weight_grams__isnull=True)
                | Q(min_weight_grams__lte=F("max_weight_grams")),
                violation_error_message="The highest weight is below the lowest.",
            ),
            models.CheckConstraint(
                name="shipping_rate_amount_not_negative",
                condition=Q(amount__gte=0),
                violation_error_message="An amount is not negative.",
            ),
            # Ranges of one id: equality without the extension btree_gist.
            ExclusionConstraint(
                name="shipping_rate_weights_do_not_overlap",
                expressions=[
                    (_range("method", "method"), RangeOperators.OVERLAPS),
                    (_range("zone", "zone"), RangeOperators.OVERLAPS),
                    (_range("min_weight_grams", "max_weight_grams"), RangeOperators.OVERLAPS),
                ],
                violation_error_message="Another rate of this method and zone has such weights.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.method_id} to {self.zone_id} from {self.min_weight_grams} g"
