"""Quotes: worked by hand first, then the properties that no basket may break."""

import random
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from config.kernel import money
from orders import pricing, promotions
from orders.pricing import DispatchCalendar, Line, PriceBreak, TaxMode, TaxRate
from orders.promotions import CouponRefusal, Promotion, PromotionKind

NEW_YORK = ZoneInfo("America/New_York")
UNTAXED = TaxRate(rate=Decimal(0))
CALENDAR = DispatchCalendar(time_zone=NEW_YORK, cutoff=time(14))
NOW = datetime(2025, 6, 4, 15, tzinfo=UTC)  # Wednesday, 11:00 in New York


def make_line(sku="APPLE", quantity=1, unit_price="19.99", tax_rate="0", **changes):
    return Line(
        **{
            "sku": sku,
            "product_id": 1,
            "product_name": sku.title(),
            "quantity": quantity,
            "unit_price": Decimal(unit_price),
            "tax_rate": TaxRate(rate=Decimal(tax_rate)),
            **changes,
        }
    )


def make_option(
    code="standard", amount="5.00", free_from=None, tax_rate="0", max_days=3, **changes
):
    return pricing.ShippingOption(
        code=code,
        name=code.title(),
        amount=Decimal(amount),
        free_from=None if free_from is None else Decimal(free_from),
        tax_rate=TaxRate(rate=Decimal(tax_rate)),
        min_days=0,
        max_days=max_days,
        **changes,
    )


def percent(value, code="SAVE", **changes):
    return promotion(PromotionKind.PERCENT, code, value=Decimal(value), **changes)


def fixed(value, currency="USD", code="OFF", **changes):
    return promotion(PromotionKind.FIXED, code, value=Decimal(value), currency=currency, **changes)


def free_shipping(code="SHIPFREE", **changes):
    return promotion(PromotionKind.FREE_SHIPPING, code, **changes)


def buy_x_get_y(buy, get, value="100", code="MORE", **changes):
    quantities = {"buy_quantity": buy, "get_quantity": get}
    return promotion(PromotionKind.BUY_X_GET_Y, code, value=Decimal(value), **quantities, **changes)


def promotion(kind, code, **terms):
    return Promotion(**{"id": 1, "code": code, "kind": kind, **terms})


def price(*lines, currency="USD", options=None, now=NOW, **arguments):
    return pricing.quote(
        currency=currency,
        lines=lines,
        shipping_options=[make_option()] if options is None else options,
        calendar=CALENDAR,
        now=now,
        **arguments,
    )


class TestWorkedByHand:
    def test_two_lines_ten_percent_sales_tax_and_taxed_shipping(self):
        # 3 x 19.99 = 59.97; 2 x 4.50 = 9.00; subtotal 68.97; 10 % = 6.897 -> 6.90.
        # Shares: 6.90 x 59.97/68.97 = 5.99960.., 6.90 x 9/68.97 = 0.90039.. -> 6.00 and 0.90.
        # Tax: 53.97 x 8.25 % = 4.452525 -> 4.45; 8.10 x 2 % = 0.162 -> 0.16;
        # shipping 5.00 x 8.25 % = 0.4125 -> 0.41. Together 5.02.
        quote = price(
            make_line("MUG", 3, "19.99", "0.0825"),
            make_line("TEA", 2, "4.50", "0.02"),
            options=[make_option(amount="5.00", tax_rate="0.0825")],
            coupon=percent("10"),
        )

        assert quote == pricing.Quote(
            currency="USD",
            tax_mode=TaxMode.EXCLUSIVE,
            items=(
                pricing.PricedLine(
                    sku="MUG",
                    product_id=1,
                    product_name="Mug",
                    quantity=3,
                    unit_price=Decimal("19.99"),
                    discount_amount=Decimal("6.00"),
                    tax_rate=TaxRate(rate=Decimal("0.0825")),
                    tax_amount=Decimal("4.45"),
                    total_price=Decimal("59.97"),
                ),
                pricing.PricedLine(
                    sku="TEA",
                    product_id=1,
                    product_name="Tea",
                    quantity=2,
                    unit_price=Decimal("4.50"),
                    discount_amount=Decimal("0.90"),
                    tax_rate=TaxRate(rate=Decimal("0.02")),
                    tax_amount=Decimal("0.16"),
                    total_price=Decimal("9.00"),
                ),
            ),
            subtotal=Decimal("68.97"),
            discount_amount=Decimal("6.90"),
            shipping_amount=Decimal("5.00"),
            shipping_tax_rate=TaxRate(rate=Decimal("0.0825")),
            shipping_tax_amount=Decimal("0.41"),
            tax_amount=Decimal("5.02"),
            total_amount=Decimal("72.09"),
            shipping_methods=(
                pricing.PricedShipping(
                    code="standard",
                    name="Standard",
                    amount=Decimal("5.00"),
                    estimated_delivery=date(2025, 6, 9),
                ),
            ),
            shipping_method="standard",
            estimated_delivery=date(2025, 6, 9),
            promotion=percent("10"),
        )
        assert quote.coupon_code == "SAVE"

    def test_without_coupon_or_tax_the_total_is_goods_and_shipping(self):
        quote = price(make_line(quantity=2))

        assert quote.total_amount == Decimal("44.98")
        assert quote.discount_amount == quote.tax_amount == 0
        assert quote.coupon_code is None

    def test_yen_have_no_fractions(self):
        # 3 x 333 = 999; 10 % = 99.9 -> 100; (999 - 100) x 8 % = 71.92 -> 72; 999 - 100 + 500 + 72.
        quote = price(
            make_line("SUSHI", 3, "333", "0.08"),
            currency="JPY",
            options=[make_option(amount="500")],
            coupon=percent("10"),
        )

        assert str(quote.discount_amount) == "100"
        assert str(quote.tax_amount) == "72"
        assert str(quote.total_amount) == "1471"

    def test_writes_amounts_from_wider_columns_with_the_currency_s_digits(self):
        quote = price(
            make_line("SUSHI", 1, "1999.00"), currency="JPY", options=[make_option(amount="0.00")]
        )

        assert str(quote.items[0].unit_price) == "1999"
        assert str(quote.total_amount) == "1999"

    def test_tax_is_rounded_half_up_per_line_not_once(self):
        # 0.10 x 5 % = 0.005 -> 0.01 on each of two lines; rounded once it would be 0.01 in all.
        quote = price(make_line("A", 1, "0.10", "0.05"), make_line("B", 1, "0.10", "0.05"))

        assert [item.tax_amount for item in quote.items] == [Decimal("0.01"), Decimal("0.01")]
        assert quote.tax_amount == Decimal("0.02")

    def test_keeps_the_lines_order(self):
        quote = price(make_line("PEAR"), make_line("APPLE"), make_line("FIG"))

        assert [item.sku for item in quote.items] == ["PEAR", "APPLE", "FIG"]


