"""Staff sees orders and sets the terms: coupons, tax, shipping. Orders move by services alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin

from audit.admin import AuditedAdmin
from config.kernel.admin import ReadOnlyAdmin, ReadOnlyInline
from orders.models import (
    Coupon,
    CouponRedemption,
    IdempotencyKey,
    Order,
    OrderItem,
    OrderTransition,
    RefundLine,
    Shipment,
    ShipmentItem,
    ShippingMethod,
    TaxRate,
)
from payments.models import Payment

if TYPE_CHECKING:
    from django.http import HttpRequest


class OrderItemInline(ReadOnlyInline):
    model = OrderItem
    fields = (
        "product_sku",
        "product_name",
        "quantity",
        "unit_price",
        "discount_amount",
        "tax_amount",
        "total_price",
    )


class PaymentInline(ReadOnlyInline):
    model = Payment
    fields = ("created_at", "status", "amount", "amount_refunded", "currency", "failure_code")


class ShipmentInline(ReadOnlyInline):
    model = Shipment
    fields = ("shipped_at", "carrier", "tracking_number", "tracking_url")


class OrderTransitionInline(ReadOnlyInline):
    model = OrderTransition
    fields = ("version", "from_status", "to_status", "at")
    ordering = ("version",)


@admin.register(Order)
class OrderAdmin(ReadOnlyAdmin):
    list_display = (
        "order_number",
        "buyer",
        "status",
        "payment_status",
        "total_amount",
        "currency",
        "created_at",
    )
    list_filter = ("status", "payment_status")
    list_select_related = ("customer",)
    search_fields = ("order_number__exact", "customer__email__iexact", "guest_email__iexact")
    search_help_text = "An order number or an e-mail address, in full"
    ordering = ("-created_at", "-pk")
    inlines = (OrderItemInline, PaymentInline, ShipmentInline, OrderTransitionInline)

    @admin.display(description="buyer")
    def buyer(self, order: Order) -> str:
        """Whose order it is."""
        return order.customer.email if order.customer else (order.guest_email or "")


@admin.register(OrderItem)
class OrderItemAdmin(ReadOnlyAdmin):
    list_display = ("order", "product_sku", "product_name", "quantity", "total_price")
    list_select_related = ("order",)
    search_fields = ("order__order_number__exact", "product_sku__exact")
    ordering = ("-pk",)


@admin.register(OrderTransition)
class OrderTransitionAdmin(ReadOnlyAdmin):
    list_display = ("at", "order", "version", "from_status", "to_status")
    list_select_related = ("order",)
    search_fields = ("order__order_number__exact",)
    ordering = ("-pk",)


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "scope", "key", "response_status", "answered_at", "lease_until")
    search_fields = ("key__exact", "scope__exact")
    ordering = ("-pk",)
    # The remembered answer holds client secrets and guests' tokens.
    exclude = ("response_body",)


class CouponForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    def clean_max_uses(self) -> int | None:
        limit: int | None = self.cleaned_data["max_uses"]
        if limit is not None and limit < self.instance.times_used:
            raise forms.ValidationError(f"It has been used {self.instance.times_used} times.")
        return limit


@admin.register(Coupon)
class CouponAdmin(AuditedAdmin):
    form = CouponForm
    list_display = ("code", "kind", "value", "currency", "times_used", "max_uses", "is_active")
    list_filter = ("is_active", "kind")
    search_fields = ("code__istartswith",)
    ordering = ("code",)
    readonly_fields = ("times_used", "created_at")
    audited_values = (
        "code",
        "kind",
        "value",
        "currency",
        "minimum_subtotal",
        "starts_at",
        "ends_at",
        "max_uses",
        "max_uses_per_customer",
        "is_active",
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        # Orders remember the code.
        return (*super().get_readonly_fields(request, obj), *(["code"] if obj else []))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - Django's hook
        return False


@admin.register(CouponRedemption)
class CouponRedemptionAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "coupon", "order", "redeemed_by", "released_at")
    list_select_related = ("coupon", "order")
    search_fields = ("coupon__code__exact", "order__order_number__exact")
    ordering = ("-pk",)


@admin.register(TaxRate)
class TaxRateAdmin(AuditedAdmin):
    list_display = ("country", "region", "tax_class", "rate")
    search_fields = ("country__iexact", "region__iexact")
    ordering = ("country", "region", "tax_class")
    audited_values = ("country", "region", "tax_class", "rate")


@admin.register(ShippingMethod)
class ShippingMethodAdmin(AuditedAdmin):
    list_display = ("code", "name", "amount", "currency", "free_from", "is_active")
    list_filter = ("is_active",)
    search_fields = ("code", "name")
    ordering = ("code", "currency")
    audited_values = ("code", "currency", "amount", "free_from", "countries", "is_active")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        # Orders remember the code.
        return (*super().get_readonly_fields(request, obj), *(["code"] if obj else []))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - Django's hook
        return False


@admin.register(RefundLine)
class RefundLineAdmin(ReadOnlyAdmin):
    list_display = ("refund", "order_item", "quantity", "amount")
    list_select_related = ("refund", "order_item")
    search_fields = ("order_item__order__order_number__exact",)
    ordering = ("-pk",)


class ShipmentItemInline(ReadOnlyInline):
    model = ShipmentItem
    fields = ("order_item", "quantity")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("order_item")


@admin.register(Shipment)
class ShipmentAdmin(ReadOnlyAdmin):
    list_display = ("shipped_at", "order", "carrier", "tracking_number")
    list_select_related = ("order",)
    search_fields = ("order__order_number__exact", "tracking_number__exact")
    ordering = ("-pk",)
    inlines = (ShipmentItemInline,)


@admin.register(ShipmentItem)
class ShipmentItemAdmin(ReadOnlyAdmin):
    list_display = ("shipment", "order_item", "quantity")
    list_select_related = ("shipment", "order_item")
    ordering = ("-pk",)
