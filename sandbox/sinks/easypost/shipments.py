"""Shipments: made with rates, bought once, refunded."""

from decimal import Decimal
from typing import Any

from sandbox.sinks.calls import Call, Document
from sandbox.sinks.easypost import trackers
from sandbox.sinks.easypost.requests import blank, instant, made, refuse, wish_of

MAX_PAGE = 100
MAX_OUNCES = 1_120.0  # 70 pounds: USPS takes no more
_ADDRESS = (
    *("name", "company", "street1", "street2", "city", "state", "zip", "country"),
    *("phone", "email", "residential", "federal_tax_id", "state_tax_id"),
)
# service -> dollars at least, dollars an ounce, days
_AT_HOME = {
    "GroundAdvantage": (Decimal("4.50"), Decimal("0.08"), 3),
    "Priority": (Decimal("7.10"), Decimal("0.11"), 2),
    "Express": (Decimal("26.35"), Decimal("0.30"), 1),
}
_ABROAD = {
    "FirstClassPackageInternationalService": (Decimal("13.75"), Decimal("0.45"), 14),
    "PriorityMailInternational": (Decimal("32.10"), Decimal("0.60"), 8),
}
NOWHERE = "00000"
"""A postal code that no carrier has a rate for."""


def create_address(call: Call) -> Document:
    return _address(call, wish_of(call, "address"), field="address")


def create(call: Call) -> Document:
    """Make a shipment; bought at once if a service is named."""
    wish = wish_of(call, "shipment")
    for field in ("to_address", "from_address", "parcel"):
        if not isinstance(wish.get(field), dict):
            refuse(422, "PARAMETER.REQUIRED", "Missing required parameter.", blank(field))
    reference, options = wish.get("reference"), wish.get("options") or {}
    if not isinstance(options, dict):
        refuse(422, "PARAMETER.INVALID", "options must be an object.")
    destination = _address(call, wish["to_address"], field="to_address")
    origin = _address(call, wish["from_address"], field="from_address")
    body = made(
        call,
        "Shipment",
        "shp",
        reference=reference,
        to_address=destination,
        buyer_address=destination,
        from_address=origin,
        return_address=origin,
        parcel=_parcel(call, wish["parcel"]),
        customs_info=wish.get("customs_info"),
        options={"currency": "USD", "payment": {"type": "SENDER"}, **options},
        is_return=bool(wish.get("is_return", False)),
        status="unknown",
        messages=[],
        rates=[],
        selected_rate=None,
        postage_label=None,
        tracker=None,
        tracking_code=None,
        refund_status=None,
        insurance=None,
        fees=[],
        forms=[],
        usps_zone=4,
        **dict.fromkeys(("batch_id", "batch_status", "batch_message", "order_id", "scan_form")),
    )
    _rate(call, body)
    call.keep(kind="shipments", key=body["id"], body=body)
    if reference:
        # The newest of a reference is the one that it finds: nobody promises that it is unique.
        _enter(call, body["id"], reference)
    if wish.get("service"):
        return _bought(call, body, _rate_of(body, service=wish["service"]))
    return body


def get(call: Call, kind: str, key: str) -> Document:
    """An object by its id, a shipment also by its reference."""
    found = call.find(kind=kind, key=key)
    if found is None and kind == "shipments":
        other = call.store.look_up(receiver=call.receiver, kind=kind, name="reference", value=key)
        found = None if other is None else call.find(kind=kind, key=other)
    if found is None:
        refuse(404, "NOT_FOUND", "The requested resource could not be found.")
    body: Document = found.body
    return body


def list_page(call: Call) -> Document:
    """The newest first; `before_id` goes on."""
    told = call.query.get("page_size", "20")
    size = min(int(told), MAX_PAGE) if told.isascii() and told.isdigit() else 0
    if size < 1:
        refuse(422, "PARAMETER.INVALID", "page_size must be a number from 1.")
    items = call.store.received(receiver=call.receiver, kind="shipments")[::-1]
    before = call.query.get("before_id")
    if before is not None:
        keys = [item.key for item in items]
        items = items[keys.index(before) + 1 :] if before in keys else []
    only_bought = call.query.get("purchased", "true") == "true"
    bodies = [one.body for one in items if one.body["postage_label"] or not only_bought]
    return {"shipments": bodies[:size], "has_more": len(bodies) > size}


def buy(call: Call, key: str) -> Document:
    """Buy the label at one of the rates: a shipment is bought once."""
    body = get(call, "shipments", key)
    if body["postage_label"] is not None:
        message = "Postage already exists for this shipment."
        refuse(422, "SHIPMENT.POSTAGE.EXISTS", message)
    return _bought(call, body, _rate_of(body, rate_id=wish_of(call, "rate").get("id")))


def refund(call: Call, key: str) -> Document:
    """Ask the carrier for the money back."""
    body = get(call, "shipments", key)
    if body["postage_label"] is None:
        refuse(422, "SHIPMENT.REFUND.UNAVAILABLE", "Refund request unavailable.")
    body = {**body, "refund_status": "submitted", "updated_at": instant(call.now)}
    call.change(kind="shipments", key=body["id"], body=body)
    return body


