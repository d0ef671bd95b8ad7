"""What the payment provider calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.views import APIView

from config.kernel.api.schema import Access, Answer, Refusal, header, operation
from orders.api import examples
from orders.api.serializers import EventSerializer, WebhookReceivedSerializer
from orders.services import events

if TYPE_CHECKING:
    from rest_framework.request import Request

SIGNATURE_HEADER = header(
    "Stripe-Signature",
    "`t=<Unix seconds>,v1=<HMAC-SHA256 of t.body>`, made with the endpoint's secret.",
    required=True,
    example="t=1763900000,v1=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd",
)


class StripeWebhookView(APIView):
    """The provider tells that something has happened."""

    # The signature says who it is; a flood of the provider's own must not be refused.
    authentication_classes = []
    permission_classes = [AllowAny]
    throttle_classes = []

    @operation(
        summary="Receive an event of the payment provider",
        description="Checked, stored once by its id and answered; worked off afterwards by"
        " fetching the object it is about. Signature or age wrong: 400, nothing stored.",
        access=Access.UNCHECKED,
        parameters=[SIGNATURE_HEADER],
        body=EventSerializer,
        body_examples={"event": examples.EVENT},
        answers={
            200: Answer(
                body=WebhookReceivedSerializer,
                description="It is kept.",
                examples={"received": examples.RECEIVED},
            )
        },
        never=["RATE_LIMIT_EXCEEDED"],
        refusals={"VALIDATION_FAILED": Refusal(message="The signature is not valid.")},
        tags=["webhooks"],
        operation_id="stripe_webhook",
    )
    def post(self, request: Request) -> Response:
        # The signature is over the very bytes that came in.
        events.receive(payload=request.body, signature=request.headers.get("Stripe-Signature", ""))
        return Response({"received": True})
