"""Which columns each export has, and where each cell comes from; rows are read in batches.

A cell is a Python value: text, a number, an instant, a truth or nothing. How it is written is the
format's business (`orders.transfer.formats`).
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

from django.db.models import F, Func, Prefetch, Sum, TextField, Value
from import_export.fields import Field
from import_export.resources import Resource
from import_export.widgets import Widget

from config.kernel import money
from customers.models import Customer
from inventory.models import Category, Price, Product, StockLevel, StockMovement
from orders.models import Coupon, Invoice, Order, OrderItem, Shipment
from payments.models import LedgerEntry, Payment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import Model, QuerySet


class AsItIs(Widget):  # type: ignore[misc]  # untyped, as all of import-export
    """Hands the value on; import-export's own widgets make texts of everything."""

    def render(self, value: Any, obj: Any = None, **_: Any) -> Any:  # noqa: ARG002 - the library's hook
        return value


def column(attribute: str | None = None) -> Any:
    """A column filled from an attribute, or from the resource's `dehydrate_<name>`."""
    return Field(attribute=attribute, widget=AsItIs(), readonly=True)


def amount(attribute: str, *, currency: str = "currency") -> Any:
    """A column of amounts, each with as many digits as its currency has."""
    return _Amount(attribute=attribute, currency=currency)


class _Amount(Field):  # type: ignore[misc]  # likewise
    def __init__(self, *, attribute: str, currency: str) -> None:
        super().__init__(attribute=attribute, widget=AsItIs(), readonly=True)
        self._currency = Field(attribute=currency)

    def get_value(self, instance: Any) -> Decimal | None:
        found = super().get_value(instance)
        if found is None:
            return None
        return Decimal(money.format_amount(found, self._currency.get_value(instance)))


class Export(Resource):  # type: ignore[misc]  # likewise
    """One kind of export. Rows come from instances of `root`, read along `key`, which is unique."""

    root: ClassVar[type[Model]]
    key: ClassVar[tuple[str, ...]] = ("pk",)
    permission: ClassVar[str]
    title: ClassVar[str]
    filters: ClassVar[frozenset[str]] = frozenset()
    personal: ClassVar[frozenset[str]] = frozenset()
    is_personal: ClassVar[bool] = False
    formats: ClassVar[tuple[str, ...]] = ("csv", "xlsx")

    def rows_of(self, instance: Any) -> Iterable[Any]:
        """What of an instance has a row of its own: most are one."""
        return (instance,)

    def read(self) -> QuerySet[Any]:
        """The instances with all that their cells need, in few statements a batch."""
        return self.root._default_manager.all()  # noqa: SLF001 - Django's own name for it


_FILTERS_OF_ORDERS = frozenset(
    {
        *("status__exact", "payment_status__exact", "currency__exact"),
        *("created_at__gte", "created_at__lt"),
    }
)


