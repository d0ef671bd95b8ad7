"""Keeps amounts exact: what a currency's smallest unit is, and how to read, write, round and share.

An amount is a `Decimal` in major units (19.99) that travels beside an upper-case ISO 4217 code.
Integers of minor units appear only at the payment provider's border, `to_minor` and `from_minor`.
"""

import re
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from fractions import Fraction
from typing import Final

# The highest total of one order, in major units of any currency: the API's cap. Sums over many
# orders (ledgers, reports) may be higher, so only `parse_amount` and the pricing refuse by it.
MAX_AMOUNT: Final = Decimal("9999999.99")

# Stripe's presentment currencies (https://docs.stripe.com/currencies), less the codes that
# ISO 4217 has withdrawn. HUF and TWD are here: Stripe restricts their payouts, not their charges.
_TWO_DIGIT_CODES: Final = """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BWP BYN BZD CAD CDF CHF CNY
    COP CRC CVE CZK DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS
    INR JMD KES KGS KHR KYD KZT LAK LBP LKR LRD LSL MAD MDL MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN
    NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SEK SGD SHP SLE SOS
    SRD SZL THB TJS TOP TRY TTD TWD TZS UAH USD UYU UZS WST XCD XCG YER ZAR ZMW
"""
_ZERO_DIGIT_CODES: Final = """
    BIF CLP DJF GNF ISK JPY KMF KRW MGA PYG RWF UGX VND VUV XAF XOF XPF
"""
_THREE_DIGIT_CODES: Final = "BHD IQD JOD KWD LYD OMR TND"

_DIGITS: Final = {
    **dict.fromkeys(_TWO_DIGIT_CODES.split(), 2),
    **dict.fromkeys(_ZERO_DIGIT_CODES.split(), 0),
}
_REFUSED_FOR_THREE_DIGITS: Final = frozenset(_THREE_DIGIT_CODES.split())
# Whole units only, yet Stripe still counts them in hundredths: "to charge 5 ISK, send 500"
# (special cases on the same page).
_WHOLE_UNITS_IN_HUNDREDTHS: Final = frozenset({"ISK", "UGX"})

SUPPORTED_CURRENCIES: Final = frozenset(_DIGITS)

_UNITS: Final = {0: Decimal(1), 2: Decimal("0.01")}
# `[0-9]`, not `\d`: full-width and other scripts' digits are refused.
_PLAIN_DECIMAL: Final = {
    0: re.compile(r"0|[1-9][0-9]{0,6}"),
    2: re.compile(r"(?:0|[1-9][0-9]{0,6})(?:\.[0-9]{1,2})?"),
}


class UnsupportedCurrencyError(ValueError):
    """Not an upper-case ISO 4217 code that Orderkeep can charge in."""


class InvalidAmountError(ValueError):
    """Not an amount of that currency: not finite, not plain, too precise or too high."""


def digits(currency: str) -> int:
    """Say how many digits follow the decimal point: 0 or 2.

    Raises:
        UnsupportedCurrencyError: unknown, lower-case, or counted in thousandths (the columns
            are NUMERIC(12,2), so BHD and its like would lose their last digit).
    """
    try:
        return _DIGITS[currency]
    except KeyError:
        if currency in _REFUSED_FOR_THREE_DIGITS:
            message = f"{currency} has three digits after the point; only 0 and 2 are supported"
        else:
            message = f"{currency!r} is not a supported ISO 4217 currency"
        raise UnsupportedCurrencyError(message) from None


def zero(currency: str) -> Decimal:
    """Return nothing at all, written with the currency's own digits."""
    return exact(Decimal(0), currency)


def quantize(amount: Decimal, currency: str) -> Decimal:
    """Round to the currency's smallest unit, half away from zero ("half-up").

    Raises:
        InvalidAmountError: NaN, infinite, or beyond what decimal arithmetic can hold exactly.
    """
    unit = _UNITS[digits(currency)]
    if not amount.is_finite():
        raise InvalidAmountError(f"{amount} is not an amount")
    try:
        rounded = amount.quantize(unit, rounding=ROUND_HALF_UP)
    except InvalidOperation as exc:
        raise InvalidAmountError(f"{amount} is too high for an amount") from exc
    # A negative zero would print as "-0.00".
    return abs(rounded) if rounded.is_zero() else rounded


