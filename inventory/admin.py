"""Staff keeps the catalogue by hand; stock and scheduled prices move by actions alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from django.contrib import admin
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html

from audit.admin import AuditedAdmin
from audit.staff_actions import ActionsAdmin
from config.kernel.admin import (
    ADDRESSES_ARE_HTTPS,
    AmountsForm,
    ReadOnlyAdmin,
    ReadOnlyInline,
    TabularInline,
)
from inventory import selectors
from inventory.models import (
    Category,
    Price,
    PriceBreak,
    Product,
    ProductImage,
    Reservation,
    ScheduledPrice,
    StockDocument,
    StockLevel,
    StockMovement,
    Warehouse,
)
from inventory.staff_actions import (
    Adjust,
    Count,
    Receive,
    ReceiveAt,
    SchedulePrice,
    SetLowStockThreshold,
    StopScheduledPrice,
    Transfer,
)
from inventory.staff_pages import StockFilePages

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest
    from django.urls import URLPattern

MOVEMENTS_SHOWN: Final = 50


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


class ScheduledPriceInline(ReadOnlyInline):
    model = ScheduledPrice
    fields = ("amount", "currency", "starts_at", "ends_at", "status", "former_amount")
    ordering = ("-starts_at", "-pk")


@admin.register(Product)
class ProductAdmin(ActionsAdmin, NeverDeletedAdmin):
    staff_actions = (ReceiveAt(), SchedulePrice())
    list_display = ("sku", "name", "category", "tax_class", "is_active")
    list_filter = ("is_active",)
    list_select_related = ("category",)
    search_fields = ("sku__istartswith", "name")
    ordering = ("sku",)
    autocomplete_fields = ("category",)
    inlines = (
        PriceInline,
        ScheduledPriceInline,
        PriceBreakInline,
        ProductImageInline,
        StockLevelInline,
    )
    readonly_fields = ("created_at", "updated_at")
    audited_values = (
        *("sku", "name", "description", "category", "tax_class", "weight_grams", "is_active"),
        *("image_url", "image_alt", "attributes"),
    )

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
    audited_values = ("product", "position", "url", "alt")


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
    audited_values = (
        *("code", "name", "country", "time_zone", "cutoff_time", "holidays"),
        *("priority", "is_active"),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return (*super().get_readonly_fields(request, obj), *(["code"] if obj else []))


class LowStockFilter(admin.SimpleListFilter):
    title = "low stock"
    parameter_name = "low"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:  # noqa: ARG002 - Django's hook
        return [("1", "Low")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[StockLevel]) -> Any:  # noqa: ARG002 - Django's hook
        return queryset.filter(selectors.is_low()) if self.value() == "1" else queryset


@admin.register(StockLevel)
class StockLevelAdmin(ActionsAdmin, ReadOnlyAdmin):
    staff_actions = (Receive(), Adjust(), Count(), Transfer(), SetLowStockThreshold())
    list_display = (
        *("product", "warehouse", "on_hand", "allocated", "available"),
        *("low_stock_threshold", "updated_at"),
    )
    list_filter = (LowStockFilter, "warehouse")
    search_fields = ("product__sku__istartswith", "warehouse__code__iexact")
    ordering = ("product__sku", "pk")
    fields = (
        *("product", "warehouse", "on_hand", "allocated", "available"),
        *("low_stock_threshold", "updated_at", "history"),
    )
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("product", "warehouse")

    def get_urls(self) -> list[URLPattern]:
        return [*StockFilePages(self).urls(), *super().get_urls()]

    @admin.display(description="available")
    def available(self, level: StockLevel) -> int:
        """What can still be promised."""
        return level.on_hand - level.allocated

    @admin.display(description="newest movements")
    def history(self, level: StockLevel) -> str:
        """Why as many are on hand as there are."""
        movements = reverse("admin:inventory_stockmovement_changelist")
        context = {
            "movements": selectors.list_movements(stock_level_id=level.pk, most=MOVEMENTS_SHOWN),
            "all_url": f"{movements}?{urlencode({'stock_level__id__exact': level.pk})}",
        }
        return render_to_string("inventory/staff/movements.html", context)


@admin.register(StockMovement)
class StockMovementAdmin(ReadOnlyAdmin):
    list_display = (
        *("created_at", "sku", "warehouse", "kind", "quantity", "reason"),
        *("document", "order", "user"),
    )
    list_filter = ("kind",)
    linked_lookups = ("document__id__exact", "stock_level__id__exact")
    list_select_related = (
        *("stock_level__product", "stock_level__warehouse"),
        *("document", "order", "user"),
    )
    search_fields = ("stock_level__product__sku__istartswith", "order__order_number__exact")
    ordering = ("-pk",)

    @admin.display(description="SKU")
    def sku(self, movement: StockMovement) -> str:
        """What moved."""
        return movement.stock_level.product.sku

    @admin.display(description="warehouse")
    def warehouse(self, movement: StockMovement) -> str:
        """Where."""
        return movement.stock_level.warehouse.code


@admin.register(StockDocument)
class StockDocumentAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "kind", "reason", "user")
    list_filter = ("kind",)
    list_select_related = ("user",)
    ordering = ("-pk",)
    fields = ("kind", "reason", "request_key", "user", "created_at", "movements")
    readonly_fields = fields

    @admin.display(description="what it moved")
    def movements(self, document: StockDocument) -> str:
        """The list of its movements: a file has thousands."""
        movements = reverse("admin:inventory_stockmovement_changelist")
        return format_html(
            '<a class="staff-link" href="{}?document__id__exact={}">{} movements</a>',
            movements,
            document.pk,
            document.movements.count(),
        )


@admin.register(ScheduledPrice)
class ScheduledPriceAdmin(ActionsAdmin, ReadOnlyAdmin):
    staff_actions = (StopScheduledPrice(),)
    list_display = ("product", "amount", "currency", "starts_at", "ends_at", "status", "created_by")
    list_filter = ("status",)
    search_fields = ("product__sku__istartswith",)
    ordering = ("-starts_at", "-pk")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("product", "created_by")


@admin.register(Reservation)
class ReservationAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "order", "sku", "quantity", "status")
    list_filter = ("status",)
    list_select_related = ("stock_level__product", "order")
    search_fields = ("order__order_number__exact",)  # a product's are on its stock's page
    ordering = ("-pk",)

    @admin.display(description="SKU")
    def sku(self, reservation: Reservation) -> str:
        """What is promised."""
        return reservation.stock_level.product.sku
