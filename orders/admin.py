"""Staff sees orders and sets promotions, tax and shipping. Orders move by services alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.urls import reverse
from django.utils import timezone

from audit import services as audit
from audit.admin import AuditedAdmin
from audit.staff_actions import ActionsAdmin, Button, StaffAction, saved
from config.kernel import request_context
from config.kernel.admin import AmountsForm, ReadOnlyAdmin, ReadOnlyInline, TabularInline
from customers.admin import CustomerAdmin
from customers.models import Customer
from orders import customer_page, order_page, phone_order, search, selectors
from orders.coupon_page import CouponEffectPage
from orders.customer_actions import ALL_CUSTOMER_ACTIONS
from orders.models import (
    BackgroundJob,
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
    RefundProposal,
    Return,
    ReturnItem,
    ReturnReceipt,
    Shipment,
    ShipmentItem,
    ShippingMethod,
    ShippingRate,
    ShippingZone,
    StockAlert,
    TaxDestination,
    TaxRate,
)
from orders.services import packing_slips, payment_links
from orders.staff_actions.of_orders import ORDER_ACTIONS, SHIPMENT_ACTIONS, slips_file
from orders.staff_actions.of_payment_links import LINK_ACTIONS
from orders.staff_actions.of_refunds import CASE_ACTIONS, PROPOSAL_ACTIONS
from orders.staff_actions.of_returns import RETURN_ACTIONS
from payments.models import ReconciliationCase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern


class CartItemInline(ReadOnlyInline):
    model = CartItem
    fields = ("product", "quantity", "unit_price")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).select_related("product")


@admin.register(Cart)
class CartAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "customer", "currency", "coupon_code", "changed_at", "expires_at")
    list_select_related = ("customer",)
    search_fields = ("customer__email__exact",)
    ordering = ("-pk",)
    exclude = ("public_id",)  # whoever knows it may use a guest's cart
    inlines = (CartItemInline,)


@admin.register(StockAlert)
class StockAlertAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "product", "customer")
    list_select_related = ("product", "customer")
    search_fields = ("product__sku__exact", "customer__email__exact")
    search_help_text = "A SKU or an e-mail address, in full"
    ordering = ("-pk",)


class PaymentStatusFilter(admin.ChoicesFieldListFilter):
    """As any; orders whose payment has not begun are pending, and of those an index knows."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Order]) -> Any:
        if Order.PaymentStatus.PENDING in (self.lookup_val or ()):
            queryset = queryset.filter(status=Order.Status.PENDING)
        return super().queryset(request, queryset)


