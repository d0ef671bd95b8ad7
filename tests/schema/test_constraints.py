"""What the database refuses whoever writes: every named constraint and every trigger."""
# ruff: noqa: S608 - the names of tables in the statements are our own

from __future__ import annotations

import datetime as dt
import itertools
import uuid
from decimal import Decimal
from typing import Any

import pgtrigger
import pytest
from django.apps import apps
from django.db import DatabaseError, IntegrityError, connection, models, transaction

from audit.models import AuditLog, AuditSeal, Delivery, OutboxMessage
from config.kernel.db import (
    RAISE_EXCEPTION,
    refusals_translated,
    short_transaction,
    sqlstate,
    violated_constraint,
)
from config.kernel.errors import InvalidTransitionError
from customers.models import (
    Address,
    Customer,
    CustomerMetrics,
    CustomerNote,
    EmailSuppression,
    SavedView,
)
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
    Price,
    PriceBreak,
    Product,
    ProductImage,
    Reservation,
    ScheduledPrice,
    StockDocument,
    StockLevel,
    StockMovement,
)
from orders.models import (
    BackgroundJob,
    BackgroundJobChunk,
    Cart,
    CartItem,
    CouponRedemption,
    CouponScope,
    IdempotencyKey,
    Invoice,
    InvoiceSeries,
    Letter,
    Order,
    OrderItem,
    OrderNote,
    OrderTransition,
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
)
from payments.models import (
    Dispute,
    LedgerEntry,
    Payment,
    ProviderEvent,
    ReconciliationCase,
    Refund,
)
from tests import factories, shop

pytestmark = pytest.mark.django_db

OURS = ("audit", "customers", "integrations", "inventory", "orders", "payments")
NEW_YEAR = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
LONG_AGO = dt.datetime(2020, 2, 2, tzinfo=dt.UTC)
TEN = Decimal("10.00")


class Rows:
    """Fresh rows that obey every rule; each with room for one thing to be wrong."""

    def __init__(self):
        self.numbers = itertools.count()

    def order(self, **changes):
        fields = {
            "order_number": f"N-{next(self.numbers)}",
            "guest_email": "guest@example.com",
            "subtotal": TEN,
            "tax_amount": 1,
            "shipping_amount": 2,
            "discount_amount": 3,
            "total_amount": TEN,
            "shipping_address": {},
            "billing_address": {},
        }
        return Order.objects.create(**{**fields, **changes})

    def item(self, **changes):
        fields = {
            "product_sku": "SKU",
            "product_name": "Name",
            "quantity": 2,
            "unit_price": TEN,
            "total_price": 2 * TEN,
        }
        needed = {"order": self.order, "product": factories.ProductFactory}
        fields |= {name: make() for name, make in needed.items() if name not in changes}
        return OrderItem.objects.create(**{**fields, **changes})

    def payment(self, *, order=None, status="created", **changes):
        """A payment that came into its status along legal steps."""
        number = next(self.numbers)
        payment = Payment.objects.create(
            order=order or self.order(),
            currency="USD",
            amount=TEN,
            payment_method_id="pm_card_visa",
            payment_intent_id=f"pi_{number}",
            create_params={"amount": 1000},
            confirm_params={},
            **changes,
        )
        if status != "created":
            received = TEN if status == "succeeded" else 0
            Payment.objects.filter(pk=payment.pk).update(status=status, amount_received=received)
        payment.refresh_from_db()
        return payment

    def letter(self, **changes):
        fields = {
            "order": self.order(),
            "message_uuid": uuid.uuid4(),
            "fact": "order.confirmed",
            "subject": "Confirmed",
        }
        return Letter.objects.create(**{**fields, **changes})

    def ticket(self, **fields):
        defaults = {"matter": f"dispute.dp_{next(self.numbers)}"}
        return SupportTicket.objects.create(
            **{"order": fields.pop("order", None) or self.order(), **defaults, **fields}
        )

    def note(self, **changes):
        made = {} if "order" in changes else {"order": self.order()}
        fields = {"author": customer(), "request_key": "k"}
        return OrderNote.objects.create(**{**fields, **made, **changes})

    def payment_link(self, **changes):
        fields = {
            "cart_id": uuid.uuid4(),
            "email": "guest@example.com",
            "shipping_address": {},
            "created_by": customer(),
            "request_key": str(uuid.uuid4()),
            "fingerprint": "0" * 64,
            "expires_at": LONG_AGO,
        }
        return PaymentLink.objects.create(**{**fields, **changes})

    def returned(self, **changes):
        fields = {"reason": "broken"}
        if "order" not in changes:
            fields["order"] = self.order()
        return Return.objects.create(**{**fields, **changes})

    def return_item(self, **changes):
        needed = {"parent": self.returned, "order_item": self.item}
        fields = {name: make() for name, make in needed.items() if name not in changes}
        return ReturnItem.objects.create(**{"quantity": 1, **fields, **changes})

    def receipt(self, **changes):
        fields = {"quantity": 1, "restocked": 1}
        if "item" not in changes:
            fields["item"] = self.return_item()
        return ReturnReceipt.objects.create(**{**fields, **changes})

    def invoice(self, **changes):
        fields = {
            "kind": "invoice",
            "series": "INV",
            "number": next(self.numbers) + 1,
            "total_amount": TEN,
            "currency": "USD",
            "content": {},
            "buyer": {},
            "issued_at": LONG_AGO,
        }
        if "order" not in changes:
            fields["order"] = self.order()
        return Invoice.objects.create(**{**fields, **changes})

    def refund(self, *, payment=None, **changes):
        paid = payment or self.payment(status="succeeded")
        return Refund.objects.create(**{"payment": paid, "currency": "USD", "amount": 1, **changes})

    def legs(self, *, payment=None, kind="capture", **changes):
        """A ledger transaction's two legs, unsaved."""
        payment = payment or self.payment(status="succeeded")
        number = uuid.uuid4()
        return [
            LedgerEntry(
                **{
                    "transaction": number,
                    "kind": kind,
                    "account": account,
                    "currency": "USD",
                    "amount": amount,
                    "payment": payment,
                    **changes,
                }
            )
            for account, amount in (("stripe_balance", TEN), ("customer_receipts", -TEN))
        ]

    def dispute(self, **changes):
        fields = {
            "payment": changes.get("payment") or self.payment(status="succeeded"),
            "stripe_dispute_id": f"dp_{next(self.numbers)}",
            "status": "needs_response",
            "reason": "fraudulent",
            "currency": "USD",
            "amount": TEN,
            "opened_at": LONG_AGO,
        }
        return Dispute.objects.create(**{**fields, **changes})

    def event(self, **changes):
        fields = {
            "stripe_event_id": f"evt_{next(self.numbers)}",
            "event_type": "x",
            "payload": {},
        }
        return ProviderEvent.objects.create(**{**fields, **changes})

    def case(self, **changes):
        fields = {"classification": "unknown", "subject": f"pi_{next(self.numbers)}"}
        return ReconciliationCase.objects.create(**{**fields, **changes})

    def proposal(self, **changes):
        fields = {
            "kind": "amount",
            "currency": "USD",
            "amount": 1,
            "proposed_by": changes.get("proposed_by") or customer(),
        }
        if not {"order", "case"} & changes.keys():
            fields["order"] = self.order()
        return RefundProposal.objects.create(**{**fields, **changes})

    def refund_line(self, **changes):
        refund = self.refund()
        item = self.item(order=refund.payment.order)
        fields = {"refund": refund, "order_item": item, "quantity": 1, "amount": 1}
        return RefundLine.objects.create(**{**fields, **changes})

    def reservation(self, **changes):
        product = factories.ProductFactory(on_hand=9)
        fields = {"stock_level": product.stock_levels.get(), "quantity": 1}
        if "order" not in changes:
            fields["order"] = self.order()
        return Reservation.objects.create(**{**fields, **changes})

    def key(self, **changes):
        fields = {
            "scope": "customer:1",
            "key": f"k-{next(self.numbers)}",
            "fingerprint": "f",
            "owner": uuid.uuid4(),
            "lease_until": LONG_AGO,
        }
        return IdempotencyKey.objects.create(**{**fields, **changes})

    def answer(self, key, **changes):
        fields = {"response_status": 201, "response_body": "{}", "answered_at": LONG_AGO}
        IdempotencyKey.objects.filter(pk=key.pk).update(**{**fields, **changes})

    def shipping_method(self, **changes):
        fields = {
            "code": f"m{next(self.numbers)}",
            "name": "M",
            "currency": "USD",
            "amount": 1,
            "min_business_days": 1,
            "max_business_days": 2,
        }
        return ShippingMethod.objects.create(**{**fields, **changes})

    def shipping_rate(self, **changes):
        needed = {"method": self.shipping_method, "zone": zone}
        made = {name: make() for name, make in needed.items() if name not in changes}
        return ShippingRate.objects.create(**{"amount": 1, **made, **changes})

    def message(self):
        return OutboxMessage.objects.create(
            fact="order.confirmed",
            aggregate_type="order",
            aggregate_id=1,
            dedupe_key=f"d-{next(self.numbers)}",
            payload={},
        )

    def shipment(self, **changes):
        made = {} if "order" in changes else {"order": self.order()}
        return Shipment.objects.create(**{"carrier": "UPS", **made, **changes})

    def tracking_event(self, **changes):
        fields = {
            "source": "generic",
            "event_id": f"e-{next(self.numbers)}",
            "tracking_number": "1Z",
            "stage": "delivered",
            "told": "delivered",
            "happened_at": LONG_AGO,
        }
        return TrackingEvent.objects.create(**{**fields, **changes})

    def label(self, **changes):
        fields = {
            "request_key": f"k-{next(self.numbers)}",
            "provider": "generic",
            "units": {"TEA": 1},
            "weight_grams": 1,
        }
        made = {} if "order" in changes else {"order": self.order()}
        return ShippingLabel.objects.create(**{**fields, **made, **changes})

    def shipment_item(self, **changes):
        item = self.item()
        shipment = self.shipment(order=item.order)
        fields = {"shipment": shipment, "order_item": item, "quantity": 1}
        return ShipmentItem.objects.create(**{**fields, **changes})


