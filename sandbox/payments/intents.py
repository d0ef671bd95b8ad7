"""PaymentIntents: the life of one payment, from its amount to money or to nothing.

requires_payment_method -> requires_confirmation -> requires_action | processing
                                                 -> succeeded | requires_capture
A failed attempt leads back to requires_payment_method; anything not under way may be canceled.
"""

from sandbox.payments import charges, customers, methods
from sandbox.payments.attempts import attempt, follow_up
from sandbox.payments.calls import Call
from sandbox.payments.documents import Document, new_id, random_token
from sandbox.payments.errors import (
    invalid_request,
    no_such_resource,
    unexpected_state,
)
from sandbox.payments.events import emit
from sandbox.payments.listing import list_objects
from sandbox.payments.metadata import merged
from sandbox.payments.store import Record

KIND = "payment_intent"

CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
CHANGEABLE = CONFIRMABLE
CANCELABLE = (*CONFIRMABLE, "requires_capture")
# Parameters copied as they are; each is a field of the intent.
_PLAIN = (
    "description",
    "receipt_email",
    "setup_future_usage",
    "shipping",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_group",
)
# What may still be changed when the money has moved.
_ALWAYS_CHANGEABLE = frozenset(
    {"metadata", "description", "receipt_email", "shipping", "transfer_group", "expand"}
)
# What decides which kinds of payment method an intent takes.
_TYPE_PARAMETERS = frozenset(
    {
        "payment_method_types",
        "allowed_payment_method_types",
        "excluded_payment_method_types",
        "currency",
        "capture_method",
    }
)
_NO_WISH: Document = {
    "automatic_payment_methods": None,
    "allowed_payment_method_types": None,
    "excluded_payment_method_types": None,
}
_MISSING_METHOD = (
    "You cannot confirm this PaymentIntent because it's missing a payment method. You can either "
    "update the PaymentIntent with a payment method and then confirm it again, or confirm it "
    "again directly with a payment method or ConfirmationToken."
)
_MISSING_RETURN_URL = (
    "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. "
    "Because some of these payment methods might redirect your customer off of your page, you "
    "must provide a `return_url`. If you don't want to accept redirect-based payment methods, set "
    "`automatic_payment_methods[enabled]` to `true` and "
    "`automatic_payment_methods[allow_redirects]` to `never` when creating Setup Intents and "
    "Payment Intents."
)

# --- endpoints ----------------------------------------------------------------------------------


def check_create(call: Call) -> None:
    """Refuse what only makes sense together with a confirmation, before anything is executed."""
    if call.get("confirm", False):
        return
    for name in ("off_session", "return_url", "error_on_requires_action"):
        if name in call.params:
            raise invalid_request(
                f"The parameter `{name}` cannot be passed when creating a PaymentIntent unless "
                "`confirm` is set to true.",
                param=name,
            )


def create(call: Call) -> Document:
    intent = _new_intent(call)
    method = _brought(call)
    if method is not None:
        _require_usable(intent, method)
    if not call.get("confirm", False):
        if method is not None:
            _attach(call, intent, method)
        _add(call, intent)
        return intent
    if method is None:
        raise invalid_request(_MISSING_METHOD, code="payment_intent_unexpected_state")
    _require_return_url(call, intent=intent, method=method)
    _attach(call, intent, method)
    _add(call, intent)
    return attempt(call, intent=intent, method=method)


def retrieve(call: Call) -> Document:
    intent = get(call, intent_id=call.object_id, param="intent", in_path=True)
    if call.get("client_secret", intent["client_secret"]) != intent["client_secret"]:
        raise invalid_request(
            "The client_secret provided does not match the client_secret associated with this "
            "PaymentIntent.",
            param="client_secret",
            code="payment_intent_invalid_parameter",
        )
    return intent


def list_all(call: Call) -> Document:
    return list_objects(call, kind=KIND, filters=("customer",))


def update(call: Call) -> Document:
    intent = get(call, intent_id=call.object_id, param="intent", in_path=True)
    late = [name for name in call.params if name not in _ALWAYS_CHANGEABLE]
    if late and intent["status"] not in CHANGEABLE:
        raise unexpected_state(
            f"This PaymentIntent's {late[0]} could not be updated because it has a status of "
            f"{intent['status']}. You may only update the {late[0]} of a PaymentIntent with one "
            f"of the following statuses: {', '.join(CHANGEABLE)}.",
            intent=intent,
        )
    if {"amount", "currency"} & call.params.keys() and intent["status"] == "requires_action":
        _ask_again(intent)  # what the shopper was asked to approve is no longer the amount
    for name in ("amount", "currency", "capture_method"):
        if name in call.params:
            intent[name] = call.params[name]
    _describe(call, intent)
    brought = _brought(call)
    if _TYPE_PARAMETERS & call.params.keys():
        _choose_types(call, intent)
        held = methods.kept_method(call, intent)
        if brought is None and held is not None:
            _require_allowed(intent, held)
    if brought is not None:
        _require_usable(intent, brought)
        _attach(call, intent, brought)
    call.store.save(intent)
    return intent


