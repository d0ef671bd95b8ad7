"""Reads orders and what they are priced by; the one place where an order is locked."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from django.db.models import Count, F, Prefetch, QuerySet, Sum, prefetch_related_objects
from django.db.models.functions import Now

from config.kernel import sql
from config.kernel.errors import NotFoundError
from customers.models import Customer
from orders.models import (
    IdempotencyKey,
    Invoice,
    Letter,
    Order,
    OrderItem,
    OrderNote,
    RefundProposal,
    Return,
    ReturnItem,
    ShipmentItem,
)
from payments.models import Dispute, Payment, ProviderEvent, Refund

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, time, timedelta
    from uuid import UUID


LOCK_KEY: Final = """
    SELECT FROM idempotency_keys
    WHERE id = (SELECT idempotency_key_id FROM orders WHERE id = %(order_id)s) FOR UPDATE
"""
LOCK_ORDER: Final = "SELECT FROM orders WHERE id = %(order_id)s FOR UPDATE"
# What it reads of the order and its key cannot have changed since they were locked. `at` is what
# triggers set on whatever is written next: answers show it without reading the row again.
LOCK_PAYMENT: Final = """
    SELECT orders.*, transaction_timestamp() AS at, payments.*, EXISTS (
        SELECT FROM disputes
        WHERE disputes.payment_id = payments.id AND disputes.status <> ALL(%(harmless)s)
    ) AS is_disputed, key.*
    FROM orders JOIN payments ON payments.order_id = orders.id
    LEFT JOIN idempotency_keys AS key ON key.id = orders.idempotency_key_id
    WHERE orders.id = %(order_id)s ORDER BY payments.id DESC LIMIT 1 FOR UPDATE OF payments
"""
ORDER_AND_PAYMENT: Final = """
    SELECT orders.*, payments.* FROM orders JOIN payments ON payments.order_id = orders.id
    WHERE orders.order_number = %(order_number)s ORDER BY payments.id DESC LIMIT 1
"""
ORDER_AND_BUYER: Final = """
    SELECT orders.*, customers.*
    FROM orders LEFT JOIN customers ON customers.id = orders.customer_id
    WHERE orders.id = %(order_id)s
"""
ORDER_TO_INVOICE: Final = """
    SELECT *, EXISTS (
        SELECT FROM payments WHERE payments.order_id = orders.id AND amount_received > 0
    ) AS is_paid
    FROM orders WHERE id = %(order_id)s
"""
# A claim is one statement: found, held against others and put off, all or nothing. Its rows are
# as they were found.
CLAIM_ORDERS: Final = """
    WITH due AS (
        SELECT payments.id, payments.uuid, payments.order_id, payments.attempts, payments.status,
            payments.created_at, payments.next_attempt_at
        FROM payments JOIN orders ON orders.id = payments.order_id
        LEFT JOIN idempotency_keys AS key ON key.id = orders.idempotency_key_id
        WHERE payments.status IN ('created', 'requires_action', 'processing')
          AND orders.status = 'pending'
          AND (key.id IS NULL OR key.response_status IS NOT NULL
               OR key.lease_until <= statement_timestamp()
               OR orders.hold_expires_at <= statement_timestamp())
          AND (%(ignore_backoff)s OR payments.next_attempt_at <= statement_timestamp())
          AND (NOT %(expired_only)s
               OR orders.hold_expires_at <= statement_timestamp() AND payments.id > %(after)s)
        ORDER BY {order_by} LIMIT %(limit)s FOR UPDATE OF payments SKIP LOCKED
    ), claimed AS (
        UPDATE payments SET next_attempt_at = statement_timestamp() + %(lease)s
        FROM due WHERE payments.id = due.id RETURNING payments.id
    )
    SELECT due.* FROM due JOIN claimed USING (id) ORDER BY {order_by}
"""
CLAIM_ROWS: Final = """
    WITH due AS (
        SELECT * FROM {table}
        WHERE status IN ({open})
          AND (%(ignore_backoff)s OR next_attempt_at <= statement_timestamp())
        ORDER BY next_attempt_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE {table} AS taken
        SET next_attempt_at = statement_timestamp() + %(lease)s, attempts = taken.attempts + 1
        FROM due WHERE taken.id = due.id RETURNING taken.id
    )
    SELECT due.* FROM due JOIN claimed USING (id) ORDER BY next_attempt_at, id
