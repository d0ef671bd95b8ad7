"""What is sold and where it lies.

`on_hand` is what lies in the building, `allocated` what is promised to orders not yet shipped;
`available` is their difference and never stored. Only `inventory.services` (for orders) and
`inventory.documents` (for staff) write stock.
"""

from __future__ import annotations

from typing import Any, Final

import pgtrigger
from django.conf import settings
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import (
    ArrayField,
    BigIntegerRangeField,
    DateTimeRangeField,
    IntegerRangeField,
    RangeOperators,
)
from django.contrib.postgres.indexes import GinIndex
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Case, F, Func, IntegerField, Max, Q, Value, When
from django.db.models.functions import Coalesce, Now, Ord, Substr
from django.db.models.lookups import Exact, LessThanOrEqual

from config.kernel.models import append_only, legal_statuses, touches_updated_at

WEB_ADDRESS: Final = r"^https?://[^\s/]\S*$"
DEEPEST_SHELF: Final = 5  # categories from the root down to the lowest, both counted


class Category(models.Model):
    """A shelf of the shop, on another one or at the root of the tree.

    `path` is the slugs from the root down to this one. The database keeps it, of all that lies
    below too, whoever writes: what is on a shelf and below it is one look into an index.
    """

    slug = models.SlugField(max_length=100, unique=True)
    name = models.CharField(max_length=200)
    parent = models.ForeignKey(
        "self", models.PROTECT, null=True, blank=True, related_name="children"
    )
    path = ArrayField(models.CharField(max_length=100), db_default=[], editable=False)

    class Meta:
        db_table = "categories"
        verbose_name_plural = "categories"
        constraints = [
            models.CheckConstraint(
                name="category_not_below_itself",
                condition=Exact(
                    Func(
                        F("path"),
                        F("slug"),
                        function="array_position",
                        output_field=IntegerField(),
                    ),
                    Func(F("path"), function="cardinality", output_field=IntegerField()),
                ),
            ),
            models.CheckConstraint(
                name="category_not_too_deep",
                condition=LessThanOrEqual(
                    Func(F("path"), function="cardinality", output_field=IntegerField()),
                    DEEPEST_SHELF,
                ),
            ),
        ]
        indexes = [GinIndex(fields=["path"], name="idx_categories_path")]
        triggers = [
            # Two that move shelves at once would each check the tree that the other changes.
            pgtrigger.Trigger(
                name="one_moves_at_a_time",
                level=pgtrigger.Statement,
                when=pgtrigger.Before,
                operation=pgtrigger.Insert | pgtrigger.UpdateOf("parent_id", "slug"),  # type: ignore[no-untyped-call]
                func="PERFORM pg_advisory_xact_lock(hashtext('categories')); RETURN NULL;",
            ),
            pgtrigger.Trigger(
                name="keeps_its_path",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert | pgtrigger.Update,
                func="""
                    NEW.path = array_append(
                        (SELECT above.path FROM categories above WHERE above.id = NEW.parent_id),
                        NEW.slug
                    );
                    RETURN NEW;
                """,
            ),
            pgtrigger.Trigger(
                name="takes_along_what_is_below",
                when=pgtrigger.After,
                operation=pgtrigger.Update,
                condition=pgtrigger.Condition("OLD.path IS DISTINCT FROM NEW.path"),
                func="""
                    UPDATE categories SET parent_id = parent_id WHERE parent_id = NEW.id;
                    RETURN NULL;
                """,
            ),
        ]

    def __str__(self) -> str:
        return self.slug

    def clean(self) -> None:
        """Tell staff kindly what the database would refuse."""
        if self.parent is None:
            return
        present = Category.objects.filter(pk=self.pk).first()
        if present is not None and present.slug in self.parent.path:
            raise ValidationError({"parent": "A category cannot lie below itself."})
        levels = 1  # with what lies below it, and comes along
        if present is not None:
            subtree = Category.objects.filter(path__contains=[present.slug])
            lowest = subtree.aggregate(depth=Max("path__len"))["depth"]
            levels += lowest - len(present.path)
        if len(self.parent.path) + levels > DEEPEST_SHELF:
            raise ValidationError({"parent": f"At most {DEEPEST_SHELF} levels."})


