"""What somebody sees who was sent a link to pay for an order taken by telephone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils import timezone
from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.views import APIView

from config.kernel.api.paths import uuid_in_path
from config.kernel.api.schema import Access, Answer, Refusal, operation, path_parameter
from orders.api import examples
from orders.api.rights import shopper_of
from orders.api.serializers import PaymentLinkSerializer
from orders.errors import PaymentLinkUsedError
from orders.services import payment_links

if TYPE_CHECKING:
    from rest_framework.request import Request

PAYMENT_LINK_ID = path_parameter(
    "payment_link_id", "The end of the link.", example=examples.PAYMENT_LINK_ID
)


class PaymentLinkView(APIView):
    """An order that staff has put together, to be placed and paid by whom it is for."""

    permission_classes = [AllowAny]
    throttle_scope = "payment_links"

    @operation(
        summary="Read what a payment link is for",
        description="Whoever has the link may see it, name and address among it; it ends after 7"
        " days, and is good for one order. Place that with `POST /orders`: the `cart_id`, the"
        " address and, without a token, the `customer` given here. Nothing is reserved before, and"
        " prices are those of the moment.",
        access=Access.GUEST_TOO,
        parameters=[PAYMENT_LINK_ID],
        answers={
            200: Answer(
                body=PaymentLinkSerializer,
                description="Who it is for, and what it costs now.",
                examples={"link": examples.PAYMENT_LINK},
            )
        },
        errors=["INVALID_TRANSITION"],
        refusals={
            "INVALID_TRANSITION": Refusal(
                message=PaymentLinkUsedError.message,
                details={"order_number": examples.ORDER_NUMBER},
            )
        },
        tags=["carts"],
        operation_id="get_payment_link",
    )
    def get(self, request: Request, payment_link_id: str) -> Response:
        return Response(
            payment_links.read_offer(
                public_id=uuid_in_path(payment_link_id),
                shopper=shopper_of(request),
                now=timezone.now(),
            )
        )
