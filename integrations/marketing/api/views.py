"""What a link in a letter leads to, and what the marketing tool calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from django.conf import settings
from django.shortcuts import render
from django.utils import timezone
from rest_framework.parsers import FormParser, MultiPartParser
from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.views import APIView

from config.kernel.api.parsers import StrictJSONParser
from config.kernel.api.schema import Access, Answer, Refusal, header, operation, path_parameter
from config.kernel.errors import ValidationFailedError
from integrations.marketing import inbound, unsubscribe
from integrations.marketing.api import examples
from integrations.marketing.api.serializers import (
    FIELD,
    ONE_CLICK,
    VALUE,
    MarketingEventSerializer,
    UnsubscribedSerializer,
)
from integrations.serializers import ReceivedSerializer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpResponse
    from rest_framework.request import Request

TOKEN: Final = path_parameter(
    "unsubscribe_token", "As it stands in the letter.", example=examples.UNSUBSCRIBE_TOKEN
)
NOT_ONE_CLICK: Final = f"Send {FIELD}={VALUE}."
SIGNATURE_HEADER: Final = header(
    "Orderkeep-Signature",
    "`t=<Unix seconds>,v1=<HMAC-SHA256 of t.body in hex>`, made with `MARKETING_WEBHOOK_SECRET`.",
    required=True,
    example="t=1763900000,v1=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd",
)


class UnsubscribeView(APIView):
    """The link of a letter: looked at it asks, sent a POST it does it (RFC 8058)."""

    # The link says who it is; whoever is logged in beside is nobody special.
    authentication_classes = []
    permission_classes = [AllowAny]
    parser_classes = [StrictJSONParser, FormParser, MultiPartParser]

    @operation(
        summary="Ask whether to unsubscribe",
        description="Changes nothing: programs that look through letters open their links. A"
        " browser (`Accept: text/html`) gets a page with a button.",
        access=Access.UNCHECKED,
        parameters=[TOKEN],
        answers={
            200: Answer(
                body=UnsubscribedSerializer,
                description="The link is one of ours; send it a POST.",
                examples={"asked": examples.ASKED},
            )
        },
        tags=["marketing"],
        operation_id="ask_to_unsubscribe",
    )
    def get(self, request: Request, unsubscribe_token: str) -> Response | HttpResponse:
        unsubscribe.check(token=unsubscribe_token)
        return _answer(request, done=False)

    @operation(
        summary="Unsubscribe",
        description="Withdraws the consent to be written to, without a log-in. The answer is the"
        " same whether there is, or ever was, anything to withdraw; repeating it is harmless. The"
        " pair may come as a form, `application/x-www-form-urlencoded` or `multipart/form-data`,"
        " as mail programs send it.",
        access=Access.UNCHECKED,
        parameters=[TOKEN],
        body=ONE_CLICK,
        body_examples={"one click": examples.ONE_CLICK},
        answers={
            200: Answer(
                body=UnsubscribedSerializer,
                description="It is done.",
                examples={"done": examples.DONE},
            )
        },
        refusals={"VALIDATION_FAILED": Refusal(details={FIELD: [NOT_ONE_CLICK]})},
        tags=["marketing"],
        operation_id="unsubscribe",
    )
    def post(self, request: Request, unsubscribe_token: str) -> Response | HttpResponse:
        unsubscribe.check(token=unsubscribe_token)
        sent = cast("Mapping[str, Any]", request.data)  # whatever parser has read it
        if sent.get(FIELD) != VALUE:
            raise ValidationFailedError(details={FIELD: [NOT_ONE_CLICK]})
        unsubscribe.unsubscribe(token=unsubscribe_token)
        return _answer(request, done=True)


class MarketingWebhookView(APIView):
    """The marketing tool tells that somebody unsubscribed there, or complained."""

    # The signature says who it is; a flood of the tool's own must not be refused.
    authentication_classes = []
    permission_classes = [AllowAny]
    throttle_classes = []

    @operation(
        summary="Receive an unsubscription of the marketing tool",
        description="`contact.unsubscribed` and `contact.complained` withdraw the consent to be"
        " written to; repeating is harmless. Signature or age wrong: 400. Without"
        " `MARKETING_WEBHOOK_SECRET` there is no such address.",
        access=Access.UNCHECKED,
        parameters=[SIGNATURE_HEADER],
        body=MarketingEventSerializer,
        body_examples={"unsubscribed": examples.EVENT},
        answers={
            200: Answer(
                body=ReceivedSerializer,
                description="It is done, or there was nothing to do.",
                examples={"received": examples.RECEIVED},
            )
        },
        errors=["NOT_FOUND"],
        never=["RATE_LIMIT_EXCEEDED"],
        refusals={"VALIDATION_FAILED": Refusal(message="The signature is not valid.")},
        tags=["webhooks"],
        operation_id="marketing_webhook",
    )
    def post(self, request: Request) -> Response:
        # The signature is over the very bytes that came in.
        inbound.receive(
            payload=request.body,
            signature=request.headers.get("Orderkeep-Signature", ""),
            now=timezone.now(),
        )
        return Response(examples.RECEIVED)


def _answer(request: Request, *, done: bool) -> Response | HttpResponse:
    if "text/html" in request.headers.get("Accept", ""):
        context = {"done": done, "shop_name": settings.SHOP_NAME}
        return render(request, "marketing/unsubscribe.html", context)
    return Response(examples.DONE if done else examples.ASKED)