class Product(models.Model):
    """A sellable unit. Its `sku` is upper-case text and never changes."""

    sku = models.CharField(max_length=100, unique=True)
    name = models.CharField(max_length=255)
    description = models.TextField(default="", db_default="", blank=True)
    category = models.ForeignKey(Category, models.PROTECT, related_name="products")
    image_url = models.URLField(max_length=500, default="", db_default="", blank=True)
    image_alt = models.CharField(
        max_length=255,
        default="",
        db_default="",
        blank=True,
        help_text="What the picture shows; empty: it is shown with the product's name.",
    )
    attributes = models.JSONField(default=dict, blank=True)
    tax_class = models.CharField(max_length=30, default="standard", db_default="standard")
    weight_grams = models.PositiveIntegerField(null=True, blank=True)
    is_active = models.BooleanField(default=True, db_default=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "products"
        permissions = [
            ("export_products", "Can export products and categories"),
            ("import_products", "Can import products, categories and prices"),
        ]
        constraints = [
            models.CheckConstraint(
                name="product_sku_is_upper_case", condition=Q(sku__regex=r"^[A-Z0-9][A-Z0-9._-]*$")
            ),
            models.CheckConstraint(
                name="product_image_is_on_the_web",
                condition=Q(image_url="") | Q(image_url__regex=WEB_ADDRESS),
                violation_error_message="An address that begins with http:// or https://.",
            ),
        ]
        indexes = [
            models.Index(fields=["name", "id"], name="idx_products_name"),
            models.Index(fields=["-created_at", "-id"], name="idx_products_created_at"),
        ]
        triggers = [touches_updated_at()]

    def __str__(self) -> str:
        return self.sku


class ProductImage(models.Model):
    """A further picture of a product, after the one in its `image_url`, in the order of `position`.

    `alt` says what it shows to those who do not see it.
    """

    product = models.ForeignKey(  # its index is the unique one
        Product, models.CASCADE, related_name="more_images", db_index=False
    )
    position = models.PositiveSmallIntegerField()
    url = models.URLField(max_length=500)
    alt = models.CharField(max_length=255, default="", db_default="", blank=True)

    class Meta:
        db_table = "product_images"
        constraints = [
            models.UniqueConstraint(
                name="product_image_one_per_position",
                fields=["product", "position"],
                violation_error_message="There is a picture at that position already.",
            ),
            models.CheckConstraint(
                name="product_image_url_is_on_the_web",
                condition=Q(url__regex=WEB_ADDRESS),
                violation_error_message="An address that begins with http:// or https://.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.product_id} picture {self.position}"


class Price(models.Model):
    """What one unit costs in one currency (ISO 4217), in major units, before tax."""

    product = models.ForeignKey(Product, models.CASCADE, related_name="prices")
    currency = models.CharField(max_length=3)
    amount = models.DecimalField(max_digits=12, decimal_places=2)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "prices"
        constraints = [
            models.UniqueConstraint(
                name="price_one_per_product_and_currency", fields=["product", "currency"]
            ),
            models.CheckConstraint(name="price_not_negative", condition=Q(amount__gte=0)),
            models.CheckConstraint(
                name="price_currency_is_iso4217", condition=Q(currency__regex=r"^[A-Z]{3}$")
            ),
        ]
        indexes = [models.Index(fields=["currency", "amount", "id"], name="idx_prices_amount")]
        triggers = [touches_updated_at()]

    def __str__(self) -> str:
        return f"{self.product_id} {self.amount} {self.currency}"


class PriceBreak(models.Model):
    """What one unit costs from so many in a line on, or for customers of a tier; likewise.

    `tier` empty: for everybody. Of the price and all breaks that apply the lowest counts.
    """

    product = models.ForeignKey(  # its index is the unique one
        Product, models.CASCADE, related_name="price_breaks", db_index=False
    )
    currency = models.CharField(max_length=3)
    tier = models.CharField(max_length=30, default="", db_default="", blank=True)
    min_quantity = models.PositiveIntegerField(default=1, db_default=1)
    amount = models.DecimalField(max_digits=12, decimal_places=2)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "price_breaks"
        constraints = [
            models.UniqueConstraint(
                name="price_break_one_per_step",
                fields=["product", "currency", "tier", "min_quantity"],
                violation_error_message="There is such a price break already.",
            ),
            models.CheckConstraint(
                name="price_break_is_no_second_price",
                condition=Q(min_quantity__gt=1) | Q(min_quantity=1) & ~Q(tier=""),
                violation_error_message="One unit for everybody: that is the price itself.",
            ),
            models.CheckConstraint(
                name="price_break_not_negative",
                condition=Q(amount__gte=0),
                violation_error_message="A price is not negative.",
            ),
            models.CheckConstraint(
                name="price_break_currency_is_iso4217",
                condition=Q(currency__regex=r"^[A-Z]{3}$"),
                violation_error_message="An ISO 4217 code in upper case, like USD.",
            ),
            models.CheckConstraint(
                name="price_break_tier_is_a_slug",
                condition=Q(tier__regex=r"^[a-z0-9_-]*$"),
                violation_error_message="Lower-case letters, digits, _ and - only.",
            ),
        ]
        triggers = [touches_updated_at()]

    def __str__(self) -> str:
        return f"{self.product_id} {self.amount} {self.currency} from {self.min_quantity}"


def _is_same(value: Any, function: str, ranges: models.Field[Any, Any]) -> tuple[Func, str]:
    """For exclusions: ranges of one value, that is equality without the extension btree_gist."""
    just = Func(value, value, Value("[]"), function=function, output_field=ranges)
    return just, RangeOperators.OVERLAPS


def _letter(place: int) -> Ord:
    return Ord(Substr("currency", place, 1))


class ScheduledPrice(models.Model):
    """A price that begins at a moment to come, for good or until `ends_at`.

    For good: it waits, then it is done. For a while: it waits, runs, and when it is over the
    former price returns, `former_amount`; empty means that there was none. If somebody has changed
    the price meanwhile, it stays as it is: overridden. A while that passed with nobody there to
    begin it is missed. In major units of `currency`, as `Price`; only `inventory.scheduled_prices`
    writes these.
    """

    class Status(models.TextChoices):
        WAITING = "waiting"
        RUNNING = "running"
        DONE = "done"
        OVERRIDDEN = "overridden"
        MISSED = "missed"
        CANCELLED = "cancelled"

    product = models.ForeignKey(Product, models.CASCADE, related_name="scheduled_prices")
    currency = models.CharField(max_length=3)
    amount = models.DecimalField(max_digits=12, decimal_places=2)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True, blank=True)
    status = models.CharField(
        max_length=20, choices=Status, default=Status.WAITING, db_default=Status.WAITING
    )
    former_amount = models.DecimalField(max_digits=12, decimal_places=2, null=True, blank=True)
    applied_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "scheduled_prices"
        constraints = [
            models.CheckConstraint(name="scheduled_price_not_negative", condition=Q(amount__gte=0)),
            models.CheckConstraint(
                name="scheduled_price_currency_is_iso4217",
                condition=Q(currency__regex=r"^[A-Z]{3}$"),
            ),
            models.CheckConstraint(
                name="scheduled_price_ends_after_it_starts",
                condition=Q(ends_at__isnull=True) | Q(ends_at__gt=F("starts_at")),
            ),
            models.CheckConstraint(
                name="scheduled_price_status_fits_times",
                condition=Q(status="waiting", applied_at=None, ended_at=None)
                | Q(status="running", ended_at=None)
                & Q(applied_at__isnull=False, ends_at__isnull=False)
                | Q(status__in=["done", "overridden"])
                & Q(applied_at__isnull=False, ended_at__isnull=False)
                | Q(status__in=["missed", "cancelled"], applied_at=None, ended_at__isnull=False),
            ),
            # A change for good is a moment, not a period: another one may follow it.
            ExclusionConstraint(
                name="scheduled_price_one_at_a_time",
                expressions=[
                    _is_same(F("product"), "int8range", BigIntegerRangeField()),
                    _is_same(
                        _letter(1) * 65_536 + _letter(2) * 256 + _letter(3),
                        "int4range",
                        IntegerRangeField(),
                    ),
                    (
                        Func(
                            F("starts_at"),
                            Coalesce("ends_at", "starts_at"),
                            Case(When(ends_at__isnull=True, then=Value("[]")), default=Value("[)")),
                            function="tstzrange",
                            output_field=DateTimeRangeField(),
                        ),
                        RangeOperators.OVERLAPS,
                    ),
                ],
                condition=Q(status__in=["waiting", "running"]),
                violation_error_message=(
                    "Another price of this product and currency is planned for that time."
                ),
            ),
        ]
        indexes = [
            models.Index(
                fields=["starts_at", "id"],
                name="idx_scheduled_prices_open",
                condition=Q(status__in=["waiting", "running"]),
            ),
        ]
        triggers = legal_statuses(
            start=["waiting"],
            transitions={
                "waiting": ["running", "done", "missed", "cancelled"],
                "running": ["done", "overridden"],
            },
        )

    def __str__(self) -> str:
        product = self.product if ScheduledPrice.product.is_cached(self) else self.product_id
        return f"{product} {self.amount} {self.currency} from {self.starts_at:%Y-%m-%d}"


class Warehouse(models.Model):
    """A building. Orders placed after `cutoff_time` (its own time zone) leave a business day later.

    `priority`: the lowest number is asked for stock first.
    """

    code = models.CharField(max_length=20, unique=True)
    name = models.CharField(max_length=100)
    country = models.CharField(max_length=2)
    time_zone = models.CharField(max_length=50)
    cutoff_time = models.TimeField(default="14:00", db_default="14:00")
    holidays = models.JSONField(default=list, blank=True, help_text='["2026-12-25", …]')
    priority = models.PositiveSmallIntegerField(default=100, db_default=100)
    is_active = models.BooleanField(default=True, db_default=True)

    class Meta:
        db_table = "warehouses"

    def __str__(self) -> str:
        return self.code


class StockLevel(models.Model):
    """One product in one building; written in id order, and never without a movement.

    `available` at or below `low_stock_threshold` is low; without one it never is.
    """

    product = models.ForeignKey(Product, models.PROTECT, related_name="stock_levels")
    warehouse = models.ForeignKey(Warehouse, models.PROTECT, related_name="stock_levels")
    on_hand = models.IntegerField(default=0, db_default=0)
    allocated = models.IntegerField(default=0, db_default=0)
    low_stock_threshold = models.PositiveIntegerField(null=True, blank=True)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "stock_levels"
        constraints = [
            models.UniqueConstraint(
                name="stock_level_one_per_product_and_warehouse", fields=["product", "warehouse"]
            ),
            models.CheckConstraint(
                name="stock_level_promised_within_on_hand",
                condition=Q(allocated__gte=0) & Q(allocated__lte=F("on_hand")),
            ),
        ]
        triggers = [touches_updated_at()]
        permissions = [
            ("receive_stock", "Can receive stock"),
            ("adjust_stock", "Can adjust stock"),
            ("count_stock", "Can count stock"),
            ("transfer_stock", "Can transfer stock between warehouses"),
            ("set_low_stock_threshold", "Can say from how few units on stock is low"),
            ("export_stock", "Can export stock levels and movements"),
        ]

    def __str__(self) -> str:
        if StockLevel.product.is_cached(self) and StockLevel.warehouse.is_cached(self):
            return f"{self.product}@{self.warehouse}"
        return f"{self.product_id}@{self.warehouse_id}"


class StockDocument(models.Model):
    """One thing that staff did with stock, over one movement or many. Append-only.

    `request_key` names the wish: sent again, it is this document. `fingerprint` is what was wished.
    """

    class Kind(models.TextChoices):
        RECEIVE = "receive"
        ADJUST = "adjust"
        COUNT = "count"
        TRANSFER = "transfer"
        FILE = "file"

    kind = models.CharField(max_length=20, choices=Kind)
    reason = models.CharField(max_length=200)
    request_key = models.CharField(max_length=255, unique=True, null=True, blank=True)
    fingerprint = models.CharField(max_length=64)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "stock_documents"
        constraints = [
            models.CheckConstraint(
                name="stock_document_kind_known",
                condition=Q(kind__in=["receive", "adjust", "count", "transfer", "file"]),
            ),
            models.CheckConstraint(name="stock_document_has_a_reason", condition=~Q(reason="")),
        ]
        triggers = append_only()

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"


class StockMovement(models.Model):
    """Why `on_hand` changed, and by how much; `on_hand` is the sum of these. Append-only.

    Staff's belong to a `document`; orders' have none, and old ones of staff neither. A count that
    found what was expected is a movement of 0: somebody looked.
    """

    class Kind(models.TextChoices):
        RECEIVE = "receive"
        ADJUST = "adjust"
        COUNT = "count"
        TRANSFER = "transfer"
        SHIP = "ship"
        RETURN = "return"

    stock_level = models.ForeignKey(StockLevel, models.PROTECT, related_name="movements")
    document = models.ForeignKey(  # its index is the unique one
        StockDocument,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="movements",
        db_index=False,
    )
    kind = models.CharField(max_length=20, choices=Kind)
    quantity = models.IntegerField()
    reason = models.CharField(max_length=200, default="", db_default="", blank=True)
    order = models.ForeignKey(
        "orders.Order", models.PROTECT, null=True, blank=True, related_name="stock_movements"
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "stock_movements"
        constraints = [
            models.CheckConstraint(
                name="stock_movement_kind_known",
                condition=Q(kind__in=["receive", "adjust", "count", "transfer", "ship", "return"]),
            ),
            models.CheckConstraint(
                name="stock_movement_moves_something", condition=~Q(quantity=0) | Q(kind="count")
            ),
            models.CheckConstraint(
                name="stock_movement_document_fits_kind",
                condition=Q(document__isnull=False) & ~Q(kind__in=["ship", "return"])
                | Q(document__isnull=True) & ~Q(kind__in=["count", "transfer"]),
            ),
            models.UniqueConstraint(
                name="stock_movement_once_per_document",
                fields=["document", "stock_level"],
                condition=Q(document__isnull=False),
            ),
        ]
        triggers = [
            *append_only(),
            pgtrigger.Trigger(
                name="transfer_adds_up_to_zero",
                when=pgtrigger.After,
                operation=pgtrigger.Insert,
                timing=pgtrigger.Deferred,
                condition=pgtrigger.Q(new__kind="transfer"),
                func="""
                    IF (SELECT sum(quantity) FROM stock_movements
                            WHERE document_id = NEW.document_id AND kind = 'transfer') <> 0 THEN
                        RAISE EXCEPTION 'transfer % does not add up', NEW.document_id;
                    END IF;
                    RETURN NULL;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.quantity:+d} {self.stock_level_id}"


class Reservation(models.Model):
    """Units of a stock level promised to one order.

    Held while the order waits for its payment (until the order's `hold_expires_at`), committed
    once paid, then shipped or released. While a part of them has left, it stays committed and
    `shipped_quantity` counts them. The order is referenced by name: the database keeps the
    reference, the code of this app never looks up to it.
    """

    class Status(models.TextChoices):
        HELD = "held"
        COMMITTED = "committed"
        SHIPPED = "shipped"
        RELEASED = "released"

    order = models.ForeignKey(  # its index is the unique one
        "orders.Order", models.PROTECT, related_name="reservations", db_index=False
    )
    stock_level = models.ForeignKey(StockLevel, models.PROTECT, related_name="reservations")
    quantity = models.PositiveIntegerField()
    shipped_quantity = models.PositiveIntegerField(default=0, db_default=0)
    status = models.CharField(
        max_length=20, choices=Status, default=Status.HELD, db_default=Status.HELD
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "reservations"
        constraints = [
            models.UniqueConstraint(
                name="reservation_one_per_order_and_stock_level", fields=["order", "stock_level"]
            ),
            models.CheckConstraint(
                name="reservation_status_known",
                condition=Q(status__in=["held", "committed", "shipped", "released"]),
            ),
            models.CheckConstraint(name="reservation_of_something", condition=Q(quantity__gt=0)),
            models.CheckConstraint(
                name="reservation_ships_what_it_holds",
                condition=Q(shipped_quantity__lte=F("quantity")),
            ),
        ]
        indexes = [
            models.Index(
                fields=["stock_level"],
                name="idx_reservations_open",
                condition=Q(status__in=["held", "committed"]),
            ),
        ]
        triggers = [
            touches_updated_at(),
            *legal_statuses(
                start=["held"],
                transitions={
                    "held": ["committed", "released"],
                    "committed": ["shipped", "released"],
                },
            ),
        ]

    def __str__(self) -> str:
        return f"{self.status} {self.quantity} of {self.stock_level_id} for {self.order_id}"
