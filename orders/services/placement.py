"""Places an order: reserve stock, charge the customer, confirm. The heart of Orderkeep.

Three short transactions and none open across a call to the payment provider (docs/placement.md):

    T1   claim the key, price, write order and payment, reserve stock
    C1   create the intent          T1b  store its id          C2  confirm it
    C3   cancel it, if the attempt failed
    T2   settle: order, stock, ledger, outbox, audit, and the answer on the key
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction

from audit import services as audit
from config.kernel import money, request_context, sql
from config.kernel.api import throttles
from config.kernel.db import CommitOutcomeUnknownError, is_lock_timeout, short_transaction
from config.kernel.errors import (
    DomainError,
    RateLimitExceededError,
    ServiceUnavailableError,
    ValidationFailedError,
)
from config.kernel.models import new_uuid
from customers.errors import InactiveCustomerError
from inventory import services as stock
from inventory.sourcing import Wanted
from orders import answers, idempotency, selectors
from orders.answers import Answer
from orders.errors import (
    CouponInvalidError,
    IdempotencyKeyReusedError,
    OrderInProgressError,
    PriceChangedError,
)
from orders.models import CouponRedemption, Order, OrderItem
from orders.promotions import CouponRefusal
from orders.services import carts, settlement
from orders.services.carts import Wish
from orders.services.quoting import Basket, BasketLine, price_basket, quote_json
from payments import gateway
from payments import services as payments
from payments.errors import ProviderUnavailableError
from payments.gateway import Unknown
from payments.models import Payment
from payments.services import NotCreated, Superseded, Told

if TYPE_CHECKING:
    import uuid
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    from config.kernel.clock import Deadline
    from customers.models import Customer
    from orders.promotions import Promotion
    from orders.services.quoting import PricedBasket

TRIES: Final = 3  # a lost COMMIT, a superseded T1b: each is followed by reading the key again
NUMBER_ALPHABET: Final = "23456789ABCDEFGHJKMNPQRSTVWXYZ"  # no letter or digit heard as another
NUMBER_GROUPS: Final = (4, 4, 2)

USE_COUPON: Final = """
    UPDATE coupons SET times_used = times_used + 1
    WHERE id = %(coupon_id)s AND (max_uses IS NULL OR times_used < max_uses)
"""
GIVE_BACK_COUPON: Final = """
    UPDATE coupons SET times_used = times_used - 1 WHERE id = %(coupon_id)s
"""
COUNT_OWN_USES: Final = """
    SELECT count(*) AS uses FROM coupon_redemptions
    WHERE coupon_id = %(coupon_id)s AND redeemed_by = %(redeemed_by)s AND released_at IS NULL
