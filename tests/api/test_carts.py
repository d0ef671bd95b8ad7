"""Carts over HTTP: what a shopper puts there, finds there again, and orders."""

from __future__ import annotations

import uuid
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from customers.models import Customer
from inventory.models import Price, Product, Reservation
from orders.models import Cart, CartItem, Order, ShippingMethod, ShippingRate, ShippingZone
from orders.services.carts import MAX_LINES
from payments.models import Payment
from tests import factories
from tests.shop import ADDRESS, Shopper, order_of

pytestmark = pytest.mark.django_db(transaction=True)

NOBODYS = "5f2b8a7e-6c1d-4e0f-9a3b-2d4c6e8f0a1b"


@pytest.fixture
def apple(shop):
    return factories.ProductFactory(sku="APPLE", name="Apple", price="2.00", on_hand=10)


@pytest.fixture
def pear(shop):
    return factories.ProductFactory(sku="PEAR", name="Pear", price="3.00", on_hand=10)


def cart_of(shopper, **items):
    body = {"items": [{"sku": sku, "quantity": units} for sku, units in items.items()]}
    answer = shopper.post("/carts", body if items else {})
    assert answer.status_code == 201, answer.content
    return answer.json()


def put(shopper, path, body):
    return shopper.client.put(
        f"/api/v1{path}", data=body, content_type="application/json", headers=shopper.headers
    )


def delete(shopper, path):
    return shopper.client.delete(f"/api/v1{path}", headers=shopper.headers)


def lines(cart):
    return {item["sku"]: item["quantity"] for item in cart["items"]}


def refusal(answer, status, code):
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.content
    return answer.json()["error"]["details"]


class TestANewCart:
    def test_is_empty_and_costs_nothing(self, guest):
        answer = guest.post("/carts")

        cart = answer.json()
        assert answer.status_code == 201
        assert answer["Location"] == f"/api/v1/carts/{cart['id']}"
        assert cart | {"id": 0, "expires_at": 0} == {
            "id": 0,
            "expires_at": 0,
            "coupon_code": None,
            "order_number": None,
            "problems": [],
            "currency": "USD",
            "items": [],
            "subtotal": "0.00",
            "discount_amount": "0.00",
            "shipping_amount": "0.00",
            "tax_amount": "0.00",
            "total_amount": "0.00",
            "tax_included": False,
            "shipping_methods": [],
            "shipping_method": None,
            "estimated_delivery": None,
            "unavailable_items": [],
        }
        assert uuid.UUID(cart["id"]).version == 4

    def test_can_be_filled_at_once_and_is_priced_like_a_quote(self, guest, apple, pear):
        items = [{"sku": "PEAR", "quantity": 1}, {"sku": "APPLE", "quantity": 2}]

        cart = guest.post("/carts", {"items": items}).json()

        quote = guest.post("/quotes", {"items": items}).json()
        assert {name: cart[name] for name in quote} == quote
        assert [item["sku"] for item in cart["items"]] == ["PEAR", "APPLE"]

    def test_may_be_of_another_currency(self, guest, apple):
        Price.objects.create(product=apple, currency="JPY", amount=300)
        factories.ShippingMethodFactory(currency="JPY", amount=Decimal(500))

        cart = guest.post(
            "/carts", {"currency": "JPY", "items": [{"sku": "APPLE", "quantity": 2}]}
        ).json()

        assert (cart["currency"], cart["subtotal"]) == ("JPY", "600")

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"items": [{"sku": "NOTHING", "quantity": 1}]}, "items"),
            ({"items": []}, "items"),
            ({"items": [{"sku": "APPLE", "quantity": 0}]}, "items"),
            ({"items": [{"sku": "APPLE", "quantity": 1}] * 2}, "items"),
            ({"currency": "usd"}, "currency"),
            ({"customer_id": 1}, "customer_id"),
            ({"expires_at": "2099-01-01T00:00:00Z"}, "expires_at"),
        ],
    )
    def test_refuses_what_is_not_right_and_is_not_made(self, guest, apple, body, field):
        assert list(refusal(guest.post("/carts", body), 400, "VALIDATION_FAILED")) == [field]
        assert not Cart.objects.exists()

    def test_says_which_line_names_no_product(self, guest, apple):
        Product.objects.filter(sku="APPLE").update(is_active=False)
        factories.ProductFactory(sku="PEAR")

        answer = guest.post(
            "/carts",
            {"items": [{"sku": "PEAR", "quantity": 1}, {"sku": "APPLE", "quantity": 1}]},
        )

        details = refusal(answer, 400, "VALIDATION_FAILED")
        assert details == {"items": [{}, {"sku": ["There is no such product."]}]}

    def test_refuses_a_coupon_that_does_not_apply_and_is_not_made(self, guest, apple):
        answer = guest.post("/carts", {"coupon_code": "NOPE"})

        assert refusal(answer, 409, "COUPON_INVALID") == {"reason": "unknown"}
        assert not Cart.objects.exists()