class Orders(Export):
    """One row an order: what it is worth, what came in and went back, where it was sent."""

    order_number = column("order_number")
    created_at = column("created_at")
    status = column("status")
    payment_status = column("payment_status")
    customer_id = column("customer_id")
    email = column()
    buyer_name = column()
    currency = column("currency")
    lines = column()
    units = column()
    subtotal = amount("subtotal")
    discount_amount = amount("discount_amount")
    shipping_amount = amount("shipping_amount")
    tax_amount = amount("tax_amount")
    tax_included = column("tax_included")
    total_amount = amount("total_amount")
    captured_amount = column()
    refunded_amount = column()
    coupon_code = column("coupon_code")
    invoice_number = column()
    payment_intent = column()
    shipping_method = column("shipping_method")
    ship_to_name = column()
    ship_to_line1 = column()
    ship_to_line2 = column()
    ship_to_city = column()
    ship_to_postal_code = column()
    ship_to_state = column()
    ship_to_country = column()
    tracking_numbers = column()
    estimated_delivery = column("estimated_delivery")
    shipped_at = column("shipped_at")
    delivered_at = column("delivered_at")

    root = Order
    key = ("created_at", "pk")
    permission = "orders.export_orders"
    title = "orders"
    filters = _FILTERS_OF_ORDERS
    personal = frozenset(
        {
            *("email", "buyer_name", "ship_to_name", "ship_to_line1", "ship_to_line2"),
            *("ship_to_city", "ship_to_postal_code", "tracking_numbers"),
        }
    )

    def read(self) -> QuerySet[Order]:
        # Lists, not managers: a query set each would take a third of the time.
        return Order.objects.select_related("customer").prefetch_related(
            Prefetch("items", OrderItem.objects.only("order_id", "quantity"), to_attr="sold"),
            Prefetch(
                "payments",
                Payment.objects.only(
                    *("order_id", "amount_received", "amount_refunded", "payment_intent_id")
                ).order_by("pk"),
                to_attr="paid",
            ),
            Prefetch(
                "invoices",
                Invoice.objects.filter(kind=Invoice.Kind.INVOICE).only(
                    *("order_id", "series", "number")
                ),
                to_attr="invoiced",
            ),
            Prefetch(
                "shipments", Shipment.objects.only("order_id", "tracking_number"), to_attr="sent"
            ),
        )

    def dehydrate_email(self, order: Order) -> str | None:
        return order.customer.email if order.customer else order.guest_email

    def dehydrate_buyer_name(self, order: Order) -> str:
        if order.customer:
            return order.customer.get_full_name()
        return f"{order.guest_first_name} {order.guest_last_name}".strip()

    def dehydrate_lines(self, order: Any) -> int:
        return len(order.sold)

    def dehydrate_units(self, order: Any) -> int:
        return sum(item.quantity for item in order.sold)

    def dehydrate_captured_amount(self, order: Any) -> Decimal:
        captured = sum((one.amount_received for one in order.paid), Decimal(0))
        return Decimal(money.format_amount(captured, order.currency))

    def dehydrate_refunded_amount(self, order: Any) -> Decimal:
        refunded = sum((one.amount_refunded for one in order.paid), Decimal(0))
        return Decimal(money.format_amount(refunded, order.currency))

    def dehydrate_payment_intent(self, order: Any) -> str | None:
        intents = [one.payment_intent_id for one in order.paid if one.payment_intent_id]
        return intents[-1] if intents else None

    def dehydrate_invoice_number(self, order: Any) -> str | None:
        return next((one.document_number for one in order.invoiced), None)

    def dehydrate_tracking_numbers(self, order: Any) -> str:
        return " ".join(one.tracking_number for one in order.sent if one.tracking_number)

    def dehydrate_ship_to_name(self, order: Order) -> Any:
        return order.shipping_address.get("name")

    def dehydrate_ship_to_line1(self, order: Order) -> Any:
        return order.shipping_address.get("line1")

    def dehydrate_ship_to_line2(self, order: Order) -> Any:
        return order.shipping_address.get("line2")

    def dehydrate_ship_to_city(self, order: Order) -> Any:
        return order.shipping_address.get("city")

    def dehydrate_ship_to_postal_code(self, order: Order) -> Any:
        return order.shipping_address.get("postal_code")

    def dehydrate_ship_to_state(self, order: Order) -> Any:
        return order.shipping_address.get("state")

    def dehydrate_ship_to_country(self, order: Order) -> Any:
        return order.shipping_address.get("country")


class OrderLines(Export):
    """One row a line of an order, as it was sold."""

    order_number = column("order__order_number")
    created_at = column("order__created_at")
    status = column("order__status")
    sku = column("product_sku")
    product_name = column("product_name")
    quantity = column("quantity")
    currency = column("order__currency")
    unit_price = amount("unit_price", currency="order__currency")
    discount_amount = amount("discount_amount", currency="order__currency")
    tax_rate = column("tax_rate")
    tax_amount = amount("tax_amount", currency="order__currency")
    tax_included = column("order__tax_included")
    total_price = amount("total_price", currency="order__currency")

    root = Order
    key = ("created_at", "pk")
    permission = "orders.export_orders"
    title = "order lines"
    filters = _FILTERS_OF_ORDERS

    def read(self) -> QuerySet[Order]:
        return Order.objects.prefetch_related(
            Prefetch("items", OrderItem.objects.order_by("pk"), to_attr="sold")
        ).only(*("order_number", "created_at", "status", "currency", "tax_included"))

    def rows_of(self, instance: Any) -> Iterable[OrderItem]:
        sold: list[OrderItem] = instance.sold
        return sold


