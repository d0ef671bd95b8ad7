"""Staff sees orders and sets promotions, tax and shipping. Orders move by services alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.db import InterfaceError, OperationalError
from unfold.forms import ActionForm

from audit import services as audit
from audit.admin import AuditedAdmin
from config.kernel import request_context
from config.kernel.admin import AmountsForm, ReadOnlyAdmin, ReadOnlyInline, TabularInline
from config.kernel.clock import Deadline
from config.kernel.db import CommitOutcomeUnknownError
from config.kernel.errors import DomainError, ValidationFailedError
from config.kernel.models import new_uuid
from orders.models import (
    Cart,
    CartItem,
    CheckedInvariant,
    Coupon,
    CouponRedemption,
    CouponScope,
    IdempotencyKey,
    Invoice,
    InvoiceSeries,
    Letter,
    Order,
    OrderItem,
    OrderNote,
    OrderTransition,
    PaymentLink,
    RefundLine,
    Return,
    ReturnItem,
    ReturnReceipt,
    Shipment,
    ShipmentItem,
    ShippingMethod,
    ShippingRate,
    ShippingZone,
    TaxDestination,
    TaxRate,
)
from orders.services import quarantine, recovery, returns, shipping
from orders.units import parse_shares, parse_units
from payments.models import Payment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.db.models import QuerySet
    from django.http import HttpRequest

MOST_AT_ONCE = 10  # each may take as long as the provider does
CALL_SECONDS = 12.0


class CartItemInline(ReadOnlyInline):
    model = CartItem
    fields = ("product", "quantity", "unit_price")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("product")


@admin.register(Cart)
class CartAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "customer", "currency", "coupon_code", "changed_at", "expires_at")
    list_select_related = ("customer",)
    search_fields = ("customer__email__iexact",)
    ordering = ("-pk",)
    exclude = ("public_id",)  # whoever knows it may use a guest's cart
    inlines = (CartItemInline,)


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
    fields = (
        "created_at",
        "status",
        "amount",
        "amount_refunded",
        "currency",
        "failure_code",
        "attempts",
        "next_attempt_at",
        "last_error",
        "payment_intent_id",
    )


class ShipmentInline(ReadOnlyInline):
    model = Shipment
    fields = ("shipped_at", "carrier", "tracking_number", "tracking_url")


class OrderTransitionInline(ReadOnlyInline):
    model = OrderTransition
    fields = ("version", "from_status", "to_status", "at")
    ordering = ("version",)


def _said(error: DomainError) -> str:
    """An error in a line; of what was typed, which part of it is wrong."""
    if not isinstance(error, ValidationFailedError):
        return error.message
    return f"{error.message} {json.dumps(error.details)}"


class ParcelForm(ActionForm):  # type: ignore[misc]  # unfold has no types
    """Beside the list of actions: what staff says of a parcel.

    Whoever sends the same page again means the same parcel.
    """

    carrier = forms.CharField(required=False, max_length=50)
    tracking_number = forms.CharField(required=False, max_length=100)
    units = forms.CharField(required=False, label="Units (SKU=2 …; empty: all that is left)")
    request_key = forms.CharField(
        required=False, label="", widget=forms.HiddenInput, initial=lambda: str(new_uuid())
    )


class ReturnForm(ActionForm):  # type: ignore[misc]  # likewise
    """Beside the list of actions: what staff says of a return."""

    arrived = forms.CharField(
        required=False, label="Arrived (SKU=3 SKU=2/1: two, one for sale; empty: all of it)"
    )
    words = forms.CharField(required=False, max_length=500, label="Words of a refusal")


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
    actions = ("settle_now", "end_quarantined", "ship_all", "note_delivery")
    action_form = ParcelForm

    def has_settle_permission(self, request: HttpRequest) -> bool:
        """Whether this member of staff may have the provider asked about an order."""
        return request.user.has_perm("orders.change_order")

    @admin.action(description="Settle now: ask the payment provider", permissions=["settle"])
    def settle_now(self, request: HttpRequest, queryset: QuerySet[Order]) -> None:
        """Ask about everything that is open about the selected orders, refunds included."""
        self._do(
            request,
            queryset,
            recovery.settle_now,
            event_type="SETTLEMENT_REQUESTED_BY_STAFF",
            done="settled",
            left="still open: the provider or the customer has not decided",
        )

    @admin.action(
        description="End a payment in quarantine: give the money back, cancel the order",
        permissions=["settle"],
    )
    def end_quarantined(self, request: HttpRequest, queryset: QuerySet[Order]) -> None:
        """The way out where the provider's story of a payment will never be ours."""
        self._do(
            request,
            queryset,
            quarantine.end_quarantined,
            event_type="END_OF_QUARANTINE_REQUESTED_BY_STAFF",
            done="ended",
            left="not ended: the provider does not answer, try again",
        )

    @admin.action(
        description="Ship in one parcel: the units, or all that is left", permissions=["settle"]
    )
    def ship_all(self, request: HttpRequest, queryset: QuerySet[Order]) -> None:
        """Send the selected orders out; what is said of the parcel stands beside the actions."""
        try:
            units = parse_units(request.POST.get("units", "").split())
        except ValueError as exc:
            self.message_user(request, f"Units: {exc}.", messages.ERROR)
            return
        parcel = shipping.Parcel(
            carrier=request.POST.get("carrier", ""),
            tracking_number=request.POST.get("tracking_number", ""),
            units=units or None,
            request_key=request.POST.get("request_key") or None,
        )

        def send(*, order_id: int, deadline: Deadline) -> bool:  # noqa: ARG001 - asks nobody
            shipping.ship_order(order_id=order_id, parcel=parcel, user_id=request.user.pk)
            return True

        self._do(
            request,
            queryset,
            send,
            event_type="SHIPMENT_REQUESTED_BY_STAFF",
            done="shipped",
            left="",
        )

    @admin.action(description="Note that it was delivered", permissions=["settle"])
    def note_delivery(self, request: HttpRequest, queryset: QuerySet[Order]) -> None:
        """The last parcel has arrived."""

        def note(*, order_id: int, deadline: Deadline) -> bool:  # noqa: ARG001 - asks nobody
            shipping.deliver_order(order_id=order_id)
            return True

        self._do(
            request,
            queryset,
            note,
            event_type="DELIVERY_NOTED_BY_STAFF",
            done="delivered",
            left="",
        )

    def _do(
        self,
        request: HttpRequest,
        queryset: QuerySet[Order],
        act: Callable[..., bool],
        *,
        event_type: str,
        done: str,
        left: str,
    ) -> None:
        """Act on each selected order by itself; each gets its audit row and its own message."""
        request_context.set_user(user_id=request.user.pk)
        orders = list(queryset.order_by("pk")[: MOST_AT_ONCE + 1])
        if len(orders) > MOST_AT_ONCE:
            self.message_user(request, f"At most {MOST_AT_ONCE} at once.", messages.ERROR)
            return
        for order in orders:
            audit.record(
                event_type,
                entity_type="order",
                entity_id=order.pk,
                data={"order_number": order.order_number},
            )
            try:
                is_done = act(order_id=order.pk, deadline=Deadline(CALL_SECONDS))
            except DomainError as exc:
                told, level = _said(exc), messages.ERROR
            except (CommitOutcomeUnknownError, OperationalError, InterfaceError):
                told, level = "the database went away; try again", messages.ERROR
            else:
                told, level = (done, messages.SUCCESS) if is_done else (left, messages.WARNING)
            self.message_user(request, f"{order.order_number}: {told}", level)

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


