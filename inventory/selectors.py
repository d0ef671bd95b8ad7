"""Reads the catalogue and what is available of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import F, OuterRef, Q, QuerySet, Subquery, Sum, TextField
from django.db.models.functions import Cast, Coalesce, Greatest, JSONObject

from config.kernel.errors import NotFoundError
from inventory.models import Category, PriceBreak, Product, ProductImage, StockLevel, StockMovement
from inventory.search import MOST_FOUND, MOST_IN_ORDER, Search

if TYPE_CHECKING:
    from collections.abc import Iterable
    from decimal import Decimal

ORDERINGS = {
    "name": ("name", "id"),
    "-name": ("-name", "-id"),
    "price": ("price", "id"),
    "-price": ("-price", "-id"),
    "-created_at": ("-created_at", "-id"),
}
BY_RELEVANCE = ("-relevance", "-id")
_BY_PRICE = ("price", "-price")


def list_products(
    *,
    currency: str,
    search: str | None = None,
    category: str | None = None,
    min_price: Decimal | None = None,
    max_price: Decimal | None = None,
    in_stock: bool | None = None,
    ordering: str | None = None,
) -> QuerySet[Product, Product]:
    """Active products with a `price` in `currency`.

    With what is available of each (`available_quantity`) and its `further_images` in order.
    Unordered; the caller adds one of `ORDERINGS` or, of a search, `BY_RELEVANCE`.

    Args:
        category: a slug; what lies on the shelves below it is found too.
        min_price: inclusive, like `max_price`; major units.
        search: what somebody typed into a search box; products also get their `relevance`.
        ordering: the one of `ORDERINGS` that the caller adds, if any. A search that finds very
            much keeps those that are first in it, else the newest.
    """
    shelved = Product.objects.filter(is_active=True)
    if category:
        # By their numbers: what the planner knows of each decides between a walk and a look-up.
        shelves = Category.objects.filter(path__contains=[category]).values_list("pk", flat=True)
        shelved = shelved.filter(category__in=list(shelves))
    products = shelved.filter(prices__currency=currency).annotate(price=F("prices__amount"))
    if min_price is not None:
        products = products.filter(price__gte=min_price)
    if max_price is not None:
        products = products.filter(price__lte=max_price)
    if search:
        typed = Search(search)
        price_matters = ordering in _BY_PRICE or min_price is not None or max_price is not None
        among = products if price_matters else shelved  # a search by words alone reads no prices
        found = typed.matches(
            among=among.order_by(*ORDERINGS.get(ordering or "", ("-id",))),
            most=MOST_IN_ORDER if ordering else MOST_FOUND,
        )
        products = products.filter(found).annotate(relevance=typed.relevance)
    products = products.annotate(
        available_quantity=_available(), further_images=_further_images()
    ).select_related("category")
    if in_stock is not None:
        products = (
            products.filter(available_quantity__gt=0)
            if in_stock
            else products.filter(available_quantity__lte=0)
        )
    return products


def get_product(*, sku: str, currency: str) -> Product:
    """One active product, annotated as in `list_products`, and with its `quantity_prices`.

    These are the price breaks for everybody in that currency, by quantity. They are the same for
    whoever asks, like the price: what a tier of customers pays, a quote tells them.

    Raises:
        NotFoundError: no such product, or no price in that currency.
    """
    products = list_products(currency=currency).filter(sku=sku)
    product = products.annotate(quantity_prices=_quantity_prices(currency)).first()
    if product is None:
        raise NotFoundError
    return product


def list_categories() -> QuerySet[Category]:
    """All categories by name."""
    return Category.objects.order_by("name", "id")


def get_available_by_sku(*, skus: Iterable[str]) -> dict[str, int]:
    """What could be promised right now, over all open buildings."""
    rows: Any = (
        StockLevel.objects.filter(product__sku__in=list(skus), warehouse__is_active=True)
        .values_list("product__sku")
        .annotate(available=Sum(F("on_hand") - F("allocated")))
    )
    return dict(rows)


def is_low() -> Q:
    """Of stock levels: no more is available than staff has said to be low."""
    return Q(low_stock_threshold__gte=F("on_hand") - F("allocated"))


def list_movements(*, stock_level_id: int, most: int) -> list[StockMovement]:
    """The newest movements of a stock level, with who made them."""
    movements = StockMovement.objects.filter(stock_level_id=stock_level_id)
    return list(movements.select_related("user", "order", "document").order_by("-pk")[:most])


def _available() -> Greatest:
    levels = (
        StockLevel.objects.filter(product=OuterRef("pk"), warehouse__is_active=True)
        .order_by()
        .values("product")
        .annotate(available=Sum(F("on_hand") - F("allocated")))
        .values("available")
    )
    return Greatest(Coalesce(Subquery(levels), 0), 0)


def _further_images() -> ArraySubquery:
    images = ProductImage.objects.filter(product=OuterRef("pk")).order_by("position")
    return ArraySubquery(images.values(shown=JSONObject(url="url", alt="alt")))


def _quantity_prices(currency: str) -> ArraySubquery:
    breaks = PriceBreak.objects.filter(product=OuterRef("pk"), currency=currency, tier="")
    return ArraySubquery(
        breaks.order_by("min_quantity").values(
            # JSON knows no decimals, only what Python would read as floats.
            shown=JSONObject(min_quantity="min_quantity", amount=Cast("amount", TextField()))
        )
    )
