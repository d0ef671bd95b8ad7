"""Rows of every kind for pages that show them, and a confirmed order for those who tell of one."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import Group
from django.db import transaction

from audit import services as audit
from audit.models import LEAF_BYTES, AuditSeal, AuditVerification, Delivery, OutboxMessage, Receiver
from audit.seals import chain
from customers.models import Address, Customer, CustomerMetrics, CustomerNote, EmailSuppression
from integrations.models import (
    MarketingContact,
    ShippingLabel,
    SupportTicket,
    TrackingEvent,
    WebhookAttempt,
    WebhookEndpoint,
    WebhookReplay,
    WebhookSecret,
)
from inventory.models import (
    Category,
    Price,
    PriceBreak,
    Product,
    ProductImage,
    Reservation,
    ScheduledPrice,
    StockDocument,
    StockLevel,
    StockMovement,
    Warehouse,
)
from orders.models import (
    BackgroundJob,
    Cart,
    CartItem,
    CheckedInvariant,
    Coupon,
    CouponRedemption,
    CouponScope,
    IdempotencyKey,
    Invoice,
    InvoiceSeries,
    Letter,
    Order,
    OrderItem,
    OrderNote,
    PaymentLink,
    RefundLine,
    RefundProposal,
    Return,
    ReturnItem,
    ReturnReceipt,
    Shipment,
    ShipmentItem,
    ShippingMethod,
    ShippingRate,
    ShippingZone,
    StockAlert,
    TaxDestination,
    TaxRate,
)
from payments.models import (
    Dispute,
    LedgerEntry,
    Payment,
    ProviderEvent,
    ReconciliationCase,
    Refund,
)

SECRET = "sesame-do-not-show"
NOW = datetime(2026, 5, 4, 3, 0, tzinfo=UTC)
ADDRESS = {
    "name": "Ann Lee",
    "line1": "1 Main St",
    "city": "Springfield",
    "state": "IL",
    "postal_code": "62701",
    "country": "US",
}


def make_customer(n: int, **fields: Any) -> Customer:
    return Customer.objects.create(
        **{
            "email": f"ann{n}@example.com",
            "password": f"md5${SECRET}${SECRET}",
            "first_name": "Ann",
            "last_name": f"Lee {n}",
        }
        | fields
    )


def make_order(n: int = 1, **fields: Any) -> Order:
    """An order over two items: 2 × 10.00 − 1.00 + 5.00 + 1.66 = 25.66."""
    if not {"customer", "guest_email"} & fields.keys():
        fields["customer"] = make_customer(n)
    order = Order.objects.create(
        **{
            "order_number": f"ABCD-{n:04}",
            "subtotal": Decimal("20.00"),
            "discount_amount": Decimal("1.00"),
            "shipping_amount": Decimal("5.00"),
            "tax_amount": Decimal("1.66"),
            "total_amount": Decimal("25.66"),
            "currency": "USD",
            "shipping_address": ADDRESS,
            "billing_address": ADDRESS,
            "shipping_method": "standard",
            "estimated_delivery": date(2026, 5, 8),
            "created_at": NOW,
        }
        | fields
    )
    Order.objects.filter(pk=order.pk).update(status=Order.Status.CONFIRMED)
    order.refresh_from_db()
    return order


def add_item(order: Order, *, n: int = 1, **fields: Any) -> OrderItem:
    product = fields.pop("product", None) or make_product(n)
    return OrderItem.objects.create(
        **{
            "order": order,
            "product": product,
            "product_sku": product.sku,
            "product_name": product.name,
            "quantity": 2,
            "unit_price": Decimal("10.00"),
            "total_price": Decimal("20.00"),
        }
        | fields
    )


def make_product(n: int) -> Product:
    category, _ = Category.objects.get_or_create(slug=f"shelf-{n}", name="Shelf")
    return Product.objects.create(sku=f"APPLE-{n}", name=f"Apple {n}", category=category)


@dataclass(frozen=True)
class Everything:
    """The one row of each kind that a test may want by name."""

    customer: Customer
    product: Product
    price: Price
    order: Order
    coupon: Coupon
    delivery: Delivery


def make_seal() -> AuditSeal:
    """The next one, of a row that there never was."""
    last = chain.last()
    with transaction.atomic():
        return chain.add(
            after=last,
            to_xid=last.to_xid + 1 if last else 1,
            row_count=1,
            newest_at=NOW,
            retired_before=None,
            leaves=bytes(LEAF_BYTES),
            created_at=NOW,
        )


def make_webhooks(n: int, staff: Customer, delivery: Delivery) -> WebhookEndpoint:
    endpoint = WebhookEndpoint.objects.create(
        url=f"https://erp{n}.example/hook", events=["order.confirmed"], created_by=staff
    )
    WebhookSecret.objects.create(
        endpoint=endpoint,
        nonce=uuid.uuid4(),
        key_id="0" * 16,
        request_key=f"{SECRET}-{n}",
        created_by=staff,
    )
    WebhookAttempt.objects.create(
        endpoint=endpoint,
        delivery_id=delivery.pk,
        message_uuid=uuid.uuid4(),
        event="order.confirmed",
        outcome="failed",
        http_status=500,
        duration_ms=12,
        error="answered 500",
        excerpt="oops",
    )
    WebhookReplay.objects.create(
        endpoint=endpoint,
        since=NOW,
        until=NOW + timedelta(hours=1),
        events=0,
        request_key=f"k-{n}",
        created_by=staff,
    )
    return endpoint


def make_everything(n: int, **order_fields: Any) -> Everything:
    """One row in every table of the admin."""
    order = make_order(
        n,
        **order_fields,
        idempotency_key=IdempotencyKey.objects.create(
            scope=f"customer:{n}",
            key=f"key-{n}",
            fingerprint="0" * 64,
            owner=uuid.uuid4(),
            lease_until=NOW,
            response_status=201,
            response_body=f'{{"client_secret": "{SECRET}"}}',
            answered_at=NOW,
        ),
    )
    customer = order.customer
    assert customer is not None
    EmailAddress.objects.create(user=customer, email=customer.email, primary=True)
    Authenticator.objects.create(
        user=customer, type=Authenticator.Type.TOTP, data={"secret": SECRET}
    )
    Group.objects.create(name=f"Group {n}")
    CustomerMetrics.objects.create(
        customer=customer, currency="USD", order_count=1, lifetime_value=Decimal("25.66")
    )

    Address.objects.create(customer=customer, **order.shipping_address)

    item = add_item(order, n=n)
    product = item.product
    price = Price.objects.create(product=product, currency="USD", amount=Decimal("10.00"))
    warehouse = Warehouse.objects.create(
        code=f"WH{n}", name="Main", country="US", time_zone="America/New_York"
    )
    level = StockLevel.objects.create(product=product, warehouse=warehouse, on_hand=9, allocated=2)
    StockMovement.objects.create(
        stock_level=level, kind="receive", quantity=9, order=order, user=customer
    )
    StockDocument.objects.create(
        kind="receive",
        reason="delivery",
        request_key=f"key-{n}",
        fingerprint="0" * 64,
        user=customer,
    )
    ScheduledPrice.objects.create(
        product=product, currency="USD", amount=Decimal("9.00"), starts_at=NOW, created_by=customer
    )
    Reservation.objects.create(order=order, stock_level=level, quantity=2)

    payment = Payment.objects.create(
        order=order,
        currency="USD",
        amount=order.total_amount,
        payment_method_id="pm_card_visa",
        payment_intent_id=f"pi_{n}",
        create_params={"metadata": SECRET},
        confirm_params={"metadata": SECRET},
    )
    Payment.objects.filter(pk=payment.pk).update(
        status="succeeded", amount_received=order.total_amount
    )
    refund = Refund.objects.create(payment=payment, currency="USD", amount=Decimal("1.00"))
    transaction = uuid.uuid4()
    LedgerEntry.objects.bulk_create(
        LedgerEntry(
            transaction=transaction,
            kind="refund",
            account=account,
            currency="USD",
            amount=amount,
            payment=payment,
            refund=refund,
        )
        for account, amount in (
            ("customer_receipts", Decimal("1.00")),
            ("stripe_balance", Decimal("-1.00")),
        )
    )
    RefundLine.objects.create(refund=refund, order_item=item, quantity=1, amount=Decimal("1.00"))
    RefundProposal.objects.create(
        kind="amount", order=order, currency="USD", amount=Decimal("1.00"), proposed_by=customer
    )
    Dispute.objects.create(
        payment=payment,
        stripe_dispute_id=f"dp_{n}",
        status="needs_response",
        reason="fraudulent",
        currency="USD",
        amount=order.total_amount,
        opened_at=payment.created_at,
    )
    ProviderEvent.objects.create(
        stripe_event_id=f"evt_{n}", event_type="x", payload={"client_secret": SECRET}
    )
    ReconciliationCase.objects.create(
        classification="unknown", subject=f"pi_{n}", payment=payment, problem="not there"
    )

    ProductImage.objects.create(product=product, position=1, url="https://images.test/a.png")
    PriceBreak.objects.create(product=product, currency="USD", min_quantity=10, amount=9)
    coupon = Coupon.objects.create(code=f"SAVE{n}", kind="percent", value=5, times_used=3)
    CouponScope.objects.create(coupon=coupon, product=product)
    CouponRedemption.objects.create(coupon=coupon, order=order, redeemed_by=f"customer:{n}")
    TaxRate.objects.create(country="US", region=f"R{n}", rate=Decimal("0.0825"))
    TaxDestination.objects.create(
        country=f"{'ABCDEFGHIJKLMNOPQRSTUVWXYZ'[n]}X", prices_include_tax=True
    )
    zone = ShippingZone.objects.create(name=f"Zone {n}", countries=["US"], regions=["HI"])
    method = ShippingMethod.objects.create(
        code=f"standard-{n}",
        name="Standard",
        currency="USD",
        amount=Decimal("5.00"),
        min_business_days=1,
        max_business_days=3,
    )
    ShippingRate.objects.create(method=method, zone=zone, amount=Decimal("9.00"))
    CheckedInvariant.objects.create(
        invariant="I5", name=f"paid_means_paid_{n}", violations=0, checked_at=NOW, seconds=0.1
    )
    shipment = Shipment.objects.create(order=order, carrier="UPS", tracking_number=f"1Z{n}")
    ShipmentItem.objects.create(shipment=shipment, order_item=item, quantity=1)
    TrackingEvent.objects.create(
        source="generic",
        event_id=f"scan-{n}",
        tracking_number=f"1Z{n}",
        carrier="UPS",
        stage="in_transit",
        told="in_transit",
        happened_at=NOW,
    )
    ShippingLabel.objects.create(
        order=order,
        request_key=f"{SECRET}-{n}",
        provider="easypost",
        units={product.sku: 1},
        weight_grams=350,
        carrier="UPS",
        tracking_number=f"1Z{n}",
        amount=Decimal("7.58"),
        currency="USD",
        label_url="https://labels.test/1.pdf",
        created_by=customer,
    )
    wish = Return.objects.create(order=order, reason="broken")
    returned = ReturnItem.objects.create(parent=wish, order_item=item, quantity=1)
    ReturnReceipt.objects.create(item=returned, quantity=1, restocked=1)
    InvoiceSeries.objects.get_or_create(series="INV")
    Invoice.objects.create(
        order=order,
        kind="invoice",
        series="INV",
        number=n + 1,
        total_amount=order.total_amount,
        currency=order.currency,
        content={},
        buyer={},
        issued_at=NOW,
    )

    job = BackgroundJob.objects.create(
        kind="export", subject="orders", owner=customer, request_key=f"{SECRET}-{n}", expires_at=NOW
    )
    BackgroundJob.objects.filter(pk=job.pk).update(status="cancelled", finished_at=NOW)

    cart = Cart.objects.create(customer=customer, currency="USD", expires_at=NOW)
    CartItem.objects.create(cart=cart, product=product, quantity=1)

    Letter.objects.create(
        order=order,
        message_uuid=uuid.uuid4(),
        fact="order.confirmed",
        recipient=customer.email,
        subject=f"Order {order.order_number} confirmed",
        body_text=f"See https://shop.test/orders/{order.order_number}?token={SECRET}",
        body_html=f"<p>{SECRET}</p>",
    )
    OrderNote.objects.create(order=order, author=customer, text="Ring twice.", request_key="k")
    StockAlert.objects.create(customer=customer, product=product)
    EmailSuppression.objects.create(
        address_digest=f"{n:064x}", reason="bounced", provider="postmark", customer=customer
    )
    CustomerNote.objects.create(
        customer=customer, author=customer, text="Call before noon.", request_key="k"
    )
    PaymentLink.objects.create(
        cart_id=uuid.uuid4(),
        customer=customer,
        email=customer.email,
        first_name="Ann",
        last_name=f"Lee {n}",
        shipping_address=ADDRESS,
        created_by=customer,
        request_key=f"k-{n}",
        fingerprint=SECRET,
        expires_at=NOW,
    )

    SupportTicket.objects.create(
        order=order,
        matter=f"dispute.dp_{n}",
        ticket_id=str(n),
        url=f"https://desk.test/agent/tickets/{n}",
    )
    MarketingContact.objects.create(customer=customer, segments="orders=one", told_at=NOW)

    audit.record("ORDER_CREATED", entity_type="order", entity_id=order.pk)
    make_seal()
    AuditVerification.objects.create(seconds=0.1, first_seal=1, seals=n, rows=n, findings=0)
    message = OutboxMessage.objects.create(
        fact="order.confirmed",
        aggregate_type="order",
        aggregate_id=order.pk,
        dedupe_key=f"order.{order.pk}.confirmed.1",
        payload={"order_id": order.pk},
    )
    delivery = Delivery.objects.create(message=message, subscriber="email")
    Receiver.objects.create(subscriber=f"receiver{n}")
    make_webhooks(n, customer, delivery)
    return Everything(
        customer=customer,
        product=product,
        price=price,
        order=order,
        coupon=coupon,
        delivery=delivery,
    )