class TestALine:
    def test_is_set_not_added(self, guest, apple):
        cart = cart_of(guest)

        put(guest, f"/carts/{cart['id']}/items/APPLE", {"quantity": 3})
        answer = put(guest, f"/carts/{cart['id']}/items/APPLE", {"quantity": 2})

        assert answer.status_code == 200
        assert lines(answer.json()) == {"APPLE": 2}
        assert answer.json()["subtotal"] == "4.00"
        assert guest.get(f"/carts/{cart['id']}").json() == answer.json()

    def test_goes_with_a_quantity_of_0_and_may_have_gone_before(self, guest, apple):
        cart = cart_of(guest, APPLE=1)

        for _ in range(2):
            answer = put(guest, f"/carts/{cart['id']}/items/APPLE", {"quantity": 0})

            assert (answer.status_code, answer.json()["items"]) == (200, [])

    @pytest.mark.parametrize("sku", ["NOTHING", "apple", "GONE"])
    def test_of_no_product_is_refused_and_changes_nothing(self, guest, apple, sku):
        factories.ProductFactory(sku="GONE", is_active=False)
        cart = cart_of(guest, APPLE=1)

        answer = put(guest, f"/carts/{cart['id']}/items/{sku}", {"quantity": 1})

        assert refusal(answer, 400, "VALIDATION_FAILED") == {"sku": ["There is no such product."]}
        assert lines(guest.get(f"/carts/{cart['id']}").json()) == {"APPLE": 1}

    @pytest.mark.parametrize("quantity", [-1, 10_000, 1.0, "1", True, None, 2**63])
    def test_takes_a_whole_number_up_to_9999(self, guest, apple, quantity):
        cart = cart_of(guest, APPLE=1)

        answer = put(guest, f"/carts/{cart['id']}/items/APPLE", {"quantity": quantity})

        assert "quantity" in refusal(answer, 400, "VALIDATION_FAILED")
        assert lines(guest.get(f"/carts/{cart['id']}").json()) == {"APPLE": 1}

    def test_number_101_is_refused(self, guest, shop):
        products = [factories.ProductFactory() for _ in range(MAX_LINES + 1)]
        cart = cart_of(guest, **{product.sku: 1 for product in products[:-1]})

        answer = put(guest, f"/carts/{cart['id']}/items/{products[-1].sku}", {"quantity": 1})

        assert "items" in refusal(answer, 400, "VALIDATION_FAILED")
        assert CartItem.objects.count() == MAX_LINES

    def test_too_dear_is_refused(self, guest, shop):
        factories.ProductFactory(sku="GOLD", price="9999.99")
        cart = cart_of(guest, GOLD=1)

        answer = put(guest, f"/carts/{cart['id']}/items/GOLD", {"quantity": 9_999})

        assert "items" in refusal(answer, 400, "VALIDATION_FAILED")
        assert lines(guest.get(f"/carts/{cart['id']}").json()) == {"GOLD": 1}

    def test_may_be_more_than_there_is_and_holds_nothing(self, guest, apple):
        cart = cart_of(guest, APPLE=11)

        lacking = {"sku": "APPLE", "requested": 11, "available": 10}
        assert cart["unavailable_items"] == [lacking]
        assert cart["problems"] == [{"code": "short", **lacking}]
        assert not Reservation.objects.exists()