"""
CLAIM_REFUNDS: Final = CLAIM_ROWS.format(table="refunds", open="'due', 'pending'")
CLAIM_EVENTS: Final = CLAIM_ROWS.format(table="provider_events", open="'received'")
SHIPMENTS: Final = (
    "shipments",
    Prefetch("shipments__items", ShipmentItem.objects.select_related("order_item")),
)
RETURN_ITEMS: Final = Prefetch(
    "items", ReturnItem.objects.select_related("order_item").order_by("order_item_id")
)


class PricedProduct(Protocol):
    """What a product costs; `amount` in major units.

    `price_breaks` is a JSON array of [min_quantity, amount as text] pairs.
    """

    sku: str
    product_id: int
    category_ids: Sequence[int]
    name: str
    tax_class: str
    weight_grams: int | None
    amount: Decimal
    price_breaks: str


class DispatchedMethod(Protocol):
    """A way to the customer for baskets of some weight, when parcels leave, and the terms there.

    `holidays` is a JSON array of dates, `tax_rates` a JSON object of fractions by tax class,
    `promotions` a JSON array of rows of `coupons` with amounts as text, and with `scopes`, pairs of
    product and category of which one is null. The last three and `prices_include_tax` are the same
    in every row.
    """

    code: str
    name: str
    amount: Decimal
    free_from: Decimal | None
    min_weight_grams: int
    max_weight_grams: int | None
    min_business_days: int
    max_business_days: int
    tax_class: str
    tax_rates: str
    prices_include_tax: bool
    promotions: str
    time_zone: str
    cutoff_time: time
    holidays: str


@dataclass(slots=True, kw_only=True)
class LockedOrder:
    """An order with its key and payment, their rows locked until the transaction ends.

    `is_disputed`: the customer's bank has taken the money, for now or for good.
    """

    key: IdempotencyKey | None
    order: Order
    payment: Payment
    is_disputed: bool
    at: datetime

    @property
    def hold_is_over(self) -> bool:
        """Whether the order no longer keeps its stock; by the database's clock."""
        return self.order.hold_expires_at <= self.at


def lock_order(*, order_id: int) -> LockedOrder:
    """Lock key → order → payment, the order in which everybody locks (rule 9).

    Stock levels come after these, by id. Requires an open transaction; `at` is its time.

    Raises:
        NotFoundError: there is no such order.
    """
    sql.later(LOCK_KEY, order_id=order_id)
    sql.later(LOCK_ORDER, order_id=order_id)
    found = sql.fetch_joined(
        (Order, Payment, IdempotencyKey),
        LOCK_PAYMENT,
        order_id=order_id,
        harmless=list(Dispute.HARMLESS),
    )
    if found is None:
        raise NotFoundError
    order, payment, key = found
    payment.order = order
    return LockedOrder(
        key=key,
        order=order,
        payment=payment,
        is_disputed=payment.is_disputed,
        at=order.at,
    )


def get_order(*, order_number: str) -> tuple[Order, Payment]:
    """One order and its newest payment, without a lock; every order has one.

    Raises:
        NotFoundError: no order has that number.
    """
    found = sql.fetch_joined((Order, Payment), ORDER_AND_PAYMENT, order_number=order_number)
    if found is None:
        raise NotFoundError
    order, payment = found
    return order, payment


def list_items(*, order_id: int) -> list[OrderItem]:
    """An order's lines, in the order in which they were placed."""
    statement = "SELECT * FROM order_items WHERE order_id = %(order_id)s ORDER BY id"
    return sql.fetch_models(OrderItem, statement, order_id=order_id)


def get_order_and_buyer(*, order_id: int) -> Order:
    """An order with its customer at hand, if it has one; likewise without a lock.

    Raises:
        Order.DoesNotExist: there is no such order.
    """
    found = sql.fetch_joined((Order, Customer), ORDER_AND_BUYER, order_id=order_id)
    if found is None:
        raise Order.DoesNotExist
    order, customer = found
    order.customer = customer
    return order  # type: ignore[no-any-return]  # what was asked for


def address_of_buyer(order: Order) -> str:
    """Where e-mail about an order goes, by its customer at hand; empty if nowhere."""
    return order.customer.email if order.customer else (order.guest_email or "")


def get_order_to_invoice(*, order_id: int) -> tuple[Order, bool]:
    """An order, and whether anything was ever paid for it; likewise.

    Raises:
        Order.DoesNotExist: there is no such order.
    """
    order = sql.fetch_model(Order, ORDER_TO_INVOICE, order_id=order_id)
    if order is None:
        raise Order.DoesNotExist
    return order, order.is_paid  # type: ignore[attr-defined]  # selected besides


def find_invoice(*, order_id: int) -> Invoice | None:
    """An order's invoice, if it has been issued."""
    statement = "SELECT * FROM invoices WHERE order_id = %(order_id)s AND kind = 'invoice'"
    return sql.fetch_model(Invoice, statement, order_id=order_id)


