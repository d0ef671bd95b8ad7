"""POST /quotes: what it says is what the order then costs."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from audit.models import AuditLog
from config.kernel.api.text import looks_like_card_number
from customers.models import Customer
from inventory.models import Price, PriceBreak, StockLevel, Warehouse
from orders import selectors
from orders.models import (
    Coupon,
    CouponRedemption,
    IdempotencyKey,
    Order,
    ShippingMethod,
    ShippingRate,
    ShippingZone,
    TaxDestination,
)
from orders.services import placement
from tests import factories
from tests.shop import ADDRESS, BERLIN, Shopper

CALIFORNIA = {**ADDRESS, "state": "CA", "city": "Los Angeles"}


def quote(who, *items, **changes):
    body = {"items": [{"sku": sku, "quantity": quantity} for sku, quantity in items], **changes}
    return who.post("/quotes", body)


@pytest.fixture
def apple(shop):
    return factories.ProductFactory(sku="APPLE", name="Apple", price="19.99", on_hand=5)


class TestAQuote:
    def test_has_the_contracts_shape(self, guest, apple):
        answer = quote(guest, ("APPLE", 2), shipping_address=ADDRESS)

        assert answer.status_code == 200
        body = answer.json()
        arrives = body.pop("estimated_delivery")
        assert body.pop("shipping_methods") == [
            {
                "code": "standard",
                "name": "Standard",
                "amount": "4.99",
                "estimated_delivery": arrives,
            }
        ]
        assert body == {
            "currency": "USD",
            "items": [
                {
                    "sku": "APPLE",
                    "product_name": "Apple",
                    "quantity": 2,
                    "unit_price": "19.99",
                    "discount_amount": "0.00",
                    "tax_amount": "3.55",
                    "total_price": "39.98",
                }
            ],
            "subtotal": "39.98",
            "discount_amount": "0.00",
            "shipping_amount": "4.99",
            "tax_amount": "3.55",
            "total_amount": "48.52",
            "tax_included": False,
            "shipping_method": "standard",
            "unavailable_items": [],
        }

    def test_holds_nothing_and_asks_nobody(self, guest, apple, provider):
        provider.fail("drop", method="*", times=None)

        assert quote(guest, ("APPLE", 5)).status_code == 200

        assert StockLevel.objects.get().allocated == 0
        assert not Order.objects.exists()
        assert not IdempotencyKey.objects.exists()
        assert not AuditLog.objects.filter(event_type__startswith="ORDER").exists()
        assert provider._get("/_test/faults")["faults"][0]["hits"] == 0

    def test_is_priced_for_the_shops_country_without_an_address(self, guest, apple):
        factories.TaxRateFactory(region="", rate=Decimal("0.05"))

        at_home = quote(guest, ("APPLE", 1)).json()
        in_new_york = quote(guest, ("APPLE", 1), shipping_address=ADDRESS).json()

        assert (at_home["tax_amount"], in_new_york["tax_amount"]) == ("1.00", "1.77")

    def test_takes_the_cheapest_method_and_shows_the_others(self, guest, apple):
        factories.ShippingMethodFactory(code="express", name="Express", amount=Decimal("14.99"))
        factories.ShippingMethodFactory(code="pigeon", amount=Decimal("1.00"), countries=["DE"])

        body = quote(guest, ("APPLE", 1)).json()

        assert (body["shipping_method"], body["shipping_amount"]) == ("standard", "4.99")
        assert {m["code"] for m in body["shipping_methods"]} == {"standard", "express"}
        chosen = quote(guest, ("APPLE", 1), shipping_method="express").json()
        assert (chosen["shipping_method"], chosen["shipping_amount"]) == ("express", "14.99")

    def test_names_all_that_is_short_and_prices_it_all_the_same(self, guest, apple):
        factories.ProductFactory(sku="GONE", price="1.00", on_hand=0)

        body = quote(guest, ("APPLE", 6), ("GONE", 1)).json()

        assert body["unavailable_items"] == [
            {"sku": "APPLE", "requested": 6, "available": 5},
            {"sku": "GONE", "requested": 1, "available": 0},
        ]
        assert body["subtotal"] == "120.94"

    def test_is_in_the_currency_asked_for(self, guest, apple):
        Price.objects.create(product=apple, currency="JPY", amount=1999)
        factories.ShippingMethodFactory(currency="JPY", amount=500)

        body = quote(guest, ("APPLE", 2), currency="JPY").json()

        assert body["currency"] == "JPY"
        assert (body["subtotal"], body["shipping_amount"]) == ("3998", "500")
        assert body["items"][0]["unit_price"] == "1999"

    def test_costs_as_many_queries_for_twenty_lines_as_for_one(self, guest, apple):
        with CaptureQueriesContext(connection) as for_one:
            quote(guest, ("APPLE", 1))
        many = [(factories.ProductFactory().sku, 1) for _ in range(20)]

        with CaptureQueriesContext(connection) as for_twenty:
            assert len(quote(guest, *many).json()["items"]) == 20

        assert len(for_twenty) == len(for_one)

    def test_costs_as_many_queries_whatever_the_terms(self, guest, apple):
        with CaptureQueriesContext(connection) as plain:
            quote(guest, ("APPLE", 1))
        for n in range(3):
            factories.CouponFactory(code=None, name=f"P{n}", max_uses_per_customer=n + 1)
            PriceBreak.objects.create(product=apple, currency="USD", min_quantity=n + 2, amount=n)
        factories.CouponFactory(code="TEN", scoped_to=apple)
        TaxDestination.objects.create(country="US", prices_include_tax=True)
        zone = ShippingZone.objects.create(name="Home", countries=["US"])
        ShippingRate.objects.create(method=ShippingMethod.objects.get(), zone=zone, amount=1)

        for changes in ({}, {"coupon_code": "TEN"}):
            with CaptureQueriesContext(connection) as elaborate:
                assert quote(guest, ("APPLE", 4), **changes).status_code == 200
            assert len(elaborate) == len(plain)


class TestAQuoteAndItsOrder:
    """The same basket, a moment later."""

    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"shipping_address": CALIFORNIA},
            {"shipping_address": BERLIN},
            {"shipping_method": "express"},
            {"coupon_code": "TEN"},
            {"coupon_code": "FIVE", "shipping_address": CALIFORNIA},
            {"coupon_code": "FREE", "shipping_method": "express"},
        ],
    )
    def test_agree_to_the_cent(self, shopper, apple, changes):
        factories.ProductFactory(sku="NUTS", price="0.33", on_hand=100)
        factories.TaxRateFactory(region="CA", rate=Decimal("0.0725"))
        factories.ShippingMethodFactory(code="express", amount=Decimal("14.99"))
        factories.CouponFactory(code="TEN")
        factories.CouponFactory(code="FIVE", kind=Coupon.Kind.FIXED, value=5, currency="USD")
        factories.CouponFactory(code="FREE", kind=Coupon.Kind.FREE_SHIPPING, value=0)
        basket = [("APPLE", 2), ("NUTS", 7)]
        quoted = quote(shopper, *basket, **{"shipping_address": ADDRESS, **changes})
        assert quoted.status_code == 200, quoted.content
        expected = quoted.json()

        answer = shopper.order(*basket, expected_total=expected["total_amount"], **changes)

        assert answer.status_code == 201, answer.content
        order = answer.json()
        shared = expected.keys() - {"shipping_methods", "unavailable_items"}
        assert {name: order[name] for name in shared} == {name: expected[name] for name in shared}

    def test_agree_under_all_the_terms_at_once(self, apple):
        """Tier, price break, automatic promotion, zone by weight, tax included."""
        gold = Shopper(factories.CustomerFactory(tier="gold"))
        apple.weight_grams = 700
        apple.save()
        PriceBreak.objects.create(
            product=apple, currency="USD", tier="gold", min_quantity=2, amount=Decimal("17.77")
        )
        factories.CouponFactory(code=None, name="Gold", tier="gold", value=7, max_uses=5)
        TaxDestination.objects.create(country="US", prices_include_tax=True)
        zone = ShippingZone.objects.create(
            name="Manhattan", countries=["US"], postal_prefixes=["100"]
        )
        method = ShippingMethod.objects.get()
        for lowest, highest, amount in ((0, 1000, "3.00"), (1001, None, "6.00")):
            ShippingRate.objects.create(
                method=method,
                zone=zone,
                min_weight_grams=lowest,
                max_weight_grams=highest,
                amount=Decimal(amount),
            )
        quoted = quote(gold, ("APPLE", 2), shipping_address=ADDRESS).json()

        # 2 × 17.77 = 35.54, less 7 % (2.4878) = 33.05, shipped for 6.00; of the 33.05 8.875 /
        # 108.875 are tax.
        assert (quoted["discount_amount"], quoted["shipping_amount"]) == ("2.49", "6.00")
        assert (quoted["total_amount"], quoted["tax_amount"]) == ("39.05", "2.69")
        assert quoted["tax_included"] is True
        answer = gold.order(("APPLE", 2), expected_total="39.05")
        assert answer.status_code == 201, answer.content
        shared = quoted.keys() - {"shipping_methods", "unavailable_items"}
        assert {name: answer.json()[name] for name in shared} == {
            name: quoted[name] for name in shared
        }
        order = Order.objects.get()
        assert (order.tax_included, order.total_amount) == (True, Decimal("39.05"))
        assert order.payments.get().amount == Decimal("39.05")

    def test_part_when_the_price_has_moved_and_the_fresh_quote_is_told(self, shopper, apple):
        before = quote(shopper, ("APPLE", 1), shipping_address=ADDRESS).json()
        apple.prices.update(amount=Decimal("20.99"))
        after = quote(shopper, ("APPLE", 1), shipping_address=ADDRESS).json()

        answer = shopper.order(("APPLE", 1), expected_total=before["total_amount"])

        assert answer.status_code == 409
        assert answer.json()["error"]["code"] == "PRICE_CHANGED"
        assert answer.json()["error"]["details"] == after
        assert not Order.objects.exists()


class TestACoupon:
    @pytest.mark.parametrize(
        ("reason", "terms"),
        [
            ("expired", {"ends_at": timezone.now() - timedelta(days=1)}),
            ("not_started", {"starts_at": timezone.now() + timedelta(days=1)}),
            ("used_up", {"max_uses": 3, "times_used": 3}),
            ("minimum_not_reached", {"minimum_subtotal": Decimal("20.00"), "currency": "USD"}),
        ],
    )
    def test_that_does_not_apply_says_why(self, guest, apple, reason, terms):
        factories.CouponFactory(code="SAVE", **terms)

        answer = quote(guest, ("APPLE", 1), coupon_code="SAVE")

        assert answer.status_code == 409
        assert answer.json()["error"]["code"] == "COUPON_INVALID"
        assert answer.json()["error"]["details"] == {"reason": reason}

    def test_with_a_minimum_of_no_currency_is_refused_by_the_table(self, db):
        with pytest.raises(IntegrityError):
            factories.CouponFactory(minimum_subtotal=Decimal("20.00"), currency=None)

    @pytest.mark.parametrize("code", ["NOTHING", "OFF"])
    def test_that_is_none_is_unknown(self, guest, apple, code):
        factories.CouponFactory(code="OFF", is_active=False)

        answer = quote(guest, ("APPLE", 1), coupon_code=code)

        assert (answer.status_code, answer.json()["error"]["details"]) == (
            409,
            {"reason": "unknown"},
        )

    def test_that_the_customer_has_used_is_used_up_for_that_customer_alone(
        self, shopper, guest, apple
    ):
        factories.CouponFactory(code="MINE", max_uses_per_customer=1)
        assert shopper.order(("APPLE", 1), coupon_code="MINE").status_code == 201

        mine = quote(shopper, ("APPLE", 1), coupon_code="MINE")
        anybodys = quote(guest, ("APPLE", 1), coupon_code="MINE")

        assert mine.json()["error"]["details"] == {"reason": "used_up"}
        assert anybodys.status_code == 200


class TestATier:
    @pytest.fixture
    def gold(self, apple):
        PriceBreak.objects.create(
            product=apple, currency="USD", tier="gold", min_quantity=1, amount=Decimal("15.00")
        )
        PriceBreak.objects.create(
            product=apple, currency="USD", min_quantity=10, amount=Decimal("14.00")
        )
        return Shopper(factories.CustomerFactory(tier="gold"))

    @pytest.mark.parametrize(
        ("quantity", "gold_pays", "others_pay"),
        [(1, "15.00", "19.99"), (9, "15.00", "19.99"), (10, "14.00", "14.00")],
    )
    def test_has_its_own_prices(self, gold, shopper, guest, quantity, gold_pays, others_pay):
        def unit_price(who):
            return quote(who, ("APPLE", quantity)).json()["items"][0]["unit_price"]

        assert unit_price(gold) == gold_pays
        assert unit_price(shopper) == unit_price(guest) == others_pay

    def test_has_coupons_of_its_own(self, gold, shopper):
        factories.CouponFactory(code="GOLD", tier="gold")

        others = quote(shopper, ("APPLE", 1), coupon_code="GOLD")

        assert quote(gold, ("APPLE", 1), coupon_code="gold").json()["discount_amount"] == "1.50"
        assert others.status_code == 409
        assert others.json()["error"]["details"] == {"reason": "not_for_customer"}

    def test_is_that_of_the_account_as_it_is_now(self, gold):
        Customer.objects.update(tier="")

        assert quote(gold, ("APPLE", 1)).json()["subtotal"] == "19.99"
        assert gold.order(("APPLE", 1), expected_total="20.32").status_code == 409

    def test_has_prices_in_other_currencies_only_where_they_say_so(self, gold, apple):
        Price.objects.create(product=apple, currency="EUR", amount=18)
        factories.ShippingMethodFactory(currency="EUR", amount=5)

        assert quote(gold, ("APPLE", 10), currency="EUR").json()["subtotal"] == "180.00"


def test_a_barcode_may_look_like_a_card_number(shopper):
    ean = "5449000000996"
    assert looks_like_card_number(ean)
    factories.ProductFactory(sku=ean, on_hand=5)

    assert shopper.post("/quotes", {"items": [{"sku": ean, "quantity": 1}]}).status_code == 200
    assert shopper.order((ean, 1)).status_code == 201
    refused = shopper.order((ean, 1), notes=ean)
    assert refused.json()["error"]["details"] == {
        "notes": ["This looks like a card number: never send one here."]
    }
    unreadable = shopper.order(("a\x00b", 1))
    assert unreadable.status_code == 400


class TestAnAutomaticPromotion:
    def test_applies_by_itself_and_shows_no_code(self, guest, apple):
        factories.CouponFactory(code=None, name="Autumn", value=50)

        body = quote(guest, ("APPLE", 2)).json()

        assert body["discount_amount"] == body["items"][0]["discount_amount"] == "19.99"
        placed = guest.order(("APPLE", 2))
        assert placed.json()["discount_amount"] == "19.99"
        redemption = CouponRedemption.objects.get()
        assert (redemption.coupon.name, redemption.coupon.times_used) == ("Autumn", 1)
        assert redemption.redeemed_by == "guest:guest@example.com"
        assert Order.objects.get().coupon_code == ""

    @pytest.mark.parametrize(
        "terms",
        [
            {"is_active": False},
            {"ends_at": timezone.now() - timedelta(days=1)},
            {"starts_at": timezone.now() + timedelta(days=1)},
            {"max_uses": 3, "times_used": 3},
            {"minimum_subtotal": Decimal("20.00"), "currency": "USD"},
            {"tier": "gold"},
        ],
    )
    def test_that_does_not_apply_is_not_heard_of(self, guest, apple, terms):
        factories.CouponFactory(code=None, name="Autumn", **terms)

        assert quote(guest, ("APPLE", 1)).json()["discount_amount"] == "0.00"

    def test_stays_out_when_a_coupon_was_typed(self, guest, apple):
        factories.CouponFactory(code=None, name="Autumn", value=50)
        factories.CouponFactory(code="TEN")

        assert quote(guest, ("APPLE", 1), coupon_code="TEN").json()["discount_amount"] == "2.00"

    def test_covers_the_products_and_categories_it_names(self, guest, apple):
        fruit = factories.CategoryFactory(slug="fruit", name="Fruit")
        factories.ProductFactory(sku="PEAR", price="2.00", category=fruit)
        promotion = factories.CouponFactory(code=None, name="Fruit", value=50)
        promotion.scopes.create(category=fruit)

        body = quote(guest, ("APPLE", 1), ("PEAR", 1)).json()

        assert [item["discount_amount"] for item in body["items"]] == ["0.00", "1.00"]

    def test_covers_what_lies_below_a_category_too(self, guest, apple):
        food = factories.CategoryFactory(slug="food", name="Food")
        fruit = factories.CategoryFactory(slug="fruit", name="Fruit", parent=food)
        factories.ProductFactory(sku="PEAR", price="2.00", category=fruit)
        factories.CouponFactory(code=None, name="Food", value=50).scopes.create(category=food)

        body = quote(guest, ("APPLE", 1), ("PEAR", 1)).json()

        assert [item["discount_amount"] for item in body["items"]] == ["0.00", "1.00"]

    def test_of_buy_two_get_one(self, guest, apple):
        factories.CouponFactory(
            code=None, name="3 for 2", kind="buy_x_get_y", value=100, buy_quantity=2, get_quantity=1
        )

        assert quote(guest, ("APPLE", 2)).json()["discount_amount"] == "0.00"
        assert quote(guest, ("APPLE", 3)).json()["discount_amount"] == "19.99"

    def test_is_used_once_by_whom_it_is_limited_to_that(self, shopper, apple):
        factories.CouponFactory(code=None, name="First", value=50, max_uses_per_customer=1)

        orders = [shopper.order(("APPLE", 1)).json() for _ in range(2)]

        assert [order["discount_amount"] for order in orders] == ["10.00", "0.00"]
        assert Coupon.objects.get().times_used == 1

    def test_comes_back_when_the_order_is_cancelled(self, shopper, apple):
        factories.CouponFactory(code=None, name="First", value=50, max_uses=1)
        order = shopper.order(("APPLE", 1)).json()

        shopper.post(f"/orders/{order['order_number']}/cancel")

        assert Coupon.objects.get().times_used == 0
        assert CouponRedemption.objects.get().released_at is not None
        assert quote(shopper, ("APPLE", 1)).json()["discount_amount"] == "10.00"

    @pytest.mark.parametrize("limit", [{"max_uses": 1}, {"max_uses_per_customer": 1}])
    def test_that_is_used_up_between_price_and_use_is_passed_over(
        self, shopper, apple, monkeypatch, limit
    ):
        """What the price was worked out from is older than the row that is used."""
        factories.CouponFactory(code=None, name="First", value=50, **limit)
        factories.CouponFactory(code=None, name="Second", value=5)
        assert shopper.order(("APPLE", 1)).json()["discount_amount"] == "10.00"
        asked = placement.price_basket

        def with_an_old_reading(*, basket, now):
            with monkeypatch.context() as patch:
                read = selectors.list_shipping_methods
                patch.setattr(
                    selectors,
                    "list_shipping_methods",
                    lambda **wanted: [
                        row._replace(promotions=as_unused(row.promotions)) for row in read(**wanted)
                    ],
                )
                return asked(basket=basket, now=now)

        monkeypatch.setattr(placement, "price_basket", with_an_old_reading)

        told = shopper.order(("APPLE", 1), expected_total="14.98")
        placed = shopper.order(("APPLE", 1))

        assert told.status_code == 409
        assert told.json()["error"]["code"] == "PRICE_CHANGED"
        assert placed.status_code == 201
        assert placed.json()["discount_amount"] == "1.00"
        uses = dict(Coupon.objects.values_list("name", "times_used"))
        assert uses == {"First": 1, "Second": 1}

    def test_that_is_over_in_production_is_not_even_read(self, db, shop):
        factories.CouponFactory(code=None, name="Old", ends_at=timezone.now())

        (method,) = selectors.list_shipping_methods(
            currency="USD",
            country="US",
            region="NY",
            postal_code="",
            coupon_code=None,
            redeemed_by="",
            now=timezone.now(),
        )

        assert method.promotions == "[]"


def as_unused(promotions):
    unused = {"times_used": 0, "times_used_by_customer": 0}
    return json.dumps([row | unused for row in json.loads(promotions)])


class TestShipping:
    @pytest.fixture
    def zones(self, apple):
        """Flat express everywhere; standard by zone."""
        factories.ShippingMethodFactory(code="express", amount=Decimal("20.00"))
        method = ShippingMethod.objects.get(code="standard")
        for name, amount, where in (
            ("World", "30.00", {}),
            ("US", "5.00", {"countries": ["US"]}),
            ("Hawaii", "9.00", {"countries": ["US"], "regions": ["HI"]}),
            ("Big Island", "11.00", {"countries": ["US"], "postal_prefixes": ["967", "968"]}),
            ("Hilo", "12.00", {"countries": ["US"], "postal_prefixes": ["96720"]}),
        ):
            zone = ShippingZone.objects.create(name=name, **where)
            ShippingRate.objects.create(method=method, zone=zone, amount=Decimal(amount))

    @pytest.mark.parametrize(
        ("where", "amount"),
        [
            ({}, "5.00"),
            ({"country": "DE", "state": ""}, "30.00"),
            ({"state": "hi", "postal_code": "96601"}, "9.00"),
            ({"state": "HI", "postal_code": "96701"}, "11.00"),
            ({"state": "HI", "postal_code": "96720-1234"}, "12.00"),
        ],
    )
    def test_costs_what_the_most_specific_zone_says(self, guest, zones, where, amount):
        body = quote(guest, ("APPLE", 1), shipping_address={**ADDRESS, **where}).json()

        assert {m["code"]: m["amount"] for m in body["shipping_methods"]} == {
            "express": "20.00",
            "standard": amount,
        }

    def test_is_offered_in_the_destinations_zone_alone(self, guest, zones):
        """Hilo is in Hawaii, too; without a rate in its own zone there is no standard there."""
        ShippingRate.objects.filter(zone__name="Hilo").delete()

        body = quote(
            guest, ("APPLE", 1), shipping_address={**ADDRESS, "state": "HI", "postal_code": "96720"}
        ).json()

        assert [method["code"] for method in body["shipping_methods"]] == ["express"]

    def test_is_free_from_the_rates_own_threshold(self, guest, zones):
        ShippingMethod.objects.update(free_from=Decimal(1))
        ShippingRate.objects.filter(zone__name="US").update(free_from=Decimal("39.98"))

        one, two = (quote(guest, ("APPLE", n), shipping_method="standard").json() for n in (1, 2))

        assert (one["shipping_amount"], two["shipping_amount"]) == ("5.00", "0.00")

    def test_of_a_basket_too_heavy_is_refused_and_says_so(self, guest, apple):
        apple.weight_grams = 1000
        apple.save()
        zone = ShippingZone.objects.create(name="World")
        ShippingRate.objects.create(
            method=ShippingMethod.objects.get(), zone=zone, max_weight_grams=4000, amount=1
        )

        assert quote(guest, ("APPLE", 4)).status_code == 200
        answer = quote(guest, ("APPLE", 5))

        assert answer.status_code == 400
        (message,) = answer.json()["error"]["details"]["items"]
        assert "too heavy" in message

    def test_by_the_wanted_method_may_be_too_heavy_while_another_carries_it(self, guest, apple):
        apple.weight_grams = 1000
        apple.save()
        factories.ShippingMethodFactory(code="bike", amount=Decimal("1.00"))
        zone = ShippingZone.objects.create(name="World")
        ShippingRate.objects.create(
            method=ShippingMethod.objects.get(code="bike"), zone=zone, max_weight_grams=1, amount=1
        )

        answer = quote(guest, ("APPLE", 1), shipping_method="bike")

        assert set(answer.json()["error"]["details"]) == {"shipping_method"}
        assert quote(guest, ("APPLE", 1)).json()["shipping_method"] == "standard"

    def test_is_estimated_by_the_building_that_stock_is_asked_of_first(self, guest, apple):
        """Buildings of the destination's own country come before others, as in sourcing."""
        closed = [(timezone.now() + timedelta(days=n)).date().isoformat() for n in range(40)]
        Warehouse.objects.create(
            code="BER",
            name="Berlin",
            country="DE",
            time_zone="Europe/Berlin",
            priority=200,
            holidays=closed,
        )

        here, there = (
            quote(guest, ("APPLE", 1), shipping_address=where).json()["estimated_delivery"]
            for where in (ADDRESS, BERLIN)
        )

        assert here < closed[-1] < there


