"""The catalogue's shapes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from config.kernel import money
from config.kernel.api.serializers import (
    CurrencyField,
    MoneyField,
    QueryBooleanField,
    QuerySerializer,
    StrictCharField,
    StrictChoiceField,
)
from inventory.selectors import ORDERINGS


class ProductQuerySerializer(QuerySerializer):
    """Filters and order of the product list."""

    search = StrictCharField(
        max_length=100,
        required=False,
        help_text="words, the last one perhaps unfinished, or a SKU; typing errors are forgiven",
    )
    category = StrictCharField(
        max_length=100, required=False, help_text="its `slug`; those below it included"
    )
    min_price = MoneyField(required=False, help_text="inclusive")
    max_price = MoneyField(required=False, help_text="inclusive")
    in_stock = QueryBooleanField(required=False)
    currency = CurrencyField(required=False)
    ordering = StrictChoiceField(
        choices=list(ORDERINGS),
        required=False,
        help_text="without it: by name; a search by relevance, best first",
    )


class ProductDetailQuerySerializer(QuerySerializer):
    """In which currency to show the price."""

    currency = CurrencyField(required=False)


class ImageSerializer(serializers.Serializer[Any]):
    """A picture."""

    url = serializers.URLField()
    alt = serializers.CharField(help_text="what it shows, for those who do not see it")


class ProductSerializer(serializers.Serializer[Any]):
    """A product with its price and what is available of it."""

    sku = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField()
    category = serializers.CharField(source="category.slug")
    price = serializers.SerializerMethodField()
    currency = serializers.SerializerMethodField()
    image_url = serializers.CharField(help_text="the first of `images`, or empty")
    images = serializers.SerializerMethodField()
    in_stock = serializers.SerializerMethodField()
    available_quantity = serializers.IntegerField()
    attributes = serializers.DictField()

    def get_price(self, product: Any) -> str:
        """Plain decimal string in major units."""
        return money.format_amount(product.price, self.get_currency(product))

    def get_currency(self, _product: Any) -> str:
        """ISO 4217."""
        return str(self.context.get("currency", settings.SHOP_CURRENCY))

    @extend_schema_field(ImageSerializer(many=True))
    def get_images(self, product: Any) -> list[dict[str, str]]:
        """The main picture and the further ones, in order."""
        if not product.image_url:
            return [*product.further_images]
        first = {"url": product.image_url, "alt": product.image_alt or product.name}
        return [first, *product.further_images]

    def get_in_stock(self, product: Any) -> bool:
        """Whether at least one can be ordered now."""
        return bool(product.available_quantity > 0)


class PriceBreakSerializer(serializers.Serializer[Any]):
    """What one unit costs from so many in a line on."""

    min_quantity = serializers.IntegerField()
    unit_price = MoneyField()


class ProductDetailSerializer(ProductSerializer):
    """A product with all that its own page shows."""

    price_breaks = serializers.SerializerMethodField(
        help_text="by quantity, each lower than what stands before it; for everybody, without "
        "those of a customer tier"
    )

    @extend_schema_field(PriceBreakSerializer(many=True))
    def get_price_breaks(self, product: Any) -> list[dict[str, Any]]:
        """Those that lower the price: of all that apply to a line, the lowest counts."""
        currency = self.get_currency(product)
        lowest, shown = product.price, []
        for step in product.quantity_prices:
            amount = Decimal(step["amount"])
            if amount < lowest:
                unit_price = money.format_amount(amount, currency)
                shown.append({"min_quantity": step["min_quantity"], "unit_price": unit_price})
                lowest = amount
        return shown


class CategorySerializer(serializers.Serializer[Any]):
    """A shelf of the shop, and where in the tree it is."""

    slug = serializers.CharField()
    name = serializers.CharField()
    parent = serializers.SerializerMethodField(  # type: ignore[assignment]  # becomes no attribute
        help_text="`slug` of the one above; null at the root"
    )
    path = serializers.ListField(
        child=serializers.CharField(), help_text="slugs from the root down to this one"
    )

    def get_parent(self, category: Any) -> str | None:
        """The last but one of the path."""
        return category.path[-2] if len(category.path) > 1 else None