@pytest.fixture
def rows():
    return Rows()


BOUGHT = {
    "status": "bought",
    "carrier": "UPS",
    "tracking_number": "1Z",
    "amount": TEN,
    "currency": "USD",
    "bought_at": LONG_AGO,
}
"""What a label's constraints want beside its status."""

# --- CHECK and UNIQUE ---------------------------------------------------------------------------


def update(row, **changes):
    type(row).objects.filter(pk=row.pk).update(**changes)


ONE_PLACE = ("document", "stock_level")


def twice(make, *names):
    """The same values in `names` a second time."""
    first = make()
    make(**{name: getattr(first, name) for name in names})


def seal(**changes):
    """The first one; `changes` may make it another."""
    fields = {
        "number": 1,
        "from_xid": 0,
        "to_xid": 5,
        "row_count": 1,
        "newest_at": LONG_AGO,
        "root": bytes(32),
        "previous": bytes(32),
        "digest": bytes(32),
        "signature": bytes(64),
        "key_id": "k",
        "created_at": LONG_AGO,
    }
    return AuditSeal.objects.create(**{**fields, **changes})


def untriggered(row, **changes):
    """The constraint alone: a trigger would refuse earlier."""
    with pgtrigger.ignore(), transaction.atomic():
        update(row, **changes)


def decided(status):
    """What a proposal is changed to, and what its constraints want beside it."""
    by = None if status in {"waiting", "withdrawn"} else customer()
    at = None if status == "waiting" else LONG_AGO
    return {"status": status, "decided_by": by, "decided_at": at}


def once_more(legs, **changes):
    LedgerEntry.objects.bulk_create(legs)
    first = legs[0]
    first.pk, first._state.adding = None, True
    for name, value in changes.items():
        setattr(first, name, value)
    first.save()


def coupon(**changes):
    return factories.CouponFactory(**changes)


def coupon_scope(**changes):
    made = {
        name: make()
        for name, make in (("coupon", coupon), ("product", product))
        if name not in changes
    }
    return CouponScope.objects.create(**{**made, **changes})


def zone(**changes):
    return ShippingZone.objects.create(
        **{"name": f"Z{uuid.uuid4()}", "countries": ["US"], **changes}
    )


def overlapping(r, *bands):
    method, place = r.shipping_method(), zone()
    for lowest, highest in bands:
        r.shipping_rate(
            method=method, zone=place, min_weight_grams=lowest, max_weight_grams=highest
        )


def price_break(**changes):
    fields = {"currency": "USD", "min_quantity": 10, "amount": 1}
    made = {} if "product" in changes else {"product": product()}
    return PriceBreak.objects.create(**{**fields, **made, **changes})


def shelves(count):
    """Categories, each on the one before it."""
    made: list[Any] = []
    for _ in range(count):
        above = made[-1] if made else None
        made.append(factories.CategoryFactory(slug=f"s-{uuid.uuid4()}", parent=above))
    return made


def below_itself(count, **changes):
    top, *_ = made = shelves(count)
    fields = {"slug": changes["renamed"]} if changes else {}
    update(top, parent=made[-1], **fields)


def product(**changes) -> Any:
    return factories.ProductFactory(**changes)


def picture(**changes):
    fields = {"position": 1, "url": "https://images.test/a.png"}
    made = {} if "product" in changes else {"product": product()}
    return ProductImage.objects.create(**{**fields, **made, **changes})


def building() -> Any:
    return factories.WarehouseFactory(code=f"W{uuid.uuid4().hex[:8]}")


def customer(**changes):
    return factories.CustomerFactory(**changes)


def metrics(**changes):
    fields = {"customer": changes.pop("customer", None) or customer(), "currency": "USD"}
    return CustomerMetrics.objects.create(
        **{**fields, "order_count": 1, "lifetime_value": TEN, **changes}
    )


def saved_view(**changes):
    fields = {"owner": changes.pop("owner", None) or customer(), "page": "orders.order"}
    return SavedView.objects.create(**{**fields, "name": "To call", "query": "a=1", **changes})


def address(**changes):
    return Address.objects.create(customer=customer(), **{**shop.ADDRESS, **changes})


def document(**changes):
    fields = {"kind": "adjust", "reason": "broken", "fingerprint": "0" * 64}
    return StockDocument.objects.create(**{**fields, **changes})


def movement(**changes):
    made = {}
    if "stock_level" not in changes:
        made["stock_level"] = factories.ProductFactory().stock_levels.get()
    fields = {"kind": "adjust", "quantity": 1}
    return StockMovement.objects.create(**{**fields, **made, **changes})


def scheduled_price(*window, **changes):
    """From and until so many hours from a day on."""
    begins, ends = (*window, None, None)[:2]
    fields = {
        "currency": "USD",
        "amount": 5,
        "starts_at": NEW_YEAR + dt.timedelta(hours=begins or 0),
        "ends_at": ends and NEW_YEAR + dt.timedelta(hours=ends),
    }
    made = {} if "product" in changes else {"product": product()}
    return ScheduledPrice.objects.create(**{**fields, **made, **changes})


def scheduled_prices(*windows):
    """Of one product and currency; those in other currencies and of others are in nobody's way."""
    place = product()
    for window in windows:
        scheduled_price(*window)
        scheduled_price(*window, product=place, currency="EUR")
    for window in windows:
        scheduled_price(*window, product=place)


def price(**changes):
    return update(factories.ProductFactory().prices.get(), **changes)


def level(**changes):
    return update(factories.ProductFactory(on_hand=5).stock_levels.get(), **changes)


def cart(**changes):
    return Cart.objects.create(**{"currency": "USD", "expires_at": LONG_AGO, **changes})


def job(**changes):
    fields = {"kind": "export", "subject": "orders", "request_key": "x", "expires_at": LONG_AGO}
    if "owner" not in changes:
        fields["owner"] = customer()
    return BackgroundJob.objects.create(**{**fields, **changes})


def chunk(**changes):
    fields = {"part": "result", "n": 0, "data": b"x"}
    if "job" not in changes:
        fields["job"] = job()
    return BackgroundJobChunk.objects.create(**{**fields, **changes})


def customer_note(**changes):
    fields = {"request_key": "k", "author": customer()}
    made = {} if "customer" in changes else {"customer": customer()}
    return CustomerNote.objects.create(**{**fields, **made, **changes})


def stock_alert(**changes):
    needed = {"customer": customer, "product": product}
    fields = {name: make() for name, make in needed.items() if name not in changes}
    return StockAlert.objects.create(**{**fields, **changes})


def suppression(**changes):
    fields = {"address_digest": "a" * 64, "reason": "bounced", "provider": "postmark"}
    return EmailSuppression.objects.create(**{**fields, **changes})


def webhook(**changes):
    fields = {"url": "https://erp.example/hook", "events": ["order.confirmed"]}
    made = {} if "created_by" in changes else {"created_by": customer()}
    return WebhookEndpoint.objects.create(**{**fields, **made, **changes})


def webhook_part(model, **changes):
    """What belongs to an endpoint: a secret, a try, a replay."""
    fields = {
        WebhookSecret: {"nonce": uuid.uuid4(), "key_id": "0" * 16, "request_key": "k"},
        WebhookAttempt: {
            "delivery_id": 1,
            "message_uuid": uuid.uuid4(),
            "event": "order.confirmed",
            "outcome": "delivered",
            "http_status": 204,
            "duration_ms": 5,
        },
        WebhookReplay: {
            "since": LONG_AGO,
            "until": LONG_AGO + dt.timedelta(hours=1),
            "events": 0,
            "request_key": "k",
        },
    }[model]
    made = {} if "endpoint" in changes else {"endpoint": webhook()}
    if model is not WebhookAttempt:
        made["created_by"] = customer()
    return model.objects.create(**{**fields, **made, **changes})


def webhook_secret(**changes):
    return webhook_part(WebhookSecret, **changes)


def webhook_attempt(**changes):
    return webhook_part(WebhookAttempt, **changes)


def webhook_replay(**changes):
    return webhook_part(WebhookReplay, **changes)


def cart_item(**changes):
    needed = {"cart": cart, "product": product}
    fields = {name: make() for name, make in needed.items() if name not in changes}
    return CartItem.objects.create(**{"quantity": 1, **fields, **changes})


