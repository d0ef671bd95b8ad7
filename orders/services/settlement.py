"""The only code that moves an order because of money.

Whoever has a fresh account of the intent (the request, `/confirm`, the webhook, the sweeper) brings
it here. Settling is idempotent and monotone: it locks, then reads, then moves only
pending orders and unsucceeded payments, so that any repetition, any order and any stale reader is
harmless. Whoever makes an order final writes its key's answer in the same transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from audit import services as audit
from config.kernel import money, sql
from config.kernel.db import refusals_translated, short_transaction
from config.kernel.errors import InvalidTransitionError
from config.kernel.models import new_uuid
from customers import services as customers
from inventory import services as stock
from orders import answers, idempotency, selectors
from orders.models import Order
from payments import services as payments
from payments.gateway import Refused, Unknown
from payments.models import Payment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from config.kernel.clock import Deadline
    from orders.models import OrderItem
    from orders.selectors import LockedOrder
    from payments.gateway import Failure
    from payments.models import Refund
    from payments.services import Told

log = structlog.get_logger(__name__)

QUARANTINED = "payment.quarantined"
QUARANTINE_ENDED = "payment.quarantine_ended"
LATE_SUCCESS = "the payment came in after the order was cancelled"
SHOW_MONEY = "UPDATE orders SET payment_status = %(shown)s WHERE id = %(id)s"
RELEASE_COUPON = """
    WITH released AS (
        UPDATE coupon_redemptions SET released_at = now()
        WHERE order_id = %(order_id)s AND released_at IS NULL RETURNING coupon_id
    )
    UPDATE coupons SET times_used = times_used - 1
    FROM released WHERE coupons.id = released.coupon_id
