"""Prices a basket: lines, promotions, shipping options and the hour in; one Quote out.

Pure: no database, no clock, no settings. The caller reads prices, tax rates by destination,
promotions and shipping options, and hands them in; `POST /quotes` and `POST /orders` get the same
answer. docs/pricing.md tells the rules to people.

The rules run in this order, each a small function of the one before it:

1. price      the best of base price and price breaks; line total = unit price x quantity
2. discount   one promotion, shared over its lines so that the parts add up to the cent
3. shipping   the chosen method's rate by weight, zero from its free threshold or by promotion
4. tax        (line total - its discount), by its rate, half-up per line; shipping likewise
5. total      subtotal - discount + shipping, + tax where prices do not include it

Amounts are `Decimal` in major units of one ISO 4217 currency, written with its own digits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final, assert_never
from zoneinfo import ZoneInfo

from config.kernel import money
from orders import promotions
from orders.promotions import CouponRefusal, Promotion, PromotionKind

MONDAY_TO_FRIDAY: Final = frozenset(range(5))  # as `date.weekday()` counts


class PricingError(ValueError):
    """The basket cannot be priced for a reason the client can act upon."""


class CouponRefusedError(PricingError):
    """The coupon does not apply; `reason` is the client's word for it."""

    def __init__(self, *, coupon_code: str, reason: CouponRefusal) -> None:
        super().__init__(f"coupon {coupon_code}: {reason}")
        self.coupon_code = coupon_code
        self.reason = reason


class UnknownShippingMethodError(PricingError):
    """No such method for this basket; `shipping_method` is None if there is none at all."""

    def __init__(self, *, shipping_method: str | None) -> None:
        super().__init__(f"no shipping method {shipping_method!r} for this basket")
        self.shipping_method = shipping_method


class AmountTooLargeError(PricingError):
    """The subtotal or the total is above `money.MAX_AMOUNT`; `amount` is that one."""

    def __init__(self, *, amount: Decimal) -> None:
        super().__init__(f"{amount} is above {money.MAX_AMOUNT}")
        self.amount = amount


