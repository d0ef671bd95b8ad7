"""The OpenAPI document says all there is, and nothing that is not so.

Its examples are held against its schemas, and both against what the shop answers.
"""

from __future__ import annotations

import json
import re

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # no stubs
from rest_framework.permissions import AllowAny, IsAuthenticated

from config import docs, health
from config.api import BY_STATUS
from config.kernel.errors import DomainError
from customers.models import Customer
from orders.services.placement import NUMBER_ALPHABET, NUMBER_GROUPS
from tests import factories, webhooks
from tests.shop import Shopper

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


def operations(document):
    """(method, path, description) of every operation."""
    return [
        (method, path, described)
        for path, methods in document["paths"].items()
        for method, described in methods.items()
    ]


def errors_of(document):
    """(operation, status, response) of every error under /api/."""
    return [
        (f"{method} {path}", int(status), response)
        for method, path, described in operations(document)
        if path.startswith("/api/")
        for status, response in described["responses"].items()
        if int(status) >= 400
    ]


def error_examples(document):
    """(operation, code, error) of every example of an error."""
    return [
        (where, code, example["value"]["error"])
        for where, _, response in errors_of(document)
        for code, example in response["content"]["application/json"]["examples"].items()
    ]


def contents_of(document):
    """(where, content) of every body, of requests and of answers, by media type."""
    for method, path, described in operations(document):
        bodies = {"request": described.get("requestBody", {}), **described["responses"]}
        for name, body in bodies.items():
            for content in body.get("content", {}).values():
                yield f"{method} {path} {name}", content


def problems_with(document, value, schema):
    """What of the value its schema does not allow."""
    whole = {**schema, "components": document["components"]}
    return [error.message for error in Draft202012Validator(whole).iter_errors(value)]


def real_sentences():
    """Every (code, message) that an error or a status brings along."""
    return {(error.code, error.message) for error in kinds_of(DomainError)} | set(
        BY_STATUS.values()
    )


def kinds_of(error):
    return {error}.union(*map(kinds_of, error.__subclasses__()))


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

    def test_has_every_other_route_of_the_api_and_the_probes(self, document):
        others = {
            path
            for path, callback in routes(get_resolver().url_patterns)
            if path.startswith("/api/") and not hasattr(callback, "cls")
        }

        assert others == {"/api/docs", "/api/docs/start.js"}
        described = {path for path in document["paths"] if not path.startswith("/api/v1/")}
        assert described == {*others, *health.PROBES, "/api/schema"}

    def test_is_what_openapi_allows(self, document):
        validate_schema(document)

    def test_knows_every_code_of_the_contract(self, document):
        error = document["components"]["schemas"]["Error"]["properties"]["error"]
        kinds = [ref["$ref"].rpartition("/")[2] for ref in error["oneOf"]]
        schemas = [document["components"]["schemas"][kind]["properties"] for kind in kinds]

        assert {schema["code"]["const"] for schema in schemas} == set(CONTRACT_CODES)
        assert set(error["discriminator"]["mapping"]) == set(CONTRACT_CODES)
        assert all(schema["details"] for schema in schemas)

    def test_shows_every_code_that_something_answers(self, document):
        shown = {code for _, code, _ in error_examples(document)}

        assert set(CONTRACT_CODES) - shown == set()
        # The one permission that refuses anybody refuses those who have not said who they are.
        refusing = {kind for view in api_views().values() for kind in view.permission_classes}
        assert refusing <= {AllowAny, IsAuthenticated}

    def test_has_the_errors_that_anything_can_end_in(self, document):
        for method, path, described in operations(document):
            if path.startswith("/api/"):
                expected = {"400", "405", "413", "415", "500"}
                expected |= {"503"} if path.startswith("/api/v1/") else set()
                expected |= {"404"} if "{" in path else set()
                assert expected <= set(described["responses"]), f"{method} {path}"

    def test_gives_every_error_the_envelope_and_an_example(self, document):
        for where, status, response in errors_of(document):
            content = response["content"]["application/json"]
            assert content["schema"] == {"$ref": "#/components/schemas/Error"}, where
            assert content["examples"], where
            for code, example in content["examples"].items():
                assert CONTRACT_CODES[code] == status, where
                assert example["value"]["error"]["code"] == code, where

    def test_tells_errors_in_the_sentences_that_are_sent(self, document):
        of_one_operation = {
            ("INVALID_TRANSITION", "This order was cancelled."),
            ("VALIDATION_FAILED", "The signature is not valid."),
        }

        told = {(code, error["message"]) for _, code, error in error_examples(document)}

        assert told <= real_sentences() | of_one_operation

    def test_shows_every_body_by_examples_that_its_schema_allows(self, document):
        for where, content in contents_of(document):
            assert content["examples"], where
            for name, example in content["examples"].items():
                problems = problems_with(document, example["value"], content["schema"])
                assert problems == [], f"{where}: {name}"

    def test_shows_order_numbers_of_the_real_form(self, document):
        form = "-".join(f"[{NUMBER_ALPHABET}]{{{length}}}" for length in NUMBER_GROUPS)

        shown = re.findall(r'"order_number": "([^"]*)"', json.dumps(document))

        assert shown
        assert all(re.fullmatch(form, number) for number in shown)

    def test_takes_no_field_that_it_does_not_name(self, document):
        open_to_more = {  # what others send: what we do not know of it is not looked at
            *("EventRequest", "EventDataRequest", "TrackingEventRequest"),
            *("EasyPostEventRequest", "EasyPostTrackerRequest"),
            *("MarketingEventRequest", "MarketingPersonRequest"),
        }
        requests = {
            name: schema
            for name, schema in document["components"]["schemas"].items()
            if name.endswith("Request")
        }

        assert len(requests) > 5
        for name, schema in requests.items():
            assert (schema.get("additionalProperties") is False) is (name not in open_to_more), name

    def test_names_the_headers_of_every_answer(self, document):
        of_status = {
            "401": "WWW-Authenticate",
            "405": "Allow",
            "429": "Retry-After",
            "503": "Retry-After",
        }
        for method, path, described in operations(document):
            for status, response in described["responses"].items():
                expected = {"X-Request-ID", of_status.get(status, "X-Request-ID")}
                assert expected <= set(response["headers"]), f"{method} {path} {status}"

        placed = document["paths"]["/api/v1/orders"]["post"]["responses"]
        assert {"Location", "Retry-After"} <= set(placed["202"]["headers"])
        assert "Retry-After" in placed["409"]["headers"]
        assert {s for s, r in placed.items() if "Idempotent-Replayed" in r["headers"]} == {
            *("201", "402", "502")
        }

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
        headers = [p["name"] for p in placing["parameters"] if p.get("in") == "header"]
        assert headers == ["Idempotency-Key"]


