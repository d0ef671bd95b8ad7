"""The documented test payment methods, and what happens to whoever pays with one.

`pm_card_visa` and its like are recipes: using one makes a fresh PaymentMethod object, as at Stripe.
"""

from dataclasses import dataclass, replace
from enum import Enum

from sandbox.payments import customers
from sandbox.payments.calls import Call
from sandbox.payments.documents import Document, new_id
from sandbox.payments.errors import card_error, invalid_request, no_such_resource
from sandbox.payments.events import emit
from sandbox.payments.listing import list_objects
from sandbox.payments.readers import MAX_PAGE
from sandbox.payments.store import Record

KIND = "payment_method"


class Step(Enum):
    """What confirming leads to, before any money is asked for."""

    CHARGE = "charge"  # straight to the bank
    AUTHENTICATE = "authenticate"  # 3-D Secure: the shopper has to act first
    REDIRECT = "redirect"  # the shopper pays at the provider's own site
    DEBIT = "debit"  # the bank answers days later


@dataclass(frozen=True)
class Decline:
    """A bank's no: Stripe's error code, its decline code, and the sentence for the shopper."""

    code: str
    decline_code: str | None
    message: str


@dataclass(frozen=True)
class TestMethod:
    """One documented test id and its fate."""

    __test__ = False  # not a pytest class

    type: str
    details: tuple[tuple[str, str], ...]
    step: Step = Step.CHARGE
    decline: Decline | None = None  # the answer once the bank is asked; a debit's when it fails
    may_be_kept: bool = False  # declined only when it is to pay, not when a customer keeps it
    exempt_off_session: bool = False  # already set up: no 3-D Secure while the shopper is away
    dispute: str | None = None  # the reason why the bank takes the money back right afterwards
    is_inquiry: bool = False  # the bank only asks
    refund_is_pending: bool = False  # a refund takes its time, and may fail


# --- declines: https://docs.stripe.com/testing#declined-payments --------------------------------

GENERIC = Decline("card_declined", "generic_decline", "Your card was declined.")
FRAUDULENT = Decline("card_declined", "fraudulent", "Your card was declined.")
INSUFFICIENT_FUNDS = Decline(
    "card_declined", "insufficient_funds", "Your card has insufficient funds."
)
PROCESSING_ERROR = Decline(
    "processing_error",
    "processing_error",
    "An error occurred while processing your card. Try again in a little bit.",
)
AUTHENTICATION_REQUIRED = Decline(
    "authentication_required",
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
)
_DECLINES = {
    "": GENERIC,
    "InsufficientFunds": INSUFFICIENT_FUNDS,
    "LostCard": Decline("card_declined", "lost_card", "Your card was declined."),
    "StolenCard": Decline("card_declined", "stolen_card", "Your card was declined."),
    "ExpiredCard": Decline("expired_card", "expired_card", "Your card has expired."),
    "IncorrectCvc": Decline(
        "incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect."
    ),
    "ProcessingError": PROCESSING_ERROR,
    "VelocityLimitExceeded": Decline(
        "card_declined",
        "card_velocity_exceeded",
        "Your card was declined for making repeated attempts too frequently or exceeding its "
        "amount limit.",
    ),
    "Fraudulent": FRAUDULENT,
    "FraudulentDeclined": FRAUDULENT,
}
# Returns of a bank debit: https://docs.stripe.com/payments/ach-direct-debit
_DEBIT_FAILURES = {
    "success": None,
    "processing": None,
    "dispute": None,
    "accountClosed": Decline(
        "account_closed", None, "The customer's bank account has been closed."
    ),
    "noAccount": Decline("no_account", None, "The customer's bank account could not be located."),
    "insufficientFunds": Decline(
        "insufficient_funds", None, "The customer's account has insufficient funds."
    ),
    "debitNotAuthorized": Decline(
        "debit_not_authorized", None, "The customer has notified their bank of an unknown debit."
    ),
    "invalidCurrency": Decline(
        "invalid_currency", None, "The bank account cannot be debited in this currency."
    ),
}
DEBIT_FAILED = Decline(
    "payment_intent_payment_attempt_failed", None, "The payment attempt failed at the bank."
)