class TestACoupon:
    def test_is_used_and_taken_off_again(self, guest, apple):
        factories.CouponFactory(code="TEN")
        cart = cart_of(guest, APPLE=5)

        used = put(guest, f"/carts/{cart['id']}/coupon", {"coupon_code": "TEN"}).json()
        without = put(guest, f"/carts/{cart['id']}/coupon", {"coupon_code": None}).json()

        assert (used["coupon_code"], used["discount_amount"]) == ("TEN", "1.00")
        assert (without["coupon_code"], without["discount_amount"]) == (None, "0.00")

    def test_that_does_not_apply_leaves_the_one_there_was(self, guest, apple):
        factories.CouponFactory(code="TEN")
        factories.CouponFactory(code="RICH", minimum_subtotal=Decimal(1000), currency="USD")
        cart = cart_of(guest, APPLE=5)
        put(guest, f"/carts/{cart['id']}/coupon", {"coupon_code": "TEN"})

        answer = put(guest, f"/carts/{cart['id']}/coupon", {"coupon_code": "RICH"})

        assert refusal(answer, 409, "COUPON_INVALID") == {"reason": "minimum_not_reached"}
        assert guest.get(f"/carts/{cart['id']}").json()["coupon_code"] == "TEN"

    def test_that_applies_no_more_is_told_and_left_out(self, guest, apple):
        coupon = factories.CouponFactory(code="TEN")
        cart = cart_of(guest, APPLE=5)
        put(guest, f"/carts/{cart['id']}/coupon", {"coupon_code": "TEN"})
        coupon.is_active = False
        coupon.save()

        shown = guest.get(f"/carts/{cart['id']}").json()

        assert shown["problems"] == [{"code": "coupon_invalid", "reason": "unknown"}]
        assert (shown["coupon_code"], shown["discount_amount"]) == ("TEN", "0.00")


class TestWhatHasChanged:
    def test_a_price_is_told_until_the_line_is_put_there_again(self, guest, apple):
        cart = cart_of(guest, APPLE=1)
        Price.objects.update(amount=Decimal("2.50"))

        for _ in range(2):
            shown = guest.get(f"/carts/{cart['id']}").json()

            assert shown["subtotal"] == "2.50"
            assert shown["problems"] == [
                {
                    "code": "price_changed",
                    "sku": "APPLE",
                    "old_price": "2.00",
                    "new_price": "2.50",
                }
            ]
        again = put(guest, f"/carts/{cart['id']}/items/APPLE", {"quantity": 1}).json()
        assert again["problems"] == []
        assert guest.get(f"/carts/{cart['id']}").json()["problems"] == []

    def test_a_product_that_is_gone_is_told_and_costs_nothing(self, guest, apple, pear):
        cart = cart_of(guest, APPLE=1, PEAR=1)
        Product.objects.filter(sku="APPLE").update(is_active=False)

        shown = guest.get(f"/carts/{cart['id']}").json()

        assert shown["problems"] == [{"code": "gone", "sku": "APPLE"}]
        assert lines(shown) == {"PEAR": 1}
        assert (
            put(guest, f"/carts/{cart['id']}/items/APPLE", {"quantity": 0}).json()["problems"] == []
        )

    def test_it_is_read_in_a_constant_number_of_statements(self, guest, shop):
        products = [factories.ProductFactory() for _ in range(20)]
        small = cart_of(guest, **{products[0].sku: 1})
        large = cart_of(guest, **{product.sku: 1 for product in products})
        counts = []
        for cart in (small, large):
            with CaptureQueriesContext(connection) as queries:
                guest.get(f"/carts/{cart['id']}")
            counts.append(len(queries))

        assert counts[0] == counts[1] <= 6