def documented(document, method, path, answer):
    """What the document says of this answer: the response, and the example of an error."""
    responses = document["paths"][path][method]["responses"]
    assert str(answer.status_code) in responses, f"{method} {path}: {answer.content}"
    response = responses[str(answer.status_code)]
    if answer.status_code < 400 or not path.startswith("/api/"):
        return response, None
    code = answer.json()["error"]["code"]
    examples = response["content"]["application/json"]["examples"]
    assert code in examples, f"{method} {path}: {answer.content}"
    return response, examples[code]["value"]["error"]


def assert_as_documented(document, method, path, answer):
    """The body is of its schema, and no header is missing that always comes."""
    response, _ = documented(document, method, path, answer)
    for kind, content in response.get("content", {}).items():
        assert answer["Content-Type"].partition(";")[0] == kind
        body = answer.json() if kind == "application/json" else answer.content.decode()
        assert problems_with(document, body, content["schema"]) == [], f"{method} {path}"
    if "content" not in response:
        assert answer.content == b""
    assert headers_that_always_come(document, response) <= set(answer.headers), f"{method} {path}"


def headers_that_always_come(document, response):
    headers = document["components"]["headers"]
    return {name for name in response["headers"] if headers[name].get("required")}


SITUATIONS = {
    "a bad token": {"headers": {"Authorization": "Bearer nonsense"}},
    "a compressed body": {"headers": {"Content-Encoding": "gzip"}},
    "a body too large": {"CONTENT_LENGTH": str(256 * 1024 + 1)},
}
"""What any request may come with, whatever its path and method."""


def call(method, path, **more):
    """Without a body, and without anything behind the path's parameters."""
    path = re.sub(r"{\w+}", "NOTHING", path)
    return Client().generic(method.upper(), path, content_type="application/json", **more)


def api_operations(document):
    return [(m, path) for m, path, _ in operations(document) if path.startswith("/api/")]


