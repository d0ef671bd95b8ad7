"""Row 45: what protects a browser stands on every answer, of every route and in every refusal."""

from __future__ import annotations

import json

import pytest
from django.db import OperationalError
from django.test import Client

from orders.services import carts
from tests.security import policy

JSON = {"content_type": "application/json"}
UNKNOWN = {"sku": "NOTHING", "document_number": "INV-1"}


def assert_protected(answer):
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Referrer-Policy"] == "no-referrer"
    assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in answer["Content-Security-Policy"]
    assert "unsafe-inline" not in answer["Content-Security-Policy"]
    assert "Server" not in answer
    assert answer["X-Request-ID"]
    # The catalogue and its document are for everybody alike; nothing else is kept anywhere.
    if answer.status_code >= 400:
        assert answer["Cache-Control"] == "no-store"
    elif not answer["Cache-Control"].startswith("public"):
        assert "no-store" in answer["Cache-Control"]


@pytest.mark.parametrize("route", sorted(policy.API))
def test_every_route_sends_them(db, route):
    method, path = route.split(" ")
    target = path
    while "{" in target:
        head, _, tail = target.partition("{")
        name, _, rest = tail.partition("}")
        target = f"{head}{UNKNOWN.get(name, '5f2b8a7e-6c1d-4e0f-9a3b-2d4c6e8f0a1b')}{rest}"

    answer = Client().generic(method, target, **JSON)

    assert_protected(answer)


CARTS = "/api/v1/carts"
REFUSALS = {
    400: lambda client: client.post(CARTS, "{", **JSON),
    401: lambda client: client.get("/api/v1/me"),
    403: lambda client: client.get("/metrics", REMOTE_ADDR="192.0.2.1"),
    404: lambda client: client.get("/api/v1/nothing"),
    405: lambda client: client.delete(CARTS),
    413: lambda client: client.post(CARTS, "x" * (256 * 1024 + 1), **JSON),
    415: lambda client: client.post(CARTS, "<a/>", content_type="text/xml"),
}


@pytest.mark.parametrize("status", sorted(REFUSALS))
def test_every_refusal_sends_them(db, status):
    answer = REFUSALS[status](Client())

    assert answer.status_code == status
    assert_protected(answer)


def test_a_foreign_host_is_told_no_less(db):
    answer = Client().get("/api/v1/products", headers={"Host": "evil.example"})

    assert answer.status_code == 400
    assert_protected(answer)


def test_too_many_requests_are_told_no_less(db, settings, monkeypatch):
    settings.THROTTLE = True
    monkeypatch.setattr("config.kernel.api.throttles.RequestThrottle.allow_request", refuse)

    answer = Client().post(CARTS, json.dumps({}), **JSON)

    assert (answer.status_code, answer["Retry-After"]) == (429, "7")
    assert_protected(answer)


def refuse(self, request, view):
    self.wait = lambda: 7
    return False


@pytest.mark.parametrize(("error", "status"), [(RuntimeError, 500), (OperationalError, 503)])
def test_what_went_wrong_is_told_no_less(db, monkeypatch, error, status):
    def fail(**_):
        raise error("secret words")

    monkeypatch.setattr(carts, "open_cart", fail)

    answer = Client(raise_request_exception=False).post(CARTS, json.dumps({}), **JSON)

    assert answer.status_code == status
    assert b"secret" not in answer.content
    assert_protected(answer)