REFUSED: dict[str, list[Any]] = {
    # customers
    "customer_status_known": [lambda r: customer(status="asleep")],
    "customer_version_counts_up": [lambda r: customer(version=0)],
    "customer_language_is_a_code": [lambda r: customer(language="EN")],
    "customer_tier_is_a_slug": [
        lambda r: customer(tier="Gold"),
        lambda r: customer(tier="two words"),
    ],
    "email_suppression_once_per_address": [lambda r: (suppression(), suppression())],
    "email_suppression_reason_known": [lambda r: suppression(reason="bored")],
    "email_suppression_digest_is_one": [lambda r: suppression(address_digest="ann@example.com")],
    "email_suppression_lift_is_whole": [
        lambda r: suppression(lifted_at=dt.datetime.now(dt.UTC)),
        lambda r: suppression(lifted_by=customer()),
    ],
    "stock_alert_once_per_product": [lambda r: twice(stock_alert, "customer", "product")],
    "customer_metrics_one_per_currency": [lambda r: twice(metrics, "customer", "currency")],
    "customer_metrics_not_negative": [lambda r: metrics(lifetime_value=Decimal("-0.01"))],
    "customer_note_once_per_request": [lambda r: twice(customer_note, "customer", "request_key")],
    "saved_view_has_a_name": [lambda r: saved_view(name="")],
    "saved_view_named_once_by_its_owner": [lambda r: twice(saved_view, "owner", "page", "name")],
    "address_country_is_a_code": [
        lambda r: address(country="us"),
        lambda r: address(country="U"),
    ],
    # inventory
    "category_not_below_itself": [
        lambda r: below_itself(1),
        lambda r: below_itself(2),
        lambda r: below_itself(3, renamed="other"),
    ],
    "category_not_too_deep": [lambda r: shelves(6)],
    "product_sku_is_upper_case": [
        lambda r: factories.ProductFactory(sku="apple"),
        lambda r: factories.ProductFactory(sku=""),
        lambda r: factories.ProductFactory(sku="A B"),
    ],
    "product_image_is_on_the_web": [
        lambda r: product(image_url="javascript:alert(1)"),
        lambda r: product(image_url="ftp://images.test/a.png"),
        lambda r: product(image_url="//images.test/a.png"),
        lambda r: product(image_url="https://images.test/a b.png"),
    ],
    "product_image_one_per_position": [lambda r: twice(picture, "product")],
    "product_image_url_is_on_the_web": [
        lambda r: picture(url="data:image/png;base64,AA"),
        lambda r: picture(url=""),
    ],
    "price_one_per_product_and_currency": [
        lambda r: twice(
            lambda **same: Price.objects.create(
                **{"product": product(), "currency": "EUR", "amount": 1, **same}
            ),
            "product",
        )
    ],
    "price_not_negative": [lambda r: price(amount=Decimal("-0.01"))],
    "price_currency_is_iso4217": [lambda r: price(currency="usd"), lambda r: price(currency="US")],
    "price_break_one_per_step": [
        lambda r: twice(price_break, "product"),
        lambda r: twice(lambda **same: price_break(tier="gold", **same), "product"),
    ],
    "price_break_is_no_second_price": [
        lambda r: price_break(min_quantity=1),
        lambda r: price_break(min_quantity=0),
        lambda r: price_break(min_quantity=0, tier="gold"),
    ],
    "price_break_not_negative": [lambda r: price_break(amount=Decimal("-0.01"))],
    "price_break_currency_is_iso4217": [lambda r: price_break(currency="usd")],
    "price_break_tier_is_a_slug": [lambda r: price_break(tier="Gold")],
    "stock_level_one_per_product_and_warehouse": [
        lambda r: twice(
            lambda **same: StockLevel.objects.create(
                **{"product": product(), "warehouse": building(), **same}
            ),
            "product",
            "warehouse",
        )
    ],
    "stock_level_promised_within_on_hand": [
        lambda r: level(allocated=6),
        lambda r: level(allocated=-1),
        lambda r: level(on_hand=-1),
    ],
    "stock_movement_kind_known": [lambda r: movement(kind="lost")],
    "stock_movement_moves_something": [
        lambda r: movement(quantity=0),
        lambda r: movement(quantity=0, kind="transfer", document=document()),
    ],
    "stock_movement_document_fits_kind": [
        lambda r: movement(kind="count"),
        lambda r: movement(kind="transfer"),
        lambda r: movement(kind="ship", document=document()),
        lambda r: movement(kind="return", document=document()),
    ],
    "stock_movement_once_per_document": [
        lambda r: twice(lambda **same: movement(**{"document": document(), **same}), *ONE_PLACE)
    ],
    "stock_document_kind_known": [lambda r: document(kind="ship")],
    "stock_document_has_a_reason": [lambda r: document(reason="")],
    "scheduled_price_not_negative": [lambda r: scheduled_price(amount=Decimal("-0.01"))],
    "scheduled_price_currency_is_iso4217": [lambda r: scheduled_price(currency="usd")],
    "scheduled_price_ends_after_it_starts": [lambda r: scheduled_price(2, 2)],
    "scheduled_price_status_fits_times": [
        lambda r: scheduled_price(applied_at=LONG_AGO),
        lambda r: untriggered(scheduled_price(0, 9), status="running"),
        lambda r: untriggered(scheduled_price(0), status="running", applied_at=LONG_AGO),
        lambda r: untriggered(scheduled_price(0, 9), status="done", ended_at=LONG_AGO),
        lambda r: untriggered(scheduled_price(0, 9), status="cancelled"),
        lambda r: untriggered(
            scheduled_price(0, 9), status="missed", applied_at=LONG_AGO, ended_at=LONG_AGO
        ),
        lambda r: untriggered(scheduled_price(0), status="lost"),
    ],
    "scheduled_price_one_at_a_time": [
        lambda r: scheduled_prices((0, 2), (1, 3)),
        lambda r: scheduled_prices((0, 9), (2, 3)),
        lambda r: scheduled_prices((0, 2), (1,)),
        lambda r: scheduled_prices((1,), (1, 2)),
        lambda r: scheduled_prices((1,), (1,)),
    ],
    "reservation_one_per_order_and_stock_level": [
        lambda r: twice(r.reservation, "order", "stock_level")
    ],
    "reservation_status_known": [lambda r: untriggered(r.reservation(), status="lost")],
    "reservation_of_something": [lambda r: r.reservation(quantity=0)],
    "reservation_ships_what_it_holds": [lambda r: r.reservation(quantity=1, shipped_quantity=2)],
    # payments
    "payment_status_known": [lambda r: untriggered(r.payment(), status="lost")],
    "payment_one_live_per_order": [
        lambda r: r.payment(order=r.payment().order),
        lambda r: r.payment(order=r.payment(status="succeeded").order),
        lambda r: r.payment(order=r.payment(status="quarantined").order),
    ],
    "payment_amount_not_negative": [lambda r: untriggered(r.payment(), amount=-1)],
    "payment_received_in_full_or_not_at_all": [
        lambda r: update(r.payment(), status="succeeded"),
        lambda r: update(r.payment(), status="succeeded", amount_received=9),
        lambda r: update(r.payment(), amount_received=TEN),
        lambda r: update(r.payment(), status="failed", amount_received=TEN),
    ],
    "payment_refunded_within_received": [
        lambda r: update(r.payment(status="succeeded"), amount_refunded=Decimal("10.01")),
        lambda r: update(r.payment(status="succeeded"), amount_refunded=-1),
        lambda r: update(r.payment(), amount_refunded=1),
    ],
    "payment_money_needs_an_intent": [
        lambda r: update(
            r.payment(), status="succeeded", amount_received=TEN, payment_intent_id=None
        )
    ],
    "refund_status_known": [lambda r: untriggered(r.refund(), status="lost")],
    "refund_of_something": [lambda r: r.refund(amount=0), lambda r: r.refund(amount=-1)],
    "refund_done_has_provider_id": [lambda r: update(r.refund(), status="succeeded")],
    "ledger_account_known": [
        lambda r: LedgerEntry.objects.bulk_create(r.legs(account="sock_under_the_bed"))
    ],
    "ledger_kind_known": [lambda r: LedgerEntry.objects.bulk_create(r.legs(kind="gift"))],
    "ledger_account_once_per_transaction": [lambda r: once_more(r.legs(), kind="refund")],
    "ledger_one_capture_per_payment": [lambda r: once_more(r.legs(), transaction=uuid.uuid4())],
    "ledger_one_entry_per_refund": [
        lambda r: once_more(
            r.legs(refund=(refund := r.refund()), payment=refund.payment, kind="refund"),
            transaction=uuid.uuid4(),
        )
    ],
    "ledger_balance_transaction_booked_once": [
        lambda r: once_more(
            r.legs(kind="fee", balance_transaction_id="txn_1"), transaction=uuid.uuid4()
        )
    ],
    "refund_once_per_request": [
        lambda r: [
            r.refund(payment=payment, request_key="k")
            for payment in [r.payment(status="succeeded")] * 2
        ]
    ],
    "dispute_status_known": [lambda r: r.dispute(status="drawn")],
    "dispute_about_something": [lambda r: r.dispute(amount=0)],
    "provider_event_status_known": [lambda r: r.event(status="read", processed_at=LONG_AGO)],
    "provider_event_done_has_a_time": [
        lambda r: r.event(status="processed"),
        lambda r: r.event(processed_at=LONG_AGO),
    ],
    "reconciliation_case_known": [lambda r: r.case(classification="odd")],
    "reconciliation_case_open_once": [lambda r: twice(r.case, "subject")],
    # orders
    "refund_line_once_per_refund": [lambda r: twice(r.refund_line, "refund", "order_item")],
    "refund_line_of_something": [lambda r: r.refund_line(quantity=0)],
    "refund_line_amount_not_negative": [lambda r: r.refund_line(amount=-1)],
    "idempotency_key_once_per_scope": [lambda r: twice(r.key, "scope", "key")],
    "idempotency_key_answer_is_whole": [
        lambda r: r.answer(r.key(), response_status=None),
        lambda r: r.answer(r.key(), response_body=""),
        lambda r: r.answer(r.key(), answered_at=None),
        lambda r: r.answer(r.key(), response_status=202),
        lambda r: r.answer(r.key(), response_status=503),
    ],
    "coupon_code_is_upper_case": [lambda r: coupon(code="welcome"), lambda r: coupon(code="")],
    "coupon_kind_known": [lambda r: coupon(kind="gift")],
    "coupon_value_fits_kind": [
        lambda r: coupon(value=0),
        lambda r: coupon(value=Decimal("100.01")),
        lambda r: coupon(kind="fixed", value=0, currency="USD"),
        lambda r: coupon(kind="fixed", value=5),
        lambda r: coupon(kind="buy_x_get_y", value=101, buy_quantity=2, get_quantity=1),
    ],
    "coupon_has_code_or_name": [lambda r: coupon(code=None), lambda r: coupon(code=None, name="")],
    "coupon_quantities_fit_kind": [
        lambda r: coupon(kind="buy_x_get_y"),
        lambda r: coupon(kind="buy_x_get_y", buy_quantity=2),
        lambda r: coupon(kind="buy_x_get_y", buy_quantity=2, get_quantity=0),
        lambda r: coupon(buy_quantity=2, get_quantity=1),
    ],
    "coupon_tier_is_a_slug": [lambda r: coupon(tier="Gold")],
    "coupon_scope_is_one_thing": [
        lambda r: coupon_scope(product=None),
        lambda r: coupon_scope(category=factories.CategoryFactory()),
    ],
    "coupon_scope_names_a_product_once": [lambda r: twice(coupon_scope, "coupon", "product")],
    "coupon_scope_names_a_category_once": [
        lambda r: twice(
            lambda **same: coupon_scope(
                **{"product": None, "category": factories.CategoryFactory(), **same}
            ),
            "coupon",
        )
    ],
    "coupon_minimum_has_a_currency": [lambda r: coupon(minimum_subtotal=TEN)],
    "coupon_used_within_limit": [lambda r: update(coupon(max_uses=1), times_used=2)],
    "tax_rate_one_per_destination": [lambda r: twice(factories.TaxRateFactory, "country")],
    "tax_rate_is_a_fraction": [
        lambda r: factories.TaxRateFactory(rate=Decimal(1)),
        lambda r: factories.TaxRateFactory(rate=Decimal("-0.01")),
    ],
    "tax_destination_is_a_country": [
        lambda r: TaxDestination.objects.create(country="de", prices_include_tax=True)
    ],
    "shipping_zone_parts_of_one_country": [
        lambda r: zone(countries=[], regions=["HI"]),
        lambda r: zone(countries=["US", "CA"], regions=["HI"]),
        lambda r: zone(countries=[], postal_prefixes=["9"]),
    ],
    "shipping_rate_weights_in_order": [
        lambda r: r.shipping_rate(min_weight_grams=2, max_weight_grams=1)
    ],
    "shipping_rate_amount_not_negative": [lambda r: r.shipping_rate(amount=-1)],
    "shipping_rate_weights_do_not_overlap": [
        lambda r: twice(r.shipping_rate, "method", "zone"),
        lambda r: overlapping(r, (0, 1000), (1000, None)),
        lambda r: overlapping(r, (0, 1000), (500, 600)),
        lambda r: overlapping(r, (2000, None), (9999, 99_999)),
    ],
    "shipping_method_one_per_currency": [lambda r: twice(r.shipping_method, "code", "currency")],
    "shipping_method_amount_not_negative": [lambda r: r.shipping_method(amount=-1)],
    "shipping_method_days_in_order": [lambda r: r.shipping_method(min_business_days=3)],
    "order_status_known": [lambda r: untriggered(r.order(), status="lost")],
    "order_payment_status_known": [lambda r: update(r.order(), payment_status="lost")],
    "order_total_adds_up": [
        lambda r: r.order(total_amount=Decimal("10.01")),
        lambda r: r.order(tax_amount=2),
        lambda r: r.order(tax_included=True),
        lambda r: r.order(tax_included=True, tax_amount=10, total_amount=9),
    ],
    "order_amounts_not_negative": [
        lambda r: r.order(subtotal=-1, discount_amount=-1, total_amount=3),
        lambda r: r.order(tax_amount=-1, total_amount=8),
        lambda r: r.order(shipping_amount=-1, total_amount=7),
        lambda r: r.order(discount_amount=-1, total_amount=14),
        lambda r: r.order(discount_amount=11, total_amount=2),
    ],
    "order_shipping_tax_rate_is_a_fraction": [
        lambda r: r.order(shipping_tax_rate=1),
        lambda r: r.order(shipping_tax_rate=Decimal("-0.01")),
    ],
    "order_one_living_per_cart": [
        lambda r: twice(lambda **same: r.order(**{"cart_id": uuid.uuid4(), **same}), "cart_id")
    ],
    "cart_one_per_customer": [
        lambda r: twice(lambda **same: cart(**{"customer": customer(), **same}), "customer")
    ],
    "cart_currency_is_iso4217": [lambda r: cart(currency="usd")],
    "cart_item_one_per_product": [lambda r: twice(cart_item, "cart", "product")],
    "cart_item_quantity_within_bounds": [
        lambda r: cart_item(quantity=0),
        lambda r: cart_item(quantity=10_000),
    ],
    "order_language_is_a_code": [lambda r: r.order(language="EN")],
    "order_has_a_buyer": [lambda r: r.order(guest_email=None)],
    "order_item_quantity_positive": [lambda r: r.item(quantity=0, total_price=0)],
    "order_item_total_adds_up": [lambda r: r.item(total_price=TEN)],
    "order_item_amounts_not_negative": [
        lambda r: r.item(unit_price=-1, total_price=-2),
        lambda r: r.item(tax_amount=-1),
        lambda r: r.item(discount_amount=-1),
        lambda r: r.item(discount_amount=Decimal("20.01")),
    ],
    "order_item_tax_rate_is_a_fraction": [
        lambda r: r.item(tax_rate=1),
        lambda r: r.item(tax_rate=Decimal("-0.01")),
    ],
    "order_item_one_per_product": [lambda r: twice(r.item, "order", "product")],
    "order_transition_versions_gap_free": [
        lambda r: OrderTransition.objects.create(order=r.order(), version=0, to_status="pending")
    ],
    "shipment_once_per_request": [
        lambda r: twice(
            lambda **same: Shipment.objects.create(
                **{"order": r.order(), "carrier": "UPS", "request_key": "k", **same}
            ),
            "order",
            "request_key",
        )
    ],
    "shipment_tracking_url_is_a_web_page": [
        lambda r, url=url: Shipment.objects.create(order=r.order(), carrier="UPS", tracking_url=url)
        for url in ("javascript:alert(1)", "ups.com/1", " https://ups.com", "ftp://ups.com")
    ],
    "shipment_status_known": [lambda r: untriggered(r.shipment(), status="lost")],
    "shipment_delivered_at_follows_the_status": [
        lambda r: update(r.shipment(), status="delivered"),
        lambda r: update(r.shipment(), delivered_at=LONG_AGO),
    ],
    "letter_once_per_message": [lambda r: twice(r.letter, "message_uuid")],
    "order_note_once_per_request": [lambda r: twice(r.note, "order", "request_key")],
    "payment_link_one_per_cart": [lambda r: twice(r.payment_link, "cart_id")],
    "payment_link_once_per_request": [lambda r: twice(r.payment_link, "request_key")],
    "return_status_known": [lambda r: untriggered(r.returned(), status="lost")],
    "return_refund_follows_the_status": [
        lambda r: untriggered(r.returned(), status="refunded"),
        lambda r: r.returned(refund=r.refund()),
    ],
    "refund_proposal_kind_known": [lambda r: r.proposal(kind="gift")],
    "refund_proposal_status_known": [
        lambda r: untriggered(r.proposal(), **decided("lost")),
    ],
    "refund_proposal_of_something": [lambda r: r.proposal(amount=0)],
    "refund_proposal_about_what_its_kind_says": [
        lambda r: r.proposal(kind="charge"),
        lambda r: r.proposal(case=r.case()),
        lambda r: r.proposal(kind="charge", case=r.case(), order=r.order()),
    ],
    "refund_proposal_of_a_return_names_it": [
        lambda r: r.proposal(kind="return"),
        lambda r: r.proposal(returned=r.returned()),
    ],
    "refund_proposal_of_units_names_them": [
        lambda r: r.proposal(kind="units"),
        lambda r: r.proposal(units={"TEA": 1}),
    ],
    "refund_proposal_ends_an_order_by_its_money": [
        lambda r: r.proposal(kind="quarantine", ends_order=True),
    ],
    "refund_proposal_takes_a_second_person": [
        lambda r: [
            update(r.proposal(proposed_by=who), **{**decided("approved"), "decided_by": who})
            for who in [customer()]
        ],
    ],
    "refund_proposal_decided_by_somebody": [
        lambda r: update(r.proposal(), status="approved", decided_at=LONG_AGO),
        lambda r: update(r.proposal(), status="withdrawn"),
        lambda r: update(r.proposal(), decided_by=customer()),
        lambda r: update(r.proposal(), **{**decided("withdrawn"), "decided_by": customer()}),
    ],
    "refund_proposal_moves_money_when_approved": [
        lambda r: update(r.proposal(), refund=r.refund()),
        lambda r: update(r.proposal(), refund=r.refund(), **decided("refused")),
    ],
    "refund_proposal_one_waiting_per_order": [lambda r: twice(r.proposal, "order")],
    "refund_proposal_one_waiting_per_case": [
        lambda r: twice(lambda case=None: r.proposal(kind="charge", case=case or r.case()), "case")
    ],
    "return_item_once_per_return": [lambda r: twice(r.return_item, "parent", "order_item")],
    "return_item_of_something": [lambda r: r.return_item(quantity=0)],
    "return_receipt_restocks_what_came": [lambda r: r.receipt(restocked=2)],
    "invoice_series_known": [lambda r: InvoiceSeries.objects.create(series="X")],
    "invoice_number_once": [lambda r: twice(r.invoice, "series", "number")],
    "invoice_one_per_order": [lambda r: twice(r.invoice, "order")],
    "invoice_kind_has_its_series": [
        lambda r: r.invoice(series="CN"),
        lambda r: r.invoice(kind="credit_note", series="CN"),
        lambda r: r.invoice(refund=r.refund()),
        lambda r: r.invoice(kind="reversal", series="RV"),
        lambda r: r.invoice(reverses=r.invoice()),
    ],
    "invoice_number_positive": [lambda r: r.invoice(number=0)],
    "shipment_item_once_per_shipment": [lambda r: twice(r.shipment_item, "shipment", "order_item")],
    "shipment_item_of_something": [lambda r: r.shipment_item(quantity=0)],
    "background_job_kind_known": [lambda r: job(kind="magic")],
    "background_job_status_known": [
        lambda r: untriggered(job(), status="lost", finished_at=LONG_AGO)
    ],
    "background_job_once_per_request": [lambda r: twice(job, "owner", "request_key")],
    "background_job_leased_while_running": [
        lambda r: untriggered(job(), status="running"),
        lambda r: untriggered(job(), lease=uuid.uuid4()),
        lambda r: untriggered(job(), lease_until=LONG_AGO),
    ],
    "background_job_finished_at_its_end": [
        lambda r: untriggered(job(), finished_at=LONG_AGO),
        lambda r: untriggered(job(), status="done"),
    ],
    "background_job_import_applies_a_preview": [
        lambda r: job(kind="import"),
        lambda r: job(applies=job(kind="preview")),
    ],
    "background_job_done_within_total": [lambda r: job(done=2, total=1)],
    "background_job_chunk_once_in_its_place": [lambda r: twice(chunk, "job", "part", "n")],
    "background_job_chunk_part_known": [lambda r: chunk(part="middle")],
    # integrations
    "marketing_contact_segments_were_told": [
        lambda r: MarketingContact.objects.create(customer=customer(), segments="orders=one"),
        lambda r: MarketingContact.objects.create(
            customer=customer(), segments="orders=one", told_at=LONG_AGO, telling=uuid.uuid4()
        ),
    ],
    "support_ticket_one_per_matter": [lambda r: twice(r.ticket, "matter")],
    "support_ticket_told_was_begun": [lambda r: r.ticket(ticket_id="1", told=[uuid.uuid4()])],
    "support_ticket_known_once_told": [
        lambda r: [r.ticket(begun=[one], told=[one]) for one in [uuid.uuid4()]]
    ],
    "support_ticket_url_is_of_the_web": [
        lambda r, url=url: r.ticket(url=url)
        for url in ("javascript:alert(1)", "desk.example/1", " https://desk.example")
    ],
    "tracking_event_once_per_source": [lambda r: twice(r.tracking_event, "event_id")],
    "tracking_event_source_known": [lambda r: r.tracking_event(source="pigeon")],
    "tracking_event_stage_known": [lambda r: r.tracking_event(stage="lost")],
    "tracking_event_status_known": [lambda r: untriggered(r.tracking_event(), status="lost")],
    "tracking_event_processed_about_a_parcel": [
        lambda r: update(r.tracking_event(), status="processed", processed_at=LONG_AGO),
        lambda r: update(r.tracking_event(), status="processed", shipment=r.shipment()),
        lambda r: r.tracking_event(shipment=r.shipment()),
    ],
    "shipping_label_provider_known": [lambda r: r.label(provider="pigeon")],
    "shipping_label_status_known": [lambda r: untriggered(r.label(), status="lost")],
    "shipping_label_bought_has_its_price": [
        lambda r, missing=missing: update(r.label(), **(BOUGHT | missing))
        for missing in (
            *({"amount": None}, {"bought_at": None}, {"currency": ""}),
            *({"carrier": ""}, {"tracking_number": ""}),
        )
    ],
    "shipping_label_amount_not_negative": [
        lambda r: r.label(amount=Decimal("-0.01")),
    ],
    "shipping_label_sent_was_bought": [lambda r: r.label(shipment=r.shipment())],
    "shipping_label_links_to_web_pages": [
        lambda r, name=name: r.label(**{name: "javascript:alert(1)"})
        for name in ("label_url", "tracking_url")
    ],
    "shipping_label_weighs_something": [lambda r: r.label(weight_grams=0)],
    # audit
    "audit_seal_counts_from_one_and_zero": [
        lambda r: seal(number=0),
        lambda r: seal(from_xid=1),
        lambda r: untriggered(seal(), number=2),
    ],
    "audit_seal_covers_rows_or_retires_them": [
        lambda r: seal(row_count=0),
        lambda r: seal(to_xid=0),
        lambda r: seal(newest_at=None),
        lambda r: seal(retired_before=LONG_AGO),
    ],
    "audit_seal_has_a_leaf_for_each_row": [lambda r: seal(leaves=bytes(49))],
    "audit_seal_digests_are_whole": [
        lambda r: seal(root=bytes(31)),
        lambda r: seal(previous=b""),
        lambda r: seal(digest=bytes(33)),
        lambda r: seal(signature=bytes(32)),
    ],
    "delivery_one_per_message_and_subscriber": [
        lambda r: twice(
            lambda **same: Delivery.objects.create(
                **{"message": r.message(), "subscriber": "crm", **same}
            ),
            "message",
        )
    ],
    "delivery_status_known": [
        lambda r: Delivery.objects.create(message=r.message(), subscriber="crm", status="lost")
    ],
    # integrations
    "webhook_endpoint_one_per_url": [lambda r: twice(webhook, "url")],
    "webhook_endpoint_url_is_of_the_web": [
        lambda r: webhook(url="javascript:alert(1)"),
        lambda r: webhook(url="ftp://erp.example/"),
        lambda r: webhook(url="https://user:word@erp.example/"),
        lambda r: webhook(url="https://erp.example/a b"),
        lambda r: webhook(url=""),
    ],
    "webhook_endpoint_wants_something": [lambda r: webhook(events=[])],
    "webhook_endpoint_status_known": [lambda r: webhook(status="asleep")],
    "webhook_endpoint_enabled_misses_nothing": [
        lambda r: webhook(status="enabled", disabled_because="it answered 410 Gone"),
        lambda r: webhook(status="enabled", missed_since=LONG_AGO),
    ],
    "webhook_secret_one_per_request": [
        lambda r: twice(
            lambda **same: webhook_secret(**{"expires_at": LONG_AGO, **same}),
            "endpoint",
            "request_key",
        )
    ],
    "webhook_secret_one_current": [
        lambda r: webhook_secret(endpoint=webhook_secret().endpoint, request_key="other")
    ],
    "webhook_attempt_delivered_means_2xx": [
        lambda r: webhook_attempt(http_status=500),
        lambda r: webhook_attempt(http_status=None),
        lambda r: webhook_attempt(outcome="failed"),
        lambda r: webhook_attempt(outcome="lost"),
    ],
    "webhook_replay_one_per_request": [lambda r: twice(webhook_replay, "endpoint", "request_key")],
    "webhook_replay_ends_after_it_begins": [lambda r: webhook_replay(until=LONG_AGO)],
}


