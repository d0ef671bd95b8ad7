"""Rows with sensible defaults; make the fact under test visible in the test itself."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import factory
from django.db import transaction

from customers.models import Customer
from inventory import services as stock
from inventory.models import Category, Price, Product, StockLevel, Warehouse
from orders.models import Coupon, CouponScope, ShippingMethod, TaxRate

PASSWORD = "correct-horse-battery"


class CustomerFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Customer

    email = factory.Sequence(lambda n: f"shopper{n}@example.com")
    first_name = "Ada"
    last_name = "Lovelace"
    password = factory.django.Password(PASSWORD)


class CategoryFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Category
        django_get_or_create = ("slug",)

    slug = "grocery"
    name = "Grocery"


class WarehouseFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = Warehouse
        django_get_or_create = ("code",)

    code = "MAIN"
    name = "Main warehouse"
    country = "US"
    time_zone = "America/New_York"


class ProductFactory(factory.django.DjangoModelFactory):
    """A product with a price in USD and, with `on_hand=…`, units in warehouse MAIN."""

    class Meta:
        model = Product
        skip_postgeneration_save = True

    sku = factory.Sequence(lambda n: f"SKU-{n}")
    name = factory.LazyAttribute(lambda product: f"Product {product.sku}")
    category = factory.SubFactory(CategoryFactory)

    @factory.post_generation
    def price(self, create: bool, amount: Any, **_: Any) -> None:
        Price.objects.create(product=self, currency="USD", amount=Decimal(amount or "19.99"))

    @factory.post_generation
    def on_hand(self, create: bool, quantity: Any, **_: Any) -> None:
        with transaction.atomic():
            receive(self, 100 if quantity is None else quantity)


class TaxRateFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = TaxRate

    country = "US"
    region = "NY"
    rate = Decimal("0.08875")


class ShippingMethodFactory(factory.django.DjangoModelFactory):
    class Meta:
        model = ShippingMethod
        django_get_or_create = ("code", "currency")

    code = "standard"
    name = "Standard"
    currency = "USD"
    amount = Decimal("4.99")
    min_business_days = 3
    max_business_days = 5


class CouponFactory(factory.django.DjangoModelFactory):
    """A coupon, or with `code=None, name=…` an automatic promotion; `scoped_to` one product."""

    class Meta:
        model = Coupon

        skip_postgeneration_save = True

    code = factory.Sequence(lambda n: f"SAVE{n}")
    kind = Coupon.Kind.PERCENT
    value = Decimal(10)

    @factory.post_generation
    def scoped_to(self, create: bool, product: Any, **_: Any) -> None:
        if product:
            CouponScope.objects.create(coupon=self, product=product)


def receive(product: Product, quantity: int, *, warehouse: Warehouse | None = None) -> StockLevel:
    """Units come in; a level with nothing on hand is made all the same."""
    place = warehouse or WarehouseFactory()
    if quantity:
        receipt = stock.Receipt(product_id=product.pk, warehouse_id=place.pk, quantity=quantity)
        stock.receive(receipts=[receipt], reason="test")
    level, _ = StockLevel.objects.get_or_create(product=product, warehouse=place)
    return level


def open_shop() -> None:
    """A warehouse, a way to ship and a tax rate: what every order needs besides products."""
    WarehouseFactory()
    ShippingMethodFactory()
    TaxRateFactory()
