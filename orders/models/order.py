"""An order, what is in it, what it was placed by and how far it has come."""

from __future__ import annotations

import pgtrigger
from django.conf import settings
from django.db import models
from django.db.models import F, Func, Q
from django.db.models.functions import Now

from config.kernel.models import append_only, legal_statuses, new_uuid, touches_updated_at
from inventory.models import Product
from orders.models.terms import Coupon
from payments.models import Refund


class IdempotencyKey(models.Model):
    """A client's promise that a repeated request means the same order.

    Open while `response_status` is empty; then whoever holds the lease (`owner`, `lease_until`)
    works on it, and anyone may take over once the lease is over. The first answer written stays.
    `scope` is `customer:<id>` or `guest:<e-mail>`.
    """

    scope = models.CharField(max_length=300)
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    owner = models.UUIDField()
    lease_until = models.DateTimeField()
    response_status = models.PositiveSmallIntegerField(null=True, blank=True)
    response_body = models.TextField(default="", db_default="", blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "idempotency_keys"
        constraints = [
            models.UniqueConstraint(name="idempotency_key_once_per_scope", fields=["scope", "key"]),
            models.CheckConstraint(
                name="idempotency_key_answer_is_whole",
                condition=Q(
                    response_status__isnull=True, response_body="", answered_at__isnull=True
                )
                | (
                    Q(response_status__isnull=False, response_status__in=[201, 402, 502])
                    & ~Q(response_body="")
                    & Q(answered_at__isnull=False)
                ),
            ),
        ]
        indexes = [
            models.Index(fields=["created_at"], name="idx_idempotency_keys_created"),
            models.Index(
                fields=["id"],
                name="idx_idempotency_keys_open",
                condition=Q(response_status__isnull=True),
            ),
        ]
        triggers = [
            pgtrigger.Protect(
                name="the_first_answer_stays",
                operation=pgtrigger.Update,
                condition=pgtrigger.Q(old__response_status__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.scope} {self.key}"


class Order(models.Model):
    """One order. All amounts are in major units of `currency`, frozen when it is placed.

    `tax_included`: `tax_amount` is a part of the other amounts; else it comes on top of them.

    `status` moves only along the contract's edges, `version` counts its moves and
    `order_transitions` keeps them: triggers see to all three. `erased_at`: who bought, and where it
    went, was removed then. `erase_requested_at`: a guest asked for that; once it is sent, it is
    done. Either a customer or a guest (`guest_email`) has placed it; a guest's may belong to a
    customer since.
    """

    class Status(models.TextChoices):
        PENDING = "pending"
        CONFIRMED = "confirmed"
        PROCESSING = "processing"
        SHIPPED = "shipped"
        DELIVERED = "delivered"
        CANCELLED = "cancelled"
        REFUNDED = "refunded"

    class PaymentStatus(models.TextChoices):
        PENDING = "pending"
        REQUIRES_ACTION = "requires_action"
        PROCESSING = "processing"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELLED = "cancelled"
        PARTIALLY_REFUNDED = "partially_refunded"
        REFUNDED = "refunded"
        DISPUTED = "disputed"

    PAID_UNSHIPPED = ("confirmed", "processing")
    SHIPPED = ("shipped", "delivered")

    public_id = models.UUIDField(
        unique=True, default=new_uuid, db_default=Func(function="gen_random_uuid"), editable=False
    )
    order_number = models.CharField(max_length=50, unique=True)
    idempotency_key = models.OneToOneField(
        IdempotencyKey, models.SET_NULL, null=True, blank=True, related_name="order"
    )
    # The cart's public id. No foreign key: carts are forgotten, orders are not.
    cart_id = models.UUIDField(null=True, blank=True, editable=False)
    customer = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.PROTECT,
        null=True,
        blank=True,
        related_name="orders",
        db_index=False,
    )
    guest_email = models.EmailField(max_length=255, null=True, blank=True)
    guest_first_name = models.CharField(max_length=100, default="", db_default="", blank=True)
    guest_last_name = models.CharField(max_length=100, default="", db_default="", blank=True)
    status = models.CharField(
        max_length=30, choices=Status, default=Status.PENDING, db_default=Status.PENDING
    )
    version = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    subtotal = models.DecimalField(max_digits=12, decimal_places=2)
    tax_amount = models.DecimalField(max_digits=12, decimal_places=2)
    shipping_amount = models.DecimalField(max_digits=12, decimal_places=2)
    # As on the lines. What it came to is `tax_amount` less that of the lines.
    shipping_tax_rate = models.DecimalField(
        max_digits=6, decimal_places=5, null=True, blank=True, editable=False
    )
    shipping_tax_class = models.CharField(max_length=30, null=True, blank=True, editable=False)
    discount_amount = models.DecimalField(max_digits=12, decimal_places=2, default=0, db_default=0)
    total_amount = models.DecimalField(max_digits=12, decimal_places=2)
    tax_included = models.BooleanField(default=False, db_default=False)
    currency = models.CharField(max_length=3, default="USD", db_default="USD")
    payment_intent_id = models.CharField(max_length=100, null=True, blank=True)
    payment_status = models.CharField(
        max_length=20,
        choices=PaymentStatus,
        default=PaymentStatus.PENDING,
        db_default=PaymentStatus.PENDING,
    )
    shipping_address = models.JSONField()
    billing_address = models.JSONField()
    shipping_method = models.CharField(max_length=30, default="", db_default="", blank=True)
    estimated_delivery = models.DateField(null=True, blank=True)
    coupon_code = models.CharField(max_length=50, default="", db_default="", blank=True)
    notes = models.TextField(null=True, blank=True)
    hold_expires_at = models.DateTimeField(db_default=Now())
    erase_requested_at = models.DateTimeField(null=True, blank=True, editable=False)
    erased_at = models.DateTimeField(null=True, blank=True, editable=False)
    cancellation_reason = models.CharField(max_length=200, default="", db_default="", blank=True)
    # What the buyer's browser asked for, as an ISO 639-1 code. A customer's own comes first.
    language = models.CharField(max_length=2, default="", db_default="", blank=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)
    shipped_at = models.DateTimeField(null=True, blank=True)
    delivered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "orders"
        permissions = [  # what staff may do to an order: `orders.roles` says who
            ("settle_order", "Can have the payment provider asked about an order"),
            ("ship_order", "Can ship an order"),
            ("deliver_order", "Can note that an order was delivered"),
            ("cancel_order", "Can cancel an order"),
            ("refund_order", "Can give money of an order back"),
            ("approve_refund", "Can decide about a colleague's large refund"),
            ("note_order", "Can write a note on an order"),
            ("resend_letter", "Can have a letter about an order sent again"),
            ("place_order", "Can place an order for a customer"),
            ("export_orders", "Can export orders and their lines"),
        ]
        constraints = [
            models.CheckConstraint(
                name="order_status_known",
                condition=Q(
                    status__in=[
                        "pending",
                        "confirmed",
                        "processing",
                        "shipped",
                        "delivered",
                        "cancelled",
                        "refunded",
                    ]
                ),
            ),
            models.CheckConstraint(
                name="order_payment_status_known",
                condition=Q(
                    payment_status__in=[
                        "pending",
                        "requires_action",
                        "processing",
                        "succeeded",
                        "failed",
                        "cancelled",
                        "partially_refunded",
                        "refunded",
                        "disputed",
                    ]
                ),
            ),
            models.CheckConstraint(
                name="order_total_adds_up",
                condition=Q(
                    tax_included=False,
                    total_amount=F("subtotal")
                    - F("discount_amount")
                    + F("shipping_amount")
                    + F("tax_amount"),
                )
                | Q(
                    tax_included=True,
                    total_amount=F("subtotal") - F("discount_amount") + F("shipping_amount"),
                    tax_amount__lte=F("total_amount"),
                ),
            ),
            models.CheckConstraint(
                name="order_amounts_not_negative",
                condition=Q(
                    subtotal__gte=0,
                    tax_amount__gte=0,
                    shipping_amount__gte=0,
                    discount_amount__gte=0,
                    discount_amount__lte=F("subtotal"),
                ),
            ),
            models.CheckConstraint(
                name="order_shipping_tax_rate_is_a_fraction",
                condition=Q(shipping_tax_rate__gte=0, shipping_tax_rate__lt=1)
                | Q(shipping_tax_rate__isnull=True),
            ),
            models.UniqueConstraint(
                name="order_one_living_per_cart",
                fields=["cart_id"],
                condition=~Q(status="cancelled") & Q(cart_id__isnull=False),
            ),
            models.CheckConstraint(
                name="order_language_is_a_code", condition=Q(language__regex="^([a-z]{2})?$")
            ),
            models.CheckConstraint(
                name="order_has_a_buyer",
                condition=Q(customer__isnull=False) | Q(guest_email__isnull=False),
            ),
        ]
        indexes = [
            models.Index(fields=["customer", "-created_at", "-id"], name="idx_orders_customer_id"),
            models.Index(fields=["status", "-created_at", "-id"], name="idx_orders_status"),
            # Those that few orders come to, and staff ask for.
            models.Index(
                fields=["payment_status", "-created_at", "-id"],
                name="idx_orders_odd_payment",
                condition=Q(
                    payment_status__in=[
                        "requires_action",
                        "processing",
                        "partially_refunded",
                        "refunded",
                        "disputed",
                    ]
                ),
            ),
            models.Index(fields=["-created_at", "-id"], name="idx_orders_created_at"),
            models.Index(
                fields=["hold_expires_at", "id"],
                name="idx_orders_pending",
                condition=Q(status="pending"),
            ),
            models.Index(
                fields=["guest_email"],
                name="idx_orders_guest_email",
                condition=Q(guest_email__isnull=False),
            ),
        ]
        triggers = [
            touches_updated_at(  # that its key is forgotten, weeks later, is no change of an order
                unless="OLD.idempotency_key_id IS NOT NULL AND NEW.idempotency_key_id IS NULL"
                " AND NEW.erased_at IS NOT DISTINCT FROM OLD.erased_at"
            ),
            pgtrigger.ReadOnly(
                name="amounts_are_frozen",
                fields=[
                    "public_id",
                    "order_number",
                    "subtotal",
                    "tax_amount",
                    "shipping_amount",
                    "shipping_tax_rate",
                    "shipping_tax_class",
                    "discount_amount",
                    "total_amount",
                    "tax_included",
                    "currency",
                ],
            ),
            *legal_statuses(
                start=["pending"],
                transitions={
                    "pending": ["confirmed", "cancelled"],
                    "confirmed": ["processing", "shipped", "cancelled"],
                    "processing": ["shipped", "cancelled"],
                    "shipped": ["delivered", "refunded"],
                    "delivered": ["refunded"],
                },
            ),
            pgtrigger.Trigger(
                name="move_counted",
                when=pgtrigger.Before,
                operation=pgtrigger.Update,
                func="""
                    NEW.version = OLD.version
                        + (CASE WHEN NEW.status <> OLD.status THEN 1 ELSE 0 END);
                    RETURN NEW;
                """,
            ),
            pgtrigger.Trigger(
                name="move_recorded",
                when=pgtrigger.After,
                operation=pgtrigger.Insert | pgtrigger.UpdateOf("status"),  # type: ignore[no-untyped-call]
                func="""
                    IF TG_OP = 'INSERT' THEN
                        INSERT INTO order_transitions (order_id, version, to_status)
                            VALUES (NEW.id, NEW.version, NEW.status);
                    ELSIF NEW.status <> OLD.status THEN
                        INSERT INTO order_transitions (order_id, version, from_status, to_status)
                            VALUES (NEW.id, NEW.version, OLD.status, NEW.status);
                    END IF;
                    RETURN NULL;
                """,
            ),
        ]

    def __str__(self) -> str:
        return self.order_number


class OrderItem(models.Model):
    """A line as it was sold: name and prices are copies, they do not follow the catalogue.

    `total_price` is `quantity × unit_price`, before discount; `tax_amount` comes on top of it or is
    a part of it, as the order's `tax_included` says; at `tax_rate`, a fraction, of `tax_class`,
    neither of which lines have that were sold before it was kept. Append-only.
    """

    order = models.ForeignKey(Order, models.CASCADE, related_name="items", db_index=False)
    product = models.ForeignKey(Product, models.PROTECT, related_name="+", db_index=False)
    product_sku = models.CharField(max_length=100)
    product_name = models.CharField(max_length=255)
    quantity = models.PositiveIntegerField()
    unit_price = models.DecimalField(max_digits=12, decimal_places=2)
    discount_amount = models.DecimalField(max_digits=12, decimal_places=2, default=0, db_default=0)
    tax_rate = models.DecimalField(
        max_digits=6, decimal_places=5, null=True, blank=True, editable=False
    )
    tax_class = models.CharField(max_length=30, null=True, blank=True, editable=False)
    tax_amount = models.DecimalField(max_digits=12, decimal_places=2, default=0, db_default=0)
    total_price = models.DecimalField(max_digits=12, decimal_places=2)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "order_items"
        constraints = [
            models.CheckConstraint(
                name="order_item_quantity_positive", condition=Q(quantity__gt=0)
            ),
            models.CheckConstraint(
                name="order_item_total_adds_up",
                condition=Q(total_price=F("unit_price") * F("quantity")),
            ),
            models.CheckConstraint(
                name="order_item_amounts_not_negative",
                condition=Q(
                    unit_price__gte=0,
                    tax_amount__gte=0,
                    discount_amount__gte=0,
                    discount_amount__lte=F("total_price"),
                ),
            ),
            models.CheckConstraint(
                name="order_item_tax_rate_is_a_fraction",
                condition=Q(tax_rate__gte=0, tax_rate__lt=1) | Q(tax_rate__isnull=True),
            ),
            models.UniqueConstraint(name="order_item_one_per_product", fields=["order", "product"]),
        ]
        indexes = [
            models.Index(fields=["order"], name="idx_order_items_order_id"),
            # A product's newest orders, for staff who search by SKU.
            models.Index(fields=["product", "-order"], name="idx_order_items_product"),
        ]
        triggers = append_only()

    def __str__(self) -> str:
        return f"{self.quantity} × {self.product_sku}"


class OrderTransition(models.Model):
    """Every move of an order's status, written by the trigger on `orders`. Append-only."""

    order = models.ForeignKey(Order, models.PROTECT, related_name="transitions")
    version = models.PositiveIntegerField()
    from_status = models.CharField(max_length=30, null=True, blank=True)
    to_status = models.CharField(max_length=30)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "order_transitions"
        constraints = [
            models.UniqueConstraint(
                name="order_transition_versions_gap_free", fields=["order", "version"]
            ),
        ]
        triggers = append_only()

    def __str__(self) -> str:
        return f"{self.order_id} v{self.version} {self.to_status}"


class CouponRedemption(models.Model):
    """One use of a promotion by one order; released when the order dies unpaid or is cancelled."""

    coupon = models.ForeignKey(Coupon, models.PROTECT, related_name="redemptions")
    order = models.OneToOneField(Order, models.PROTECT, related_name="coupon_redemption")
    redeemed_by = models.CharField(
        max_length=300, help_text="customer:<id> or guest:<e-mail>, as on idempotency keys"
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    released_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "coupon_redemptions"
        indexes = [
            models.Index(
                fields=["coupon", "redeemed_by"],
                name="idx_coupon_redemptions_active",
                condition=Q(released_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.coupon_id} by {self.redeemed_by}"


class RefundLine(models.Model):
    """How many units of an order's line a refund gives the money back for. Append-only.

    `amount` is their share of what was paid for the line: after discount, with its tax.
    """

    refund = models.ForeignKey(Refund, models.PROTECT, related_name="lines")
    order_item = models.ForeignKey(OrderItem, models.PROTECT, related_name="refund_lines")
    quantity = models.PositiveIntegerField()
    amount = models.DecimalField(max_digits=12, decimal_places=2)

    class Meta:
        db_table = "refund_lines"
        constraints = [
            models.UniqueConstraint(
                name="refund_line_once_per_refund", fields=["refund", "order_item"]
            ),
            models.CheckConstraint(name="refund_line_of_something", condition=Q(quantity__gt=0)),
            models.CheckConstraint(
                name="refund_line_amount_not_negative", condition=Q(amount__gte=0)
            ),
        ]
        triggers = append_only()

    def __str__(self) -> str:
        return f"{self.quantity} of {self.order_item_id}"


class Shipment(models.Model):
    """A parcel on its way, with the items in it. The same `request_key` again is the same one.

    Its status goes one way only: what a carrier tells late undoes nothing.
    """

    class Status(models.TextChoices):
        SENT = "sent"
        IN_TRANSIT = "in_transit"
        DELIVERED = "delivered"

    order = models.ForeignKey(Order, models.PROTECT, related_name="shipments")
    carrier = models.CharField(max_length=50)
    tracking_number = models.CharField(max_length=100, default="", db_default="", blank=True)
    tracking_url = models.URLField(max_length=500, default="", db_default="", blank=True)
    request_key = models.CharField(max_length=255, null=True, blank=True)
    shipped_at = models.DateTimeField(db_default=Now())
    status = models.CharField(
        max_length=20, choices=Status, default=Status.SENT, db_default=Status.SENT
    )
    delivered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "shipments"
        constraints = [
            models.CheckConstraint(
                name="shipment_status_known",
                condition=Q(status__in=["sent", "in_transit", "delivered"]),
            ),
            models.CheckConstraint(
                name="shipment_delivered_at_follows_the_status",
                condition=Q(status="delivered", delivered_at__isnull=False)
                | (~Q(status="delivered") & Q(delivered_at__isnull=True)),
            ),
            models.UniqueConstraint(
                name="shipment_once_per_request", fields=["order", "request_key"]
            ),
            models.CheckConstraint(  # customers click it
                name="shipment_tracking_url_is_a_web_page",
                condition=Q(tracking_url="") | Q(tracking_url__regex=r"^https?://"),
                violation_error_message="An address begins with https:// or http://.",
            ),
        ]
        indexes = [
            models.Index(
                fields=["tracking_number"],
                name="idx_shipments_tracking_number",
                condition=~Q(tracking_number=""),
            ),
        ]
        triggers = legal_statuses(
            start=["sent"],
            transitions={"sent": ["in_transit", "delivered"], "in_transit": ["delivered"]},
        )

    def __str__(self) -> str:
        return f"{self.carrier} {self.tracking_number}"


class ShipmentItem(models.Model):
    """How many units of an order's line lie in a shipment."""

    shipment = models.ForeignKey(Shipment, models.CASCADE, related_name="items")
    order_item = models.ForeignKey(OrderItem, models.PROTECT, related_name="shipment_items")
    quantity = models.PositiveIntegerField()

    class Meta:
        db_table = "shipment_items"
        constraints = [
            models.UniqueConstraint(
                name="shipment_item_once_per_shipment", fields=["shipment", "order_item"]
            ),
            models.CheckConstraint(name="shipment_item_of_something", condition=Q(quantity__gt=0)),
        ]

    def __str__(self) -> str:
        return f"{self.quantity} of {self.order_item_id}"