def fetch_shipments(order: Order) -> None:
    """Have the parcels of an order at hand, in a constant number of queries."""
    prefetch_related_objects([order], *SHIPMENTS)


def list_orders(
    *,
    customer_id: int,
    status: str | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
) -> QuerySet[Order]:
    """A customer's own orders, newest first, with all that is shown; both instants are exclusive.

    Items, payments and shipments come in a constant number of queries.
    """
    orders = Order.objects.filter(customer_id=customer_id)
    if status is not None:
        orders = orders.filter(status=status)
    if created_after is not None:
        orders = orders.filter(created_at__gt=created_after)
    if created_before is not None:
        orders = orders.filter(created_at__lt=created_before)
    return orders.prefetch_related(
        Prefetch("items", OrderItem.objects.order_by("id")),
        Prefetch("payments", Payment.objects.order_by("-id")),
        *SHIPMENTS,
    ).order_by("-created_at", "-id")


def list_orders_with_papers(*, customer_id: int) -> QuerySet[Order]:
    """A customer's own orders, likewise, with all that was written about them too."""
    return list_orders(customer_id=customer_id).prefetch_related(
        Prefetch("payments__refunds", Refund.objects.order_by("id")),
        Prefetch("returns", Return.objects.prefetch_related(RETURN_ITEMS).order_by("id")),
        Prefetch("refund_proposals", RefundProposal.objects.order_by("id")),
        Prefetch("invoices", Invoice.objects.order_by("id")),
        Prefetch("letters", Letter.objects.order_by("id")),
        Prefetch("staff_notes", OrderNote.objects.order_by("id")),
    )


def given_back_alone(*, order_id: int, person_id: int | None) -> Decimal:
    """What this person has given back of an order without a second one, in its currency."""
    own = Refund.objects.filter(
        payment__order_id=order_id, requested_by_id=person_id, proposal__isnull=True
    ).exclude(status=Refund.Status.FAILED)
    return own.aggregate(sum=Sum("amount"))["sum"] or Decimal(0)


def units_by_line(rows: QuerySet[Any], *, line: str = "order_item_id") -> Counter[int]:
    """The sum of `quantity` of rows that refer to an order's line, by its id; else zero."""
    sums = rows.order_by().values_list(line).annotate(units=Sum("quantity"))
    return Counter(dict(sums))


def list_returns(*, order_id: int) -> QuerySet[Return]:
    """An order's returns with their items, oldest first, in a constant number of queries."""
    return Return.objects.filter(order_id=order_id).prefetch_related(RETURN_ITEMS).order_by("id")


def get_return(*, order_id: int, public_id: UUID) -> Return:
    """One of an order's returns, likewise.

    Raises:
        NotFoundError: the order has no such return.
    """
    wish = list_returns(order_id=order_id).filter(public_id=public_id).first()
    if wish is None:
        raise NotFoundError
    return wish


def get_document(*, order_id: int, document_number: str) -> Invoice:
    """One of an order's invoices and credit notes, by the number that is printed on it.

    Raises:
        NotFoundError: the order has no such document.
    """
    series, _, number = document_number.partition("-")
    if number.isascii() and number.isdigit() and len(number) < len(str(2**63)):
        document = Invoice.objects.filter(
            order_id=order_id, series=series, number=int(number)
        ).first()
        if document is not None and document.document_number == document_number:
            return document
    raise NotFoundError


def count_pending_orders_of_guest(*, guest_email: str) -> int:
    """How many orders under this address wait for their payment."""
    (found,) = sql.fetch(
        """
        SELECT count(*) FROM orders WHERE guest_email = %(guest_email)s AND status = 'pending'
        """,
        guest_email=guest_email,
    )
    return int(found.count)


def list_unclaimed_order_ids(*, guest_email: str) -> list[int]:
    """Orders placed by a guest under this address that no account has, oldest first."""
    orders = Order.objects.filter(guest_email=guest_email, customer_id__isnull=True)
    return list(orders.order_by("id").values_list("pk", flat=True))


def get_buyer(*, customer_id: int) -> Customer:
    """The account as it stands now, with `pending_orders`: how many wait for their payment."""
    buyer = sql.fetch_model(
        Customer,
        """
        SELECT *, (
            SELECT count(*) FROM orders
            WHERE orders.customer_id = customers.id AND orders.status = 'pending'
        ) AS pending_orders
        FROM customers WHERE id = %(customer_id)s
        """,
        customer_id=customer_id,
    )
    if buyer is None:
        raise Customer.DoesNotExist
    return buyer


