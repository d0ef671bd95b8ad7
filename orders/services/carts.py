"""Carts: what shoppers mean to buy, priced anew each time it is looked at.

A cart holds nothing: no stock, no price. A guest's is used by whoever knows its id; the first
request with a customer's token binds it to that customer, and whatever cart they had is poured
into it. While an order that was made of a cart lives, the cart stands still: whoever orders it
again, under another key, does not pay twice (`order_one_living_per_cart`).

What makes a cart that has no price (`NotPriceableError`) is refused, but a cart may become one by
itself: rates change, carts are poured together. It can be read, and lessened step by step.

Locks: a cart's row comes after the key and before the order (docs/placement.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings

from audit import services as audit
from config.kernel import money, sql
from config.kernel.db import short_transaction
from config.kernel.errors import NotFoundError, ValidationFailedError
from orders.errors import CartOrderedError, CouponInvalidError, NotPriceableError
from orders.models import Cart, CartItem, Coupon, Order
from orders.services.quoting import (
    Basket,
    BasketLine,
    empty_quote_json,
    find_unavailable,
    price_basket,
    quote_json,
)

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    from orders.pricing import Quote

LIFE: Final = timedelta(days=30)
"""How long a cart is kept after its last change."""
ABANDONED_AFTER: Final = timedelta(hours=4)
MAX_LINES: Final = 100
EMPTY_CART: Final = "This cart is empty."
UNKNOWN_CART: Final = "There is no such cart."
UNKNOWN_PRODUCT: Final = "There is no such product."

PROLONG: Final = """
    UPDATE carts SET changed_at = transaction_timestamp(), abandoned_at = NULL,
        expires_at = transaction_timestamp() + %(life)s
    WHERE public_id = %(cart_id)s
      AND (customer_id IS NULL OR customer_id = %(customer_id)s)
"""
# Of a cart, with the order that it has become. A dead order frees its cart.
CART: Final = """
    SELECT carts.*, orders.order_number, orders.status AS order_status
    FROM carts
    LEFT JOIN orders ON orders.cart_id = carts.public_id AND orders.status <> 'cancelled'
    WHERE {which}
"""
OWN_CART: Final = CART.format(
    which="""carts.public_id = %(cart_id)s
      AND (carts.customer_id IS NULL OR carts.customer_id = %(customer_id)s)"""
)
# A customer has one cart: whoever changes one of theirs, or makes one, waits here for the others.
LOCK_CUSTOMER: Final = "SELECT FROM customers WHERE id = %(customer_id)s FOR NO KEY UPDATE"
NAMED_OR_OWN: Final = """carts.public_id = %(cart_id)s OR carts.customer_id = %(customer_id)s
    ORDER BY carts.id"""
# Apart from what is read then: a statement that waited for a row knows nothing of the order that
# was made meanwhile, since it sees every other table as of its own beginning.
LOCK_CARTS: Final = f"SELECT FROM carts WHERE {NAMED_OR_OWN} FOR UPDATE"
LOCKED_CARTS: Final = CART.format(which=NAMED_OR_OWN)
ITEMS: Final = """
    SELECT item.id, product.sku, product.name, item.quantity, item.unit_price,
        price.amount AS list_price, product.is_active AND price.id IS NOT NULL AS is_sold
    FROM cart_items AS item
    JOIN carts AS cart ON cart.id = item.cart_id
    JOIN products AS product ON product.id = item.product_id
    LEFT JOIN prices AS price
        ON price.product_id = item.product_id AND price.currency = cart.currency
    WHERE item.cart_id = %(cart_id)s ORDER BY item.id
"""
PUT_ITEMS: Final = """
    INSERT INTO cart_items (cart_id, product_id, quantity)
    SELECT %(cart_id)s, product.id, wanted.quantity
    FROM unnest(%(skus)s::text[], %(quantities)s::int[]) WITH ORDINALITY
        AS wanted (sku, quantity, place)
    JOIN products AS product ON product.sku = wanted.sku
    ORDER BY wanted.place
    ON CONFLICT (cart_id, product_id) DO UPDATE SET quantity = {quantity}
