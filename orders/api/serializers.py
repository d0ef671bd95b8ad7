"""The shapes of quotes and orders. Requests are strict; answers come from `orders.answers`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final
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
    StrictUUIDField,
)
from orders.models import Order
from orders.services.placement import Guest, PlaceOrder
from orders.services.quoting import Basket, BasketLine
from payments.gateway import METHOD_ID

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orders.services.carts import Wish

MAX_LINES = 100
MAX_QUANTITY = 9_999
MAX_NOTES = 2_000


class LineSerializer(StrictSerializer):
    """How many of what."""

    sku = StrictCharField(max_length=100, may_be_card_number=True)
    quantity = StrictIntegerField(min_value=1, max_value=MAX_QUANTITY)


class LinesField(serializers.ListField):
    """The lines of a basket: each SKU once."""

    line: ClassVar[type[serializers.Serializer[Any]]] = LineSerializer
    most: ClassVar[int] = MAX_LINES

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(child=self.line(), min_length=1, max_length=self.most, **kwargs)
        self.lines = self.line(many=True)

    def to_internal_value(self, data: Any) -> list[Any]:
        if not isinstance(data, list):
            self.fail("not_a_list", input_type=type(data).__name__)
        if not 1 <= len(data) <= self.most:  # before every line is looked at
            raise serializers.ValidationError(f"Between 1 and {self.most} lines are allowed.")
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
    """What quotes and orders share: goods, by themselves or in a cart, and how they get there."""

    exactly_one_of = ("items", "cart_id")

    items = LinesField(required=False)
    cart_id = StrictUUIDField(required=False, help_text="a cart, in place of `items`")
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
    def to_basket(
        wanted: Mapping[str, Any], *, cart: Wish | None, redeemed_by: str, tier: str
    ) -> Basket:
        """What is to be priced; without an address for the shop's own country."""
        address = wanted.get("shipping_address", {"country": settings.SHOP_COUNTRY})
        return Basket(
            lines=cart.lines if cart else _lines(wanted["items"]),
            currency=cart.currency if cart else wanted.get("currency", settings.SHOP_CURRENCY),
            country=address["country"],
            region=address.get("state", "").upper(),
            postal_code=address.get("postal_code", ""),
            tier=tier,
            shipping_method=wanted.get("shipping_method"),
            coupon_code=wanted.get("coupon_code") or (cart.coupon_code if cart else None),
            redeemed_by=redeemed_by,
        )


class PaymentMethodIdField(StrictRegexField):
    """What the payment provider's own form makes of a card."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(METHOD_ID.pattern, form="a payment method id like pm_1Nx…", **kwargs)


class OrderRequestSerializer(BasketSerializer):
    """`POST /orders`."""

    payment_method_id = PaymentMethodIdField()
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
        """The total has no more digits than its currency; a cart's own is not known here."""
        total = attrs.get("expected_total")
        if total is not None and ("items" in attrs or "currency" in attrs):
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
            lines=_lines(wanted["items"]) if "items" in wanted else None,
            cart_id=wanted.get("cart_id"),
            payment_method_id=wanted["payment_method_id"],
            shipping_address=wanted["shipping_address"],
            billing_address=wanted.get("billing_address", wanted["shipping_address"]),
            shipping_method=wanted.get("shipping_method"),
            coupon_code=wanted.get("coupon_code"),
            currency=wanted.get("currency"),
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


class NothingToSaySerializer(StrictSerializer):
    """An empty object: the path says it all."""


# The generator leaves out the body of a serializer that has no fields.
NOTHING_TO_SAY: Final = {"type": "object", "additionalProperties": False}


class OrderQuerySerializer(QuerySerializer):
    """Filters of the order list."""

    status = StrictChoiceField(choices=Order.Status.choices, required=False)
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
    total_price = MoneyField(help_text="quantity × unit_price, before discount")


class TotalsSerializer(serializers.Serializer[Any]):
    """total = subtotal − discount + shipping + tax; without the tax if they include it."""

    currency = serializers.CharField()
    items = PricedLineSerializer(many=True)
    subtotal = MoneyField()
    discount_amount = MoneyField()
    shipping_amount = MoneyField()
    tax_amount = MoneyField()
    total_amount = MoneyField()
    tax_included = serializers.BooleanField(
        help_text="prices here include tax: `tax_amount` is a part of the total, not on top of it"
    )


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


class CartRequestSerializer(StrictSerializer):
    """`POST /carts`: all of it may be left out."""

    items = LinesField(required=False)
    coupon_code = StrictCharField(max_length=50, required=False)
    currency = CurrencyField(required=False, help_text="of a new cart; else the shop's own")

    @staticmethod
    def to_lines(wanted: Mapping[str, Any]) -> tuple[BasketLine, ...]:
        """What is to be put into it."""
        return _lines(wanted.get("items", ()))


class CartItemRequestSerializer(StrictSerializer):
    """`PUT /carts/{cart_id}/items/{sku}`."""

    quantity = StrictIntegerField(min_value=0, max_value=MAX_QUANTITY, help_text="0 takes it out")


class CartCouponRequestSerializer(StrictSerializer):
    """`PUT /carts/{cart_id}/coupon`."""

    coupon_code = StrictCharField(max_length=50, allow_null=True, help_text="null for none")