class TestDiscount:
    def test_a_fixed_coupon_takes_no_more_than_the_goods_cost(self):
        quote = price(make_line(unit_price="3.00", tax_rate="0.10"), coupon=fixed("10.00"))

        assert quote.discount_amount == Decimal("3.00")
        assert quote.items[0].tax_amount == 0
        assert quote.total_amount == quote.shipping_amount == Decimal("5.00")

    def test_the_odd_cent_follows_the_sku_not_the_place(self):
        taxed, untaxed = make_line("A", 1, "1.00", "0.5"), make_line("B", 1, "1.00", "0")

        forth, back = (
            price(*lines, coupon=fixed("0.01")) for lines in [(taxed, untaxed), (untaxed, taxed)]
        )

        assert forth.items[0].discount_amount == Decimal("0.01")
        assert back.items[1].discount_amount == Decimal("0.01")
        assert forth.total_amount == back.total_amount

    def test_free_shipping_makes_every_method_free_and_leaves_the_goods(self):
        options = [
            make_option("express", "20.00", tax_rate="0.1"),
            make_option("standard", "5.00", tax_rate="0.1"),
        ]

        quote = price(make_line(), options=options, coupon=free_shipping())

        assert quote.discount_amount == quote.shipping_amount == quote.shipping_tax_amount == 0
        assert [method.amount for method in quote.shipping_methods] == [0, 0]
        assert quote.shipping_method == "standard"  # the cheaper by list price

    def test_goods_that_cost_nothing_take_any_coupon(self):
        quote = price(make_line(unit_price="0.00"), coupon=percent("10"))

        assert quote.discount_amount == 0

    def test_a_refused_coupon_refuses_the_quote_and_says_why(self):
        with pytest.raises(pricing.CouponRefusedError) as refusal:
            price(make_line(), coupon=percent("10", ends_at=NOW))

        assert refusal.value.reason is CouponRefusal.EXPIRED
        assert refusal.value.coupon_code == "SAVE"

    def test_a_fixed_coupon_finer_than_the_currency_is_a_mistake_of_ours(self):
        with pytest.raises(money.InvalidAmountError):
            price(make_line(), coupon=fixed("0.005"))


class TestCheck:
    @staticmethod
    def check(coupon, subtotal="50.00", currency="USD", now=NOW):
        return promotions.check(
            promotion=coupon,
            lines=[make_line("A", 2), make_line("B", 1, product_id=2)],
            subtotal=Decimal(subtotal),
            currency=currency,
            now=now,
        )

    def test_says_nothing_when_it_applies(self):
        assert self.check(percent("10")) is None

    def test_the_window_includes_its_start_and_excludes_its_end(self):
        coupon = percent("10", starts_at=NOW, ends_at=NOW + timedelta(hours=1))
        tick = timedelta(microseconds=1)

        assert self.check(coupon, now=NOW - tick) is CouponRefusal.NOT_STARTED
        assert self.check(coupon, now=NOW) is None
        assert self.check(coupon, now=coupon.ends_at - tick) is None
        assert self.check(coupon, now=coupon.ends_at) is CouponRefusal.EXPIRED

    def test_the_last_use_is_allowed_and_the_next_is_not(self):
        assert self.check(percent("10", max_uses=2, times_used=1)) is None
        assert self.check(percent("10", max_uses=2, times_used=2)) is CouponRefusal.USED_UP
        assert self.check(percent("10", max_uses=0)) is CouponRefusal.USED_UP

    def test_each_customer_has_an_own_limit(self):
        limited = percent("10", max_uses_per_customer=1)

        assert self.check(limited) is None
        assert self.check(replace(limited, times_used_by_customer=1)) is CouponRefusal.USED_UP

    def test_the_minimum_itself_is_enough(self):
        coupon = percent("10", minimum_subtotal=Decimal("50.00"), currency="USD")

        assert self.check(coupon, "50.00") is None
        assert self.check(coupon, "49.99") is CouponRefusal.MINIMUM_NOT_REACHED

    def test_not_everybody_may_use_every_coupon(self):
        coupon = percent("10", is_for_customer=False)

        assert self.check(coupon) is CouponRefusal.NOT_FOR_CUSTOMER

    def test_amounts_of_another_currency_are_not_compared(self):
        assert self.check(fixed("5", "EUR")) is CouponRefusal.UNKNOWN
        assert self.check(fixed("5", "EUR"), currency="EUR") is None

    def test_reasons_are_the_clients_words(self):
        assert {reason.value for reason in CouponRefusal} == {
            *("unknown", "expired", "not_started", "used_up"),
            *("minimum_not_reached", "not_for_customer"),
        }


class TestShipping:
    options = (
        make_option("express", "12.00", max_days=1),
        make_option("standard", "5.00", max_days=3),
    )

    def test_without_a_choice_it_is_the_cheapest(self):
        quote = price(make_line(), options=self.options)

        assert quote.shipping_method == "standard"
        assert quote.estimated_delivery == date(2025, 6, 9)
        assert [method.code for method in quote.shipping_methods] == ["express", "standard"]

    def test_of_equally_cheap_ones_it_is_the_first_by_code(self):
        options = [make_option(code, "5.00") for code in ("ups", "dhl", "dpd")]

        assert price(make_line(), options=options).shipping_method == "dhl"

    def test_the_chosen_method_is_charged(self):
        quote = price(make_line(), options=self.options, shipping_method="express")

        assert quote.shipping_amount == Decimal("12.00")
        assert quote.estimated_delivery == date(2025, 6, 5)

    def test_the_free_threshold_is_measured_after_the_discount(self):
        options = [make_option(amount="5.00", free_from="50.00", tax_rate="0.1")]
        basket = make_line(unit_price="50.00")

        assert price(basket, options=options).shipping_amount == 0
        assert price(basket, options=options, coupon=fixed("0.01")).shipping_amount == 5

    def test_an_unknown_method_is_refused(self):
        with pytest.raises(pricing.UnknownShippingMethodError) as refusal:
            price(make_line(), options=self.options, shipping_method="drone")

        assert refusal.value.shipping_method == "drone"

    def test_a_destination_without_any_method_is_refused(self):
        with pytest.raises(pricing.UnknownShippingMethodError) as refusal:
            price(make_line(), options=[])

        assert refusal.value.shipping_method is None


