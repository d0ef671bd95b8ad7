"""Amounts: exact at every border, and shares that add up."""

import random
from decimal import Decimal, localcontext
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.kernel import money

# A slow or busy machine is no counterexample.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

two_digit_currencies = st.sampled_from(["USD", "EUR", "GBP", "HUF", "TWD"])
zero_digit_currencies = st.sampled_from(["JPY", "KRW", "VND", "CLP", "ISK", "UGX"])
currencies = two_digit_currencies | zero_digit_currencies


@cache
def amounts(currency):
    """Any amount of `currency` that one order can have."""
    places = money.digits(currency)
    return st.integers(0, 9_999_999 * 10**places).map(lambda n: Decimal(n).scaleb(-places))


@st.composite
def amounts_with_currency(draw):
    currency = draw(currencies)
    return draw(amounts(currency)), currency


@st.composite
def shares(draw):
    """A total and the weights that it is shared over, in one currency."""
    currency = draw(currencies)
    weights = draw(st.lists(amounts(currency), min_size=1, max_size=12).filter(any))
    return draw(amounts(currency)), weights, currency


class TestDigits:
    @pytest.mark.parametrize(
        ("currency", "expected"),
        [
            ("USD", 2),
            ("EUR", 2),
            ("HUF", 2),
            ("JPY", 0),
            ("KRW", 0),
            ("VND", 0),
            ("CLP", 0),
            ("ISK", 0),
        ],
    )
    def test_are_the_currency_s_own(self, currency, expected):
        assert money.digits(currency) == expected

    @pytest.mark.parametrize("currency", ["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"])
    def test_refuse_currencies_counted_in_thousandths(self, currency):
        with pytest.raises(money.UnsupportedCurrencyError, match="three digits"):
            money.digits(currency)

    @pytest.mark.parametrize("currency", ["", "usd", "Usd", "ZZZ", "US", "USDT", "US D", "ＵＳＤ"])  # noqa: RUF001
    def test_refuse_what_is_no_code(self, currency):
        with pytest.raises(money.UnsupportedCurrencyError, match="not a supported"):
            money.digits(currency)

    def test_every_supported_code_has_three_ascii_capitals(self):
        assert len(money.SUPPORTED_CURRENCIES) > 120
        assert all(
            len(code) == 3 and code.isascii() and code.isupper()
            for code in money.SUPPORTED_CURRENCIES
        )


class TestMinorUnits:
    @pytest.mark.parametrize(
        ("amount", "currency", "minor"),
        [
            ("19.99", "USD", 1999),
            ("0.01", "USD", 1),
            ("0", "USD", 0),
            ("20", "USD", 2000),
            ("9999999.99", "USD", 999_999_999),
            ("-4.50", "USD", -450),
            ("1999", "JPY", 1999),
            ("1999.00", "JPY", 1999),
            ("5", "ISK", 500),
            ("5", "UGX", 500),
        ],
    )
    def test_follow_the_currency_s_exponent(self, amount, currency, minor):
        assert money.to_minor(Decimal(amount), currency) == minor
        assert money.from_minor(minor, currency) == Decimal(amount)

    @pytest.mark.parametrize(
        ("amount", "currency"),
        [
            ("19.999", "USD"),
            ("0.001", "USD"),
            ("1999.5", "JPY"),
            ("5.50", "ISK"),
            ("NaN", "USD"),
            ("sNaN", "USD"),
            ("Infinity", "USD"),
            ("1E+40", "USD"),
        ],
    )
    def test_refuse_what_does_not_fit(self, amount, currency):
        with pytest.raises(money.InvalidAmountError):
            money.to_minor(Decimal(amount), currency)

    def test_refuse_hundredths_of_a_currency_without_them(self):
        with pytest.raises(money.InvalidAmountError):
            money.from_minor(550, "ISK")

    def test_refuse_an_unsupported_currency_both_ways(self):
        with pytest.raises(money.UnsupportedCurrencyError):
            money.to_minor(Decimal("1.000"), "KWD")
        with pytest.raises(money.UnsupportedCurrencyError):
            money.from_minor(1000, "KWD")

    @unhurried
    @given(amounts_with_currency())
    def test_come_back_as_they_went(self, amount_with_currency):
        amount, currency = amount_with_currency

        assert money.from_minor(money.to_minor(amount, currency), currency) == amount