def our_models():
    return [model for label in OURS for model in apps.get_app_config(label).get_models()]


class TestNamedConstraints:
    @pytest.mark.parametrize(
        ("name", "attempt"),
        [
            pytest.param(name, attempt, id=f"{name}-{number}")
            for name, attempts in REFUSED.items()
            for number, attempt in enumerate(attempts)
        ],
    )
    def test_refuse_by_name(self, rows, name, attempt):
        with pytest.raises(IntegrityError) as caught, transaction.atomic():
            attempt(rows)

        assert violated_constraint(caught.value) == name

    def test_are_all_in_the_table_above(self):
        """A new constraint comes with what it refuses."""
        named = {c.name for model in our_models() for c in model._meta.constraints}

        assert named == set(REFUSED)

    def test_are_not_checked_by_the_application_alone(self):
        with connection.cursor() as cursor:
            cursor.execute("SELECT conname FROM pg_constraint UNION SELECT relname FROM pg_class")
            found = {name for (name,) in cursor.fetchall()}

        assert set(REFUSED) <= found

    def test_let_what_is_right_pass(self, rows):
        """The rows the attempts start from are good: what was refused above was the one change."""
        rows.item()
        rows.reservation()
        rows.refund(amount=TEN)
        update(rows.proposal(), refund=rows.refund(), **decided("approved"))
        rows.proposal(kind="charge", case=rows.case())
        rows.proposal(kind="units", units={"TEA": 1})
        LedgerEntry.objects.bulk_create(rows.legs())
        rows.answer(rows.key())
        rows.shipment_item()
        update(
            rows.tracking_event(),
            status="processed",
            processed_at=LONG_AGO,
            shipment=rows.shipment(),
        )
        update(rows.label(), **BOUGHT, shipment=rows.shipment(), label_url="https://labels.test/1")
        rows.shipping_method(min_business_days=2)
        movement()
        chunk()
        job(kind="import", applies=job(kind="preview"))
        movement(kind="count", quantity=0, document=document())
        scheduled_prices((0, 2), (2, 4), (4,), (5,), (6, 7))
        coupon(kind="fixed", value=5, currency="USD")
        coupon(kind="free_shipping")
        coupon(kind="buy_x_get_y", value=100, buy_quantity=2, get_quantity=1)
        coupon(code=None, name="Autumn", tier="gold")
        coupon_scope()
        coupon_scope(product=None, category=factories.CategoryFactory())
        price_break()
        price_break(min_quantity=1, tier="gold")
        zone(regions=["HI"], postal_prefixes=["967"])
        zone(countries=["US", "CA"])
        overlapping(rows, (0, 1000), (1001, 2000), (2001, None))
        rows.order(tax_included=True, total_amount=9)
        rows.order(
            tax_included=True, tax_amount=9, discount_amount=0, shipping_amount=0, total_amount=10
        )
        factories.TaxRateFactory(rate=0)
        rows.payment(order=rows.payment(status="failed").order)
        rows.payment(order=rows.payment(status="cancelled").order)
        seal(leaves=bytes(48))
        seal(number=2, from_xid=5, to_xid=9, row_count=3)
        seal(
            number=3,
            from_xid=9,
            to_xid=9,
            row_count=0,
            newest_at=None,
            retired_before=LONG_AGO,
        )

        as_at_commit()