"""


def settle(*, order_id: int, told: Told, note: str = "") -> LockedOrder:
    """Bring order, stock, books and key in line with what the provider just said.

    Opens its own transaction; never call it inside one.

    Args:
        note: why, in somebody's own words, should the order end unpaid; kept on the order alone.

    Returns:
        The order and payment as they stand now.

    Raises:
        CommitOutcomeUnknownError: the COMMIT was lost; repeating is harmless.
    """
    with short_transaction():
        locked = selectors.lock_order(order_id=order_id)
        settle_locked(locked, told, note=note)
    return locked


def settle_afresh(*, payment: Payment, deadline: Deadline) -> Refused | Unknown | None:
    """Ask the provider how a payment stands, cancel a failed attempt (C3), and settle what it says.

    Opens its own transaction; never call it inside one. Repeating it is harmless.

    Returns:
        None when it is done; else what the provider answered instead.

    Raises:
        CommitOutcomeUnknownError: the COMMIT was lost; repeating is harmless.
    """
    answer = payments.retrieve(payment=payment, deadline=deadline)
    if isinstance(answer, Refused):
        return answer
    told = payments.close_failed_attempt(payment=payment, answer=answer, deadline=deadline)
    if isinstance(told, Unknown):
        return told
    settle(order_id=payment.order_id, told=told)
    return None


def settle_locked(
    locked: LockedOrder,
    told: Told,
    *,
    note: str = "",
    items: Sequence[OrderItem] | None = None,
) -> None:
    """`settle` within the caller's transaction and locks.

    Args:
        items: the order's lines, if the caller has them: they never change.
    """
    order, payment, intent = locked.order, locked.payment, told.intent
    if payment.status == Payment.Status.SUCCEEDED:
        return
    was_quarantined = payment.status == Payment.Status.QUARANTINED
    if not payments.is_about(payment, intent):
        if not was_quarantined:
            quarantine(locked, problem="the provider's intent is not the one we asked for")
    elif intent.status == "succeeded":
        payments.record_success(payment)
        if order.status == Order.Status.PENDING:
            _confirm(locked)
        else:
            _refund_late_success(locked)
    elif intent.status == "canceled" and order.status == Order.Status.PENDING:
        payments.record_end_unpaid(payment, failure=told.failure)
        end_unpaid(locked, cause=payment.failure_code or "payment_cancelled", note=note)
    elif intent.status == "canceled" and was_quarantined:
        payments.record_quarantine_over(payment)  # the order had ended before the odd answer came
    elif order.status == Order.Status.PENDING:
        payments.record_progress(payment, intent)
        _show_progress(locked)
    if was_quarantined and payment.status != Payment.Status.QUARANTINED:
        announce_quarantine(locked, fact=QUARANTINE_ENDED)
    answer_if_final(locked, items=items)


def close_without_intent(
    locked: LockedOrder, *, cause: str, note: str = "", failure: Failure | None = None
) -> None:
    """End a pending order whose payment has no intent: never confirmed, so nothing was charged.

    Needs no provider: T1b's condition stops whoever is still on the way (rule 3).

    Raises:
        InvalidTransitionError: the payment has an intent, or the order is no longer pending.
    """
    if locked.payment.payment_intent_id or locked.order.status != Order.Status.PENDING:
        raise InvalidTransitionError
    payments.record_end_unpaid(locked.payment, failure=failure)
    end_unpaid(locked, cause=cause, note=note)
    answer_if_final(locked)


def close_refused(locked: LockedOrder, failure: Failure) -> None:
    """The provider would not make the intent. Unless somebody stored one after all, that is it."""
    if locked.order.status != Order.Status.PENDING or locked.payment.payment_intent_id:
        return
    if failure.code == Payment.PROVIDER_REFUSED:
        log.error("payment_refused_by_provider", order_number=locked.order.order_number)
    if failure.code == Payment.CUSTOMER_GONE and locked.order.customer_id is not None:
        # Deleted at the provider's own site: the next order names nobody, and can be paid.
        customers.forget_stripe_customer(
            customer_id=locked.order.customer_id,
            stripe_customer_id=locked.payment.create_params["customer"],
        )
    close_without_intent(locked, cause=failure.code, failure=failure)


def answer_if_final(locked: LockedOrder, *, items: Sequence[OrderItem] | None = None) -> None:
    """Write the last answer on the key of an order that is decided, if none stands there yet."""
    key = locked.key
    if locked.order.status == Order.Status.PENDING or key is None or key.response_status:
        return
    lines = selectors.list_items(order_id=locked.order.pk) if items is None else items
    idempotency.remember(key, answers.settled(locked.order, payment=locked.payment, items=lines))


def move(
    locked: LockedOrder,
    *,
    to: Order.Status,
    payment_status: Order.PaymentStatus,
    event_type: str,
    cause: str = "",
    note: str = "",
) -> None:
    """Move an order's status, with its audit row. Requires the order's lock.

    Args:
        cause: a code of ours, for the audit log, which keeps it for good.
        note: somebody's own words; they may hold personal data, so the order alone keeps them.

    Raises:
        InvalidTransitionError: the contract has no such edge (a trigger says so).
    """
    order, came_from = locked.order, locked.order.status
    with refusals_translated():
        moved = sql.execute(
            """
            UPDATE orders
            SET status = %(to)s, payment_status = %(payment_status)s,
                payment_intent_id = %(intent_id)s, cancellation_reason = %(reason)s
            WHERE id = %(id)s AND status = %(came_from)s
            """,
            id=order.pk,
            came_from=str(came_from),
            to=str(to),
            payment_status=str(payment_status),
            intent_id=locked.payment.payment_intent_id,
            reason=(note or cause) if to == Order.Status.CANCELLED else "",
        )
    if not moved:
        raise InvalidTransitionError
    order.status, order.payment_status = to, payment_status
    order.version, order.updated_at = order.version + 1, locked.at  # as the triggers set them
    audit.record(
        event_type,
        entity_type="order",
        entity_id=order.pk,
        data={
            "order_number": order.order_number,
            "from": came_from,
            "to": to,
            "version": order.version,
            "total_amount": money.format_amount(order.total_amount, order.currency),
            "currency": order.currency,
            "cause": cause,
        },
    )


def quarantine(locked: LockedOrder, *, problem: str) -> None:
    """No machine may decide about this payment: staff has to look. Requires the locks."""
    log.error("payment_quarantined", payment=str(locked.payment.uuid), problem=problem)
    payments.record_quarantine(locked.payment, problem=problem)
    if locked.order.status == Order.Status.PENDING:
        _show_progress(locked)
    audit.record(
        "PAYMENT_QUARANTINED",
        entity_type="order",
        entity_id=locked.order.pk,
        data={
            "order_number": locked.order.order_number,
            "payment": str(locked.payment.uuid),
            "problem": problem,
        },
    )
    announce_quarantine(locked, fact=QUARANTINED)


def announce_quarantine(locked: LockedOrder, *, fact: str) -> None:
    """State that a payment went into quarantine, or came out of it. Requires the locks.

    Either may happen again, later: what keeps it from being stated twice is the payment's state,
    and what it is known by is new each time.
    """
    payment = str(locked.payment.uuid)
    audit.publish(
        fact,
        aggregate_type="order",
        aggregate_id=locked.order.pk,
        dedupe_key=f"{fact}.{payment}.{new_uuid()}",
        payload={
            "order_id": locked.order.pk,
            "order_number": locked.order.order_number,
            "payment": payment,
        },
    )


def cancel_paid(
    locked: LockedOrder,
    *,
    note: str,
    requested_by_id: int | None = None,
    request_key: str | None = None,
) -> Refund | None:
    """End a paid, unshipped order: the whole refund of it is its cancellation (rule 8).

    Order cancelled, stock released and refund row: one transaction, the caller's, with its locks.

    Args:
        note: for people; kept on the order and its refund alone.
        request_key: kept on the refund, for whoever repeats the wish.

    Returns:
        The refund of what was neither back nor on its way; None if nothing was.
    """
    refund = payments.request_refund_of_rest(
        locked.payment, reason=note, requested_by_id=requested_by_id, request_key=request_key
    )
    move(
        locked,
        to=Order.Status.CANCELLED,
        payment_status=Order.PaymentStatus(locked.order.payment_status),
        event_type="ORDER_CANCELLED",
        cause="cancel_requested",
        note=note,
    )
    release_coupon(locked.order)
    stock.release(order_id=locked.order.pk)
    announce(locked.order)
    return refund


def end_unpaid(locked: LockedOrder, *, cause: str, note: str = "") -> None:
    """Cancel a pending order whose payment has ended: stock and coupon go back.

    Requires the locks; the caller remembers the key's answer (`answer_if_final`).
    """
    payment_failed = locked.payment.status == Payment.Status.FAILED
    move(
        locked,
        to=Order.Status.CANCELLED,
        payment_status=Order.PaymentStatus.FAILED
        if payment_failed
        else Order.PaymentStatus.CANCELLED,
        event_type="ORDER_FAILED" if payment_failed else "ORDER_CANCELLED",
        cause=cause,
        note=note,
    )
    release_coupon(locked.order)
    stock.release(order_id=locked.order.pk)
    announce(locked.order, buyer_was_waiting=_is_waited_for(locked))


def show_money(locked: LockedOrder) -> None:
    """Bring `payment_status` in line with refunds and disputes of a payment that succeeded.

    Requires the locks; a dispute that is open or lost outshines the refunds.
    """
    payment = locked.payment
    if locked.is_disputed:
        shown = Order.PaymentStatus.DISPUTED
    elif payment.amount_refunded == 0:
        shown = Order.PaymentStatus.SUCCEEDED
    elif payment.amount_refunded == payment.amount_received:
        shown = Order.PaymentStatus.REFUNDED
    else:
        shown = Order.PaymentStatus.PARTIALLY_REFUNDED
    if locked.order.payment_status != shown:
        sql.later(SHOW_MONEY, id=locked.order.pk, shown=str(shown))
        locked.order.payment_status = shown
        locked.order.updated_at = locked.at


def announce(order: Order, *, buyer_was_waiting: bool = False) -> None:
    """State the order's new status as a fact for the world outside.

    Args:
        buyer_was_waiting: a request is under way whose answer tells the buyer of it.
    """
    audit.publish(
        f"order.{order.status}",
        aggregate_type="order",
        aggregate_id=order.pk,
        dedupe_key=f"order.{order.pk}.{order.status}.{order.version}",
        payload={
            "order_id": order.pk,
            "order_number": order.order_number,
            "total_amount": money.format_amount(order.total_amount, order.currency),
            "currency": order.currency,
            **({"buyer_was_waiting": True} if buyer_was_waiting else {}),
        },
    )


def release_coupon(order: Order) -> None:
    """Give back the use of a promotion, coupon or automatic, by an order that died; once."""
    sql.later(RELEASE_COUPON, order_id=order.pk)


def _is_waited_for(locked: LockedOrder) -> bool:
    """Whether a request holds the order's key and has not been answered yet."""
    key = locked.key
    return key is not None and key.response_status is None and key.lease_until > locked.at


