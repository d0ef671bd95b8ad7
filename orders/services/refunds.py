"""Decides refunds, carries them to the provider, and brings what it says into order and books."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import structlog
from django.db.models import Sum
from django.db.models.functions import Now

from audit import services as audit
from config.kernel import money
from config.kernel.db import short_transaction
from config.kernel.errors import InvalidTransitionError, ValidationFailedError
from orders import selectors
from orders.errors import RefundChangedError, RefundRequestReusedError
from orders.models import Order, RefundLine
from orders.services import invoicing, settlement, shipping
from payments import alone
from payments import services as payments
from payments.cases import open_case
from payments.errors import PaymentDisputedError, RefundExceedsPaymentError
from payments.gateway import REFUND_DEAD, ProviderRefund, Refused, Unknown
from payments.models import Payment, ReconciliationCase, Refund

if TYPE_CHECKING:
    from collections.abc import Mapping

    from config.kernel.clock import Deadline
    from orders.models import OrderItem
    from orders.selectors import LockedOrder
    from payments.alone import Limits

PENDING_PAUSE: Final = timedelta(minutes=10)  # the bank takes days
# Nothing stays in doubt longer than two minutes; a refusal will hardly change its mind.
LONGEST_PAUSE_SECONDS: Final = {Unknown: 60, Refused: 600}
MADE_AT_PROVIDER: Final = "made at the provider"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundWish:
    """What is to be given back of an order: an amount, units of its lines, or all that is left.

    At most one of `amount` (major units of the order's currency, above zero) and `units` (quantity
    by SKU) is set. `request_key` makes the wish repeatable: the same key on the same order is the
    same refund. `reason` is for people; at most 200 characters of it are kept. `limits`: what
    `requested_by_id` may give back of the order on their own word; None: see `payments.alone`.
    `seen` is what somebody was shown of it and agreed to: that is done, or nothing.
    """

    reason: str
    amount: Decimal | None = None
    units: Mapping[str, int] | None = None
    request_key: str | None = None
    requested_by_id: int | None = None
    limits: Limits | None = None
    seen: RefundPreview | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundPreview:
    """What a wish would give back, in major units; `is_cancellation`: the order ends with it."""

    amount: Decimal
    is_cancellation: bool


# --- deciding ---------------------------------------------------------------------------------


def preview_refund(*, order_id: int, wish: RefundWish) -> RefundPreview | None:
    """What `decide_refund` would give back now; writes nothing. Opens its own transaction.

    Returns:
        None: nothing more, it was decided already under the wish's key.

    Raises:
        as `decide_refund`; a wish's limits are not looked at.
    """
    with short_transaction():
        locked = selectors.lock_order(order_id=order_id)
        if _decided_before(locked.payment, wish) is not None:
            return None
        preview, shares = _weigh(locked, wish)
        if shares and not preview.is_cancellation:
            _check_something_is_sent(locked.order, shares)
    return preview


def decide_refund(*, order_id: int, wish: RefundWish) -> Refund:
    """Write down a refund, to be sent by `finish_refund` or the sweeper.

    The full refund of an order that has not been shipped is its cancellation (rule 8). Two who
    press at once are put in line by the payment's lock. Opens its own transaction.

    Returns:
        The refund; an earlier one where the wish's key was used before.

    Raises:
        InvalidTransitionError: nothing was paid, nothing is left, or the money is disputed.
        RefundExceedsPaymentError: more than is left.
        SecondPersonNeededError: more than the wish's limits allow.
        RefundChangedError: it would not be what the wish's `seen` says.
        RefundRequestReusedError: the key stands for another refund of this order.
        ValidationFailedError: no such line, more units than were bought, or no amount.
        CommitOutcomeUnknownError: the COMMIT was lost; repeat it with the same key.
    """
    with short_transaction():
        return decide_locked(selectors.lock_order(order_id=order_id), wish)


def decide_locked(locked: LockedOrder, wish: RefundWish) -> Refund:
    """`decide_refund` as a part of the caller's transaction, which has the locks."""
    return _decided_before(locked.payment, wish) or _decide(locked, wish)


def ends_order(locked: LockedOrder, amount: Decimal) -> bool:
    """Whether giving this much back cancels the order (rule 8). Requires the locks."""
    left = payments.not_given_back(locked.payment)
    return amount == left and locked.order.status in Order.PAID_UNSHIPPED


