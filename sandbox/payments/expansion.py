"""`expand[]`: puts whole objects where an answer would only carry their ids."""

from typing import Any

from sandbox.payments.calls import Call
from sandbox.payments.documents import Document
from sandbox.payments.errors import invalid_request

# Field of an answer -> kind of the object behind its id; a source may be several kinds.
EXPANDABLE = {
    "source": None,
    "failure_balance_transaction": "balance_transaction",
    "customer": "customer",
    "payment_method": "payment_method",
    "payment_intent": "payment_intent",
    "latest_charge": "charge",
    "charge": "charge",
    "balance_transaction": "balance_transaction",
}

_KINDS = {"ch": "charge", "re": "refund", "dp": "dispute"}  # by the beginning of an id


def check_expansions(call: Call, *, of_list: bool) -> None:
    """Refuse what can never be expanded, before anything is executed.

    Of a list, what is asked for has to lie in its `data`; of anything else it must not.
    """
    for path in call.get("expand", []):
        first, *deeper = path.split(".")
        names = deeper if of_list else [first, *deeper]
        if (first != "data" and of_list) or not names or not EXPANDABLE.keys() >= set(names):
            raise invalid_request(f"This property cannot be expanded ({path}).", param="expand")


def expand(call: Call, document: Document) -> Document:
    """Return the answer with the asked-for objects inside; the kept objects are not changed."""
    for path in call.get("expand", []):
        names = path.split(".")
        if names[0] == "data":  # let through for lists alone
            items = [_expanded(call, item, names[1:]) for item in document["data"]]
            document = {**document, "data": items}
        else:
            document = _expanded(call, document, names)
    return document


def _expanded(call: Call, document: Document, names: list[str]) -> Document:
    name, *deeper = names
    value: Any = document.get(name)
    if isinstance(value, str):
        kind = EXPANDABLE[name] or _KINDS.get(value.partition("_")[0], "")
        record = call.store.find(kind=kind, object_id=value)
        value = value if record is None else record.body
    if deeper and isinstance(value, dict):
        value = _expanded(call, value, deeper)
    return {**document, name: value} if name in document else document