class TestWithoutAPrice:
    """Together too heavy, too much money, or sold where nothing is shipped from."""

    @pytest.fixture
    def heavy(self, apple, pear):
        """A unit of either weighs 1 kg; nothing above 4 kg is shipped."""
        Product.objects.update(weight_grams=1000)
        ShippingRate.objects.create(
            method=ShippingMethod.objects.get(),
            zone=ShippingZone.objects.create(name="World"),
            max_weight_grams=4000,
            amount=1,
        )

    def test_that_was_poured_together_it_can_be_read_and_emptied(self, guest, shopper, heavy):
        cart_of(shopper, APPLE=4)
        cart = cart_of(guest, PEAR=4)["id"]

        shown = shopper.get(f"/carts/{cart}").json()

        assert shown["problems"] == [{"code": "not_priceable", "reason": "too_heavy"}]
        assert lines(shown) == {"APPLE": 4, "PEAR": 4}
        assert [item["unit_price"] for item in shown["items"]] == ["3.00", "2.00"]
        assert (
            {item["total_price"] for item in shown["items"]} == {shown["total_amount"]} == {"0.00"}
        )
        assert (shown["shipping_method"], shown["shipping_methods"]) == (None, [])
        less = put(shopper, f"/carts/{cart}/items/APPLE", {"quantity": 2}).json()
        assert less["problems"] == [{"code": "not_priceable", "reason": "too_heavy"}]
        gone = put(shopper, f"/carts/{cart}/items/APPLE", {"quantity": 0}).json()
        assert (gone["problems"], gone["total_amount"] != "0.00") == ([], True)

    def test_it_is_made_by_no_request(self, guest, shopper, heavy):
        cart = cart_of(guest, APPLE=4)["id"]
        own = cart_of(shopper, APPLE=4)["id"]
        more = {"items": [{"sku": "PEAR", "quantity": 1}]}

        refusal(put(guest, f"/carts/{cart}/items/PEAR", {"quantity": 1}), 400, "VALIDATION_FAILED")
        refusal(shopper.post("/carts", more), 400, "VALIDATION_FAILED")

        assert lines(guest.get(f"/carts/{cart}").json()) == {"APPLE": 4}
        assert lines(shopper.get(f"/carts/{own}").json()) == {"APPLE": 4}

    def test_nothing_more_is_put_there_but_a_coupon_is_taken_away(self, guest, heavy):
        factories.CouponFactory(code="TEN")
        cart = cart_of(guest, APPLE=4)["id"]
        put(guest, f"/carts/{cart}/coupon", {"coupon_code": "TEN"})
        Product.objects.update(weight_grams=2000)

        refusal(put(guest, f"/carts/{cart}/items/PEAR", {"quantity": 1}), 400, "VALIDATION_FAILED")
        refusal(
            put(guest, f"/carts/{cart}/coupon", {"coupon_code": "TEN"}), 400, "VALIDATION_FAILED"
        )
        refusal(guest.order(cart_id=cart, items=None), 400, "VALIDATION_FAILED")

        shown = put(guest, f"/carts/{cart}/coupon", {"coupon_code": None}).json()
        assert (shown["coupon_code"], lines(shown)) == (None, {"APPLE": 4})

    def test_it_says_why(self, guest, apple):
        cart = cart_of(guest, APPLE=9)["id"]

        Price.objects.update(amount=Decimal("9999999999.99"))
        expensive = guest.get(f"/carts/{cart}").json()
        ShippingMethod.objects.update(currency="EUR")
        unshipped = guest.get(f"/carts/{cart}").json()

        assert expensive["problems"] == [{"code": "not_priceable", "reason": "too_expensive"}]
        assert unshipped["problems"] == [{"code": "not_priceable", "reason": "not_shipped"}]


