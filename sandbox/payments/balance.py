"""The account's balance: one balance transaction for every movement of money, with its fee.

Each currency settles in itself; nothing is converted. Fees are those of Stripe's US price list
(https://stripe.com/pricing): of cards 2.9 % and 30 minor units, of ACH debits 0.8 % and at most
500, of PayPal 3.49 % and 49; a dispute costs 1500. Parts of a minor unit are rounded half up. A
refund gives no fee back.
"""

from sandbox.payments.calls import Call
from sandbox.payments.documents import Document, new_id
from sandbox.payments.errors import no_such_resource
from sandbox.payments.listing import list_objects

KIND = "balance_transaction"
DISPUTE_FEE = 1500
# kind of payment method -> (per ten thousand, fixed part, at most)
_PRICES = {
    "card": (290, 30, None),
    "us_bank_account": (80, 0, 500),
    "paypal": (349, 49, None),
}
_BASE = 10_000


def book(
    call: Call,
    *,
    kind: str,
    category: str,
    source: str,
    amount: int,
    currency: str,
    fee: int = 0,
) -> str:
    """Keep a movement of `amount` minor units, into the account if positive; returns its id.

    Args:
        call: the request that led to it.
        kind: Stripe's `type`.
        category: Stripe's `reporting_category`.
        source: the id of the charge, refund or dispute behind it.
        amount: before the fee.
        currency: of amount and fee.
        fee: what is kept of it.
    """
    transaction: Document = {
        "id": new_id("txn"),
        "object": KIND,
        "amount": amount,
        "available_on": call.now,
        "balance_type": "payments",
        "created": call.now,
        "currency": currency,
        "description": None,
        "exchange_rate": None,
        "fee": fee,
        "fee_details": [
            {
                "amount": fee,
                "application": None,
                "currency": currency,
                "description": "Dispute fee" if category == "dispute" else "Stripe processing fees",
                "type": "stripe_fee",
            }
        ]
        if fee
        else [],
        "net": amount - fee,
        "reporting_category": category,
        "source": source,
        "status": "available",
        "type": kind,
    }
    call.store.add(transaction)
    transaction_id: str = transaction["id"]
    return transaction_id


def book_capture(call: Call, charge: Document) -> None:
    """Note the money a charge has brought in; the caller saves the charge."""
    method = charge["payment_method_details"]["type"]
    amount = charge["amount_captured"]
    charge["balance_transaction"] = book(
        call,
        kind="charge" if method == "card" else "payment",
        category="charge",
        source=charge["id"],
        amount=amount,
        currency=charge["currency"],
        fee=fee_of(amount, method=method),
    )


def book_refund(call: Call, refund: Document, *, method: str) -> None:
    """Note the money a refund takes; the caller saves the refund."""
    refund["balance_transaction"] = book(
        call,
        kind="refund" if method == "card" else "payment_refund",
        category="refund",
        source=refund["id"],
        amount=-refund["amount"],
        currency=refund["currency"],
    )


def book_refund_failure(call: Call, refund: Document) -> None:
    """Note the money that a failed refund brings back; the caller saves the refund."""
    refund["failure_balance_transaction"] = book(
        call,
        kind="refund_failure",
        category="refund_failure",
        source=refund["id"],
        amount=refund["amount"],
        currency=refund["currency"],
    )


def fee_of(amount: int, *, method: str) -> int:
    """What is kept of a capture."""
    rate, fixed, most = _PRICES[method]
    fee = (amount * rate + _BASE // 2) // _BASE + fixed
    return min(fee, amount, amount if most is None else most)


def get(call: Call, *, transaction_id: str) -> Document:
    """A balance transaction that is known to be there."""
    record = call.store.find(kind=KIND, object_id=transaction_id)
    if record is None:
        raise no_such_resource(kind=KIND, object_id=transaction_id, param="id", in_path=True)
    return record.body


def retrieve(call: Call) -> Document:
    return get(call, transaction_id=call.object_id)


def list_all(call: Call) -> Document:
    return list_objects(call, kind=KIND, filters=("source", "type", "currency"))


def show(call: Call) -> Document:
    """What lies in the account, by currency."""
    sums = call.store.sums_of_net(kind=KIND)
    return {
        "object": "balance",
        "available": [
            {"amount": amount, "currency": currency, "source_types": {"card": amount}}
            for currency, amount in sums
        ],
        "livemode": False,
        "pending": [
            {"amount": 0, "currency": currency, "source_types": {"card": 0}} for currency, _ in sums
        ],
    }