# --- the catalogue ------------------------------------------------------------------------------

_BRANDS = {
    "visa": ("visa", "4242", "credit"),
    "visa_debit": ("visa", "5556", "debit"),
    "mastercard": ("mastercard", "4444", "credit"),
    "mastercard_debit": ("mastercard", "8210", "debit"),
    "mastercard_prepaid": ("mastercard", "5100", "prepaid"),
    "amex": ("amex", "8431", "credit"),
    "discover": ("discover", "1117", "credit"),
    "diners": ("diners", "0004", "credit"),
    "jcb": ("jcb", "0505", "credit"),
    "unionpay": ("unionpay", "0005", "credit"),
}
_COUNTRIES = (  # pm_card_us, pm_card_de, ...
    "us ar br ca cl co cr ec mx pa py pe uy ae at be bg by hr cy cz dk ee fi fr de gi gr hu ie it "
    "lv li lt lu mt nl no pl pt ro sa si sk es se ch gb au cn hk in jp my nz sg tw th"
)


def _card(brand: str, last4: str, funding: str, country: str = "US") -> TestMethod:
    return TestMethod(
        type="card",
        details=(
            ("brand", brand),
            ("last4", last4),
            ("funding", funding),
            ("country", country),
        ),
    )


_VISA = _card("visa", "4242", "credit")
_ASKS = replace(_VISA, step=Step.AUTHENTICATE)


def _catalogue() -> dict[str, TestMethod]:
    cards = {name: _card(*brand) for name, brand in _BRANDS.items()}
    cards |= {code: _card("visa", "4242", "credit", code.upper()) for code in _COUNTRIES.split()}
    for suffix, decline in _DECLINES.items():
        cards[f"visa_chargeDeclined{suffix}"] = replace(_VISA, decline=decline)
        cards[f"chargeDeclined{suffix}"] = replace(_VISA, decline=decline)
    cards |= {
        "chargeCustomerFail": replace(_VISA, decline=GENERIC, may_be_kept=True),
        "radarBlock": replace(_VISA, decline=FRAUDULENT),
        "riskLevelElevated": _VISA,
        "bypassPending": _VISA,
        "cvcCheckFail": _VISA,
        "avsFail": _VISA,
        # https://docs.stripe.com/testing#disputes
        "createDispute": replace(_VISA, dispute="fraudulent"),
        "createDisputeProductNotReceived": replace(_VISA, dispute="product_not_received"),
        "createDisputeInquiry": replace(_VISA, dispute="fraudulent", is_inquiry=True),
        # https://docs.stripe.com/testing#refunds; the bank's part is played by /_test/refunds
        "pendingRefund": replace(_VISA, refund_is_pending=True),
        "refundFail": _VISA,
        # https://docs.stripe.com/testing#regulatory-cards
        "threeDSecure2Required": _ASKS,
        "threeDSecureRequired": _ASKS,
        "threeDSecureOptional": _VISA,
        "amex_threeDSecureNotSupported": cards["amex"],
        "threeDSecureRequiredChargeDeclined": replace(_ASKS, decline=GENERIC),
        "threeDSecureRequiredProcessingError": replace(_ASKS, decline=PROCESSING_ERROR),
        "authenticationRequired": _ASKS,
        "authenticationRequiredOnSetup": _ASKS,
        "authenticationRequiredSetupForOffSession": replace(_ASKS, exempt_off_session=True),
        "authenticationRequiredChargeDeclinedInsufficientFunds": replace(
            _ASKS, decline=INSUFFICIENT_FUNDS
        ),
    }
    methods = {f"pm_card_{name}": card for name, card in cards.items()}
    for name, failure in _DEBIT_FAILURES.items():
        methods[f"pm_usBankAccount_{name}"] = TestMethod(
            type="us_bank_account",
            details=(("bank_name", "STRIPE TEST BANK"), ("last4", "6789")),
            step=Step.DEBIT,
            decline=failure,
            dispute="debit_not_authorized" if name == "dispute" else None,
            refund_is_pending=True,
        )
    methods["pm_paypal"] = TestMethod(type="paypal", details=(), step=Step.REDIRECT)
    return methods