class TestWeight:
    options = (
        make_option("letter", "1.00", max_weight_grams=1000),
        make_option("parcel", "5.00", max_weight_grams=1000),
        make_option("parcel", "9.00", min_weight_grams=1001, max_weight_grams=5000),
    )

    @pytest.mark.parametrize(
        ("grams", "quantity", "offered"),
        [
            (0, 99, {"letter": 1, "parcel": 5}),
            (500, 2, {"letter": 1, "parcel": 5}),  # the highest weight is still carried
            (1001, 1, {"parcel": 9}),
            (2500, 2, {"parcel": 9}),
        ],
    )
    def test_decides_which_methods_carry_a_basket_and_for_how_much(self, grams, quantity, offered):
        quote = price(make_line(quantity=quantity, weight_grams=grams), options=self.options)

        assert {method.code: method.amount for method in quote.shipping_methods} == offered

    def test_is_that_of_all_units_of_all_lines(self):
        lines = [make_line("A", 2, weight_grams=400), make_line("B", 1, weight_grams=201)]

        quote = price(*lines, options=self.options)

        assert (quote.shipping_method, quote.shipping_amount) == ("parcel", 9)

    def test_too_high_for_every_method_is_refused_as_having_none(self):
        with pytest.raises(pricing.UnknownShippingMethodError) as refusal:
            price(make_line(weight_grams=5001), options=self.options, shipping_method="parcel")

        assert refusal.value.shipping_method is None

    def test_too_high_for_the_wanted_method_names_it(self):
        with pytest.raises(pricing.UnknownShippingMethodError) as refusal:
            price(make_line(weight_grams=1500), options=self.options, shipping_method="letter")

        assert refusal.value.shipping_method == "letter"

    def test_with_two_rates_for_it_is_a_mistake_of_ours(self):
        twice = [make_option(max_weight_grams=500), make_option(min_weight_grams=500)]

        with pytest.raises(ValueError, match="two rates"):
            price(make_line(weight_grams=500), options=twice)


class TestPriceBreaks:
    breaks = (
        PriceBreak(min_quantity=10, amount=Decimal("1.80")),
        PriceBreak(min_quantity=100, amount=Decimal("1.50")),
    )

    @pytest.mark.parametrize(
        ("quantity", "unit_price", "subtotal"),
        [(9, "2.00", "18.00"), (10, "1.80", "18.00"), (99, "1.80", "178.20"), (100, "1.50", "150")],
    )
    def test_apply_to_all_units_from_their_quantity_on(self, quantity, unit_price, subtotal):
        quote = price(make_line("TEA", quantity, "2.00", price_breaks=self.breaks))

        assert quote.items[0].unit_price == Decimal(unit_price)
        assert quote.subtotal == quote.items[0].total_price == Decimal(subtotal)

    def test_never_raise_a_price(self):
        dearer = PriceBreak(min_quantity=1, amount=Decimal("2.01"))

        assert price(make_line(unit_price="2.00", price_breaks=(dearer,))).subtotal == 2

    def test_of_several_that_apply_the_lowest_counts_whatever_their_order(self):
        tier = PriceBreak(min_quantity=1, amount=Decimal("1.40"))

        for breaks in ((tier, *self.breaks), (*self.breaks, tier)):
            quote = price(make_line(quantity=100, unit_price="2.00", price_breaks=breaks))
            assert quote.items[0].unit_price == Decimal("1.40")

    def test_come_before_the_discount_and_its_minimum(self):
        line = make_line(quantity=10, unit_price="2.00", price_breaks=self.breaks)
        minimum = {"minimum_subtotal": Decimal("18.01"), "currency": "USD"}

        assert price(line, coupon=percent("10")).discount_amount == Decimal("1.80")
        with pytest.raises(pricing.CouponRefusedError):
            price(line, coupon=percent("10", **minimum))

    def test_in_whole_units_of_yen(self):
        with pytest.raises(money.InvalidAmountError):
            price(
                make_line(quantity=10, unit_price="2", price_breaks=self.breaks),
                currency="JPY",
                options=[make_option(amount="0")],
            )


class TestBuyXGetY:
    @staticmethod
    def off(coupon, *lines):
        return {item.sku: item.discount_amount for item in price(*lines, coupon=coupon).items}

    @pytest.mark.parametrize(
        ("quantity", "off"), [(3, "2.00"), (4, "2.00"), (5, "2.00"), (6, "4.00"), (30, "20.00")]
    )
    def test_of_three_in_a_row_the_third_is_free(self, quantity, off):
        assert self.off(buy_x_get_y(2, 1), make_line("TEA", quantity, "2.00")) == {
            "TEA": Decimal(off)
        }

    def test_the_cheapest_of_each_group_is_the_one_that_is_got(self):
        lines = [make_line("A", 1, "10.00"), make_line("B", 2, "6.00"), make_line("C", 3, "1.00")]

        # Laid out: 10 6 (6) 1 1 (1)
        assert self.off(buy_x_get_y(2, 1), *lines) == {"A": 0, "B": 6, "C": 1}

    def test_a_group_that_is_not_full_gets_what_it_has(self):
        # buy 2 get 2: 5 5 (5)
        assert self.off(buy_x_get_y(2, 2), make_line("A", 3, "5.00")) == {"A": 5}

    def test_at_a_percentage_each_line_is_rounded_half_up(self):
        lines = [make_line("A", 1, "1.01"), make_line("B", 1, "1.01")]

        # 1.01 (0.505 off)
        assert self.off(buy_x_get_y(1, 1, "50"), *lines) == {"A": 0, "B": Decimal("0.51")}

    def test_of_what_it_covers_alone(self):
        fruit = frozenset({7})
        lines = [
            make_line("PEAR", 1, "3.00", category_ids=fruit),
            make_line("FIG", 1, "2.00", category_ids=fruit),
            make_line("NUT", 5, "1.00"),
        ]

        coupon = buy_x_get_y(1, 1, category_ids=fruit)

        assert self.off(coupon, *lines) == {"PEAR": 0, "FIG": 2, "NUT": 0}

    def test_with_too_few_units_has_not_reached_its_minimum(self):
        with pytest.raises(pricing.CouponRefusedError) as refusal:
            price(make_line(quantity=2), coupon=buy_x_get_y(2, 1))

        assert refusal.value.reason is CouponRefusal.MINIMUM_NOT_REACHED


