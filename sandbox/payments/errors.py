"""Refusals in Stripe's own words: one exception, and a named way to raise each kind.

The real SDK decides by status, `type` and `code` which of its exception classes to raise, so these
three must be right; the message is for people.
"""

from typing import Any

from sandbox.payments.documents import Document

DOCUMENTATION_URL = "https://stripe.com/docs/error-codes/"


class ApiError(Exception):
    """A request answered with Stripe's error shape `{"error": {...}}`."""

    def __init__(
        self,
        *,
        status: int,
        error_type: str,
        message: str,
        code: str | None = None,
        param: str | None = None,
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.error: Document = {"message": message, "type": error_type}
        if code is not None:
            self.error |= {"code": code, "doc_url": DOCUMENTATION_URL + code.replace("_", "-")}
        if param is not None:
            self.error["param"] = param
        self.error |= more

    @property
    def document(self) -> Document:
        return {"error": self.error}


def invalid_request(
    message: str, *, param: str | None = None, code: str | None = None, **more: Any
) -> ApiError:
    return ApiError(
        status=400,
        error_type="invalid_request_error",
        message=message,
        param=param,
        code=code,
        **more,
    )


def no_such_resource(*, kind: str, object_id: str, param: str, in_path: bool) -> ApiError:
    """The object does not exist: 404 where it was the address, 400 where it was a parameter."""
    return ApiError(
        status=404 if in_path else 400,
        error_type="invalid_request_error",
        message=f"No such {kind}: '{object_id}'",
        code="resource_missing",
        param=param,
    )


def unrecognized_url(*, method: str, path: str) -> ApiError:
    return ApiError(
        status=404,
        error_type="invalid_request_error",
        message=(
            f"Unrecognized request URL ({method}: {path}). "
            "The local payment server knows only the part of Stripe's API that Orderkeep calls."
        ),
    )


def not_built(*, param: str, value: str | None = None) -> ApiError:
    """Refuse a parameter that Stripe knows and whose silent loss would tell a lie about money.

    With a `value`, it is that value alone which is not supported.
    """
    wish = param if value is None else f"{param}={value}"
    return invalid_request(f"The local payment server does not support '{wish}'.", param=param)


def unexpected_state(message: str, *, intent: Document) -> ApiError:
    return invalid_request(message, code="payment_intent_unexpected_state", payment_intent=intent)


def card_error(
    *, message: str, code: str, decline_code: str | None, intent: Document | None, **more: Any
) -> ApiError:
    if decline_code is not None:
        more["decline_code"] = decline_code
    if intent is not None:
        more["payment_intent"] = intent
    return ApiError(
        status=402,
        error_type="card_error",
        message=message,
        code=code,
        **more,
    )


def unauthorized(message: str, *, code: str | None = None) -> ApiError:
    return ApiError(
        status=401,
        error_type="invalid_request_error",
        message=message,
        code=code,
        headers={"WWW-Authenticate": 'Basic realm="Stripe"'},
    )


def idempotency_mismatch(message: str) -> ApiError:
    return ApiError(status=400, error_type="idempotency_error", message=message)


def key_in_use(key: str) -> ApiError:
    return ApiError(
        status=409,
        error_type="invalid_request_error",
        code="idempotency_key_in_use",
        message=(
            "There is currently another in-progress request using this Idempotent Key "
            "(that probably means you submitted twice, and the other request is still going "
            f"through): {key}. Please try again later."
        ),
    )


def lock_timeout(*, status: int) -> ApiError:
    return ApiError(
        status=status,
        error_type="invalid_request_error",
        code="lock_timeout",
        message=(
            "This object cannot be accessed right now because another API request or Stripe "
            "process is currently accessing it. If you see this error intermittently, retry "
            "the request."
        ),
        headers={"Stripe-Should-Retry": "true"},
    )


def rate_limited(*, retry_after: int) -> ApiError:
    return ApiError(
        status=429,
        error_type="invalid_request_error",
        code="rate_limit",
        message="Testmode request rate limit exceeded. You can learn more about rate limits here.",
        headers={"Retry-After": str(retry_after)},
    )


def server_error(*, status: int = 500) -> ApiError:
    return ApiError(
        status=status,
        error_type="api_error",
        message="Sorry! There was an error while talking to one of our backends.",
    )
