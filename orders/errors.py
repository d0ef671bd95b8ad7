"""What can go wrong with an order."""

from __future__ import annotations

from typing import Any

from config.kernel.errors import DomainError, InvalidTransitionError, ValidationFailedError


class PriceChangedError(DomainError):
    """`expected_total` is not what the order would cost now; details carry the fresh quote."""

    code = "PRICE_CHANGED"
    status = 409
    message = "The total has changed, please check the new quote."


class NotPriceableError(ValidationFailedError):
    """Each line is sold, but together they have no price; `reason` says why.

    `not_shipped`: no way there in this currency. `too_heavy`: for every way there. `too_expensive`:
    above the largest amount.
    """

    def __init__(self, reason: str, *, details: dict[str, Any]) -> None:
        super().__init__(details=details)
        self.reason = reason


class CouponInvalidError(DomainError):
    """The coupon does not apply; `details.reason` says why."""

    code = "COUPON_INVALID"
    status = 409
    message = "This coupon cannot be used."


class IdempotencyKeyReusedError(DomainError):
    """The same key came with another body."""

    code = "IDEMPOTENCY_KEY_REUSED"
    status = 422
    message = "This Idempotency-Key was used with another request; choose a new one."


class OrderInProgressError(DomainError):
    """The same key is still being worked on, or its outcome is not known to this process yet."""

    code = "ORDER_IN_PROGRESS"
    status = 409
    message = "This order is still being worked on; repeat the request in a moment."
    retry_after_seconds = 2


class CartOrderedError(InvalidTransitionError):
    """An order was made of this cart; `details` name it."""

    message = "This cart has been ordered; cancel that order to change it."

    def __init__(self, *, order_number: str) -> None:
        super().__init__(details={"order_number": order_number})


class PaymentLinkUsedError(InvalidTransitionError):
    """An order was made of what this link opened; `details` name it."""

    message = "This link was used: the order has been placed."

    def __init__(self, *, order_number: str) -> None:
        super().__init__(details={"order_number": order_number})


class PaymentRequiresActionError(DomainError):
    """The customer has to do something: 3-D Secure, a redirect."""

    code = "PAYMENT_REQUIRES_ACTION"
    status = 402
    message = "The payment needs one more step by the customer."


class CardDeclinedError(DomainError):
    """The card was declined; `details.decline_code` says why."""

    code = "CARD_DECLINED"
    status = 402
    message = "The card was declined."


class PaymentFailedError(DomainError):
    """Any other definite failure of the payment."""

    code = "PAYMENT_FAILED"
    status = 402
    message = "The payment failed."


class PaymentProviderRefusedError(DomainError):
    """The provider refused our request: certainly not charged, the stock is released."""

    code = "PAYMENT_ERROR"
    status = 502
    message = "The payment could not be made; you were not charged."


class RefundRequestReusedError(DomainError):
    """The key of a refund came again with another amount or other lines."""

    code = "IDEMPOTENCY_KEY_REUSED"
    status = 422
    message = "This key stands for another refund of this order; choose a new one."


class RefundChangedError(InvalidTransitionError):
    """A refund would not be any more what somebody has seen and agreed to."""


class ProposalWaitingError(InvalidTransitionError):
    """Another refund of the same order is being looked at by a second person."""

    message = "A large refund of this waits for a second person: have that one decided first."


class SamePersonError(InvalidTransitionError):
    """Whoever proposed a refund may not decide about it."""

    message = "You proposed this refund: somebody else has to decide about it."


class ShipmentRequestReusedError(DomainError):
    """The key of a parcel came again with other units or another number."""

    code = "IDEMPOTENCY_KEY_REUSED"
    status = 422
    message = "This key stands for another parcel of this order; choose a new one."


class NotReturnableError(InvalidTransitionError):
    """Nothing of the order was shipped, or the time to return it is over."""

    message = "Only what was shipped can be returned, and only for a while."


class AvailableNowError(InvalidTransitionError):
    """Nobody has to wait for this product."""

    message = "This product can be ordered now."


class NotPaidYetError(InvalidTransitionError):
    """There is nothing to invoice."""

    message = "There is an invoice as soon as the order is paid."


class NotAllowedError(DomainError):
    """Whoever asks has no right to it."""

    code = "PERMISSION_DENIED"
    status = 403
    message = "You have no right to do this."