def check_seen(seen: RefundPreview | None, now: RefundPreview, *, currency: str) -> None:
    """Refuse what is not what somebody has seen, if anybody has.

    Raises:
        RefundChangedError: it is not.
    """
    if seen is not None and seen != now:
        ends = "would be cancelled" if now.is_cancellation else "would not be cancelled"
        raise RefundChangedError(
            f"The order has changed: {money.format_amount(now.amount, currency)} {currency} would"
            f" go back now, and the order {ends}. Begin anew; a proposal is to be refused first."
        )


def check_alone(
    locked: LockedOrder, amount: Decimal, *, person_id: int | None, limits: Limits | None
) -> None:
    """Refuse what this person may not give back of the order on their own word. Requires the locks.

    Their refunds of it that did not fail count together, unless a second person agreed to them.

    Raises:
        SecondPersonNeededError: it is too much.
    """
    if limits is None:
        return
    before = selectors.given_back_alone(order_id=locked.order.pk, person_id=person_id)
    alone.check(amount=amount, currency=locked.payment.currency, before=before, limits=limits)


def _decided_before(payment: Payment, wish: RefundWish) -> Refund | None:
    if wish.request_key is None:
        return None
    refund = payment.refunds.filter(request_key=wish.request_key).first()
    if refund is None:
        return None
    units = {line.order_item.product_sku: line.quantity for line in refund.lines.all()}
    if wish.units or units:
        is_same = units == dict(wish.units or {})
    elif wish.amount is None:
        is_same = _took_all_that_was_left(refund)
    else:
        is_same = wish.amount == refund.amount
    if not is_same:
        raise RefundRequestReusedError
    return refund


def _took_all_that_was_left(refund: Refund) -> bool:
    earlier = refund.payment.refunds.filter(pk__lt=refund.pk).exclude(status=Refund.Status.FAILED)
    given = earlier.aggregate(sum=Sum("amount"))["sum"] or 0
    return given + refund.amount == refund.payment.amount_received


def _decide(locked: LockedOrder, wish: RefundWish) -> Refund:
    payment = locked.payment
    preview, shares = _weigh(locked, wish)
    check_seen(wish.seen, preview, currency=payment.currency)
    check_alone(locked, preview.amount, person_id=wish.requested_by_id, limits=wish.limits)
    if preview.is_cancellation:
        refund = settlement.cancel_paid(
            locked,
            note=wish.reason[:200],
            requested_by_id=wish.requested_by_id,
            request_key=wish.request_key,
        )
        if refund is None:
            raise InvalidTransitionError("There is nothing left to refund.")
    else:
        if shares:
            _check_something_is_sent(locked.order, shares)
        refund = payments.request_refund(
            payment,
            amount=preview.amount,
            reason=wish.reason[:200],
            requested_by_id=wish.requested_by_id,
            request_key=wish.request_key,
        )
    RefundLine.objects.bulk_create(
        RefundLine(refund=refund, order_item=item, quantity=quantity, amount=share)
        for item, (quantity, share) in shares.items()
    )
    shipping.complete_if_nothing_is_left(locked)
    return refund


def _weigh(
    locked: LockedOrder, wish: RefundWish
) -> tuple[RefundPreview, dict[OrderItem, tuple[int, Decimal]]]:
    """What a wish comes to, and what of it is for which line."""
    left = payments.not_given_back(locked.payment)
    _check_refundable(locked, left)
    shares = _shares(locked.order, wish.units) if wish.units else {}
    amount = _wished_amount(locked.order, wish, shares, left=left)
    return RefundPreview(amount=amount, is_cancellation=ends_order(locked, amount)), shares


def _check_refundable(locked: LockedOrder, left: Decimal) -> None:
    if locked.payment.status != Payment.Status.SUCCEEDED:
        raise InvalidTransitionError("Nothing has been paid for this order.")
    if left <= 0:
        raise InvalidTransitionError("There is nothing left to refund.")
    if locked.is_disputed:
        raise PaymentDisputedError


def _check_something_is_sent(order: Order, shares: Mapping[OrderItem, tuple[int, Decimal]]) -> None:
    """An order of which nothing was or will be sent is none: that is a cancellation (rule 8)."""
    if order.status != Order.Status.CONFIRMED:
        return
    left = shipping.left_to_ship(selectors.list_items(order_id=order.pk))
    left.subtract({item.pk: quantity for item, (quantity, _) in shares.items()})
    if not any(left.values()):
        raise InvalidTransitionError(
            "Nothing would be left to send: refund all of the order, which cancels it."
        )


