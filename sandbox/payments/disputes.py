"""Disputes: the shopper's bank takes the money back, and perhaps gives it again.

An inquiry (`warning_…`) only asks; no money moves.
"""

from sandbox.payments import balance, charges
from sandbox.payments.calls import Call
from sandbox.payments.documents import Document, new_id
from sandbox.payments.errors import invalid_request, no_such_resource
from sandbox.payments.events import emit
from sandbox.payments.listing import list_objects
from sandbox.payments.metadata import merged
from sandbox.payments.nested import EVIDENCE_TEXTS

KIND = "dispute"
OPEN = ("needs_response", "under_review", "warning_needs_response", "warning_under_review")
ANSWER_WITHIN_SECONDS = 9 * 86_400
REASONS = (
    "bank_cannot_process",
    "check_returned",
    "credit_not_processed",
    "customer_initiated",
    "debit_not_authorized",
    "duplicate",
    "fraudulent",
    "general",
    "incorrect_account_details",
    "insufficient_funds",
    "noncompliant",
    "product_not_received",
    "product_unacceptable",
    "subscription_canceled",
    "unrecognized",
)
# https://docs.stripe.com/testing#evidence
_VERDICTS = {"winning_evidence": True, "losing_evidence": False}


def open_dispute(
    call: Call, *, charge: Document, reason: str, amount: int | None = None, inquiry: bool = False
) -> Document:
    """Dispute a charge. Requires that it was not disputed before and that money is there to take.

    Args:
        call: the request that led to it.
        charge: the charge; saved here.
        reason: one of `REASONS`.
        amount: minor units, at most `money_left(charge)`; all of that if not given.
        inquiry: the bank only asks.
    """
    disputed = money_left(charge) if amount is None else amount
    dispute: Document = {
        "id": new_id("dp"),
        "object": KIND,
        "amount": disputed,
        "balance_transactions": [],
        "charge": charge["id"],
        "created": call.now,
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": dict.fromkeys(EVIDENCE_TEXTS),
        "evidence_details": {
            "due_by": call.now + ANSWER_WITHIN_SECONDS,
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        "is_charge_refundable": inquiry,
        "livemode": False,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method_details": None,
        "reason": reason,
        "status": "warning_needs_response" if inquiry else "needs_response",
    }
    call.store.add(dispute)
    charge["disputed"] = True
    call.store.save(charge)
    if not inquiry:
        _move_money(call, dispute, category="dispute", amount=-disputed, fee=balance.DISPUTE_FEE)
    emit(call, "charge.dispute.created", dispute)
    if not inquiry:
        emit(call, "charge.dispute.funds_withdrawn", dispute)
    return dispute


def decide(call: Call, *, dispute: Document, won: bool) -> Document:
    """The bank has decided. Requires an open dispute."""
    if dispute["status"].startswith("warning_"):
        dispute["status"] = "warning_closed"
    elif won:
        dispute["status"] = "won"
        category = "dispute_reversal"
        _move_money(call, dispute, category=category, amount=dispute["amount"], fee=0)
        emit(call, "charge.dispute.funds_reinstated", dispute)
    else:
        dispute["status"] = "lost"
    call.store.save(dispute)
    emit(call, "charge.dispute.closed", dispute)
    return dispute


def _move_money(call: Call, dispute: Document, *, category: str, amount: int, fee: int) -> None:
    transaction_id = balance.book(
        call,
        kind="adjustment",
        category=category,
        source=dispute["id"],
        amount=amount,
        currency=dispute["currency"],
        fee=fee,
    )
    dispute["balance_transactions"].append(balance.get(call, transaction_id=transaction_id))
    call.store.save(dispute)


# --- endpoints ----------------------------------------------------------------------------------


def retrieve(call: Call) -> Document:
    return get(call, dispute_id=call.object_id)


def list_all(call: Call) -> Document:
    return list_objects(call, kind=KIND, filters=("charge", "payment_intent"))


def update(call: Call) -> Document:
    """Take evidence; submitting it has the bank look, and the documented texts decide at once.

    As documented: what is sent is submitted with it unless `submit` says no. What lies here since
    an earlier request waits until one says yes.
    """
    dispute = retrieve(call)
    _require_open(dispute)
    if "metadata" in call.params:
        dispute["metadata"] = merged(dispute["metadata"], call.params["metadata"])
    evidence = call.get("evidence", {})
    dispute["evidence"] |= evidence
    details = dispute["evidence_details"]
    details["has_evidence"] = any(dispute["evidence"].values())
    is_submitted = call.get("submit", bool(evidence)) and details["has_evidence"]
    if is_submitted:
        details["submission_count"] += 1
        prefix = "warning_" if dispute["status"].startswith("warning_") else ""
        dispute["status"] = f"{prefix}under_review"
    call.store.save(dispute)
    emit(call, "charge.dispute.updated", dispute)
    verdict = _VERDICTS.get(dispute["evidence"]["uncategorized_text"])
    if verdict is not None and is_submitted:
        return decide(call, dispute=dispute, won=verdict)
    return dispute


def close(call: Call) -> Document:
    dispute = retrieve(call)
    _require_open(dispute)
    return decide(call, dispute=dispute, won=False)


def _require_open(dispute: Document) -> None:
    if dispute["status"] not in OPEN:
        raise invalid_request("This dispute is already closed.", code="dispute_already_closed")


def money_left(charge: Document) -> int:
    """What a bank can still take back, in minor units."""
    return int(charge["amount_captured"] - charge["amount_refunded"])


def is_refundable(call: Call, charge: Document) -> bool:
    """Whether no bank holds the money of a charge."""
    if not charge["disputed"]:
        return True
    found = call.store.newest(kind=KIND, limit=10, equal={"charge": charge["id"]}, created={})
    return all(
        dispute["status"] == "won" or dispute["status"].startswith("warning_") for dispute in found
    )


def get(call: Call, *, dispute_id: str) -> Document:
    """Find a dispute.

    Raises:
        ApiError: `resource_missing`.
    """
    record = call.store.find(kind=KIND, object_id=dispute_id)
    if record is None:
        raise no_such_resource(kind=KIND, object_id=dispute_id, param="dispute", in_path=True)
    return record.body


def charge_to_dispute(call: Call, *, payment_intent: str | None, charge: str | None) -> Document:
    """The undisputed charge of an intent, or of this id, with money left to take back.

    Raises:
        ApiError: there is none.
    """
    if charge is None:
        found = call.store.find(kind="payment_intent", object_id=payment_intent or "")
        charge = found.body["latest_charge"] if found else None
    if charge is None:
        raise invalid_request("There is no charge to dispute.", param="payment_intent")
    body = charges.get(call, charge_id=charge, param="charge")
    if body["disputed"]:
        raise invalid_request("This charge is disputed already.")
    if money_left(body) <= 0:
        raise invalid_request("No money of this charge was captured, or all of it was given back.")
    return body
