"""Facts about paid orders and their buyers, and a relay that is run until nothing waits."""

from __future__ import annotations

import itertools
from collections import defaultdict
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone

from audit import outbox
from audit import services as audit
from audit.models import Delivery, OutboxMessage, Receiver
from audit.outbox import subscribers
from customers.models import Customer
from integrations import subscriptions
from orders.models import Order
from payments.models import Payment, Refund
from tests.admin import rows

_numbers = itertools.count(1)


def only_these_subscribers(monkeypatch, *names: str) -> None:
    """Subscribe anew by the settings of this test; others but these are not told."""
    monkeypatch.setattr(subscribers, "_handlers", defaultdict(dict))
    monkeypatch.setattr(subscribers, "_batch_handlers", {})
    monkeypatch.setattr(subscribers, "_measures", {})
    subscriptions.subscribe_all()
    for handlers in subscribers._handlers.values():
        for name in handlers.keys() - set(names):
            del handlers[name]


def paid_order(n: int = 1, **fields: Any) -> Order:
    """An order over two units, and what was paid for it."""
    order = rows.make_order(n, **fields)
    rows.add_item(order, n=n)
    payment = Payment.objects.create(
        order=order,
        currency=order.currency,
        amount=order.total_amount,
        payment_method_id="pm_card_visa",
        payment_intent_id=f"pi_{order.pk}",
        create_params={},
        confirm_params={},
    )
    Payment.objects.filter(pk=payment.pk).update(
        status=Payment.Status.SUCCEEDED, amount_received=order.total_amount
    )
    Order.objects.filter(pk=order.pk).update(payment_status="succeeded")
    return Order.objects.get(pk=order.pk)


def refund(order: Order, amount: str) -> Refund:
    """Money that went back, stated as a fact."""
    payment = Payment.objects.get(order=order)
    given = Refund.objects.create(
        payment=payment,
        currency=order.currency,
        amount=Decimal(amount),
        stripe_refund_id=f"re_{order.pk}_{next(_numbers)}",
    )
    for status in (Refund.Status.PENDING, Refund.Status.SUCCEEDED):
        Refund.objects.filter(pk=given.pk).update(status=status)
    refunded = payment.amount_refunded + given.amount
    Payment.objects.filter(pk=payment.pk).update(amount_refunded=refunded)
    Order.objects.filter(pk=order.pk).exclude(payment_status="partially_refunded").update(
        payment_status="partially_refunded"
    )
    state(
        "order.refunded",
        order,
        refund=str(given.uuid),
        amount=str(given.amount),
        currency=given.currency,
    )
    return given


def state(fact: str, about: Any, **payload: Any) -> OutboxMessage:
    """State a fact about an order, a customer or a cart."""
    kind = about._meta.model_name
    names = {f"{kind}_id": about.pk}
    if isinstance(about, Order):
        names["order_number"] = about.order_number
    if isinstance(about, Customer):
        names["stripe_customer_id"] = "cus_not_to_be_told"
    key = f"{fact}.{next(_numbers)}"
    audit.publish(
        fact,
        aggregate_type=kind,
        aggregate_id=about.pk,
        dedupe_key=key,
        payload={**names, **payload},
    )
    return OutboxMessage.objects.get(dedupe_key=key)


def make_due() -> None:
    """Let as much time pass as anybody waits for."""
    a_second_ago = timezone.now() - timedelta(seconds=1)
    Delivery.objects.filter(status="pending").update(next_attempt_at=a_second_ago)
    Receiver.objects.filter(retry_at__isnull=False).update(retry_at=a_second_ago)
    Receiver.objects.update(spent_until=None)


def relay_until_told(*, rounds: int = 60) -> None:
    """Run the relay, as often as it takes, until nothing waits."""
    for _ in range(rounds):
        outbox.relay(jitter=lambda: 0.0)
        if not Delivery.objects.filter(status="pending").exists():
            return
        make_due()
    waiting = Delivery.objects.filter(status="pending").values_list("last_error", flat=True)
    raise AssertionError(f"still waiting after {rounds} rounds: {[*waiting[:5]]}")


def relay_for_a_while(*, rounds: int = 12) -> None:
    """So often that most of it is told, whatever goes wrong."""
    for _ in range(rounds):
        outbox.relay(jitter=lambda: 0.0)
        make_due()


def outcomes() -> list[tuple[str, str]]:
    """Of each delivery its status, and its note or error."""
    return [*Delivery.objects.order_by("message_id").values_list("status", "last_error")]
