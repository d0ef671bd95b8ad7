"""What was ordered, under which terms, and how far it has come."""

from orders.models.alerts import StockAlert
from orders.models.books import CheckedInvariant
from orders.models.cart import Cart, CartItem
from orders.models.correspondence import Letter, OrderNote
from orders.models.invoices import Invoice, InvoiceSeries
from orders.models.jobs import BackgroundJob, BackgroundJobChunk
from orders.models.order import (
    CouponRedemption,
    IdempotencyKey,
    Order,
    OrderItem,
    OrderTransition,
    RefundLine,
    Shipment,
    ShipmentItem,
)
from orders.models.payment_links import PaymentLink
from orders.models.proposals import RefundProposal
from orders.models.returns import Return, ReturnItem, ReturnReceipt
from orders.models.terms import (
    Coupon,
    CouponScope,
    ShippingMethod,
    ShippingRate,
    ShippingZone,
    TaxDestination,
    TaxRate,
)

__all__ = [
    "BackgroundJob",
    "BackgroundJobChunk",
    "Cart",
    "CartItem",
    "CheckedInvariant",
    "Coupon",
    "CouponRedemption",
    "CouponScope",
    "IdempotencyKey",
    "Invoice",
    "InvoiceSeries",
    "Letter",
    "Order",
    "OrderItem",
    "OrderNote",
    "OrderTransition",
    "PaymentLink",
    "RefundLine",
    "RefundProposal",
    "Return",
    "ReturnItem",
    "ReturnReceipt",
    "Shipment",
    "ShipmentItem",
    "ShippingMethod",
    "ShippingRate",
    "ShippingZone",
    "StockAlert",
    "TaxDestination",
    "TaxRate",
]
