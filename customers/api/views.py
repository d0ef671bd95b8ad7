"""The customer's own account."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from rest_framework.response import Response
from rest_framework.views import APIView

from config.kernel.api.schema import operation
from customers import services
from customers.api.serializers import ProfileChangeSerializer, ProfileSerializer

if TYPE_CHECKING:
    from rest_framework.request import Request


class MeView(APIView):
    """The profile of whoever asks."""

    @operation(
        summary="Read my profile",
        responses={200: ProfileSerializer},
        tags=["me"],
        operation_id="get_me",
    )
    def get(self, request: Request) -> Response:
        return Response(ProfileSerializer(request.user).data)

    @operation(
        summary="Change my profile",
        description="Send the `version` that you read; another one in the meantime is a conflict.",
        request=ProfileChangeSerializer,
        responses={200: ProfileSerializer},
        errors=["EDIT_CONFLICT"],
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