class CouponForm(AmountsForm):
    amounts: Sequence[str] = ("minimum_subtotal",)

    def clean(self) -> dict[str, Any]:
        if self.cleaned_data.get("kind") == Coupon.Kind.FIXED:
            self.amounts = ("value", "minimum_subtotal")  # else it is a percentage
        return super().clean()

    def clean_max_uses(self) -> int | None:
        limit: int | None = self.cleaned_data["max_uses"]
        if limit is not None and limit < self.instance.times_used:
            raise forms.ValidationError(f"It has been used {self.instance.times_used} times.")
        return limit


class CouponScopeInline(TabularInline):
    model = CouponScope
    extra = 0
    raw_id_fields = ("product",)
    verbose_name_plural = "what it covers (everything, if nothing is named)"


@admin.register(Coupon)
class CouponAdmin(AuditedAdmin):
    form = CouponForm
    list_display = (
        *("__str__", "code", "kind", "value", "currency"),
        *("times_used", "max_uses", "is_active"),
    )
    list_filter = ("is_active", "kind", ("code", admin.EmptyFieldListFilter))
    search_fields = ("code__istartswith", "name__icontains")
    ordering = ("code", "pk")
    inlines = (CouponScopeInline,)
    readonly_fields = ("times_used", "created_at")
    audited_values = (
        "code",
        "name",
        "kind",
        "value",
        "currency",
        "buy_quantity",
        "get_quantity",
        "minimum_subtotal",
        "tier",
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


@admin.register(CouponScope)
class CouponScopeAdmin(AuditedAdmin):
    list_display = ("coupon", "product", "category")
    list_select_related = ("coupon", "product", "category")
    search_fields = ("coupon__code__istartswith", "product__sku__istartswith")
    ordering = ("coupon_id", "pk")
    raw_id_fields = ("product",)
    audited_values = ("coupon", "product", "category")


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


@admin.register(TaxDestination)
class TaxDestinationAdmin(AuditedAdmin):
    list_display = ("country", "prices_include_tax")
    search_fields = ("country__iexact",)
    ordering = ("country",)
    audited_values = ("country", "prices_include_tax")


class ShippingZoneForm(forms.ModelForm):  # type: ignore[type-arg]  # likewise
    """Written as addresses are compared: upper case, postal codes without spaces."""

    def clean_countries(self) -> list[str]:
        return [country.upper() for country in self.cleaned_data["countries"]]

    def clean_regions(self) -> list[str]:
        return [region.upper() for region in self.cleaned_data["regions"]]

    def clean_postal_prefixes(self) -> list[str]:
        return [prefix.replace(" ", "").upper() for prefix in self.cleaned_data["postal_prefixes"]]


@admin.register(ShippingZone)
class ShippingZoneAdmin(AuditedAdmin):
    form = ShippingZoneForm
    list_display = ("name", "countries", "regions", "postal_prefixes")
    search_fields = ("name",)
    ordering = ("name",)
    audited_values = ("name", "countries", "regions", "postal_prefixes")


class ShippingRateForm(AmountsForm):
    amounts: Sequence[str] = ("amount", "free_from")

    def currency_of(self, cleaned: dict[str, Any]) -> str | None:
        method: ShippingMethod | None = cleaned.get("method")
        return method.currency if method else None


@admin.register(ShippingRate)
class ShippingRateAdmin(AuditedAdmin):
    form = ShippingRateForm
    list_display = (
        *("method", "zone", "min_weight_grams", "max_weight_grams"),
        *("amount", "free_from"),
    )
    list_filter = ("method", "zone")
    list_select_related = ("method", "zone")
    search_fields = ("method__code__istartswith", "zone__name")
    ordering = ("method__code", "method_id", "zone_id", "min_weight_grams")
    audited_values = (
        *("method", "zone", "min_weight_grams", "max_weight_grams"),
        *("amount", "free_from"),
    )


class ShippingMethodForm(AmountsForm):
    amounts: Sequence[str] = ("amount", "free_from")


@admin.register(ShippingMethod)
class ShippingMethodAdmin(AuditedAdmin):
    form = ShippingMethodForm
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


class ReturnItemInline(ReadOnlyInline):
    model = ReturnItem
    fields = ("order_item", "quantity")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("order_item")


@admin.register(Return)
class ReturnAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "public_id", "order", "status", "decided_at", "received_at")
    list_filter = ("status",)
    list_select_related = ("order",)
    search_fields = ("order__order_number__exact", "public_id__exact")
    ordering = ("-pk",)
    inlines = (ReturnItemInline,)
    actions = ("accept", "refuse", "receive_for_sale", "receive_as_scrap", "refund")
    action_form = ReturnForm

    def has_decide_permission(self, request: HttpRequest) -> bool:
        """Whether this member of staff may decide about returns."""
        return request.user.has_perm("orders.change_return")

    @admin.action(description="Accept", permissions=["decide"])
    def accept(self, request: HttpRequest, queryset: QuerySet[Return]) -> None:
        """The goods may be sent back."""
        self._do(request, queryset, returns.accept_return, user_id=request.user.pk)

    @admin.action(description="Refuse, with the words", permissions=["decide"])
    def refuse(self, request: HttpRequest, queryset: QuerySet[Return]) -> None:
        """The goods may not be sent back; why stands beside the actions."""
        self._do(
            request,
            queryset,
            returns.refuse_return,
            reason=request.POST.get("words", ""),
            user_id=request.user.pk,
        )

    @admin.action(description="Received as counted, or all fit for sale", permissions=["decide"])
    def receive_for_sale(self, request: HttpRequest, queryset: QuerySet[Return]) -> None:
        """What arrived stands beside the actions; without it, all did and goes on the shelf."""
        try:
            counted = parse_shares(request.POST.get("arrived", "").split(), part="/FOR_SALE")
        except ValueError as exc:
            self.message_user(request, f"Arrived: {exc}.", messages.ERROR)
            return
        arrived = {
            sku: returns.Arrived(quantity=quantity, restocked=restocked)
            for sku, (quantity, restocked) in counted.items()
        }
        self._do(
            request,
            queryset,
            returns.receive_return,
            arrived=arrived or None,
            user_id=request.user.pk,
        )

    @admin.action(description="Received, all of it scrap", permissions=["decide"])
    def receive_as_scrap(self, request: HttpRequest, queryset: QuerySet[Return]) -> None:
        """All of it arrived and nothing can be sold again."""
        self._do(request, queryset, returns.receive_as_scrap, user_id=request.user.pk)

    @admin.action(description="Refund what arrived", permissions=["decide"])
    def refund(self, request: HttpRequest, queryset: QuerySet[Return]) -> None:
        """Give the money for it back."""
        self._do(
            request,
            queryset,
            returns.refund_return,
            deadline=Deadline(CALL_SECONDS),
            user_id=request.user.pk,
        )

    def _do(
        self,
        request: HttpRequest,
        queryset: QuerySet[Return],
        act: Callable[..., Any],
        **arguments: Any,
    ) -> None:
        """Act on each selected return by itself; the services write the audit rows."""
        request_context.set_user(user_id=request.user.pk)
        chosen = list(queryset.order_by("pk")[: MOST_AT_ONCE + 1])
        if len(chosen) > MOST_AT_ONCE:
            self.message_user(request, f"At most {MOST_AT_ONCE} at once.", messages.ERROR)
            return
        for wish in chosen:
            told, level = "done", messages.SUCCESS
            try:
                if act(return_id=wish.pk, **arguments) is False:
                    told, level = "the money is not back yet; it is tried again", messages.WARNING
            except DomainError as exc:
                told, level = _said(exc), messages.ERROR
            except (CommitOutcomeUnknownError, OperationalError, InterfaceError):
                told, level = "the database went away; try again", messages.ERROR
            self.message_user(request, f"{wish.public_id}: {told}", level)