class CartProblemSerializer(serializers.Serializer[Any]):
    """Why a cart cannot be ordered as it stands, or costs something else than it did."""

    code = serializers.ChoiceField(
        choices=["gone", "short", "price_changed", "coupon_invalid", "not_priceable"],
        help_text="`gone`: no longer sold. `short`: `available` of `requested` are there."
        " `price_changed`: `old_price` was seen, `new_price` counts. `coupon_invalid`: left out,"
        " for this `reason`. `not_priceable`: together, within the shop's own country, it is"
        " `too_heavy` or `too_expensive`, or `not_shipped` there in this currency; `items` have"
        " their list prices, all other amounts are zero. Take something out, or ask for a quote to"
        " another address.",
    )
    sku = serializers.CharField(required=False)
    requested = serializers.IntegerField(required=False)
    available = serializers.IntegerField(required=False)
    old_price = MoneyField(required=False)
    new_price = MoneyField(required=False)
    reason = serializers.CharField(required=False)


class CartSerializer(QuoteSerializer):
    """A cart, and the quote of what is in it: for the shop's own country, by the cheapest way."""

    id = serializers.UUIDField()
    expires_at = serializers.DateTimeField()
    coupon_code = serializers.CharField(allow_null=True)
    order_number = serializers.CharField(
        allow_null=True, help_text="the order that was made of it; a cancelled one frees the cart"
    )
    problems = CartProblemSerializer(many=True)
    shipping_method = serializers.CharField(
        allow_null=True, help_text="null while it is empty or `not_priceable`"
    )
    estimated_delivery = serializers.DateField(allow_null=True, help_text="likewise")


class PaymentLinkSerializer(QuoteSerializer):
    """What is behind a payment link: who it is for, where to, and what it costs now."""

    id = serializers.UUIDField()
    cart_id = serializers.UUIDField(help_text="for `POST /orders`, in place of `items`")
    expires_at = serializers.DateTimeField()
    customer = GuestSerializer(help_text="for `POST /orders` without an access token")
    shipping_address = AddressSerializer()
    coupon_code = serializers.CharField(allow_null=True)
    notes = serializers.CharField(allow_null=True)


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
    status = serializers.ChoiceField(choices=Order.Status.choices)
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


class ExportedAccountSerializer(serializers.Serializer[Any]):
    """The account's row."""

    id = serializers.IntegerField()
    email = serializers.EmailField()
    first_name = serializers.CharField()
    last_name = serializers.CharField()
    phone = serializers.CharField(allow_null=True)
    date_of_birth = serializers.DateField(allow_null=True)
    email_verified = serializers.BooleanField()
    marketing_consent = serializers.BooleanField()
    status = serializers.CharField()
    tier = serializers.CharField()
    language = serializers.CharField()
    created_at = serializers.DateTimeField()
    last_login = serializers.DateTimeField(allow_null=True)


class ExportedEmailSerializer(serializers.Serializer[Any]):
    """An address that belongs, or belonged, to the account."""

    email = serializers.EmailField()
    verified = serializers.BooleanField()
    primary = serializers.BooleanField()


class ExportedAddressSerializer(AddressSerializer):
    """An address of the address book."""

    created_at = serializers.DateTimeField()


class BoughtSerializer(serializers.Serializer[Any]):
    """What was bought in one currency."""

    currency = serializers.CharField()
    order_count = serializers.IntegerField()
    lifetime_value = MoneyField()


class ActivitySerializer(serializers.Serializer[Any]):
    """A log-in, a change, or another thing that the log keeps of an account."""

    created_at = serializers.DateTimeField()
    event_type = serializers.CharField()
    ip_address = serializers.CharField(allow_null=True)
    user_agent = serializers.CharField(allow_null=True)


class ExportedCartSerializer(serializers.Serializer[Any]):
    """A cart as it was left."""

    id = serializers.UUIDField()
    currency = serializers.CharField()
    coupon_code = serializers.CharField()
    changed_at = serializers.DateTimeField()
    items = ShipmentItemSerializer(many=True)


class SavePaymentMethodSerializer(StrictSerializer):
    """`POST /me/payment-methods`."""

    payment_method_id = PaymentMethodIdField()


class PaymentMethodSerializer(serializers.Serializer[Any]):
    """A saved card, as much of it as people know it by."""

    id = serializers.CharField()
    type = serializers.CharField()
    brand = serializers.CharField(allow_null=True)
    last4 = serializers.CharField(allow_null=True)
    exp_month = serializers.IntegerField(allow_null=True)
    exp_year = serializers.IntegerField(allow_null=True)


class StockAlertSerializer(serializers.Serializer[Any]):
    """A product that somebody waits for."""

    sku = serializers.CharField()
    created_at = serializers.DateTimeField()


class EventDataSerializer(serializers.Serializer[Any]):
    """What an event is about."""

    object = serializers.DictField(help_text="the payment intent, refund, dispute or charge")


class EventSerializer(serializers.Serializer[Any]):
    """What is read of an event of the provider, whatever else it holds."""

    id = serializers.CharField()
    type = serializers.CharField()
    livemode = serializers.BooleanField()
    data = EventDataSerializer()  # type: ignore[assignment]  # a field, not `Serializer.data`


class WebhookReceivedSerializer(serializers.Serializer[Any]):
    """That an event is kept."""

    received = serializers.BooleanField()


def _lines(items: Iterable[Mapping[str, Any]]) -> tuple[BasketLine, ...]:
    return tuple(BasketLine(sku=line["sku"], quantity=line["quantity"]) for line in items)