def _confirm(locked: LockedOrder) -> None:
    move(
        locked,
        to=Order.Status.CONFIRMED,
        payment_status=_shown_of_success(locked),
        event_type="ORDER_CONFIRMED",
    )
    stock.commit_reservation(order_id=locked.order.pk)
    announce(locked.order)


def _shown_of_success(locked: LockedOrder) -> Order.PaymentStatus:
    """The dispute's webhook may have been faster than the settlement."""
    return Order.PaymentStatus.DISPUTED if locked.is_disputed else Order.PaymentStatus.SUCCEEDED


def _refund_late_success(locked: LockedOrder) -> None:
    """A dead order keeps no money: the refund is decided where the money is noted.

    Money that the customer's bank has taken already is not given back twice; should the dispute
    be won, `disputes` decides the refund.
    """
    if not locked.is_disputed:
        payments.request_refund(locked.payment, amount=locked.payment.amount, reason=LATE_SUCCESS)
    shown = _shown_of_success(locked)
    sql.later(SHOW_MONEY, id=locked.order.pk, shown=str(shown))
    locked.order.payment_status = shown
    audit.record(
        "PAYMENT_CAME_LATE",
        entity_type="order",
        entity_id=locked.order.pk,
        data={"order_number": locked.order.order_number, "payment": str(locked.payment.uuid)},
    )


def _show_progress(locked: LockedOrder) -> None:
    """What the client reads as `payment_status` while the order waits."""
    shown = {
        Payment.Status.REQUIRES_ACTION: Order.PaymentStatus.REQUIRES_ACTION,
        Payment.Status.PROCESSING: Order.PaymentStatus.PROCESSING,
        Payment.Status.QUARANTINED: Order.PaymentStatus.PROCESSING,
    }.get(Payment.Status(locked.payment.status))
    if shown is None or locked.order.payment_status == shown:
        return
    Order.objects.filter(pk=locked.order.pk).update(
        payment_status=shown, payment_intent_id=locked.payment.payment_intent_id
    )
    locked.order.payment_status = shown
    locked.order.updated_at = locked.at