# --- statuses -----------------------------------------------------------------------------------

EDGES = {
    Order: {
        "pending": {"confirmed", "cancelled"},
        "confirmed": {"processing", "shipped", "cancelled"},
        "processing": {"shipped", "cancelled"},
        "shipped": {"delivered", "refunded"},
        "delivered": {"refunded"},
        "cancelled": set(),
        "refunded": set(),
    },
    Reservation: {
        "held": {"committed", "released"},
        "committed": {"shipped", "released"},
        "shipped": set(),
        "released": set(),
    },
    ScheduledPrice: {
        "waiting": {"running", "done", "missed", "cancelled"},
        "running": {"done", "overridden"},
        **{status: set() for status in ("done", "overridden", "missed", "cancelled")},
    },
    Payment: {
        "created": {
            "requires_action",
            "processing",
            "succeeded",
            "failed",
            "cancelled",
            "quarantined",
        },
        "requires_action": {"processing", "succeeded", "failed", "cancelled", "quarantined"},
        "processing": {"requires_action", "succeeded", "failed", "cancelled", "quarantined"},
        "succeeded": set(),
        "failed": {"succeeded", "quarantined"},
        "cancelled": {"succeeded", "quarantined"},
        "quarantined": {"succeeded", "failed", "cancelled"},
    },
    Refund: {
        "due": {"pending", "succeeded", "failed"},
        "pending": {"succeeded", "failed"},
        "succeeded": {"failed"},
        "failed": set(),
    },
    Return: {
        "requested": {"accepted", "refused"},
        "accepted": {"received"},
        "refused": set(),
        "received": {"refunded"},
        "refunded": set(),
    },
    BackgroundJob: {
        "queued": {"running", "cancelled", "failed"},
        "running": {"queued", "done", "cancelled", "failed"},
        "done": set(),
        "cancelled": set(),
        "failed": set(),
    },
    Shipment: {
        "sent": {"in_transit", "delivered"},
        "in_transit": {"delivered"},
        "delivered": set(),
    },
    TrackingEvent: {
        "received": {"unmatched", "processed"},
        "unmatched": {"processed"},
        "processed": set(),
    },
    ShippingLabel: {
        "asked": {"bought", "failed", "discarded"},
        "bought": {"discarded"},
        "failed": set(),
        "discarded": set(),
    },
    RefundProposal: {
        "waiting": {"approved", "refused", "withdrawn"},
        "approved": set(),
        "refused": set(),
        "withdrawn": set(),
    },
}
FIRST = {
    Order: "pending",
    Reservation: "held",
    ScheduledPrice: "waiting",
    Payment: "created",
    Refund: "due",
    Return: "requested",
    BackgroundJob: "queued",
    Shipment: "sent",
    TrackingEvent: "received",
    ShippingLabel: "asked",
    RefundProposal: "waiting",
}


