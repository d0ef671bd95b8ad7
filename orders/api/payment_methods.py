"""Saved cards over HTTP."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast

from rest_framework.response import Response
from rest_framework.views import APIView

from config.kernel.api.pagination import OnePage
from config.kernel.api.schema import Access, Answer, Refusal, operation, path_parameter
from config.kernel.clock import Deadline
from config.kernel.errors import ValidationFailedError
from orders.api import examples
from orders.api.serializers import (
    PaymentMethodSerializer,
    SavePaymentMethodSerializer,
)
from orders.api.views import REQUEST_SECONDS
from orders.services import saved_cards
from payments.errors import ProviderUnavailableError

if TYPE_CHECKING:
    from rest_framework.request import Request

    from customers.models import Customer
    from payments.gateway import PaymentMethod

PAYMENT_METHOD_ID: Final = path_parameter(
    "payment_method_id", "The `id` of the card.", example=examples.CARD["id"]
)
PROVIDER_AWAY: Final = Refusal(message=ProviderUnavailableError.message)


class PaymentMethodsView(APIView):
    """The cards a customer keeps."""

    pagination_class = OnePage

    @operation(
        summary="List my saved cards",
        description="Newest first, all on one page. They are kept by the payment provider. Where it"
        " keeps something else than a card, all but `id` and `type` is null.",
        access=Access.TOKEN,
        answers={
            200: Answer(
                body=PaymentMethodSerializer(many=True),
                description="The cards.",
                examples={"one": examples.CARD_PAGE, "none": {**examples.CARD_PAGE, "results": []}},
            )
        },
        refusals={"SERVICE_UNAVAILABLE": PROVIDER_AWAY},
        tags=["me"],
        operation_id="list_payment_methods",
    )
    def get(self, request: Request) -> Response:
        kept = saved_cards.list_cards(
            customer=_customer(request), deadline=Deadline(REQUEST_SECONDS)
        )
        return OnePage().answer(request, kept, _shown)

    @operation(
        summary="Save a card",
        description="`payment_method_id` is what the payment provider's own form has made of the"
        " card; its bank may be asked. Orders are paid with the `id` of the answer, as often as you"
        f" like. At most {saved_cards.MAX_CARDS} are kept; three may be saved in a minute.",
        access=Access.TOKEN,
        body=SavePaymentMethodSerializer,
        body_examples={"card": examples.SAVE_CARD_REQUEST},
        answers={
            201: Answer(
                body=PaymentMethodSerializer,
                description="The card as it is kept.",
                examples={"card": examples.CARD},
            )
        },
        errors=["CARD_DECLINED"],
        refusals={
            "VALIDATION_FAILED": Refusal(
                details={"payment_method_id": [saved_cards.CANNOT_BE_SAVED]},
                message=ValidationFailedError.message,
            ),
            "CARD_DECLINED": Refusal(details={"decline_code": "insufficient_funds"}),
            "SERVICE_UNAVAILABLE": PROVIDER_AWAY,
        },
        tags=["me"],
        operation_id="save_payment_method",
    )
    def post(self, request: Request) -> Response:
        deadline = Deadline(REQUEST_SECONDS)
        wanted = SavePaymentMethodSerializer.read(request.data)
        saved = saved_cards.save_card(
            customer=_customer(request), method_id=wanted["payment_method_id"], deadline=deadline
        )
        return Response(_shown(saved), status=HTTPStatus.CREATED)


class PaymentMethodView(APIView):
    """One of them."""

    @operation(
        summary="Remove a saved card",
        description="Nobody can pay with it any more. Orders that were paid with it stay paid, and"
        " refunds still go to it.",
        access=Access.TOKEN,
        parameters=[PAYMENT_METHOD_ID],
        answers={204: Answer(body=None, description="It is gone.")},
        refusals={"SERVICE_UNAVAILABLE": PROVIDER_AWAY},
        tags=["me"],
        operation_id="remove_payment_method",
    )
    def delete(self, request: Request, payment_method_id: str) -> Response:
        saved_cards.remove_card(
            customer=_customer(request),
            method_id=payment_method_id,
            deadline=Deadline(REQUEST_SECONDS),
        )
        return Response(status=HTTPStatus.NO_CONTENT)


def _customer(request: Request) -> Customer:
    return cast("Customer", request.user)


def _shown(method: PaymentMethod) -> dict[str, Any]:
    return {
        "id": method.id,
        "type": method.type,
        "brand": method.brand or None,
        "last4": method.last4 or None,
        "exp_month": method.exp_month,
        "exp_year": method.exp_year,
    }
