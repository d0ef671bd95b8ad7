"""Orders taken by telephone: staff puts them together, the customer pays for them by a link.

There is no second way to order, or to pay. What staff has put together is a cart of its own and the
particulars of the buyer; the page behind the link places the order with the same `POST /orders` as
every checkout, with the buyer's own payment method. Until then nothing is reserved and no price is
promised. A cart is ordered once (`order_one_living_per_cart`), so a link is good for one order.

Whoever has the link sees the name and the address in it: it is random, ends after a week, with the
order, or when staff withdraws it.
"""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import orjson
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError
from django.db.models.functions import Coalesce, Now

from audit import services as audit
from audit.models import OutboxMessage
from config.kernel import sql
from config.kernel.api import text as texts
from config.kernel.api.addresses import checked_address
from config.kernel.db import short_transaction, violated_constraint
from config.kernel.errors import (
    InvalidTransitionError,
    NotFoundError,
    RateLimitExceededError,
    RequestKeyReusedError,
    ValidationFailedError,
)
from customers.models import Customer
from orders.errors import CouponInvalidError, PaymentLinkUsedError
from orders.models import Cart, Order, PaymentLink
from orders.services import carts
from orders.services.placement import Guest
from orders.services.quoting import (
    Basket,
    BasketLine,
    find_unavailable,
    price_basket,
    quote_json,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from django.db.models import Q

    from orders.services.carts import Shopper

SEND: Final = "payment_link.send_requested"
LIFE: Final = timedelta(days=7)
FORGOTTEN_AFTER: Final = carts.LIFE - LIFE  # its end: with the cart that it is about
MOST_SENT: Final = 3
SENT_WITHIN: Final = timedelta(days=1)
LONGEST_NOTES: Final = 2_000
MAX_QUANTITY: Final = 9_999

ENDED: Final = """
    FROM payment_links
    WHERE expires_at <= statement_timestamp() - %(after)s AND NOT EXISTS (
        SELECT FROM orders
        WHERE orders.cart_id = payment_links.cart_id AND orders.status <> 'cancelled'
    )
"""
COUNT_ENDED: Final = f"SELECT count(*) {ENDED}"
FORGET: Final = f"""
    DELETE FROM payment_links WHERE id IN (
        SELECT id {ENDED} ORDER BY expires_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    )
"""  # noqa: S608 - our own constant


@dataclass(frozen=True, slots=True, kw_only=True)
class PhoneOrder:
    """What staff has heard on the telephone, not checked yet.

    Exactly one of `customer_id` and `guest` is set. `currency` None: the shop's.
    """

    customer_id: int | None
    guest: Guest | None
    lines: Sequence[BasketLine]
    shipping_address: Mapping[str, Any]
    shipping_method: str | None = None
    coupon_code: str | None = None
    notes: str = ""
    currency: str | None = None


# --- for staff --------------------------------------------------------------------------------


def quote_phone_order(*, wish: PhoneOrder, now: datetime) -> dict[str, Any]:
    """What it would cost now, as `POST /quotes` tells it; writes and holds nothing.

    That is what whoever opens the link without an account pays; one with a tier pays its prices
    after a log-in.

    Raises:
        ValidationFailedError: `details` name the fields.
        CouponInvalidError: the coupon does not apply.
    """
    checked = _checked(wish)
    return _quote(checked, tier="", now=now)


def make_link(
    *, wish: PhoneOrder, request_key: str, user_id: int, is_sent: bool, now: datetime
) -> PaymentLink:
    """Put an order together and make the link by which it is placed and paid.

    Opens its own transactions; never call it inside one. Nothing is reserved.

    Args:
        request_key: at most 64 characters; the same again is the same link.
        user_id: the member of staff.
        is_sent: whether it is sent to the buyer by e-mail as well.

    Raises:
        ValidationFailedError: `details` name the fields.
        CouponInvalidError: the coupon does not apply.
        RequestKeyReusedError: the key stands for a link to something else.
    """
    checked = _checked(wish)
    key = texts.checked(request_key, field="request_key", longest=64)
    fingerprint = _fingerprint(checked)
    if earlier := _made_before(key, fingerprint):
        return earlier
    _quote(checked, tier="", now=now)
    cart = carts.open_cart(
        shopper=carts.Shopper(customer_id=None),
        lines=checked.lines,
        currency=checked.currency,
        coupon_code=checked.coupon_code,
        now=now,
    )
    try:
        with short_transaction():
            link = _write(
                checked, key, fingerprint, cart_id=uuid.UUID(cart["id"]), user_id=user_id, now=now
            )
            if is_sent:
                _publish_send(link, request_key=key)
    except IntegrityError as exc:
        if violated_constraint(exc) != "payment_link_once_per_request":
            raise
        earlier = _made_before(key, fingerprint)  # the cart that was made here is forgotten
        if earlier is None:
            raise
        return earlier
    return link


def send_link(*, link_id: int, request_key: str) -> bool:
    """Have the link sent to the buyer by e-mail, once more. Opens its own transaction.

    Returns:
        Whether it is sent because of this call; False: the same wish came before.

    Raises:
        NotFoundError: there is no such link.
        InvalidTransitionError: it is over: expired, withdrawn or used.
        RateLimitExceededError: it was sent often enough of late.
    """
    key = texts.checked(request_key, field="request_key", longest=64)
    with short_transaction():
        link = _lock(link_id)
        if OutboxMessage.objects.filter(dedupe_key=_dedupe_key(link, key)).exists():
            return False
        if problem := why_over(link):
            raise InvalidTransitionError(problem)
        lately = OutboxMessage.objects.filter(
            dedupe_key__startswith=_dedupe_key(link, ""), occurred_at__gt=Now() - SENT_WITHIN
        )
        if lately.count() >= MOST_SENT:
            raise RateLimitExceededError(
                f"This link was sent {MOST_SENT} times within a day; that is enough."
            )
        _publish_send(link, request_key=key)
    return True


def withdraw_link(*, link_id: int) -> None:
    """Nobody can use it any more. Opens its own transaction; repeating changes nothing.

    Whoever has opened its page already can still send the order off: it is their own money.

    Raises:
        NotFoundError: there is no such link.
        PaymentLinkUsedError: an order was made of it; that can be cancelled.
    """
    with short_transaction():
        link = _lock(link_id)
        if link.withdrawn_at is not None:
            return
        if number := _order_number(link):
            raise PaymentLinkUsedError(order_number=number)
        PaymentLink.objects.filter(pk=link.pk).update(withdrawn_at=Now())
        audit.record(
            "PAYMENT_LINK_WITHDRAWN", entity_type="payment_link", entity_id=link.pk, data={}
        )


def page_of(link: PaymentLink) -> str:
    """Where the buyer pays: a page of the storefront."""
    return f"{settings.PUBLIC_URL}/pay/{link.public_id}"


def why_over(link: PaymentLink) -> str | None:
    """Why a link opens nothing any more, in words; None while it does. One statement."""
    if link.withdrawn_at is not None:
        return "This link was withdrawn."
    if number := _order_number(link):
        return f"This link was used for order {number}."
    if not PaymentLink.objects.filter(pk=link.pk, expires_at__gt=Now()).exists():
        return "This link has expired."
    return None


# --- for whoever has the link -----------------------------------------------------------------


def read_offer(*, public_id: uuid.UUID, shopper: Shopper, now: datetime) -> dict[str, Any]:
    """What is behind a link: the buyer's particulars and what it costs now. Writes nothing.

    Raises:
        NotFoundError: there is none, it has expired, was withdrawn, or its buyer was erased.
        PaymentLinkUsedError: an order was made of it.
        InvalidTransitionError: what was agreed is not sold any more as it was.
    """
    link = PaymentLink.objects.filter(
        public_id=public_id, expires_at__gt=now, withdrawn_at__isnull=True
    ).first()
    if link is None:
        raise NotFoundError
    if number := _order_number(link):
        raise PaymentLinkUsedError(order_number=number)
    try:
        wish = carts.get_wish(cart_id=link.cart_id, customer_id=shopper.customer_id, currency=None)
        agreed = PhoneOrder(
            customer_id=link.customer_id,
            guest=Guest(email=link.email, first_name=link.first_name, last_name=link.last_name),
            lines=wish.lines,
            shipping_address=link.shipping_address,
            shipping_method=link.shipping_method or None,
            coupon_code=wish.coupon_code,
            currency=wish.currency,
        )
        quote = _quote(agreed, tier=shopper.tier, now=now)
    except (ValidationFailedError, CouponInvalidError) as exc:
        raise InvalidTransitionError(
            "This order can no longer be placed as it was agreed; please call the shop."
        ) from exc
    return {
        "id": str(link.public_id),
        "cart_id": str(link.cart_id),
        "expires_at": link.expires_at.isoformat().replace("+00:00", "Z"),
        "customer": {
            "email": link.email,
            "first_name": link.first_name,
            "last_name": link.last_name,
        },
        "shipping_address": link.shipping_address,
        "coupon_code": wish.coupon_code,
        "notes": link.notes or None,
        **quote,
    }


# --- personal data ----------------------------------------------------------------------------


def export_links(*, customer_id: int) -> list[dict[str, Any]]:
    """What links hold on a customer, ready for JSON; one statement."""
    names = ("email", "first_name", "last_name", "shipping_address", "notes")
    links = PaymentLink.objects.filter(customer_id=customer_id).order_by("pk")
    return list(links.values(*names, "created_at", "expires_at"))


def forget_buyer(*, links: Q) -> None:
    """Blank who some links were for, and where it should go; they open nothing any more.

    Requires an open transaction. Repeating is harmless.
    """
    for link in PaymentLink.objects.select_for_update().filter(links).exclude(email=""):
        PaymentLink.objects.filter(pk=link.pk).update(
            email="",
            first_name="",
            last_name="",
            shipping_address={},
            notes="",
            withdrawn_at=Coalesce("withdrawn_at", Now()),
        )
        audit.publish(
            "payment_link.erased",
            aggregate_type="payment-link",
            aggregate_id=link.pk,
            dedupe_key=f"payment_link.{link.pk}.erased",
            payload={"payment_link": link.pk},
        )


def count_expired() -> int:
    """How many links `forget_expired` would forget."""
    return sql.count(COUNT_ENDED, after=FORGOTTEN_AFTER)


def forget_expired(*, limit: int) -> int:
    """Delete links whose time is long over and that became no order, as their carts are.

    Returns:
        How many; `limit` means that there may be more.
    """
    return sql.execute(FORGET, after=FORGOTTEN_AFTER, limit=limit)


# --- details ----------------------------------------------------------------------------------


def _checked(wish: PhoneOrder) -> PhoneOrder:
    """The same, as it may be kept; a customer's particulars are those of the account."""
    problems: dict[str, Any] = {}
    guest: Guest | None = None
    address: dict[str, Any] = {}
    notes = ""
    try:
        guest = _buyer(wish)
    except ValidationFailedError as exc:
        problems.update(exc.details)
    try:
        address = checked_address(wish.shipping_address)
    except ValidationFailedError as exc:
        problems["shipping_address"] = exc.details
    if wish.notes.strip():
        try:
            notes = texts.checked(wish.notes, field="notes", longest=LONGEST_NOTES, multiline=True)
        except ValidationFailedError as exc:
            problems.update(exc.details)
    if told := _problems_of_lines(wish.lines):
        problems["items"] = told
    if problems:
        raise ValidationFailedError(details=problems)
    return PhoneOrder(
        customer_id=wish.customer_id,
        guest=guest,
        lines=wish.lines,
        shipping_address=address,
        shipping_method=wish.shipping_method or None,
        coupon_code=wish.coupon_code or None,
        notes=notes,
        currency=wish.currency or settings.SHOP_CURRENCY,
    )


def _buyer(wish: PhoneOrder) -> Guest:
    if wish.customer_id is not None:
        account = Customer.objects.filter(pk=wish.customer_id).first()
        if account is None or not account.is_active:
            raise ValidationFailedError(details={"customer": ["There is no such active account."]})
        return Guest(
            email=account.email, first_name=account.first_name, last_name=account.last_name
        )
    if wish.guest is None:
        raise ValidationFailedError(details={"customer": ["Who is it for?"]})
    email = texts.checked(wish.guest.email, field="email", longest=254).lower()
    try:
        validate_email(email)
    except ValidationError:
        raise ValidationFailedError(details={"email": ["This is no e-mail address."]}) from None
    return Guest(
        email=email,
        first_name=texts.checked(wish.guest.first_name, field="first_name", longest=100),
        last_name=texts.checked(wish.guest.last_name, field="last_name", longest=100),
    )


def _problems_of_lines(lines: Sequence[BasketLine]) -> list[str]:
    if not 1 <= len(lines) <= carts.MAX_LINES:
        return [f"Between 1 and {carts.MAX_LINES} lines are allowed."]
    if len({line.sku for line in lines}) < len(lines):
        return ["Each SKU stands in one line."]
    if not all(1 <= line.quantity <= MAX_QUANTITY for line in lines):
        return [f"A quantity is between 1 and {MAX_QUANTITY:,}."]
    return []


def _quote(wish: PhoneOrder, *, tier: str, now: datetime) -> dict[str, Any]:
    address = wish.shipping_address
    basket = Basket(
        lines=wish.lines,
        currency=wish.currency or settings.SHOP_CURRENCY,
        country=address["country"],
        region=(address.get("state") or "").upper(),
        postal_code=address.get("postal_code", ""),
        tier=tier,
        shipping_method=wish.shipping_method,
        coupon_code=wish.coupon_code,
        redeemed_by=f"customer:{wish.customer_id}"
        if wish.customer_id
        else f"guest:{wish.guest.email if wish.guest else ''}",
    )
    quote = price_basket(basket=basket, now=now).quote
    return quote_json(quote, unavailable_items=find_unavailable(lines=wish.lines))


def _fingerprint(wish: PhoneOrder) -> str:
    told = {
        "customer": wish.customer_id,
        "guest": [wish.guest.email, wish.guest.first_name, wish.guest.last_name]
        if wish.guest
        else None,
        "lines": [[line.sku, line.quantity] for line in wish.lines],
        "address": dict(wish.shipping_address),
        "method": wish.shipping_method,
        "coupon": wish.coupon_code,
        "notes": wish.notes,
        "currency": wish.currency,
    }
    return hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _made_before(request_key: str, fingerprint: str) -> PaymentLink | None:
    link = PaymentLink.objects.filter(request_key=request_key).first()
    if link is not None and link.fingerprint != fingerprint:
        raise RequestKeyReusedError
    return link


def _write(
    wish: PhoneOrder,
    request_key: str,
    fingerprint: str,
    *,
    cart_id: uuid.UUID,
    user_id: int,
    now: datetime,
) -> PaymentLink:
    assert wish.guest is not None  # noqa: S101 - `_checked` has seen to it
    link = PaymentLink.objects.create(
        cart_id=cart_id,
        customer_id=wish.customer_id,
        email=wish.guest.email,
        first_name=wish.guest.first_name,
        last_name=wish.guest.last_name,
        shipping_address=wish.shipping_address,
        shipping_method=wish.shipping_method or "",
        notes=wish.notes,
        created_by_id=user_id,
        request_key=request_key,
        fingerprint=fingerprint,
        expires_at=now + LIFE,
    )
    # Nobody has left this cart alone: it waits for a telephone call to be followed up.
    Cart.objects.filter(public_id=cart_id).update(abandoned_at=now)
    audit.record(
        "PAYMENT_LINK_MADE",
        entity_type="payment_link",
        entity_id=link.pk,
        data={
            "customer": wish.customer_id,
            "lines": [[line.sku, line.quantity] for line in wish.lines],
            "currency": wish.currency,
            "coupon_code": wish.coupon_code,
            "expires_at": link.expires_at.isoformat(),
        },
    )
    return link


def _lock(link_id: int) -> PaymentLink:
    link = PaymentLink.objects.select_for_update().filter(pk=link_id).first()
    if link is None:
        raise NotFoundError
    return link


def _order_number(link: PaymentLink) -> str | None:
    orders = Order.objects.filter(cart_id=link.cart_id).exclude(status=Order.Status.CANCELLED)
    return orders.values_list("order_number", flat=True).first()


def _dedupe_key(link: PaymentLink, request_key: str) -> str:
    return f"payment_link.{link.pk}.send.{request_key}"


def _publish_send(link: PaymentLink, *, request_key: str) -> None:
    audit.record(
        "PAYMENT_LINK_SEND_REQUESTED", entity_type="payment_link", entity_id=link.pk, data={}
    )
    audit.publish(
        SEND,
        aggregate_type="payment-link",  # it stands in the names of letters' files
        aggregate_id=link.pk,
        dedupe_key=_dedupe_key(link, request_key),
        payload={"payment_link": link.pk},
    )
