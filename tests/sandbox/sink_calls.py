"""Calls of the sinks as an integration would make them."""

import uuid
from typing import Any

import httpx

EVENT: dict[str, Any] = {
    "id": "00000000-0000-4000-8000-000000000001",
    "type": "order.confirmed",
    "occurred_at": "2026-01-31T12:00:00Z",
    "data": {"order_number": "ABC"},
}
http = httpx.Client(trust_env=False, timeout=10)


def event(**changes: Any) -> dict[str, Any]:
    """An envelope nobody has seen yet."""
    return {**EVENT, "id": str(uuid.uuid4()), **changes}


def call(sinks, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None):
    headers = {"Authorization": f"Bearer {sinks.token}", **(headers or {})}
    return http.request(method, f"{sinks.url}{path}", json=body, headers=headers)


def post(sinks, receiver: str, told: dict[str, Any], **headers: str) -> httpx.Response:
    """Tell a plain receiver of an event."""
    headers = {"Idempotency-Key": str(told.get("id")), **headers}
    return call(sinks, "POST", f"/{receiver}/events", told, headers)


def refusal(answer: httpx.Response) -> str:
    return answer.json()["error"]["message"]
