"""Every error code of the contract: its status, when it comes, what it says, an example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from config.api import BY_STATUS
from config.kernel import errors as kernel
from customers.errors import EditConflictError, InactiveCustomerError
from inventory.errors import InsufficientStockError
from orders import errors as orders
from orders.api import examples
from orders.api.views import IdempotencyKeyMissingError
from orders.promotions import CouponRefusal

if TYPE_CHECKING:
    from collections.abc import Sequence

NOTHING: Final[dict[str, Any]] = {"type": "null"}
ORDER_NUMBER: Final[dict[str, Any]] = {"type": "string", "example": examples.ORDER_NUMBER}


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """An error as every operation answers it that does not say otherwise.

    Attributes:
        when: for readers of the document.
        message: the sentence that is sent.
        details: an example; `schema` describes them all.
        header: the name of the header that comes with it.
    """

    code: str
    status: int
    when: str
    message: str
    details: Any = None
    schema: dict[str, Any]
    header: str | None = None

    @property
    def component(self) -> str:
        """What its schema is called in the document: `CardDeclined`."""
        return self.code.title().replace("_", "")


def _code(
    source: int | type[kernel.DomainError],
    when: str,
    *,
    details: Any = None,
    schema: dict[str, Any] = NOTHING,
    header: str | None = None,
) -> Code:
    """From the error that is raised, or from the status where that is all that is known."""
    if isinstance(source, int):
        status, (code, message) = source, BY_STATUS[source]
    else:
        status, code, message = source.status, source.code, source.message
    return Code(
        code=code,
        status=status,
        when=when,
        message=message,
        details=details,
        schema=schema,
        header=header,
    )


def _object(properties: dict[str, Any], *, optional: Sequence[str] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
        "properties": properties,
    }


_ALL: Final = (
    _code(
        400,
        "The input is not valid; `details` name the fields, in the shape of the input.",
        details={"query": ["This is not valid text in UTF-8."]},
        schema={
            "type": ["object", "null"],
            "additionalProperties": {"$ref": "#/components/schemas/Problems"},
        },
    ),
    _code(IdempotencyKeyMissingError, "No `Idempotency-Key`, or not 1–255 visible ASCII."),
    _code(
        401,
        "No access token where one is needed, or one that is not valid.",
        header="WWW-Authenticate",
    ),
    _code(
        orders.CardDeclinedError,
        "The card was declined; nothing is charged, the stock is released.",
        details={
            "decline_code": "insufficient_funds",
            "order_number": examples.ORDER_NUMBER,
        },
        schema=_object(
            {"decline_code": {"type": "string"}, "order_number": ORDER_NUMBER},
            optional=["order_number"],  # no order where a card was only to be saved
        ),
    ),
    _code(
        orders.PaymentRequiresActionError,
        "The shopper has to act, e.g. 3-D Secure; the order holds its stock until `expires_at`.",
        details={
            "client_secret": "pi_3Q9xK7_secret_V1c2",
            "payment_intent_id": "pi_3Q9xK7",
            "next_action": {
                "type": "redirect_to_url",
                "redirect_to_url": {
                    "return_url": f"https://shop.example/orders/{examples.ORDER_NUMBER}",
                    "url": "https://hooks.stripe.com/3d_secure_2/hosted?payment_intent=pi_3Q9xK7",
                },
            },
            "order_number": examples.ORDER_NUMBER,
            "expires_at": "2026-11-22T12:15:00Z",
            "guest_token": examples.GUEST_TOKEN,
        },
        schema=_object(
            {
                "client_secret": {"type": "string", "description": "For the provider's own SDK."},
                "payment_intent_id": {"type": "string"},
                "next_action": {
                    "type": ["object", "null"],
                    "description": "What is to be done, as the provider says it.",
                },
                "order_number": ORDER_NUMBER,
                "expires_at": {"type": "string", "format": "date-time"},
                "guest_token": {"type": "string", "description": "Only of a guest's order."},
            },
            optional=["guest_token"],
        ),
    ),
    _code(
        orders.PaymentFailedError,
        "Any other definite failure; nothing is charged, the stock is released.",
        details={"order_number": examples.ORDER_NUMBER},
        schema=_object({"order_number": ORDER_NUMBER}),
    ),
    _code(403, "Not allowed."),
    _code(InactiveCustomerError, "The customer is inactive or suspended: reading stays possible."),
    _code(kernel.NotFoundError, "Not found; also said of what belongs to somebody else."),
    _code(405, "This path does not know this method.", header="Allow"),
    _code(
        InsufficientStockError,
        "Not enough in stock; all lacking items at once.",
        details={"unavailable_items": [{"sku": "DEMO-SOLD-OUT", "requested": 1, "available": 0}]},
        schema=_object(
            {
                "unavailable_items": {
                    "type": "array",
                    "items": {"$ref": "#/components/schemas/UnavailableItem"},
                }
            }
        ),
    ),
    _code(
        orders.PriceChangedError,
        "`expected_total` differs; `details` are the fresh quote.",
        details=examples.QUOTE,
        schema={"$ref": "#/components/schemas/Quote"},
    ),
    _code(
        orders.CouponInvalidError,
        "The coupon does not apply; `reason` says why.",
        details={"reason": "expired"},
        schema=_object({"reason": {"type": "string", "enum": [*CouponRefusal]}}),
    ),
    _code(
        orders.OrderInProgressError,
        "The order is being worked on, or how far it came is not known; see `Retry-After`.",
        header="Retry-After",
    ),
    _code(
        kernel.InvalidTransitionError,
        "Not possible in the order's present state; of a cart `details` name its order.",
        schema={
            "type": ["object", "null"],
            "required": ["order_number"],
            "additionalProperties": False,
            "properties": {"order_number": ORDER_NUMBER},
        },
    ),
    _code(
        EditConflictError,
        "The `version` sent is not the current one, which `details` tell.",
        details={"version": 3},
        schema=_object({"version": {"type": "integer"}}),
    ),
    _code(413, "The body is larger than 256 KiB."),
    _code(415, "Not `application/json` in UTF-8, or compressed."),
    _code(orders.IdempotencyKeyReusedError, "The same key came with another body."),
    _code(429, "Too many requests; see `Retry-After`.", header="Retry-After"),
    _code(500, "Unexpected; tells no internals."),
    _code(
        orders.PaymentProviderRefusedError,
        "The provider refused our request: certainly not charged, the stock is released.",
        details={"order_number": examples.ORDER_NUMBER},
        schema=_object({"order_number": ORDER_NUMBER}),
    ),
    _code(
        503,
        "Database or provider away, or too busy; see `Retry-After`. Nothing is held or charged.",
        header="Retry-After",
    ),
)

CODES: Final = {code.code: code for code in _ALL}