class OrderAdmin(ActionsAdmin, ReadOnlyAdmin):
    """An order as orders know it; `integrations.admin` registers it, with what others add."""

    list_display = (
        "order_number",
        "buyer",
        "status",
        "payment_status",
        "total_amount",
        "currency",
        "created_at",
    )
    list_filter = ("status", ("payment_status", PaymentStatusFilter))
    linked_lookups = ("created_at__gte", "created_at__lt", "customer__id__exact")
    list_select_related = ("customer",)
    search_fields = ("order_number",)  # for the box; `orders.search` does it
    search_help_text = search.HINT
    ordering = ("-created_at", "-pk")
    staff_actions: ClassVar[Sequence[StaffAction]] = ORDER_ACTIONS
    change_form_outer_before_template = "staff/order.html"
    actions = ("print_packing_slips",)

    def has_pack_permission(self, request: HttpRequest) -> bool:
        """Whether this member of staff may print what is to be packed."""
        return request.user.has_perm("orders.ship_order")

    @admin.action(description="Print packing slips", permissions=["pack"])
    def print_packing_slips(
        self, request: HttpRequest, queryset: QuerySet[Order]
    ) -> HttpResponse | None:
        """One PDF for the selected orders that have something to pack."""
        ids = list(queryset.order_by("pk").values_list("pk", flat=True))
        if len(ids) > packing_slips.MOST_SLIPS:
            most = packing_slips.MOST_SLIPS
            self.message_user(request, f"At most {most} orders at a time.", messages.ERROR)
            return None
        slips = packing_slips.slips_of_orders(order_ids=ids)
        request_context.set_user(user_id=request.user.pk)
        printed = [slip.order.pk for slip in slips]
        audit.record("PACKING_SLIPS_PRINTED", data={"orders": printed})
        if not slips:
            self.message_user(
                request,
                "None of them has anything to pack: only what is paid and has not left.",
                messages.WARNING,
            )
            return None
        return saved(slips_file(slips))

    def get_list_display(self, request: HttpRequest) -> Any:
        shown = super().get_list_display(request)
        if request.user.has_perm("customers.view_customer"):
            return shown
        return [column for column in shown if column != "buyer"]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Order], search_term: str
    ) -> tuple[QuerySet[Order], bool]:
        """By whatever the person has in hand, never by reading the whole table."""
        if not search_term:
            return super().get_search_results(request, queryset, search_term)
        return queryset.filter(pk__in=search.search_orders(search_term).values("pk")), False

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The page where every question about an order is answered."""
        order = self.get_object(request, object_id)
        shown = order_page.shown(order, may=request.user.has_perm) if order else {}
        return super().change_view(request, object_id, form_url, {**shown, **(extra_context or {})})

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:  # noqa: ARG002 - Django's hook
        # Above is told, by right, who the customer is; the rest of the row is here.
        told = {"customer", "guest_email", "guest_first_name", "guest_last_name"}
        if not request.user.has_perm("payments.view_payment"):
            told.add("payment_intent_id")
        fields = [field.name for field in self.opts.fields if field.editable]
        shown = [name for name in fields if name not in told]
        return [("Everything on record", {"classes": ("collapse",), "fields": shown})]

    @admin.display(description="buyer")
    def buyer(self, order: Order) -> str:
        """Whose order it is."""
        return selectors.address_of_buyer(order)


@admin.register(Customer)
class CustomerPageAdmin(CustomerAdmin):
    """A customer with what they ordered. Here, since customers know nothing of orders."""

    staff_actions = ALL_CUSTOMER_ACTIONS
    change_form_outer_before_template = "staff/customer.html"

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The page where every question about a customer is answered."""
        customer = self.get_object(request, object_id)
        shown: dict[str, Any] = {}
        if customer is not None and self.has_view_permission(request, customer):
            may, now = request.user.has_perm, timezone.now()
            shown = customer_page.shown(customer, may=may, now=now)
        return super().change_view(request, object_id, form_url, {**shown, **(extra_context or {})})

    def links(self, request: HttpRequest, row: Any) -> list[Button]:
        may_place = request.user.has_perm(phone_order.PERMISSION)
        if not (may_place and row.status == Customer.Status.ACTIVE):
            return []
        url = f"{reverse('admin:orders_paymentlink_add')}?customer={row.pk}"
        return [
            Button(name="phone_order", label="Place a phone order", url=url, icon="phone_in_talk")
        ]


@admin.register(OrderItem)
class OrderItemAdmin(ReadOnlyAdmin):
    list_display = ("order", "product_sku", "product_name", "quantity", "total_price")
    list_select_related = ("order",)
    search_fields = ("order__order_number__exact", "product__sku__exact")
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
class CouponAdmin(ActionsAdmin, AuditedAdmin):
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

    def get_urls(self) -> list[URLPattern]:
        return [*CouponEffectPage(self).urls(), *super().get_urls()]

    def links(self, request: HttpRequest, row: Any) -> list[Button]:  # noqa: ARG002 - whoever sees the page
        return [CouponEffectPage(self).link(row)]

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
    audited_values = (
        *("code", "name", "currency", "amount", "free_from", "countries", "tax_class"),
        *("min_business_days", "max_business_days", "is_active"),
    )

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
class ShipmentAdmin(ActionsAdmin, ReadOnlyAdmin):
    staff_actions = SHIPMENT_ACTIONS
    list_display = (
        *("shipped_at", "order", "carrier", "tracking_number", "status", "delivered_at"),
    )
    list_filter = ("status",)
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
class ReturnAdmin(ActionsAdmin, ReadOnlyAdmin):
    list_display = ("created_at", "public_id", "order", "status", "decided_at", "received_at")
    list_filter = ("status",)
    list_select_related = ("order",)
    search_fields = ("order__order_number__exact", "public_id__exact")
    ordering = ("-pk",)
    inlines = (ReturnItemInline,)
    staff_actions = RETURN_ACTIONS