class TestWhoseItIs:
    def test_a_guests_is_anybodys_who_knows_its_id(self, guest, apple):
        cart = cart_of(guest, APPLE=1)

        assert Shopper().get(f"/carts/{cart['id']}").status_code == 200

    @pytest.mark.parametrize("cart_id", [NOBODYS, "1", "NOTHING", "a" * 500])
    def test_one_that_is_none_is_not_found(self, guest, apple, cart_id):
        for answer in (
            guest.get(f"/carts/{cart_id}"),
            delete(guest, f"/carts/{cart_id}"),
            put(guest, f"/carts/{cart_id}/items/APPLE", {"quantity": 1}),
            put(guest, f"/carts/{cart_id}/coupon", {"coupon_code": None}),
        ):
            refusal(answer, 404, "NOT_FOUND")

    def test_a_customers_is_nobody_elses(self, shopper, apple):
        cart = cart_of(shopper, APPLE=1)

        for other in (Shopper(), Shopper(factories.CustomerFactory())):
            refusal(other.get(f"/carts/{cart['id']}"), 404, "NOT_FOUND")
            refusal(delete(other, f"/carts/{cart['id']}"), 404, "NOT_FOUND")
            refusal(
                put(other, f"/carts/{cart['id']}/items/APPLE", {"quantity": 9}), 404, "NOT_FOUND"
            )
            refusal(other.post("/quotes", {"cart_id": cart["id"]}), 400, "VALIDATION_FAILED")
            refusal(other.order(cart_id=cart["id"], items=None), 400, "VALIDATION_FAILED")
        assert lines(shopper.get(f"/carts/{cart['id']}").json()) == {"APPLE": 1}
        assert not Order.objects.exists()

    @pytest.mark.parametrize("first_use", ["read", "write"])
    def test_the_first_use_with_a_token_binds_it(self, guest, shopper, apple, first_use):
        cart = cart_of(guest, APPLE=1)

        if first_use == "read":
            answer = shopper.get(f"/carts/{cart['id']}")
        else:
            answer = put(shopper, f"/carts/{cart['id']}/items/APPLE", {"quantity": 2})

        assert answer.status_code == 200
        refusal(guest.get(f"/carts/{cart['id']}"), 404, "NOT_FOUND")
        assert cart_of(shopper)["id"] == cart["id"]

    def test_what_the_customer_had_is_poured_into_it(self, guest, shopper, apple, pear):
        plum = factories.ProductFactory(sku="PLUM")
        factories.CouponFactory(code="TEN")
        former = cart_of(shopper, APPLE=5, PEAR=1)
        put(shopper, f"/carts/{former['id']}/coupon", {"coupon_code": "TEN"})
        cart = cart_of(guest, **{"APPLE": 2, "PEAR": 3, plum.sku: 1})

        merged = shopper.get(f"/carts/{cart['id']}").json()

        assert lines(merged) == {"APPLE": 5, "PEAR": 3, "PLUM": 1}
        assert merged["coupon_code"] == "TEN"
        refusal(shopper.get(f"/carts/{former['id']}"), 404, "NOT_FOUND")
        assert Cart.objects.count() == 1

    def test_a_customer_has_one_on_every_device(self, shopper, apple, pear):
        cart = cart_of(shopper, APPLE=2)

        again = cart_of(Shopper(shopper.customer), APPLE=1, PEAR=1)

        assert again["id"] == cart["id"]
        assert lines(again) == {"APPLE": 2, "PEAR": 1}

    def test_a_suspended_customer_reads_and_binds_nothing(self, guest, shopper, apple):
        own, guests = cart_of(shopper, APPLE=1), cart_of(guest, APPLE=1)
        Customer.objects.update(status="suspended")

        assert shopper.get(f"/carts/{own['id']}").status_code == 200
        assert shopper.get(f"/carts/{guests['id']}").status_code == 200
        refusal(shopper.post("/carts"), 403, "INACTIVE_CUSTOMER")
        refusal(
            put(shopper, f"/carts/{own['id']}/items/APPLE", {"quantity": 2}),
            403,
            "INACTIVE_CUSTOMER",
        )
        assert guest.get(f"/carts/{guests['id']}").status_code == 200

    def test_it_can_be_forgotten(self, guest, apple):
        cart = cart_of(guest, APPLE=1)

        assert delete(guest, f"/carts/{cart['id']}").status_code == 204
        refusal(guest.get(f"/carts/{cart['id']}"), 404, "NOT_FOUND")
        assert not CartItem.objects.exists()


