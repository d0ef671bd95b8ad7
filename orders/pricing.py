"""Prices a basket: lines, coupon, shipping options and the hour in; one Quote out. Nothing else.

Pure: no database, no clock, no settings. The caller reads prices, tax rates by destination, coupon
and shipping options, and hands them in; `POST /quotes` and `POST /orders` get the same answer.

The rules run in this order, each a small function of the one before it:

1. price      line total = unit price x quantity; subtotal = their sum
2. discount   one coupon, shared over the lines so that the parts add up to the cent
3. shipping   the chosen method's price, zero from its free threshold or by coupon
4. tax        (line total - its discount) x its rate, half-up per line; shipping likewise
5. total      subtotal - discount + shipping + tax

Amounts are `Decimal` in major units of one ISO 4217 currency, written with its own digits.
Tax is exclusive: prices are net and tax comes on top. Inclusive prices will be another `TaxMode`;
its columns must keep the equation of step 5 as well, so it needs net unit prices first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final, assert_never
from zoneinfo import ZoneInfo

from config.kernel import money

MONDAY_TO_FRIDAY: Final = frozenset(range(5))  # as `date.weekday()` counts

_HUNDRED_PERCENT: Final = Decimal(100)


class PricingError(ValueError):
    """The basket cannot be priced for a reason the client can act upon."""


class CouponRefusedError(PricingError):
    """The coupon does not apply; `reason` is the client's word for it."""

    def __init__(self, *, coupon_code: str, reason: "CouponRefusal") -> None:
        super().__init__(f"coupon {coupon_code}: {reason}")
        self.coupon_code = coupon_code
        self.reason = reason


class UnknownShippingMethodError(PricingError):
    """No such method to this destination; `shipping_method` is None if there is none at all."""

    def __init__(self, *, shipping_method: str | None) -> None:
        super().__init__(f"no shipping method {shipping_method!r} to this destination")
        self.shipping_method = shipping_method


class AmountTooLargeError(PricingError):
    """The subtotal or the total is above `money.MAX_AMOUNT`; `amount` is that one."""

    def __init__(self, *, amount: Decimal) -> None:
        super().__init__(f"{amount} is above {money.MAX_AMOUNT}")
        self.amount = amount


class TaxMode(StrEnum):
    EXCLUSIVE = "exclusive"


class CouponKind(StrEnum):
    PERCENT = "percent"
    FIXED = "fixed"
    FREE_SHIPPING = "free_shipping"