"""
SET_ITEMS: Final = PUT_ITEMS.format(quantity="excluded.quantity")
ADD_ITEMS: Final = PUT_ITEMS.format(quantity="greatest(cart_items.quantity, excluded.quantity)")
REMOVE_ITEM: Final = """
    DELETE FROM cart_items AS item USING products AS product
    WHERE item.cart_id = %(cart_id)s AND product.id = item.product_id AND product.sku = %(sku)s
"""
SEE_PRICES: Final = """
    UPDATE cart_items AS item SET unit_price = seen.unit_price
    FROM unnest(%(skus)s::text[], %(prices)s::numeric[]) AS seen (sku, unit_price)
    JOIN products AS product ON product.sku = seen.sku
    WHERE item.cart_id = %(cart_id)s AND item.product_id = product.id
"""
POUR: Final = """
    INSERT INTO cart_items (cart_id, product_id, quantity, unit_price)
    SELECT %(into)s, product_id, quantity, CASE WHEN %(same_currency)s THEN unit_price END
    FROM cart_items WHERE cart_id = %(cart_id)s ORDER BY id
    ON CONFLICT (cart_id, product_id)
        DO UPDATE SET quantity = greatest(cart_items.quantity, excluded.quantity)
"""
WISH: Final = """
    SELECT cart.currency, cart.coupon_code, product.sku, item.quantity, orders.order_number
    FROM carts AS cart
    LEFT JOIN orders ON orders.cart_id = cart.public_id AND orders.status <> 'cancelled'
    LEFT JOIN cart_items AS item ON item.cart_id = cart.id
    LEFT JOIN products AS product ON product.id = item.product_id
    WHERE cart.public_id = %(cart_id)s
      AND (cart.customer_id IS NULL OR cart.customer_id = %(customer_id)s)
    ORDER BY item.id
"""
EXPIRED: Final = """
    FROM carts
    WHERE expires_at <= statement_timestamp() AND NOT EXISTS (
        SELECT FROM orders
        WHERE orders.cart_id = carts.public_id AND orders.status = 'pending'
    )
"""
COUNT_EXPIRED: Final = f"SELECT count(*) {EXPIRED}"
FORGET: Final = f"""
    WITH expired AS (
        SELECT id {EXPIRED} ORDER BY expires_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ), emptied AS (
        DELETE FROM cart_items USING expired WHERE cart_items.cart_id = expired.id
    )
    DELETE FROM carts USING expired WHERE carts.id = expired.id