class TestWhatAPromotionCovers:
    FRUIT, SNACKS = frozenset({7}), frozenset({8})
    lines = (
        make_line("PEAR", 1, "10.00", product_id=1, category_ids=FRUIT),
        make_line("FIG", 1, "20.00", product_id=2, category_ids=FRUIT),
        make_line("NUT", 1, "30.00", product_id=3, category_ids=SNACKS),
    )

    @pytest.mark.parametrize(
        ("scope", "off"),
        [
            ({}, [1, 2, 3]),
            ({"product_ids": frozenset({2})}, [0, 2, 0]),
            ({"category_ids": FRUIT}, [1, 2, 0]),
            ({"category_ids": FRUIT, "product_ids": frozenset({3})}, [1, 2, 3]),
            ({"category_ids": FRUIT | SNACKS}, [1, 2, 3]),
        ],
    )
    def test_is_what_its_products_and_categories_name_or_everything(self, scope, off):
        quote = price(*self.lines, coupon=percent("10", **scope))

        assert [item.discount_amount for item in quote.items] == off

    def test_a_fixed_one_takes_no_more_than_that_costs(self):
        quote = price(*self.lines, coupon=fixed("25.00", product_ids=frozenset({2})))

        assert [item.discount_amount for item in quote.items] == [0, 20, 0]

    def test_a_line_on_several_shelves_is_covered_by_any_of_them(self):
        line = make_line(category_ids=frozenset({1, 7}))

        assert price(line, coupon=percent("100", category_ids=self.FRUIT)).discount_amount > 0

    def test_must_be_in_the_basket(self):
        with pytest.raises(pricing.CouponRefusedError) as refusal:
            price(*self.lines, coupon=free_shipping(product_ids=frozenset({99})))

        assert refusal.value.reason is CouponRefusal.MINIMUM_NOT_REACHED

    def test_its_minimum_is_of_all_goods(self):
        terms = {"minimum_subtotal": Decimal(60), "currency": "USD", "category_ids": self.FRUIT}

        assert price(*self.lines, coupon=percent("10", **terms)).discount_amount == 3


class TestAutomaticPromotions:
    def test_the_one_that_saves_most_applies(self):
        five, ten = percent("5", None, id=1), percent("10", None, id=2)

        quote = price(make_line(unit_price="20.00"), automatic=[five, ten])

        assert quote.promotion == ten
        assert quote.discount_amount == 2
        assert quote.coupon_code is None

    def test_shipping_counts_as_a_saving(self):
        free, two_off = free_shipping(None, id=1), percent("10", None, id=2)
        basket = make_line(unit_price="20.00")

        assert price(basket, automatic=[free, two_off]).promotion == free
        assert price(basket, automatic=[free, two_off], options=[make_option(amount="1.99")]) == (
            price(basket, automatic=[two_off], options=[make_option(amount="1.99")])
        )

    def test_the_saving_is_that_at_the_chosen_method(self):
        free, six_off = free_shipping(None, id=1), fixed("6.00", code=None, id=2)
        methods = {"options": [make_option(), make_option("express", "9.00")]}
        basket = make_line(unit_price="20.00")

        at_the_cheapest = price(basket, automatic=[free, six_off], **methods)
        by_express = price(basket, automatic=[free, six_off], shipping_method="express", **methods)

        assert at_the_cheapest.promotion == six_off
        assert by_express.promotion == free

    def test_of_equally_good_ones_that_of_the_lowest_id_applies(self):
        one, other = percent("10", None, id=1), fixed("2.00", code=None, id=2)

        for automatic in ([one, other], [other, one]):
            quote = price(make_line(unit_price="20.00"), automatic=automatic)
            assert quote.promotion == one

    def test_one_that_saves_nothing_does_not_apply(self):
        quote = price(
            make_line(), options=[make_option(amount="0")], automatic=[free_shipping(None)]
        )

        assert quote.promotion is None

    @pytest.mark.parametrize(
        "terms",
        [
            {"ends_at": NOW},
            {"starts_at": NOW + timedelta(seconds=1)},
            {"max_uses": 1, "times_used": 1},
            {"max_uses_per_customer": 1, "times_used_by_customer": 1},
            {"is_for_customer": False},
            {"minimum_subtotal": Decimal(20), "currency": "USD"},
            {"minimum_subtotal": Decimal(1), "currency": "EUR"},
            {"product_ids": frozenset({99})},
        ],
    )
    def test_one_that_does_not_apply_is_passed_over_in_silence(self, terms):
        quote = price(make_line(unit_price="19.99"), automatic=[percent("10", None, **terms)])

        assert quote.promotion is None
        assert quote.discount_amount == 0

    def test_a_coupon_was_asked_for_and_comes_alone(self):
        better = percent("50", None, id=7)

        quote = price(make_line(unit_price="20.00"), coupon=percent("10"), automatic=[better])

        assert quote.coupon_code == "SAVE"
        assert quote.discount_amount == 2

    def test_a_coupon_that_does_not_apply_is_not_replaced_by_one(self):
        with pytest.raises(pricing.CouponRefusedError):
            price(make_line(), coupon=percent("10", ends_at=NOW), automatic=[percent("5", None)])


