"""What is held on a person, account and orders alike: all of it told, or all of it removed.

An erasure takes the account at once; its orders follow with the fact `customer.erased`, however
many. An order loses its person once nothing is to be sent for it any more: until then the parcel
needs its address. `order.erased` says so, whoever bought it. The books keep what was sold, for how
much and to which country and state, which decided the tax. An invoice keeps its buyer as long as
the law wants it: that is the one table that an erasure does not touch.

Whoever is erased is written into a journal outside the database first: a backup that is restored
has not heard of it, and the journal is replayed.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Q

from audit import outbox
from audit import services as audit
from config.kernel import money, sql
from config.kernel.db import short_transaction
from config.kernel.one_by_one import by_itself
from customers import privacy, suppressions
from customers import selectors as customers
from customers.models import Customer
from orders import answers, erasure_journal, selectors
from orders.erasure_journal import Entry
from orders.models import Cart, Order, OrderNote
from orders.services import jobs, letters, payment_links, stock_alerts

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from django.db.models import QuerySet

    from audit.models import OutboxMessage

SUBSCRIBER: Final = "erasure"
FINAL: Final = (
    Order.Status.SHIPPED,
    Order.Status.DELIVERED,
    Order.Status.CANCELLED,
    Order.Status.REFUNDED,
)
"""Nothing more is to be sent for an order in one of these."""

BLANK: Final = """
    jsonb_build_object('name', '', 'line1', '', 'city', '', 'postal_code', '',
        'state', coalesce({address} ->> 'state', ''), 'country', {address} ->> 'country')
"""
ERASE_ORDER: Final = f"""
    UPDATE orders SET erased_at = transaction_timestamp(), idempotency_key_id = NULL,
        shipping_address = {BLANK.format(address="shipping_address")},
        billing_address = {BLANK.format(address="billing_address")},
        notes = NULL, cancellation_reason = '', language = '',
        guest_first_name = '', guest_last_name = '',
        guest_email = CASE
            WHEN guest_email IS NOT NULL THEN 'erased-order-' || id || '@erased.invalid'
        END
    WHERE id = %(order_id)s
"""  # noqa: S608 - our own constants
FORGET_KEY: Final = "DELETE FROM idempotency_keys WHERE id = %(key_id)s"
FORGET_GUEST_IN_COUPON: Final = """
    UPDATE coupon_redemptions SET redeemed_by = 'guest:' || orders.guest_email FROM orders
    WHERE orders.id = %(order_id)s AND order_id = orders.id AND redeemed_by LIKE 'guest:%%'
"""
FORGET_RETURNS: Final = """
    UPDATE returns SET reason = '', refusal = '' WHERE order_id = %(order_id)s
"""
FORGET_REASONS: Final = """
    UPDATE refunds SET reason = ''
    FROM payments WHERE payments.id = refunds.payment_id AND payments.order_id = %(order_id)s
"""
FORGET_PROPOSALS: Final = """
    UPDATE refund_proposals SET reason = '', refusal = '' WHERE order_id = %(order_id)s