"""  # noqa: S608 - our own constant
LEFT_ALONE: Final = """
    UPDATE carts SET abandoned_at = statement_timestamp() WHERE id IN (
        SELECT id FROM carts
        WHERE abandoned_at IS NULL AND changed_at <= statement_timestamp() - %(after)s
        ORDER BY changed_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    )
    RETURNING id, customer_id, currency, changed_at, EXISTS (
        SELECT FROM cart_items WHERE cart_items.cart_id = carts.id
    ) AND NOT EXISTS (
        SELECT FROM orders
        WHERE orders.cart_id = carts.public_id AND orders.status <> 'cancelled'
    ) AS is_abandoned
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shopper:
    """Whose request it is.

    `tier` is that of the account. `may_write`: not suspended, so a guest's cart may become theirs.
    """

    customer_id: int | None
    tier: str = ""
    may_write: bool = True

    @property
    def redeemed_by(self) -> str:
        """The buyer as coupons know them; empty while nobody is known."""
        return f"customer:{self.customer_id}" if self.customer_id else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What an order, or a quote, is to be made of."""

    lines: Sequence[BasketLine]
    currency: str
    coupon_code: str | None


def open_cart(
    *,
    shopper: Shopper,
    lines: Sequence[BasketLine],
    currency: str | None,
    coupon_code: str | None,
    now: datetime,
    keep_unsold: bool = False,
) -> dict[str, Any]:
    """A guest's new cart, or the one cart that a customer has, with these lines in it.

    What a customer's cart has already stays, in its own currency; of a product in both the larger
    quantity counts. Opens its own transaction.

    Args:
        currency: of a new cart; None is the shop's own.
        now: aware UTC instant, by which it is priced.
        keep_unsold: what is no longer sold is put there all the same, and shown as gone.

    Returns:
        The cart as the contract shows it.

    Raises:
        ValidationFailedError: an unknown SKU, too many lines, too heavy, too much money.
        CouponInvalidError: the coupon does not apply; nothing is changed.
        CartOrderedError: the customer's cart is being ordered just now.
    """
    with short_transaction():
        cart = _of_customer(shopper) or _new(shopper, currency or settings.SHOP_CURRENCY, now=now)
        if not lines and coupon_code is None:
            return _shown(cart, shopper, now=now)
        _stand_still_if_ordered(cart)
        _put(cart, lines, statement=ADD_ITEMS)
        items = _items(cart)
        if not keep_unsold:
            _refuse_unsold(items, lines)
        return _changed(cart, items, shopper, now=now, touched=lines, coupon_code=coupon_code)


def get_cart(*, cart_id: uuid.UUID, shopper: Shopper, now: datetime) -> dict[str, Any]:
    """A cart as it would cost now, and what has changed since it was filled.

    Binds a guest's cart to the customer who asks. Otherwise it writes nothing.

    Raises:
        NotFoundError: there is none, or it is somebody else's.
    """
    cart = sql.fetch_model(Cart, OWN_CART, cart_id=cart_id, customer_id=shopper.customer_id)
    if cart is None:
        raise NotFoundError
    if _is_to_be_bound(cart, shopper):
        with short_transaction():
            cart = _lock(cart_id, shopper)
    return _shown(cart, shopper, now=now)


def set_item(
    *, cart_id: uuid.UUID, shopper: Shopper, sku: str, quantity: int, now: datetime
) -> dict[str, Any]:
    """Have exactly so many of a product in the cart; 0 takes it out. Repeating changes nothing.

    More than there is may be wished for, and less of what is too much as a whole: the answer says
    so. Opens its own transaction.

    Raises:
        NotFoundError: there is no such cart, or it is somebody else's.
        ValidationFailedError: an unknown SKU, too many lines, too heavy, too much money; nothing is
            changed.
        CartOrderedError: an order was made of it; `details` name it.
    """
    with short_transaction():
        cart = _lock(cart_id, shopper)
        _stand_still_if_ordered(cart)
        had = {item.sku: item.quantity for item in _items(cart)}
        wanted = [BasketLine(sku=sku, quantity=quantity)] if quantity else []
        if wanted:
            _put(cart, wanted, statement=SET_ITEMS)
        else:
            sql.execute(REMOVE_ITEM, cart_id=cart.pk, sku=sku)
        items = _items(cart)
        if quantity and not any(item.sku == sku and item.is_sold for item in items):
            raise ValidationFailedError(details={"sku": [UNKNOWN_PRODUCT]})
        is_less = quantity <= had.get(sku, 0)
        return _changed(cart, items, shopper, now=now, touched=wanted, is_less=is_less)


def set_coupon(
    *, cart_id: uuid.UUID, shopper: Shopper, coupon_code: str | None, now: datetime
) -> dict[str, Any]:
    """Use this coupon, or none. Opens its own transaction.

    Raises:
        NotFoundError: there is no such cart, or it is somebody else's.
        CouponInvalidError: it does not apply; the cart keeps the one it had.
        NotPriceableError: likewise; what is in the cart has no price, with a coupon or without.
        CartOrderedError: an order was made of the cart.
    """
    with short_transaction():
        cart = _lock(cart_id, shopper)
        _stand_still_if_ordered(cart)
        return _changed(
            cart,
            _items(cart),
            shopper,
            now=now,
            coupon_code=coupon_code or "",
            is_less=not coupon_code,
        )


def delete_cart(*, cart_id: uuid.UUID, shopper: Shopper) -> None:
    """Forget a cart. Opens its own transaction.

    Raises:
        NotFoundError: there is none, or it is somebody else's.
        CartOrderedError: an order was made of it, which still names it.
    """
    with short_transaction():
        cart = _lock(cart_id, shopper)
        _stand_still_if_ordered(cart)
        cart.delete()


def take_wish(*, cart_id: uuid.UUID, customer_id: int | None, currency: str | None) -> Wish:
    """What an order is to be made of; the cart's row stays locked until the transaction ends.

    One round trip. The lock keeps two orders of one cart apart, and the cart from being forgotten.

    Args:
        currency: what the client thinks the cart is priced in, if it says so.

    Raises:
        ValidationFailedError: there is no such cart for this buyer, nothing in it, or its currency
            is another one.
        CartOrderedError: another order was made of it; `details` name it.
    """
    sql.later(PROLONG, cart_id=cart_id, customer_id=customer_id, life=LIFE)
    wish, order_number = _read_wish(cart_id, customer_id, currency)
    if order_number:
        raise CartOrderedError(order_number=order_number)
    return wish


def get_wish(*, cart_id: uuid.UUID, customer_id: int | None, currency: str | None) -> Wish:
    """The same for a quote, whether it was ordered or not; locks nothing.

    Raises:
        ValidationFailedError: as `take_wish`.
    """
    wish, _ = _read_wish(cart_id, customer_id, currency)
    return wish


# --- by themselves ----------------------------------------------------------------------------


def count_expired() -> int:
    """How many carts `forget_expired` would forget."""
    return sql.count(COUNT_EXPIRED)


def forget_expired(*, limit: int) -> int:
    """Delete carts whose time is over; never one whose order still waits for its payment.

    One statement. An order that is being made of a cart at this moment has its row locked, and
    will have moved its `expires_at`.

    Returns:
        How many; `limit` means that there may be more.
    """
    return sql.execute(FORGET, limit=limit)


def tell_abandoned(*, limit: int) -> int:
    """State `cart.abandoned` of carts that nobody has touched for a while, once a change.

    Opens its own transaction. The fact names the cart's row and its customer, nothing of a person.

    Returns:
        How many carts were looked at; `limit` means that there may be more.
    """
    with short_transaction():
        left_alone = sql.fetch(LEFT_ALONE, after=ABANDONED_AFTER, limit=limit)
        for cart in left_alone:
            if cart.is_abandoned:
                audit.publish(
                    "cart.abandoned",
                    aggregate_type="cart",
                    aggregate_id=cart.id,
                    dedupe_key=abandonment_key(cart),
                    payload={"cart_id": cart.id, "customer_id": cart.customer_id},
                )
    return len(left_alone)


def abandonment_key(cart: Any) -> str:
    """What `cart.abandoned` of this state of a cart is known by; another change has another."""
    return f"cart.abandoned.{cart.id}.{cart.changed_at.isoformat()}"


# --- whose it is ------------------------------------------------------------------------------


def _lock(cart_id: uuid.UUID, shopper: Shopper) -> Cart:
    """One's own cart, its row locked; a guest's becomes the customer's. Requires a transaction.

    What the customer had in another cart is poured into this one. Not while an order was made of
    either: then each stays as it is, and can be used all the same.

    Raises:
        NotFoundError: there is none, or it is somebody else's.
    """
    found = _locked(cart_id=cart_id, customer_id=shopper.customer_id)
    cart = next((cart for cart in found if cart.public_id == cart_id), None)
    if cart is None or cart.customer_id not in {None, shopper.customer_id}:
        raise NotFoundError
    if _is_to_be_bound(cart, shopper) and not any(_order_number(each) for each in found):
        for former in found:
            if former.pk != cart.pk:
                _pour(former, into=cart)
        cart.customer_id = shopper.customer_id
        cart.save(update_fields=["customer_id", "coupon_code"])
    return cart


def _locked(*, cart_id: uuid.UUID | None, customer_id: int | None) -> list[Cart]:
    if customer_id is not None:
        sql.later(LOCK_CUSTOMER, customer_id=customer_id)
    sql.later(LOCK_CARTS, cart_id=cart_id, customer_id=customer_id)
    return sql.fetch_models(Cart, LOCKED_CARTS, cart_id=cart_id, customer_id=customer_id)


def _is_to_be_bound(cart: Cart, shopper: Shopper) -> bool:
    return cart.customer_id is None and shopper.customer_id is not None and shopper.may_write


def _pour(former: Cart, *, into: Cart) -> None:
    """Of a product in both the larger quantity counts: doing it twice changes nothing."""
    sql.execute(
        POUR, cart_id=former.pk, into=into.pk, same_currency=former.currency == into.currency
    )
    by_age = CartItem.objects.filter(cart=into).order_by("pk").values_list("pk", flat=True)
    CartItem.objects.filter(pk__in=list(by_age[MAX_LINES:])).delete()
    into.coupon_code = into.coupon_code or former.coupon_code
    former.delete()


def _of_customer(shopper: Shopper) -> Cart | None:
    """The customer's cart, locked. One that was bought is forgotten: the next one begins."""
    if shopper.customer_id is None:
        return None
    for cart in _locked(cart_id=None, customer_id=shopper.customer_id):
        if cart.order_status in {None, Order.Status.PENDING}:  # type: ignore[attr-defined]
            return cart
        cart.delete()
    return None


