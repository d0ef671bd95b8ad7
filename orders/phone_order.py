"""The page on which staff takes an order by telephone: typed, priced, then made into a link."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from audit.staff_actions import TRY_AGAIN, StaffForm, told
from config.kernel import request_context
from config.kernel.api.serializers import country_codes
from config.kernel.db import WENT_AWAY
from config.kernel.errors import DomainError, ValidationFailedError
from customers import selectors as customers
from customers.models import Customer
from orders.services.payment_links import (
    LONGEST_NOTES,
    MAX_QUANTITY,
    PhoneOrder,
    make_link,
    quote_phone_order,
)
from orders.services.placement import Guest
from orders.services.quoting import BasketLine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.http import HttpRequest, HttpResponse

PERMISSION: Final = "orders.place_order"
MAY_SEE_WHO: Final = "customers.view_customer"
MAY_SEE_WHERE: Final = "customers.view_address"
SPARE_LINES: Final = 5
MOST_LINES: Final = 100
ADDRESS: Final = (*("name", "line1", "line2", "city", "state", "postal_code", "country", "phone"),)
UNDER_THE_ADDRESS: Final = "shipping_address"


class PhoneOrderForm(StaffForm):
    """Typed in any order; a price is shown first, and the same page sent again makes the link."""

    email = forms.EmailField(
        max_length=254, label="E-mail", help_text="Of an account, or of a new guest"
    )
    first_name = forms.CharField(
        max_length=100, required=False, help_text="Of a guest; an account has its own"
    )
    last_name = forms.CharField(max_length=100, required=False)
    name = forms.CharField(max_length=100, label="Goes to")
    line1 = forms.CharField(max_length=200, label="Street and number")
    line2 = forms.CharField(max_length=200, required=False, label="Flat, floor, company")
    city = forms.CharField(max_length=100, required=False)
    state = forms.CharField(max_length=100, required=False, label="State or province")
    postal_code = forms.CharField(max_length=20, required=False)
    country = forms.ChoiceField(choices=[(code, code) for code in sorted(country_codes())])
    phone = forms.CharField(max_length=20, required=False, label="Telephone")
    coupon_code = forms.CharField(max_length=50, required=False, label="Coupon")
    shipping_method = forms.CharField(
        max_length=30, required=False, help_text="Its code, from the list of prices; else cheapest"
    )
    notes = forms.CharField(
        max_length=LONGEST_NOTES,
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        label="Note for the delivery",
        help_text="The customer reads it",
    )
    is_sent = forms.BooleanField(
        required=False, initial=True, label="Send the link to the customer by e-mail"
    )
    seen_total = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, country: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["country"].initial = country

    def sent_lines(self) -> list[tuple[str, str]]:
        """What was typed into the lines, as it was typed."""
        if not self.is_bound:
            return []
        sent: Any = self.data
        pairs = zip(sent.getlist("sku"), sent.getlist("quantity"), strict=False)
        typed = [(sku.strip().upper(), quantity.strip()) for sku, quantity in pairs]
        return [line for line in typed if any(line)][: MOST_LINES + 1]

    def shown_lines(self) -> list[tuple[str, str]]:
        """The same, and some empty ones."""
        return [*self.sent_lines(), *[("", "")] * SPARE_LINES]

    def clean(self) -> dict[str, Any]:
        lines = self.sent_lines()
        if not lines:
            raise forms.ValidationError("What is ordered? Say at least one line.")
        if not all(sku and _is_quantity(quantity) for sku, quantity in lines):
            raise forms.ValidationError(
                f"Each line has a SKU and a quantity from 1 to {MAX_QUANTITY:,}."
            )
        self.cleaned_data["lines"] = [
            BasketLine(sku=sku, quantity=int(quantity)) for sku, quantity in lines
        ]
        return self.cleaned_data

    def wish(self) -> PhoneOrder:
        """What was typed; an address with an account is that account's."""
        said = self.cleaned_data
        customer_id = customers.find_customer_id(email=said["email"])
        guest = Guest(
            email=said["email"], first_name=said["first_name"], last_name=said["last_name"]
        )
        return PhoneOrder(
            customer_id=customer_id,
            guest=None if customer_id else guest,
            lines=said["lines"],
            shipping_address={part: said[part] for part in ADDRESS if said[part]}
            | {"city": said["city"], "postal_code": said["postal_code"]},
            shipping_method=said["shipping_method"] or None,
            coupon_code=said["coupon_code"] or None,
            notes=said["notes"],
        )

    def tell(self, error: DomainError) -> None:
        """Put what a service refuses beside the fields that it names, else above all of them."""
        details = error.details if isinstance(error, ValidationFailedError) else None
        named = dict(self._named(details or {}))
        for name, problems in named.items():
            self.add_error(name, problems)
        if not named:
            self.add_error(None, told(error))

    def _named(self, details: Any) -> Iterator[tuple[str, list[str]]]:
        parts = {**details, **details.get(UNDER_THE_ADDRESS, {})}
        for name, problems in parts.items():
            if name in self.fields:
                yield name, [str(one) for one in problems]


