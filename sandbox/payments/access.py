"""Who may ask: any secret test key, as Basic user name or Bearer token."""

import base64
import binascii

from sandbox.payments.errors import ApiError, unauthorized

_MISSING = (
    "You did not provide an API key. You need to provide your API key in the Authorization "
    "header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
)


def refuse_without_key(authorization: str) -> ApiError | None:
    """The 401 an `Authorization` header deserves, or None for a good one."""
    key = _key_in(authorization)
    if not key:
        return unauthorized(_MISSING)
    if key.startswith("pk_"):
        return unauthorized(
            "This API call cannot be made with a publishable API key. Please use a secret API "
            "key. You can find a list of your API keys at https://dashboard.stripe.com/apikeys.",
            code="secret_key_required",
        )
    if not key.startswith("sk_test_") or key == "sk_test_":
        return unauthorized(f"Invalid API Key provided: {_masked(key)}")
    return None


def _key_in(authorization: str) -> str:
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    if scheme.lower() == "basic":
        try:
            decoded = base64.b64decode(credentials, validate=True).decode("ascii")
        except (binascii.Error, UnicodeDecodeError):
            return ""
        return decoded.partition(":")[0]
    return ""


def _masked(key: str) -> str:
    """Show enough of a key to recognise it, too little to use it."""
    shown = 8
    if len(key) <= shown:
        return "*" * len(key)
    return key[:shown] + "*" * min(len(key) - shown, 16)