class TestRefusals:
    def test_an_empty_basket(self):
        with pytest.raises(ValueError, match="empty basket"):
            price()

    def test_a_sku_on_two_lines(self):
        with pytest.raises(ValueError, match="two lines"):
            price(make_line("A"), make_line("A", quantity=2))

    def test_a_naive_now(self):
        naive = NOW.replace(tzinfo=None)

        with pytest.raises(ValueError, match="aware"):
            price(make_line(), now=naive)
        with pytest.raises(ValueError, match="aware"):
            pricing.estimated_delivery(option=make_option(), calendar=CALENDAR, now=naive)

    def test_a_total_above_the_cap(self):
        options = [make_option(amount="0.01")]

        with pytest.raises(pricing.AmountTooLargeError) as refusal:
            price(make_line(unit_price="9999999.99"), options=options)

        assert refusal.value.amount == Decimal("10000000.00")

    def test_a_subtotal_above_the_cap_whatever_the_coupon(self):
        with pytest.raises(pricing.AmountTooLargeError):
            price(make_line(quantity=9999, unit_price="9999999.99"), coupon=percent("100"))

    def test_not_the_cap_itself(self):
        quote = price(make_line(unit_price="9999999.99"), options=[make_option(amount="0")])

        assert quote.total_amount == money.MAX_AMOUNT

    def test_a_price_finer_than_the_currency(self):
        with pytest.raises(money.InvalidAmountError):
            price(make_line(unit_price="19.99"), currency="JPY")

    @pytest.mark.parametrize("currency", ["usd", "KWD", "ZZZ"])
    def test_a_currency_that_is_not_supported(self, currency):
        with pytest.raises(money.UnsupportedCurrencyError):
            price(make_line(), currency=currency)

    @pytest.mark.parametrize(
        "build",
        [
            lambda: make_line(quantity=0),
            lambda: make_line(quantity=-1),
            lambda: make_line(unit_price="-0.01"),
            lambda: TaxRate(rate=Decimal("-0.01")),
            lambda: TaxRate(rate=Decimal("8.25")),
            lambda: percent("0"),
            lambda: percent("100.01"),
            lambda: fixed("0"),
            lambda: fixed("5", currency=None),
            lambda: percent("5", minimum_subtotal=Decimal(1)),
            lambda: buy_x_get_y(2, 1, "101"),
            lambda: buy_x_get_y(2, 0),
            lambda: buy_x_get_y(None, 1),
            lambda: make_line(weight_grams=-1),
            lambda: PriceBreak(min_quantity=0, amount=Decimal(1)),
            lambda: PriceBreak(min_quantity=1, amount=Decimal(-1)),
            lambda: make_option(amount="-1"),
            lambda: make_option(max_days=-1),
            lambda: replace(make_option(), min_days=4),
            lambda: replace(CALENDAR, cutoff=time(14, tzinfo=UTC)),
            lambda: replace(CALENDAR, working_weekdays=frozenset()),
        ],
    )
    def test_rules_that_make_no_sense(self, build):
        with pytest.raises(ValueError, match=r"."):
            build()


class TestEstimatedDelivery:
    @staticmethod
    def deliver(local, max_days=1, zone=NEW_YORK, **changes):
        """Estimate for an order placed at `local` wall-clock time, "YYYY-MM-DD HH:MM"."""
        calendar = replace(CALENDAR, time_zone=zone, **changes)
        now = datetime.fromisoformat(local).replace(tzinfo=zone)
        return pricing.estimated_delivery(
            option=make_option(max_days=max_days), calendar=calendar, now=now
        ).isoformat()

    @pytest.mark.parametrize(
        ("local", "max_days", "expected"),
        [
            ("2025-06-04 13:59", 1, "2025-06-05"),  # Wednesday before the cut-off
            ("2025-06-04 14:00", 1, "2025-06-06"),  # the cut-off itself is too late
            ("2025-06-04 09:00", 0, "2025-06-04"),  # same day
            ("2025-06-04 15:00", 0, "2025-06-05"),
            ("2025-06-06 13:00", 1, "2025-06-09"),  # Friday: over the weekend
            ("2025-06-06 15:00", 1, "2025-06-10"),  # leaves on Monday
            ("2025-06-07 09:00", 1, "2025-06-10"),  # Saturday leaves on Monday
            ("2025-06-08 23:59", 1, "2025-06-10"),  # and so does Sunday
            ("2025-06-04 09:00", 10, "2025-06-18"),  # two weeks of business days
            ("2025-12-31 15:00", 1, "2026-01-02"),  # over the year's end, no holiday known
        ],
    )
    def test_counts_business_days_from_dispatch(self, local, max_days, expected):
        assert self.deliver(local, max_days) == expected

    def test_skips_holidays_both_for_dispatch_and_on_the_way(self):
        juneteenth_and_bridge = frozenset({date(2025, 6, 19), date(2025, 6, 20)})

        before = self.deliver("2025-06-18 09:00", holidays=juneteenth_and_bridge)
        during = self.deliver("2025-06-19 09:00", holidays=juneteenth_and_bridge)

        assert before == "2025-06-23"
        assert during == "2025-06-24"

    def test_follows_the_warehouse_s_own_week(self):
        sunday_to_thursday = frozenset({6, 0, 1, 2, 3})

        delivery = self.deliver("2025-06-05 09:00", working_weekdays=sunday_to_thursday)

        assert delivery == "2025-06-08"

    def test_reads_the_cutoff_in_the_warehouse_s_time_zone(self):
        now = datetime(2025, 6, 4, 17, 30, tzinfo=UTC)  # 13:30 in New York, 02:30 next day in Tokyo
        option = make_option(max_days=1)
        tokyo = replace(CALENDAR, time_zone=ZoneInfo("Asia/Tokyo"))

        estimates = [
            pricing.estimated_delivery(option=option, calendar=calendar, now=now)
            for calendar in (CALENDAR, tokyo)
        ]

        assert estimates == [date(2025, 6, 5), date(2025, 6, 6)]

    def test_an_evening_before_a_late_cutoff_still_counts_although_utc_has_the_next_day(self):
        assert self.deliver("2025-06-04 22:00", max_days=0, cutoff=time(23)) == "2025-06-04"

    def test_is_the_same_for_one_instant_in_any_zone(self):
        instants = [NOW, NOW.astimezone(NEW_YORK), NOW.astimezone(ZoneInfo("Asia/Kolkata"))]

        estimates = {
            pricing.estimated_delivery(option=make_option(), calendar=CALENDAR, now=now)
            for now in instants
        }

        assert len(estimates) == 1

    def test_the_cutoff_keeps_to_the_wall_clock_across_the_change_to_summer_time(self):
        friday = datetime(2025, 3, 7, 18, 30, tzinfo=UTC)  # 13:30 EST: leaves today
        monday = datetime(2025, 3, 10, 18, 30, tzinfo=UTC)  # 14:30 EDT: too late
        option = make_option(max_days=0)

        estimates = [
            pricing.estimated_delivery(option=option, calendar=CALENDAR, now=now)
            for now in (friday, monday)
        ]

        assert estimates == [date(2025, 3, 7), date(2025, 3, 11)]

    @pytest.mark.parametrize("zone", [UTC, NEW_YORK])
    def test_a_cutoff_in_the_repeated_hour_passes_once(self, zone):
        # Sunday 2025-11-02: 01:59 EDT is followed by 01:00 EST. The cut-off is 01:30 EDT.
        seven_days = replace(CALENDAR, cutoff=time(1, 30), working_weekdays=frozenset(range(7)))
        midnight = datetime(2025, 11, 2, 4, tzinfo=UTC)
        option = make_option(max_days=0)

        dispatch_days = [
            pricing.estimated_delivery(
                option=option,
                calendar=seven_days,
                now=(midnight + timedelta(minutes=minutes)).astimezone(zone),
            ).day
            for minutes in (60 + 29, 60 + 30, 120 + 15, 120 + 45)  # 01:29, 01:30, 01:15, 01:45
        ]

        assert dispatch_days == [2, 3, 3, 3]

    def test_a_cutoff_in_the_skipped_hour_moves_on_with_the_clock(self):
        # Sunday 2025-03-09: 01:59 EST is followed by 03:00 EDT. The cut-off 02:30 becomes 03:30.
        seven_days = replace(CALENDAR, cutoff=time(2, 30), working_weekdays=frozenset(range(7)))
        three_o_clock = datetime(2025, 3, 9, 7, tzinfo=UTC)
        option = make_option(max_days=0)

        dispatch_days = [
            pricing.estimated_delivery(
                option=option, calendar=seven_days, now=three_o_clock + timedelta(minutes=minutes)
            ).day
            for minutes in (29, 30)
        ]

        assert dispatch_days == [9, 10]


