"""Charges: one for every time a bank was really asked for money, successful or not."""

from sandbox.payments import balance, methods
from sandbox.payments.calls import Call
from sandbox.payments.documents import Document, new_id
from sandbox.payments.errors import no_such_resource
from sandbox.payments.events import emit
from sandbox.payments.listing import list_objects
from sandbox.payments.methods import Decline
from sandbox.payments.store import Record

KIND = "charge"


def record_charge(
    call: Call,
    *,
    intent: Document,
    method: Record,
    status: str,
    captured: bool,
    decline: Decline | None = None,
) -> Document:
    """Keep a new charge for an attempt on `intent`.

    Args:
        call: the request that led to it.
        intent: the PaymentIntent being paid; not changed here.
        method: what it is paid with.
        status: `succeeded`, `pending` (a bank debit under way) or `failed`.
        captured: whether the money is taken, or only held for a later capture.
        decline: why it failed.
    """
    fate = methods.fate_of(method)
    failed = decline is not None
    charge: Document = {
        "id": new_id("ch"),
        "object": KIND,
        "amount": intent["amount"],
        "amount_captured": intent["amount"] if captured and status == "succeeded" else 0,
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": None,
        "billing_details": method.body["billing_details"],
        "calculated_statement_descriptor": "ORDERKEEP TEST",
        "captured": captured,
        "created": call.now,
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": decline.code if decline else None,
        "failure_message": decline.message if decline else None,
        "fraud_details": {},
        "livemode": False,
        "metadata": dict(intent["metadata"]),
        "on_behalf_of": None,
        "outcome": {
            "network_status": "declined_by_network" if failed else "approved_by_network",
            "reason": decline.decline_code if decline else None,
            "risk_level": "normal",
            "seller_message": "The bank declined the payment." if failed else "Payment complete.",
            "type": "issuer_declined" if failed else "authorized",
        },
        "paid": status == "succeeded",
        "payment_intent": intent["id"],
        "payment_method": method.body["id"],
        "payment_method_details": {"type": fate.type, fate.type: method.body[fate.type]},
        "radar_options": {},
        "receipt_email": intent["receipt_email"],
        "receipt_number": None,
        "receipt_url": None,
        "refunded": False,
        "review": None,
        "shipping": intent["shipping"],
        "source": None,
        "source_transfer": None,
        "statement_descriptor": intent["statement_descriptor"],
        "statement_descriptor_suffix": intent["statement_descriptor_suffix"],
        "status": status,
        "transfer": None,
        "transfer_data": None,
        "transfer_group": intent["transfer_group"],
    }
    if charge["amount_captured"]:
        balance.book_capture(call, charge)
    call.store.add(charge)
    emit(call, f"charge.{status}", charge)
    return charge


def settle_pending(call: Call, *, charge_id: str, decline: Decline | None) -> None:
    """The bank has decided about a debit: take the money, or write down why not."""
    charge = get(call, charge_id=charge_id, param="charge")
    if decline is None:
        charge |= {"status": "succeeded", "paid": True, "amount_captured": charge["amount"]}
        balance.book_capture(call, charge)
    else:
        charge |= {
            "status": "failed",
            "failure_code": decline.code,
            "failure_message": decline.message,
        }
    call.store.save(charge)
    emit(call, f"charge.{charge['status']}", charge)


def capture_held(call: Call, *, charge_id: str, amount: int) -> None:
    """Take `amount` minor units of what was held; the rest goes back to the card."""
    charge = get(call, charge_id=charge_id, param="charge")
    charge |= {"captured": True, "amount_captured": amount}
    balance.book_capture(call, charge)
    call.store.save(charge)
    emit(call, "charge.captured", charge)


def retrieve(call: Call) -> Document:
    return get(call, charge_id=call.object_id, param="id", in_path=True)


def list_all(call: Call) -> Document:
    return list_objects(call, kind=KIND, filters=("customer", "payment_intent"))


def get(call: Call, *, charge_id: str, param: str, in_path: bool = False) -> Document:
    """Find a charge.

    Raises:
        ApiError: `resource_missing` naming `param`.
    """
    record = call.store.find(kind=KIND, object_id=charge_id)
    if record is None:
        raise no_such_resource(kind=KIND, object_id=charge_id, param=param, in_path=in_path)
    return record.body