"""
ABOUT_THE_KEY: Final = (OrderInProgressError, IdempotencyKeyReusedError)  # no order failed

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """Who buys without an account; `email` in lower case."""

    email: str
    first_name: str
    last_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceOrder:
    """A checked request. Prices are not in it: they are read from the catalogue.

    Exactly one of `customer_id` and `guest` is set, and of `lines` and `cart_id`. `fingerprint` is
    the digest of the request's parsed body; `expected_total` is in major units of `currency`.
    `currency` None: the cart's; without one the shop's.
    """

    customer_id: int | None
    guest: Guest | None
    idempotency_key: str
    fingerprint: str
    lines: Sequence[BasketLine] | None
    cart_id: uuid.UUID | None
    payment_method_id: str
    shipping_address: Mapping[str, Any]
    billing_address: Mapping[str, Any]
    shipping_method: str | None
    coupon_code: str | None
    currency: str | None
    expected_total: Decimal | None
    notes: str | None
    return_url: str | None

    @property
    def scope(self) -> str:
        """Whose idempotency keys and coupon uses these are."""
        if self.guest:
            return f"guest:{self.guest.email}"
        return f"customer:{self.customer_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """An order that exists and waits for its payment. `items`: its lines, if it was just made."""

    order_id: int
    payment: Payment
    hold_is_over: bool
    items: Sequence[OrderItem] | None


def place_order(*, command: PlaceOrder, deadline: Deadline) -> Answer:
    """Reserve stock, charge the customer, confirm the order; or hear what was answered before.

    Opens its own transactions; never call it inside one. Repeating it with the same key replays
    a finished run and takes over an interrupted one.

    Args:
        deadline: nothing new is asked of the provider after it.

    Returns:
        201, 402 or 502, remembered on the key; or 202: it will settle by itself, ask again.

    Raises:
        DomainError: refused before the order existed: nothing reserved, nothing charged, nothing
            remembered (stock, price, coupon, customer, key, provider or database away).
        OrderInProgressError: the same key is being worked on, or how far it came is not known.
    """
    with gateway.bulkhead().place() as has_place:
        refusal = _why_not_now(command, has_place=has_place)
        return _place(command, deadline, refusal=refusal, has_place=has_place)


def _place(
    command: PlaceOrder, deadline: Deadline, *, refusal: DomainError | None, has_place: bool
) -> Answer:
    owner = new_uuid()
    may_exist = False
    for _ in range(TRIES):
        try:
            placement = _open_order(command, owner, refusal=refusal)  # T1
            if isinstance(placement, Answer):
                return placement
            may_exist = True
            outcome = (  # C1, T1b, C2, C3
                payments.charge(
                    payment=placement.payment,
                    hold_is_over=placement.hold_is_over,
                    deadline=deadline,
                )
                if has_place
                else Unknown(reason="too busy to ask the provider")
            )
            if not isinstance(outcome, Superseded):
                return _settle(command, placement, outcome, owner)  # T2
        except CommitOutcomeUnknownError:
            may_exist = True
        except (OperationalError, InterfaceError) as exc:
            if not is_lock_timeout(exc):
                connection.close()
            if not may_exist:
                unavailable = ServiceUnavailableError()
                _record_refusal(command, unavailable)
                raise unavailable from exc
        except DomainError as error:
            if not may_exist and not isinstance(error, ABOUT_THE_KEY):
                _record_refusal(command, error)
            raise
        except Exception:  # noted for staff, then passed on: a retry or the sweeper goes on
            _record_error(command)
            raise
    raise OrderInProgressError


def _why_not_now(command: PlaceOrder, *, has_place: bool) -> DomainError | None:
    """Why no new order may begin; one that exists already is finished or told all the same."""
    if not has_place or gateway.breaker().is_open():
        return ProviderUnavailableError()
    try:
        throttles.refuse_if_used_up(**_declines_of(command))
    except RateLimitExceededError as too_many:
        too_many.message = "Too many payments were declined; please try again later."
        return too_many
    return None


def _declines_of(command: PlaceOrder) -> dict[str, str]:
    """Whose declined payments are counted: trying out stolen cards must not pay.

    A guest may call himself anything, so guests are counted by their address.
    """
    if command.guest:
        return {
            "scope": "guest_declines",
            "identity": f"address:{request_context.subscriber()}",
        }
    return {"scope": "declines", "identity": command.scope}


def _open_order(
    command: PlaceOrder, owner: uuid.UUID, *, refusal: DomainError | None
) -> Placement | Answer:
    """T1: claim the key and make the order, or go on from where an earlier request stood."""
    with short_transaction():
        claim = idempotency.claim(
            scope=command.scope,
            key=command.idempotency_key,
            fingerprint=command.fingerprint,
            owner=owner,
        )
        if isinstance(claim, Answer):
            return claim
        if not claim.is_new:
            with idempotency.busy_means_in_progress():
                return _resume(claim.key_id)
        if refusal:
            raise refusal
        return _create_order(command, claim.key_id, claim.at)


def _create_order(command: PlaceOrder, key_id: int, at: datetime) -> Placement:
    buyer = _admit_buyer(command)
    priced = _price_and_use(command, tier=buyer.tier if buyer else "", at=at)
    _check_total(command, priced)
    order = _write_order(command, priced, key_id, at)
    items = [
        OrderItem(
            order_id=order.pk,
            product_id=item.product_id,
            product_sku=item.sku,
            product_name=item.product_name,
            quantity=item.quantity,
            unit_price=item.unit_price,
            discount_amount=item.discount_amount,
            tax_rate=item.tax_rate.rate,
            tax_class=item.tax_rate.tax_class,
            tax_amount=item.tax_amount,
            total_price=item.total_price,
        )
        for item in priced.quote.items
    ]
    sql.insert_later(*items)
    payment = payments.open_payment(
        order_id=order.pk,
        order_public_id=order.public_id,
        order_number=order.order_number,
        amount=order.total_amount,
        currency=order.currency,
        payment_method_id=command.payment_method_id,
        return_url=command.return_url or f"{settings.PUBLIC_URL}/orders/{order.order_number}",
        stripe_customer_id=buyer.stripe_customer_id if buyer else None,
        at=at,
    )
    audit.record(
        "ORDER_CREATED",
        entity_type="order",
        entity_id=order.pk,
        data={
            "order_number": order.order_number,
            "to": order.status,
            "version": order.version,
            "total_amount": money.format_amount(order.total_amount, order.currency),
            "currency": order.currency,
            "items": len(items),
        },
    )
    if promotion := priced.quote.promotion:
        if not promotion.is_limited:
            _count_use(promotion)
        sql.insert_later(
            CouponRedemption(coupon_id=promotion.id, order_id=order.pk, redeemed_by=command.scope)
        )
    stock.reserve(
        order_id=order.pk,
        wanted=[
            Wanted(product_id=item.product_id, sku=item.product_sku, quantity=item.quantity)
            for item in items
        ],
        country=command.shipping_address["country"],
    )
    return Placement(order_id=order.pk, payment=payment, hold_is_over=False, items=items)


def _basket_of(command: PlaceOrder, *, tier: str) -> Basket:
    """What the price depends on; a cart is read, and its row locked, only now."""
    if command.cart_id is None:
        wish = Wish(
            lines=command.lines or (),
            currency=command.currency or settings.SHOP_CURRENCY,
            coupon_code=None,
        )
    else:
        wish = carts.take_wish(
            cart_id=command.cart_id, customer_id=command.customer_id, currency=command.currency
        )
    return Basket(
        lines=wish.lines,
        currency=wish.currency,
        country=command.shipping_address["country"],
        region=(command.shipping_address.get("state") or "").upper(),
        postal_code=command.shipping_address["postal_code"],
        tier=tier,
        shipping_method=command.shipping_method,
        coupon_code=command.coupon_code or wish.coupon_code,
        redeemed_by=command.scope,
    )


def _resume(key_id: int) -> Placement | Answer:
    """Take over the order of an earlier request with this key."""
    order_id = Order.objects.values_list("pk", flat=True).get(idempotency_key_id=key_id)
    locked = selectors.lock_order(order_id=order_id)
    if locked.payment.payment_intent_id is None and locked.hold_is_over:
        if locked.order.status == Order.Status.PENDING:
            settlement.close_without_intent(locked, cause="hold_expired")
    else:
        settlement.answer_if_final(locked)
    if locked.order.status != Order.Status.PENDING:
        return idempotency.remembered(_key_of(locked))
    if locked.payment.status == Payment.Status.QUARANTINED:
        idempotency.end_lease(_key_of(locked))
        return _open_still(locked)
    return Placement(
        order_id=order_id, payment=locked.payment, hold_is_over=locked.hold_is_over, items=None
    )


def _settle(
    command: PlaceOrder,
    placement: Placement,
    outcome: Told | NotCreated | Unknown,
    owner: uuid.UUID,
) -> Answer:
    """T2: settle, remember the answer if none is, and answer what is remembered (rule 5)."""
    with short_transaction():
        locked = selectors.lock_order(order_id=placement.order_id)
        key = _key_of(locked)
        if isinstance(outcome, Told):
            settlement.settle_locked(locked, outcome, items=placement.items)
        elif isinstance(outcome, NotCreated):
            settlement.close_refused(locked, outcome.failure)
        answer: Answer | None = None
        if key.response_status is None and key.owner == owner:
            # The payment's own state is asked, not the intent's: it may be in quarantine.
            if (
                isinstance(outcome, Told)
                and locked.payment.status == Payment.Status.REQUIRES_ACTION
            ):
                error = answers.action_required(locked.order, outcome.intent)
                idempotency.remember(key, answers.refused(error))
            else:
                payments.record_doubt(locked.payment, reason=_doubt(outcome))
                idempotency.end_lease(key)
                answer = _open_still(locked, items=placement.items)
    if locked.payment.decline_code:
        throttles.note(**_declines_of(command))
    return answer or idempotency.remembered(key, replayed=False)


def _doubt(outcome: Told | NotCreated | Unknown) -> str:
    """Why the customer hears 202, for staff."""
    if isinstance(outcome, Told):
        return f"the intent is {outcome.intent.status}"
    return "somebody else made the intent" if isinstance(outcome, NotCreated) else outcome.reason


def _admit_buyer(command: PlaceOrder) -> Customer | None:
    """The account as it is inside this transaction; too many unpaid orders are refused.

    Raises:
        InactiveCustomerError: suspended since the request began.
        RateLimitExceededError: others could not buy what one buyer holds without paying.
    """
    buyer: Customer | None = None
    if command.customer_id is None:
        email = command.guest.email if command.guest else ""
        pending = selectors.count_pending_orders_of_guest(guest_email=email)
    else:
        buyer = selectors.get_buyer(customer_id=command.customer_id)
        pending = buyer.pending_orders  # type: ignore[attr-defined]  # annotated
        if not buyer.is_active:
            raise InactiveCustomerError
    if settings.THROTTLE and pending >= settings.MAX_PENDING_ORDERS:
        raise RateLimitExceededError(
            "Too many orders are waiting for their payment; finish or cancel one first."
        )
    return buyer


def _price_and_use(command: PlaceOrder, *, tier: str, at: datetime) -> PricedBasket:
    """Price the basket and, where its promotion's uses are limited, take one of them.

    The row is locked from here to the COMMIT. That of an unlimited promotion, which half the shop
    may be using, is counted last (`_count_use`).

    An automatic promotion that was used up meanwhile is passed over: nobody asked for it. The
    order then costs more, which `expected_total` tells whoever sent it.

    Raises:
        CouponInvalidError: the coupon was used up meanwhile.
    """
    basket = _basket_of(command, tier=tier)
    while True:
        priced = price_basket(basket=basket, now=at)
        promotion = priced.quote.promotion
        if promotion is None or not promotion.is_limited:
            return priced
        if _use(promotion, redeemed_by=command.scope):
            return priced
        if promotion.code:
            raise CouponInvalidError(details={"reason": str(CouponRefusal.USED_UP)})
        basket = replace(basket, passed_over=basket.passed_over | {promotion.id})


def _use(promotion: Promotion, *, redeemed_by: str) -> bool:
    """Use a promotion once, if a use is left; the row's lock holds both limits until the COMMIT.

    One's own uses are counted by a later statement than the one that waits for that lock: it sees
    what was committed meanwhile.
    """
    if not sql.execute(USE_COUPON, coupon_id=promotion.id):
        return False
    if promotion.max_uses_per_customer is None:
        return True
    (own,) = sql.fetch(COUNT_OWN_USES, coupon_id=promotion.id, redeemed_by=redeemed_by)
    is_left: bool = own.uses < promotion.max_uses_per_customer
    if not is_left:
        sql.later(GIVE_BACK_COUPON, coupon_id=promotion.id)
    return is_left


def _count_use(promotion: Promotion) -> None:
    """Count a use of an unlimited promotion.

    Raises:
        OrderInProgressError: staff have limited it since it was read; the next try knows.
    """
    if not sql.execute(USE_COUPON, coupon_id=promotion.id):
        raise OrderInProgressError


def _check_total(command: PlaceOrder, priced: PricedBasket) -> None:
    quote = priced.quote
    if command.expected_total is not None and command.expected_total != quote.total_amount:
        raise PriceChangedError(details=quote_json(quote, unavailable_items=[]))
    if quote.total_amount <= 0:
        raise ValidationFailedError(details={"items": ["There is nothing to charge."]})


def _write_order(command: PlaceOrder, priced: PricedBasket, key_id: int, at: datetime) -> Order:
    quote, guest = priced.quote, command.guest
    order = Order(
        order_number=_new_order_number(),
        idempotency_key_id=key_id,
        cart_id=command.cart_id,
        customer_id=command.customer_id,
        guest_email=guest.email if guest else None,
        guest_first_name=guest.first_name if guest else "",
        guest_last_name=guest.last_name if guest else "",
        subtotal=quote.subtotal,
        discount_amount=quote.discount_amount,
        shipping_amount=quote.shipping_amount,
        shipping_tax_rate=quote.shipping_tax_rate.rate,
        shipping_tax_class=quote.shipping_tax_rate.tax_class,
        tax_amount=quote.tax_amount,
        total_amount=quote.total_amount,
        tax_included=quote.tax_included,
        currency=quote.currency,
        shipping_address=dict(command.shipping_address),
        billing_address=dict(command.billing_address),
        shipping_method=quote.shipping_method,
        estimated_delivery=quote.estimated_delivery,
        coupon_code=quote.coupon_code or "",
        language=request_context.language(),
        notes=command.notes,
        hold_expires_at=at + timedelta(minutes=settings.HOLD_MINUTES),
        created_at=at,
        updated_at=at,
    )
    sql.insert(order)
    return order


def _open_still(
    locked: selectors.LockedOrder, *, items: Sequence[OrderItem] | None = None
) -> Answer:
    lines = selectors.list_items(order_id=locked.order.pk) if items is None else items
    return answers.open_still(locked.order, payment=locked.payment, items=lines)


def _key_of(locked: selectors.LockedOrder) -> Any:
    if locked.key is None:
        raise OrderInProgressError  # pruned under our hands: thirty days after it was made
    return locked.key


def _new_order_number() -> str:
    """Short, readable aloud, not guessable: 30¹⁰ of them."""
    return "-".join(
        "".join(secrets.choice(NUMBER_ALPHABET) for _ in range(length)) for length in NUMBER_GROUPS
    )


def _record_refusal(command: PlaceOrder, refusal: DomainError) -> None:
    """The order came to nothing before it existed: its transaction is gone, the log keeps it."""
    try:
        with transaction.atomic():
            audit.record("ORDER_FAILED", data={"reason": refusal.code, "scope": _who(command)})
    except (DatabaseError, InterfaceError):
        log.exception("order_refusal_not_recorded", code=refusal.code)


def _record_error(command: PlaceOrder) -> None:
    try:
        with transaction.atomic():
            audit.record("ORDER_ERROR", data={"scope": _who(command)})
    except (DatabaseError, InterfaceError):
        log.exception("order_error_not_recorded")


def _who(command: PlaceOrder) -> str:
    """Who asked, without a guest's address."""
    return "guest" if command.guest else command.scope