class TestAQuote:
    def test_of_a_cart_is_that_of_its_items(self, guest, apple):
        factories.CouponFactory(code="TEN")
        cart = cart_of(guest, APPLE=5)
        put(guest, f"/carts/{cart['id']}/coupon", {"coupon_code": "TEN"})

        answer = guest.post("/quotes", {"cart_id": cart["id"], "shipping_address": ADDRESS})

        items = [{"sku": "APPLE", "quantity": 5}]
        assert (
            answer.json()
            == guest.post(
                "/quotes", {"items": items, "coupon_code": "TEN", "shipping_address": ADDRESS}
            ).json()
        )

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"items": [{"sku": "APPLE", "quantity": 1}]}, "cart_id"),
            ({"currency": "EUR"}, "currency"),
            ({"cart_id": "nonsense"}, "cart_id"),
            ({"cart_id": NOBODYS}, "cart_id"),
            ({"cart_id": 5}, "cart_id"),
            ({"cart_id": None}, "cart_id"),
        ],
    )
    def test_of_a_cart_and_something_else_is_refused(self, guest, apple, change, field):
        cart = cart_of(guest, APPLE=1)

        answer = guest.post("/quotes", {"cart_id": cart["id"], **change})

        assert list(refusal(answer, 400, "VALIDATION_FAILED")) == [field]

    def test_of_nothing_says_what_to_send(self, guest, shop):
        details = refusal(guest.post("/quotes"), 400, "VALIDATION_FAILED")

        assert details == {"items": ["Send one of: items, cart_id."]}

    def test_of_an_empty_cart_is_refused(self, guest, shop):
        answer = guest.post("/quotes", {"cart_id": cart_of(guest)["id"]})

        assert refusal(answer, 400, "VALIDATION_FAILED") == {"cart_id": ["This cart is empty."]}