# Properties

# A slow or busy machine is no counterexample. Half the usual examples: all baskets draw alike.
unhurried = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])

rates = st.decimals(0, 1, places=4).map(lambda rate: TaxRate(rate=rate))
instants = st.datetimes(
    min_value=datetime(2024, 12, 20),  # noqa: DTZ001  # hypothesis wants naive bounds
    max_value=datetime(2025, 12, 20),  # noqa: DTZ001
    timezones=st.just(UTC),
)
calendars = st.builds(
    DispatchCalendar,
    time_zone=st.sampled_from(
        ["America/New_York", "Europe/Berlin", "Asia/Tokyo", "Australia/Lord_Howe", "Asia/Beirut"]
    ).map(ZoneInfo),
    cutoff=st.times(),
    holidays=st.frozensets(
        st.integers(0, 30).map(lambda days: date(2025, 1, 1) + timedelta(days=days)), max_size=8
    ),
    working_weekdays=st.frozensets(st.integers(0, 6), min_size=1),
)


@cache
def amounts(currency, high):
    places = money.digits(currency)
    return st.integers(0, high * 10**places).map(lambda units: Decimal(units).scaleb(-places))


@cache
def lines_of(currency):
    breaks = st.builds(PriceBreak, min_quantity=st.integers(1, 60), amount=amounts(currency, 900))
    line = st.builds(
        Line,
        sku=st.sampled_from([f"SKU-{n}" for n in range(40)]),
        product_id=st.integers(1, 5),
        product_name=st.just("Something"),
        quantity=st.integers(1, 99),
        unit_price=amounts(currency, 900),
        tax_rate=rates,
        category_ids=st.frozensets(st.integers(1, 3), min_size=1),
        price_breaks=st.lists(breaks, max_size=3).map(tuple),
        weight_grams=st.integers(0, 2000),
    )
    return st.lists(line, min_size=1, max_size=8, unique_by=lambda line: line.sku)


# What a promotion covers; mostly something of the basket.
scopes: st.SearchStrategy[dict[str, frozenset[int]]] = st.just({}) | st.fixed_dictionaries(
    {
        "product_ids": st.frozensets(st.integers(1, 5)),
        "category_ids": st.frozensets(st.integers(1, 3)),
    }
)


@cache
def promotions_of(currency):
    def build(kind):
        return st.tuples(kind, scopes, st.integers(1, 9)).map(
            lambda drawn: replace(drawn[0], id=drawn[2], **drawn[1])
        )

    percents = st.decimals("0.01", 100, places=2).map(percent)
    amounts_off = amounts(currency, 2000).filter(bool).map(lambda value: fixed(value, currency))
    quantities = st.tuples(st.integers(1, 5), st.integers(1, 5), st.decimals(1, 100, places=2))
    groups = quantities.map(lambda drawn: buy_x_get_y(*drawn))
    return build(percents | amounts_off | groups | st.just(free_shipping()))


@cache
def automatic_of(currency):
    promotion = promotions_of(currency).map(lambda drawn: replace(drawn, code=None))
    return st.lists(promotion, max_size=3, unique_by=lambda promotion: promotion.id)


@cache
def options_of(currency):
    option = st.builds(
        pricing.ShippingOption,
        code=st.sampled_from(["air", "bike", "road", "sea"]),
        name=st.just("By land"),
        amount=amounts(currency, 50),
        free_from=st.none() | amounts(currency, 1000),
        tax_rate=rates,
        min_days=st.just(0),
        max_days=st.integers(0, 15),
    )
    return st.lists(option, min_size=1, max_size=4, unique_by=lambda option: option.code)


@st.composite
def baskets(draw):
    """Arguments of a quote that succeeds, without a coupon: up to 8 lines of up to 99 times 900."""
    currency = draw(st.sampled_from(["USD", "EUR", "JPY", "KRW", "ISK"]))
    return {
        "currency": currency,
        "lines": draw(lines_of(currency)),
        "shipping_options": draw(options_of(currency)),
        "calendar": draw(calendars),
        "now": draw(instants),
        "automatic": draw(automatic_of(currency)),
        "tax_mode": draw(st.sampled_from(TaxMode)),
    }


@st.composite
def promoted(draw):
    """Likewise, at times with a coupon that applies."""
    basket = draw(baskets())
    coupon = draw(st.none() | promotions_of(basket["currency"]))
    return basket | {"coupon": coupon if coupon and applies(coupon, basket) else None}


def applies(coupon, basket):
    try:
        pricing.quote(**basket | {"coupon": coupon})
    except pricing.CouponRefusedError:
        return False
    return True