@pytest.mark.django_db
class TestWhateverIsAsked:
    @pytest.mark.parametrize("situation", SITUATIONS)
    def test_is_refused_as_documented(self, document, situation):
        for method, path in api_operations(document):
            answer = call(method, path, **SITUATIONS[situation])

            if answer.status_code in {401, 413, 415}:
                _, example = documented(document, method, path, answer)
                assert answer.json()["error"] == example, f"{method} {path}"
                assert_as_documented(document, method, path, answer)
            else:
                assert situation == "a bad token"
                assert "401" not in document["paths"][path][method]["responses"]

    def test_of_a_suspended_customer_is_refused_as_documented(self, document):
        suspended = Shopper(factories.CustomerFactory(status=Customer.Status.SUSPENDED))

        for method, path in api_operations(document):
            answer = call(method, path, headers=suspended.headers)

            is_refused = answer.status_code == 403
            refusals = document["paths"][path][method]["responses"].get("403", {})
            assert is_refused is ("INACTIVE_CUSTOMER" in str(refusals)), path
            if is_refused:
                _, example = documented(document, method, path, answer)
                assert answer.json()["error"] == example

    def test_in_another_method_is_refused_as_documented(self, document):
        for method, path, _ in operations(document):
            known = document["paths"][path]
            other = next(each for each in ("delete", "patch", "put", "post") if each not in known)

            answer = getattr(Client(), other)(re.sub(r"{\w+}", "NOTHING", path))

            assert answer.status_code == 405
            assert_as_documented(document, method, path, answer)
            assert answer["Allow"]

    def test_needs_a_token_where_it_says_so_and_only_there(self, document):
        for method, path in api_operations(document):
            needed = {} not in document["paths"][path][method]["security"]

            answer = call(method, path)

            if needed:
                assert answer.status_code == 401
            elif "{" not in path and method == "get":
                assert answer.status_code == 200

    def test_too_often_is_refused_where_requests_are_counted(self, document):
        views = {**api_views(), "/api/schema": docs.SchemaView}
        for path, view in views.items():
            for described in document["paths"][path].values():
                assert ("429" in described["responses"]) is bool(view.throttle_classes), path


ORDERS = "/api/v1/orders"
CARDS = "/api/v1/me/payment-methods"
INVALID = [
    ("get", "/api/schema", "/api/schema?%ff", None),
    ("get", "/api/docs", "/api/docs?%ff", None),
    ("get", "/api/docs/start.js", "/api/docs/start.js?%ff", None),
    ("get", "/api/v1/categories", "/api/v1/categories?page_size=0", None),
    ("get", "/api/v1/products", "/api/v1/products?ordering=sku", None),
    ("get", "/api/v1/products/{sku}", "/api/v1/products/APPLE?currency=usd", None),
    ("get", "/api/v1/me", "/api/v1/me?%ff", None),
    ("patch", "/api/v1/me", "/api/v1/me", {}),
    ("get", "/api/v1/me/addresses", "/api/v1/me/addresses?page_size=0", None),
    ("get", "/api/v1/orders", "/api/v1/orders?status=lost", None),
    ("get", "/api/v1/orders/{order_number}", "/api/v1/orders/NOTHING?%ff", None),
    ("post", "/api/v1/orders/{order_number}/confirm", None, {"paid": True}),
    ("post", CARDS, None, {"payment_method_id": "pm_nobody"}),
    ("post", "/api/v1/orders/{order_number}/cancel", None, {"reason": 1}),
    ("post", "/api/v1/orders/{order_number}/claim", None, {"guest_token": 1}),
    ("post", "/api/v1/webhooks/stripe", None, {}),
]


@pytest.mark.django_db
class TestAnInvalidRequest:
    @pytest.mark.parametrize(("method", "path", "target", "body"), INVALID)
    def test_is_refused_in_the_words_of_its_example(
        self, document, shopper, method, path, target, body
    ):
        answer = Client().generic(
            method.upper(),
            target or path.replace("{order_number}", "NOTHING"),
            b"" if body is None else json.dumps(body).encode(),
            content_type="application/json",
            headers=shopper.headers,
        )

        assert answer.status_code == 400
        _, example = documented(document, method, path, answer)
        assert answer.json()["error"] == example

    @pytest.mark.parametrize("path", ["/quotes", "/orders"])
    def test_basket_is_too(self, document, shopper, path):
        factories.ProductFactory(sku="APPLE")
        example = document["paths"][f"/api/v1{path}"]["post"]["requestBody"]["content"][
            "application/json"
        ]["examples"]
        body = next(iter(example.values()))["value"]
        body = {**body, "items": [{"sku": "APPLE", "quantity": "1"}]}

        answer = shopper.post(path, body, **{"Idempotency-Key": "k"})

        assert answer.status_code == 400
        _, example = documented(document, "post", f"/api/v1{path}", answer)
        assert answer.json()["error"] == example

    def test_is_one_that_the_schema_forbids_as_well(self, document):
        for method, path, _, body in INVALID:
            if body is not None and path != CARDS:  # what only the provider knows to be wrong
                content = document["paths"][path][method]["requestBody"]["content"]
                assert problems_with(document, body, content["application/json"]["schema"]), path