class TestQuantize:
    @pytest.mark.parametrize(
        ("amount", "currency", "rounded"),
        [
            ("1.005", "USD", "1.01"),
            ("1.004999", "USD", "1.00"),
            ("2.675", "USD", "2.68"),
            ("0.125", "USD", "0.13"),
            ("-1.005", "USD", "-1.01"),
            ("99.5", "JPY", "100"),
            ("99.49", "JPY", "99"),
        ],
    )
    def test_rounds_half_up(self, amount, currency, rounded):
        assert str(money.quantize(Decimal(amount), currency)) == rounded

    def test_leaves_no_negative_zero(self):
        assert str(money.quantize(Decimal("-0.001"), "USD")) == "0.00"

    def test_does_not_follow_the_context_s_rounding(self):
        with localcontext(rounding="ROUND_DOWN"):
            assert money.quantize(Decimal("1.005"), "USD") == Decimal("1.01")

    @unhurried
    @given(st.decimals(min_value=0, max_value=10**7, places=6), currencies)
    def test_is_never_off_by_more_than_half_a_unit(self, amount, currency):
        rounded = money.quantize(amount, currency)

        assert abs(rounded - amount) * 2 <= Decimal(1).scaleb(-money.digits(currency))
        assert money.quantize(rounded, currency) == rounded


class TestText:
    @pytest.mark.parametrize(
        ("amount", "currency", "text"),
        [
            ("19.99", "USD", "19.99"),
            ("19.9", "USD", "19.90"),
            ("20", "USD", "20.00"),
            ("2E+1", "USD", "20.00"),
            ("-0.00", "USD", "0.00"),
            ("1999.00", "JPY", "1999"),
            ("9999999.99", "EUR", "9999999.99"),
        ],
    )
    def test_has_the_currency_s_own_digits(self, amount, currency, text):
        assert money.format_amount(Decimal(amount), currency) == text

    def test_is_refused_rather_than_rounded(self):
        with pytest.raises(money.InvalidAmountError):
            money.format_amount(Decimal("19.999"), "USD")

    @pytest.mark.parametrize(
        ("text", "currency", "amount"),
        [
            ("0", "USD", "0.00"),
            ("0.00", "USD", "0.00"),
            ("19", "USD", "19.00"),
            ("19.9", "USD", "19.90"),
            ("19.99", "USD", "19.99"),
            ("9999999.99", "USD", "9999999.99"),
            ("1999", "JPY", "1999"),
        ],
    )
    def test_parses_plain_decimal_strings(self, text, currency, amount):
        assert str(money.parse_amount(text, currency)) == amount

    @pytest.mark.parametrize(
        "text",
        [
            *("", " ", "abc", ".", "1.", ".5", "1.2.3", "00", "01.00", "1_000", "1,00", "1,000.00"),
            *("-1", "+1", "-0.00", "1e3", "1E3", "NaN", "sNaN", "Infinity", "inf", "0x10", "1/2"),
            *(" 1", "1 ", "1\n", "\u00a01", "1\u0000", "19.999", "0.000", "$1", "1USD"),
            *("１２", "١٢", "1．5", "²", "१"),  # noqa: RUF001  # digits and a point outside ASCII
            *("10000000", "10000000.00", "9" * 5000),
        ],
    )
    def test_refuses_everything_else(self, text):
        with pytest.raises(money.InvalidAmountError):
            money.parse_amount(text, "USD")

    @pytest.mark.parametrize("text", ["1999.0", "1999.00", "19.99", "1999.", "01", "10000000"])
    def test_refuses_a_point_or_too_much_where_the_currency_has_no_fraction(self, text):
        with pytest.raises(money.InvalidAmountError):
            money.parse_amount(text, "JPY")

    @unhurried
    @given(amounts_with_currency())
    def test_reads_back_what_it_writes(self, amount_with_currency):
        amount, currency = amount_with_currency

        assert money.parse_amount(money.format_amount(amount, currency), currency) == amount

    @unhurried
    @given(st.text(max_size=12), currencies)
    def test_is_an_amount_or_refused(self, text, currency):
        try:
            amount = money.parse_amount(text, currency)
        except money.InvalidAmountError:
            return
        assert 0 <= amount <= money.MAX_AMOUNT
        assert text.isascii()