def _new(shopper: Shopper, currency: str, *, now: datetime) -> Cart:
    return Cart.objects.create(
        customer_id=shopper.customer_id, currency=currency, changed_at=now, expires_at=now + LIFE
    )


def _stand_still_if_ordered(cart: Cart) -> None:
    if number := _order_number(cart):
        raise CartOrderedError(order_number=number)


def _order_number(cart: Cart) -> str | None:
    """Of the living order that was made of it; a cart that was just made has none."""
    return getattr(cart, "order_number", None)


# --- what is in it ----------------------------------------------------------------------------


def _put(cart: Cart, lines: Sequence[BasketLine], *, statement: str) -> None:
    if lines:
        sql.execute(
            statement,
            cart_id=cart.pk,
            skus=[line.sku for line in lines],
            quantities=[line.quantity for line in lines],
        )


def _items(cart: Cart) -> list[Any]:
    return sql.fetch(ITEMS, cart_id=cart.pk)


def _refuse_unsold(items: Sequence[Any], lines: Sequence[BasketLine]) -> None:
    sold = {item.sku for item in items if item.is_sold}
    if any(line.sku not in sold for line in lines):
        problems = [{} if line.sku in sold else {"sku": [UNKNOWN_PRODUCT]} for line in lines]
        raise ValidationFailedError(details={"items": problems})


