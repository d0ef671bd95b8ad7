"""Events: what happened to which object, as it was at that moment.

Written in the transaction of the change, so there is never one without the other.
"""

from sandbox.payments.calls import Call
from sandbox.payments.documents import Document, new_id
from sandbox.payments.errors import invalid_request, no_such_resource
from sandbox.payments.listing import list_objects

KIND = "event"
KEPT_SECONDS = 30 * 86_400  # as long as Stripe's list reaches back
# Whose shapes the objects in events have, whatever version the request behind them asked for.
API_VERSION = "2026-10-28.endive"


def emit(call: Call, kind: str, document: Document, *, previous: Document | None = None) -> None:
    """Keep an event of this type about an object, and have it delivered if anybody listens.

    Requires the transaction of the change.

    Args:
        call: the request that led to it.
        kind: Stripe's type, `payment_intent.succeeded`.
        document: the object as it is now.
        previous: the fields that changed, as they were.
    """
    data: Document = {"object": document}
    if previous:
        data["previous_attributes"] = previous
    call.store.add_event(
        {
            "id": new_id("evt"),
            "object": KIND,
            "api_version": API_VERSION,
            "created": call.now,
            "data": data,
            "livemode": False,
            "pending_webhooks": int(call.store.is_listened_to(kind)),
            "request": {"id": call.request_id, "idempotency_key": call.idempotency_key},
            "type": kind,
        }
    )


def retrieve(call: Call) -> Document:
    record = call.store.find(kind=KIND, object_id=call.object_id)
    if record is None:
        raise no_such_resource(kind=KIND, object_id=call.object_id, param="id", in_path=True)
    return record.body


def list_all(call: Call) -> Document:
    if "type" in call.params and "types" in call.params:
        raise invalid_request("You may only specify one of these parameters: type, types.")
    if "types" in call.params:
        call.params["type"] = call.params["types"]
    elif "*" in call.get("type", ""):
        return list_objects(call, kind=KIND, patterns=("type",))
    return list_objects(call, kind=KIND, filters=("type",))
