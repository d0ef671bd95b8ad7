"""Webhooks as carriers send them: signed over the very bytes."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import time
from typing import Any

from django.test import Client

SECRET = "sesame-of-the-carrier-of-ours"
EASYPOST_SECRET = "sesame-of-easypost"
NUMBER = "1Z999AA10123456784"
_ids = itertools.count(1)


def news(status: str = "delivered", **changes: Any) -> dict[str, Any]:
    """An event in our own dialect, with an id of its own."""
    return {
        "id": f"scan-{time.time_ns()}-{next(_ids)}",
        "tracking_number": NUMBER,
        "carrier": "UPS",
        "status": status,
        "occurred_at": "2026-11-28T09:30:00Z",
        **changes,
    }


def sign(body: bytes, *, secret: str = SECRET, at: float | None = None) -> str:
    moment = int(time.time() if at is None else at)
    digest = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={digest}"


def send(told: Any, **how: Any) -> Any:
    """POST it, signed."""
    body = told if isinstance(told, bytes) else json.dumps(told).encode()
    return post("generic", body, {"Orderkeep-Signature": sign(body, **how)})


def easypost(status: str = "delivered", **changes: Any) -> dict[str, Any]:
    """A tracker's event, as EasyPost's documentation shows it."""
    tracker = {
        "id": "trk_1",
        "object": "Tracker",
        "tracking_code": NUMBER,
        "carrier": "UPS",
        "status": status,
        "signed_by": "A. Lovelace",
        "updated_at": "2026-11-28T09:31:00Z",
        "tracking_details": [
            {"object": "TrackingDetail", "status": status, "datetime": "2026-11-28T09:30:00Z"}
        ],
        **changes,
    }
    return {
        "id": f"evt_{time.time_ns()}{next(_ids)}",
        "object": "Event",
        "description": "tracker.updated",
        "mode": "production",
        "previous_attributes": {"status": "unknown"},
        "result": tracker,
    }


def send_easypost(told: Any, *, secret: str = EASYPOST_SECRET) -> Any:
    body = json.dumps(told).encode()
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return post("easypost", body, {"X-Hmac-Signature": f"hmac-sha256-hex={digest}"})


def post(dialect: str, body: bytes, headers: dict[str, str]) -> Any:
    return Client().post(
        f"/api/v1/webhooks/tracking/{dialect}",
        data=body,
        content_type="application/json",
        headers=headers,
    )