def _read_wish(
    cart_id: uuid.UUID, customer_id: int | None, currency: str | None
) -> tuple[Wish, str | None]:
    rows = sql.fetch(WISH, cart_id=cart_id, customer_id=customer_id)
    if not rows or rows[0].sku is None:
        problem = EMPTY_CART if rows else UNKNOWN_CART
        raise ValidationFailedError(details={"cart_id": [problem]})
    if currency not in {None, rows[0].currency}:
        problem = f"This cart is priced in {rows[0].currency}."
        raise ValidationFailedError(details={"currency": [problem]})
    wish = Wish(
        lines=[BasketLine(sku=row.sku, quantity=row.quantity) for row in rows],
        currency=rows[0].currency,
        coupon_code=rows[0].coupon_code or None,
    )
    return wish, rows[0].order_number


# --- what it would cost -----------------------------------------------------------------------


def _changed(
    cart: Cart,
    items: Sequence[Any],
    shopper: Shopper,
    *,
    now: datetime,
    touched: Sequence[BasketLine] = (),
    coupon_code: str | None = None,
    is_less: bool = False,
) -> dict[str, Any]:
    """Write down that it was changed; of what was touched the shopper now sees the price.

    Args:
        items: what is in it by now.
        coupon_code: another one, which has to apply; empty for none, None for the one it has.
        is_less: only taken out, which is allowed even if what is left has no price.
    """
    if len(items) > MAX_LINES:
        raise ValidationFailedError(details={"items": [f"At most {MAX_LINES} lines are allowed."]})
    if coupon_code is not None:
        cart.coupon_code = coupon_code
    quote, refusal = _priced(cart, items, shopper, now=now)
    if refusal and (coupon_code or (isinstance(refusal, NotPriceableError) and not is_less)):
        raise refusal
    cart.changed_at, cart.expires_at, cart.abandoned_at = now, now + LIFE, None
    cart.save(update_fields=["coupon_code", "changed_at", "expires_at", "abandoned_at"])
    prices = {line.sku: line.unit_price for line in quote.items} if quote else {}
    seen = {line.sku: prices[line.sku] for line in touched if line.sku in prices}
    if seen:
        sql.later(SEE_PRICES, cart_id=cart.pk, skus=list(seen), prices=list(seen.values()))
    return _json(cart, items, quote, refusal, seen=seen)