def confirm(call: Call) -> Document:
    intent = get(call, intent_id=call.object_id, param="intent", in_path=True)
    if intent["status"] not in CONFIRMABLE:
        raise unexpected_state(_why_not_confirmable(intent["status"]), intent=intent)
    if "capture_method" in call.params:
        intent["capture_method"] = call.params["capture_method"]
    if _TYPE_PARAMETERS & call.params.keys():
        _choose_types(call, intent)
    method = _brought(call) or methods.kept_method(call, intent)
    if method is None:
        raise unexpected_state(_MISSING_METHOD, intent=intent)
    _require_usable(intent, method)
    _require_return_url(call, intent=intent, method=method)
    _describe(call, intent)
    _attach(call, intent, method)
    return attempt(call, intent=intent, method=method)


def cancel(call: Call) -> Document:
    intent = get(call, intent_id=call.object_id, param="intent", in_path=True)
    if intent["status"] not in CANCELABLE:
        raise unexpected_state(
            "You cannot cancel this PaymentIntent because it has a status of "
            f"{intent['status']}. Only a PaymentIntent with one of the following statuses may be "
            f"canceled: {', '.join(CANCELABLE)}.",
            intent=intent,
        )
    # A hold just ends. Since 2025-03-31.basil Stripe no longer writes a refund on its charge.
    intent |= {
        "status": "canceled",
        "canceled_at": call.now,
        "cancellation_reason": call.get("cancellation_reason"),
        "next_action": None,
        "amount_capturable": 0,
    }
    call.store.save(intent)
    emit(call, "payment_intent.canceled", intent)
    return intent


def capture(call: Call) -> Document:
    intent = get(call, intent_id=call.object_id, param="intent", in_path=True)
    if intent["status"] != "requires_capture":
        raise unexpected_state(
            "This PaymentIntent could not be captured because it has a status of "
            f"{intent['status']}. Only a PaymentIntent with one of the following statuses may be "
            "captured: requires_capture.",
            intent=intent,
        )
    amount = call.get("amount_to_capture", intent["amount_capturable"])
    if amount > intent["amount_capturable"]:
        raise invalid_request(
            "The requested capture amount is greater than the authorized amount.",
            param="amount_to_capture",
            code="amount_too_large",
        )
    _describe(call, intent)  # may refuse, so before any money moves
    charges.capture_held(call, charge_id=intent["latest_charge"], amount=amount)
    intent |= {"status": "succeeded", "amount_capturable": 0, "amount_received": amount}
    call.store.save(intent)
    emit(call, "payment_intent.succeeded", intent)
    method = methods.kept_method(call, intent)
    if method is not None:
        follow_up(call, intent=intent, method=method)
    return intent


def get(call: Call, *, intent_id: str, param: str, in_path: bool = False) -> Document:
    """Find an intent.

    Raises:
        ApiError: `resource_missing` naming `param`.
    """
    record = call.store.find(kind=KIND, object_id=intent_id)
    if record is None:
        raise no_such_resource(kind=KIND, object_id=intent_id, param=param, in_path=in_path)
    return record.body


# --- making an intent ---------------------------------------------------------------------------


def _new_intent(call: Call) -> Document:
    intent_id = new_id("pi")
    intent: Document = {
        "id": intent_id,
        "object": KIND,
        "allowed_payment_method_types": None,
        "amount": call.params["amount"],
        "amount_capturable": 0,
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": {"allow_redirects": "always", "enabled": True},
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": call.get("capture_method", "automatic"),
        "client_secret": f"{intent_id}_secret_{random_token()}",
        "confirmation_method": call.get("confirmation_method", "automatic"),
        "created": call.now,
        "currency": call.params["currency"],
        "customer": None,
        "customer_account": None,
        "description": None,
        "excluded_payment_method_types": None,
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": {},
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": None,
        "payment_method_types": [],
        "payment_record": None,
        "processing": None,
        "receipt_email": None,
        "review": None,
        "setup_future_usage": None,
        "shipping": None,
        "source": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "requires_payment_method",
        "transfer_data": None,
        "transfer_group": None,
    }
    _choose_types(call, intent)
    _describe(call, intent)
    return intent


def _add(call: Call, intent: Document) -> None:
    call.store.add(intent)
    emit(call, "payment_intent.created", intent)


def _choose_types(call: Call, intent: Document) -> None:
    """Which kinds of payment method the intent takes: those asked for that are possible.

    What was asked for stays with the intent, so that another currency or capture method later is
    measured by the same wish.
    """
    _note_wish(call, intent)
    available = methods.available_types(
        currency=intent["currency"], capture_method=intent["capture_method"]
    )
    automatic = intent["automatic_payment_methods"]
    allowed = intent.get("allowed_payment_method_types")
    excluded = set(intent.get("excluded_payment_method_types") or ())
    if automatic is not None:
        wanted = available
        if automatic["allow_redirects"] == "never":
            excluded |= methods.REDIRECT_TYPES
    elif allowed is not None:
        wanted = [name for name in available if name in allowed]
    else:
        wanted = intent["payment_method_types"]
        _require_possible(wanted, available, intent=intent)
    intent["payment_method_types"] = [name for name in wanted if name not in excluded]
    if not intent["payment_method_types"]:
        raise invalid_request("No valid payment method types for this Payment Intent.")


