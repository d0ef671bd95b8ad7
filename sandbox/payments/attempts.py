"""Attempts to pay: asking the bank, waiting for the shopper, and what comes of either."""

from sandbox.payments import charges, disputes, methods
from sandbox.payments.calls import Call
from sandbox.payments.documents import Document
from sandbox.payments.errors import ApiError, card_error
from sandbox.payments.events import emit
from sandbox.payments.methods import AUTHENTICATION_REQUIRED, Decline, Step, TestMethod
from sandbox.payments.store import Record

_AUTHENTICATION_FAILED = (
    "The provided PaymentMethod has failed authentication. You can provide payment_method_data "
    "or a new PaymentMethod to attempt to fulfill this PaymentIntent again."
)


def attempt(call: Call, *, intent: Document, method: Record) -> Document:
    """Try to pay. Saves the intent in whatever state the attempt leads to.

    Raises:
        ApiError: 402 with the intent inside, which is kept, when the attempt failed at once.
    """
    intent["last_payment_error"] = None
    error = _first_step(call, intent, method)
    _keep(call, intent, method)
    if error is not None:
        raise error
    return intent


def _first_step(call: Call, intent: Document, method: Record) -> ApiError | None:
    fate = methods.fate_of(method)
    step = fate.step
    if step is Step.AUTHENTICATE and call.get("off_session", False):
        if not fate.exempt_off_session:
            return _decline(call, intent, method, AUTHENTICATION_REQUIRED)
        step = Step.CHARGE
    if step is Step.AUTHENTICATE or step is Step.REDIRECT:
        if call.get("error_on_requires_action", False):
            return _decline(call, intent, method, AUTHENTICATION_REQUIRED)
        intent |= {"status": "requires_action", "next_action": _next_action(call, intent, step)}
    elif step is Step.DEBIT:
        _start_debit(call, intent, method)
    elif fate.decline is not None:
        return _decline(call, intent, method, fate.decline)
    else:
        _take_money(call, intent, method)
    return None


def _next_action(call: Call, intent: Document, step: Step) -> Document:
    page = f"{call.base_url}/_test/payment_intents/{intent['id']}/page"
    return_url = call.get("return_url")
    if return_url is not None and (step is Step.REDIRECT or not call.get("use_stripe_sdk", False)):
        return {
            "type": "redirect_to_url",
            "redirect_to_url": {"return_url": return_url, "url": page},
        }
    return {
        "type": "use_stripe_sdk",
        "use_stripe_sdk": {"type": "three_d_secure_redirect", "stripe_js": page},
    }


def _start_debit(call: Call, intent: Document, method: Record) -> None:
    methods.use_up(call, method, intent=intent)
    charge = charges.record_charge(
        call, intent=intent, method=method, status="pending", captured=True
    )
    intent |= {
        "status": "processing",
        "latest_charge": charge["id"],
        "processing": {"type": method.body["type"]},
    }


_TOLD = {  # what is told of the state an attempt, or somebody's decision, has led to
    "requires_action": "payment_intent.requires_action",
    "processing": "payment_intent.processing",
    "requires_capture": "payment_intent.amount_capturable_updated",
    "succeeded": "payment_intent.succeeded",
    "requires_payment_method": "payment_intent.payment_failed",
}


def _keep(call: Call, intent: Document, method: Record) -> None:
    call.store.save(intent)
    emit(call, _TOLD[intent["status"]], intent)
    if intent["status"] == "succeeded":
        follow_up(call, intent=intent, method=method)


def follow_up(call: Call, *, intent: Document, method: Record) -> None:
    """What some documented methods bring as soon as the money is taken: a dispute."""
    fate = methods.fate_of(method)
    if fate.dispute is not None:
        charge = charges.get(call, charge_id=intent["latest_charge"], param="charge")
        disputes.open_dispute(call, charge=charge, reason=fate.dispute, inquiry=fate.is_inquiry)


# --- the shopper's or the bank's decision -------------------------------------------------------