def with_status(model, status):
    """The status and what its constraints want beside it."""
    if model is Payment:
        return {"status": status, "amount_received": TEN if status == "succeeded" else 0}
    if model is Refund:
        return {"status": status, "stripe_refund_id": f"re_{uuid.uuid4()}"}
    if model is RefundProposal:
        return decided(status)
    if model is Shipment:
        return {"status": status, "delivered_at": LONG_AGO if status == "delivered" else None}
    if model is ShippingLabel:
        return BOUGHT if status == "bought" else {"status": status}
    rows = Rows()
    rows.numbers = itertools.count(uuid.uuid4().int % 10**9)  # apart from the test's own rows
    if model is TrackingEvent:
        is_done = status == "processed"
        return {
            "status": status,
            "shipment": rows.shipment() if is_done else None,
            "processed_at": LONG_AGO if is_done else None,
        }
    if model is Return:
        return {"status": status, "refund": rows.refund() if status == "refunded" else None}
    if model is BackgroundJob:
        is_held, is_over = status == "running", status in {"done", "cancelled", "failed"}
        return {
            "status": status,
            "lease": uuid.uuid4() if is_held else None,
            "lease_until": LONG_AGO if is_held else None,
            "finished_at": LONG_AGO if is_over else None,
        }
    if model is ScheduledPrice:
        return {
            "status": status,
            "applied_at": LONG_AGO if status in {"running", "done", "overridden"} else None,
            "ended_at": None if status in {"waiting", "running"} else LONG_AGO,
        }
    return {"status": status}


def make(rows, model):
    return {
        Order: rows.order,
        Reservation: rows.reservation,
        ScheduledPrice: lambda: scheduled_price(0, 9),
        Payment: rows.payment,
        Refund: rows.refund,
        Return: rows.returned,
        BackgroundJob: job,
        Shipment: rows.shipment,
        TrackingEvent: rows.tracking_event,
        ShippingLabel: rows.label,
        RefundProposal: rows.proposal,
    }[model]()


PAIRS = [
    pytest.param(model, old, new, id=f"{model.__name__}-{old}-{new}")
    for model, edges in EDGES.items()
    for old, new in itertools.product(edges, edges)
]


class TestStatuses:
    @pytest.mark.parametrize(("model", "old", "new"), PAIRS)
    def test_move_along_their_edges_alone(self, rows, model, old, new):
        row = make(rows, model)
        untriggered(row, **with_status(model, old))
        is_legal = new == old or new in EDGES[model][old]

        try:
            with transaction.atomic(), refusals_translated():
                update(row, **with_status(model, new))
            moved = True
        except InvalidTransitionError:
            moved = False

        assert moved is is_legal
        row.refresh_from_db()
        assert row.status == (new if is_legal else old)

    @pytest.mark.parametrize(
        ("model", "status"),
        [
            pytest.param(model, status, id=f"{model.__name__}-{status}")
            for model, edges in EDGES.items()
            for status in edges
        ],
    )
    def test_begin_at_the_beginning_alone(self, rows, model, status):
        row = make(rows, model)
        with pgtrigger.ignore():
            if model is not Order:
                row.delete()
            if model is Order:
                row.order_number += "-B"
                row.public_id = uuid.uuid4()
        row.pk, row._state.adding = None, True
        for name, value in with_status(model, status).items():
            setattr(row, name, value)

        if status == FIRST[model]:
            row.save()
        else:
            with pytest.raises(DatabaseError) as caught, transaction.atomic():
                row.save()
            assert sqlstate(caught.value) == RAISE_EXCEPTION

    def test_known_to_the_models_are_those_in_the_table_above(self):
        for model, edges in EDGES.items():
            assert set(model.Status.values) == set(edges)
        with_fsm = {
            model
            for model in our_models()
            for trigger in getattr(model._meta, "triggers", [])
            if isinstance(trigger, pgtrigger.FSM)
        }
        assert with_fsm == set(EDGES)


class TestTheTranslationOfARefusal:
    def test_makes_a_domain_error_of_what_a_trigger_says(self, rows):
        order = rows.order()

        with pytest.raises(InvalidTransitionError), short_transaction():
            update(order, status="shipped")

    def test_leaves_a_constraint_what_it_is(self, rows):
        order = rows.order()

        with pytest.raises(IntegrityError), short_transaction():
            update(order, payment_status="lost")