class TaxMode(StrEnum):
    """Whether a destination's prices are what the customer pays, or tax comes on top."""

    EXCLUSIVE = "exclusive"
    INCLUSIVE = "inclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxRate:
    """A flat rate, already resolved by destination. `Decimal("0.0825")` is 8.25 % of the net.

    `tax_class` says for which goods, and changes no amount.
    """

    rate: Decimal
    tax_class: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ValueError(f"a tax rate is between 0 and 1, not {self.rate}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceBreak:
    """What one unit costs this customer from `min_quantity` of them on, in one line."""

    min_quantity: int
    amount: Decimal

    def __post_init__(self) -> None:
        if self.min_quantity < 1:
            raise ValueError(f"a price break from {self.min_quantity} units on is none")
        if self.amount < 0:
            raise ValueError(f"a price of {self.amount} is negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What is bought.

    Attributes:
        category_ids: every shelf it stands on, for promotions.
        unit_price: the base price in the quote's currency, read from the catalogue; net or gross
            as the quote's tax mode says, like every other amount.
        price_breaks: those of this customer's tier and of everybody; the lowest price applies.
        weight_grams: of one unit, packed.
    """

    sku: str
    product_id: int
    product_name: str
    quantity: int
    unit_price: Decimal
    tax_rate: TaxRate
    category_ids: frozenset[int] = frozenset()
    price_breaks: tuple[PriceBreak, ...] = ()
    weight_grams: int = 0

    def __post_init__(self) -> None:
        if self.quantity < 1:
            raise ValueError(f"{self.sku}: quantity {self.quantity} is below 1")
        if self.unit_price < 0:
            raise ValueError(f"{self.sku}: unit price {self.unit_price} is negative")
        if self.weight_grams < 0:
            raise ValueError(f"{self.sku}: weight {self.weight_grams} is negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippingOption:
    """What a method costs to the destination, for baskets of some weight.

    A method may come several times, for weights that do not overlap.

    Attributes:
        amount: price in the quote's currency.
        free_from: goods after discount from which it costs nothing; None for never.
        min_weight_grams: inclusive.
        max_weight_grams: inclusive; None for any.
        min_days: business days after dispatch at the earliest.
        max_days: business days after dispatch at the latest: what the customer is told.
    """

    code: str
    name: str
    amount: Decimal
    free_from: Decimal | None
    tax_rate: TaxRate
    min_days: int
    max_days: int
    min_weight_grams: int = 0
    max_weight_grams: int | None = None

    def __post_init__(self) -> None:
        if self.amount < 0:
            raise ValueError(f"{self.code}: amount {self.amount} is negative")
        if not 0 <= self.min_days <= self.max_days:
            raise ValueError(f"{self.code}: {self.min_days} to {self.max_days} days is no window")

    def carries(self, weight_grams: int) -> bool:
        """Whether a basket of this weight goes at this rate."""
        return self.min_weight_grams <= weight_grams and (
            self.max_weight_grams is None or weight_grams <= self.max_weight_grams
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchCalendar:
    """When the warehouse works.

    Attributes:
        time_zone: the warehouse's own; `cutoff` and `holidays` are read in it.
        cutoff: local wall-clock time from which an order leaves on the next business day.
        working_weekdays: as `date.weekday()` counts, Monday is 0.
    """

    time_zone: ZoneInfo
    cutoff: time
    holidays: frozenset[date] = frozenset()
    working_weekdays: frozenset[int] = MONDAY_TO_FRIDAY

    def __post_init__(self) -> None:
        if self.cutoff.tzinfo is not None:
            raise ValueError("the cut-off is wall-clock time in `time_zone`, without its own zone")
        if not self.working_weekdays & set(range(7)):
            raise ValueError("a warehouse that never works delivers never")


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedLine:
    """`total_price` = unit price x quantity, before discount.

    `tax_amount` comes on top of it, or is the part of it that is tax, as the quote's `tax_mode`.
    """

    sku: str
    product_id: int
    product_name: str
    quantity: int
    unit_price: Decimal
    discount_amount: Decimal
    tax_rate: TaxRate
    tax_amount: Decimal
    total_price: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedShipping:
    """`amount` is what this basket would pay for the method; tax as in the quote's `tax_mode`."""

    code: str
    name: str
    amount: Decimal
    estimated_delivery: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A priced basket. `tax_amount` = the lines' tax amounts + `shipping_tax_amount`.

    `promotion` is the one that was applied: the coupon, or the best automatic one.
    """

    currency: str
    tax_mode: TaxMode
    items: tuple[PricedLine, ...]
    subtotal: Decimal
    discount_amount: Decimal
    shipping_amount: Decimal
    shipping_tax_rate: TaxRate
    shipping_tax_amount: Decimal
    tax_amount: Decimal
    total_amount: Decimal
    shipping_methods: tuple[PricedShipping, ...]
    shipping_method: str
    estimated_delivery: date
    promotion: Promotion | None

    @property
    def tax_included(self) -> bool:
        """Whether `total_amount` has the tax in it already."""
        return self.tax_mode is TaxMode.INCLUSIVE

    @property
    def coupon_code(self) -> str | None:
        """What the customer typed; None where an automatic promotion applies, or none."""
        return self.promotion.code if self.promotion else None


def quote(
    *,
    currency: str,
    lines: Sequence[Line],
    shipping_options: Sequence[ShippingOption],
    calendar: DispatchCalendar,
    now: datetime,
    coupon: Promotion | None = None,
    automatic: Sequence[Promotion] = (),
    shipping_method: str | None = None,
    tax_mode: TaxMode = TaxMode.EXCLUSIVE,
) -> Quote:
    """Price a basket by the rules of this module, in their order.

    The same basket always gets the same quote; the order in which its lines come changes nothing
    but the order of `items`.

    At most one promotion applies. A coupon was asked for: it applies or the basket is refused, and
    automatic promotions stay out. Without one the automatic promotion applies under which the
    total is lowest, if that is lower than without any; of equally good ones that of the lowest id.

    Args:
        currency: upper-case ISO 4217; every amount handed in is of it (promotions say their own).
        lines: at least one, each SKU once.
        shipping_options: those that reach the destination, each code once for any weight.
        calendar: of the warehouse that dispatches.
        now: aware instant, any zone; windows and the estimated delivery count from it.
        coupon: found by the caller, who answers "unknown" where there is none.
        automatic: promotions without a code; those that do not apply are passed over.
        shipping_method: a code of `shipping_options`; None for the cheapest. Of equally cheap ones
            the one with the lower list price, then the first by code.
        tax_mode: the destination's; all amounts handed in and out are meant so.

    Raises:
        CouponRefusedError: the coupon does not apply now, to this basket or to this customer.
        UnknownShippingMethodError: that method does not carry this basket there, or none does.
        AmountTooLargeError: subtotal or total above `money.MAX_AMOUNT`.
        money.UnsupportedCurrencyError: see there.
        money.InvalidAmountError: a price finer than the currency's smallest unit.
        ValueError: no lines, a SKU twice, a naive `now`.
    """
    _check_basket(lines, now)

    basket = _Basket(
        currency=currency,
        lines=tuple(_at_best_price(line, currency) for line in lines),
        options=_that_carry(shipping_options, lines),
        shipping_method=shipping_method,
        tax_mode=tax_mode,
    )
    _within_cap(basket.subtotal)
    best = _choose_promotion(basket, coupon, automatic, now)
    _within_cap(best.total_amount)

    delivery = {
        option.code: estimated_delivery(option=option, calendar=calendar, now=now)
        for option in basket.options
    }
    return Quote(
        currency=currency,
        tax_mode=tax_mode,
        items=best.items,
        subtotal=basket.subtotal,
        discount_amount=best.discount_amount,
        shipping_amount=best.shipping_amount,
        shipping_tax_rate=best.chosen.tax_rate,
        shipping_tax_amount=best.shipping_tax_amount,
        tax_amount=best.tax_amount,
        total_amount=best.total_amount,
        shipping_methods=tuple(
            PricedShipping(
                code=option.code,
                name=option.name,
                amount=best.charged[option.code],
                estimated_delivery=delivery[option.code],
            )
            for option in basket.options
        ),
        shipping_method=best.chosen.code,
        estimated_delivery=delivery[best.chosen.code],
        promotion=best.promotion,
    )


def estimated_delivery(
    *, option: ShippingOption, calendar: DispatchCalendar, now: datetime
) -> date:
    """Tell the day by which the parcel should be there, in the warehouse's time zone.

    Dispatch is on the first business day whose cut-off is still ahead; from there `max_days`
    business days are counted. Carriers are taken to rest on the warehouse's holidays.

    Args:
        option: its `max_days`; 0 is the day of dispatch.
        calendar: zone, cut-off and days off.
        now: aware instant, any zone.

    Raises:
        ValueError: `now` is naive.
    """
    _check_aware(now)
    day = now.astimezone(calendar.time_zone).date()
    while not _is_business_day(day, calendar) or _cutoff_at(day, calendar) <= now:
        day += timedelta(days=1)
    for _ in range(option.max_days):
        day = _next_business_day(day, calendar)
    return day


@dataclass(frozen=True, slots=True, kw_only=True)
class _Basket:
    """A basket whose unit prices are decided; what promotions are tried on."""

    currency: str
    lines: tuple[Line, ...]
    options: tuple[ShippingOption, ...]
    shipping_method: str | None
    tax_mode: TaxMode

    @property
    def subtotal(self) -> Decimal:
        return sum((_line_total(line) for line in self.lines), money.zero(self.currency))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Priced:
    """What a basket costs under one promotion, or none."""

    promotion: Promotion | None
    items: tuple[PricedLine, ...]
    charged: Mapping[str, Decimal]
    chosen: ShippingOption
    discount_amount: Decimal
    shipping_amount: Decimal
    shipping_tax_amount: Decimal
    tax_amount: Decimal
    total_amount: Decimal


# Checks


def _check_basket(lines: Sequence[Line], now: datetime) -> None:
    if not lines:
        raise ValueError("an empty basket has no price")
    if len({line.sku for line in lines}) != len(lines):
        raise ValueError("a SKU stands on two lines")
    _check_aware(now)


def _check_aware(now: datetime) -> None:
    if now.utcoffset() is None:
        raise ValueError("`now` must be an aware instant")


def _within_cap(amount: Decimal) -> None:
    if amount > money.MAX_AMOUNT:
        raise AmountTooLargeError(amount=amount)


# 1. Price


def _at_best_price(line: Line, currency: str) -> Line:
    """The line at the lowest price that its quantity and its customer have a right to."""
    reached = [each.amount for each in line.price_breaks if each.min_quantity <= line.quantity]
    return replace(line, unit_price=money.exact(min([line.unit_price, *reached]), currency))


def _line_total(line: Line) -> Decimal:
    return line.unit_price * line.quantity


# 2. Discount


def _choose_promotion(
    basket: _Basket, coupon: Promotion | None, automatic: Sequence[Promotion], now: datetime
) -> _Priced:
    if coupon is not None:
        reason = _check(coupon, basket, now)
        if reason is not None:
            raise CouponRefusedError(coupon_code=str(coupon), reason=reason)
        return _price(basket, coupon)
    best = _price(basket, None)
    for promotion in sorted(automatic, key=lambda promotion: promotion.id):
        if _check(promotion, basket, now) is None:
            tried = _price(basket, promotion)
            if tried.total_amount < best.total_amount:
                best = tried
    return best


def _check(promotion: Promotion, basket: _Basket, now: datetime) -> CouponRefusal | None:
    return promotions.check(
        promotion=promotion,
        lines=basket.lines,
        subtotal=basket.subtotal,
        currency=basket.currency,
        now=now,
    )


def _price(basket: _Basket, promotion: Promotion | None) -> _Priced:
    """Steps 2 to 5 under a promotion that applies, or none."""
    currency, tax_mode = basket.currency, basket.tax_mode
    off: Mapping[str, Decimal] = {}
    if promotion is not None:
        off = promotions.discounts(promotion=promotion, lines=basket.lines, currency=currency)
    discount_amount = sum(off.values(), money.zero(currency))
    goods = basket.subtotal - discount_amount

    charged = {
        option.code: _shipping_amount(option, goods, promotion, currency)
        for option in basket.options
    }
    chosen = _choose_shipping(basket.options, charged, basket.shipping_method)
    shipping_amount = charged[chosen.code]

    items = tuple(
        _price_line(line, off.get(line.sku, money.zero(currency)), tax_mode, currency)
        for line in basket.lines
    )
    shipping_tax_amount = _tax_amount(shipping_amount, chosen.tax_rate, tax_mode, currency)
    tax_amount = sum((item.tax_amount for item in items), shipping_tax_amount)
    on_top = tax_amount if tax_mode is TaxMode.EXCLUSIVE else money.zero(currency)
    return _Priced(
        promotion=promotion,
        items=items,
        charged=charged,
        chosen=chosen,
        discount_amount=discount_amount,
        shipping_amount=shipping_amount,
        shipping_tax_amount=shipping_tax_amount,
        tax_amount=tax_amount,
        total_amount=goods + shipping_amount + on_top,
    )


# 3. Shipping


def _that_carry(
    options: Sequence[ShippingOption], lines: Sequence[Line]
) -> tuple[ShippingOption, ...]:
    weight_grams = sum(line.weight_grams * line.quantity for line in lines)
    carrying = tuple(option for option in options if option.carries(weight_grams))
    if len({option.code for option in carrying}) != len(carrying):
        raise ValueError(f"a shipping method has two rates for {weight_grams} g")
    return carrying


def _shipping_amount(
    option: ShippingOption, goods: Decimal, promotion: Promotion | None, currency: str
) -> Decimal:
    """Price a method for goods after discount: a coupon does not also buy free shipping."""
    is_free = option.free_from is not None and goods >= option.free_from
    if is_free or (promotion is not None and promotion.kind is PromotionKind.FREE_SHIPPING):
        return money.zero(currency)
    return money.exact(option.amount, currency)


def _choose_shipping(
    options: Sequence[ShippingOption], charged: Mapping[str, Decimal], wanted: str | None
) -> ShippingOption:
    if wanted is not None:
        candidates = [option for option in options if option.code == wanted]
    else:
        candidates = list(options)
    if not candidates:
        raise UnknownShippingMethodError(shipping_method=wanted if options else None)
    # The list price comes second: under a free-shipping coupon all cost nothing, and the shop
    # should not send everything by express because of the alphabet.
    return min(candidates, key=lambda option: (charged[option.code], option.amount, option.code))


# 4. Tax


def _tax_amount(amount: Decimal, tax_rate: TaxRate, tax_mode: TaxMode, currency: str) -> Decimal:
    """The tax on a net amount, or the part of a gross one that is tax; rounded half-up."""
    match tax_mode:
        case TaxMode.EXCLUSIVE:
            return money.quantize(amount * tax_rate.rate, currency)
        case TaxMode.INCLUSIVE:
            return money.quantize(amount * tax_rate.rate / (1 + tax_rate.rate), currency)
        case _:
            assert_never(tax_mode)


def _price_line(
    line: Line, discount_amount: Decimal, tax_mode: TaxMode, currency: str
) -> PricedLine:
    total_price = _line_total(line)
    return PricedLine(
        sku=line.sku,
        product_id=line.product_id,
        product_name=line.product_name,
        quantity=line.quantity,
        unit_price=line.unit_price,
        discount_amount=discount_amount,
        tax_rate=line.tax_rate,
        tax_amount=_tax_amount(total_price - discount_amount, line.tax_rate, tax_mode, currency),
        total_price=total_price,
    )


# Estimated delivery


def _is_business_day(day: date, calendar: DispatchCalendar) -> bool:
    return day.weekday() in calendar.working_weekdays and day not in calendar.holidays


def _next_business_day(day: date, calendar: DispatchCalendar) -> date:
    day += timedelta(days=1)
    while not _is_business_day(day, calendar):
        day += timedelta(days=1)
    return day


def _cutoff_at(day: date, calendar: DispatchCalendar) -> datetime:
    """Return the cut-off as an instant, in UTC.

    Wall clocks of one zone compare wrongly in the hour that autumn repeats; instants do not. A
    cut-off in that hour is its first pass, one in the hour that spring skips moves on with it.
    """
    return datetime.combine(day, calendar.cutoff, tzinfo=calendar.time_zone).astimezone(UTC)