def list_priced_products(
    *, skus: Sequence[str], currency: str, tier: str = ""
) -> list[PricedProduct]:
    """Prices of active products, with the price breaks of a customer of that tier."""
    return sql.fetch(
        """
        SELECT product.sku, product.id AS product_id, product.name, product.tax_class,
            product.weight_grams, price.amount,
            ARRAY(
                SELECT above.id
                FROM categories AS shelf JOIN categories AS above ON above.slug = ANY(shelf.path)
                WHERE shelf.id = product.category_id
            ) AS category_ids,
            coalesce((
                SELECT jsonb_agg(jsonb_build_array(min_quantity, amount::text))
                FROM price_breaks
                WHERE product_id = product.id AND currency = %(currency)s
                    AND tier IN ('', %(tier)s)
            ), '[]')::text AS price_breaks
        FROM prices AS price JOIN products AS product ON product.id = price.product_id
        WHERE product.sku = ANY(%(skus)s) AND product.is_active AND price.currency = %(currency)s
        """,
        skus=list(skus),
        currency=currency,
        tier=tier,
    )


def list_shipping_methods(
    *,
    currency: str,
    country: str,
    region: str,
    postal_code: str,
    coupon_code: str | None,
    redeemed_by: str,
    now: datetime,
) -> list[DispatchedMethod]:
    """Methods that reach a destination, by code, with everything else that its prices depend on.

    One statement, since an order waits for it: the destination's taxes, the dispatch calendar and
    the promotions that may apply stand beside each method.

    - A method with rates has a row for each of its rates in the destination's zone.
    - The calendar is that of the building that stock is asked of first (`inventory.sourcing`);
      without one nothing is shipped.
    - The most specific tax rate of a class counts: the region's, else the country's, else none.
    - Promotions: the one with that code, or without a code all automatic ones that are not over,
      with `times_used_by_customer` of this buyer where that is limited.

    Args:
        region: upper case, as in tax rates and zones; empty if unknown, like `postal_code`.
        coupon_code: upper case; None if the customer has typed none.
    """
    return sql.fetch(
        """
        WITH zone AS (
            SELECT zone.id FROM shipping_zones AS zone
            CROSS JOIN LATERAL (
                SELECT max(length(prefix)) AS length FROM unnest(zone.postal_prefixes) AS prefix
                WHERE starts_with(%(postal_code)s, prefix)
            ) AS longest
            WHERE (zone.countries = '{}' OR zone.countries @> ARRAY[%(country)s]::varchar[])
                AND (zone.regions = '{}' OR zone.regions @> ARRAY[%(region)s]::varchar[])
                AND (zone.postal_prefixes = '{}' OR longest.length IS NOT NULL)
            ORDER BY longest.length DESC NULLS LAST, zone.regions = '{}', zone.countries = '{}',
                zone.id
            LIMIT 1
        )
        SELECT method.code, method.name, method.tax_class,
            method.min_business_days, method.max_business_days,
            coalesce(rate.amount, method.amount) AS amount,
            CASE WHEN rate.id IS NULL THEN method.free_from ELSE rate.free_from END AS free_from,
            coalesce(rate.min_weight_grams, 0) AS min_weight_grams, rate.max_weight_grams,
            dispatch.time_zone, dispatch.cutoff_time, dispatch.holidays::text,
            coalesce((
                SELECT jsonb_object_agg(tax_class, rate::text ORDER BY region) FROM tax_rates
                WHERE country = %(country)s AND region IN ('', %(region)s)
            ), '{}')::text AS tax_rates,
            coalesce((
                SELECT prices_include_tax FROM tax_destinations WHERE country = %(country)s
            ), false) AS prices_include_tax,
            coalesce((
                SELECT jsonb_agg(jsonb_build_object(
                    'id', id, 'code', code, 'kind', kind, 'value', value::text,
                    'currency', currency, 'minimum_subtotal', minimum_subtotal::text,
                    'buy_quantity', buy_quantity, 'get_quantity', get_quantity, 'tier', tier,
                    'starts_at', starts_at, 'ends_at', ends_at,
                    'max_uses', max_uses, 'times_used', times_used,
                    'max_uses_per_customer', max_uses_per_customer,
                    'times_used_by_customer', CASE
                        WHEN max_uses_per_customer IS NULL THEN 0 ELSE (
                            SELECT count(*) FROM coupon_redemptions AS redemption
                            WHERE redemption.coupon_id = coupons.id
                                AND redemption.redeemed_by = %(redeemed_by)s
                                AND redemption.released_at IS NULL
                        ) END,
                    'scopes', (
                        SELECT jsonb_agg(jsonb_build_array(product_id, category_id))
                        FROM coupon_scopes WHERE coupon_id = coupons.id
                    )
                ))
                FROM coupons
                WHERE is_active AND CASE
                    WHEN %(coupon_code)s IS NOT NULL THEN code = %(coupon_code)s
                    ELSE code IS NULL AND (ends_at IS NULL OR ends_at > %(now)s)
                END
            ), '[]')::text AS promotions
        FROM shipping_methods AS method
        LEFT JOIN shipping_rates AS rate
            ON rate.method_id = method.id AND rate.zone_id = (SELECT id FROM zone)
        CROSS JOIN (
            SELECT time_zone, cutoff_time, holidays FROM warehouses
            WHERE is_active ORDER BY country <> %(country)s, priority, id LIMIT 1
        ) AS dispatch
        WHERE method.is_active AND method.currency = %(currency)s
            AND (method.countries = '{}' OR method.countries @> ARRAY[%(country)s]::varchar[])
            AND (rate.id IS NOT NULL OR NOT EXISTS (
                SELECT FROM shipping_rates WHERE method_id = method.id
            ))
        ORDER BY method.code, min_weight_grams
        """,
        currency=currency,
        country=country,
        region=region,
        postal_code=postal_code,
        coupon_code=coupon_code,
        redeemed_by=redeemed_by,
        now=now,
    )