# --- orders: versions and transitions -----------------------------------------------------------


class TestTheMovesOfAnOrder:
    def test_are_counted_and_recorded(self, rows):
        order = rows.order()

        for status in ("confirmed", "processing", "shipped", "delivered", "refunded"):
            update(order, status=status)
            update(order, payment_status="succeeded")  # no move

        order.refresh_from_db()
        assert order.version == 5
        recorded = order.transitions.order_by("version")
        assert list(recorded.values_list("version", "from_status", "to_status")) == [
            (0, None, "pending"),
            (1, "pending", "confirmed"),
            (2, "confirmed", "processing"),
            (3, "processing", "shipped"),
            (4, "shipped", "delivered"),
            (5, "delivered", "refunded"),
        ]

    def test_are_counted_by_nobody_else(self, rows):
        order = rows.order()

        update(order, version=77)

        order.refresh_from_db()
        assert order.version == 0

    def test_that_are_refused_leave_no_trace(self, rows):
        order = rows.order()

        with pytest.raises(InvalidTransitionError), short_transaction():
            update(order, status="delivered")

        assert order.transitions.count() == 1


# --- what never changes -------------------------------------------------------------------------

OTHER = Decimal("77.77")
FROZEN = {
    "Order": {
        "public_id": uuid.uuid4(),
        "order_number": "OTHER",
        "subtotal": OTHER,
        "tax_amount": OTHER,
        "shipping_amount": OTHER,
        "shipping_tax_rate": Decimal("0.1"),
        "shipping_tax_class": "books",
        "discount_amount": OTHER,
        "total_amount": OTHER,
        "tax_included": True,
        "currency": "EUR",
    },
    "Payment": {
        "uuid": uuid.uuid4(),
        "order": "another",
        "currency": "EUR",
        "amount": OTHER,
        "create_params": {"amount": 1},
    },
    "Refund": {"uuid": uuid.uuid4(), "payment": "another", "currency": "EUR", "amount": OTHER},
    "Invoice": {
        "order": "another",
        "kind": "credit_note",
        "refund": "another",
        "reverses": "another",
        "series": "CN",
        "number": 999,
        "total_amount": OTHER,
        "currency": "EUR",
        "content": {"other": 1},
        "issued_at": LONG_AGO + dt.timedelta(days=1),
    },
    "ProviderEvent": {
        "stripe_event_id": "evt_other",
        "event_type": "other",
        "object_id": "other",
        "payload": {"other": 1},
    },
    "Letter": {
        "order": "another",
        "message_uuid": uuid.uuid4(),
        "fact": "other",
        "repeats": "another",
        "subject": "Other",
        "sent_at": LONG_AGO,
    },
    "OrderNote": {
        "order": "another",
        "author": "another",
        "request_key": "other",
        "created_at": LONG_AGO,
    },
    "CustomerNote": {
        "customer": "another",
        "author": "another",
        "request_key": "other",
        "created_at": LONG_AGO,
    },
    "RefundProposal": {
        "kind": "rest",
        "order": "another",
        "returned": "another",
        "case": "another",
        "currency": "EUR",
        "amount": OTHER,
        "ends_order": True,
        "units": {"TEA": 1},
        "request_key": "other",
        "proposed_by": "another",
        "proposed_at": LONG_AGO,
    },
    "AuditSeal": {
        "number": 2,
        "from_xid": 1,
        "to_xid": 9,
        "row_count": 2,
        "newest_at": LONG_AGO + dt.timedelta(days=1),
        "retired_before": LONG_AGO,
        "root": b"x" * 32,
        "previous": b"x" * 32,
        "digest": b"x" * 32,
        "signature": b"x" * 64,
        "key_id": "other",
        "created_at": LONG_AGO + dt.timedelta(days=1),
    },
}


class TestFrozenFields:
    @pytest.mark.parametrize(
        ("name", "field"), [(name, field) for name, fields in FROZEN.items() for field in fields]
    )
    def test_refuse_another_value(self, rows, name, field):
        makers = {
            "Order": rows.order,
            "Payment": rows.payment,
            "Refund": rows.refund,
            "Invoice": rows.invoice,
            "ProviderEvent": rows.event,
            # Blank ones: else their words would be what the database refuses to change.
            "Letter": rows.letter,
            "OrderNote": rows.note,
            "CustomerNote": customer_note,
            "RefundProposal": rows.proposal,
            "AuditSeal": seal,
        }
        row = makers[name]()
        value = FROZEN[name][field]
        if value == "another":
            others = {
                "order": rows.order,
                "refund": rows.refund,
                "reverses": rows.invoice,
                "repeats": rows.letter,
                "author": customer,
                "customer": customer,
                "returned": rows.returned,
                "case": rows.case,
                "proposed_by": customer,
            }
            value = others[field]() if field in others else rows.payment(status="succeeded")

        with pytest.raises(DatabaseError) as caught, transaction.atomic():
            update(row, **{field: value})

        assert sqlstate(caught.value) == RAISE_EXCEPTION

    def test_are_those_in_the_table_above(self):
        frozen = {
            model.__name__: set(trigger.fields)
            for model in our_models()
            for trigger in getattr(model._meta, "triggers", [])
            if isinstance(trigger, pgtrigger.ReadOnly)
        }

        assert frozen == {name: set(fields) for name, fields in FROZEN.items()}


ERASABLE = {
    "letters": lambda r: r.letter(recipient="a@example.com", body_text="Hello"),
    "order_notes": lambda r: r.note(text="Ring twice."),
    "customer_notes": lambda r: customer_note(text="Call before noon."),
}
BLANKED = {
    "letters": "recipient = '', body_text = '', body_html = ''",
    "order_notes": "text = ''",
    "customer_notes": "text = ''",
}
REWRITTEN = {
    "letters": "body_text = 'Other'",
    "order_notes": "text = 'Other'",
    "customer_notes": "text = 'Other'",
}


class TestErasableTables:
    @pytest.mark.parametrize("table", ERASABLE)
    def test_take_a_blank_and_no_other_words(self, rows, table):
        ERASABLE[table](rows)
        as_at_commit()

        assert refused(f"UPDATE {table} SET {REWRITTEN[table]}")
        assert refused(f"DELETE FROM {table}")
        assert refused(f"TRUNCATE {table} CASCADE")
        with connection.cursor() as cursor:
            cursor.execute(f"UPDATE {table} SET {BLANKED[table]}")
            assert cursor.rowcount == 1
        assert refused(f"UPDATE {table} SET {REWRITTEN[table]}")

    def test_are_those_in_the_table_above(self):
        erasable = {
            model._meta.db_table
            for model in our_models()
            for trigger in getattr(model._meta, "triggers", [])
            if trigger.name == "only_ever_blanked"
        }

        assert erasable == set(ERASABLE)


class TestASeal:
    @pytest.mark.parametrize(
        "wrong", [{"number": 3}, {"from_xid": 6}, {"from_xid": 4}, {"previous": b"x" * 32}]
    )
    def test_continues_the_last_one(self, wrong):
        seal()

        with pytest.raises(DatabaseError) as caught, transaction.atomic():
            seal(**{"number": 2, "from_xid": 5, "to_xid": 9, **wrong})

        assert sqlstate(caught.value) == RAISE_EXCEPTION

    def test_may_lose_its_leaves_and_gets_no_others(self):
        row = seal(leaves=bytes(48))

        assert refused("UPDATE audit_seals SET leaves = decode(repeat('ff', 48), 'hex')")
        update(row, leaves=b"")
        assert refused("UPDATE audit_seals SET leaves = decode(repeat('00', 48), 'hex')")
        assert refused("DELETE FROM audit_seals")
        assert refused("TRUNCATE audit_seals")


class TestAnAnsweredKey:
    @pytest.mark.parametrize(
        "change",
        [
            {"response_status": 402},
            {"response_body": '{"other": 1}'},
            {"response_status": None, "response_body": "", "answered_at": None},
            {"lease_until": LONG_AGO},
            {"owner": uuid.uuid4()},
            {"fingerprint": "other"},
        ],
    )
    def test_keeps_its_first_answer(self, rows, change):
        rows.answer(key := rows.key())

        with pytest.raises(DatabaseError) as caught, transaction.atomic():
            update(key, **change)

        assert sqlstate(caught.value) == RAISE_EXCEPTION

    def test_that_is_still_open_may_change_hands(self, rows):
        key = rows.key()

        update(key, owner=(heir := uuid.uuid4()))

        key.refresh_from_db()
        assert key.owner == heir


APPEND_ONLY = {
    "audit_logs": lambda r: AuditLog.objects.create(event_type="TEST"),
    "ledger_entries": lambda r: LedgerEntry.objects.bulk_create(r.legs()),
    "order_items": lambda r: r.item(),
    "order_transitions": lambda r: r.order(),
    "refund_lines": lambda r: r.refund_line(),
    "return_items": lambda r: r.return_item(),
    "return_receipts": lambda r: r.receipt(),
    "stock_documents": lambda r: document(),
    "stock_movements": lambda r: factories.ProductFactory(),
}
A_COLUMN = {
    "stock_documents": "reason = 'other'",
    "order_transitions": "at = now()",
    "refund_lines": "amount = 2",
    "return_items": "quantity = 2",
}