"""


def subscribe() -> None:
    """Follow the facts; called once the app is ready."""
    outbox.subscribe("customer.erased", SUBSCRIBER, follow)


# --- telling ----------------------------------------------------------------------------------

_told_to_others: Final[dict[str, Callable[[int], Any]]] = {}


def add_export(receiver: str, read: Callable[[int], Any]) -> None:
    """Have an export say what a receiver outside was told of a customer; called in `ready()`.

    Args:
        receiver: by what name it stands in the export: `marketing`.
        read: what is kept of it for a customer's number, ready for JSON, in a constant number of
            statements; the same one again is fine.
    """
    _told_to_others[receiver] = read


def export_customer(*, customer_id: int, now: datetime) -> dict[str, Any]:
    """Everything held on a customer as of `now`, ready for JSON; amounts are in major units.

    A constant number of statements, however many orders. Opens its own transaction for the audit
    row that says so.
    """
    with short_transaction():
        audit.record("CUSTOMER_EXPORTED", entity_type="customer", entity_id=customer_id)
    orders = selectors.list_orders_with_papers(customer_id=customer_id)
    return {
        "exported_at": now,
        **privacy.export_account(customer_id=customer_id),
        "orders": [_all_of_order(order) for order in orders],
        "carts": [
            {
                "id": cart.public_id,
                "currency": cart.currency,
                "coupon_code": cart.coupon_code,
                "changed_at": cart.changed_at,
                "items": [
                    {"sku": item.product.sku, "quantity": item.quantity}
                    for item in cart.items.all()
                ],
            }
            for cart in Cart.objects.filter(customer_id=customer_id).prefetch_related(
                "items__product"
            )
        ],
        "payment_links": payment_links.export_links(customer_id=customer_id),
        "told_to_others": {
            receiver: read(customer_id) for receiver, read in sorted(_told_to_others.items())
        },
        "stock_alerts": stock_alerts.export_alerts(customer_id=customer_id),
    }


def _all_of_order(order: Order) -> dict[str, Any]:
    payments = list(order.payments.all())
    return {
        **answers.order_json(
            order, payment=next(iter(payments), None), items=list(order.items.all())
        ),
        "cancellation_reason": order.cancellation_reason,
        "language": order.language,
        "guest_email": order.guest_email,
        "guest_first_name": order.guest_first_name,
        "guest_last_name": order.guest_last_name,
        "refunds": [
            {
                "status": refund.status,
                "amount": money.format_amount(refund.amount, refund.currency),
                "currency": refund.currency,
                "reason": refund.reason,
                "created_at": refund.created_at,
            }
            for payment in payments
            for refund in payment.refunds.all()
        ],
        "refund_proposals": [
            {
                "status": proposal.status,
                "amount": money.format_amount(proposal.amount, proposal.currency),
                "currency": proposal.currency,
                "reason": proposal.reason,
                "refusal": proposal.refusal,
                "proposed_at": proposal.proposed_at,
            }
            for proposal in order.refund_proposals.all()
        ],
        "returns": [
            {**answers.return_json(wish), "refusal": wish.refusal} for wish in order.returns.all()
        ],
        "documents": [
            {**answers.document_json(document), "buyer": document.buyer}
            for document in order.invoices.all()
        ],
        "letters": [
            {
                "recipient": letter.recipient,
                "subject": letter.subject,
                "text": letter.body_text,
                "sent_at": letter.sent_at,
            }
            for letter in order.letters.all()
        ],
        "staff_notes": [
            {"text": note.text, "created_at": note.created_at} for note in order.staff_notes.all()
        ],
    }


# --- removing ---------------------------------------------------------------------------------


def erase_customer(*, customer_id: int, now: datetime) -> None:
    """Remove a customer's account and cart; `customer.erased` lets the orders follow.

    Opens its own transaction. Repeating is harmless.

    Raises:
        StaffAccountError: a member of staff.
        OSError: the journal cannot be written; nothing was removed.
    """
    account = privacy.get_erasable(customer_id=customer_id)
    erasure_journal.append(_entry_of_account(account), at=now)
    _erase_account(customer_id, now=now)


def erase_orders_of(*, customer_id: int) -> int:
    """Remove a customer from the orders for which nothing is to be sent any more.

    Opens its own transactions; never call it inside one. Repeating is harmless, and
    `finish_erasures` does what a failure leaves undone.

    Returns:
        How many orders keep their address until they are sent or cancelled.
    """
    orders = Order.objects.filter(customer_id=customer_id)
    with short_transaction():
        # What was written to them goes at once; the parcel that is still to be sent needs none.
        letters.forget_letters(order_ids=list(orders.values_list("pk", flat=True)))
    return _erase_orders(orders)


def erase_guest(*, email: str, now: datetime) -> tuple[int, int]:
    """Remove a guest from the orders placed under an address without an account; likewise.

    Returns:
        How many orders there were, and how many keep their address for now.

    Raises:
        OSError: the journal cannot be written; nothing was removed.
    """
    orders = Order.objects.filter(guest_email=email.lower(), customer__isnull=True)
    ids = []
    for order in orders.order_by("pk"):
        erasure_journal.append(_entry_of_order(order), at=now)
        ids.append(order.pk)
    with short_transaction():
        payment_links.forget_buyer(links=Q(customer=None, email=email.lower()))
    return len(ids), _erase_asked_for(ids, now=now)


def follow(message: OutboxMessage) -> str | None:
    """An account was erased: so are its orders. Any repetition is harmless."""
    left = erase_orders_of(customer_id=message.aggregate_id)
    return f"{left} orders are still to be sent" if left else None


def finish_erasures() -> int:
    """Erase what erased customers and guests ordered and was sent or cancelled meanwhile.

    Returns:
        How many are still to be sent.
    """
    wanted = Q(customer__erased_at__isnull=False) | Q(erase_requested_at__isnull=False)
    return _erase_orders(Order.objects.filter(wanted))


def replay_journal(*, now: datetime) -> tuple[int, int]:
    """Erase again whoever was erased before: after a restore, for one. Repeating is harmless.

    One that cannot be erased, a member of staff for one, is logged and does not stop the others.

    Returns:
        How many accounts and orders were not erased any more, or not yet, and how many accounts
        still are not.
    """
    written = set(erasure_journal.read())
    keys = {
        kind: {entry.id for entry in written if entry.kind == kind}
        for kind in ("customer", "order")
    }
    accounts = Customer.objects.filter(pk__in=keys["customer"], erased_at__isnull=True)
    ids = [one.pk for one in accounts.order_by("pk") if _entry_of_account(one) in written]
    for customer_id in ids:
        with by_itself(f"customer {customer_id}"):
            _erase_account(customer_id, now=now)
            erase_orders_of(customer_id=customer_id)
    orders = Order.objects.filter(pk__in=keys["order"], erased_at__isnull=True)
    order_ids = [one.pk for one in orders if _entry_of_order(one) in written]
    _erase_asked_for(order_ids, now=now)
    return len(ids) + len(order_ids), accounts.filter(pk__in=ids).count()


def find_account(*, email: str) -> int | None:
    """The account behind an address, if any."""
    return customers.find_customer_id(email=email)


def _erase_account(customer_id: int, *, now: datetime) -> None:
    with short_transaction():
        account = privacy.erase_account(customer_id=customer_id, at=now)
        if account is not None:
            Cart.objects.filter(customer_id=customer_id).delete()
            stock_alerts.forget(customer_id=customer_id)
            jobs.forget_people()
            payment_links.forget_buyer(
                links=Q(customer_id=customer_id) | Q(customer=None, email=account.email)
            )


def _entry_of_account(account: Customer) -> Entry:
    mark = account.created_at.astimezone(UTC).isoformat()
    return Entry(kind="customer", id=account.pk, mark=mark)


def _entry_of_order(order: Order) -> Entry:
    return Entry(kind="order", id=order.pk, mark=str(order.public_id))


def _erase_asked_for(order_ids: list[int], *, now: datetime) -> int:
    """Note first that they shall be: `finish_erasures` does what cannot be done yet."""
    with short_transaction():
        Order.objects.filter(pk__in=order_ids).update(erase_requested_at=now)
    return _erase_orders(Order.objects.filter(pk__in=order_ids))


def _erase_orders(orders: QuerySet[Order]) -> int:
    """One after the other, each in a transaction of its own. Returns how many cannot be yet."""
    living = orders.filter(erased_at__isnull=True)
    for order_id in living.filter(status__in=FINAL).order_by("pk").values_list("pk", flat=True):
        with by_itself(f"order {order_id}"), short_transaction():
            _erase_order(order_id)
    return living.count()


def _erase_order(order_id: int) -> None:
    locked = selectors.lock_order(order_id=order_id)
    if locked.order.erased_at is not None or locked.order.status not in FINAL:
        return
    if locked.order.guest_email:
        suppressions.forget(addresses=[locked.order.guest_email])
    sql.later(ERASE_ORDER, order_id=order_id)
    for statement in (FORGET_GUEST_IN_COUPON, FORGET_REASONS, FORGET_RETURNS, FORGET_PROPOSALS):
        sql.later(statement, order_id=order_id)
    letters.forget_letters(order_ids=[order_id])
    OrderNote.objects.filter(order_id=order_id).exclude(text="").update(text="")
    payment_links.forget_buyer(links=Q(cart_id=locked.order.cart_id))
    if locked.key is not None:
        sql.later(FORGET_KEY, key_id=locked.key.pk)
    jobs.forget_people()
    audit.record("ORDER_ERASED", entity_type="order", entity_id=order_id)
    audit.publish(
        "order.erased",
        aggregate_type="order",
        aggregate_id=order_id,
        dedupe_key=f"order.{order_id}.erased",
        payload={"order_id": order_id, "order_number": locked.order.order_number},
    )