def _is_quantity(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_QUANTITY  # noqa: PLR2004 - its digits


def view(request: HttpRequest, page: Any) -> HttpResponse:
    """The form by GET; by POST the price, and once that was seen, the link.

    Args:
        page: the `ModelAdmin` of payment links, on which it stands.
    """
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    form = PhoneOrderForm(
        request.POST if request.method == "POST" else None,
        initial=_known(request),
        country=settings.SHOP_COUNTRY,
    )
    quote: dict[str, Any] | None = None
    if form.is_valid():
        try:
            wish = form.wish()
            quote = quote_phone_order(wish=wish, now=timezone.now())
            if form.cleaned_data["seen_total"] == quote["total_amount"]:
                return _make(request, page, form, wish)
            form.carry("seen_total", quote["total_amount"])
        except DomainError as exc:
            form.tell(exc)
        except WENT_AWAY:
            form.add_error(None, TRY_AGAIN)
    context = {
        **page.admin_site.each_context(request),
        "title": "Phone order",
        "opts": page.opts,
        "form": form,
        "quote": quote,
        "media": page.media + form.media,
        "back_url": reverse("admin:orders_paymentlink_changelist"),
    }
    return TemplateResponse(request, "staff/phone_order.html", context)


def _known(request: HttpRequest) -> dict[str, Any]:
    """Of the customer from whose page one comes: who it is, and their newest address."""
    number = request.GET.get("customer", "")
    if not (number.isascii() and number.isdigit() and request.user.has_perm(MAY_SEE_WHO)):
        return {}
    customer = Customer.objects.filter(pk=number, is_active=True).first()
    if customer is None:
        return {}
    known = {"email": customer.email}
    if request.user.has_perm(MAY_SEE_WHERE):
        newest = customers.list_addresses(customer_id=customer.pk).first()
        known |= {part: getattr(newest, part) for part in ADDRESS} if newest else {}
    return known


def _make(request: HttpRequest, page: Any, form: PhoneOrderForm, wish: PhoneOrder) -> HttpResponse:
    user_id = request.user.pk
    assert user_id is not None  # noqa: S101 - the site lets nobody else in
    request_context.set_user(user_id=user_id)
    link = make_link(
        wish=wish,
        request_key=str(form.cleaned_data["request_key"]),
        user_id=user_id,
        is_sent=form.cleaned_data["is_sent"],
        now=timezone.now(),
    )
    sent = " It is on its way to the customer." if form.cleaned_data["is_sent"] else ""
    page.message_user(
        request, f"The link is made.{sent} Nothing is reserved before it is paid.", messages.SUCCESS
    )
    return HttpResponseRedirect(reverse("admin:orders_paymentlink_change", args=(link.pk,)))