class TestWherePricesIncludeTax:
    @pytest.fixture(autouse=True)
    def germany(self, apple):
        TaxDestination.objects.create(country="DE", prices_include_tax=True)
        factories.TaxRateFactory(country="DE", region="", rate=Decimal("0.19"))
        factories.TaxRateFactory(
            country="DE", region="", tax_class="shipping", rate=Decimal("0.19")
        )

    def test_the_customer_pays_what_is_shown(self, guest):
        body = quote(guest, ("APPLE", 2), shipping_address=BERLIN).json()

        assert body["tax_included"] is True
        assert (body["subtotal"], body["shipping_amount"]) == ("39.98", "4.99")
        assert body["total_amount"] == "44.97"
        assert body["items"][0]["tax_amount"] == "6.38"  # 39.98 × 19 / 119 = 6.3834…
        assert body["tax_amount"] == "7.18"  # and of 4.99 0.7967…

    def test_elsewhere_tax_still_comes_on_top(self, guest):
        body = quote(guest, ("APPLE", 2), shipping_address=ADDRESS).json()

        assert body["tax_included"] is False
        assert body["total_amount"] == "48.52"

    def test_the_order_is_charged_and_told_so(self, guest, provider):
        placed = guest.order(("APPLE", 2), shipping_address=BERLIN, expected_total="44.97")

        assert placed.status_code == 201
        body = placed.json()
        assert (body["tax_included"], body["total_amount"]) == (True, "44.97")
        (intent,) = provider.intents_of(body["id"])
        assert intent["amount_received"] == 4497

    def test_a_country_may_say_that_they_do_not(self, guest):
        TaxDestination.objects.update(prices_include_tax=False)

        assert quote(guest, ("APPLE", 2), shipping_address=BERLIN).json()["tax_included"] is False


