"""The one family of anticipated errors, and the envelope in which clients read them."""

from __future__ import annotations

from typing import Any, ClassVar


class DomainError(Exception):
    """Something a caller can expect and act upon; mapped to HTTP once, in `config/api.py`.

    Subclasses live beside the code that raises them and fix `code` (stable, for machines),
    `status` (HTTP) and a default `message` (for people, without internals).
    """

    code: ClassVar[str] = "INTERNAL_ERROR"
    status: ClassVar[int] = 500
    message: str = "An unexpected error occurred."
    retry_after_seconds: int | None = None

    def __init__(self, message: str | None = None, *, details: Any = None) -> None:
        self.message = message or type(self).message
        self.details = details
        super().__init__(self.message)


class ValidationFailedError(DomainError):
    """The input is not acceptable; `details` is `{field: [messages]}`, nested for lists."""

    code = "VALIDATION_FAILED"
    status = 400
    message = "The input is not valid."


class NotFoundError(DomainError):
    """Nothing here for this caller; also said of what belongs to somebody else."""

    code = "NOT_FOUND"
    status = 404
    message = "Not found."


class InvalidTransitionError(DomainError):
    """The thing is in a state from which the wanted step is not legal."""

    code = "INVALID_TRANSITION"
    status = 409
    message = "This is not possible in the current state."


class RequestKeyReusedError(DomainError):
    """The key of a form came again with other contents: sent, gone back to, changed, sent again."""

    code = "IDEMPOTENCY_KEY_REUSED"
    status = 422
    message = "This form was sent before, with other contents; open it anew and send that."


class RateLimitExceededError(DomainError):
    """Too many of these in a while; `retry_after_seconds` tells when to come back."""

    code = "RATE_LIMIT_EXCEEDED"
    status = 429
    message = "Too many requests, please try again later."
    retry_after_seconds = 60


class ServiceUnavailableError(DomainError):
    """The database or the payment provider is away; nothing is held, nothing is charged."""

    code = "SERVICE_UNAVAILABLE"
    status = 503
    message = "The service is temporarily unavailable, please try again."
    retry_after_seconds = 2


def error_body(
    *, code: str, message: str, details: Any = None, request_id: str | None
) -> dict[str, Any]:
    """The body of every 4xx and 5xx under `/api/`."""
    return {
        "success": False,
        "error": {"code": code, "message": message, "details": details},
        "request_id": request_id,
    }