@pytest.fixture
def apple(shop):
    return factories.ProductFactory(sku="APPLE", name="Apple", price="1.00", on_hand=5)


CHALLENGED = "pm_card_authenticationRequired"
DECLINED = "pm_card_visa_chargeDeclinedInsufficientFunds"


@pytest.mark.django_db
class TestAnOrderThatFails:
    @pytest.mark.parametrize(
        ("code", "changes"),
        [
            ("CARD_DECLINED", {"payment_method_id": DECLINED}),
            ("PAYMENT_REQUIRES_ACTION", {"payment_method_id": CHALLENGED}),
            ("PAYMENT_FAILED", {"payment_method_id": "pm_nothing"}),
            ("INSUFFICIENT_INVENTORY", {"items": [{"sku": "APPLE", "quantity": 6}]}),
            ("PRICE_CHANGED", {"expected_total": "0.01"}),
            ("COUPON_INVALID", {"coupon_code": "NOTHING"}),
            ("IDEMPOTENCY_KEY_MISSING", {"key": " "}),
        ],
    )
    def test_is_refused_as_documented(self, document, provider, guest, apple, code, changes):
        answer = guest.order(("APPLE", 1), **changes)

        assert answer.json()["error"]["code"] == code
        self.assert_like_its_example(document, "post", ORDERS, answer)

    def test_as_its_key_is_used_up(self, document, provider, guest, apple):
        guest.order(("APPLE", 1), key="k")

        answer = guest.order(("APPLE", 2), key="k")

        self.assert_like_its_example(document, "post", ORDERS, answer)

    def test_as_the_provider_refuses_us(self, document, provider, guest, apple):
        factories.ProductFactory(sku="FORTUNE", price="9999.99", on_hand=1000)

        answer = guest.order(("FORTUNE", 900))  # above the provider's maximum

        assert answer.json()["error"]["code"] == "PAYMENT_ERROR"
        self.assert_like_its_example(document, "post", ORDERS, answer)

    def test_when_it_was_cancelled(self, document, provider, shopper, apple):
        number = shopper.order(("APPLE", 1)).json()["order_number"]
        shopper.post(f"/orders/{number}/cancel")

        answer = shopper.post(f"/orders/{number}/confirm")

        self.assert_like_its_example(document, "post", f"{ORDERS}/{{order_number}}/confirm", answer)

    def test_as_it_is_not_there(self, document, shopper):
        answer = shopper.get("/orders/NOTHING")

        self.assert_like_its_example(document, "get", f"{ORDERS}/{{order_number}}", answer)

    def test_as_a_card_that_was_only_to_be_saved(self, document, provider, shopper):
        answer = shopper.post(CARDS.removeprefix("/api/v1"), {"payment_method_id": DECLINED})

        assert answer.json()["error"]["code"] == "CARD_DECLINED"
        self.assert_like_its_example(document, "post", CARDS, answer)

    def test_or_a_profile_that_was_changed_meanwhile(self, document, shopper):
        answer = shopper.client.patch(
            "/api/v1/me", {"version": 7}, "application/json", headers=shopper.headers
        )

        self.assert_like_its_example(document, "patch", "/api/v1/me", answer)

    def assert_like_its_example(self, document, method, path, answer):
        error = answer.json()["error"]
        _, example = documented(document, method, path, answer)
        assert error["message"] == example["message"]
        assert (error["details"] or {}).keys() == (example["details"] or {}).keys()
        assert_as_documented(document, method, path, answer)


