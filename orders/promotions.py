"""What a promotion is, whether it applies, and what it takes off the lines. Pure, like `pricing`.

A promotion with a code is a coupon: customers ask for it. One without is automatic: it applies by
itself. Everything else about the two is the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol, assert_never

from config.kernel import money

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

_HUNDRED_PERCENT: Final = Decimal(100)


class PromotionKind(StrEnum):
    PERCENT = "percent"
    FIXED = "fixed"
    FREE_SHIPPING = "free_shipping"
    BUY_X_GET_Y = "buy_x_get_y"


class CouponRefusal(StrEnum):
    """The values of `details.reason` in the answer COUPON_INVALID."""

    UNKNOWN = "unknown"
    EXPIRED = "expired"
    NOT_STARTED = "not_started"
    USED_UP = "used_up"
    MINIMUM_NOT_REACHED = "minimum_not_reached"
    NOT_FOR_CUSTOMER = "not_for_customer"


class Goods(Protocol):
    """A line as far as promotions are concerned; `unit_price` in major units."""

    @property
    def sku(self) -> str: ...
    @property
    def product_id(self) -> int: ...
    @property
    def category_ids(self) -> frozenset[int]: ...
    @property
    def quantity(self) -> int: ...
    @property
    def unit_price(self) -> Decimal: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """A promotion as far as this customer is concerned.

    Attributes:
        id: what redemptions refer to; of equally good automatic ones the lowest wins.
        code: what customers type; None if it is automatic.
        value: percent (10 is 10 %), of the units that are "got" if buy x get y; or an amount of
            `currency` if fixed; free shipping ignores it.
        currency: of a fixed `value` and of `minimum_subtotal`; None where neither is an amount.
        minimum_subtotal: all goods before discount must reach it, whatever is covered.
        starts_at: aware, inclusive.
        ends_at: aware, exclusive.
        times_used: redemptions as just read. The limit is enforced where one is written; here it
            only spares the customer the attempt.
        is_for_customer: whether this customer may use it at all.
        buy_quantity: so many units at full price make the next `get_quantity` ones cheaper.
        product_ids: what it covers, together with `category_ids`; everything if both are empty.
        category_ids: a line is covered if any of its categories is.
    """

    id: int
    code: str | None
    kind: PromotionKind
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
    buy_quantity: int | None = None
    get_quantity: int | None = None
    product_ids: frozenset[int] = field(default_factory=frozenset)
    category_ids: frozenset[int] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        if self.kind in _PERCENTAGES and not 0 < self.value <= _HUNDRED_PERCENT:
            raise ValueError(f"{self}: {self.value} % is not above 0 and at most 100")
        if self.kind is PromotionKind.FIXED and self.value <= 0:
            raise ValueError(f"{self}: a fixed discount of {self.value} is not above 0")
        if self.currency is None and (
            self.kind is PromotionKind.FIXED or self.minimum_subtotal is not None
        ):
            raise ValueError(f"{self}: an amount needs a currency")
        if self.kind is PromotionKind.BUY_X_GET_Y and not (self.buy_quantity and self.get_quantity):
            raise ValueError(f"{self}: buy how many, get how many?")

    def __str__(self) -> str:
        return self.code or f"promotion {self.id}"

    @property
    def is_limited(self) -> bool:
        """Whether it can be used up."""
        return self.max_uses is not None or self.max_uses_per_customer is not None

    def covers(self, line: Goods) -> bool:
        """Whether this line's goods are meant."""
        if not self.product_ids and not self.category_ids:
            return True
        return line.product_id in self.product_ids or bool(line.category_ids & self.category_ids)


_PERCENTAGES: Final = frozenset({PromotionKind.PERCENT, PromotionKind.BUY_X_GET_Y})


