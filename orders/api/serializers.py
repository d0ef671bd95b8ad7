"""The shapes of quotes and orders. Requests are strict; answers come from `orders.answers`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from rest_framework import serializers

from config.kernel import money
from config.kernel.api.addresses import AddressSerializer
from config.kernel.api.serializers import (
    CurrencyField,
    MoneyField,
    QuerySerializer,
    StrictCharField,
    StrictChoiceField,
    StrictEmailField,
    StrictIntegerField,
    StrictRegexField,
    StrictSerializer,
)
from orders.models import Order
from orders.services.placement import Guest, PlaceOrder
from orders.services.quoting import Basket, BasketLine

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_LINES = 100
MAX_QUANTITY = 9_999
MAX_NOTES = 2_000


class LineSerializer(StrictSerializer):
    """How many of what."""

    sku = StrictCharField(max_length=100)
    quantity = StrictIntegerField(min_value=1, max_value=MAX_QUANTITY)


class LinesField(serializers.ListField):
    """The lines of a basket: each SKU once."""

    child = LineSerializer()

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_length=1, max_length=MAX_LINES, **kwargs)
        self.lines = LineSerializer(many=True)

    def to_internal_value(self, data: Any) -> list[Any]:
        if not isinstance(data, list):
            self.fail("not_a_list", input_type=type(data).__name__)
        if not 1 <= len(data) <= MAX_LINES:  # before every line is looked at
            raise serializers.ValidationError(f"Between 1 and {MAX_LINES} lines are allowed.")
        lines: list[Any] = self.lines.run_validation(data)
        seen: set[str] = set()
        problems: list[dict[str, list[str]]] = []
        for line in lines:
            repeated = line["sku"] in seen
            seen.add(line["sku"])
            problems.append(
                {"sku": ["This SKU stands in another line already."]} if repeated else {}
            )
        if any(problems):
            raise serializers.ValidationError(problems)
        return lines


class GuestSerializer(StrictSerializer):
    """Who buys without an account."""

    email = StrictEmailField()
    first_name = StrictCharField(max_length=100)
    last_name = StrictCharField(max_length=100)


class BasketSerializer(StrictSerializer):
    """What quotes and orders share."""

    items = LinesField()
    shipping_method = StrictCharField(
        max_length=30, required=False, help_text="the `code` of one in the quote; else the cheapest"
    )
    coupon_code = StrictCharField(max_length=50, required=False)
    currency = CurrencyField(required=False)


class QuoteRequestSerializer(BasketSerializer):
    """`POST /quotes`."""

    shipping_address = AddressSerializer(
        required=False, help_text="without it the shop's own country is assumed"
    )

    @staticmethod
    def to_basket(wanted: Mapping[str, Any], *, redeemed_by: str) -> Basket:
        """What is to be priced; without an address for the shop's own country."""
        address = wanted.get("shipping_address", {"country": settings.SHOP_COUNTRY})
        return Basket(
            lines=_lines(wanted),
            currency=wanted.get("currency", settings.SHOP_CURRENCY),
            country=address["country"],
            region=address.get("state", "").upper(),
            shipping_method=wanted.get("shipping_method"),
            coupon_code=wanted.get("coupon_code"),
            redeemed_by=redeemed_by,
        )


class OrderRequestSerializer(BasketSerializer):
    """`POST /orders`."""

    payment_method_id = StrictRegexField(
        r"pm_[A-Za-z0-9_]{1,250}", form="a payment method id like pm_1Nx…"
    )
    shipping_address = AddressSerializer()
    billing_address = AddressSerializer(required=False, help_text="else the shipping address")
    expected_total = MoneyField(
        required=False, help_text="the total that the shopper saw; another one is PRICE_CHANGED"
    )
    notes = StrictCharField(max_length=MAX_NOTES, multiline=True, required=False, allow_blank=True)
    return_url = StrictCharField(
        max_length=2_000,
        required=False,
        help_text="where the shopper comes back to; of the shop's own or a storefront's origin",
    )
    customer = GuestSerializer(required=False, help_text="who buys without an access token")

    def validate_return_url(self, value: str) -> str:
        """Only back to the shop: an open redirect would lend its name to a fraud."""
        try:
            parts = urlsplit(value)
        except ValueError:
            parts = urlsplit("")
        allowed = {settings.PUBLIC_URL, *settings.CORS_ALLOWED_ORIGINS}
        if f"{parts.scheme}://{parts.netloc}" not in allowed or "\\" in value:
            raise serializers.ValidationError("Must be a page of the shop or of a storefront.")
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """The total has no more digits than its currency."""
        total = attrs.get("expected_total")
        if total is not None:
            currency = attrs.get("currency", settings.SHOP_CURRENCY)
            if -int(total.as_tuple().exponent) > money.digits(currency):
                raise serializers.ValidationError(
                    {"expected_total": [f"Has more digits than {currency}."]}
                )
        return attrs

    @staticmethod
    def to_command(
        wanted: Mapping[str, Any],
        *,
        customer_id: int | None,
        idempotency_key: str,
        fingerprint: str,
    ) -> PlaceOrder:
        """The checked request; `customer_id` comes from the access token, never from the body."""
        guest = wanted.get("customer")
        return PlaceOrder(
            customer_id=customer_id,
            guest=Guest(**guest) if guest else None,
            idempotency_key=idempotency_key,
            fingerprint=fingerprint,
            lines=_lines(wanted),
            payment_method_id=wanted["payment_method_id"],
            shipping_address=wanted["shipping_address"],
            billing_address=wanted.get("billing_address", wanted["shipping_address"]),
            shipping_method=wanted.get("shipping_method"),
            coupon_code=wanted.get("coupon_code"),
            currency=wanted.get("currency", settings.SHOP_CURRENCY),
            expected_total=wanted.get("expected_total"),
            notes=wanted.get("notes"),
            return_url=wanted.get("return_url"),
        )


