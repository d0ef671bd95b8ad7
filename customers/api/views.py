"""The customer's own account: profile and addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from rest_framework.response import Response
from rest_framework.views import APIView

from config.kernel.api.addresses import AddressSerializer
from config.kernel.api.pagination import SignedCursorPagination
from config.kernel.api.paths import uuid_in_path
from config.kernel.api.schema import (
    BAD_PAGE,
    PAGE,
    Access,
    Answer,
    Refusal,
    operation,
    path_parameter,
)
from customers import selectors, services
from customers.api import examples
from customers.api.serializers import (
    AddressChangeSerializer,
    ProfileChangeSerializer,
    ProfileSerializer,
    SavedAddressSerializer,
)

if TYPE_CHECKING:
    from rest_framework.request import Request

    from customers.models import Address

ADDRESS_ID: Final = path_parameter(
    "address_id", "As it stands in the address.", example=examples.ADDRESS_ID
)
BAD_POSTAL_CODE: Final = Refusal(
    details={"postal_code": ["This is not a postal code of US, such as 95014."]}
)


class ProfileView(APIView):
    """The profile of whoever asks; `orders.api.privacy` adds its end, and has the route."""

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


class AddressListView(APIView):
    """Where the customer lets things be sent to."""

    pagination_class = SignedCursorPagination

    @operation(
        summary="List my addresses",
        description="Newest first.",
        access=Access.TOKEN,
        parameters=PAGE,
        answers={
            200: Answer(
                body=SavedAddressSerializer(many=True),
                description="A page of them.",
                examples={"page": examples.ADDRESS_PAGE},
            )
        },
        refusals={"VALIDATION_FAILED": BAD_PAGE},
        tags=["me"],
        operation_id="list_addresses",
    )
    def get(self, request: Request) -> Response:
        addresses = selectors.list_addresses(customer_id=_customer_id(request))
        return SignedCursorPagination("-created_at", "-id").answer(request, addresses, _shown)

    @operation(
        summary="Keep an address",
        description="It is checked by the rules of its country: postal codes by their form, states"
        " by code or name where they have codes. `address` without its `id` is what an order takes."
        f" At most {services.MAX_ADDRESSES} are kept.",
        access=Access.TOKEN,
        body=AddressSerializer,
        body_examples={"address": examples.ADDRESS},
        answers={
            201: Answer(
                body=SavedAddressSerializer,
                description="The address as it is kept.",
                examples={"address": examples.SAVED_ADDRESS},
                headers=["Location"],
            )
        },
        refusals={"VALIDATION_FAILED": BAD_POSTAL_CODE},
        tags=["me"],
        operation_id="add_address",
    )
    def post(self, request: Request) -> Response:
        address = services.add_address(
            customer_id=_customer_id(request), address=AddressSerializer.read(request.data)
        )
        location = {"Location": f"/api/v1/me/addresses/{address.public_id}"}
        return Response(_shown(address), status=201, headers=location)


class AddressView(APIView):
    """One of them."""

    @operation(
        summary="Read an address of mine",
        access=Access.TOKEN,
        parameters=[ADDRESS_ID],
        answers={
            200: Answer(
                body=SavedAddressSerializer,
                description="The address.",
                examples={"address": examples.SAVED_ADDRESS},
            )
        },
        tags=["me"],
        operation_id="get_address",
    )
    def get(self, request: Request, address_id: str) -> Response:
        address = selectors.get_address(
            customer_id=_customer_id(request), public_id=uuid_in_path(address_id)
        )
        return Response(_shown(address))

    @operation(
        summary="Change an address of mine",
        description="Orders that were sent there keep what they were sent to.",
        access=Access.TOKEN,
        parameters=[ADDRESS_ID],
        body=AddressChangeSerializer,
        body_examples={"change": examples.ADDRESS_CHANGE},
        answers={
            200: Answer(
                body=SavedAddressSerializer,
                description="The address as it is now.",
                examples={"address": examples.SAVED_ADDRESS | examples.ADDRESS_CHANGE},
            )
        },
        refusals={"VALIDATION_FAILED": BAD_POSTAL_CODE},
        tags=["me"],
        operation_id="change_address",
    )
    def patch(self, request: Request, address_id: str) -> Response:
        address = services.change_address(
            customer_id=_customer_id(request),
            public_id=uuid_in_path(address_id),
            changes=AddressChangeSerializer.read(request.data),
        )
        return Response(_shown(address))

    @operation(
        summary="Forget an address of mine",
        access=Access.TOKEN,
        parameters=[ADDRESS_ID],
        answers={204: Answer(body=None, description="It is gone; orders keep their copies.")},
        tags=["me"],
        operation_id="delete_address",
    )
    def delete(self, request: Request, address_id: str) -> Response:
        services.delete_address(
            customer_id=_customer_id(request), public_id=uuid_in_path(address_id)
        )
        return Response(status=204)


def _customer_id(request: Request) -> int:
    return cast("int", request.user.pk)


def _shown(address: Address) -> dict[str, Any]:
    return {"id": str(address.public_id), **services.address_parts(address)}