@admin.register(RefundProposal)
class RefundProposalAdmin(ActionsAdmin, ReadOnlyAdmin):
    list_display = (
        *("proposed_at", "order", "kind", "amount", "currency", "status"),
        *("proposed_by", "decided_by"),
    )
    list_filter = ("status", "kind")
    list_select_related = ("order", "proposed_by", "decided_by")
    search_fields = ("order__order_number__exact", "case__subject__exact")
    search_help_text = "An order number or a charge, in full"
    ordering = ("-pk",)
    exclude = ("request_key",)
    staff_actions = PROPOSAL_ACTIONS


@admin.register(ReconciliationCase)
class ReconciliationCaseAdmin(ActionsAdmin, ReadOnlyAdmin):
    """A difference with the provider. Here, since money goes back by the rules for two people."""

    list_display = (
        "first_seen_at",
        "last_seen_at",
        "classification",
        "order_number",
        "subject",
        "problem",
        "resolved_at",
    )
    list_select_related = ("payment__order",)
    list_filter = ("classification", ("resolved_at", admin.EmptyFieldListFilter))
    search_fields = ("subject__exact", "payment__order__order_number__exact")
    ordering = ("-pk",)
    staff_actions = CASE_ACTIONS

    @admin.display(description="order")
    def order_number(self, case: ReconciliationCase) -> str:
        """Which order it is about, if any."""
        return case.payment.order.order_number if case.payment else ""


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
class PaymentLinkAdmin(ActionsAdmin, ReadOnlyAdmin):
    list_display = ("created_at", "email", "created_by", "expires_at", "withdrawn_at")
    list_select_related = ("created_by",)
    search_fields = ("email__exact",)
    search_help_text = "An e-mail address, in full"
    ordering = ("-pk",)
    staff_actions = LINK_ACTIONS

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        # Whoever knows the link may order, and sees who it is for.
        secret = {"id", "public_id", "cart_id", "fingerprint", "request_key"}
        shown = [field.name for field in self.opts.fields if field.name not in secret]
        return (*self.get_readonly_fields(request, obj), *shown)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:  # noqa: ARG002 - Django's hook
        may_place = request.user.has_perm(phone_order.PERMISSION)
        return ("link", "state") if may_place else ("state",)

    @admin.display(description="link")
    def link(self, row: PaymentLink) -> str:
        """Where the customer pays."""
        return payment_links.page_of(row)

    @admin.display(description="state")
    def state(self, row: PaymentLink) -> str:
        """Whether it can still be used."""
        return payment_links.why_over(row) or "It waits for the customer; nothing is reserved."

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Whether this member of staff may take an order by telephone."""
        return request.user.has_perm(phone_order.PERMISSION)

    def add_view(
        self,
        request: HttpRequest,
        form_url: str = "",  # noqa: ARG002 - Django's hook
        extra_context: dict[str, Any] | None = None,  # noqa: ARG002 - likewise
    ) -> HttpResponse:
        """Take an order by telephone."""
        return phone_order.view(request, self)


@admin.register(CheckedInvariant)
class CheckedInvariantAdmin(ReadOnlyAdmin):
    list_display = ("name", "invariant", "violations", "examples", "checked_at", "seconds")
    search_fields = ("name", "invariant__exact")
    ordering = ("-violations", "pk")


@admin.register(BackgroundJob)
class BackgroundJobAdmin(ReadOnlyAdmin):
    """Everybody's; one's own, with their files, are under "My jobs"."""

    list_display = ("created_at", "kind", "subject", "status", "done", "total", "owner", "error")
    list_filter = ("status", "kind")
    list_select_related = ("owner",)
    search_fields = ("uuid", "owner__email__exact")
    ordering = ("-pk",)
    exclude = ("request_key", "result", "applies")