class Customers(Export):
    """One row an account of a customer that is not erased, and what was bought with it."""

    customer_id = column("pk")
    email = column("email")
    email_verified = column("email_verified")
    first_name = column("first_name")
    last_name = column("last_name")
    phone = column("phone")
    status = column("status")
    tier = column("tier")
    marketing_consent = column("marketing_consent")
    created_at = column("created_at")
    order_count = column()
    lifetime_value = column()

    root = Customer
    permission = "customers.export_customers"
    title = "customers"
    filters = frozenset({"status__exact", "tier__exact", "marketing_consent__exact"})
    is_personal = True

    def read(self) -> QuerySet[Customer]:
        living = Customer.objects.filter(erased_at__isnull=True, is_staff=False)
        return living.prefetch_related("metrics")

    def dehydrate_order_count(self, customer: Customer) -> int:
        return sum(one.order_count for one in customer.metrics.all())

    def dehydrate_lifetime_value(self, customer: Customer) -> str:
        """Different currencies are never added up: `12.00 EUR, 40.00 USD`."""
        values = sorted(customer.metrics.all(), key=lambda one: one.currency)
        return ", ".join(
            f"{money.format_amount(one.lifetime_value, one.currency)} {one.currency}"
            for one in values
        )


class Products(Export):
    """One row a product, in the columns that an import reads, and what is there of it."""

    sku = column("sku")
    name = column("name")
    description = column("description")
    category = column("category__slug")
    image_urls = column()
    image_alts = column()
    tax_class = column("tax_class")
    weight_grams = column("weight_grams")
    is_active = column("is_active")
    attributes = column()
    on_hand = column("on_hand")
    allocated = column("allocated")
    available = column()

    root = Product
    permission = "inventory.export_products"
    title = "products"
    filters = frozenset({"is_active__exact", "category__id__exact", "tax_class__exact"})

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        currencies = Price.objects.order_by("currency").values_list("currency", flat=True)
        for currency in currencies.distinct():
            self.fields[f"price_{currency}"] = _PriceIn(currency)

    def read(self) -> QuerySet[Product]:
        return (
            Product.objects.select_related("category")
            .prefetch_related("prices", "more_images")
            .annotate(
                on_hand=Sum("stock_levels__on_hand", default=0),
                allocated=Sum("stock_levels__allocated", default=0),
            )
        )

    def dehydrate_image_urls(self, product: Product) -> str:
        return " ".join(url for url, _ in _pictures(product))

    def dehydrate_image_alts(self, product: Product) -> str:
        return "\n".join(alt for _, alt in _pictures(product)).rstrip("\n")

    def dehydrate_attributes(self, product: Product) -> str:
        return json.dumps(product.attributes, ensure_ascii=False)

    def dehydrate_available(self, product: Any) -> int:
        return int(product.on_hand - product.allocated)


class _PriceIn(Field):  # type: ignore[misc]  # likewise
    """A product's price in one currency; empty if it has none."""

    def __init__(self, currency: str) -> None:
        super().__init__(column_name=f"price_{currency}", widget=AsItIs(), readonly=True)
        self._currency = currency

    def get_value(self, instance: Product) -> Decimal | None:
        for price in instance.prices.all():
            if price.currency == self._currency:
                return Decimal(money.format_amount(price.amount, price.currency))
        return None


def _pictures(product: Product) -> list[tuple[str, str]]:
    more = sorted(product.more_images.all(), key=lambda image: image.position)
    first = [(product.image_url, product.image_alt)] if product.image_url else []
    return first + [(image.url, image.alt) for image in more]


