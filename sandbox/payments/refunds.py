"""Refunds: money on its way back, never more than was captured.

Requests run one at a time inside a transaction, so reading what is left and writing what is given
back cannot be torn apart by another refund.
"""

from sandbox.payments import charges, intents
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
    refund: Document = {
        "id": new_id("re"),
        "object": KIND,
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": call.now,
        "currency": charge["currency"],
        "destination_details": {"type": charge["payment_method_details"]["type"]},
        "metadata": merged({}, call.get("metadata")),
        "payment_intent": charge["payment_intent"],
        "reason": call.get("reason"),
        "receipt_number": None,
        "status": "succeeded",
    }
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
    return charges.get(call, charge_id=intent["latest_charge"], param="charge")


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
