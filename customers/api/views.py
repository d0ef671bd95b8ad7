"""The customer's own account."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from rest_framework.response import Response
from rest_framework.views import APIView

from config.kernel.api.schema import Access, Answer, Refusal, operation
from customers import services
from customers.api import examples
from customers.api.serializers import ProfileChangeSerializer, ProfileSerializer

if TYPE_CHECKING:
    from rest_framework.request import Request


class MeView(APIView):
    """The profile of whoever asks."""

    @operation(
        summary="Read my profile",
        access=Access.TOKEN,
        answers={
            200: Answer(
                body=ProfileSerializer,
                description="The profile.",
                examples={"profile": examples.PROFILE},
            )
        },
        tags=["me"],
        operation_id="get_me",
    )
    def get(self, request: Request) -> Response:
        return Response(ProfileSerializer(request.user).data)

    @operation(
        summary="Change my profile",
        description="Send the `version` that you read; another one in the meantime is a conflict.",
        access=Access.TOKEN,
        body=ProfileChangeSerializer,
        body_examples={"change": examples.PROFILE_CHANGE},
        answers={
            200: Answer(
                body=ProfileSerializer,
                description="The profile as it is now, with its new `version`.",
                examples={"profile": examples.CHANGED_PROFILE},
            )
        },
        errors=["EDIT_CONFLICT"],
        refusals={"VALIDATION_FAILED": Refusal(details={"version": ["This field is required."]})},
        tags=["me"],
        operation_id="change_me",
    )
    def patch(self, request: Request) -> Response:
        wanted = ProfileChangeSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        changes = dict(wanted.validated_data)
        customer = services.update_profile(
            customer_id=cast("int", request.user.pk),
            version=changes.pop("version"),
            changes=changes,
        )
        return Response(ProfileSerializer(customer).data)
