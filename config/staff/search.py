"""The box that searches everything: pages by their name, rows by what people have in hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db.models import Q
from django.urls import reverse
from unfold.dataclasses import SearchResult

from config.staff import navigation
from customers.models import Customer
from inventory.models import Product
from orders import selectors
from orders.models import Coupon
from orders.search import search_orders

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.contrib.admin import AdminSite
    from django.db.models import Model
    from django.http import HttpRequest

MOST_OF_A_KIND: Final = 8
SHORTEST: Final = 2


def find(site: AdminSite, request: HttpRequest, text: str) -> list[SearchResult]:
    """What this person may open and what was typed stands for: rows first, then pages.

    Not kept: it names customers.
    """
    text = text.strip()
    if len(text) < SHORTEST:
        return []
    return [*_rows(request, text), *_pages(site, request, text)]


def _rows(request: HttpRequest, text: str) -> Iterator[SearchResult]:
    may_read = request.user.has_perm
    if may_read("orders.view_order"):
        orders = search_orders(text).select_related("customer").order_by("-created_at", "-pk")
        for order in orders[:MOST_OF_A_KIND]:
            told = f"{order.status}, {order.total_amount} {order.currency}"
            if may_read("customers.view_customer"):
                told = f"{told}, {selectors.address_of_buyer(order)}"
            yield _result(order, order.order_number, told, "shopping_bag")
    if may_read("customers.view_customer") and "@" in text:
        for customer in Customer.objects.filter(email=text.lower()):
            yield _result(customer, customer.email, f"customer, {customer.status}", "person")
    if may_read("inventory.view_product"):
        products = Product.objects.filter(Q(sku__startswith=text.upper()) | Q(name__icontains=text))
        for product in products.order_by("sku")[:MOST_OF_A_KIND]:
            yield _result(product, product.sku, product.name, "sell")
    if may_read("orders.view_coupon"):
        for coupon in Coupon.objects.filter(code__istartswith=text).order_by("code")[:3]:
            yield _result(coupon, str(coupon.code), "coupon", "percent")


def _pages(site: AdminSite, request: HttpRequest, text: str) -> Iterator[SearchResult]:
    for group in navigation.for_request(site, request):
        for item in group.items:
            if text.lower() in item.title.lower():
                yield SearchResult(
                    title=item.title, description="page", link=item.link, icon=item.icon
                )


def _result(row: Model, title: str, description: str, icon: str) -> SearchResult:
    opts = row._meta  # noqa: SLF001 - Django's own name
    link = reverse(f"admin:{opts.app_label}_{opts.model_name}_change", args=(row.pk,))
    return SearchResult(title=title, description=description, link=link, icon=icon)