def without_threshold(basket):
    """Discounts do not then take the goods below a free threshold."""
    options = [replace(option, free_from=None) for option in basket["shipping_options"]]
    return basket | {"shipping_options": options}


def without_breaks(basket):
    return basket | {"lines": [replace(line, price_breaks=()) for line in basket["lines"]]}


def smallest_unit(currency):
    return Decimal(1).scaleb(-money.digits(currency))


def every_amount(quote):
    yield from (quote.subtotal, quote.discount_amount, quote.shipping_amount)
    yield from (quote.shipping_tax_amount, quote.tax_amount, quote.total_amount)
    for item in quote.items:
        yield from (item.unit_price, item.discount_amount, item.tax_amount, item.total_price)
    for method in quote.shipping_methods:
        yield method.amount


class TestEveryQuote:
    @unhurried
    @given(promoted())
    def test_adds_up(self, basket):
        quote = pricing.quote(**basket)
        items = quote.items
        on_top = 0 if quote.tax_included else quote.tax_amount

        assert all(item.total_price == item.unit_price * item.quantity for item in items)
        assert quote.subtotal == sum(item.total_price for item in items)
        assert quote.discount_amount == sum(item.discount_amount for item in items)
        assert quote.tax_amount == (
            sum(item.tax_amount for item in items) + quote.shipping_tax_amount
        )
        assert quote.total_amount == (
            quote.subtotal - quote.discount_amount + quote.shipping_amount + on_top
        )

    @unhurried
    @given(promoted())
    def test_has_nothing_negative_and_no_discount_above_its_goods(self, basket):
        quote = pricing.quote(**basket)

        assert all(amount >= 0 for amount in every_amount(quote))
        assert quote.discount_amount <= quote.subtotal
        assert all(item.discount_amount <= item.total_price for item in quote.items)

    @unhurried
    @given(promoted())
    def test_has_included_tax_within_what_is_paid(self, basket):
        quote = pricing.quote(**basket | {"tax_mode": TaxMode.INCLUSIVE})

        paid = [item.total_price - item.discount_amount for item in quote.items]
        for item, gross in zip(quote.items, paid, strict=True):
            assert item.tax_amount <= gross
        assert quote.shipping_tax_amount <= quote.shipping_amount
        assert quote.total_amount == sum(paid) + quote.shipping_amount

    @unhurried
    @given(promoted())
    def test_has_the_net_s_tax_in_the_gross(self, basket):
        """Taking the tax out and putting it on again is off by less than the smallest unit."""
        quote = pricing.quote(**basket | {"tax_mode": TaxMode.INCLUSIVE})
        rate_of = {line.sku: line.tax_rate.rate for line in basket["lines"]}

        for item in quote.items:
            net = item.total_price - item.discount_amount - item.tax_amount
            off = abs(net * rate_of[item.sku] - item.tax_amount)
            assert off <= smallest_unit(quote.currency)

    @unhurried
    @given(promoted())
    def test_is_written_with_the_currency_s_own_digits(self, basket):
        quote = pricing.quote(**basket)
        places = money.digits(quote.currency)

        assert all(amount.as_tuple().exponent == -places for amount in every_amount(quote))
        assert money.to_minor(quote.total_amount, quote.currency) >= 0

    @unhurried
    @given(promoted())
    def test_chooses_one_of_the_methods_at_the_lowest_price(self, basket):
        quote = pricing.quote(**basket)
        chosen = next(m for m in quote.shipping_methods if m.code == quote.shipping_method)

        assert chosen.amount == min(method.amount for method in quote.shipping_methods)
        assert chosen.amount == quote.shipping_amount
        assert chosen.estimated_delivery == quote.estimated_delivery

    @unhurried
    @given(promoted(), st.randoms(use_true_random=False))
    def test_does_not_depend_on_the_order_of_what_comes_in(self, basket, rng: random.Random):
        lines, options = basket["lines"], basket["shipping_options"]
        shuffled = basket | {
            "lines": [
                replace(
                    line, price_breaks=tuple(rng.sample(line.price_breaks, len(line.price_breaks)))
                )
                for line in rng.sample(lines, len(lines))
            ],
            "shipping_options": rng.sample(options, len(options)),
            "automatic": rng.sample(basket["automatic"], len(basket["automatic"])),
        }

        quote, again = pricing.quote(**basket), pricing.quote(**shuffled)

        assert {item.sku: item for item in again.items} == {item.sku: item for item in quote.items}
        assert replace(again, items=quote.items, shipping_methods=quote.shipping_methods) == quote

    @unhurried
    @given(promoted())
    def test_is_the_same_when_asked_again(self, basket):
        assert pricing.quote(**basket) == pricing.quote(**basket)

    @unhurried
    @given(baskets(), st.data())
    def test_subtotal_grows_with_every_quantity_where_the_unit_price_stays(self, basket, data):
        basket = without_breaks(basket)
        i = data.draw(st.integers(0, len(basket["lines"]) - 1))
        more = list(basket["lines"])
        more[i] = replace(more[i], quantity=more[i].quantity + data.draw(st.integers(1, 99)))

        quote, larger = pricing.quote(**basket), pricing.quote(**basket | {"lines": more})

        assert larger.subtotal >= quote.subtotal
        assert (larger.subtotal > quote.subtotal) == (more[i].unit_price > 0)

    @unhurried
    @given(baskets(), st.integers(1, 99))
    def test_unit_price_never_rises_with_the_quantity(self, basket, more):
        larger = [replace(line, quantity=line.quantity + more) for line in basket["lines"]]

        items = zip(
            pricing.quote(**basket).items,
            pricing.quote(**basket | {"lines": larger}).items,
            strict=True,
        )

        assert all(of_more.unit_price <= of_few.unit_price for of_few, of_more in items)

    @unhurried
    @given(baskets())
    def test_is_never_dearer_for_price_breaks(self, basket):
        with_breaks = pricing.quote(**basket)
        at_base_price = pricing.quote(**without_breaks(basket))

        assert with_breaks.subtotal <= at_base_price.subtotal

    @unhurried
    @given(promoted())
    def test_is_never_dearer_for_a_free_threshold(self, basket):
        assert (
            pricing.quote(**basket).total_amount
            <= pricing.quote(**without_threshold(basket)).total_amount
        )

    @unhurried
    @given(promoted(), st.integers(1, 9999))
    def test_never_exceeds_the_cap(self, basket, factor):
        lines = [
            replace(line, unit_price=line.unit_price * factor, price_breaks=())
            for line in basket["lines"]
        ]

        try:
            quote = pricing.quote(**basket | {"lines": lines})
        except pricing.AmountTooLargeError as refusal:
            assert refusal.amount > money.MAX_AMOUNT  # noqa: PT017  # either outcome is right
        else:
            assert quote.subtotal <= money.MAX_AMOUNT
            assert quote.total_amount <= money.MAX_AMOUNT