def _wished_amount(
    order: Order,
    wish: RefundWish,
    shares: Mapping[OrderItem, tuple[int, Decimal]],
    *,
    left: Decimal,
) -> Decimal:
    if shares:
        amount = sum((share for _, share in shares.values()), start=Decimal(0))
    elif wish.amount is None:
        return left
    else:
        amount = wish.amount
    if shares and not amount:
        raise InvalidTransitionError("These units cost nothing: there is nothing to refund.")
    if amount <= 0 or amount != money.quantize(amount, order.currency):
        raise ValidationFailedError(
            details={"amount": [f"An amount above zero in whole cents of {order.currency}."]}
        )
    if amount > left:
        raise RefundExceedsPaymentError(
            details={"left": money.format_amount(left, order.currency), "currency": order.currency}
        )
    return amount


def _shares(order: Order, units: Mapping[str, int]) -> dict[OrderItem, tuple[int, Decimal]]:
    """What was paid for so many more units of each line: after discount, with tax.

    Cut so that a line refunded bit by bit adds up to the cent: units k+1 to k+q are worth what
    k+q units are worth less what k are, each rounded half up.

    Raises:
        ValidationFailedError: a SKU is not in the order, or has fewer units left than wished.
    """
    items = {item.product_sku: item for item in order.items.all()}
    lines = RefundLine.objects.filter(order_item__order=order)
    given = selectors.units_by_line(lines.exclude(refund__status=Refund.Status.FAILED))
    problems: dict[str, list[str]] = {}
    shares: dict[OrderItem, tuple[int, Decimal]] = {}
    for sku, quantity in sorted(units.items()):
        item = items.get(sku)
        left = item.quantity - given[item.pk] if item else 0
        if item is None:
            problems[sku] = ["This order has no such line."]
        elif not 1 <= quantity <= left:
            problems[sku] = [f"Between 1 and {left} units can still be refunded."]
        else:
            until = _worth(order, item, given[item.pk] + quantity)
            shares[item] = (quantity, until - _worth(order, item, given[item.pk]))
    if problems:
        raise ValidationFailedError(details={"units": problems})
    return shares


def _worth(order: Order, item: OrderItem, quantity: int) -> Decimal:
    on_top = 0 if order.tax_included else item.tax_amount
    paid = item.total_price - item.discount_amount + on_top
    return money.quantize(paid * quantity / item.quantity, order.currency)


# --- carrying out -----------------------------------------------------------------------------


def finish_refund(*, refund_id: int, deadline: Deadline) -> bool:
    """Send a decided refund, or find out what became of it; repeating it is safe (rule 7).

    Opens its own transactions; never call it inside one.

    Returns:
        Whether the money is back. If not, the sweeper comes again.
    """
    refund = Refund.objects.select_related("payment").get(pk=refund_id)
    if refund.status in {Refund.Status.SUCCEEDED, Refund.Status.FAILED}:
        return refund.status == Refund.Status.SUCCEEDED
    told = payments.send_refund(refund=refund, deadline=deadline)
    if not isinstance(told, ProviderRefund):
        _try_later(refund, told)
        if isinstance(told, Refused):  # perhaps because somebody gave it back there by hand
            sync_refunds(payment_id=refund.payment_id, deadline=deadline)
            if told.code == payments.DISPUTED:
                _give_up_what_a_bank_took(refund)
            refund.refresh_from_db(fields=["status"])
        return refund.status == Refund.Status.SUCCEEDED
    with short_transaction():
        locked = selectors.lock_order(order_id=refund.payment.order_id)
        refund = Refund.objects.select_for_update().get(pk=refund_id)
        _record(locked, refund, told)
    return refund.status == Refund.Status.SUCCEEDED


def sync_refunds(*, payment_id: int, deadline: Deadline) -> Refused | Unknown | None:
    """Bring every refund the provider knows of a payment into the books, whoever made it.

    Opens its own transactions; never call it inside one. Repeating it is harmless.

    Returns:
        None when it is done; else what the provider answered instead of its list.
    """
    payment = Payment.objects.get(pk=payment_id)
    if payment.status in (*Payment.OPEN, Payment.Status.QUARANTINED):
        return Unknown(reason="the payment is not settled here yet")
    listed = payments.list_refunds(payment=payment, deadline=deadline)
    if not isinstance(listed, list):
        return listed
    for told in reversed(listed):  # oldest first
        with short_transaction():
            locked = selectors.lock_order(order_id=payment.order_id)
            refund = payments.match_refund(locked.payment, told)
            if refund is None:
                _adopt(locked, told)
            else:
                _record(locked, refund, told)
    return None