def _note_wish(call: Call, intent: Document) -> None:
    """Write down which kinds this request asks for, in place of what was asked for before."""
    if "payment_method_types" in call.params:
        _refuse_together(call, "payment_method_types", "allowed_payment_method_types")
        intent |= {**_NO_WISH, "payment_method_types": call.params["payment_method_types"]}
    elif "allowed_payment_method_types" in call.params:
        for other in ("excluded_payment_method_types", "automatic_payment_methods"):
            _refuse_together(call, "allowed_payment_method_types", other)
        allowed = call.params["allowed_payment_method_types"]
        intent |= {**_NO_WISH, "allowed_payment_method_types": allowed}
    elif "automatic_payment_methods" in call.params:
        automatic = {"allow_redirects": "always", **call.params["automatic_payment_methods"]}
        if automatic["enabled"]:
            intent["automatic_payment_methods"] = automatic
        else:
            intent |= {**_NO_WISH, "payment_method_types": ["card"]}
    if "excluded_payment_method_types" in call.params:
        excluded = call.params["excluded_payment_method_types"]
        intent["excluded_payment_method_types"] = excluded


def _require_possible(listed: list[str], available: list[str], *, intent: Document) -> None:
    for name in listed:
        if name not in available:
            raise invalid_request(
                f'The payment method type "{name}" is invalid for {intent["currency"]} with '
                f"capture_method={intent['capture_method']}. The local payment server knows: "
                f"{', '.join(available)}.",
                param="payment_method_types",
                code="payment_intent_invalid_parameter",
            )


def _refuse_together(call: Call, first: str, second: str) -> None:
    if first in call.params and second in call.params:
        raise invalid_request(f"You may only specify one of these parameters: {first}, {second}.")


def _describe(call: Call, intent: Document) -> None:
    """Take over the parameters that only describe the payment."""
    intent |= {name: call.params[name] for name in _PLAIN if name in call.params}
    if "metadata" in call.params:
        intent["metadata"] = merged(intent["metadata"], call.params["metadata"])
    if "customer" in call.params:
        customers.get(call, customer_id=call.params["customer"], param="customer")
        intent["customer"] = call.params["customer"]


# --- payment methods ----------------------------------------------------------------------------


def _brought(call: Call) -> Record | None:
    """The payment method this request brings, if any."""
    if "payment_method_data" in call.params:
        _refuse_together(call, "payment_method", "payment_method_data")
        return methods.make(call, test_id=f"pm_{call.params['payment_method_data']['type']}")
    if "payment_method" in call.params:
        return methods.find_or_make(
            call, method_id=call.params["payment_method"], param="payment_method"
        )
    return None


def _require_usable(intent: Document, method: Record) -> None:
    """Refuse a payment method that has paid already, or that the intent cannot take."""
    methods.require_unused(method)
    methods.require_owner(method, customer_id=intent["customer"])
    _require_allowed(intent, method)


def _require_allowed(intent: Document, method: Record) -> None:
    kind = method.body["type"]
    if kind not in intent["payment_method_types"]:
        raise invalid_request(
            f"The PaymentMethod provided ({kind}) is not allowed for this PaymentIntent. Please "
            "attach a payment method that is allowed for this PaymentIntent: "
            f"{', '.join(intent['payment_method_types'])}.",
            param="payment_method",
            code="payment_intent_incompatible_payment_method",
        )


def _attach(call: Call, intent: Document, method: Record) -> None:
    methods.keep(call, method)
    intent["payment_method"] = method.body["id"]
    _ask_again(intent)


def _ask_again(intent: Document) -> None:
    intent |= {"status": "requires_confirmation", "next_action": None}


def _require_return_url(call: Call, *, intent: Document, method: Record) -> None:
    """Refuse to confirm where the shopper might be sent away with no way back.

    Stripe asks for it even for cards when the account's own choice of methods could redirect.
    """
    if "return_url" in call.params:
        return
    might_redirect = intent["automatic_payment_methods"] is not None and (
        not methods.REDIRECT_TYPES.isdisjoint(intent["payment_method_types"])
    )
    if might_redirect or method.body["type"] in methods.REDIRECT_TYPES:
        raise invalid_request(_MISSING_RETURN_URL, param="return_url")


def _why_not_confirmable(status: str) -> str:
    if status == "succeeded":
        return (
            "You cannot confirm this PaymentIntent because it has already succeeded after being "
            "previously confirmed."
        )
    return (
        f"You cannot confirm this PaymentIntent because it has a status of {status}. Only a "
        "PaymentIntent with one of the following statuses may be confirmed: "
        f"{', '.join(CONFIRMABLE)}."
    )
