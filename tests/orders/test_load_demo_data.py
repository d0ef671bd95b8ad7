"""`load_demo_data`: what the contract promises of the demo, and that it never undoes anything."""

from __future__ import annotations

import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from io import StringIO
from itertools import islice
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import F, Sum
from django.utils import timezone

from customers.models import Customer
from inventory import selectors as catalogue
from inventory import services as stock
from inventory.models import Category, Price, PriceBreak, Product, StockLevel, Warehouse
from orders.demo_data import files
from orders.models import Coupon, ShippingMethod, TaxRate

pytestmark = pytest.mark.django_db


def load() -> dict[str, Any]:
    output = StringIO()
    call_command("load_demo_data", "--json", stdout=output)
    counts: dict[str, Any] = json.loads(output.getvalue())
    return counts


@pytest.fixture
def small_catalogue(monkeypatch):
    """Twenty products tell as much as two thousand, sooner."""
    every = files.read_catalogue
    monkeypatch.setattr(files, "read_catalogue", lambda: islice(every(), 20))


class TestFirstLoad:
    def test_fills_the_shop_as_the_contract_says(self, settings):
        created = load()

        assert created == {
            "warehouses": 1,
            "shipping_methods": 8,
            "tax_rates": TaxRate.objects.count(),
            "coupons": 3,
            "staff": 1,
            "categories": 34,
            "products": 2_003,
            "prices": 2_006,
            "price_breaks": 2 * 298,
            "stock_levels": 2_002,
        }
        assert Product.objects.count() == 2_003
        assert Category.objects.count() == 34
        assert Price.objects.filter(currency="USD", amount__gt=0).count() == 2_003
        assert ShippingMethod.objects.filter(currency="USD").count() == 2
        main = Warehouse.objects.get()
        assert (main.code, main.time_zone) == ("MAIN", settings.SHOP_TIME_ZONE)

    @pytest.mark.usefixtures("small_catalogue")
    def test_has_the_products_made_for_trying_things_out(self):
        load()

        assert available("DEMO-LAST-ONE") == 1
        assert available("DEMO-SOLD-OUT") == 0
        assert available("DEMO-PLENTY") == 1_000_000
        assert product("DEMO-PLENTY").price == Decimal("19.99")

    def test_has_price_breaks_for_what_people_stock_up_on(self):
        load()

        in_all = PriceBreak.objects.select_related("product__category")
        assert {each.product.category.slug for each in in_all} == {"canned-food", "soft-drinks"}
        for each in in_all.select_related("product"):
            price = each.product.prices.get().amount
            assert price * Decimal("0.85") < each.amount <= price

    @pytest.mark.usefixtures("small_catalogue")
    def test_prices_what_is_for_trying_things_out_without_promotions(self):
        load()

        assert not PriceBreak.objects.filter(product__sku__startswith="DEMO-").exists()
        assert not Coupon.objects.filter(code=None).exists()

    def test_puts_every_shelf_in_a_department(self):
        load()

        departments = Category.objects.filter(parent=None).exclude(slug="demo")
        assert departments.count() == 7
        shelves = Category.objects.exclude(parent=None)
        assert {len(shelf.path) for shelf in shelves} == {2}
        assert set(Category.objects.filter(products__sku__startswith="CJ-")) == set(shelves)

    @pytest.mark.usefixtures("small_catalogue")
    def test_has_the_coupons(self):
        load()

        by_code = {coupon.code: coupon for coupon in Coupon.objects.all()}
        assert set(by_code) == {"WELCOME10", "ONCE", "EXPIRED"}
        assert {(coupon.kind, coupon.value) for coupon in by_code.values()} == {
            ("percent", Decimal(10))
        }
        assert by_code["WELCOME10"].max_uses is None
        assert by_code["ONCE"].max_uses == 1
        assert by_code["EXPIRED"].ends_at < timezone.now()

    @pytest.mark.usefixtures("small_catalogue")
    def test_makes_a_staff_account_that_can_enter_the_admin(self, client):
        load()

        assert client.login(email="admin@example.com", password="admin")
        staff = Customer.objects.get(email="admin@example.com")
        assert (staff.is_staff, staff.is_superuser, staff.status) == (True, True, "active")

    def test_explains_all_stock_by_movements(self):
        load()

        unexplained = StockLevel.objects.annotate(moved=Sum("movements__quantity")).exclude(
            moved=F("on_hand")
        )
        assert not unexplained.exists()