class TestEveryPromotion:
    @unhurried
    @given(baskets())
    def test_with_everything_off_leaves_goods_and_their_tax_at_zero(self, basket):
        quote = pricing.quote(**basket | {"coupon": percent("100")})

        assert quote.discount_amount == quote.subtotal
        assert all(item.tax_amount == 0 for item in quote.items)
        on_top = 0 if quote.tax_included else quote.shipping_tax_amount
        assert quote.total_amount == quote.shipping_amount + on_top

    @unhurried
    @given(baskets())
    def test_with_free_shipping_charges_none(self, basket):
        quote = pricing.quote(**basket | {"coupon": free_shipping()})

        assert quote.discount_amount == quote.shipping_amount == quote.shipping_tax_amount == 0

    @unhurried
    @given(promoted())
    def test_takes_nothing_off_what_it_does_not_cover(self, basket):
        quote = pricing.quote(**basket)

        for line, item in zip(basket["lines"], quote.items, strict=True):
            if quote.promotion is None or not quote.promotion.covers(line):
                assert item.discount_amount == 0

    @unhurried
    @given(baskets(), st.data())
    def test_of_a_fixed_amount_takes_off_just_that_or_all_that_it_covers(self, basket, data):
        value = data.draw(amounts(basket["currency"], 2000).filter(bool))
        coupon = fixed(value, basket["currency"], **data.draw(scopes))
        assume(applies(coupon, basket))

        quote = pricing.quote(**basket | {"coupon": coupon})

        lines = zip(basket["lines"], quote.items, strict=True)
        covered = sum(item.total_price for line, item in lines if coupon.covers(line))
        assert quote.discount_amount == min(value, covered)

    @unhurried
    @given(baskets())
    def test_that_is_automatic_never_makes_a_basket_dearer(self, basket):
        totals = [
            pricing.quote(**basket | {"automatic": basket["automatic"][:n]}).total_amount
            for n in range(len(basket["automatic"]) + 1)
        ]

        assert totals == sorted(totals, reverse=True)

    @unhurried
    @given(promoted())
    def test_that_is_a_coupon_never_makes_a_basket_dearer_than_none(self, basket):
        """Nor does a threshold count: below it a discount may cost the free shipping."""
        basket = without_threshold(basket)

        with_coupon = pricing.quote(**basket | {"automatic": []})
        without = pricing.quote(**basket | {"automatic": [], "coupon": None})

        assert with_coupon.total_amount <= without.total_amount

    @unhurried
    @given(baskets(), st.data())
    def test_of_more_per_cent_never_makes_a_basket_dearer(self, basket, data):
        """Where tax comes on top: but for what rounding does to a share, a unit a line at most."""
        basket = without_threshold(basket)
        less, more = sorted(data.draw(st.tuples(*[st.decimals("0.01", 100, places=2)] * 2)))

        at_less, at_more = (
            pricing.quote(**basket | {"coupon": percent(value)}) for value in (less, more)
        )

        assert at_more.discount_amount >= at_less.discount_amount
        rounding = 0 if at_more.tax_included or len(at_more.items) == 1 else len(at_more.items)
        assert at_more.total_amount <= at_less.total_amount + rounding * smallest_unit(
            at_more.currency
        )

    @unhurried
    @given(baskets(), st.integers(1, 5), st.integers(1, 5))
    def test_of_buy_x_get_y_gives_what_laying_out_the_units_gives(self, basket, buy, get):
        coupon = buy_x_get_y(buy, get)
        assume(applies(coupon, basket))

        quote = pricing.quote(**basket | {"coupon": coupon})

        units = sorted(
            (item.unit_price for item in quote.items for _ in range(item.quantity)), reverse=True
        )
        got = [price for place, price in enumerate(units) if place % (buy + get) >= buy]
        assert quote.discount_amount == sum(got)

    @unhurried
    @given(baskets(), st.integers(1, 5), st.integers(1, 5), st.data())
    def test_of_buy_x_get_y_gives_no_less_for_more_units(self, basket, buy, get, data):
        basket = without_breaks(basket) | {"coupon": buy_x_get_y(buy, get)}
        assume(applies(basket["coupon"], basket))
        more = list(basket["lines"])
        i = data.draw(st.integers(0, len(more) - 1))
        more[i] = replace(more[i], quantity=more[i].quantity + data.draw(st.integers(1, 9)))

        quote, larger = pricing.quote(**basket), pricing.quote(**basket | {"lines": more})

        assert larger.discount_amount >= quote.discount_amount


class TestEveryDelivery:
    @unhurried
    @given(options_of("USD"), calendars, instants)
    def test_is_on_a_business_day_not_before_today(self, options, calendar, now):
        delivery = pricing.estimated_delivery(option=options[0], calendar=calendar, now=now)

        assert delivery.weekday() in calendar.working_weekdays
        assert delivery not in calendar.holidays
        assert delivery >= now.astimezone(calendar.time_zone).date()

    @unhurried
    @given(options_of("USD"), calendars, instants, st.timedeltas(timedelta(0), timedelta(days=10)))
    def test_is_never_earlier_for_a_later_order(self, options, calendar, now, wait):
        first, later = (
            pricing.estimated_delivery(option=options[0], calendar=calendar, now=at)
            for at in (now, now + wait)
        )

        assert first <= later

    @unhurried
    @given(options_of("USD"), calendars, instants)
    def test_is_never_earlier_for_a_slower_method(self, options, calendar, now):
        option = options[0]
        assume(option.max_days > 0)
        faster = replace(option, max_days=option.max_days - 1)

        by_faster, by_slower = (
            pricing.estimated_delivery(option=each, calendar=calendar, now=now)
            for each in (faster, option)
        )

        assert by_faster < by_slower