@admin.register(ReturnItem)
class ReturnItemAdmin(ReadOnlyAdmin):
    list_display = ("parent", "order_item", "quantity")
    list_select_related = ("parent", "order_item")
    ordering = ("-pk",)


@admin.register(ReturnReceipt)
class ReturnReceiptAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "item", "quantity", "restocked")
    list_select_related = ("item",)
    ordering = ("-pk",)


@admin.register(Invoice)
class InvoiceAdmin(ReadOnlyAdmin):
    list_display = ("issued_at", "document_number", "kind", "order", "total_amount", "currency")
    list_filter = ("kind",)
    list_select_related = ("order",)
    search_fields = ("order__order_number__exact",)
    ordering = ("-pk",)


@admin.register(InvoiceSeries)
class InvoiceSeriesAdmin(ReadOnlyAdmin):
    list_display = ("series", "last_number")
    ordering = ("series",)


@admin.register(Letter)
class LetterAdmin(ReadOnlyAdmin):
    list_display = ("sent_at", "order", "recipient", "subject", "fact")
    list_select_related = ("order",)
    search_fields = ("order__order_number__exact",)
    search_help_text = "An order number, in full"
    ordering = ("-pk",)
    # A guest's link opens the order: it is for the guest alone.
    fields = ("order", "fact", "recipient", "subject", "readable_text", "repeats", "sent_at")
    readonly_fields = fields


@admin.register(OrderNote)
class OrderNoteAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "order", "author", "text")
    list_select_related = ("order", "author")
    search_fields = ("order__order_number__exact",)
    search_help_text = "An order number, in full"
    ordering = ("-pk",)


@admin.register(PaymentLink)
class PaymentLinkAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "email", "created_by", "expires_at", "withdrawn_at")
    list_select_related = ("created_by",)
    search_fields = ("email__iexact",)
    search_help_text = "An e-mail address, in full"
    ordering = ("-pk",)
    exclude = ("public_id", "cart_id", "fingerprint")  # whoever knows them may order


@admin.register(CheckedInvariant)
class CheckedInvariantAdmin(ReadOnlyAdmin):
    list_display = ("name", "invariant", "violations", "examples", "checked_at", "seconds")
    search_fields = ("name", "invariant__exact")
    ordering = ("-violations", "pk")
