"""Who asks, and whether an order is theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.exceptions import NotAuthenticated

from config.kernel.api.schema import path_parameter, query_parameter
from config.kernel.errors import NotFoundError
from orders import answers, selectors
from orders.api import examples
from orders.services.carts import Shopper

if TYPE_CHECKING:
    from rest_framework.request import Request

    from orders.models import Order
    from payments.models import Payment

ORDER_NUMBER = path_parameter(
    "order_number", "As it stands in the order.", example=examples.ORDER_NUMBER
)
GUEST_TOKEN = query_parameter(
    "token",
    "A guest's `guest_token`, in place of an access token.",
    example=examples.GUEST_TOKEN,
)


def customer_id_of(request: Request) -> int | None:
    """The customer whose access token came with it; None of a guest."""
    return request.user.pk if request.user.is_authenticated else None


def shopper_of(request: Request) -> Shopper:
    """Whose cart it would be."""
    user = request.user
    if not user.is_authenticated:
        return Shopper(customer_id=None)
    return Shopper(customer_id=user.pk, tier=user.tier, may_write=user.is_active)


def own_order(request: Request, order_number: str) -> tuple[Order, Payment]:
    """The order and its payment, if it is this customer's, or the query has its guest's token.

    Raises:
        NotAuthenticated: neither a customer nor a token.
        NotFoundError: there is none, or it is somebody else's: the two look alike.
    """
    customer_id = customer_id_of(request)
    token = request.query_params.get("token")
    if customer_id is None and token is None:
        raise NotAuthenticated
    order, payment = selectors.get_order(order_number=order_number)
    if customer_id is not None and order.customer_id == customer_id:
        return order, payment
    if token is not None and order.erased_at is None and answers.is_guest_token(order, token):
        return order, payment
    raise NotFoundError
