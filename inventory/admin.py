"""Staff keeps the catalogue; stock they only see: `adjust_stock` moves it, with a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin

from audit.admin import AuditedAdmin
from config.kernel.admin import (
    ADDRESSES_ARE_HTTPS,
    AmountsForm,
    ReadOnlyAdmin,
    ReadOnlyInline,
    TabularInline,
)
from inventory.models import (
    Category,
    Price,
    PriceBreak,
    Product,
    ProductImage,
    Reservation,
    StockLevel,
    StockMovement,
    Warehouse,
)

if TYPE_CHECKING:
    from django.http import HttpRequest


class NeverDeletedAdmin(AuditedAdmin):
    """For what orders and stock refer to: it is switched off instead."""

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - Django's hook
        return False


@admin.register(Category)
class CategoryAdmin(AuditedAdmin):
    list_display = ("slug", "name", "parent")
    list_select_related = ("parent",)
    search_fields = ("slug", "name")
    ordering = ("path",)
    autocomplete_fields = ("parent",)
    audited_values = ("slug", "name", "parent")


class PriceInline(TabularInline):
    model = Price
    form = AmountsForm
    extra = 0


class PriceBreakInline(TabularInline):
    model = PriceBreak
    form = AmountsForm
    extra = 0
    ordering = ("currency", "tier", "min_quantity")


class ProductImageInline(TabularInline):
    model = ProductImage
    extra = 0
    ordering = ("position",)
    formfield_overrides = ADDRESSES_ARE_HTTPS


class StockLevelInline(ReadOnlyInline):
    model = StockLevel
    fields = ("warehouse", "on_hand", "allocated", "low_stock_threshold")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("warehouse")


@admin.register(Product)
class ProductAdmin(NeverDeletedAdmin):
    list_display = ("sku", "name", "category", "tax_class", "is_active")
    list_filter = ("is_active",)
    list_select_related = ("category",)
    search_fields = ("sku__istartswith", "name")
    ordering = ("sku",)
    autocomplete_fields = ("category",)
    inlines = (PriceInline, PriceBreakInline, ProductImageInline, StockLevelInline)
    readonly_fields = ("created_at", "updated_at")
    audited_values = ("sku", "name", "category", "tax_class", "weight_grams", "is_active")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        # Orders, stock and the world outside know the product by it.
        return (*super().get_readonly_fields(request, obj), *(["sku"] if obj else []))


@admin.register(ProductImage)
class ProductImageAdmin(AuditedAdmin):
    list_display = ("product", "position", "url", "alt")
    list_select_related = ("product",)
    search_fields = ("product__sku__istartswith",)
    ordering = ("product__sku", "position", "pk")
    raw_id_fields = ("product",)
    audited_values = ("product", "position", "url")


@admin.register(Price)
class PriceAdmin(AuditedAdmin):
    form = AmountsForm
    list_display = ("product", "amount", "currency", "updated_at")
    list_select_related = ("product",)
    search_fields = ("product__sku__istartswith",)
    ordering = ("product__sku", "currency", "pk")
    raw_id_fields = ("product",)
    readonly_fields = ("updated_at",)
    audited_values = ("product", "amount", "currency")


@admin.register(PriceBreak)
class PriceBreakAdmin(AuditedAdmin):
    form = AmountsForm
    list_display = ("product", "currency", "tier", "min_quantity", "amount", "updated_at")
    list_filter = ("tier",)
    list_select_related = ("product",)
    search_fields = ("product__sku__istartswith",)
    ordering = ("product__sku", "currency", "tier", "min_quantity")
    raw_id_fields = ("product",)
    readonly_fields = ("updated_at",)
    audited_values = ("product", "currency", "tier", "min_quantity", "amount")


@admin.register(Warehouse)
class WarehouseAdmin(NeverDeletedAdmin):
    list_display = ("code", "name", "country", "time_zone", "cutoff_time", "priority", "is_active")
    search_fields = ("code", "name")
    ordering = ("priority", "code")
    audited_values = ("code", "country", "time_zone", "cutoff_time", "priority", "is_active")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return (*super().get_readonly_fields(request, obj), *(["code"] if obj else []))


@admin.register(StockLevel)
class StockLevelAdmin(ReadOnlyAdmin):
    list_display = ("product", "warehouse", "on_hand", "allocated", "available", "updated_at")
    list_select_related = ("product", "warehouse")
    search_fields = ("product__sku__istartswith", "warehouse__code__iexact")
    ordering = ("product__sku", "pk")

    @admin.display(description="available")
    def available(self, level: StockLevel) -> int:
        """What can still be promised."""
        return level.on_hand - level.allocated


@admin.register(StockMovement)
class StockMovementAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "sku", "kind", "quantity", "reason", "order", "user")
    list_filter = ("kind",)
    list_select_related = ("stock_level__product", "order", "user")
    search_fields = ("stock_level__product__sku__istartswith", "order__order_number__exact")
    ordering = ("-pk",)

    @admin.display(description="SKU")
    def sku(self, movement: StockMovement) -> str:
        """What moved."""
        return movement.stock_level.product.sku


@admin.register(Reservation)
class ReservationAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "order", "sku", "quantity", "status")
    list_filter = ("status",)
    list_select_related = ("stock_level__product", "order")
    search_fields = ("stock_level__product__sku__istartswith", "order__order_number__exact")
    ordering = ("-pk",)

    @admin.display(description="SKU")
    def sku(self, reservation: Reservation) -> str:
        """What is promised."""
        return reservation.stock_level.product.sku
