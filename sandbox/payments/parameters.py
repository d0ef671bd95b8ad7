"""What each endpoint accepts, and the refusals that come before anything is executed.

The names are those of the SDK's generated types (a test compares them). A refusal raised here is
not remembered under an idempotency key: Stripe saves results only once execution has begun.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from sandbox.payments.currencies import CURRENCIES
from sandbox.payments.errors import invalid_request, not_built
from sandbox.payments.forms import Form

# Turns the raw value of the named parameter into the value the endpoint works with.
Reader: TypeAlias = Callable[[Any, str], Any]
Schema: TypeAlias = Mapping[str, Reader]

MAX_AMOUNT = 99_999_999  # Stripe: eight digits
MAX_TEXT = 5_000  # Stripe's general limit on strings
MAX_METADATA_KEYS, MAX_METADATA_KEY, MAX_METADATA_VALUE = 50, 40, 500
MAX_PAGE = 100
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s]+")


# Parameters that Stripe took out of its API: since which version, and the code it answers now.
REMOVED = {"payment_method_types": ("2026-09-30", "payment_method_types_no_longer_supported")}
# What a client gets that names no version: the one before the removals above.
DEFAULT_API_VERSION = "2026-08-26"


def read_parameters(
    form: Form, *, schema: Schema, required: tuple[str, ...] = (), api_version: str
) -> Form:
    """Check a form against what the endpoint accepts and convert its values.

    Args:
        form: the decoded request.
        schema: the reader of each accepted parameter.
        required: names that must be there.
        api_version: the `Stripe-Version` the client asked for.

    Raises:
        ApiError: 400 `parameter_unknown`, `parameter_missing`, `parameter_invalid_...`.
    """
    for name, (version, code) in REMOVED.items():
        if name in form and name in schema and api_version >= version:
            raise invalid_request(
                f"`{name}` is no longer supported in this API version. Use dynamic payment "
                "methods, or `allowed_payment_method_types` to limit them.",
                param=name,
                code=code,
            )
    unknown = [name for name in form if name not in schema]
    if unknown:
        listed = ", ".join(unknown)
        plural = "s" if len(unknown) > 1 else ""
        raise invalid_request(
            f"Received unknown parameter{plural}: {listed}",
            param=unknown[0],
            code="parameter_unknown",
        )
    for name in required:
        if name not in form:
            raise invalid_request(
                f"Missing required param: {name}.", param=name, code="parameter_missing"
            )
    return {name: schema[name](value, name) for name, value in form.items()}


# --- readers: one value each --------------------------------------------------------------------


def text(value: Any, name: str, *, longest: int = MAX_TEXT) -> str:
    if not isinstance(value, str):
        raise invalid_request(f"Invalid string: {_shown(value)}", param=name)
    if value == "":
        raise invalid_request(
            f"You passed an empty string for '{name}'. We assume empty values are an attempt to "
            f"unset a parameter; however '{name}' cannot be unset. You should remove '{name}' "
            "from your request or supply a non-empty value.",
            param=name,
            code="parameter_invalid_empty",
        )
    if len(value) > longest:
        raise invalid_request(
            f"Invalid string: {_shown(value)}; must be at most {longest} characters", param=name
        )
    return value


def text_up_to(longest: int) -> Reader:
    return lambda value, name: text(value, name, longest=longest)


def url(value: Any, name: str) -> str:
    if _URL.fullmatch(text(value, name)) is None:
        raise invalid_request("Not a valid URL", param=name, code="url_invalid")
    return str(value)


def email(value: Any, name: str) -> str:
    before, at, after = text(value, name, longest=512).partition("@")
    if not (before and at and "." in after and " " not in value):
        raise invalid_request(
            f"Invalid email address: {_shown(value)}", param=name, code="email_invalid"
        )
    return str(value)


def integer(value: Any, name: str) -> int:
    if not isinstance(value, str) or _INTEGER.fullmatch(value) is None:
        raise invalid_request(
            f"Invalid integer: {_shown(value)}", param=name, code="parameter_invalid_integer"
        )
    return int(value)


def amount(value: Any, name: str) -> int:
    minor_units = integer(value, name)
    if minor_units < 1:
        raise invalid_request(
            "This value must be greater than or equal to 1.",
            param=name,
            code="parameter_invalid_integer",
        )
    if minor_units > MAX_AMOUNT:
        raise invalid_request(
            f"Amount must be no more than {MAX_AMOUNT}.", param=name, code="amount_too_large"
        )
    return minor_units


def page_size(value: Any, name: str) -> int:
    size = integer(value, name)
    if not 1 <= size <= MAX_PAGE:
        raise invalid_request(
            f"This value must be between 1 and {MAX_PAGE}.",
            param=name,
            code="parameter_invalid_integer",
        )
    return size


def currency(value: Any, name: str) -> str:
    code = text(value, name).lower()
    if code not in CURRENCIES:
        raise invalid_request(
            f"Invalid currency: {_shown(value)}. Stripe currently supports these currencies: "
            f"{', '.join(sorted(CURRENCIES))}",
            param=name,
        )
    return code


def boolean(value: Any, name: str) -> bool:
    if value not in ("true", "false"):
        raise invalid_request(f"Invalid boolean: {_shown(value)}", param=name)
    return bool(value == "true")


def one_of(*choices: str) -> Reader:
    def read(value: Any, name: str) -> str:
        if value not in choices:
            listed = ", ".join(choices[:-1])
            either = f"{listed}, or {choices[-1]}" if listed else choices[-1]
            raise invalid_request(f"Invalid {name}: must be one of {either}", param=name)
        return str(value)

    return read


def off_session(value: Any, name: str) -> bool:
    """True, false, or the reason the shopper is away (`one_off`, `recurring`), which means true."""
    return value in ("one_off", "recurring") or boolean(value, name)


def unsettable(reader: Reader) -> Reader:
    """Accept an empty string as "remove this value"."""
    return lambda value, name: None if value == "" else reader(value, name)


def array_of(reader: Reader) -> Reader:
    def read(value: Any, name: str) -> list[Any]:
        if value == "":  # how the form encoding writes an empty array
            return []
        if not isinstance(value, list):
            raise invalid_request("Invalid array", param=name)
        return [reader(item, f"{name}[{index}]") for index, item in enumerate(value)]

    return read


def hash_of(schema: Schema, *, required: tuple[str, ...] = ()) -> Reader:
    def read(value: Any, name: str) -> Form:
        if not isinstance(value, dict):
            raise invalid_request("Invalid object", param=name)
        for key in value:
            if key not in schema:
                raise invalid_request(
                    f"Received unknown parameter: {name}[{key}]",
                    param=f"{name}[{key}]",
                    code="parameter_unknown",
                )
        for key in required:
            if key not in value:
                raise invalid_request(
                    f"Missing required param: {name}[{key}].",
                    param=f"{name}[{key}]",
                    code="parameter_missing",
                )
        return {key: schema[key](item, f"{name}[{key}]") for key, item in value.items()}

    return read


def metadata(value: Any, name: str) -> dict[str, str] | None:
    """Up to 50 short texts; an empty one removes its key, an empty parameter removes all."""
    if value == "":
        return None
    if isinstance(value, list):  # keys 0, 1, 2 ... are read as an array; here they are just keys
        value = {str(index): item for index, item in enumerate(value)}
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise invalid_request("Invalid object", param=name)
    if len(value) > MAX_METADATA_KEYS:
        raise invalid_request(
            f"You cannot have more than {MAX_METADATA_KEYS} keys in metadata.", param=name
        )
    for key, item in value.items():
        if len(key) > MAX_METADATA_KEY:
            raise invalid_request(
                f"Metadata keys can have up to {MAX_METADATA_KEY} characters, but you passed in "
                f"a key that is {len(key)} characters. Invalid key: {key[:100]}",
                param=name,
            )
        if len(item) > MAX_METADATA_VALUE:
            raise invalid_request(
                f"Metadata values can have up to {MAX_METADATA_VALUE} characters, but you passed "
                f"in a value that is {len(item)} characters. Invalid value: {item[:100]}",
                param=f"{name}[{key}]",
            )
    return value


def accepted(value: Any, name: str) -> Any:  # noqa: ARG001 - a reader like the others
    """A parameter of Stripe's that changes nothing here: taken, without effect."""
    return value


