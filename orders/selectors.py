"""Reads orders and what they are priced by; the one place where an order is locked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.contrib.postgres.functions import TransactionNow
from django.db.models import Count, F, OuterRef, Prefetch, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce, JSONObject, Now

from config.kernel.errors import NotFoundError
from customers.models import Customer
from inventory.models import Price, Warehouse
from orders.models import (
    Coupon,
    CouponRedemption,
    IdempotencyKey,
    Order,
    OrderItem,
    ShipmentItem,
    ShippingMethod,
    TaxRate,
)
from payments.models import Payment, ProviderEvent, Refund

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta


@dataclass(slots=True, kw_only=True)
class LockedOrder:
    """An order with its key and payment, their rows locked until the transaction ends."""

    key: IdempotencyKey | None
    order: Order
    payment: Payment
    at: datetime

    @property
    def hold_is_over(self) -> bool:
        """Whether the order no longer keeps its stock; by the database's clock."""
        return self.order.hold_expires_at <= self.at


def lock_order(*, order_id: int) -> LockedOrder:
    """Lock key → order → payment, the order in which everybody locks (rule 9).

    Stock levels come after these, by id. Requires an open transaction; `at` is its time.
    """
    key = IdempotencyKey.objects.select_for_update(of=("self",)).filter(order__id=order_id).first()
    # PostgreSQL locks the rows of a join in the order of FOR UPDATE OF: the order's first.
    payment = (
        Payment.objects.select_for_update(of=("order", "self"))
        .select_related("order")
        .annotate(at=TransactionNow())
        .filter(order_id=order_id)
        .latest("id")
    )
    return LockedOrder(key=key, order=payment.order, payment=payment, at=payment.at)


def get_order(*, order_number: str) -> Order:
    """One order with all that `answers.order_json` shows.

    Raises:
        NotFoundError: no order has that number.
    """
    order = with_details(Order.objects.filter(order_number=order_number)).first()
    if order is None:
        raise NotFoundError
    return order


def with_details(orders: QuerySet[Order]) -> QuerySet[Order]:
    """Items, payments and shipments in a constant number of queries."""
    return orders.prefetch_related(
        Prefetch("items", OrderItem.objects.order_by("id")),
        Prefetch("payments", Payment.objects.order_by("-id")),
        "shipments",
        Prefetch("shipments__items", ShipmentItem.objects.select_related("order_item")),
    )


def list_orders(
    *,
    customer_id: int,
    status: str | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
) -> QuerySet[Order]:
    """A customer's own orders, newest first; both instants are exclusive."""
    orders = Order.objects.filter(customer_id=customer_id)
    if status is not None:
        orders = orders.filter(status=status)
    if created_after is not None:
        orders = orders.filter(created_at__gt=created_after)
    if created_before is not None:
        orders = orders.filter(created_at__lt=created_before)
    return with_details(orders).order_by("-created_at", "-id")


def count_pending_orders_of_guest(*, guest_email: str) -> int:
    """How many orders under this address wait for their payment."""
    return Order.objects.filter(guest_email=guest_email, status=Order.Status.PENDING).count()


def get_buyer(*, customer_id: int) -> Customer:
    """The account as it stands now, with `pending_orders`: how many wait for their payment."""
    pending = (
        Order.objects.filter(customer=OuterRef("pk"), status=Order.Status.PENDING)
        .order_by()
        .values("customer")
        .annotate(count=Count("pk"))
        .values("count")
    )
    return Customer.objects.annotate(pending_orders=Coalesce(Subquery(pending), 0)).get(
        pk=customer_id
    )


def list_priced_products(
    *, skus: Sequence[str], currency: str, country: str, region: str
) -> QuerySet[Price, Price]:
    """Prices of active products, each with its product and, as `tax_rate`, the destination's tax.

    The most specific rate counts: the region's, else the country's, else none.
    """
    return (
        Price.objects.filter(product__sku__in=skus, product__is_active=True, currency=currency)
        .select_related("product")
        .annotate(tax_rate=_tax_rate(country, region, "product__tax_class"))
        .order_by("product_id")
    )