def _adopt(locked: LockedOrder, told: ProviderRefund) -> None:
    """Somebody gave the money back at the provider's own site: the books follow."""
    payment = locked.payment
    amount = money.from_minor(told.amount_minor, told.currency)
    if told.status in REFUND_DEAD or payment.status != Payment.Status.SUCCEEDED:
        return
    left = payments.not_given_back(payment)
    if told.currency != payment.currency or amount > left:
        open_case(
            classification=ReconciliationCase.Classification.AMOUNT_DIFFERS,
            subject=told.id,
            payment=payment,
            problem="a refund made at the provider is higher than what is left here",
        )
        return
    if amount == left and locked.order.status in Order.PAID_UNSHIPPED:
        refund = settlement.cancel_paid(locked, note=MADE_AT_PROVIDER, requested_by_id=None)
    else:
        refund = payments.request_refund(payment, amount=amount, reason=MADE_AT_PROVIDER)
    if refund is not None:
        _record(locked, refund, told)


def _record(locked: LockedOrder, refund: Refund, told: ProviderRefund) -> None:
    """Write what the provider says, with all that follows from it. Requires the locks."""
    if payments.record_refund(locked.payment, refund, told):
        _tell(locked, refund)
    if refund.status == Refund.Status.PENDING:
        Refund.objects.filter(pk=refund.pk).update(next_attempt_at=Now() + PENDING_PAUSE)


def _give_up_what_a_bank_took(refund: Refund) -> None:
    """The provider gives nothing back of what a lost dispute has taken: it refuses for good.

    If that was only a part, how the customer gets the rest is for a person to find out.
    """
    with short_transaction():
        locked = selectors.lock_order(order_id=refund.payment.order_id)
        fresh = Refund.objects.select_for_update().get(pk=refund.pk)
        lost = payments.lost_to_banks(locked.payment)
        if fresh.status != Refund.Status.DUE or not lost:
            return
        if lost < fresh.amount:
            open_case(
                classification=ReconciliationCase.Classification.AMOUNT_DIFFERS,
                subject=str(fresh.uuid),
                payment=locked.payment,
                problem="a lost dispute took a part of this refund; the provider refuses the rest",
            )
            return
        payments.record_refund_given_up(fresh, why="a lost dispute took it back")
        _tell(locked, fresh)


def _try_later(refund: Refund, told: Refused | Unknown) -> None:
    problem = f"{payments.REFUSED}{told.code}" if isinstance(told, Refused) else told.reason
    if isinstance(told, Refused) and refund.last_error != problem:
        _tell_staff(refund, problem)
    longest = LONGEST_PAUSE_SECONDS[type(told)]
    longest = min(longest, 5 * 2 ** min(refund.attempts, 7))
    if told.replayed:
        longest = 0  # what was stored is told; the next number asks anew
    pause = timedelta(seconds=random.uniform(longest / 2, longest))  # noqa: S311 - spreads load
    Refund.objects.filter(pk=refund.pk).update(
        last_error=problem[:500], next_attempt_at=Now() + pause
    )


def _tell_staff(refund: Refund, problem: str) -> None:
    """The provider says no: it is asked again, ever more rarely, and a person should look."""
    log.error("refund_refused", refund=str(refund.uuid), problem=problem)
    with short_transaction():
        audit.record(
            "REFUND_REFUSED",
            entity_type="order",
            entity_id=refund.payment.order_id,
            data={"refund": str(refund.uuid), "problem": problem},
        )


def _tell(locked: LockedOrder, refund: Refund) -> None:
    order, payment = locked.order, locked.payment
    data = {
        "order_number": order.order_number,
        "refund": str(refund.uuid),
        "amount": money.format_amount(refund.amount, refund.currency),
        "currency": refund.currency,
    }
    audit.record(
        f"REFUND_{refund.status.upper()}", entity_type="order", entity_id=order.pk, data=data
    )
    settlement.show_money(locked)
    if refund.status == Refund.Status.FAILED:
        log.error("refund_failed", refund=str(refund.uuid))  # a person has to find another way
        invoicing.reverse_credit_note(refund_id=refund.pk)
        _publish("order.refund_failed", f"refund_failed.{refund.uuid}", order, data)
    if refund.status == Refund.Status.SUCCEEDED:
        _publish("order.refunded", f"refund.{refund.uuid}", order, data)
        is_whole = payment.amount_refunded == payment.amount_received
        if is_whole and order.status in Order.SHIPPED:
            settlement.move(
                locked,
                to=Order.Status.REFUNDED,
                payment_status=Order.PaymentStatus(order.payment_status),
                event_type="ORDER_REFUNDED",
            )


def _publish(fact: str, dedupe_key: str, order: Order, data: Mapping[str, str]) -> None:
    audit.publish(
        fact,
        aggregate_type="order",
        aggregate_id=order.pk,
        dedupe_key=dedupe_key,
        payload={"order_id": order.pk, **data},
    )
