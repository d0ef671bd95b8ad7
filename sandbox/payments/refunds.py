"""Refunds: money on its way back, never more than was captured.

Requests run one at a time inside a transaction, so reading what is left and writing what is given
back cannot be torn apart by another refund.
"""

from sandbox.payments import balance, charges, disputes, intents, methods
from sandbox.payments.calls import Call
from sandbox.payments.currencies import spoken
from sandbox.payments.documents import Document, new_id
from sandbox.payments.errors import invalid_request, no_such_resource
from sandbox.payments.events import emit
from sandbox.payments.listing import list_objects
from sandbox.payments.metadata import merged

KIND = "refund"


def create(call: Call) -> Document:
    charge = _charge_to_refund(call)
    amount = _refundable(charge, asked=call.get("amount"))
    takes_time = _takes_time(call, charge)
    refund: Document = {
        "id": new_id("re"),
        "object": KIND,
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": call.now,
        "currency": charge["currency"],
        "customer": None,
        "destination_details": {"type": charge["payment_method_details"]["type"]},
        "failure_balance_transaction": None,
        "failure_reason": None,
        "metadata": merged({}, call.get("metadata")),
        "payment_intent": charge["payment_intent"],
        "payment_method": None,
        "pending_reason": "processing" if takes_time else None,
        "reason": call.get("reason"),
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "pending" if takes_time else "succeeded",
        "transfer_reversal": None,
    }
    balance.book_refund(call, refund, method=charge["payment_method_details"]["type"])
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]
    call.store.add(refund)
    call.store.save(charge)
    emit(call, "refund.created", refund)
    emit(call, "charge.refunded", charge)
    return refund


def retrieve(call: Call) -> Document:
    record = call.store.find(kind=KIND, object_id=call.object_id)
    if record is None:
        raise no_such_resource(kind=KIND, object_id=call.object_id, param="id", in_path=True)
    return record.body


def update(call: Call) -> Document:
    refund = retrieve(call)
    if "metadata" in call.params:
        refund["metadata"] = merged(refund["metadata"], call.params["metadata"])
    call.store.save(refund)
    emit(call, "refund.updated", refund)
    return refund


def can_be_decided(refund: Document, *, succeed: bool) -> bool:
    """Whether the bank can still say this: a refund may fail even after it had succeeded."""
    return refund["status"] == "pending" or (refund["status"] == "succeeded" and not succeed)


def decide(call: Call, *, refund: Document, succeed: bool) -> Document:
    """The shopper's bank has taken the money, or sends it back. Requires `can_be_decided`."""
    refund["pending_reason"] = None
    if succeed:
        refund["status"] = "succeeded"
    else:
        refund |= {"status": "failed", "failure_reason": "expired_or_canceled_card"}
        balance.book_refund_failure(call, refund)
        charge = charges.get(call, charge_id=refund["charge"], param="charge")
        charge["amount_refunded"] -= refund["amount"]
        charge["refunded"] = False
        call.store.save(charge)
    call.store.save(refund)
    emit(call, "refund.updated", refund)
    if not succeed:
        emit(call, "refund.failed", refund)
    return refund


def list_all(call: Call) -> Document:
    return list_objects(call, kind=KIND, filters=("payment_intent", "charge"))


def _charge_to_refund(call: Call) -> Document:
    if "charge" in call.params:
        charge = charges.get(call, charge_id=call.params["charge"], param="charge")
        if call.get("payment_intent", charge["payment_intent"]) != charge["payment_intent"]:
            raise invalid_request(
                f"Charge {charge['id']} does not belong to that PaymentIntent.", param="charge"
            )
        intent_id = charge["payment_intent"]
    elif "payment_intent" in call.params:
        intent_id = call.params["payment_intent"]
    else:
        raise invalid_request(
            "One of the following params should be provided for this request: "
            "payment_intent or charge.",
            code="parameter_missing",
            param="payment_intent",
        )
    intent = intents.get(call, intent_id=intent_id, param="payment_intent")
    if intent["status"] != "succeeded" or call.get("charge") not in (
        None,
        intent["latest_charge"],
    ):
        raise invalid_request(
            f"This PaymentIntent ({intent_id}) does not have a successful charge to refund."
        )
    found = charges.get(call, charge_id=intent["latest_charge"], param="charge")
    if not disputes.is_refundable(call, found):
        raise invalid_request(
            f"Charge {found['id']} has been charged back; cannot issue a refund.",
            code="charge_disputed",
        )
    return found


def _takes_time(call: Call, charge: Document) -> bool:
    method = call.store.find(kind="payment_method", object_id=charge["payment_method"])
    return method is not None and methods.fate_of(method).refund_is_pending


def _refundable(charge: Document, *, asked: int | None) -> int:
    left = charge["amount_captured"] - charge["amount_refunded"]
    if left == 0:
        raise invalid_request(
            f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded"
        )
    amount = left if asked is None else asked
    if amount > left:
        currency = charge["currency"]
        raise invalid_request(
            f"Refund amount ({spoken(amount=amount, currency=currency)}) is greater than "
            f"unrefunded amount on charge ({spoken(amount=left, currency=currency)})",
            param="amount",
            code="amount_too_large",
        )
    return amount
