"""What the catalogue says is available is what could be reserved."""

from __future__ import annotations

import pytest

from config.kernel.errors import NotFoundError
from inventory import selectors
from inventory.models import Price
from tests import factories

pytestmark = pytest.mark.django_db


class TestAvailableQuantity:
    def test_sums_open_buildings_and_leaves_closed_ones_out(self):
        product = factories.ProductFactory(on_hand=2)
        factories.receive(product, 3, warehouse=factories.WarehouseFactory(code="EAST"))
        closed = factories.WarehouseFactory(code="OLD", is_active=False)
        factories.receive(product, 50, warehouse=closed)

        shown = selectors.get_product(sku=product.sku, currency="USD")

        assert shown.available_quantity == 5
        assert selectors.get_available_by_sku(skus=[product.sku]) == {product.sku: 5}

    def test_leaves_out_what_is_promised(self):
        product = factories.ProductFactory(on_hand=5)
        product.stock_levels.update(allocated=4)

        assert selectors.get_available_by_sku(skus=[product.sku]) == {product.sku: 1}
        assert selectors.get_product(sku=product.sku, currency="USD").available_quantity == 1

    def test_of_a_product_that_lies_nowhere_is_nought(self):
        product = factories.ProductFactory(on_hand=0)
        product.stock_levels.all().delete()

        assert selectors.get_product(sku=product.sku, currency="USD").available_quantity == 0
        assert selectors.get_available_by_sku(skus=[product.sku]) == {}


class TestGetProduct:
    def test_shows_the_price_in_the_currency_asked_for(self):
        product = factories.ProductFactory(price="19.99")
        Price.objects.create(product=product, currency="EUR", amount="17.50")

        assert str(selectors.get_product(sku=product.sku, currency="EUR").price) == "17.50"
        with pytest.raises(NotFoundError):
            selectors.get_product(sku=product.sku, currency="JPY")

    def test_does_not_show_what_is_switched_off(self):
        product = factories.ProductFactory(is_active=False)

        with pytest.raises(NotFoundError):
            selectors.get_product(sku=product.sku, currency="USD")
