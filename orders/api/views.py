"""Quotes and orders over HTTP: each view checks the shape, makes one call and translates."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from django.http import HttpResponse
from django.utils import timezone
from rest_framework.exceptions import NotAuthenticated
from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.views import APIView

from config.kernel.api.pagination import SignedCursorPagination
from config.kernel.api.parsers import canonical_fingerprint
from config.kernel.api.schema import (
    PAGE,
    Access,
    Answer,
    Refusal,
    header,
    operation,
)
from config.kernel.clock import Deadline
from config.kernel.errors import DomainError, NotFoundError, ValidationFailedError
from orders import answers, selectors
from orders.api import examples
from orders.api.rights import GUEST_TOKEN, ORDER_NUMBER, customer_id_of, own_order
from orders.api.serializers import (
    NOTHING_TO_SAY,
    CancelRequestSerializer,
    ClaimRequestSerializer,
    NothingToSaySerializer,
    OrderQuerySerializer,
    OrderRequestSerializer,
    OrderSerializer,
    QuoteRequestSerializer,
    QuoteSerializer,
)
from orders.errors import CartOrderedError
from orders.services import carts
from orders.services.cancellation import cancel_order
from orders.services.confirmation import confirm_order
from orders.services.guest_orders import claim_order
from orders.services.placement import place_order
from orders.services.quoting import find_unavailable, price_basket, quote_json

if TYPE_CHECKING:
    from rest_framework.request import Request

    from orders.models import Order
    from payments.models import Payment

REQUEST_SECONDS = 12.0  # the whole request, provider calls included
IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")
IDEMPOTENCY_HEADER = header(
    "Idempotency-Key",
    "1–255 visible ASCII characters; the same key and body again is the same order.",
    kind={"type": "string", "pattern": f"^{IDEMPOTENCY_KEY.pattern}$"},
    required=True,
    example=examples.IDEMPOTENCY_KEY,
)
BAD_LINE = Refusal(details={"items": [{"quantity": ["A whole number is required."]}]})


class IdempotencyKeyMissingError(DomainError):
    """An order without a key could be placed twice by a retry."""

    code = "IDEMPOTENCY_KEY_MISSING"
    status = 400
    message = "Send an Idempotency-Key header of 1 to 255 visible ASCII characters."


class QuoteView(APIView):
    """What a basket would cost."""

    permission_classes = [AllowAny]

    @operation(
        summary="Price a basket",
        description="Holds nothing. Without an address: the shop's country; without a method:"
        " the cheapest.",
        access=Access.GUEST_TOO,
        body=QuoteRequestSerializer,
        body_examples={"basket": examples.BASKET},
        answers={
            200: Answer(
                body=QuoteSerializer,
                description="What it would cost now.",
                examples={"quote": examples.QUOTE},
            )
        },
        errors=["COUPON_INVALID"],
        refusals={"VALIDATION_FAILED": BAD_LINE},
        tags=["orders"],
        operation_id="quote",
    )
    def post(self, request: Request) -> Response:
        wanted = QuoteRequestSerializer.read(request.data)
        customer_id = customer_id_of(request)
        cart = None
        if "cart_id" in wanted:
            cart = carts.get_wish(
                cart_id=wanted["cart_id"],
                customer_id=customer_id,
                currency=wanted.get("currency"),
            )
        basket = QuoteRequestSerializer.to_basket(
            wanted,
            cart=cart,
            redeemed_by=f"customer:{customer_id}" if customer_id else "",
            tier=request.user.tier if request.user.is_authenticated else "",
        )
        priced = price_basket(basket=basket, now=timezone.now())
        unavailable = find_unavailable(lines=basket.lines)
        return Response(quote_json(priced.quote, unavailable_items=unavailable))


class OrderListView(APIView):
    """Place an order; list one's own."""

    permission_classes = [AllowAny]
    pagination_class = SignedCursorPagination

    @property
    def throttle_scope(self) -> str | None:
        """Placing costs more than looking."""
        return "orders" if self.request.method == "POST" else None

    @operation(
        summary="List my orders",
        description="Newest first.",
        access=Access.TOKEN,
        query=OrderQuerySerializer,
        parameters=PAGE,
        answers={
            200: Answer(
                body=OrderSerializer(many=True),
                description="A page of them.",
                examples={"page": examples.ORDER_PAGE},
            )
        },
        refusals={
            "VALIDATION_FAILED": Refusal(
                details={"status": ["This is not one of the allowed values."]}
            )
        },
        tags=["orders"],
        operation_id="list_orders",
    )
    def get(self, request: Request) -> Response:
        customer_id = customer_id_of(request)
        if customer_id is None:
            raise NotAuthenticated
        wanted = OrderQuerySerializer.read(request)
        orders = selectors.list_orders(customer_id=customer_id, **wanted)
        return SignedCursorPagination("-created_at", "-id").answer(request, orders, _listed)

    @operation(
        summary="Place an order",
        description="Reserves stock, charges the payment method and confirms the order. 202: the"
        " outcome of the charge is not known yet; it settles by itself, ask again with the same"
        " key. The same key and body again gives the first answer with"
        " `Idempotent-Replayed: true`. Without a token, `customer` says who buys; both is 400.",
        access=Access.GUEST_TOO,
        body=OrderRequestSerializer,
        body_examples={
            "customer": examples.ORDER_REQUEST,
            "cart": examples.CART_ORDER_REQUEST,
            "guest": examples.GUEST_ORDER_REQUEST,
        },
        answers={
            201: Answer(
                body=OrderSerializer,
                description="Confirmed and paid.",
                examples={"customer": examples.ORDER, "guest": examples.GUEST_ORDER},
                headers=["Idempotent-Replayed"],
            ),
            202: Answer(
                body=OrderSerializer,
                description="The order exists; its payment is not decided yet.",
                examples={"pending": examples.UNDECIDED_ORDER},
                headers=["Location", "Retry-After"],
            ),
        },
        errors=[
            "IDEMPOTENCY_KEY_MISSING",
            "CARD_DECLINED",
            "PAYMENT_REQUIRES_ACTION",
            "PAYMENT_FAILED",
            "INSUFFICIENT_INVENTORY",
            "PRICE_CHANGED",
            "COUPON_INVALID",
            "INVALID_TRANSITION",
            "ORDER_IN_PROGRESS",
            "IDEMPOTENCY_KEY_REUSED",
            "PAYMENT_ERROR",
        ],
        refusals={
            "VALIDATION_FAILED": BAD_LINE,
            "INVALID_TRANSITION": Refusal(
                message=CartOrderedError.message, details={"order_number": examples.ORDER_NUMBER}
            ),
        },
        error_headers={402: ["Idempotent-Replayed"], 502: ["Idempotent-Replayed"]},
        parameters=[IDEMPOTENCY_HEADER],
        tags=["orders"],
        operation_id="place_order",
    )
    def post(self, request: Request) -> HttpResponse:
        deadline = Deadline(REQUEST_SECONDS)
        customer_id = customer_id_of(request)
        body = request.data
        if customer_id is None and "customer" not in body:
            raise NotAuthenticated
        if customer_id is not None and "customer" in body:
            raise ValidationFailedError(
                details={"customer": ["Send either an access token or a customer, not both."]}
            )
        key = _idempotency_key(request)
        command = OrderRequestSerializer.to_command(
            OrderRequestSerializer.read(body),
            customer_id=customer_id,
            idempotency_key=key,
            fingerprint=canonical_fingerprint(body),
        )
        return _http(place_order(command=command, deadline=deadline))


