"""What the e-mail provider calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.views import APIView

from config.kernel.api.schema import Access, Answer, Refusal, operation, path_parameter
from integrations.email import bounces

if TYPE_CHECKING:
    from rest_framework.request import Request


class EmailEventsReceivedSerializer(serializers.Serializer[Any]):
    """That what was told is kept, where there was something to keep."""

    received = serializers.BooleanField()


class EmailEventsView(APIView):
    """The provider tells of mail that came back, and of complaints."""

    # The secret says who it is; a flood of the provider's own must not be refused.
    authentication_classes = []
    permission_classes = [AllowAny]
    throttle_classes = []

    @operation(
        summary="Hear from the e-mail provider",
        description="Takes what the provider that `EMAIL_URL` names tells of letters, in its own"
        " words: addresses that mail comes back from, and those whose readers call it spam, are not"
        " written to any more. By `user:password` of HTTP Basic, or by Mailgun's signature;"
        " without it: 400, nothing kept. Repeating is harmless.",
        access=Access.UNCHECKED,
        parameters=[path_parameter("provider", "As in `EMAIL_URL`.", example="postmark")],
        answers={
            200: Answer(
                body=EmailEventsReceivedSerializer,
                description="It is kept.",
                examples={"received": {"received": True}},
            )
        },
        never=["RATE_LIMIT_EXCEEDED"],
        refusals={
            "VALIDATION_FAILED": Refusal(message="The signature is not valid."),
            "NOT_FOUND": Refusal(),
        },
        tags=["webhooks"],
        operation_id="email_webhook",
    )
    def post(self, request: Request, provider: str) -> Response:
        bounces.receive(provider=provider, request=request._request)  # noqa: SLF001 - the one that the signature is over
        return Response({"received": True})