CATALOGUE = _catalogue()
REDIRECT_TYPES = frozenset(
    method.type for method in CATALOGUE.values() if method.step is Step.REDIRECT
)
# Which kinds of method a payment in a currency may use at all; None: every currency.
AVAILABLE_TYPES: dict[str, str | None] = {"card": None, "us_bank_account": "usd", "paypal": None}
CANNOT_HOLD = frozenset({"us_bank_account"})  # a debit takes the money, there is no hold before it


def available_types(*, currency: str, capture_method: str) -> list[str]:
    """The kinds this account takes for a payment, as the dashboard of a real one would say."""
    excluded = CANNOT_HOLD if capture_method == "manual" else frozenset()
    return [
        name
        for name, only in AVAILABLE_TYPES.items()
        if only in (None, currency) and name not in excluded
    ]


def fate_of(method: Record) -> TestMethod:
    """What a kept PaymentMethod was made from."""
    return CATALOGUE[method.hidden["test_id"]]


def find_or_make(call: Call, *, method_id: str, param: str, in_path: bool = False) -> Record:
    """The PaymentMethod of an id; a test id makes a new one (not yet kept, see `keep`).

    Raises:
        ApiError: `resource_missing` naming `param`.
    """
    if method_id in CATALOGUE:
        return make(call, test_id=method_id)
    record = call.store.find(kind=KIND, object_id=method_id)
    if record is None:
        raise no_such_resource(
            kind="PaymentMethod", object_id=method_id, param=param, in_path=in_path
        )
    return record


def make(call: Call, *, test_id: str) -> Record:
    method = CATALOGUE[test_id]
    details: Document = dict(method.details)
    if method.type == "card":
        details |= {"exp_month": 12, "exp_year": 2034, "checks": {"cvc_check": "pass"}}
    body = {
        "id": new_id("pm"),
        "object": KIND,
        "allow_redisplay": "unspecified",
        "billing_details": {"address": None, "email": None, "name": None, "phone": None},
        "created": call.now,
        "customer": None,
        "livemode": False,
        "metadata": {},
        "type": method.type,
        method.type: details,
    }
    return Record(body=body, hidden={"test_id": test_id}, kept=False)


def keep(call: Call, method: Record) -> None:
    """Keep a PaymentMethod made by `find_or_make`; harmless for one that is kept already."""
    if not method.kept:
        call.store.add(method.body, hidden=method.hidden)


def use_up(call: Call, method: Record, *, intent: Document) -> None:
    """Note that money was asked for: a method that no customer keeps is good for one payment."""
    if method.body["customer"] is not None:
        return
    if intent["customer"] is not None and intent["setup_future_usage"] is not None:
        _attach(call, method, customer_id=intent["customer"])
    else:
        call.store.save(method.body, hidden={**method.hidden, "is_used_up": True})


def require_unused(method: Record) -> None:
    """Refuse a method that has paid already.

    Raises:
        ApiError: 400, as Stripe answers.
    """
    if method.hidden.get("is_used_up", False):
        raise invalid_request(
            "The provided PaymentMethod was previously used with a PaymentIntent without Customer "
            "attachment, or was detached from a Customer. It may not be used again.",
            param="payment_method",
        )