def exact(amount: Decimal, currency: str) -> Decimal:
    """Return the same amount with the currency's own digits: 1999.00 JPY becomes 1999.

    Raises:
        InvalidAmountError: it has a fraction that the currency does not have; nothing is rounded.
    """
    written = quantize(amount, currency)
    if written != amount:
        raise InvalidAmountError(f"{amount} is finer than the smallest unit of {currency}")
    return written


def to_minor(amount: Decimal, currency: str) -> int:
    """Convert to the provider's integer: 19.99 USD is 1999, 1999 JPY is 1999, 5 ISK is 500.

    Negative amounts pass (ledger entries, fees).

    Raises:
        InvalidAmountError: what does not fit exactly is refused, never rounded.
    """
    return int(exact(amount, currency).scaleb(_provider_exponent(currency)))


def from_minor(amount_minor: int, currency: str) -> Decimal:
    """Convert the provider's integer back; the inverse of `to_minor`.

    Raises:
        InvalidAmountError: 550 hundredths of ISK, which has no hundredths.
    """
    return exact(Decimal(amount_minor).scaleb(-_provider_exponent(currency)), currency)


def format_amount(amount: Decimal, currency: str) -> str:
    """Write a plain decimal string with the currency's own digits: "19.99", JPY "1999".

    Raises:
        InvalidAmountError: what does not fit exactly is refused, never rounded.
    """
    return f"{exact(amount, currency):f}"


def parse_amount(text: str, currency: str) -> Decimal:
    """Read a client's plain decimal string, from "0" to `MAX_AMOUNT`.

    At most the currency's digits after the point. Refused: signs, exponents, separators, spaces,
    leading zeros, a bare point, "NaN", digits outside ASCII.

    Raises:
        InvalidAmountError: anything else than such a string.
    """
    if _PLAIN_DECIMAL[digits(currency)].fullmatch(text) is None:
        raise InvalidAmountError(
            f"not a plain decimal string with at most {digits(currency)} digits after the point"
        )
    return exact(Decimal(text), currency)


def allocate(total: Decimal, weights: Sequence[Decimal], currency: str) -> list[Decimal]:
    """Share `total` in proportion to `weights` so that the parts add up to it exactly.

    Every part is its exact quota rounded down or up to the smallest unit. So a part never exceeds
    its weight when `total` does not exceed the weights' sum and the weights are amounts of the
    currency: no line is discounted below zero.

    Args:
        total: amount of `currency`, >= 0.
        weights: each >= 0, at least one above zero unless `total` is zero; of any precision.
        currency: ISO 4217 code.

    Returns:
        One amount per weight, same order. Of equal remainders the larger weight gets the odd unit,
        of equal weights the earlier.

    Raises:
        InvalidAmountError: a negative or unfit total.
        ValueError: a negative weight, or nothing to share over.

    Source: largest-remainder (Hamilton) method, which keeps every part within its quota;
    Balinski and Young, "Fair Representation", 1982.
    """
    unit = _UNITS[digits(currency)]
    units_total = int(exact(total, currency) / unit)
    if units_total < 0:
        raise InvalidAmountError(f"cannot share {total}")
    if any(weight < 0 for weight in weights):
        raise ValueError("weights must not be negative")
    if units_total == 0:
        return [zero(currency) for _ in weights]
    weight_sum = sum((Fraction(weight) for weight in weights), Fraction(0))
    if weight_sum == 0:
        raise ValueError("there is nothing to share over: all weights are zero")

    quotas = [units_total * Fraction(weight) / weight_sum for weight in weights]
    parts = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(quotas)), key=lambda i: (parts[i] - quotas[i], -weights[i]))
    for i in by_remainder[: units_total - sum(parts)]:
        parts[i] += 1
    return [part * unit for part in parts]


def _provider_exponent(currency: str) -> int:
    return 2 if currency in _WHOLE_UNITS_IN_HUNDREDTHS else digits(currency)
