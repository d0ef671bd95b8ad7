"""What can go wrong with money."""

from __future__ import annotations

from typing import TYPE_CHECKING

from config.kernel.errors import (
    DomainError,
    InvalidTransitionError,
    ServiceUnavailableError,
    ValidationFailedError,
)

if TYPE_CHECKING:
    from decimal import Decimal


class ProviderUnavailableError(ServiceUnavailableError):
    """The payment provider does not answer; no order was begun."""

    message = "Payments are temporarily unavailable, please try again."
    retry_after_seconds = 5


class RefundExceedsPaymentError(DomainError):
    """More would be given back than came in."""

    code = "INVALID_TRANSITION"
    status = 409
    message = "The refund is higher than what is left of the payment."


class PaymentDisputedError(DomainError):
    """The customer's bank has taken the money: it decides, and a refund would pay twice."""

    code = "INVALID_TRANSITION"
    status = 409
    message = "The payment is disputed: the customer's bank decides about the money."


class SecondPersonNeededError(InvalidTransitionError):
    """So much may not be given back by one alone; `amount` in major units of `currency`."""

    message = "A refund this large takes a second person."

    def __init__(self, *, amount: Decimal, currency: str) -> None:
        super().__init__()
        self.amount = amount
        self.currency = currency


class WebhookRefusedError(ValidationFailedError):
    """A webhook that is not the provider's, is not of these minutes, or is no event."""

    message = "This webhook is refused."
