"""What a promotion would do, before it does: to orders that were paid, and to a basket.

Computed by the code that prices orders (`orders.pricing`), of terms that need not be saved.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from datetime import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from django.db.models import F

from config.kernel import money
from config.kernel.errors import ValidationFailedError
from inventory.models import Category
from orders import pricing
from orders.errors import CouponInvalidError
from orders.models import Order
from orders.services import quoting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from orders.models import Coupon, OrderItem
    from orders.promotions import Promotion
    from orders.services.quoting import Basket

ORDERS_LOOKED_AT: Final = 200
BIGGEST: Final = 10
_UNSAVED: Final = 2**63 - 1
"""Of equally good automatic promotions the one of the lowest id wins: a new one comes last."""
_PAID: Final = ("confirmed", "processing", "shipped", "delivered")
# A past order is not delivered again: any calendar will do.
_CALENDAR: Final = pricing.DispatchCalendar(
    time_zone=ZoneInfo("UTC"), cutoff=time(12), working_weekdays=frozenset(range(7))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Discounted:
    """An order as it would have been: `given` off `goods_and_shipping`, in its currency."""

    order_id: int
    order_number: str
    goods_and_shipping: Decimal
    given: Decimal


@dataclass(slots=True, kw_only=True)
class PastEffect:
    """What it would have given on orders of one currency; amounts in major units of that.

    `revenue` is goods and shipping of all orders looked at, before any discount. `given` includes
    shipping that would have been free; `already_given` is what the same orders got from other
    promotions, of which an order has one at a time.
    """

    currency: str
    orders: int = 0
    applies_to: int = 0
    revenue: Decimal = Decimal(0)
    given: Decimal = Decimal(0)
    already_given: Decimal = Decimal(0)
    biggest: list[Discounted] = field(default_factory=list)

    @property
    def percent_of_revenue(self) -> Decimal:
        """`given` in per cent of `revenue`, to two digits."""
        percent = 100 * self.given / self.revenue if self.revenue else Decimal(0)
        return percent.quantize(Decimal("0.01"))


@dataclass(frozen=True, slots=True, kw_only=True)
class BasketEffect:
    """A basket as it is priced today, and with the promotion; `refusal` says why it would not."""

    today: pricing.Quote
    with_it: pricing.Quote | None
    refusal: str = ""


def preview_on_past_orders(
    *,
    coupon: Coupon,
    product_ids: frozenset[int] = frozenset(),
    category_ids: frozenset[int] = frozenset(),
    most: int = ORDERS_LOOKED_AT,
) -> list[PastEffect]:
    """What a promotion would have given on the newest paid orders, by currency; four statements.

    Each order counts at the prices it was placed at, oldest first: limits of use run out as they
    would have. Its time window is left aside, and so is that customers might have bought more.

    Args:
        coupon: saved or not; not written.
        product_ids: what it covers, with `category_ids` and all below them; everything if empty.
        most: orders to look at.

    Raises:
        ValidationFailedError: its terms contradict each other.
    """
    orders = list(
        Order.objects.filter(status__in=_PAID)
        .annotate(tier=F("customer__tier"))
        .prefetch_related("items__product")
        .order_by("-created_at", "-pk")[:most]
    )
    above = _shelves_above()
    effects: dict[str, PastEffect] = {}
    promotions: dict[str, Promotion] = {}
    used: Counter[str] = Counter()
    for order in reversed(orders):
        effect = effects.setdefault(order.currency, PastEffect(currency=order.currency))
        tier = order.tier or ""
        if tier not in promotions:
            promotions[tier] = _promotion(coupon, product_ids, category_ids, tier=tier)
        promotion = replace(
            promotions[tier],
            times_used=used.total(),
            times_used_by_customer=used[_buyer(order)],
        )
        effect.orders += 1
        effect.revenue += order.subtotal + order.shipping_amount
        given = _given(order, promotion, above)
        if given > 0:
            used[_buyer(order)] += 1
            effect.applies_to += 1
            effect.given += given
            effect.already_given += order.discount_amount
            effect.biggest.append(
                Discounted(
                    order_id=order.pk,
                    order_number=order.order_number,
                    goods_and_shipping=order.subtotal + order.shipping_amount,
                    given=given,
                )
            )
    for effect in effects.values():
        effect.biggest.sort(key=lambda one: (-one.given, one.order_id))
        del effect.biggest[BIGGEST:]
    return sorted(effects.values(), key=lambda effect: (-effect.orders, effect.currency))


def preview_on_basket(
    *,
    coupon: Coupon,
    basket: Basket,
    now: datetime,
    product_ids: frozenset[int] = frozenset(),
    category_ids: frozenset[int] = frozenset(),
) -> BasketEffect:
    """What a basket costs today and what it would with the promotion; window and uses left aside.

    Args:
        coupon: saved or not; not written.
        basket: without a coupon of its own.

    Raises:
        ValidationFailedError: terms that contradict each other, an unknown SKU.
        NotPriceableError: the basket cannot be shipped or paid.
    """
    today = quoting.price_basket(basket=basket, now=now).quote
    promotion = _promotion(coupon, product_ids, category_ids, tier=basket.tier)
    promotion = replace(promotion, max_uses=None, max_uses_per_customer=None)
    try:
        with_it = quoting.price_basket(basket=basket, now=now, trying=promotion).quote
    except CouponInvalidError as exc:
        return BasketEffect(today=today, with_it=None, refusal=exc.details["reason"])
    return BasketEffect(today=today, with_it=with_it)


def scopes_of(coupon: Coupon) -> tuple[frozenset[int], frozenset[int]]:
    """The products and categories that a saved coupon names."""
    pairs = list(coupon.scopes.values_list("product_id", "category_id"))
    return (
        frozenset(product for product, _ in pairs if product),
        frozenset(category for _, category in pairs if category),
    )


def _promotion(
    coupon: Coupon, product_ids: frozenset[int], category_ids: frozenset[int], *, tier: str
) -> Promotion:
    row: dict[str, Any] = {
        "id": coupon.pk or _UNSAVED,
        "code": coupon.code or None,
        "kind": coupon.kind,
        "value": coupon.value,
        "currency": coupon.currency or None,
        "minimum_subtotal": coupon.minimum_subtotal,
        "starts_at": None,
        "ends_at": None,
        "max_uses": coupon.max_uses,
        "times_used": 0,
        "max_uses_per_customer": coupon.max_uses_per_customer,
        "times_used_by_customer": 0,
        "tier": coupon.tier,
        "buy_quantity": coupon.buy_quantity,
        "get_quantity": coupon.get_quantity,
        "scopes": [(product, None) for product in product_ids]
        + [(None, category) for category in category_ids],
    }
    try:
        return quoting.promotion_of(row, tier=tier)
    except ValueError as exc:
        raise ValidationFailedError(details={"kind": [f"{exc}."]}) from exc


def _given(order: Order, promotion: Promotion, above: Mapping[int, frozenset[int]]) -> Decimal:
    """The goods' discount, and the shipping that would have been free."""
    lines = [_line(item, order, above) for item in order.items.all()]
    if not lines:
        return Decimal(0)
    currency = order.currency
    option = pricing.ShippingOption(
        code=order.shipping_method or "shipping",
        name=order.shipping_method or "shipping",
        amount=money.exact(order.shipping_amount, currency),
        free_from=None,
        tax_rate=pricing.TaxRate(rate=order.shipping_tax_rate or Decimal(0)),
        min_days=0,
        max_days=0,
    )
    tax_mode = pricing.TaxMode.INCLUSIVE if order.tax_included else pricing.TaxMode.EXCLUSIVE
    try:
        quote = pricing.quote(
            currency=currency,
            lines=lines,
            shipping_options=[option],
            calendar=_CALENDAR,
            now=order.created_at,
            coupon=promotion,
            tax_mode=tax_mode,
        )
    except pricing.CouponRefusedError:
        return Decimal(0)
    return quote.discount_amount + option.amount - quote.shipping_amount


def _line(item: OrderItem, order: Order, above: Mapping[int, frozenset[int]]) -> pricing.Line:
    return pricing.Line(
        sku=item.product_sku,
        product_id=item.product_id,
        product_name=item.product_name,
        quantity=item.quantity,
        unit_price=money.exact(item.unit_price, order.currency),
        tax_rate=pricing.TaxRate(rate=item.tax_rate or Decimal(0)),
        category_ids=above[item.product.category_id],
    )


def _shelves_above() -> Mapping[int, frozenset[int]]:
    """Each category with all it lies on, itself among them: what a promotion's scope covers."""
    paths: Sequence[tuple[int, str, list[str]]] = list(
        Category.objects.values_list("pk", "slug", "path")
    )
    by_slug = {slug: pk for pk, slug, _ in paths}
    above: dict[int, frozenset[int]] = defaultdict(frozenset)
    above.update({pk: frozenset(by_slug[slug] for slug in path) for pk, _, path in paths})
    return above


def _buyer(order: Order) -> str:
    return f"customer:{order.customer_id}" if order.customer_id else f"guest:{order.guest_email}"