class Categories(Export):
    """One row a category, those above it first."""

    slug = column("slug")
    name = column("name")
    parent = column("parent__slug")

    root = Category
    key = ("way",)
    permission = "inventory.export_products"
    title = "categories"

    def read(self) -> QuerySet[Category]:
        way = Func(F("path"), Value("/"), function="array_to_string", output_field=TextField())
        return Category.objects.select_related("parent").annotate(way=way)


class StockLevels(Export):
    """One row a product and building."""

    sku = column("product__sku")
    product_name = column("product__name")
    warehouse = column("warehouse__code")
    on_hand = column("on_hand")
    allocated = column("allocated")
    available = column("available")
    low_stock_threshold = column("low_stock_threshold")
    updated_at = column("updated_at")

    root = StockLevel
    permission = "inventory.export_stock"
    title = "stock levels"
    filters = frozenset({"warehouse__id__exact"})

    def read(self) -> QuerySet[StockLevel]:
        return StockLevel.objects.select_related("product", "warehouse").annotate(
            available=F("on_hand") - F("allocated")
        )


class StockMovements(Export):
    """One row a movement: by how much, why, for which order and by whom."""

    movement = column("pk")
    created_at = column("created_at")
    sku = column("stock_level__product__sku")
    warehouse = column("stock_level__warehouse__code")
    kind = column("kind")
    quantity = column("quantity")
    reason = column("reason")
    order_number = column("order__order_number")
    user_id = column("user_id")

    root = StockMovement
    permission = "inventory.export_stock"
    title = "stock movements"
    filters = frozenset({"kind__exact", "created_at__gte", "created_at__lt"})

    def read(self) -> QuerySet[StockMovement]:
        return StockMovement.objects.select_related(
            "stock_level__product", "stock_level__warehouse", "order"
        )


class Coupons(Export):
    """One row a coupon or promotion, in the columns of an import, and how often it was used."""

    code = column("code")
    name = column("name")
    kind = column("kind")
    value = column("value")
    currency = column("currency")
    buy_quantity = column("buy_quantity")
    get_quantity = column("get_quantity")
    minimum_subtotal = column("minimum_subtotal")
    tier = column("tier")
    starts_at = column("starts_at")
    ends_at = column("ends_at")
    max_uses = column("max_uses")
    max_uses_per_customer = column("max_uses_per_customer")
    is_active = column("is_active")
    times_used = column("times_used")

    root = Coupon
    permission = "orders.export_coupons"
    title = "coupons"
    filters = frozenset({"is_active__exact", "kind__exact"})

    def read(self) -> QuerySet[Coupon]:
        return Coupon.objects.all()


class Ledger(Export):
    """One row an entry of the ledger, in the columns of `export_ledger`."""

    entry = column("pk")
    booked_at = column("created_at")
    transaction = column()
    kind = column("kind")
    account = column("account")
    amount = amount("amount")
    currency = column("currency")
    order_number = column("payment__order__order_number")
    payment = column()
    payment_intent = column("payment__payment_intent_id")
    refund = column()
    provider_refund = column("refund__stripe_refund_id")
    dispute = column("dispute__stripe_dispute_id")
    balance_transaction = column("balance_transaction_id")

    root = LedgerEntry
    permission = "payments.export_ledger"
    title = "ledger"
    filters = frozenset({"kind__exact", "account__exact", "created_at__gte", "created_at__lt"})

    def read(self) -> QuerySet[LedgerEntry]:
        return LedgerEntry.objects.select_related("payment__order", "refund", "dispute")

    def dehydrate_transaction(self, entry: LedgerEntry) -> str:
        return str(entry.transaction)

    def dehydrate_payment(self, entry: LedgerEntry) -> str:
        return str(entry.payment.uuid)

    def dehydrate_refund(self, entry: LedgerEntry) -> str | None:
        return str(entry.refund.uuid) if entry.refund else None