def is_waiting(intent: Document) -> bool:
    """Whether somebody outside, shopper or bank, has to decide about the payment now."""
    return intent["status"] in ("requires_action", "processing")


def decide(call: Call, *, intent: Document, succeed: bool) -> Document:
    """Complete or fail the 3-D Secure, redirect or bank debit that `intent` is waiting for.

    Requires `is_waiting(intent)`. The answer is the intent's new state, also after a failure.
    """
    method = methods.kept_method(call, intent)
    if method is None:
        raise RuntimeError(f"{intent['id']} waits for a decision without a payment method")
    fate = methods.fate_of(method)
    intent["next_action"] = None
    if fate.step is Step.DEBIT:
        _settle_debit(call, intent, method, decline=fate.decline, succeed=succeed)
    elif not succeed:
        _fail(intent, method, error=_authentication_error(fate))
    elif fate.decline is not None:
        _fail_at_bank(call, intent, method, fate.decline)
    else:
        _take_money(call, intent, method)
    _keep(call, intent, method)
    return intent


def _settle_debit(
    call: Call, intent: Document, method: Record, *, decline: Decline | None, succeed: bool
) -> None:
    if succeed:
        charges.settle_pending(call, charge_id=intent["latest_charge"], decline=None)
        intent |= {"status": "succeeded", "amount_received": intent["amount"], "processing": None}
        return
    reason = decline or methods.DEBIT_FAILED
    charges.settle_pending(call, charge_id=intent["latest_charge"], decline=reason)
    intent["processing"] = None
    _fail(intent, method, error=_payment_error(reason, charge=intent["latest_charge"]))


def _authentication_error(fate: TestMethod) -> Document:
    if fate.step is Step.REDIRECT:
        return _payment_error(
            Decline(
                "payment_intent_payment_attempt_failed",
                None,
                "The customer did not complete the payment at the payment provider.",
            )
        )
    return _payment_error(
        Decline("payment_intent_authentication_failure", None, _AUTHENTICATION_FAILED)
    )


# --- how attempts end ---------------------------------------------------------------------------


def _take_money(call: Call, intent: Document, method: Record) -> None:
    """The bank said yes: take the money, or hold it when the capture is to come later."""
    methods.use_up(call, method, intent=intent)
    captured = intent["capture_method"] != "manual"
    charge = charges.record_charge(
        call, intent=intent, method=method, status="succeeded", captured=captured
    )
    intent["latest_charge"] = charge["id"]
    if captured:
        intent |= {"status": "succeeded", "amount_received": intent["amount"]}
    else:
        intent |= {"status": "requires_capture", "amount_capturable": intent["amount"]}


def _decline(call: Call, intent: Document, method: Record, decline: Decline) -> ApiError:
    charge_id = _fail_at_bank(call, intent, method, decline)
    return card_error(
        message=decline.message,
        code=decline.code,
        decline_code=decline.decline_code,
        intent=intent,
        charge=charge_id,
        payment_method=method.body,
    )


def _fail_at_bank(call: Call, intent: Document, method: Record, decline: Decline) -> str:
    charge = charges.record_charge(
        call, intent=intent, method=method, status="failed", captured=False, decline=decline
    )
    charge_id: str = charge["id"]
    intent["latest_charge"] = charge_id
    _fail(intent, method, error=_payment_error(decline, charge=charge_id, kind="card_error"))
    return charge_id


def _fail(intent: Document, method: Record, *, error: Document) -> None:
    """The attempt is over and the method used up; the intent may be tried with another one."""
    intent |= {
        "status": "requires_payment_method",
        "payment_method": None,
        "next_action": None,
        "last_payment_error": {**error, "payment_method": method.body},
    }


def _payment_error(
    decline: Decline, *, charge: str | None = None, kind: str = "invalid_request_error"
) -> Document:
    error: Document = {"type": kind, "code": decline.code, "message": decline.message}
    if decline.decline_code is not None:
        error["decline_code"] = decline.decline_code
    if charge is not None:
        error["charge"] = charge
    return error