class TestOrderingIt:
    @pytest.mark.parametrize("buyer", ["guest", "shopper"])
    def test_makes_an_order_of_what_is_in_it(self, request, buyer, apple, pear):
        factories.CouponFactory(code="TEN")
        buyer = request.getfixturevalue(buyer)
        cart = cart_of(buyer, APPLE=2, PEAR=1)
        put(buyer, f"/carts/{cart['id']}/coupon", {"coupon_code": "TEN"})
        quote = buyer.post("/quotes", {"cart_id": cart["id"], "shipping_address": ADDRESS}).json()

        answer = buyer.order(cart_id=cart["id"], items=None, expected_total=quote["total_amount"])

        assert answer.status_code == 201, answer.content
        assert lines(answer.json()) == {"APPLE": 2, "PEAR": 1}
        assert answer.json()["total_amount"] == quote["total_amount"]
        assert order_of(answer).coupon_code == "TEN"
        shown = buyer.get(f"/carts/{cart['id']}").json()
        assert shown["order_number"] == answer.json()["order_number"]

    def test_its_id_may_have_digits_like_a_card_number(self, guest, apple):
        cart_of(guest, APPLE=1)
        Cart.objects.update(public_id="02964777-8874-474e-ad72-affd10bcca4b")

        answer = guest.order(cart_id="02964777-8874-474e-ad72-affd10bcca4b", items=None)

        assert answer.status_code == 201, answer.content
        assert lines(answer.json()) == {"APPLE": 1}

    def test_a_price_that_has_changed_is_told(self, guest, apple):
        cart = cart_of(guest, APPLE=1)
        Price.objects.update(amount=Decimal("2.50"))

        answer = guest.order(cart_id=cart["id"], items=None, expected_total=cart["total_amount"])

        assert refusal(answer, 409, "PRICE_CHANGED")["subtotal"] == "2.50"

    def test_its_total_has_the_digits_of_its_own_currency(self, guest, apple, settings):
        cart = cart_of(guest, APPLE=1)["id"]
        wish = {"cart_id": cart, "items": None}
        total = guest.post("/quotes", {"cart_id": cart, "shipping_address": ADDRESS}).json()[
            "total_amount"
        ]
        settings.SHOP_CURRENCY = "JPY"

        other = guest.order(**wish, expected_total="0.01")
        answer = guest.order(**wish, expected_total=total)

        refusal(other, 409, "PRICE_CHANGED")
        assert (answer.status_code, answer.json()["currency"]) == (201, "USD"), answer.content
        assert not total.endswith(".00")

    def test_the_same_key_again_is_the_same_order_whatever_became_of_the_cart(self, guest, apple):
        cart = cart_of(guest, APPLE=1)
        first = guest.order(cart_id=cart["id"], items=None, key="once")
        Cart.objects.all().delete()

        again = guest.order(cart_id=cart["id"], items=None, key="once")

        assert (again.status_code, again.content) == (201, first.content)
        assert Payment.objects.count() == 1

    @pytest.mark.parametrize("method", ["pm_card_visa", "pm_card_threeDSecure2Required"])
    def test_another_key_does_not_pay_it_twice(self, guest, apple, method):
        cart = cart_of(guest, APPLE=1)
        first = order_of(guest.order(cart_id=cart["id"], items=None, payment_method_id=method))

        again = guest.order(cart_id=cart["id"], items=None)

        details = refusal(again, 409, "INVALID_TRANSITION")
        assert details == {"order_number": first.order_number}
        assert Payment.objects.count() == 1

    def test_a_declined_card_leaves_it_for_another(self, guest, apple):
        cart = cart_of(guest, APPLE=1)
        declined = guest.order(
            cart_id=cart["id"], items=None, payment_method_id="pm_card_chargeDeclined"
        )

        answer = guest.order(cart_id=cart["id"], items=None)

        assert (declined.status_code, answer.status_code) == (402, 201)

    def test_a_cancelled_order_frees_it(self, shopper, apple):
        cart = cart_of(shopper, APPLE=1)
        order = order_of(
            shopper.order(
                cart_id=cart["id"], items=None, payment_method_id="pm_card_threeDSecure2Required"
            )
        )
        shopper.post(f"/orders/{order.order_number}/cancel")

        assert put(shopper, f"/carts/{cart['id']}/items/APPLE", {"quantity": 2}).status_code == 200
        assert shopper.order(cart_id=cart["id"], items=None).status_code == 201

    @pytest.mark.parametrize("method", ["pm_card_visa", "pm_card_threeDSecure2Required"])
    def test_it_stands_still_meanwhile(self, guest, apple, method):
        cart = cart_of(guest, APPLE=1)
        order = order_of(guest.order(cart_id=cart["id"], items=None, payment_method_id=method))

        for answer in (
            put(guest, f"/carts/{cart['id']}/items/APPLE", {"quantity": 2}),
            put(guest, f"/carts/{cart['id']}/coupon", {"coupon_code": None}),
            delete(guest, f"/carts/{cart['id']}"),
        ):
            details = refusal(answer, 409, "INVALID_TRANSITION")
            assert details == {"order_number": order.order_number}
        assert lines(guest.get(f"/carts/{cart['id']}").json()) == {"APPLE": 1}

    def test_a_customer_who_has_bought_begins_a_new_one(self, shopper, apple):
        cart = cart_of(shopper, APPLE=1)
        shopper.order(cart_id=cart["id"], items=None)

        following = cart_of(shopper)

        assert following["id"] != cart["id"]
        assert following["items"] == []
        refusal(shopper.get(f"/carts/{cart['id']}"), 404, "NOT_FOUND")

    def test_an_empty_one_cannot_be_ordered(self, guest, shop):
        answer = guest.order(cart_id=cart_of(guest)["id"], items=None)

        assert refusal(answer, 400, "VALIDATION_FAILED") == {"cart_id": ["This cart is empty."]}

    def test_what_is_gone_is_told_by_its_line(self, guest, apple, pear):
        cart = cart_of(guest, APPLE=1, PEAR=1)
        Product.objects.filter(sku="PEAR").update(is_active=False)

        answer = guest.order(cart_id=cart["id"], items=None)

        details = refusal(answer, 400, "VALIDATION_FAILED")
        assert details == {"items": [{}, {"sku": ["There is no such product."]}]}
        assert not Order.objects.exists()

    def test_a_cart_beside_items_is_refused(self, guest, apple):
        cart = cart_of(guest, APPLE=1)

        answer = guest.order(("APPLE", 1), cart_id=cart["id"])

        details = refusal(answer, 400, "VALIDATION_FAILED")
        assert details == {"cart_id": ["Send only one of: items, cart_id."]}

    def test_takes_one_round_trip_more_than_items(self, guest, apple):
        cart = cart_of(guest, APPLE=1)
        with CaptureQueriesContext(connection) as plain:
            assert guest.order(("APPLE", 1)).status_code == 201

        with CaptureQueriesContext(connection) as from_cart:
            assert guest.order(cart_id=cart["id"], items=None).status_code == 201

        assert len(from_cart) == len(plain) + 1


