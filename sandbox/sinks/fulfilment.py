"""The warehouse's system: events like every plain receiver, and shipping labels, each sold once.

`POST /labels` with our own id as `Idempotency-Key`, `GET /labels/ID` whether it was sold.
"""

import hashlib
from decimal import Decimal
from typing import Any, NoReturn

from sandbox.answers import Answer
from sandbox.sinks import generic, paper
from sandbox.sinks.calls import Call, Document, answer

CARRIER = "Sinks Post"
# service -> dollars at least, and for each kilogram
SERVICES = {
    "standard": (Decimal("4.00"), Decimal("1.20")),
    "express": (Decimal("12.00"), Decimal("3.50")),
}
MAX_GRAMS = 30_000


def take(call: Call) -> Answer:
    """Answer one call."""
    match call.method, call.segments:
        case "GET", ["files", name]:  # as open as labels mostly are
            return paper.label(name.removesuffix(".pdf"))
        case "POST", ["labels"]:
            generic.check_caller(call)
            return _sell(call, generic.json_of(call))
        case "GET", ["labels", key]:
            generic.check_caller(call)
            return answer(_find(call, key))
        case _:
            return generic.take(call)


def _sell(call: Call, wish: Any) -> Answer:
    """Sell a label, or answer the one that was sold under this id."""
    if not isinstance(wish, dict):
        _refuse(422, "invalid_label", "a label is an object")
    key, service = wish.get("id"), wish.get("service") or "standard"
    if not isinstance(key, str) or not key:
        _refuse(422, "invalid_label", "id: must be a text")
    if call.idempotency_key != key:
        _refuse(400, "invalid_idempotency_key", "Idempotency-Key must be the label's id")
    _check(wish, service)
    sold = call.find(kind="labels", key=key)
    if sold is not None:
        call.came_again(kind="labels", key=key)
        return answer(sold.body)
    least, a_kilogram = SERVICES[service]
    price = least + a_kilogram * wish["weight_grams"] / 1_000
    number = f"SP{int(hashlib.sha256(key.encode()).hexdigest()[:12], 16):015d}"
    body = {
        "id": key,
        "order_number": wish.get("order_number"),
        "carrier": CARRIER,
        "service": service,
        "tracking_number": number,
        "tracking_url": f"{call.base_url}/files/{number}",
        "amount": str(price.quantize(Decimal("0.01"))),
        "currency": "USD",
        "label_url": f"{call.base_url}/files/{number}.pdf",
    }
    call.keep(kind="labels", key=key, body=body, hidden=wish)
    return answer(body, status=201)


def _check(wish: Document, service: Any) -> None:
    if not isinstance(service, str) or service not in SERVICES:
        known = ", ".join(SERVICES)
        _refuse(422, "unknown_service", f"service: must be one of {known}")
    weight = wish.get("weight_grams")
    if type(weight) is not int or not 0 < weight <= MAX_GRAMS:
        _refuse(422, "invalid_weight", f"weight_grams: must be from 1 to {MAX_GRAMS}")
    if not isinstance(wish.get("address"), dict) or not wish["address"].get("country"):
        _refuse(422, "invalid_address", "address: must be an object with a country")
    if not isinstance(wish.get("items"), list) or not wish["items"]:
        _refuse(422, "invalid_items", "items: must be a list and not empty")


def _find(call: Call, key: str) -> Document:
    sold = call.find(kind="labels", key=key)
    if sold is None:
        _refuse(404, "not_found", "no such label")
    body: Document = sold.body
    return body


def _refuse(status: int, code: str, message: str) -> NoReturn:
    raise generic.refusal(status, code, message)