class TestARefusedQuote:
    @pytest.mark.parametrize("sku", ["NOTHING", "OFF", "apple"])
    def test_names_the_line_with_an_unknown_sku(self, guest, apple, sku):
        factories.ProductFactory(sku="OFF", is_active=False)

        answer = quote(guest, ("APPLE", 1), (sku, 1))

        assert answer.status_code == 400
        error = answer.json()["error"]
        assert error["code"] == "VALIDATION_FAILED"
        assert error["details"]["items"][0] == {}
        assert set(error["details"]["items"][1]) == {"sku"}
        assert f'"{sku}"' not in answer.content.decode()

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"shipping_method": "teleport"}, "shipping_method"),
            ({"shipping_address": {**ADDRESS, "country": "XX"}}, "shipping_address"),
            ({"shipping_address": {**ADDRESS, "line1": None}}, "shipping_address"),
            ({"currency": "XXX"}, "currency"),
            ({"currency": "EUR"}, "items"),
            ({"payment_method_id": "pm_card_visa"}, "payment_method_id"),
            ({"items": []}, "items"),
            ({"items": None}, "items"),
        ],
    )
    def test_names_the_field(self, guest, apple, changes, field):
        answer = quote(guest, ("APPLE", 1), **changes)

        assert answer.status_code == 400
        assert set(answer.json()["error"]["details"]) == {field}

    def test_of_a_country_nobody_ships_to_names_the_country(self, guest, apple):
        ShippingMethod.objects.update(countries=["US"])

        answer = quote(guest, ("APPLE", 1), shipping_address=BERLIN)

        assert answer.status_code == 400
        assert set(answer.json()["error"]["details"]["shipping_address"]) == {"country"}

    def test_with_a_bad_token_is_401(self, guest, apple):
        guest.headers["Authorization"] = "Bearer nonsense"

        assert quote(guest, ("APPLE", 1)).status_code == 401