class TestOrderingAgain:
    def test_fills_the_customers_cart_with_what_was_ordered(self, shopper, apple, pear):
        order = order_of(shopper.order(("APPLE", 2), ("PEAR", 1)))
        cart = cart_of(shopper, APPLE=1)

        answer = shopper.post(f"/orders/{order.order_number}/reorder")

        assert answer.status_code == 201
        assert answer.json()["id"] == cart["id"]
        assert lines(answer.json()) == {"APPLE": 2, "PEAR": 1}
        assert Order.objects.count() == 1

    def test_gives_a_guest_a_cart_of_the_orders_currency(self, guest, apple):
        placed = guest.order(("APPLE", 2)).json()
        number, token = placed["order_number"], placed["guest_token"]

        answer = guest.post(f"/orders/{number}/reorder?token={token}")

        assert (answer.status_code, lines(answer.json())) == (201, {"APPLE": 2})

    def test_keeps_what_is_gone_and_says_so(self, shopper, apple, pear):
        order = order_of(shopper.order(("APPLE", 2), ("PEAR", 1)))
        Product.objects.filter(sku="PEAR").update(is_active=False)

        cart = shopper.post(f"/orders/{order.order_number}/reorder").json()

        assert cart["problems"] == [{"code": "gone", "sku": "PEAR"}]
        assert lines(cart) == {"APPLE": 2}

    def test_is_not_for_others(self, shopper, apple):
        order = order_of(shopper.order(("APPLE", 1)))

        other = Shopper(factories.CustomerFactory())
        refusal(other.post(f"/orders/{order.order_number}/reorder"), 404, "NOT_FOUND")
        refusal(Shopper().post(f"/orders/{order.order_number}/reorder"), 401, "NOT_AUTHENTICATED")
        assert not Cart.objects.exists()