class CancelRequestSerializer(StrictSerializer):
    """`POST /orders/{order_number}/cancel`."""

    reason = StrictCharField(max_length=200, required=False, allow_blank=True)


class ClaimRequestSerializer(StrictSerializer):
    """`POST /orders/{order_number}/claim`."""

    guest_token = StrictCharField(max_length=200, help_text="as it stands in the guest's 201")


class ConfirmRequestSerializer(StrictSerializer):
    """`POST /orders/{order_number}/confirm`: nothing to say."""


# The generator leaves out the body of a serializer that has no fields.
CONFIRM_REQUEST: Final = {"type": "object", "additionalProperties": False}


class OrderQuerySerializer(QuerySerializer):
    """Filters of the order list."""

    status = StrictChoiceField(choices=Order.Status.values, required=False)
    created_after = serializers.DateTimeField(required=False, help_text="exclusive")
    created_before = serializers.DateTimeField(required=False, help_text="exclusive")


class PricedLineSerializer(serializers.Serializer[Any]):
    """A line with its money, as strings in major units."""

    sku = serializers.CharField()
    product_name = serializers.CharField()
    quantity = serializers.IntegerField()
    unit_price = MoneyField()
    discount_amount = MoneyField()
    tax_amount = MoneyField()
    total_price = MoneyField(help_text="quantity × unit_price, before discount and tax")


class TotalsSerializer(serializers.Serializer[Any]):
    """total = subtotal − discount + shipping + tax."""

    currency = serializers.CharField()
    items = PricedLineSerializer(many=True)
    subtotal = MoneyField()
    discount_amount = MoneyField()
    shipping_amount = MoneyField()
    tax_amount = MoneyField()
    total_amount = MoneyField()


class ShippingMethodSerializer(serializers.Serializer[Any]):
    """A way to the customer, priced."""

    code = serializers.CharField()
    name = serializers.CharField()
    amount = MoneyField()
    estimated_delivery = serializers.DateField()


class UnavailableItemSerializer(serializers.Serializer[Any]):
    """A line that cannot be filled now."""

    sku = serializers.CharField()
    requested = serializers.IntegerField()
    available = serializers.IntegerField()


class QuoteSerializer(TotalsSerializer):
    """What it would cost now; holds nothing."""

    shipping_methods = ShippingMethodSerializer(many=True)
    shipping_method = serializers.CharField()
    estimated_delivery = serializers.DateField()
    unavailable_items = UnavailableItemSerializer(many=True)


class ShipmentItemSerializer(serializers.Serializer[Any]):
    """What lies in a parcel."""

    sku = serializers.CharField()
    quantity = serializers.IntegerField()


class ShipmentSerializer(serializers.Serializer[Any]):
    """A parcel on its way."""

    carrier = serializers.CharField()
    tracking_number = serializers.CharField()
    tracking_url = serializers.CharField()
    shipped_at = serializers.DateTimeField()
    items = ShipmentItemSerializer(many=True)


class OrderSerializer(TotalsSerializer):
    """An order as clients read it."""

    id = serializers.UUIDField()
    order_number = serializers.CharField()
    status = serializers.ChoiceField(choices=Order.Status.values)
    payment_status = serializers.ChoiceField(choices=Order.PaymentStatus.values)
    refunded_amount = MoneyField()
    shipping_address = AddressSerializer()
    billing_address = AddressSerializer()
    shipping_method = serializers.CharField()
    estimated_delivery = serializers.DateField(allow_null=True)
    notes = serializers.CharField(allow_null=True)
    shipments = ShipmentSerializer(many=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    shipped_at = serializers.DateTimeField(allow_null=True)
    delivered_at = serializers.DateTimeField(allow_null=True)
    guest_token = serializers.CharField(
        required=False, help_text="only for a guest's order: reads it with ?token="
    )


class EventDataSerializer(serializers.Serializer[Any]):
    """What an event is about."""

    object = serializers.DictField(help_text="the payment intent, refund, dispute or charge")


class EventSerializer(serializers.Serializer[Any]):
    """What is read of an event of the provider; whatever else it holds is kept with it."""

    id = serializers.CharField()
    type = serializers.CharField()
    livemode = serializers.BooleanField()
    data = EventDataSerializer()  # type: ignore[assignment]  # a field, not `Serializer.data`


class WebhookReceivedSerializer(serializers.Serializer[Any]):
    """That an event is kept."""

    received = serializers.BooleanField()


def _lines(wanted: Mapping[str, Any]) -> tuple[BasketLine, ...]:
    return tuple(BasketLine(sku=line["sku"], quantity=line["quantity"]) for line in wanted["items"])