def convert_label(call: Call, key: str) -> Document:
    body = get(call, "shipments", key)
    if body["postage_label"] is None:
        refuse(422, "SHIPMENT.LABEL.MISSING", "Shipment must be bought first.")
    name = {"PDF": "label_pdf_url", "ZPL": "label_zpl_url", "EPL2": "label_epl2_url"}.get(
        call.query.get("file_format", "").upper()
    )
    if name is None:
        refuse(422, "PARAMETER.INVALID", "file_format must be PDF, ZPL or EPL2.")
    label = {**body["postage_label"], name: f"{_file(call, body['id'])}.pdf"}
    body = {**body, "postage_label": label}
    call.change(kind="shipments", key=body["id"], body=body)
    return body


def _bought(call: Call, body: Document, rate: Document) -> Document:
    tracker = trackers.made_for(call, shipment_id=body["id"], carrier=rate["carrier"])
    url = f"{_file(call, body['id'])}.pdf"
    is_pdf = str(body["options"].get("label_format", "")).upper() == "PDF"
    label = made(
        call,
        "PostageLabel",
        "pl",
        label_url=url,
        label_pdf_url=url if is_pdf else None,
        label_zpl_url=None,
        label_epl2_url=None,
        label_file_type="application/pdf" if is_pdf else "image/png",
        label_size="4x6",
        label_resolution=300,
        label_date=instant(call.now),
    )
    body = {
        **body,
        "selected_rate": rate,
        "postage_label": label,
        "tracker": tracker,
        "tracking_code": tracker["tracking_code"],
        "updated_at": instant(call.now),
        "fees": [_fee("LabelFee", "0.00000"), _fee("PostageFee", f"{rate['rate']}000")],
    }
    call.change(kind="shipments", key=body["id"], body=body)
    return body


def _fee(kind: str, amount: str) -> Document:
    return {"object": "Fee", "type": kind, "amount": amount, "charged": True, "refunded": False}


def _rate_of(body: Document, *, service: Any = None, rate_id: Any = None) -> Document:
    found = [rate for rate in body["rates"] if service in (None, rate["service"])]
    found = [rate for rate in found if rate_id in (None, rate["id"])]
    if not found or (service is None and rate_id is None):
        message = "Unable to buy shipment, the rate is not one of its own."
        refuse(422, "SHIPMENT.INVALID_PARAMS", message, blank("rate"))
    chosen: Document = found[0]
    return chosen


def _rate(call: Call, body: Document) -> None:
    """Put what it would cost into a shipment, or why nobody takes it."""
    destination, ounces = body["to_address"], Decimal(str(body["parcel"]["weight"]))
    if destination["zip"] == NOWHERE:
        body["messages"] = [
            {
                "carrier": "USPS",
                "carrier_account_id": "ca_usps",
                "type": "rate_error",
                "message": "Invalid destination postal code.",
            }
        ]
        return
    is_abroad = destination["country"] != body["from_address"]["country"]
    for service, (least, an_ounce, days) in (_ABROAD if is_abroad else _AT_HOME).items():
        price = str((least + an_ounce * ounces).quantize(Decimal("0.01")))
        body["rates"].append(
            made(
                call,
                "Rate",
                "rate",
                service=service,
                carrier="USPS",
                rate=price,
                currency="USD",
                retail_rate=price,
                retail_currency="USD",
                list_rate=price,
                list_currency="USD",
                billing_type="easypost",
                delivery_days=days,
                delivery_date=None,
                delivery_date_guaranteed=False,
                est_delivery_days=days,
                shipment_id=body["id"],
                carrier_account_id="ca_usps",
            )
        )


def _address(call: Call, wish: Document, *, field: str) -> Document:
    """The address that is named by its id, or a new one."""
    if "id" in wish:
        return get(call, "addresses", str(wish["id"]))
    missing = [name for name in ("street1", "country") if not wish.get(name)]
    if not (wish.get("zip") or (wish.get("city") and wish.get("state"))):
        missing.append("zip")
    if missing:
        errors = [blank(f"{field}.{name}") for name in missing]
        refuse(422, "ADDRESS.INVALID_PARAMS", "Unable to create address.", *errors)
    fields = {name: wish.get(name) for name in _ADDRESS}
    body = made(call, "Address", "adr", **fields, verifications={})
    call.keep(kind="addresses", key=body["id"], body=body)
    return body


def _parcel(call: Call, wish: Document) -> Document:
    weight = wish.get("weight")
    if isinstance(weight, bool) or not isinstance(weight, int | float) or weight <= 0:
        refuse(422, "PARCEL.INVALID_PARAMS", "Unable to create parcel.", blank("parcel.weight"))
    if weight > MAX_OUNCES:
        message = "Unable to create parcel, it is too heavy."
        refuse(422, "PARCEL.INVALID_PARAMS", message, blank("parcel.weight"))
    names = ("length", "width", "height", "predefined_package")
    return made(
        call, "Parcel", "prcl", weight=float(weight), **{name: wish.get(name) for name in names}
    )


def _enter(call: Call, key: str, reference: Any) -> None:
    values = {"reference": str(reference)}
    call.store.release(receiver=call.receiver, kind="shipments", values=values)
    call.store.enter(
        receiver=call.receiver, kind="shipments", key=key, values=values, names={"reference"}
    )


def _file(call: Call, key: str) -> str:
    return f"{call.base_url}/files/{key}"
