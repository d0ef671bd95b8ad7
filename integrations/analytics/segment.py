"""Segment by its documented HTTP tracking API: `POST /v1/batch` of `track` calls.

Segment answers 200 to whatever it can read, and recognizes a repetition by `messageId`. Written
against https://www.twilio.com/docs/segment/connections/sources/catalog/libraries/server/http-api.
"""

from __future__ import annotations

import base64
import functools
from typing import TYPE_CHECKING, Any, Final

import orjson

from audit.outbox import DeliveryFailedError
from integrations.analytics.events import key_of_call
from integrations.rest import CALL_SECONDS, RestClient

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from config.kernel.clock import Deadline
    from integrations.analytics.events import Event

NAME: Final = "Segment"
MAX_EVENT_BYTES: Final = 32_000
MAX_CALL_BYTES: Final = 500_000
"""The documentation says 32 and 500 kB: the smaller reading is the safe one."""
LEAST_SECONDS: Final = 0.5
NAMES: Final = {
    "order.confirmed": "Order Completed",
    "order.refunded": "Order Refunded",
    "order.cancelled": "Order Cancelled",
    "shipment.sent": "Order Shipped",
    "cart.abandoned": "Cart Abandoned",
}
"""The first three are those of Segment's e-commerce specification, which has none of the others."""
PROPERTIES: Final = {
    "order_number": "order_id",
    "cart": "cart_id",
    "currency": "currency",
    "total_amount": "total",
    "subtotal": "subtotal",
    "discount_amount": "discount",
    "shipping_amount": "shipping",
    "tax_amount": "tax",
    "amount": "value",
    "refund": "refund_id",
    "shipment": "shipment_id",
}
AMOUNTS: Final = ("total", "subtotal", "discount", "shipping", "tax", "value")


class Segment:
    """One source of a workspace; the token is its write key."""

    def __init__(self, *, base_url: str, token: str, deadline: Deadline) -> None:
        self._client = _client(base_url, token)
        self._deadline = deadline

    def collect(self, collected: Sequence[Event]) -> None:
        for batch in _within_the_limits([_track(event) for event in collected]):
            seconds = min(self._deadline.remaining(), CALL_SECONDS)
            if seconds < LEAST_SECONDS:
                raise DeliveryFailedError(f"{NAME} takes too long: the time was over")
            answer = self._client.call(
                "POST",
                "/v1/batch",
                body={"batch": batch},
                idempotency_key=key_of_call([track["messageId"] for track in batch]),
                needs_answer=True,
                seconds=seconds,
            )
            if not isinstance(answer.body, dict) or answer.body.get("success") is not True:
                raise DeliveryFailedError(f"{NAME} answered {answer.status} and no success")


@functools.lru_cache
def _client(base_url: str, token: str) -> RestClient:
    """The same one for the same settings: it keeps connections."""
    credentials = base64.b64encode(f"{token}:".encode()).decode()
    return RestClient(
        name=NAME, base_url=base_url, headers={"Authorization": f"Basic {credentials}"}
    )


def _within_the_limits(tracks: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """As few batches as there can be, in order."""
    batch: list[dict[str, Any]] = []
    size = free = MAX_CALL_BYTES - len(b'{"batch":[]}')
    for track in tracks:
        needed = len(orjson.dumps(track)) + 1  # a comma
        if batch and needed > free:
            yield batch
            batch, free = [], size
        batch.append(track)
        free -= needed
    yield batch


def _track(event: Event) -> dict[str, Any]:
    """What Segment is sent; an event that is too large does without the products' names, or all."""
    named = [_product(item) for item in event.items]
    nameless = [{key: value for key, value in item.items() if key != "name"} for item in named]
    wide = _with_products(event, named)
    if len(orjson.dumps(wide)) <= MAX_EVENT_BYTES:
        return wide
    narrow = _with_products(event, nameless)
    return narrow if len(orjson.dumps(narrow)) <= MAX_EVENT_BYTES else _with_products(event, [])


def _with_products(event: Event, products: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    properties = {PROPERTIES[name]: value for name, value in event.data.items()}
    for name in AMOUNTS:
        if name in properties:
            properties[name] = _number(properties[name])
    if event.items:
        properties["products"] = products
        properties["product_count"] = len(event.items)
    who = {"userId": event.customer} if event.customer else {"anonymousId": event.anonymous}
    return {
        "type": "track",
        "messageId": str(event.id),
        "event": NAMES[event.fact],
        "timestamp": event.occurred_at.isoformat(),
        "properties": properties,
        **who,
    }


def _product(item: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        "product_id": item["sku"],
        "sku": item["sku"],
        "name": item["product_name"],
        "quantity": item["quantity"],
    }
    if "unit_price" in item:
        found["price"] = _number(item["unit_price"])
    return found


def _number(amount: str) -> float:
    """Segment's amounts are numbers of JSON; two digits survive that."""
    return float(amount)