def as_at_commit():
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def refused(sql):
    """Whether one of our triggers says no."""
    with connection.cursor() as cursor, pytest.raises(DatabaseError) as caught:
        run_in_savepoint(cursor, sql)
    return sqlstate(caught.value) == RAISE_EXCEPTION


def run_in_savepoint(cursor, sql):
    with transaction.atomic():
        cursor.execute(sql)


class TestAppendOnlyTables:
    @pytest.mark.parametrize("table", APPEND_ONLY)
    def test_refuse_every_change(self, rows, table):
        APPEND_ONLY[table](rows)
        as_at_commit()  # no TRUNCATE, triggers or not, while deferred checks are pending

        assert refused(f"UPDATE {table} SET {A_COLUMN.get(table, 'created_at = now()')}")
        assert refused(f"DELETE FROM {table}")
        assert refused(f"TRUNCATE {table} CASCADE")

    def test_are_those_in_the_table_above(self):
        guarded = {
            model._meta.db_table
            for model in our_models()
            for trigger in getattr(model._meta, "triggers", [])
            if trigger.name == "never_changed"
        }

        assert guarded == set(APPEND_ONLY)

    def test_refuse_it_in_every_partition_by_its_own_name(self):
        partitions = audit_partitions()
        assert len(partitions) >= 5  # this month, three ahead, and the one for the rest
        for partition in partitions:
            with connection.cursor() as cursor:
                cursor.execute(
                    f"INSERT INTO {partition} (event_type, created_at) VALUES ('TEST', %s)",
                    [a_moment_in(partition)],
                )

        for partition in partitions:
            assert refused(f"UPDATE {partition} SET event_type = 'CHANGED'"), partition
            assert refused(f"DELETE FROM {partition}"), partition
            assert refused(f"TRUNCATE {partition}"), partition

    def test_refuse_it_in_a_partition_made_later(self):
        with connection.cursor() as cursor:
            cursor.execute("SELECT audit_make_partition('2199-05-20'::date)")
            assert cursor.fetchone() == (True,)
            cursor.execute("SELECT audit_make_partition('2199-05-01'::date)")
            assert cursor.fetchone() == (False,)
            cursor.execute(
                "INSERT INTO audit_logs (event_type, created_at) VALUES ('TEST', '2199-05-31')"
            )

        assert "audit_logs_2199_05" in audit_partitions()
        assert refused("UPDATE audit_logs_2199_05 SET event_type = 'CHANGED'")
        assert refused("DELETE FROM audit_logs_2199_05")
        assert refused("TRUNCATE audit_logs_2199_05")


def audit_partitions():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits"
            " WHERE inhparent = 'audit_logs'::regclass"
        )
        return [name for (name,) in cursor.fetchall()]


def a_moment_in(partition):
    if partition == "audit_logs_default":
        return "2250-01-01"
    year, month = partition.split("_")[-2:]
    return f"{year}-{month}-15"


# --- money --------------------------------------------------------------------------------------


class TestATransfer:
    @transaction.atomic
    def write(self, *quantities):
        wish = document(kind="transfer")
        for quantity in quantities:
            movement(document=wish, kind="transfer", quantity=quantity)
        as_at_commit()

    @pytest.mark.parametrize("quantities", [(-1,), (-1, 2), (3, -2)])
    def test_that_does_not_add_up_is_refused_at_commit(self, quantities):
        with pytest.raises(DatabaseError) as caught:
            self.write(*quantities)

        assert sqlstate(caught.value) == RAISE_EXCEPTION

    def test_that_adds_up_may_be_written_one_by_one(self):
        self.write(-2, 2)

        assert StockMovement.objects.filter(kind="transfer").count() == 2


class TestALedgerTransaction:
    @transaction.atomic
    def write(self, legs):
        for leg in legs:
            leg.save()  # refused not yet: the other leg may follow
        as_at_commit()

    @pytest.mark.parametrize("how", ["one leg", "other amounts", "other currencies"])
    def test_that_does_not_add_up_is_refused_at_commit(self, rows, how):
        legs = rows.legs()
        if how == "one leg":
            legs = legs[:1]
        elif how == "other amounts":
            legs[1].amount += Decimal("0.01")
        else:
            legs[1].currency = "EUR"

        with pytest.raises(DatabaseError) as caught:
            self.write(legs)

        assert sqlstate(caught.value) == RAISE_EXCEPTION

    def test_that_adds_up_may_be_written_leg_by_leg(self, rows):
        self.write(rows.legs())

        assert LedgerEntry.objects.count() == 2


class TestTheSumOfRefunds:
    @pytest.mark.parametrize("amounts", [["10.01"], ["10.00", "0.01"], ["4.00", "6.00", "0.01"]])
    def test_never_exceeds_what_was_received(self, rows, amounts):
        payment = rows.payment(status="succeeded")
        *within, above = amounts
        for amount in within:
            rows.refund(payment=payment, amount=Decimal(amount))

        with pytest.raises(InvalidTransitionError), short_transaction():
            rows.refund(payment=payment, amount=Decimal(above))

        assert payment.refunds.count() == len(within)

    def test_leaves_failed_ones_out(self, rows):
        payment = rows.payment(status="succeeded")
        update(rows.refund(payment=payment, amount=TEN), status="failed")

        rows.refund(payment=payment, amount=TEN)

        assert payment.refunds.count() == 2

    def test_is_in_the_payments_own_currency(self, rows):
        with pytest.raises(InvalidTransitionError), short_transaction():
            rows.refund(currency="EUR")


# --- updated_at ---------------------------------------------------------------------------------

TOUCHED: dict[type[models.Model], tuple[Any, dict[str, Any]]] = {
    Customer: (lambda r: customer(), {"phone": "+1 212 555 0100"}),
    Product: (lambda r: factories.ProductFactory(), {"name": "Other"}),
    Price: (lambda r: product().prices.get(), {"amount": 5}),
    PriceBreak: (lambda r: price_break(), {"amount": 5}),
    StockLevel: (lambda r: product().stock_levels.get(), {"on_hand": 500}),
    Reservation: (lambda r: r.reservation(), {"status": "committed"}),
    Order: (lambda r: r.order(), {"notes": "Ring twice"}),
    Payment: (lambda r: r.payment(), {"last_error": "x"}),
    Refund: (lambda r: r.refund(), {"last_error": "x"}),
    Return: (lambda r: r.returned(), {"refusal": "x"}),
    Dispute: (lambda r: r.dispute(), {"status": "won"}),
    SupportTicket: (lambda r: r.ticket(), {"is_settled": True}),
    CustomerMetrics: (lambda r: metrics(), {"order_count": 2}),
    Address: (lambda r: address(), {"city": "Albany"}),
    WebhookEndpoint: (lambda r: webhook(), {"description": "x"}),
}


class TestUpdatedAt:
    @pytest.mark.parametrize("model", TOUCHED, ids=lambda model: model.__name__)
    def test_follows_every_update(self, rows, model):
        make_row, change = TOUCHED[model]
        row = make_row(rows)
        untriggered(row, updated_at=LONG_AGO)

        update(row, **change)

        row.refresh_from_db()
        assert row.updated_at > LONG_AGO

    @pytest.mark.parametrize("model", TOUCHED, ids=lambda model: model.__name__)
    def test_cannot_be_set_by_hand(self, rows, model):
        row = TOUCHED[model][0](rows)

        update(row, updated_at=LONG_AGO)

        row.refresh_from_db()
        assert row.updated_at > LONG_AGO

    def test_is_on_every_table_that_has_one(self):
        with_column = {
            model
            for model in our_models()
            if any(
                isinstance(f, models.DateTimeField) and f.name == "updated_at"
                for f in model._meta.fields
            )
        }

        assert with_column == set(TOUCHED)


class TestTriggers:
    def test_are_installed_as_the_models_declare_them(self):
        with connection.cursor() as cursor:
            cursor.execute("SELECT tgname FROM pg_trigger")
            installed = {name for (name,) in cursor.fetchall()}

        declared = {trigger.get_pgid(model) for model, trigger in pgtrigger.registered()}
        assert declared
        assert declared <= installed


class TestColumnsUniqueByThemselves:
    @pytest.mark.parametrize(
        "attempt",
        [
            lambda r: twice(customer, "email"),
            lambda r: twice(factories.ProductFactory, "sku"),
            lambda r: twice(coupon, "code"),
            lambda r: twice(zone, "name"),
            lambda r: [
                TaxDestination.objects.create(country="DE", prices_include_tax=gross)
                for gross in (True, False)
            ],
            lambda r: twice(r.order, "order_number"),
            lambda r: twice(r.order, "public_id"),
            lambda r: update(r.payment(), payment_intent_id=r.payment().payment_intent_id),
            lambda r: twice(r.refund, "uuid"),
            lambda r: twice(
                lambda **same: CouponRedemption.objects.create(
                    **{"coupon": coupon(), "order": r.order(), "redeemed_by": "guest:x", **same}
                ),
                "order",
            ),
        ],
        ids=[
            "email",
            "sku",
            "code",
            "zone",
            "country",
            "number",
            "public_id",
            "intent",
            "refund",
            "redemption",
        ],
    )
    def test_refuse_a_second_one(self, rows, attempt):
        with pytest.raises(IntegrityError) as caught, transaction.atomic():
            attempt(rows)

        assert sqlstate(caught.value) == "23505"