def require_owner(method: Record, *, customer_id: str | None) -> None:
    """Refuse a method that a customer keeps to anybody else, and to a payment that names nobody.

    Raises:
        ApiError: 400, as Stripe answers.
    """
    owner = method.body["customer"]
    if owner is None or owner == customer_id:
        return
    if customer_id is None:
        raise invalid_request(
            f"The `payment_method` parameter supplied {method.body['id']} belongs to the Customer "
            f"{owner}. Please include the Customer in the `customer` parameter on the "
            "PaymentIntent.",
            code="parameter_missing",
            param="source",
        )
    raise invalid_request(
        f"The PaymentMethod {method.body['id']} does not belong to the Customer you supplied "
        f"{customer_id}. Please use this PaymentMethod with the Customer that it belongs to "
        "instead.",
        param="payment_method",
    )


def kept_method(call: Call, intent: Document) -> Record | None:
    """The PaymentMethod an intent holds at the moment."""
    if intent["payment_method"] is None:
        return None
    return call.store.find(kind=KIND, object_id=intent["payment_method"])


def retrieve(call: Call) -> Document:
    method = find_or_make(call, method_id=call.object_id, param="payment_method", in_path=True)
    return method.body


def check_attach(call: Call) -> None:
    """Refuse to keep a method for nobody: the SDK's types name no parameter as required."""
    if "customer" not in call.params:
        raise invalid_request(
            "Missing required param: customer.", param="customer", code="parameter_missing"
        )


def attach(call: Call) -> Document:
    """Have a customer keep a method; one that is kept by that customer already stays as it is.

    The bank is asked whether there is such a card: most test cards that decline cannot be kept.
    """
    method = find_or_make(call, method_id=call.object_id, param="payment_method", in_path=True)
    customer_id = call.params["customer"]
    customers.get(call, customer_id=customer_id, param="customer")
    require_unused(method)
    if method.body["customer"] not in (None, customer_id):
        raise invalid_request(
            "The payment method you provided has already been attached to a customer.",
            param="payment_method",
        )
    if method.body["customer"] is None:
        _require_keepable(method)
        keep(call, method)
        _attach(call, method, customer_id=customer_id)
    return method.body


def detach(call: Call) -> Document:
    """Have nobody keep a method any more: it is good for nothing afterwards."""
    method = find_or_make(call, method_id=call.object_id, param="payment_method", in_path=True)
    if method.body["customer"] is None:
        raise invalid_request(
            "The payment method you provided is not attached to a customer so detachment is "
            "impossible.",
            param="payment_method",
        )
    _detach(call, method)
    return method.body


def delete_customer(call: Call) -> Document:
    """Forget a customer, of whom nothing is left to be read, and all the methods they keep."""
    customer = customers.get(call, customer_id=call.object_id, param="id", in_path=True)
    while kept := call.store.newest(kind=KIND, limit=MAX_PAGE, equal={"customer": customer["id"]}):
        for body in kept:
            method = call.store.find(kind=KIND, object_id=body["id"])
            if method is not None:
                _detach(call, method)
    call.store.remove(customer["id"])
    emit(call, "customer.deleted", customer)
    return {"id": customer["id"], "object": customers.KIND, "deleted": True}


def list_of_customer(call: Call) -> Document:
    customers.get(call, customer_id=call.object_id, param="customer", in_path=True)
    asked = replace(call, params={**call.params, "customer": call.object_id})
    return list_objects(asked, kind=KIND, filters=("customer", "type"))


def _require_keepable(method: Record) -> None:
    fate = fate_of(method)
    if fate.step is Step.CHARGE and fate.decline is not None and not fate.may_be_kept:
        raise card_error(
            message=fate.decline.message,
            code=fate.decline.code,
            decline_code=fate.decline.decline_code,
            intent=None,
        )


def _attach(call: Call, method: Record, *, customer_id: str) -> None:
    method.body["customer"] = customer_id
    call.store.save(method.body)
    emit(call, "payment_method.attached", method.body)


def _detach(call: Call, method: Record) -> None:
    owner, method.body["customer"] = method.body["customer"], None
    call.store.save(method.body, hidden={**method.hidden, "is_used_up": True})
    emit(call, "payment_method.detached", method.body, previous={"customer": owner})
