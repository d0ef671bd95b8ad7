"""The page that shows what a promotion would do, before it is in force; it changes nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import Http404
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone

from audit.staff_actions import Button, StaffForm, told
from config.kernel import money
from config.kernel.errors import DomainError
from orders.services import promotion_preview
from orders.services.quoting import Basket, BasketLine

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

    from orders.models import Coupon

MOST_LINES: Final = 20
_LINE: Final = re.compile(r"(\S+)(?:\s+[x×]?\s*([0-9]{1,4}))?")
_REFUSALS: Final = {
    "unknown": "Its amounts are of another currency.",
    "used_up": "It is used up.",
    "minimum_not_reached": "The basket does not reach its minimum, or has nothing it covers.",
    "not_for_customer": "It is for customers of another tier.",
}


class EffectForm(StaffForm):
    """Other terms than those that are saved, to try them; and a basket."""

    value = forms.DecimalField(max_digits=12, decimal_places=2, min_value=0)
    minimum_subtotal = forms.DecimalField(max_digits=12, decimal_places=2, min_value=0)
    max_uses = forms.IntegerField(min_value=0, max_value=2**31 - 1, required=False)
    max_uses_per_customer = forms.IntegerField(min_value=0, max_value=2**31 - 1, required=False)
    basket = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 3}),
        max_length=2_000,
        required=False,
        help_text="A SKU and how many in a line: APPLE 3",
    )
    currency = forms.ChoiceField(
        choices=[(code, code) for code in sorted(money.SUPPORTED_CURRENCIES)]
    )

    TERMS: Final = ("value", "minimum_subtotal", "max_uses", "max_uses_per_customer")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        del self.fields["request_key"]
        for name in self.TERMS:
            self.fields[name].initial = getattr(self.row, name)
        self.fields["currency"].initial = self.row.currency or settings.SHOP_CURRENCY

    def clean_basket(self) -> list[BasketLine]:
        """The lines that were typed, each SKU once."""
        typed = [line for line in self.cleaned_data["basket"].splitlines() if line.strip()]
        found = [_LINE.fullmatch(line.strip()) for line in typed]
        if not all(found) or len(found) > MOST_LINES:
            raise forms.ValidationError(
                f"At most {MOST_LINES} lines of a SKU and how many: APPLE 3"
            )
        lines = [
            BasketLine(sku=line[1].upper(), quantity=int(line[2] or 1)) for line in found if line
        ]
        if len({line.sku for line in lines}) != len(lines):
            raise forms.ValidationError("Each SKU once.")
        if not all(line.quantity for line in lines):
            raise forms.ValidationError("At least one of each.")
        return lines


class CouponEffectPage:
    """Beside the pages of coupons."""

    def __init__(self, page: ModelAdmin[Any]) -> None:
        self.page = page
        self.site = page.admin_site

    def urls(self) -> list[URLPattern]:
        """The route, to stand before those of the page."""
        view = self.site.admin_view(self.effect_view)
        return [path("<int:object_id>/effect/", view, name="orders_coupon_effect")]

    def link(self, coupon: Coupon) -> Button:
        """The way to it, among the buttons of a coupon's page."""
        return Button(
            name="effect",
            label="Preview its effect",
            url=reverse("admin:orders_coupon_effect", args=(coupon.pk,)),
            icon="query_stats",
        )

    def effect_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """What the coupon would have given, with its own terms or those that are tried."""
        coupon: Coupon | None = self.page.get_object(request, str(object_id))
        if coupon is None:
            raise Http404
        if not self.page.has_view_permission(request, coupon):
            raise PermissionDenied
        form = EffectForm(request.GET or None, row=coupon)
        context = {
            **self.site.each_context(request),
            "title": "What it would do",
            "subtitle": str(coupon),
            "opts": self.page.opts,
            "row": coupon,
            "form": form,
            "most": promotion_preview.ORDERS_LOOKED_AT,
            "coupon_url": reverse("admin:orders_coupon_change", args=(coupon.pk,)),
            **self._effects(coupon, form),
        }
        return TemplateResponse(request, "orders/staff/coupon_effect.html", context)

    def _effects(self, coupon: Coupon, form: EffectForm) -> dict[str, Any]:
        if form.is_bound and not form.is_valid():
            return {}
        if form.is_bound:
            for name in form.TERMS:
                setattr(coupon, name, form.cleaned_data[name])  # never saved
        products, categories = promotion_preview.scopes_of(coupon)
        try:
            past = promotion_preview.preview_on_past_orders(
                coupon=coupon, product_ids=products, category_ids=categories
            )
            effects: dict[str, Any] = {"past": past}
            if form.is_bound and form.cleaned_data["basket"]:
                effects["on_basket"] = promotion_preview.preview_on_basket(
                    coupon=coupon,
                    basket=_basket(form, coupon),
                    now=timezone.now(),
                    product_ids=products,
                    category_ids=categories,
                )
                effects["refusal"] = _REFUSALS.get(effects["on_basket"].refusal, "")
        except DomainError as exc:
            return {"problem": told(exc)}
        return effects


def _basket(form: EffectForm, coupon: Coupon) -> Basket:
    """To the shop's own country, of a customer for whom the promotion is."""
    return Basket(
        lines=form.cleaned_data["basket"],
        currency=form.cleaned_data["currency"],
        country=settings.SHOP_COUNTRY,
        region="",
        shipping_method=None,
        coupon_code=None,
        redeemed_by="",
        tier=coupon.tier,
    )