def refused(value: Any, name: str) -> Any:  # noqa: ARG001 - a reader like the others
    """A parameter of Stripe's whose silent loss would change where money goes."""
    raise not_built(param=name)


def _shown(value: Any) -> str:
    return value[:100] if isinstance(value, str) else type(value).__name__


# --- shared pieces ------------------------------------------------------------------------------

EXPAND: Schema = {"expand": array_of(text)}
ADDRESS = hash_of(
    {
        name: unsettable(text)
        for name in ("city", "country", "line1", "line2", "postal_code", "state")
    }
)
SHIPPING = hash_of(
    {
        "address": ADDRESS,
        "name": text,
        "carrier": unsettable(text),
        "phone": unsettable(text),
        "tracking_number": unsettable(text),
    },
    required=("address", "name"),
)
_BOUNDS = hash_of({"gt": integer, "gte": integer, "lt": integer, "lte": integer})
PAGING: Schema = {
    "limit": page_size,
    "starting_after": text,
    "ending_before": text,
    "created": lambda value, name: (
        _BOUNDS(value, name) if isinstance(value, dict) else integer(value, name)
    ),
    **EXPAND,
}

# --- PaymentIntents -----------------------------------------------------------------------------

_ATTEMPT: Schema = {  # what create and confirm have in common
    "payment_method": text,
    "payment_method_data": hash_of(
        {
            "type": one_of("paypal"),
            "billing_details": accepted,
            "metadata": metadata,
            "allow_redisplay": accepted,
        },
        required=("type",),
    ),
    "return_url": url,
    "off_session": off_session,
    "error_on_requires_action": boolean,
    "use_stripe_sdk": boolean,
    "setup_future_usage": unsettable(one_of("off_session", "on_session")),
    "capture_method": one_of("automatic", "automatic_async", "manual"),
    "receipt_email": unsettable(email),
    "shipping": unsettable(SHIPPING),
    "confirmation_token": refused,
    "mandate": accepted,
    "mandate_data": accepted,
    "payment_method_options": accepted,
    "radar_options": accepted,
    "allowed_payment_method_types": array_of(text),
    "excluded_payment_method_types": array_of(text),
    "amount_details": accepted,
    "payment_details": accepted,
    "hooks": accepted,
    **EXPAND,
}
_DESCRIPTIVE: Schema = {  # what create and update have in common
    "metadata": metadata,
    "description": unsettable(text_up_to(1_000)),
    "statement_descriptor": unsettable(text_up_to(22)),
    "statement_descriptor_suffix": unsettable(text_up_to(22)),
    "customer": text,
    "customer_account": refused,
    "payment_method_types": array_of(text),
    "payment_method_configuration": accepted,
    "application_fee_amount": refused,
    "transfer_data": refused,
    "transfer_group": accepted,
}
INTENT_CREATE: Schema = {
    **_ATTEMPT,
    **_DESCRIPTIVE,
    "amount": amount,
    "currency": currency,
    "confirm": boolean,
    "confirmation_method": one_of("automatic", "manual"),
    "automatic_payment_methods": hash_of(
        {"enabled": boolean, "allow_redirects": one_of("always", "never")}, required=("enabled",)
    ),
    "on_behalf_of": refused,
}
INTENT_UPDATE: Schema = {
    **{
        name: reader
        for name, reader in _ATTEMPT.items()
        if name
        not in (
            "return_url",
            "off_session",
            "error_on_requires_action",
            "use_stripe_sdk",
            "confirmation_token",
            "mandate",
            "mandate_data",
            "radar_options",
        )
    },
    **_DESCRIPTIVE,
    "amount": amount,
    "currency": currency,
}
INTENT_CONFIRM: Schema = {**_ATTEMPT, "amount_to_confirm": accepted}
INTENT_CANCEL: Schema = {
    "cancellation_reason": one_of("abandoned", "duplicate", "fraudulent", "requested_by_customer"),
    **EXPAND,
}
INTENT_CAPTURE: Schema = {
    "amount_to_capture": amount,
    "final_capture": accepted,
    "metadata": metadata,
    "statement_descriptor": unsettable(text_up_to(22)),
    "statement_descriptor_suffix": unsettable(text_up_to(22)),
    "amount_details": accepted,
    "payment_details": accepted,
    "hooks": accepted,
    "application_fee_amount": refused,
    "transfer_data": refused,
    **EXPAND,
}
INTENT_RETRIEVE: Schema = {"client_secret": text, **EXPAND}
INTENT_LIST: Schema = {"customer": text, "customer_account": refused, **PAGING}