class OrderView(APIView):
    """One order."""

    permission_classes = [AllowAny]

    @operation(
        summary="Read an order",
        description="With an access token, or a guest's `?token=`.",
        access=Access.GUEST_TOO,
        parameters=[ORDER_NUMBER, GUEST_TOKEN],
        answers={
            200: Answer(
                body=OrderSerializer,
                description="The order as it is now.",
                examples={"customer": examples.SHIPPED_ORDER, "guest": examples.GUEST_ORDER},
            )
        },
        tags=["orders"],
        operation_id="get_order",
    )
    def get(self, request: Request, order_number: str) -> Response:
        return Response(_shown(*own_order(request, order_number)))


class OrderConfirmView(APIView):
    """The customer has done what the payment asked for."""

    permission_classes = [AllowAny]

    @operation(
        summary="Confirm an order after 3-D Secure",
        description="Asks the provider how the payment stands. Repeating is harmless.",
        access=Access.GUEST_TOO,
        parameters=[ORDER_NUMBER, GUEST_TOKEN],
        body=NOTHING_TO_SAY,
        body_examples={"empty": {}},
        answers={
            200: Answer(
                body=OrderSerializer,
                description="The order is paid.",
                examples={"confirmed": examples.ORDER},
            ),
            202: Answer(
                body=OrderSerializer,
                description="The provider has not decided yet; ask again.",
                examples={"pending": examples.UNDECIDED_ORDER},
            ),
        },
        errors=[
            "PAYMENT_REQUIRES_ACTION",
            "CARD_DECLINED",
            "PAYMENT_FAILED",
            "INVALID_TRANSITION",
            "ORDER_IN_PROGRESS",
            "PAYMENT_ERROR",
        ],
        refusals={
            "VALIDATION_FAILED": Refusal(details={"paid": ["This field is not known."]}),
            "INVALID_TRANSITION": Refusal(message="This order was cancelled."),
        },
        tags=["orders"],
        operation_id="confirm_order",
    )
    def post(self, request: Request, order_number: str) -> Response:
        deadline = Deadline(REQUEST_SECONDS)
        NothingToSaySerializer.read(request.data)
        order, payment = own_order(request, order_number)
        is_paid = confirm_order(order=order, payment=payment, deadline=deadline)
        fresh = selectors.get_order(order_number=order.order_number)
        return Response(_shown(*fresh), status=200 if is_paid else 202)


