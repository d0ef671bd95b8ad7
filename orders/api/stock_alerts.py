"""Being told when something can be ordered again."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from rest_framework.response import Response
from rest_framework.views import APIView

from config.kernel.api.schema import Access, Answer, Refusal, operation, path_parameter
from orders.errors import AvailableNowError
from orders.services import stock_alerts

if TYPE_CHECKING:
    from rest_framework.request import Request

SKU = path_parameter("sku", "In upper case.", example="DEMO-SOLD-OUT")


class StockAlertView(APIView):
    """The wish of a customer to be told of one product."""

    @operation(
        summary="Tell me when it can be ordered again",
        description="One letter, to the account's own address once that is verified, as soon as"
        " the product is available; the wish is gone then. Nothing is kept for whoever waits. Sent"
        f" again it is the same wish. At most {stock_alerts.MOST_ALERTS} products.",
        access=Access.TOKEN,
        parameters=[SKU],
        answers={204: Answer(body=None, description="You will be told.")},
        errors=["INVALID_TRANSITION"],
        refusals={"INVALID_TRANSITION": Refusal(message=AvailableNowError.message)},
        tags=["catalogue"],
        operation_id="ask_for_stock_alert",
    )
    def post(self, request: Request, sku: str) -> Response:
        stock_alerts.ask(customer_id=cast("int", request.user.pk), sku=sku)
        return Response(status=HTTPStatus.NO_CONTENT)

    @operation(
        summary="Do not tell me any more",
        description="Harmless where nothing was asked for.",
        access=Access.TOKEN,
        parameters=[SKU],
        answers={204: Answer(body=None, description="You will not be told.")},
        tags=["catalogue"],
        operation_id="give_up_stock_alert",
    )
    def delete(self, request: Request, sku: str) -> Response:
        stock_alerts.give_up(customer_id=cast("int", request.user.pk), sku=sku)
        return Response(status=HTTPStatus.NO_CONTENT)