class TestAllocate:
    @pytest.mark.parametrize(
        ("total", "weights", "currency", "parts"),
        [
            # Thirds of ten: 3.33 each and one cent over, to the first of equals.
            ("10.00", ["1", "1", "1"], "USD", ["3.34", "3.33", "3.33"]),
            # Quotas 1.6667, 3.3333: the odd cent goes to the larger remainder, not to the first.
            ("5.00", ["10.00", "20.00"], "USD", ["1.67", "3.33"]),
            ("0.01", ["1.00", "3.00"], "USD", ["0.00", "0.01"]),
            # Quotas 0.005 and 0.015: of equal remainders the larger weight gets the cent.
            ("0.02", ["1.00", "3.00"], "USD", ["0.00", "0.02"]),
            ("100", ["1", "1", "1"], "JPY", ["34", "33", "33"]),
            ("7", ["0", "5", "0"], "ISK", ["0", "7", "0"]),
            ("0", ["0", "0"], "USD", ["0.00", "0.00"]),
            ("0", [], "USD", []),
        ],
    )
    def test_gives_odd_units_to_the_largest_remainders(self, total, weights, currency, parts):
        shared = money.allocate(Decimal(total), [Decimal(weight) for weight in weights], currency)

        assert [str(part) for part in shared] == parts

    def test_takes_weights_finer_than_any_currency(self):
        weights = [Decimal("0.3333333"), Decimal("0.6666667")]

        shared = money.allocate(Decimal("1.00"), weights, "USD")

        assert shared == [Decimal("0.33"), Decimal("0.67")]

    def test_refuses_negatives_and_nothing_to_share_over(self):
        with pytest.raises(money.InvalidAmountError):
            money.allocate(Decimal("-0.01"), [Decimal(1)], "USD")
        with pytest.raises(money.InvalidAmountError):
            money.allocate(Decimal("0.001"), [Decimal(1)], "USD")
        with pytest.raises(ValueError, match="negative"):
            money.allocate(Decimal(1), [Decimal(2), Decimal(-1)], "USD")
        with pytest.raises(ValueError, match="nothing to share over"):
            money.allocate(Decimal(1), [Decimal(0)], "USD")
        with pytest.raises(ValueError, match="nothing to share over"):
            money.allocate(Decimal(1), [], "USD")

    @unhurried
    @given(shares())
    def test_parts_add_up_exactly_and_stay_within_their_quota(self, share):
        total, weights, currency = share
        unit = Decimal(1).scaleb(-money.digits(currency))

        parts = money.allocate(total, weights, currency)

        assert sum(parts) == total
        for part, weight in zip(parts, weights, strict=True):
            assert part >= 0
            assert abs(part * sum(weights) - total * weight) < unit * sum(weights)

    @unhurried
    @given(shares())
    def test_no_part_exceeds_its_weight_when_the_total_does_not(self, share):
        total, weights, currency = share
        total = min(total, sum(weights))

        parts = money.allocate(total, weights, currency)

        assert all(part <= weight for part, weight in zip(parts, weights, strict=True))

    @unhurried
    @given(shares(), st.randoms(use_true_random=False))
    def test_the_parts_are_the_same_in_any_order_of_weights(self, share, rng: random.Random):
        total, weights, currency = share
        shuffled = rng.sample(weights, len(weights))

        parts = money.allocate(total, weights, currency)

        assert sorted(money.allocate(total, shuffled, currency)) == sorted(parts)
