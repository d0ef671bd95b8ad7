"""What each endpoint accepts, and the refusals that come before anything is executed.

The names are those of the SDK's generated types (a test compares them). A refusal raised here is
not remembered under an idempotency key: Stripe saves results only once execution has begun.
"""

from typing import Any

from sandbox.payments import method_types, nested
from sandbox.payments.errors import invalid_request
from sandbox.payments.forms import Form
from sandbox.payments.readers import (
    ArrayOf,
    HashOf,
    RefusedWhen,
    Schema,
    Unsettable,
    amount,
    boolean,
    currency,
    email,
    integer,
    metadata,
    off_session,
    one_of,
    page_size,
    refused,
    text,
    text_up_to,
    url,
)

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


# --- shared pieces ------------------------------------------------------------------------------

EXPAND: Schema = {"expand": ArrayOf(text)}
BOUNDS = HashOf({"gt": integer, "gte": integer, "lt": integer, "lte": integer})


def moment(value: Any, name: str) -> Any:
    """Unix seconds, or bounds for them."""
    return BOUNDS(value, name) if isinstance(value, dict) else integer(value, name)


PAGING: Schema = {
    "limit": page_size,
    "starting_after": text,
    "ending_before": text,
    "created": moment,
    **EXPAND,
}

# --- PaymentIntents -----------------------------------------------------------------------------

_ATTEMPT: Schema = {  # what create and confirm have in common
    "payment_method": text,
    "payment_method_data": nested.METHOD_DATA,
    "return_url": url,
    "off_session": off_session,
    "error_on_requires_action": boolean,
    "use_stripe_sdk": boolean,
    "setup_future_usage": Unsettable(one_of("off_session", "on_session")),
    "capture_method": one_of("automatic", "automatic_async", "manual"),
    "receipt_email": Unsettable(email),
    "shipping": Unsettable(nested.SHIPPING),
    "confirmation_token": refused,
    "mandate": text,
    "mandate_data": Unsettable(nested.MANDATE_DATA),
    "payment_method_options": nested.METHOD_OPTIONS,
    "radar_options": nested.RADAR_OPTIONS,
    "allowed_payment_method_types": nested.ALLOWED_TYPES,
    "excluded_payment_method_types": nested.EXCLUDED_TYPES,
    "amount_details": nested.AMOUNT_DETAILS,
    "payment_details": nested.PAYMENT_DETAILS,
    "hooks": nested.HOOKS,
    **EXPAND,
}
_DESCRIPTIVE: Schema = {  # what create and update have in common
    "metadata": metadata,
    "description": Unsettable(text_up_to(1_000)),
    "statement_descriptor": Unsettable(text_up_to(22)),
    "statement_descriptor_suffix": Unsettable(text_up_to(22)),
    "customer": text,
    "customer_account": refused,
    "payment_method_types": ArrayOf(text),
    "payment_method_configuration": text,
    "application_fee_amount": refused,
    "transfer_data": refused,
    "transfer_group": text,
}
INTENT_CREATE: Schema = {
    **_ATTEMPT,
    **_DESCRIPTIVE,
    "amount": amount,
    "currency": currency,
    "confirm": boolean,
    # Manual means that a server has to confirm once more after the shopper has acted.
    "confirmation_method": RefusedWhen(one_of("automatic", "manual"), ("manual",)),
    "automatic_payment_methods": nested.AUTOMATIC_METHODS,
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
INTENT_CONFIRM: Schema = {
    **_ATTEMPT,
    "mandate_data": Unsettable(nested.MANDATE_DATA_AT_CONFIRMATION),
    "amount_to_confirm": refused,
}
INTENT_CANCEL: Schema = {
    "cancellation_reason": one_of("abandoned", "duplicate", "fraudulent", "requested_by_customer"),
    **EXPAND,
}
INTENT_CAPTURE: Schema = {
    "amount_to_capture": amount,
    "final_capture": RefusedWhen(boolean, ("false",)),  # would leave the rest to a later capture
    "metadata": metadata,
    "statement_descriptor": Unsettable(text_up_to(22)),
    "statement_descriptor_suffix": Unsettable(text_up_to(22)),
    "amount_details": nested.AMOUNT_DETAILS,
    "payment_details": nested.PAYMENT_DETAILS,
    "hooks": nested.HOOKS,
    "application_fee_amount": refused,
    "transfer_data": refused,
    **EXPAND,
}
INTENT_RETRIEVE: Schema = {"client_secret": text, **EXPAND}
INTENT_LIST: Schema = {"customer": text, "customer_account": refused, **PAGING}

# --- charges, refunds, customers ----------------------------------------------------------------

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
    "instructions_email": email,
    "refund_application_fee": refused,
    "reverse_transfer": refused,
    **EXPAND,
}
REFUND_UPDATE: Schema = {"metadata": metadata, **EXPAND}
REFUND_LIST: Schema = {"payment_intent": text, "charge": text, **PAGING}

_CUSTOMER: Schema = {
    "email": Unsettable(email),
    "name": Unsettable(text_up_to(256)),
    "phone": Unsettable(text),
    "description": Unsettable(text),
    "address": Unsettable(nested.ADDRESS),
    "shipping": Unsettable(nested.CUSTOMER_SHIPPING),
    "metadata": metadata,
    "preferred_locales": ArrayOf(text),
    "tax_exempt": Unsettable(one_of("none", "exempt", "reverse")),
    "balance": refused,
    "cash_balance": refused,
    "source": refused,
    "business_name": Unsettable(text),
    "individual_name": Unsettable(text),
    "invoice_prefix": text,
    "invoice_settings": nested.INVOICE_SETTINGS,
    "next_invoice_sequence": integer,
    "tax": HashOf(
        {
            "ip_address": Unsettable(text),
            "validate_location": one_of("auto", "deferred", "immediately"),
        }
    ),
    "validate": boolean,
    **EXPAND,
}
CUSTOMER_CREATE: Schema = {
    **_CUSTOMER,
    "payment_method": refused,
    "tax_id_data": nested.TAX_IDS,
    "test_clock": refused,
}
CUSTOMER_UPDATE: Schema = {**_CUSTOMER, "default_source": refused}
CUSTOMER_LIST: Schema = {"email": text, "test_clock": refused, **PAGING}
CUSTOMER_DELETE: Schema = {}

METHOD_ATTACH: Schema = {"customer": text, "customer_account": refused, **EXPAND}
CUSTOMER_METHOD_LIST: Schema = {
    "allow_redisplay": refused,
    "type": one_of(*sorted(method_types.LISTABLE)),
    **{name: reader for name, reader in PAGING.items() if name != "created"},
}

# --- balance and disputes -----------------------------------------------------------------------

BALANCE_TRANSACTION_LIST: Schema = {
    "source": text,
    "type": text,
    "currency": currency,
    "payout": refused,
    **PAGING,
}
DISPUTE_LIST: Schema = {"charge": text, "payment_intent": text, **PAGING}
DISPUTE_UPDATE: Schema = {
    "evidence": nested.EVIDENCE,
    "metadata": metadata,
    "submit": boolean,
    "intended_submission_method": one_of(
        "manual", "prefer_manual", "prefer_smart_disputes", "smart_disputes"
    ),
    **EXPAND,
}

# --- events -------------------------------------------------------------------------------------

EVENT_LIST: Schema = {
    "type": text,
    "types": ArrayOf(text),
    "delivery_success": refused,
    **PAGING,
}