class OrderCancelView(APIView):
    """The customer does not want it any more."""

    permission_classes = [AllowAny]

    @operation(
        summary="Cancel an order",
        description="What was paid is refunded; 202 while the provider's answer or the refund is on"
        " its way. Repeating answers 200.",
        access=Access.GUEST_TOO,
        parameters=[ORDER_NUMBER, GUEST_TOKEN],
        body=CancelRequestSerializer,
        body_examples={"reason": examples.CANCEL_REQUEST},
        answers={
            200: Answer(
                body=OrderSerializer,
                description="Cancelled, and whatever was paid is back.",
                examples={"refunded": examples.CANCELLED_ORDER},
            ),
            202: Answer(
                body=OrderSerializer,
                description="The provider's answer or the refund is on its way.",
                examples={"refund_under_way": examples.REFUND_UNDER_WAY},
            ),
        },
        errors=["INVALID_TRANSITION", "ORDER_IN_PROGRESS"],
        refusals={"VALIDATION_FAILED": Refusal(details={"reason": ["A text is required."]})},
        tags=["orders"],
        operation_id="cancel_order",
    )
    def post(self, request: Request, order_number: str) -> Response:
        deadline = Deadline(REQUEST_SECONDS)
        wanted = CancelRequestSerializer.read(request.data)
        order, _ = own_order(request, order_number)
        is_done = cancel_order(
            order_id=order.pk,
            reason=wanted.get("reason") or "cancelled by the customer",
            deadline=deadline,
            requested_by_id=customer_id_of(request),
        )
        fresh = selectors.get_order(order_number=order.order_number)
        return Response(_shown(*fresh), status=200 if is_done else 202)


class OrderClaimView(APIView):
    """A guest has an account by now."""

    @operation(
        summary="Claim a guest's order",
        description="Puts an order that was placed without an account among one's own; its guest"
        " token shows that it is one's own, and goes on working. Orders placed under an address"
        " that the account has verified come by themselves. Repeating is harmless.",
        access=Access.TOKEN,
        parameters=[ORDER_NUMBER],
        body=ClaimRequestSerializer,
        body_examples={"token": examples.CLAIM_REQUEST},
        answers={
            200: Answer(
                body=OrderSerializer,
                description="The order, now one's own.",
                examples={"claimed": examples.ORDER},
            )
        },
        errors=["ORDER_IN_PROGRESS"],
        refusals={"VALIDATION_FAILED": Refusal(details={"guest_token": ["A text is required."]})},
        tags=["orders"],
        operation_id="claim_order",
    )
    def post(self, request: Request, order_number: str) -> Response:
        wanted = ClaimRequestSerializer.read(request.data)
        customer_id = cast("int", request.user.pk)
        order, _ = selectors.get_order(order_number=order_number)
        if order.customer_id != customer_id:
            if not answers.is_guest_token(order, wanted["guest_token"]):
                raise NotFoundError
            claim_order(order_id=order.pk, customer_id=customer_id)
        return Response(_shown(*selectors.get_order(order_number=order_number)))


def _idempotency_key(request: Request) -> str:
    key = request.headers.get("Idempotency-Key", "")
    if not IDEMPOTENCY_KEY.fullmatch(key):
        raise IdempotencyKeyMissingError
    return key


def _shown(order: Order, payment: Payment) -> dict[str, Any]:
    """One order; its parcels are looked for only where there can be some."""
    if order.shipped_at is not None:
        selectors.fetch_shipments(order)
    items = selectors.list_items(order_id=order.pk)
    return answers.order_json(order, payment=payment, items=items)


def _listed(order: Order) -> dict[str, Any]:
    """One of many, fetched with all that belongs to them."""
    payment = next(iter(order.payments.all()), None)
    return answers.order_json(order, payment=payment, items=list(order.items.all()))


def _http(answer: answers.Answer) -> HttpResponse:
    response = HttpResponse(
        answer.body, status=answer.status, content_type="application/json", charset="utf-8"
    )
    if answer.order_number:
        response["Location"] = f"/api/v1/orders/{answer.order_number}"
        response["Retry-After"] = "2"
    if answer.replayed:
        response["Idempotent-Replayed"] = "true"
    return response