@pytest.mark.django_db
class TestAGoodAnswer:
    def test_of_the_catalogue_is_as_documented(self, document, apple):
        for path in ("/api/v1/products", "/api/v1/products/{sku}", "/api/v1/categories"):
            target = path.replace("{sku}", "APPLE")
            answer = Client().get(target)
            assert answer.status_code == 200
            assert_as_documented(document, "get", path, answer)

            again = Client().get(target, headers={"If-None-Match": answer["ETag"]})
            assert again.status_code == 304
            assert_as_documented(document, "get", path, again)

    def test_about_an_order_is_as_documented(self, document, provider, apple):
        for buyer in (Shopper(factories.CustomerFactory()), Shopper()):
            placed = buyer.order(("APPLE", 1), key="k")
            assert placed.status_code == 201
            assert_as_documented(document, "post", ORDERS, placed)
            replayed = buyer.order(("APPLE", 1), key="k")
            assert_as_documented(document, "post", ORDERS, replayed)
            assert replayed["Idempotent-Replayed"] == "true"

            one = f"/orders/{placed.json()['order_number']}"
            query = f"?token={placed.json().get('guest_token', '')}"
            path = f"{ORDERS}/{{order_number}}"
            assert_as_documented(document, "get", path, buyer.get(f"{one}{query}"))
            for verb in ("confirm", "cancel"):
                answer = buyer.post(f"{one}/{verb}{query}")
                assert answer.status_code == 200
                assert_as_documented(document, "post", f"{path}/{verb}", answer)

    def test_about_an_order_in_doubt_is_as_documented(self, document, provider, shopper, apple):
        provider.fail("drop", path="/v1/payment_intents")

        answer = shopper.order(("APPLE", 1))

        assert answer.status_code == 202
        assert_as_documented(document, "post", ORDERS, answer)
        assert int(answer["Retry-After"]) > 0

    def test_for_a_customer_is_as_documented(self, document, provider, shopper, apple):
        shopper.order(("APPLE", 1))
        quote = shopper.post("/quotes", {"items": [{"sku": "APPLE", "quantity": 9}]})
        change = shopper.client.patch(
            "/api/v1/me", {"version": 1}, "application/json", headers=shopper.headers
        )

        card = shopper.post("/me/payment-methods", {"payment_method_id": "pm_card_visa"})
        shopper.post("/me/payment-methods", {"payment_method_id": "pm_paypal"})
        cards = shopper.get("/me/payment-methods")
        removed = shopper.client.delete(f"{CARDS}/{card.json()['id']}", headers=shopper.headers)

        assert_as_documented(document, "post", CARDS, card)
        assert_as_documented(document, "get", CARDS, cards)
        assert_as_documented(document, "delete", f"{CARDS}/{{payment_method_id}}", removed)
        assert_as_documented(document, "get", ORDERS, shopper.get("/orders"))
        assert_as_documented(document, "post", "/api/v1/quotes", quote)
        assert_as_documented(document, "get", "/api/v1/me", shopper.get("/me"))
        assert_as_documented(document, "patch", "/api/v1/me", change)

    def test_to_the_provider_is_as_documented(self, document, settings):
        settings.STRIPE_WEBHOOK_SECRETS = [webhooks.SECRET]
        told = webhooks.event("payment_intent.succeeded", {"id": "pi_1", "object": "x"})
        path = "/api/v1/webhooks/stripe"
        content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]

        answer = webhooks.send(told)

        assert problems_with(document, told, content["schema"]) == []
        assert answer.status_code == 200
        assert_as_documented(document, "post", path, answer)

    def test_of_what_is_for_everybody_is_as_documented(self, document):
        for path in ("/healthz", "/readyz", "/metrics", "/api/schema", "/api/docs"):
            answer = Client().get(path)
            assert answer.status_code == 200
            assert_as_documented(document, "get", path, answer)

    def test_of_a_probe_that_fails_is_as_documented(self, document, settings):
        settings.REDIS_URL = "redis://127.0.0.1:1/0"

        not_ready = Client().get("/readyz")
        forbidden = Client().get("/metrics", REMOTE_ADDR="192.0.2.1")

        assert (not_ready.status_code, forbidden.status_code) == (503, 403)
        assert_as_documented(document, "get", "/readyz", not_ready)
        assert_as_documented(document, "get", "/metrics", forbidden)
        assert int(not_ready["Retry-After"]) > 0


@pytest.mark.parametrize("path", ["/api/schema", "/api/docs", "/api/docs/start.js"])
def test_documentation_needs_no_database_so_it_is_never_unavailable(document, path):
    assert Client().get(path).status_code == 200
    assert "503" not in document["paths"][path]["get"]["responses"]
