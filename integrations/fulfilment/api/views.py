"""What carriers and warehouses call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.views import APIView

from config.kernel.api.schema import Access, Answer, Refusal, header, operation
from integrations.fulfilment import tracking
from integrations.fulfilment.api import examples
from integrations.fulfilment.api.serializers import (
    EasyPostEventSerializer,
    ReceivedSerializer,
    TrackingEventSerializer,
)

if TYPE_CHECKING:
    from rest_framework.request import Request

SIGNATURE_HEADER = header(
    "Orderkeep-Signature",
    "`t=<Unix seconds>,v1=<HMAC-SHA256 of t.body in hex>`, made with `FULFILMENT_WEBHOOK_SECRET`.",
    required=True,
    example="t=1763900000,v1=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd",
)
EASYPOST_SIGNATURE_HEADER = header(
    "X-Hmac-Signature",
    "`hmac-sha256-hex=<HMAC-SHA256 of the body in hex>`, made with the webhook's secret.",
    required=True,
    example="hmac-sha256-hex=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd",
)
KEPT = Answer(
    body=ReceivedSerializer,
    description="It is kept.",
    examples={"received": examples.RECEIVED},
)
BAD_SIGNATURE = Refusal(message="The signature is not valid.")


class GenericTrackingView(APIView):
    """Whoever knows where a parcel is tells so, in our own dialect."""

    # The signature says who it is; a flood of the carrier's own must not be refused.
    authentication_classes = []
    permission_classes = [AllowAny]
    throttle_classes = []

    @operation(
        summary="Receive news of a parcel",
        description="Checked, stored once by its `id` and answered; worked off afterwards. A"
        " parcel goes from sent to in transit to delivered, whatever the order of the news; an"
        " order is delivered with its last parcel. A number that is not known yet is kept until"
        " it is. Signature or age wrong: 400, nothing stored.",
        access=Access.UNCHECKED,
        parameters=[SIGNATURE_HEADER],
        body=TrackingEventSerializer,
        body_examples={"delivered": examples.TRACKING_EVENT},
        answers={200: KEPT},
        never=["RATE_LIMIT_EXCEEDED"],
        refusals={"VALIDATION_FAILED": BAD_SIGNATURE},
        tags=["webhooks"],
        operation_id="tracking_webhook",
    )
    def post(self, request: Request) -> Response:
        # The signature is over the very bytes that came in.
        tracking.receive_generic(
            payload=request.body, signature=request.headers.get("Orderkeep-Signature", "")
        )
        return Response(examples.RECEIVED)


class EasyPostTrackingView(APIView):
    """EasyPost tells where a parcel is."""

    authentication_classes = []
    permission_classes = [AllowAny]
    throttle_classes = []

    @operation(
        summary="Receive EasyPost's news of a parcel",
        description="`tracker.created` and `tracker.updated`, as at `/webhooks/tracking/generic`;"
        " events about anything else are answered and not kept.",
        access=Access.UNCHECKED,
        parameters=[EASYPOST_SIGNATURE_HEADER],
        body=EasyPostEventSerializer,
        body_examples={"in_transit": examples.EASYPOST_EVENT},
        answers={200: KEPT},
        never=["RATE_LIMIT_EXCEEDED"],
        refusals={"VALIDATION_FAILED": BAD_SIGNATURE},
        tags=["webhooks"],
        operation_id="easypost_webhook",
    )
    def post(self, request: Request) -> Response:
        tracking.receive_easypost(
            payload=request.body, signature=request.headers.get("X-Hmac-Signature", "")
        )
        return Response(examples.RECEIVED)
