"""Customers: who pays, as far as the provider needs to know."""

from sandbox.payments.calls import Call
from sandbox.payments.documents import Document, new_id, random_token
from sandbox.payments.errors import no_such_resource
from sandbox.payments.events import emit
from sandbox.payments.listing import list_objects
from sandbox.payments.metadata import merged

KIND = "customer"
_FIELDS = (
    "address",
    "description",
    "email",
    "name",
    "phone",
    "preferred_locales",
    "shipping",
    "tax_exempt",
)


def create(call: Call) -> Document:
    customer: Document = {
        "id": new_id("cus"),
        "object": KIND,
        "address": None,
        "balance": 0,
        "created": call.now,
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": None,
        "invoice_prefix": random_token()[:8].upper(),
        "livemode": False,
        "metadata": merged({}, call.get("metadata")),
        "name": None,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }
    customer |= {name: call.params[name] for name in _FIELDS if name in call.params}
    call.store.add(customer)
    emit(call, "customer.created", customer)
    return customer


def retrieve(call: Call) -> Document:
    return get(call, customer_id=call.object_id, param="id", in_path=True)


def update(call: Call) -> Document:
    customer = retrieve(call)
    customer |= {name: call.params[name] for name in _FIELDS if name in call.params}
    if "metadata" in call.params:
        customer["metadata"] = merged(customer["metadata"], call.params["metadata"])
    call.store.save(customer)
    emit(call, "customer.updated", customer)
    return customer


def list_all(call: Call) -> Document:
    return list_objects(call, kind=KIND, filters=("email",))


def get(call: Call, *, customer_id: str, param: str, in_path: bool = False) -> Document:
    """Find a customer.

    Raises:
        ApiError: `resource_missing` naming `param`.
    """
    record = call.store.find(kind=KIND, object_id=customer_id)
    if record is None:
        raise no_such_resource(kind=KIND, object_id=customer_id, param=param, in_path=in_path)
    return record.body
