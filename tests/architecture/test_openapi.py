"""The OpenAPI document says all there is: every route, every error, an example of each."""

from __future__ import annotations

import re

import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator

from config.kernel.api.schema import ERRORS

CONTRACT_CODES = {
    "VALIDATION_FAILED": 400,
    "IDEMPOTENCY_KEY_MISSING": 400,
    "NOT_AUTHENTICATED": 401,
    "CARD_DECLINED": 402,
    "PAYMENT_REQUIRES_ACTION": 402,
    "PAYMENT_FAILED": 402,
    "PERMISSION_DENIED": 403,
    "INACTIVE_CUSTOMER": 403,
    "NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "INSUFFICIENT_INVENTORY": 409,
    "PRICE_CHANGED": 409,
    "COUPON_INVALID": 409,
    "ORDER_IN_PROGRESS": 409,
    "INVALID_TRANSITION": 409,
    "EDIT_CONFLICT": 409,
    "PAYLOAD_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "IDEMPOTENCY_KEY_REUSED": 422,
    "RATE_LIMIT_EXCEEDED": 429,
    "INTERNAL_ERROR": 500,
    "PAYMENT_ERROR": 502,
    "SERVICE_UNAVAILABLE": 503,
}


@pytest.fixture(scope="module")
def generated():
    """The document, and what the generator complained about."""
    GENERATOR_STATS.reset()
    with GENERATOR_STATS.silence():
        document = SchemaGenerator().get_schema(request=None, public=True)
    complaints = [*GENERATOR_STATS._warn_cache, *GENERATOR_STATS._error_cache]
    return document, complaints


@pytest.fixture(scope="module")
def document(generated):
    return generated[0]


def routes(patterns, prefix=""):
    """Every URL pattern as a path, with the view behind it."""
    for pattern in patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, path)
        elif isinstance(pattern, URLPattern):
            yield "/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path), pattern.callback


def api_views():
    return {
        path: callback.cls
        for path, callback in routes(get_resolver().url_patterns)
        if path.startswith("/api/v1/") and hasattr(callback, "cls")
    }


def api_paths(document):
    return [(p, methods) for p, methods in document["paths"].items() if p.startswith("/api/v1/")]


def errors_of(document):
    """(operation, status, response) of every error in it."""
    return [
        (f"{method} {path}", int(status), response)
        for path, methods in api_paths(document)
        for method, described in methods.items()
        for status, response in described["responses"].items()
        if int(status) >= 400
    ]


class TestTheDocument:
    def test_is_made_without_complaints(self, generated):
        assert generated[1] == []

    def test_is_openapi_3_1(self, document):
        assert document["openapi"].startswith("3.1")

    def test_has_every_route_with_every_method(self, document):
        views = api_views()
        assert {"/api/v1/orders", "/api/v1/products/{sku}", "/api/v1/quotes"} <= set(views)
        implemented = {
            (path, method)
            for path, view in views.items()
            for method in ("get", "post", "put", "patch", "delete")
            if hasattr(view, method)
        }

        described = {
            (path, method)
            for path, methods in document["paths"].items()
            if path.startswith("/api/v1/")
            for method in methods
        }

        assert described == implemented

    def test_knows_every_code_of_the_contract_with_its_status(self, document):
        assert {code: status for code, (status, _, _) in ERRORS.items()} == CONTRACT_CODES
        error = document["components"]["schemas"]["Error"]["properties"]["error"]
        assert set(error["properties"]["code"]["enum"]) == set(CONTRACT_CODES)

    def test_shows_every_code_somewhere(self, document):
        shown = {
            code
            for _, _, response in errors_of(document)
            for code in response["content"]["application/json"]["examples"]
        }

        not_answered_yet = {"PERMISSION_DENIED", "EDIT_CONFLICT"}
        assert set(CONTRACT_CODES) - shown <= not_answered_yet

    def test_gives_every_error_the_envelope_and_an_example(self, document):
        for where, status, response in errors_of(document):
            content = response["content"]["application/json"]
            assert content["schema"] == {"$ref": "#/components/schemas/Error"}, where
            assert content["examples"], where
            for code, example in content["examples"].items():
                assert CONTRACT_CODES[code] == status, where
                assert example["value"]["error"]["code"] == code, where

    def test_has_the_errors_that_anything_can_end_in(self, document):
        for path, methods in api_paths(document):
            for method, described in methods.items():
                expected = {"400", "405", "429", "500", "503"}
                expected |= {"413", "415"} if method in {"post", "put", "patch"} else set()
                expected |= {"404"} if "{" in path else set()
                assert expected <= set(described["responses"]), f"{method} {path}"

    def test_names_every_operation_once_and_says_what_it_does(self, document):
        described = [d for methods in document["paths"].values() for d in methods.values()]

        names = [d["operationId"] for d in described]
        assert len(names) == len(set(names))
        assert all(d["summary"] for d in described)
        assert all(d["tags"] for d in described)

    def test_refers_to_nothing_that_is_not_there(self, document):
        def references(node):
            if isinstance(node, dict):
                if isinstance(target := node.get("$ref"), str):
                    yield target
                for value in node.values():
                    yield from references(value)
            elif isinstance(node, list):
                for value in node:
                    yield from references(value)

        found = set(references(document))

        assert found
        for reference in found:
            place = document
            for step in reference.removeprefix("#/").split("/"):
                assert step in place, reference
                place = place[step]

    @pytest.mark.parametrize("code", ["CARD_DECLINED", "IDEMPOTENCY_KEY_REUSED", "PRICE_CHANGED"])
    def test_says_what_placing_an_order_can_end_in(self, document, code):
        placing = document["paths"]["/api/v1/orders"]["post"]

        response = placing["responses"][str(CONTRACT_CODES[code])]

        assert code in response["content"]["application/json"]["examples"]
        headers = [p["name"] for p in placing["parameters"] if p["in"] == "header"]
        assert headers == ["Idempotency-Key"]