def claim_orders_in_doubt(
    *,
    limit: int,
    ignore_backoff: bool,
    lease: timedelta,
    expired_only: bool = False,
    after: int = 0,
) -> list[Payment]:
    """Take pending orders nobody else works on; moves their next attempt ahead by `lease`.

    Due are orders whose key is answered (3-D Secure under way) or whose request's lease is over,
    and all whose hold is over; with `expired_only`, these alone, by id and from the payment after
    `after` on. One statement, to be committed before the provider is asked: call it outside any
    transaction.
    """
    return sql.fetch_models(
        Payment,
        CLAIM_ORDERS.format(order_by="id" if expired_only else "next_attempt_at, id"),
        limit=limit,
        ignore_backoff=ignore_backoff,
        expired_only=expired_only,
        after=after,
        lease=lease,
    )


def claim_refunds_due(*, limit: int, ignore_backoff: bool, lease: timedelta) -> list[Refund]:
    """Take refunds still to be sent or not yet done; likewise."""
    return sql.fetch_models(
        Refund, CLAIM_REFUNDS, limit=limit, ignore_backoff=ignore_backoff, lease=lease
    )


def claim_events_due(*, limit: int, ignore_backoff: bool, lease: timedelta) -> list[ProviderEvent]:
    """Take webhooks that nobody has worked off yet, oldest first; likewise."""
    return sql.fetch_models(
        ProviderEvent, CLAIM_EVENTS, limit=limit, ignore_backoff=ignore_backoff, lease=lease
    )


class Expired(NamedTuple):
    """Pending orders whose hold is over: those a bank still decides about, and the others."""

    for_bank: int
    for_us: int


def count_expired_orders() -> Expired:
    """How many orders keep their stock although their hold is over."""
    by_status = dict(
        Payment.objects.filter(
            order__status=Order.Status.PENDING,
            order__hold_expires_at__lte=Now(),
            status__in=Payment.OPEN,
        )
        .order_by()
        .values_list("status")
        .annotate(count=Count("pk"))
    )
    for_bank = by_status.pop(Payment.Status.PROCESSING, 0)
    return Expired(for_bank=for_bank, for_us=sum(by_status.values()))


def give_back_claimed(*rows: Payment | Refund | ProviderEvent) -> None:
    """What was claimed and not come to is due again; it was not tried."""
    for model in (Payment, Refund, ProviderEvent):
        if ids := [row.pk for row in rows if isinstance(row, model)]:
            untried: dict[str, Any] = {} if model is Payment else {"attempts": F("attempts") - 1}
            model.objects.filter(pk__in=ids).update(next_attempt_at=Now(), **untried)


def find_unanswered_final_orders(*, limit: int) -> list[Order]:
    """Orders that are decided while their key still waits for its answer."""
    return sql.fetch_models(
        Order,
        """
        SELECT orders.id, orders.order_number FROM idempotency_keys AS key
        JOIN orders ON orders.idempotency_key_id = key.id
        WHERE key.response_status IS NULL AND orders.status <> 'pending'
        ORDER BY key.id LIMIT %(limit)s
        """,
        limit=limit,
    )