# --- charges, refunds, customers, payment methods -----------------------------------------------

CHARGE_LIST: Schema = {
    "customer": text,
    "payment_intent": text,
    "transfer_group": refused,
    **PAGING,
}
REFUND_CREATE: Schema = {
    "payment_intent": text,
    "charge": text,
    "amount": amount,
    "reason": one_of("duplicate", "fraudulent", "requested_by_customer"),
    "metadata": metadata,
    "currency": refused,
    "customer": refused,
    "origin": refused,
    "instructions_email": accepted,
    "refund_application_fee": refused,
    "reverse_transfer": refused,
    **EXPAND,
}
REFUND_LIST: Schema = {"payment_intent": text, "charge": text, **PAGING}

_CUSTOMER: Schema = {
    "email": unsettable(email),
    "name": unsettable(text_up_to(256)),
    "phone": unsettable(text),
    "description": unsettable(text),
    "address": unsettable(ADDRESS),
    "shipping": unsettable(SHIPPING),
    "metadata": metadata,
    "preferred_locales": array_of(text),
    "tax_exempt": unsettable(one_of("none", "exempt", "reverse")),
    "balance": refused,
    "cash_balance": refused,
    "source": refused,
    "business_name": accepted,
    "individual_name": accepted,
    "invoice_prefix": accepted,
    "invoice_settings": accepted,
    "next_invoice_sequence": accepted,
    "tax": accepted,
    "validate": accepted,
    **EXPAND,
}
CUSTOMER_CREATE: Schema = {
    **_CUSTOMER,
    "payment_method": refused,
    "tax_id_data": accepted,
    "test_clock": refused,
}
CUSTOMER_UPDATE: Schema = {**_CUSTOMER, "default_source": refused}
CUSTOMER_LIST: Schema = {"email": text, "test_clock": refused, **PAGING}

