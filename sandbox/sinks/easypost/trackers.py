"""Trackers: where a parcel is, as far as its carrier has told."""

from typing import Any
from uuid import uuid4

from sandbox.sinks.calls import Call, Document
from sandbox.sinks.easypost.requests import blank, instant, made, refuse, wish_of

STATUSES = (
    *("unknown", "pre_transit", "in_transit", "out_for_delivery", "delivered"),
    *("available_for_pickup", "return_to_sender", "failure", "cancelled", "error"),
)
# The documented test codes, which have a status from the beginning.
TEST_CODES = {
    "EZ1000000001": "pre_transit",
    "EZ2000000002": "in_transit",
    "EZ3000000003": "out_for_delivery",
    "EZ4000000004": "delivered",
    "EZ5000000005": "return_to_sender",
    "EZ6000000006": "failure",
    "EZ7000000007": "unknown",
}


def create(call: Call) -> Document:
    """Follow a parcel; the same code and carrier is the same tracker."""
    wish = wish_of(call, "tracker")
    code = wish.get("tracking_code")
    if not isinstance(code, str) or not code:
        missing = blank("tracking_code")
        refuse(422, "PARAMETER.REQUIRED", "Missing required parameter.", missing)
    carrier = wish.get("carrier") or "USPS"
    for one in call.store.received(receiver=call.receiver, kind="trackers"):
        if (one.body["tracking_code"], one.body["carrier"]) == (code, carrier):
            call.came_again(kind="trackers", key=one.key)
            found: Document = one.body
            return found
    return _keep(call, code=code, carrier=carrier, status=TEST_CODES.get(code, "unknown"))


def made_for(call: Call, *, shipment_id: str, carrier: str) -> Document:
    """The tracker of a label that was bought."""
    code = f"94{uuid4().int % 10**20:020d}"
    return _keep(call, code=code, carrier=carrier, status="unknown", shipment_id=shipment_id)


def _keep(
    call: Call, *, code: str, carrier: str, status: str, shipment_id: str | None = None
) -> Document:
    body = made(
        call,
        "Tracker",
        "trk",
        tracking_code=code,
        carrier=carrier,
        status=status,
        status_detail=_detail_of(status),
        signed_by=None,
        weight=None,
        est_delivery_date=None,
        shipment_id=shipment_id,
        tracking_details=[],
        fees=[],
        carrier_detail=None,
        finalized=status in ("delivered", "return_to_sender", "failure"),
        is_return=False,
    )
    body["public_url"] = f"{call.base_url}/files/{body['id']}"
    if status != "unknown":
        body["tracking_details"].append(_scan(body, status=status, at=call.now))
    call.keep(kind="trackers", key=body["id"], body=body)
    return body


def moved(body: Document, *, status: str, at: float) -> Document:
    """A tracker after its carrier has told something more."""
    return {
        **body,
        "status": status,
        "status_detail": _detail_of(status),
        "updated_at": instant(at),
        "tracking_details": [*body["tracking_details"], _scan(body, status=status, at=at)],
        "finalized": status in ("delivered", "return_to_sender", "failure"),
    }


def _detail_of(status: str) -> str:
    return {"unknown": "unknown", "delivered": "arrived_at_destination"}.get(
        status, "status_update"
    )


def _scan(body: Document, *, status: str, at: float) -> Document:
    place: dict[str, Any] = dict.fromkeys(("city", "state", "country", "zip"))
    return {
        "object": "TrackingDetail",
        "message": status.replace("_", " ").capitalize(),
        "description": "",
        "status": status,
        "status_detail": _detail_of(status),
        "datetime": instant(at),
        "source": body["carrier"],
        "carrier_code": "",
        "tracking_location": {"object": "TrackingLocation", **place},
    }
