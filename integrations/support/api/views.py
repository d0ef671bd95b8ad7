"""What chat tools ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.exceptions import NotAuthenticated
from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.views import APIView

from config.kernel.api.schema import Access, Answer, Refusal, operation
from config.kernel.errors import ValidationFailedError
from integrations.support import context
from integrations.support.api import examples
from integrations.support.api.authentication import ChatTool, ChatToolAuthentication
from integrations.support.api.serializers import ContextQuerySerializer, ContextSerializer

if TYPE_CHECKING:
    from rest_framework.request import Request

WHICH = "Send one of order, email and link."


class SupportContextView(APIView):
    """Which orders an agent talks about."""

    authentication_classes = [ChatToolAuthentication]
    permission_classes = [AllowAny]  # a link needs no token; else the view asks for one
    throttle_scope = "support_context"

    @operation(
        summary="Find the orders that a chat is about",
        description="For chat tools of customer service, with `Authorization: Bearer` and a"
        " `SUPPORT_CONTEXT_TOKEN`, or with the signed `link` of a ticket, which is good for a week"
        " and for one order. Numbers, states, totals and the way to the admin, nothing else; each"
        " answer is audited. Without `SUPPORT_CONTEXT_TOKEN` nobody is let in.",
        access=Access.CHAT_TOOL,
        query=ContextQuerySerializer,
        answers={
            200: Answer(
                body=ContextSerializer,
                description="At most ten orders; none, if nobody is known by that address.",
                examples={"context": examples.CONTEXT},
            )
        },
        errors=["NOT_FOUND"],
        refusals={"VALIDATION_FAILED": Refusal(details={"query": [WHICH]})},
        tags=["support"],
        operation_id="get_support_context",
    )
    def get(self, request: Request) -> Response:
        has_link = context.is_offered() and bool(request.query_params.get("link"))
        if not has_link and not isinstance(request.user, ChatTool):
            raise NotAuthenticated
        wanted = ContextQuerySerializer.read(request)
        if len(wanted) != 1:
            raise ValidationFailedError(details={"query": [WHICH]})
        if has_link:
            number = context.order_of_link(wanted["link"])
            return Response(context.of_order(order_number=number, how="link"))
        if "order" in wanted:
            return Response(context.of_order(order_number=wanted["order"], how="token"))
        return Response(context.of_email(email=wanted["email"], how="token"))
