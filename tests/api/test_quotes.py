"""POST /quotes: what it says is what the order then costs."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from audit.models import AuditLog
from inventory.models import Price, StockLevel
from orders.models import Coupon, IdempotencyKey, Order, ShippingMethod
from tests import factories
from tests.shop import ADDRESS

CALIFORNIA = {**ADDRESS, "state": "CA", "city": "Los Angeles"}
BERLIN = {**ADDRESS, "state": "", "city": "Berlin", "postal_code": "10115", "country": "DE"}


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
