"""What carriers and warehouses call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.views import APIView

from config.kernel.api.schema import Access, Answer, Refusal, header, operation
from integrations.fulfilment import stock_feed, tracking
from integrations.fulfilment.api import examples
from integrations.fulfilment.api.authentication import WarehouseAuthentication
from integrations.fulfilment.api.serializers import (
    EasyPostEventSerializer,
    StockFeedAppliedSerializer,
    StockFeedSerializer,
    TrackingEventSerializer,
)
from integrations.fulfilment.errors import FeedIdReusedError
from integrations.serializers import ReceivedSerializer

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


class StockFeedView(APIView):
    """A warehouse's system says what lies there."""

    authentication_classes = [WarehouseAuthentication]
    permission_classes = [AllowAny]  # whoever has a token; for which building, is asked below
    throttle_classes = []

    @operation(
        summary="Send what was counted in a warehouse",
        description="All of it is applied, or nothing and every bad line is told. A count below"
        " what is promised to orders that have not left is a bad line: nothing is ever oversold"
        " by a count. The same `feed_id` with the same counts again answers the same and changes"
        " nothing; with other counts, once applied, it is 422. A refused feed left nothing behind"
        " and may be sent again.",
        access=Access.WAREHOUSE,
        body=StockFeedSerializer,
        body_examples={"counts": examples.STOCK_FEED},
        answers={
            200: Answer(
                body=StockFeedAppliedSerializer,
                description="It is applied.",
                examples={"applied": examples.STOCK_FEED_APPLIED},
            )
        },
        errors=["PERMISSION_DENIED", "IDEMPOTENCY_KEY_REUSED"],
        never=["RATE_LIMIT_EXCEEDED"],
        refusals={
            "VALIDATION_FAILED": Refusal(
                details={
                    "items": [{}, {"on_hand": ["0 were counted, but 1 are promised to orders."]}]
                },
            ),
            "IDEMPOTENCY_KEY_REUSED": Refusal(message=FeedIdReusedError.message),
        },
        tags=["feeds"],
        operation_id="stock_feed",
    )
    def post(self, request: Request) -> Response:
        told = StockFeedSerializer.read(request.data)
        check_building(request, told["warehouse"])
        done = stock_feed.apply_feed(
            warehouse_code=told["warehouse"],
            feed_id=told["feed_id"],
            counts=StockFeedSerializer.counts(told),
        )
        return Response(
            {
                "feed_id": told["feed_id"],
                "warehouse": told["warehouse"],
                "document": done.document_id,
                "lines": done.lines,
                "changed": done.changed,
            }
        )


def check_building(request: Request, code: str) -> None:
    """Whether the caller's token is for this building.

    Raises:
        PermissionDenied: it is for others.
    """
    caller: Any = request.user  # a `WarehouseSystem`
    if code not in caller.codes:
        raise PermissionDenied
