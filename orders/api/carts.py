"""Carts over HTTP."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from django.utils import timezone
from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.views import APIView

from config.kernel.api.paths import uuid_in_path
from config.kernel.api.schema import Access, Answer, Refusal, operation, path_parameter
from orders import selectors
from orders.api import examples
from orders.api.rights import GUEST_TOKEN, ORDER_NUMBER, own_order, shopper_of
from orders.api.serializers import (
    NOTHING_TO_SAY,
    CartCouponRequestSerializer,
    CartItemRequestSerializer,
    CartRequestSerializer,
    CartSerializer,
    NothingToSaySerializer,
)
from orders.errors import CartOrderedError
from orders.services import carts
from orders.services.quoting import BasketLine

if TYPE_CHECKING:
    from rest_framework.request import Request

CART_ID = path_parameter("cart_id", "The `id` of the cart.", example=examples.CART_ID)
THE_CART = Answer(
    body=CartSerializer, description="The cart as it is now.", examples={"cart": examples.CART}
)
ORDERED = Refusal(message=CartOrderedError.message, details={"order_number": examples.ORDER_NUMBER})


class CartsView(APIView):
    """Begin to shop."""

    permission_classes = [AllowAny]
    throttle_scope = "carts"

    @operation(
        summary="Get a cart",
        description="A guest gets a new one, a customer the one they have, on whatever device it"
        " was filled. `items` are added; of a product that is there already the larger quantity"
        " counts. A guest's cart is used by whoever knows its id; the first request with a token"
        " binds it to that customer, and pours the cart they had into it.",
        access=Access.GUEST_TOO,
        body=CartRequestSerializer,
        body_examples={"empty": {}, "filled": examples.CART_REQUEST},
        answers={
            201: Answer(
                body=CartSerializer,
                description="The cart.",
                examples={"filled": examples.CART},
                headers=["Location"],
            )
        },
        errors=["COUPON_INVALID", "INVALID_TRANSITION"],
        refusals={
            "VALIDATION_FAILED": Refusal(
                details={"items": [{"quantity": ["A whole number is required."]}]}
            ),
            "INVALID_TRANSITION": ORDERED,
        },
        tags=["carts"],
        operation_id="open_cart",
    )
    def post(self, request: Request) -> Response:
        wanted = CartRequestSerializer.read(request.data)
        cart = carts.open_cart(
            shopper=shopper_of(request),
            lines=CartRequestSerializer.to_lines(wanted),
            currency=wanted.get("currency"),
            coupon_code=wanted.get("coupon_code"),
            now=timezone.now(),
        )
        return _created(cart)


class CartView(APIView):
    """One cart."""

    permission_classes = [AllowAny]

    @operation(
        summary="Read a cart",
        description="Priced anew; `problems` say what has changed since it was filled.",
        access=Access.GUEST_TOO,
        parameters=[CART_ID],
        answers={200: THE_CART},
        tags=["carts"],
        operation_id="get_cart",
    )
    def get(self, request: Request, cart_id: str) -> Response:
        return Response(
            carts.get_cart(
                cart_id=uuid_in_path(cart_id), shopper=shopper_of(request), now=timezone.now()
            )
        )

    @operation(
        summary="Forget a cart",
        access=Access.GUEST_TOO,
        parameters=[CART_ID],
        answers={204: Answer(body=None, description="It is gone.")},
        errors=["INVALID_TRANSITION"],
        refusals={"INVALID_TRANSITION": ORDERED},
        tags=["carts"],
        operation_id="delete_cart",
    )
    def delete(self, request: Request, cart_id: str) -> Response:
        carts.delete_cart(cart_id=uuid_in_path(cart_id), shopper=shopper_of(request))
        return Response(status=HTTPStatus.NO_CONTENT)


class CartItemView(APIView):
    """A line of a cart."""

    permission_classes = [AllowAny]

    @operation(
        summary="Put a product into a cart",
        description="Exactly so many of it; 0 takes it out. More than there is may be wished for:"
        " `problems` say so.",
        access=Access.GUEST_TOO,
        parameters=[
            CART_ID,
            path_parameter("sku", "In upper case.", example=examples.BASKET["items"][0]["sku"]),
        ],
        body=CartItemRequestSerializer,
        body_examples={"two": examples.CART_ITEM_REQUEST},
        answers={200: THE_CART},
        errors=["INVALID_TRANSITION"],
        refusals={
            "VALIDATION_FAILED": Refusal(details={"sku": [carts.UNKNOWN_PRODUCT]}),
            "INVALID_TRANSITION": ORDERED,
        },
        tags=["carts"],
        operation_id="set_cart_item",
    )
    def put(self, request: Request, cart_id: str, sku: str) -> Response:
        wanted = CartItemRequestSerializer.read(request.data)
        cart = carts.set_item(
            cart_id=uuid_in_path(cart_id),
            shopper=shopper_of(request),
            sku=sku,
            quantity=wanted["quantity"],
            now=timezone.now(),
        )
        return Response(cart)


class CartCouponView(APIView):
    """A cart's coupon."""

    permission_classes = [AllowAny]

    @operation(
        summary="Use a coupon on a cart",
        access=Access.GUEST_TOO,
        parameters=[CART_ID],
        body=CartCouponRequestSerializer,
        body_examples={"use": examples.CART_COUPON_REQUEST, "none": {"coupon_code": None}},
        answers={200: THE_CART},
        errors=["COUPON_INVALID", "INVALID_TRANSITION"],
        refusals={
            "VALIDATION_FAILED": Refusal(details={"coupon_code": ["A text is required."]}),
            "INVALID_TRANSITION": ORDERED,
        },
        tags=["carts"],
        operation_id="set_cart_coupon",
    )
    def put(self, request: Request, cart_id: str) -> Response:
        wanted = CartCouponRequestSerializer.read(request.data)
        cart = carts.set_coupon(
            cart_id=uuid_in_path(cart_id),
            shopper=shopper_of(request),
            coupon_code=wanted["coupon_code"],
            now=timezone.now(),
        )
        return Response(cart)


class OrderAgainView(APIView):
    """The same once more."""

    permission_classes = [AllowAny]
    throttle_scope = "carts"

    @operation(
        summary="Put an order's items into a cart",
        description="A customer's own cart, or a new one for a guest. What is no longer sold is in"
        " it too: `problems` say so.",
        access=Access.GUEST_TOO,
        parameters=[ORDER_NUMBER, GUEST_TOKEN],
        body=NOTHING_TO_SAY,
        body_examples={"empty": {}},
        answers={
            201: Answer(
                body=CartSerializer,
                description="The cart.",
                examples={"cart": examples.CART},
                headers=["Location"],
            )
        },
        errors=["INVALID_TRANSITION"],
        refusals={
            "VALIDATION_FAILED": Refusal(details={"paid": ["This field is not known."]}),
            "INVALID_TRANSITION": ORDERED,
        },
        tags=["orders"],
        operation_id="order_again",
    )
    def post(self, request: Request, order_number: str) -> Response:
        NothingToSaySerializer.read(request.data)
        order, _ = own_order(request, order_number)
        cart = carts.open_cart(
            shopper=shopper_of(request),
            lines=[
                BasketLine(sku=item.product_sku, quantity=item.quantity)
                for item in selectors.list_items(order_id=order.pk)
            ],
            currency=order.currency,
            coupon_code=None,
            now=timezone.now(),
            keep_unsold=True,
        )
        return _created(cart)


def _created(cart: dict[str, object]) -> Response:
    return Response(
        cart, status=HTTPStatus.CREATED, headers={"Location": f"/api/v1/carts/{cart['id']}"}
    )
