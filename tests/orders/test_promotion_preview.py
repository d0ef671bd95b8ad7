"""What a promotion would do is what the order pricing says, on real orders and on a basket."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from config.kernel.errors import ValidationFailedError
from orders.models import Coupon, Order, TaxDestination
from orders.services import promotion_preview, quoting
from tests import factories
from tests.shop import BERLIN, Shopper, order_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def products(shop):
    fruit = factories.CategoryFactory(slug="fruit", name="Fruit")
    apples = factories.CategoryFactory(slug="apples", name="Apples", parent=fruit)
    return {
        "APPLE": factories.ProductFactory(sku="APPLE", price="10.00", category=apples),
        "TEA": factories.ProductFactory(sku="TEA", price="20.00"),
    }


@pytest.fixture
def orders(products):
    """Of 40.00, 10.00 and 30.00 in goods; each with 4.99 shipping. Another one was declined."""
    buyer = Shopper(factories.CustomerFactory(tier="gold"))
    guest = Shopper()
    answers = [
        buyer.order(("TEA", 2)),
        guest.order(("APPLE", 1)),
        buyer.order(("APPLE", 1), ("TEA", 1)),
    ]
    declined = guest.order(("TEA", 9), payment_method_id="pm_card_chargeDeclined")
    assert [answer.status_code for answer in [*answers, declined]] == [201, 201, 201, 402]
    return [order_of(answer) for answer in answers]


def past(coupon, **scopes):
    return promotion_preview.preview_on_past_orders(coupon=coupon, **scopes)


def percent(value=10, **terms):
    return Coupon(code="TRY", kind="percent", value=value, **terms)


def told(effect):
    return [(one.order_number, str(one.given)) for one in effect.biggest]


class TestOnPastOrders:
    def test_tells_how_many_it_applies_to_and_what_it_would_have_cost(self, orders):
        (effect,) = past(percent())

        assert (effect.currency, effect.orders, effect.applies_to) == ("USD", 3, 3)
        assert (effect.revenue, effect.given) == (Decimal("94.97"), Decimal("8.00"))
        assert effect.percent_of_revenue == Decimal("8.42")
        first, second, third = (order.order_number for order in orders)
        assert told(effect) == [(first, "4.00"), (third, "3.00"), (second, "1.00")]

    def test_writes_nothing(self, orders):
        past(percent())

        assert not Coupon.objects.exists()
        assert set(Order.objects.values_list("discount_amount", flat=True)) == {0}

    @pytest.mark.parametrize(
        ("terms", "applies_to", "given"),
        [
            ({"minimum_subtotal": Decimal(30), "currency": "USD"}, 2, "7.00"),
            ({"minimum_subtotal": Decimal(31), "currency": "USD"}, 1, "4.00"),
            ({"minimum_subtotal": Decimal(1), "currency": "EUR"}, 0, "0"),
            ({"tier": "gold"}, 2, "7.00"),
            ({"max_uses": 1}, 1, "4.00"),  # the oldest
            ({"max_uses_per_customer": 1}, 2, "5.00"),
            ({"kind": "fixed", "value": Decimal(15), "currency": "USD"}, 3, "40.00"),
            ({"kind": "free_shipping", "value": 0}, 3, "14.97"),
            (
                {"kind": "buy_x_get_y", "value": 100, "buy_quantity": 1, "get_quantity": 1},
                2,
                "30.00",
            ),
        ],
    )
    def test_follows_its_terms(self, orders, terms, applies_to, given):
        (effect,) = past(Coupon(**{"code": "TRY", "kind": "percent", "value": 10, **terms}))

        assert (effect.applies_to, effect.given) == (applies_to, Decimal(given))

    def test_covers_what_its_scopes_name(self, orders, products):
        fruit = products["APPLE"].category.parent

        (of_tea,) = past(percent(), product_ids=frozenset({products["TEA"].pk}))
        (of_fruit,) = past(percent(), category_ids=frozenset({fruit.pk}))

        assert (of_tea.applies_to, of_tea.given) == (2, 6)
        assert (of_fruit.applies_to, of_fruit.given) == (2, 2)

    def test_is_what_the_same_orders_really_get_once_it_is_in_force(self, products):
        """The proof that nothing is computed twice in two ways."""
        coupon = factories.CouponFactory(code="REAL", kind="percent", value=Decimal("7.77"))
        baskets = [(("TEA", 3),), (("APPLE", 1), ("TEA", 1)), (("APPLE", 7),)]
        shopper = Shopper(factories.CustomerFactory())
        for basket in baskets:
            assert shopper.order(*basket, coupon_code="REAL").status_code == 201
        got = sum(Order.objects.values_list("discount_amount", flat=True))

        (effect,) = past(coupon)

        assert got > 0
        assert (effect.given, effect.already_given) == (got, got)

    def test_where_prices_include_tax_takes_off_what_the_buyer_sees(self, products):
        TaxDestination.objects.create(country="DE", prices_include_tax=True)
        factories.TaxRateFactory(country="DE", region="", rate=Decimal("0.19"))
        assert Shopper().order(("TEA", 1), shipping_address=BERLIN).status_code == 201

        (effect,) = past(percent())

        assert effect.given == 2

    def test_looks_at_the_newest_alone(self, orders):
        (effect,) = promotion_preview.preview_on_past_orders(coupon=percent(), most=1)

        assert told(effect) == [(orders[2].order_number, "3.00")]

    def test_without_orders_has_nothing_to_tell(self, products):
        assert past(percent()) == []

    def test_tells_the_ten_biggest(self, products):
        shopper = Shopper(factories.CustomerFactory())
        for quantity in range(1, 13):
            assert shopper.order(("APPLE", quantity)).status_code == 201

        (effect,) = past(percent())

        assert [str(one.given) for one in effect.biggest] == [f"{n}.00" for n in range(12, 2, -1)]

    def test_asks_as_many_queries_for_many_orders_as_for_one(
        self, products, django_assert_num_queries
    ):
        shopper = Shopper(factories.CustomerFactory())
        for _ in range(2):
            for _ in range(5):
                assert shopper.order(("APPLE", 1), ("TEA", 1)).status_code == 201
            with django_assert_num_queries(4):
                past(percent())

    @pytest.mark.parametrize(
        "terms",
        [
            {"kind": "percent", "value": 0},
            {"kind": "percent", "value": 101},
            {"kind": "fixed", "value": 5},
            {"kind": "buy_x_get_y", "value": 100},
            {"kind": "lottery", "value": 1},
        ],
    )
    def test_with_terms_that_contradict_each_other_is_refused(self, orders, terms):
        with pytest.raises(ValidationFailedError):
            past(Coupon(code="TRY", **terms))


class TestOnABasket:
    def effect(self, coupon, *lines, tier="", **more):
        basket = quoting.Basket(
            lines=[quoting.BasketLine(sku=sku, quantity=quantity) for sku, quantity in lines],
            currency="USD",
            country="US",
            region="NY",
            shipping_method=None,
            coupon_code=None,
            redeemed_by="",
            tier=tier,
        )
        return promotion_preview.preview_on_basket(
            coupon=coupon, basket=basket, now=timezone.now(), **more
        )

    def test_tells_today_and_with_it(self, products):
        effect = self.effect(percent(), ("TEA", 2))

        assert effect.with_it is not None
        assert (effect.today.discount_amount, effect.with_it.discount_amount) == (0, 4)
        assert effect.today.total_amount - effect.with_it.total_amount == Decimal("4.35")  # and tax
        assert effect.refusal == ""

    def test_tells_why_not(self, products):
        effect = self.effect(percent(tier="gold"), ("TEA", 2))

        assert (effect.with_it, effect.refusal) == (None, "not_for_customer")
        assert self.effect(percent(tier="gold"), ("TEA", 2), tier="gold").refusal == ""

    def test_leaves_window_and_uses_aside(self, products):
        coupon = percent(starts_at=timezone.now() + timedelta(days=9), max_uses=0)

        effect = self.effect(coupon, ("TEA", 1))

        assert effect.with_it is not None
        assert effect.with_it.discount_amount == 2

    def test_an_automatic_one_competes_with_those_in_force(self, products):
        factories.CouponFactory(code=None, name="Now", value=15)

        worse, better = (
            self.effect(Coupon(name="Try", kind="percent", value=value), ("TEA", 1))
            for value in (10, 25)
        )

        assert worse.today.discount_amount == worse.with_it.discount_amount == 3
        assert better.with_it.discount_amount == 5

    def test_covers_what_its_scopes_name(self, products):
        effect = self.effect(
            percent(), ("TEA", 1), ("APPLE", 1), product_ids=frozenset({products["APPLE"].pk})
        )

        assert effect.with_it.discount_amount == 1

    def test_of_an_unknown_product_is_refused(self, products):
        with pytest.raises(ValidationFailedError):
            self.effect(percent(), ("PLUM", 1))


def test_a_saved_coupons_scopes_are_found(products):
    coupon = factories.CouponFactory(scoped_to=products["TEA"])
    coupon.scopes.create(category=products["APPLE"].category)

    assert promotion_preview.scopes_of(coupon) == (
        frozenset({products["TEA"].pk}),
        frozenset({products["APPLE"].category_id}),
    )