def check(
    *,
    promotion: Promotion,
    lines: Sequence[Goods],
    subtotal: Decimal,
    currency: str,
    now: datetime,
) -> CouponRefusal | None:
    """Say why the promotion does not apply, or None if it does.

    Args:
        promotion: its window is [starts_at, ends_at).
        lines: of which it must cover one; that is its least minimum.
        subtotal: goods before discount, in `currency`.
        currency: ISO 4217. A promotion whose amounts are of another one is unknown in this one:
            amounts are never converted.
        now: aware instant.
    """
    if promotion.currency is not None and promotion.currency != currency:
        return CouponRefusal.UNKNOWN
    if not promotion.is_for_customer:
        return CouponRefusal.NOT_FOR_CUSTOMER
    if promotion.starts_at is not None and now < promotion.starts_at:
        return CouponRefusal.NOT_STARTED
    if promotion.ends_at is not None and now >= promotion.ends_at:
        return CouponRefusal.EXPIRED
    if _reached(promotion.times_used, promotion.max_uses) or _reached(
        promotion.times_used_by_customer, promotion.max_uses_per_customer
    ):
        return CouponRefusal.USED_UP
    if promotion.minimum_subtotal is not None and subtotal < promotion.minimum_subtotal:
        return CouponRefusal.MINIMUM_NOT_REACHED
    covered = sum(line.quantity for line in lines if promotion.covers(line))
    if covered <= (promotion.buy_quantity or 0):  # 0 unless it is buy x get y
        return CouponRefusal.MINIMUM_NOT_REACHED
    return None


def discounts(
    *, promotion: Promotion, lines: Sequence[Goods], currency: str
) -> Mapping[str, Decimal]:
    """What the promotion takes off each line, by SKU; lines it does not touch are left out.

    No part exceeds its line, and what the covered lines get does not depend on their order.
    Percent and fixed are one amount, shared over the covered lines in proportion to what they
    cost so that the parts add up to it exactly. "Buy x get y" takes off the very units that are
    "got", each line's rounded half-up.

    Args:
        promotion: one that applies; see `check`.
        lines: each SKU once; unit prices are amounts of `currency`.
    """
    covered = [line for line in lines if promotion.covers(line)]
    totals = {line.sku: line.unit_price * line.quantity for line in covered}
    goods = sum(totals.values(), money.zero(currency))
    match promotion.kind:
        case PromotionKind.PERCENT:
            off = money.quantize(goods * promotion.value / _HUNDRED_PERCENT, currency)
            return _share(off, totals, currency)
        case PromotionKind.FIXED:
            return _share(min(money.exact(promotion.value, currency), goods), totals, currency)
        case PromotionKind.FREE_SHIPPING:
            return {}
        case PromotionKind.BUY_X_GET_Y:
            return _off_the_units_got(promotion, covered, currency)
        case _:
            assert_never(promotion.kind)


def _share(off: Decimal, totals: Mapping[str, Decimal], currency: str) -> dict[str, Decimal]:
    # By SKU: who gets the odd cent must not depend on the order in which the lines came.
    skus = sorted(totals)
    parts = money.allocate(off, [totals[sku] for sku in skus], currency)
    return dict(zip(skus, parts, strict=True))


def _off_the_units_got(
    promotion: Promotion, covered: Sequence[Goods], currency: str
) -> dict[str, Decimal]:
    """Lay the units out from the dearest to the cheapest; of x + y in a row the last y are got.

    So the cheapest of each group are, a customer who splits the basket over two orders gains
    nothing, and another unit in the basket never makes the discount smaller.
    """
    buy, get = promotion.buy_quantity or 0, promotion.get_quantity or 0
    off: dict[str, Decimal] = {}
    laid_out = got = 0
    for line in sorted(covered, key=lambda line: (-line.unit_price, line.sku)):
        laid_out += line.quantity
        groups, rest = divmod(laid_out, buy + get)
        got_so_far = groups * get + max(0, rest - buy)
        price = line.unit_price * (got_so_far - got)
        off[line.sku] = money.quantize(price * promotion.value / _HUNDRED_PERCENT, currency)
        got = got_so_far
    return off


def _reached(count: int, limit: int | None) -> bool:
    return limit is not None and count >= limit