REFUND_UPDATE: Schema = {"metadata": metadata, **EXPAND}

# --- balance and disputes -----------------------------------------------------------------------

BALANCE_TRANSACTION_LIST: Schema = {
    "source": text,
    "type": text,
    "currency": currency,
    "payout": refused,
    **PAGING,
}
DISPUTE_LIST: Schema = {"charge": text, "payment_intent": text, **PAGING}
EVIDENCE = (
    "access_activity_log",
    "billing_address",
    "cancellation_policy",
    "cancellation_policy_disclosure",
    "cancellation_rebuttal",
    "customer_communication",
    "customer_email_address",
    "customer_name",
    "customer_purchase_ip",
    "customer_signature",
    "duplicate_charge_documentation",
    "duplicate_charge_explanation",
    "duplicate_charge_id",
    "product_description",
    "receipt",
    "refund_policy",
    "refund_policy_disclosure",
    "refund_refusal_explanation",
    "service_date",
    "service_documentation",
    "shipping_address",
    "shipping_carrier",
    "shipping_date",
    "shipping_documentation",
    "shipping_tracking_number",
    "uncategorized_file",
    "uncategorized_text",
)
DISPUTE_UPDATE: Schema = {
    "evidence": hash_of(
        {name: unsettable(text_up_to(20_000)) for name in EVIDENCE}
        | {"appeal": accepted, "enhanced_evidence": accepted}
    ),
    "metadata": metadata,
    "submit": boolean,
    "intended_submission_method": accepted,
    **EXPAND,
}

# --- events -------------------------------------------------------------------------------------

EVENT_LIST: Schema = {
    "type": text,
    "types": array_of(text),
    "delivery_success": accepted,
    **PAGING,
}