@pytest.mark.usefixtures("small_catalogue")
class TestSecondLoad:
    def test_creates_nothing(self):
        load()

        assert set(load().values()) == {0}

    def test_leaves_alone_what_the_shop_has_changed(self):
        load()
        level = StockLevel.objects.get(product__sku="DEMO-LAST-ONE")
        stock.receive(
            receipts=[
                stock.Receipt(
                    product_id=level.product_id, warehouse_id=level.warehouse_id, quantity=4
                )
            ],
            reason="found four more",
        )
        Price.objects.filter(product__sku="DEMO-PLENTY", currency="USD").update(amount=21)
        Coupon.objects.filter(code="WELCOME10").update(is_active=False)
        staff = Customer.objects.get(email="admin@example.com")
        staff.set_password("a better one")
        staff.save()

        load()

        assert available("DEMO-LAST-ONE") == 5
        price = Price.objects.get(product__sku="DEMO-PLENTY", currency="USD")
        assert price.amount == Decimal(21)
        assert Coupon.objects.get(code="WELCOME10").is_active is False
        staff.refresh_from_db()
        assert staff.check_password("a better one")

    def test_brings_back_what_was_removed(self):
        load()
        Coupon.objects.filter(code="ONCE").delete()

        assert load()["coupons"] == 1


def test_is_refused_in_production(settings):
    settings.IS_PRODUCTION = True

    with pytest.raises(CommandError, match="refused with ENVIRONMENT=production"):
        call_command("load_demo_data")

    assert not Customer.objects.exists()
    assert not Product.objects.exists()


@pytest.mark.concurrency
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("small_catalogue")
def test_two_at_once_wait_for_each_other():
    together = threading.Barrier(2)

    def load_with_the_other(_):
        together.wait(timeout=10)
        try:
            return load()
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        created = sorted(sum(counts.values()) for counts in pool.map(load_with_the_other, "ab"))

    assert created[0] == 0
    assert Product.objects.count() == 23
    assert available("DEMO-LAST-ONE") == 1


@pytest.mark.usefixtures("small_catalogue")
def test_says_in_one_line_what_it_did():
    first, second = StringIO(), StringIO()

    call_command("load_demo_data", stdout=first)
    call_command("load_demo_data", stdout=second)

    assert first.getvalue().startswith("Demo data created: warehouses 1, ")
    assert second.getvalue() == "Demo data is complete; nothing to create.\n"


class TestFiles:
    def test_baskets_hold_only_what_the_catalogue_sells(self):
        skus = {entry.sku for entry in files.read_catalogue()}

        baskets = list(files.read_baskets())

        assert len(baskets) >= 5_000
        assert all(1 <= len(basket.lines) <= 100 for basket in baskets)
        assert {sku for basket in baskets for sku, _ in basket.lines} <= skus
        assert all(1 <= quantity <= 50 for basket in baskets for _, quantity in basket.lines)

    def test_stock_suffices_for_every_basket_there_is(self):
        """Whoever plays them all meets no shortage: one is a finding."""
        stocked = {entry.sku: entry.initial_stock for entry in files.read_catalogue()}
        wanted = Counter[str]()
        for basket in files.read_baskets():
            wanted.update(dict(basket.lines))

        assert [sku for sku, units in wanted.items() if units > stocked[sku]] == []

    def test_baskets_come_in_the_order_of_their_time(self):
        times = [basket.bought_at for basket in files.read_baskets()]

        assert times == sorted(times)

    def test_names_tell_products_apart(self):
        names = [entry.name for entry in files.read_catalogue()]

        assert len(set(names)) == len(names)


def product(sku: str) -> Any:
    return catalogue.get_product(sku=sku, currency="USD")


def available(sku: str) -> int:
    return int(product(sku).available_quantity)