def _shown(cart: Cart, shopper: Shopper, *, now: datetime) -> dict[str, Any]:
    items = _items(cart)
    quote, refusal = _priced(cart, items, shopper, now=now)
    return _json(cart, items, quote, refusal, seen={})


def _priced(
    cart: Cart, items: Sequence[Any], shopper: Shopper, *, now: datetime
) -> tuple[Quote | None, CouponInvalidError | NotPriceableError | None]:
    """What is still sold of it, priced; without the coupon if that does not apply (any more).

    No quote, and no refusal of the goods: there are none.
    """
    lines = _sold(items)
    if not lines:
        return None, _unknown_coupon(cart)
    basket = Basket(
        lines=lines,
        currency=cart.currency,
        country=settings.SHOP_COUNTRY,
        region="",
        shipping_method=None,
        coupon_code=cart.coupon_code or None,
        redeemed_by=shopper.redeemed_by,
        tier=shopper.tier,
    )
    try:
        try:
            return price_basket(basket=basket, now=now).quote, None
        except CouponInvalidError as refusal:
            return price_basket(basket=replace(basket, coupon_code=None), now=now).quote, refusal
    except NotPriceableError as refusal:
        return None, refusal


def _unknown_coupon(cart: Cart) -> CouponInvalidError | None:
    """Without goods nothing else can be said of a coupon than whether there is one."""
    code = cart.coupon_code.upper()
    if not code or Coupon.objects.filter(code=code, is_active=True).exists():
        return None
    return CouponInvalidError(details={"reason": "unknown"})


def _json(
    cart: Cart,
    items: Sequence[Any],
    quote: Quote | None,
    refusal: CouponInvalidError | NotPriceableError | None,
    *,
    seen: Mapping[str, Decimal],
) -> dict[str, Any]:
    lacking = find_unavailable(lines=_sold(items))
    return {
        "id": str(cart.public_id),
        "expires_at": cart.expires_at.isoformat().replace("+00:00", "Z"),
        "coupon_code": cart.coupon_code or None,
        "order_number": _order_number(cart),
        "problems": [
            *({"code": "gone", "sku": item.sku} for item in items if not item.is_sold),
            *({"code": "short", **line} for line in lacking),
            *_price_changes(items, quote, seen),
            *_refusals(refusal),
        ],
        **(
            quote_json(quote, unavailable_items=lacking)
            if quote
            else {
                **empty_quote_json(cart.currency),
                "items": _unpriced(cart, items),
                "unavailable_items": lacking,
            }
        ),
    }


def _refusals(refusal: CouponInvalidError | NotPriceableError | None) -> Iterator[dict[str, Any]]:
    if isinstance(refusal, NotPriceableError):
        yield {"code": "not_priceable", "reason": refusal.reason}
    elif refusal:
        yield {"code": "coupon_invalid", **refusal.details}


def _unpriced(cart: Cart, items: Sequence[Any]) -> list[dict[str, Any]]:
    """The lines of a cart that has no price, so that something can be taken out."""
    nothing = money.format_amount(money.zero(cart.currency), cart.currency)
    return [
        {
            "sku": item.sku,
            "product_name": item.name,
            "quantity": item.quantity,
            "unit_price": money.format_amount(
                money.exact(item.list_price, cart.currency), cart.currency
            ),
            "discount_amount": nothing,
            "tax_amount": nothing,
            "total_price": nothing,
        }
        for item in items
        if item.is_sold
    ]


def _sold(items: Sequence[Any]) -> list[BasketLine]:
    return [BasketLine(sku=item.sku, quantity=item.quantity) for item in items if item.is_sold]


def _price_changes(
    items: Sequence[Any], quote: Quote | None, seen: Mapping[str, Decimal]
) -> Iterator[dict[str, Any]]:
    """Lines that cost another price now than when the shopper put them there."""
    if quote is None:
        return
    was = {item.sku: seen.get(item.sku, item.unit_price) for item in items}
    for line in quote.items:
        if was[line.sku] not in {None, line.unit_price}:
            yield {
                "code": "price_changed",
                "sku": line.sku,
                "old_price": money.format_amount(was[line.sku], quote.currency),
                "new_price": money.format_amount(line.unit_price, quote.currency),
            }