def list_shipping_methods(
    *, currency: str, country: str, region: str
) -> QuerySet[ShippingMethod, ShippingMethod]:
    """Methods that reach a country, with `found_tax_rate` and the `dispatch` calendar.

    The calendar is that of the first building by priority.
    """
    first_building = Warehouse.objects.filter(is_active=True).order_by("priority", "id")
    return (
        ShippingMethod.objects.filter(
            Q(countries=[]) | Q(countries__contains=[country]), is_active=True, currency=currency
        )
        .annotate(
            found_tax_rate=_tax_rate(country, region, "tax_class"),
            dispatch=Subquery(
                first_building.values(
                    calendar=JSONObject(
                        time_zone="time_zone", cutoff="cutoff_time", holidays="holidays"
                    )
                )[:1]
            ),
        )
        .order_by("code")
    )


def find_coupon(*, code: str, redeemed_by: str) -> Coupon | None:
    """An active coupon, with `times_used_by_customer` of this buyer."""
    own_uses = (
        CouponRedemption.objects.filter(
            coupon=OuterRef("pk"), redeemed_by=redeemed_by, released_at=None
        )
        .order_by()
        .values("coupon")
        .annotate(count=Count("pk"))
        .values("count")
    )
    return (
        Coupon.objects.filter(code=code.upper(), is_active=True)
        .annotate(times_used_by_customer=Coalesce(Subquery(own_uses), 0))
        .first()
    )


def claim_orders_in_doubt(
    *, limit: int, ignore_backoff: bool, lease: timedelta, expired_only: bool = False
) -> list[Payment]:
    """Take pending orders nobody else works on; moves their next attempt ahead by `lease`.

    Due are orders whose key is answered (3-D Secure under way) or whose request's lease is over,
    and all whose hold is over; with `expired_only`, these alone. Requires an open transaction:
    COMMIT it before asking the provider.
    """
    due = (
        Payment.objects.select_for_update(skip_locked=True, of=("self",))
        .filter(order__status=Order.Status.PENDING, status__in=Payment.OPEN)
        .filter(
            Q(order__idempotency_key=None)
            | Q(order__idempotency_key__response_status__isnull=False)
            | Q(order__idempotency_key__lease_until__lte=Now())
            | Q(order__hold_expires_at__lte=Now())
        )
    )
    if expired_only:
        due = due.filter(order__hold_expires_at__lte=Now())
    if not ignore_backoff:
        due = due.filter(next_attempt_at__lte=Now())
    due = due.order_by("next_attempt_at", "id")
    claimed = list(due.only("order_id", "attempts", "status", "created_at")[:limit])
    Payment.objects.filter(pk__in=[payment.pk for payment in claimed]).update(
        next_attempt_at=Now() + lease
    )
    return claimed


def claim_refunds_due(*, limit: int, ignore_backoff: bool, lease: timedelta) -> list[int]:
    """Take refunds still to be sent or not yet done; likewise."""
    due = Refund.objects.select_for_update(skip_locked=True).filter(
        status__in=[Refund.Status.DUE, Refund.Status.PENDING]
    )
    if not ignore_backoff:
        due = due.filter(next_attempt_at__lte=Now())
    claimed = list(due.order_by("next_attempt_at", "id").values_list("id", flat=True)[:limit])
    Refund.objects.filter(pk__in=claimed).update(
        next_attempt_at=Now() + lease, attempts=F("attempts") + 1
    )
    return claimed


def claim_events_due(*, limit: int, ignore_backoff: bool, lease: timedelta) -> list[ProviderEvent]:
    """Take webhooks that nobody has worked off yet, oldest first; likewise."""
    due = ProviderEvent.objects.select_for_update(skip_locked=True).filter(
        status=ProviderEvent.Status.RECEIVED
    )
    if not ignore_backoff:
        due = due.filter(next_attempt_at__lte=Now())
    claimed = list(due.order_by("next_attempt_at", "id")[:limit])
    ProviderEvent.objects.filter(pk__in=[event.pk for event in claimed]).update(
        next_attempt_at=Now() + lease, attempts=F("attempts") + 1
    )
    return claimed


def find_unanswered_keys_of_final_orders(*, limit: int) -> list[int]:
    """Orders that are decided while their key still waits for its answer."""
    return list(
        IdempotencyKey.objects.filter(response_status=None, order__isnull=False)
        .exclude(order__status=Order.Status.PENDING)
        .order_by("id")
        .values_list("order__id", flat=True)[:limit]
    )


def _tax_rate(country: str, region: str, tax_class: str) -> Coalesce:
    zero: Value = Value(0, output_field=TaxRate._meta.get_field("rate"))  # noqa: SLF001
    rates = TaxRate.objects.filter(
        country=country, region__in={"", region}, tax_class=OuterRef(tax_class)
    ).order_by("-region")
    return Coalesce(Subquery(rates.values("rate")[:1]), zero)
