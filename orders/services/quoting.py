"""Prices a basket from the catalogue: reads what `orders.pricing` needs, and asks it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import orjson

from config.kernel import money
from config.kernel.errors import ValidationFailedError
from inventory import selectors as catalogue
from inventory import sourcing
from orders import pricing, selectors
from orders.errors import CouponInvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from orders.models import Coupon
    from orders.selectors import DispatchedMethod, PricedProduct

    TaxRates = Mapping[str, pricing.TaxRate]

NO_TAX: Final = pricing.TaxRate(rate=Decimal(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class BasketLine:
    """What a client asks for: an upper-case SKU and how many of it."""

    sku: str
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Basket:
    """Everything a price depends on, besides the catalogue.

    `country` is ISO 3166 alpha-2, `region` a state or province or empty. `redeemed_by` is the
    buyer as coupons know them (`customer:<id>`, `guest:<e-mail>`), empty while unknown.
    """

    lines: Sequence[BasketLine]
    currency: str
    country: str
    region: str
    shipping_method: str | None
    coupon_code: str | None
    redeemed_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedBasket:
    """A quote, and the coupon row behind it."""

    quote: pricing.Quote
    coupon: Coupon | None


def price_basket(*, basket: Basket, now: datetime) -> PricedBasket:
    """Price a basket from the database as it stands; holds nothing.

    Raises:
        ValidationFailedError: an unknown or inactive SKU, no such shipping method, too much money.
        CouponInvalidError: the coupon does not apply.
    """
    prices = {
        price.sku: price
        for price in selectors.list_priced_products(
            skus=[line.sku for line in basket.lines], currency=basket.currency
        )
    }
    _refuse_unknown(basket, prices)
    methods = selectors.list_shipping_methods(
        currency=basket.currency, country=basket.country, region=basket.region
    )
    if not methods:
        raise ValidationFailedError(
            details={"shipping_address": {"country": ["We do not ship there in this currency."]}}
        )
    tax_rates = _tax_rates(methods[0].tax_rates)
    coupon = _find_coupon(basket)
    try:
        quote = pricing.quote(
            currency=basket.currency,
            lines=[
                _line(prices[line.sku], line.quantity, basket.currency, tax_rates)
                for line in basket.lines
            ],
            shipping_options=[_option(method, basket.currency, tax_rates) for method in methods],
            calendar=_calendar(methods[0]),
            now=now,
            coupon=_terms(coupon) if coupon else None,
            shipping_method=basket.shipping_method,
        )
    except pricing.CouponRefusedError as exc:
        raise CouponInvalidError(details={"reason": str(exc.reason)}) from exc
    except pricing.UnknownShippingMethodError as exc:
        raise ValidationFailedError(
            details={"shipping_method": ["There is no such method for this destination."]}
        ) from exc
    except pricing.AmountTooLargeError as exc:
        raise ValidationFailedError(
            details={"items": [f"The total is above {money.MAX_AMOUNT}."]}
        ) from exc
    return PricedBasket(quote=quote, coupon=coupon)


def find_unavailable(*, lines: Sequence[BasketLine]) -> list[dict[str, Any]]:
    """The lines that could not be filled right now; reserves nothing."""
    available = catalogue.get_available_by_sku(skus=[line.sku for line in lines])
    return [
        sourcing.Shortage(
            sku=line.sku, requested=line.quantity, available=available.get(line.sku, 0)
        ).as_json()
        for line in lines
        if line.quantity > available.get(line.sku, 0)
    ]


def quote_json(quote: pricing.Quote, *, unavailable_items: list[dict[str, Any]]) -> dict[str, Any]:
    """The quote as the contract shows it: money as strings."""

    def amount(value: Any) -> str:
        return money.format_amount(value, quote.currency)

    return {
        "currency": quote.currency,
        "items": [
            {
                "sku": item.sku,
                "product_name": item.product_name,
                "quantity": item.quantity,
                "unit_price": amount(item.unit_price),
                "discount_amount": amount(item.discount_amount),
                "tax_amount": amount(item.tax_amount),
                "total_price": amount(item.total_price),
            }
            for item in quote.items
        ],
        "subtotal": amount(quote.subtotal),
        "discount_amount": amount(quote.discount_amount),
        "shipping_amount": amount(quote.shipping_amount),
        "tax_amount": amount(quote.tax_amount),
        "total_amount": amount(quote.total_amount),
        "shipping_methods": [
            {
                "code": method.code,
                "name": method.name,
                "amount": amount(method.amount),
                "estimated_delivery": method.estimated_delivery.isoformat(),
            }
            for method in quote.shipping_methods
        ],
        "shipping_method": quote.shipping_method,
        "estimated_delivery": quote.estimated_delivery.isoformat(),
        "unavailable_items": unavailable_items,
    }


def empty_quote_json(currency: str) -> dict[str, Any]:
    """The same of a basket with nothing in it: it costs nothing and goes nowhere."""
    nothing = money.format_amount(money.zero(currency), currency)
    return {
        "currency": currency,
        "items": [],
        "subtotal": nothing,
        "discount_amount": nothing,
        "shipping_amount": nothing,
        "tax_amount": nothing,
        "total_amount": nothing,
        "shipping_methods": [],
        "shipping_method": None,
        "estimated_delivery": None,
        "unavailable_items": [],
    }


def _refuse_unknown(basket: Basket, prices: Mapping[str, PricedProduct]) -> None:
    if all(line.sku in prices for line in basket.lines):
        return
    raise ValidationFailedError(
        details={
            "items": [
                {} if line.sku in prices else {"sku": ["There is no such product."]}
                for line in basket.lines
            ]
        }
    )


def _find_coupon(basket: Basket) -> Coupon | None:
    if not basket.coupon_code:
        return None
    coupon = selectors.find_coupon(code=basket.coupon_code, redeemed_by=basket.redeemed_by)
    if coupon is None:
        raise CouponInvalidError(details={"reason": "unknown"})
    return coupon


def _line(price: PricedProduct, quantity: int, currency: str, tax_rates: TaxRates) -> pricing.Line:
    return pricing.Line(
        sku=price.sku,
        product_id=price.product_id,
        product_name=price.name,
        quantity=quantity,
        unit_price=money.exact(price.amount, currency),
        tax_rate=tax_rates.get(price.tax_class, NO_TAX),
    )


def _option(method: DispatchedMethod, currency: str, tax_rates: TaxRates) -> pricing.ShippingOption:
    return pricing.ShippingOption(
        code=method.code,
        name=method.name,
        amount=money.exact(method.amount, currency),
        free_from=method.free_from,
        tax_rate=tax_rates.get(method.tax_class, NO_TAX),
        min_days=method.min_business_days,
        max_days=method.max_business_days,
    )


def _calendar(method: DispatchedMethod) -> pricing.DispatchCalendar:
    return pricing.DispatchCalendar(
        time_zone=ZoneInfo(method.time_zone),
        cutoff=method.cutoff_time,
        holidays=_holidays(method.holidays),
    )


@functools.lru_cache(maxsize=256)
def _tax_rates(rates: str) -> TaxRates:
    """The rates by tax class; likewise."""
    return {
        tax_class: pricing.TaxRate(rate=Decimal(rate))
        for tax_class, rate in orjson.loads(rates).items()
    }


@functools.lru_cache(maxsize=16)
def _holidays(days: str) -> frozenset[date]:
    """The dates of a building's JSON array; the same text is the same days."""
    return frozenset(date.fromisoformat(day) for day in orjson.loads(days))


def _terms(coupon: Coupon) -> pricing.Coupon:
    return pricing.Coupon(
        code=coupon.code,
        kind=pricing.CouponKind(coupon.kind),
        value=coupon.value,
        currency=coupon.currency,
        minimum_subtotal=coupon.minimum_subtotal or None,
        starts_at=coupon.starts_at,
        ends_at=coupon.ends_at,
        max_uses=coupon.max_uses,
        times_used=coupon.times_used,
        max_uses_per_customer=coupon.max_uses_per_customer,
        times_used_by_customer=coupon.times_used_by_customer,  # type: ignore[attr-defined]
    )
