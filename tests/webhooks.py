"""Webhooks as the provider sends them: an event about an object, signed."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

import stripe
from django.test import Client
from django.test.client import ClientHandler

SECRET = "whsec_of_these_tests"
_numbers = itertools.count(1)
_site = ClientHandler(enforce_csrf_checks=False)  # loads its middleware once


def event(kind: str, about: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """An event of this type about an object, with an id of its own."""
    return {
        "id": f"evt_test{time.time_ns()}{next(_numbers)}",
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": int(time.time()),
        "data": {"object": about},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": kind,
        **changes,
    }


def send(told: dict[str, Any] | str, *, secret: str = SECRET, at: float | None = None) -> Any:
    """POST it, signed with this secret at this time (now)."""
    body = told if isinstance(told, str) else json.dumps(told)
    signed_at = int(time.time() if at is None else at)
    signature = stripe.WebhookSignature.generate_signature_header(body, secret, signed_at)
    return post(body, signature)


def post(body: str, signature: str | None) -> Any:
    """POST it with this very signature."""
    headers = {} if signature is None else {"Stripe-Signature": signature}
    client = Client()
    client.handler = _site
    return client.post(
        "/api/v1/webhooks/stripe", data=body, content_type="application/json", headers=headers
    )
