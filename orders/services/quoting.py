"""Prices a basket from the catalogue: reads what `orders.pricing` needs, and asks it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import orjson

from config.kernel import money
from config.kernel.errors import ValidationFailedError
from inventory import selectors as catalogue
from inventory import sourcing
from orders import pricing, selectors
from orders.errors import CouponInvalidError, NotPriceableError
from orders.promotions import Promotion, PromotionKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orders.selectors import DispatchedMethod, PricedProduct

    TaxRates = Mapping[str, pricing.TaxRate]


@dataclass(frozen=True, slots=True, kw_only=True)
class BasketLine:
    """What a client asks for: an upper-case SKU and how many of it."""

    sku: str
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Basket:
    """Everything a price depends on, besides the catalogue.

    `country` is ISO 3166 alpha-2, `region` a state or province or empty, in upper case.
    `redeemed_by` is the buyer as promotions know them (`customer:<id>`, `guest:<e-mail>`), empty
    while unknown; `tier` is that of the account. Of `passed_over` promotions, by id, none applies:
    automatic ones that were found used up.
    """

    lines: Sequence[BasketLine]
    currency: str
    country: str
    region: str
    shipping_method: str | None
    coupon_code: str | None
    redeemed_by: str
    postal_code: str = ""
    tier: str = ""
    passed_over: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedBasket:
    """A quote; its `promotion` has to be redeemed by the order that is placed on it."""

    quote: pricing.Quote


def price_basket(*, basket: Basket, now: datetime, trying: Promotion | None = None) -> PricedBasket:
    """Price a basket from the database as it stands, in two statements; holds nothing.

    Args:
        trying: a promotion that is not in force: in place of the coupon if it has a code, else as
            one more that applies by itself.

    Raises:
        ValidationFailedError: an unknown or inactive SKU, no such shipping method.
        NotPriceableError: too heavy a basket, too much money, no shipping there in this currency.
        CouponInvalidError: the coupon does not apply.
    """
    prices = {
        price.sku: price
        for price in selectors.list_priced_products(
            skus=[line.sku for line in basket.lines],
            currency=basket.currency,
            tier=basket.tier,
        )
    }
    _refuse_unknown(basket, prices)
    methods = selectors.list_shipping_methods(
        currency=basket.currency,
        country=basket.country,
        region=basket.region,
        postal_code=basket.postal_code.replace(" ", "").upper(),
        coupon_code=basket.coupon_code.upper() if basket.coupon_code else None,
        redeemed_by=basket.redeemed_by,
        now=now,
    )
    if not methods:
        raise NotPriceableError(
            "not_shipped",
            details={"shipping_address": {"country": ["We do not ship there in this currency."]}},
        )
    terms = methods[0]
    tax_rates = _tax_rates(terms.tax_rates)
    coupon, automatic = _promotions(terms, basket)
    if trying is not None and trying.code:
        coupon, automatic = trying, []
    elif trying is not None:
        automatic = [*(each for each in automatic if each.id != trying.id), trying]
    try:
        quote = pricing.quote(
            currency=basket.currency,
            lines=[
                _line(prices[line.sku], line.quantity, basket.currency, tax_rates)
                for line in basket.lines
            ],
            shipping_options=[_option(method, basket.currency, tax_rates) for method in methods],
            calendar=_calendar(terms),
            now=now,
            coupon=coupon,
            automatic=automatic,
            shipping_method=basket.shipping_method,
            tax_mode=_tax_mode(terms),
        )
    except pricing.CouponRefusedError as exc:
        raise CouponInvalidError(details={"reason": str(exc.reason)}) from exc
    except pricing.UnknownShippingMethodError as exc:
        raise _no_such_method(exc) from exc
    except pricing.AmountTooLargeError as exc:
        raise NotPriceableError(
            "too_expensive", details={"items": [f"The total is above {money.MAX_AMOUNT}."]}
        ) from exc
    return PricedBasket(quote=quote)


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


def promotion_of(row: Mapping[str, Any], *, tier: str) -> Promotion:
    """A promotion as `orders.selectors` reads it, for a customer of that tier."""
    scopes = row["scopes"] or []
    return Promotion(
        id=row["id"],
        code=row["code"],
        kind=PromotionKind(row["kind"]),
        value=Decimal(row["value"]),
        currency=row["currency"],
        minimum_subtotal=Decimal(row["minimum_subtotal"]) or None,
        starts_at=_instant(row["starts_at"]),
        ends_at=_instant(row["ends_at"]),
        max_uses=row["max_uses"],
        times_used=row["times_used"],
        max_uses_per_customer=row["max_uses_per_customer"],
        times_used_by_customer=row["times_used_by_customer"],
        is_for_customer=row["tier"] in {"", tier},
        buy_quantity=row["buy_quantity"],
        get_quantity=row["get_quantity"],
        product_ids=frozenset(product_id for product_id, _ in scopes if product_id),
        category_ids=frozenset(category_id for _, category_id in scopes if category_id),
    )


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
        "tax_included": quote.tax_included,
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
        "tax_included": False,
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


def _no_such_method(refusal: pricing.UnknownShippingMethodError) -> ValidationFailedError:
    if refusal.shipping_method is None:
        problem = "Together they are too heavy for every way to this destination."
        return NotPriceableError("too_heavy", details={"items": [problem]})
    problem = "There is no such method for this destination and weight."
    return ValidationFailedError(details={"shipping_method": [problem]})


def _promotions(
    terms: DispatchedMethod, basket: Basket
) -> tuple[Promotion | None, Sequence[Promotion]]:
    """The coupon that was asked for, or else all that may apply by themselves."""
    found = [promotion_of(row, tier=basket.tier) for row in orjson.loads(terms.promotions)]
    if not basket.coupon_code:
        return None, [each for each in found if each.id not in basket.passed_over]
    if not found:
        raise CouponInvalidError(details={"reason": "unknown"})
    return found[0], []


def _line(price: PricedProduct, quantity: int, currency: str, tax_rates: TaxRates) -> pricing.Line:
    return pricing.Line(
        sku=price.sku,
        product_id=price.product_id,
        product_name=price.name,
        quantity=quantity,
        unit_price=money.exact(price.amount, currency),
        tax_rate=_rate_of(price.tax_class, tax_rates),
        category_ids=frozenset(price.category_ids),
        price_breaks=_price_breaks(price.price_breaks),
        weight_grams=price.weight_grams or 0,
    )


def _option(method: DispatchedMethod, currency: str, tax_rates: TaxRates) -> pricing.ShippingOption:
    return pricing.ShippingOption(
        code=method.code,
        name=method.name,
        amount=money.exact(method.amount, currency),
        free_from=method.free_from,
        tax_rate=_rate_of(method.tax_class, tax_rates),
        min_days=method.min_business_days,
        max_days=method.max_business_days,
        min_weight_grams=method.min_weight_grams,
        max_weight_grams=method.max_weight_grams,
    )


def _calendar(method: DispatchedMethod) -> pricing.DispatchCalendar:
    return pricing.DispatchCalendar(
        time_zone=ZoneInfo(method.time_zone),
        cutoff=method.cutoff_time,
        holidays=_holidays(method.holidays),
    )


def _tax_mode(terms: DispatchedMethod) -> pricing.TaxMode:
    is_gross = terms.prices_include_tax
    return pricing.TaxMode.INCLUSIVE if is_gross else pricing.TaxMode.EXCLUSIVE


def _rate_of(tax_class: str, tax_rates: TaxRates) -> pricing.TaxRate:
    """What the destination takes on a class of goods; nothing, if it has no rate for it."""
    found = tax_rates.get(tax_class)
    return found or pricing.TaxRate(rate=Decimal(0), tax_class=tax_class)


# The same text is the same terms: what seldom changes is read once.


@functools.lru_cache(maxsize=256)
def _tax_rates(rates: str) -> TaxRates:
    """The rates by tax class."""
    return {
        tax_class: pricing.TaxRate(rate=Decimal(rate), tax_class=tax_class)
        for tax_class, rate in orjson.loads(rates).items()
    }


@functools.lru_cache(maxsize=1024)
def _price_breaks(steps: str) -> tuple[pricing.PriceBreak, ...]:
    return tuple(
        pricing.PriceBreak(min_quantity=min_quantity, amount=Decimal(amount))
        for min_quantity, amount in orjson.loads(steps)
    )


@functools.lru_cache(maxsize=16)
def _holidays(days: str) -> frozenset[date]:
    """The dates of a building's JSON array."""
    return frozenset(date.fromisoformat(day) for day in orjson.loads(days))


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