class CouponRefusal(StrEnum):
    """The values of `details.reason` in the answer COUPON_INVALID."""

    UNKNOWN = "unknown"
    EXPIRED = "expired"
    NOT_STARTED = "not_started"
    USED_UP = "used_up"
    MINIMUM_NOT_REACHED = "minimum_not_reached"
    NOT_FOR_CUSTOMER = "not_for_customer"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxRate:
    """A flat rate, already resolved by destination. `Decimal("0.0825")` is 8.25 %."""

    rate: Decimal
    mode: TaxMode = TaxMode.EXCLUSIVE

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ValueError(f"a tax rate is between 0 and 1, not {self.rate}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What is bought. `unit_price` is net, in the quote's currency, read from the catalogue."""

    sku: str
    product_id: int
    product_name: str
    quantity: int
    unit_price: Decimal
    tax_rate: TaxRate

    def __post_init__(self) -> None:
        if self.quantity < 1:
            raise ValueError(f"{self.sku}: quantity {self.quantity} is below 1")
        if self.unit_price < 0:
            raise ValueError(f"{self.sku}: unit price {self.unit_price} is negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Coupon:
    """A coupon as far as this customer is concerned.

    Attributes:
        value: percent (10 is 10 %), or an amount of `currency` if fixed; free shipping ignores it.
        currency: of a fixed `value` and of `minimum_subtotal`; None where neither is an amount.
        minimum_subtotal: goods before discount must reach it.
        starts_at: aware, inclusive.
        ends_at: aware, exclusive.
        times_used: redemptions as just read. The limit is enforced where one is written; here it
            only spares the customer the attempt.
        is_for_customer: whether this customer may use it at all.
    """

    code: str
    kind: CouponKind
    value: Decimal = Decimal(0)
    currency: str | None = None
    minimum_subtotal: Decimal | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    max_uses: int | None = None
    times_used: int = 0
    max_uses_per_customer: int | None = None
    times_used_by_customer: int = 0
    is_for_customer: bool = True

    def __post_init__(self) -> None:
        if self.kind is CouponKind.PERCENT and not 0 < self.value <= _HUNDRED_PERCENT:
            raise ValueError(f"{self.code}: {self.value} % is not above 0 and at most 100")
        if self.kind is CouponKind.FIXED and self.value <= 0:
            raise ValueError(f"{self.code}: a fixed discount of {self.value} is not above 0")
        if self.currency is None and (
            self.kind is CouponKind.FIXED or self.minimum_subtotal is not None
        ):
            raise ValueError(f"{self.code}: an amount needs a currency")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippingOption:
    """A method that reaches the destination.

    Attributes:
        amount: net price in the quote's currency.
        free_from: goods after discount from which it costs nothing; None for never.
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

    def __post_init__(self) -> None:
        if self.amount < 0:
            raise ValueError(f"{self.code}: amount {self.amount} is negative")
        if not 0 <= self.min_days <= self.max_days:
            raise ValueError(f"{self.code}: {self.min_days} to {self.max_days} days is no window")


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
    """`total_price` = unit price x quantity, before discount and tax."""

    sku: str
    product_id: int
    product_name: str
    quantity: int
    unit_price: Decimal
    discount_amount: Decimal
    tax_amount: Decimal
    total_price: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedShipping:
    """`amount` is what this basket would pay for the method, before tax."""

    code: str
    name: str
    amount: Decimal
    estimated_delivery: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A priced basket. `tax_amount` = the lines' tax amounts + `shipping_tax_amount`."""

    currency: str
    items: tuple[PricedLine, ...]
    subtotal: Decimal
    discount_amount: Decimal
    shipping_amount: Decimal
    shipping_tax_amount: Decimal
    tax_amount: Decimal
    total_amount: Decimal
    shipping_methods: tuple[PricedShipping, ...]
    shipping_method: str
    estimated_delivery: date
    coupon_code: str | None


def quote(
    *,
    currency: str,
    lines: Sequence[Line],
    shipping_options: Sequence[ShippingOption],
    calendar: DispatchCalendar,
    now: datetime,
    coupon: Coupon | None = None,
    shipping_method: str | None = None,
) -> Quote:
    """Price a basket by the rules of this module, in their order.

    The same basket always gets the same quote; the order in which its lines come changes nothing
    but the order of `items`.

    Args:
        currency: upper-case ISO 4217; every amount handed in is of it (the coupon says its own).
        lines: at least one, each SKU once.
        shipping_options: those that reach the destination, each code once.
        calendar: of the warehouse that dispatches.
        now: aware instant, any zone; coupon windows and the estimated delivery count from it.
        coupon: found by the caller, who answers "unknown" where there is none.
        shipping_method: a code of `shipping_options`; None for the cheapest. Of equally cheap ones
            the one with the lower list price, then the first by code.

    Raises:
        CouponRefusedError: the coupon does not apply now, to this basket or to this customer.
        UnknownShippingMethodError: that method is not among the options, or there are none.
        AmountTooLargeError: subtotal or total above `money.MAX_AMOUNT`.
        money.UnsupportedCurrencyError: see there.
        money.InvalidAmountError: a price finer than the currency's smallest unit.
        ValueError: no lines, a SKU twice, a naive `now`.
    """
    _check_basket(lines, now)

    line_totals = {line.sku: _line_total(line, currency) for line in lines}
    subtotal = _within_cap(sum(line_totals.values(), money.zero(currency)))

    discount_amount = _discount_amount(coupon, subtotal, currency, now)
    discounts = _share_discount(discount_amount, line_totals, currency)
    goods = subtotal - discount_amount

    charged = {
        option.code: _shipping_amount(option, goods, coupon, currency)
        for option in shipping_options
    }
    chosen = _choose_shipping(shipping_options, charged, shipping_method)
    shipping_amount = charged[chosen.code]

    items = tuple(_price_line(line, line_totals, discounts, currency) for line in lines)
    shipping_tax_amount = _tax_amount(shipping_amount, chosen.tax_rate, currency)
    tax_amount = sum((item.tax_amount for item in items), shipping_tax_amount)

    methods = tuple(
        PricedShipping(
            code=option.code,
            name=option.name,
            amount=charged[option.code],
            estimated_delivery=estimated_delivery(option=option, calendar=calendar, now=now),
        )
        for option in shipping_options
    )
    return Quote(
        currency=currency,
        items=items,
        subtotal=subtotal,
        discount_amount=discount_amount,
        shipping_amount=shipping_amount,
        shipping_tax_amount=shipping_tax_amount,
        tax_amount=tax_amount,
        total_amount=_within_cap(subtotal - discount_amount + shipping_amount + tax_amount),
        shipping_methods=methods,
        shipping_method=chosen.code,
        estimated_delivery=estimated_delivery(option=chosen, calendar=calendar, now=now),
        coupon_code=coupon.code if coupon else None,
    )


def check_coupon(
    *, coupon: Coupon, subtotal: Decimal, currency: str, now: datetime
) -> CouponRefusal | None:
    """Say why the coupon does not apply, or None if it does.

    Args:
        coupon: its window is [starts_at, ends_at).
        subtotal: goods before discount, in `currency`.
        currency: ISO 4217. A coupon whose amounts are of another one is unknown in this one:
            amounts are never converted.
        now: aware instant.
    """
    if coupon.currency is not None and coupon.currency != currency:
        return CouponRefusal.UNKNOWN
    if not coupon.is_for_customer:
        return CouponRefusal.NOT_FOR_CUSTOMER
    if coupon.starts_at is not None and now < coupon.starts_at:
        return CouponRefusal.NOT_STARTED
    if coupon.ends_at is not None and now >= coupon.ends_at:
        return CouponRefusal.EXPIRED
    if _reached(coupon.times_used, coupon.max_uses) or _reached(
        coupon.times_used_by_customer, coupon.max_uses_per_customer
    ):
        return CouponRefusal.USED_UP
    if coupon.minimum_subtotal is not None and subtotal < coupon.minimum_subtotal:
        return CouponRefusal.MINIMUM_NOT_REACHED
    return None


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


def _within_cap(amount: Decimal) -> Decimal:
    if amount > money.MAX_AMOUNT:
        raise AmountTooLargeError(amount=amount)
    return amount


# 1. Price


def _line_total(line: Line, currency: str) -> Decimal:
    return money.exact(line.unit_price, currency) * line.quantity


# 2. Discount


def _discount_amount(
    coupon: Coupon | None, subtotal: Decimal, currency: str, now: datetime
) -> Decimal:
    """Refuse the coupon or say what it takes off the goods; never more than they cost."""
    if coupon is None:
        return money.zero(currency)
    reason = check_coupon(coupon=coupon, subtotal=subtotal, currency=currency, now=now)
    if reason is not None:
        raise CouponRefusedError(coupon_code=coupon.code, reason=reason)

    match coupon.kind:
        case CouponKind.PERCENT:
            return money.quantize(subtotal * coupon.value / _HUNDRED_PERCENT, currency)
        case CouponKind.FIXED:
            return min(money.exact(coupon.value, currency), subtotal)
        case CouponKind.FREE_SHIPPING:
            return money.zero(currency)
        case _:
            assert_never(coupon.kind)


def _share_discount(
    discount_amount: Decimal, line_totals: Mapping[str, Decimal], currency: str
) -> dict[str, Decimal]:
    # By SKU: who gets the odd cent must not depend on the order in which the lines came.
    skus = sorted(line_totals)
    parts = money.allocate(discount_amount, [line_totals[sku] for sku in skus], currency)
    return dict(zip(skus, parts, strict=True))


def _reached(count: int, limit: int | None) -> bool:
    return limit is not None and count >= limit


# 3. Shipping


def _shipping_amount(
    option: ShippingOption, goods: Decimal, coupon: Coupon | None, currency: str
) -> Decimal:
    """Price a method for goods after discount: a coupon does not also buy free shipping."""
    is_free = option.free_from is not None and goods >= option.free_from
    if is_free or (coupon is not None and coupon.kind is CouponKind.FREE_SHIPPING):
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
        raise UnknownShippingMethodError(shipping_method=wanted)
    # The list price comes second: under a free-shipping coupon all cost nothing, and the shop
    # should not send everything by express because of the alphabet.
    return min(candidates, key=lambda option: (charged[option.code], option.amount, option.code))


# 4. Tax


def _tax_amount(net_amount: Decimal, tax_rate: TaxRate, currency: str) -> Decimal:
    match tax_rate.mode:
        case TaxMode.EXCLUSIVE:
            return money.quantize(net_amount * tax_rate.rate, currency)
        case _:
            assert_never(tax_rate.mode)


def _price_line(
    line: Line,
    line_totals: Mapping[str, Decimal],
    discounts: Mapping[str, Decimal],
    currency: str,
) -> PricedLine:
    total_price = line_totals[line.sku]
    discount_amount = discounts[line.sku]
    return PricedLine(
        sku=line.sku,
        product_id=line.product_id,
        product_name=line.product_name,
        quantity=line.quantity,
        unit_price=money.exact(line.unit_price, currency),
        discount_amount=discount_amount,
        tax_amount=_tax_amount(total_price - discount_amount, line.tax_rate, currency),
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
