"""Every route × everybody, against the table in `policy.py`; no route is without a policy."""

from __future__ import annotations

import json
import re

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import URLResolver, get_resolver, reverse

from config import docs, health, storefront
from customers.models import Customer
from integrations.marketing import unsubscribe
from orders.models import Order
from orders.services.invoicing import issue_invoice
from orders.services.returns import request_return
from orders.services.shipping import Parcel, ship_order
from tests import factories
from tests.admin import rows
from tests.security import policy
from tests.shop import Shopper, order_of, payment_link

METHODS = ("get", "post", "put", "patch", "delete")
ACCOUNTS = "/_allauth/app/v1/"
ALLAUTH_DOCUMENTS = {"/_allauth/openapi.yaml", "/_allauth/openapi.json"}
REDIRECT_TO_ADMIN = "/admin"


def routes(patterns, prefix="/"):
    for pattern in patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, path)
        else:
            yield re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path), pattern.callback


def methods_of(view):
    """Those that the view itself has; of a plain function what its document says."""
    if hasattr(view, "cls"):
        return [method for method in METHODS if hasattr(view.cls, method)]
    return ["get"]


ALL_ROUTES = [*routes(get_resolver().url_patterns)]
LIVE = sorted(
    f"{method.upper()} {path}"
    for path, view in [*ALL_ROUTES, *((path, None) for path in health.PROBES)]
    if path.startswith("/api/") or path in health.PROBES
    for method in methods_of(view)
)
MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)


@pytest.fixture
def actors(shop):
    """Everybody who may come by, and by their name what is theirs."""
    factories.ProductFactory(sku="APPLE")

    def somebody(**fields):
        return Shopper(factories.CustomerFactory(**fields))

    people = {
        "anonymous": Shopper(),
        "owner": somebody(),
        "other": somebody(),
        "suspended": somebody(),
        "clerk": somebody(is_staff=True),
        "superuser": somebody(is_staff=True, is_superuser=True),
        "guest": Shopper(),
    }
    owned = {name: belongings(people[name]) for name in ("owner", "suspended", "guest")}
    Customer.objects.filter(pk=people["suspended"].customer.pk).update(status="suspended")
    return people, owned


def belongings(shopper):
    """A paid order with its invoice, a cart, an address: what stands in the paths, by its name."""
    placed = shopper.order(("APPLE", 2))
    assert placed.status_code == 201, placed.content
    order = order_of(placed)
    address_id = payment_method_id = "none-of-a-guest"
    if shopper.customer:
        address_id = shopper.post("/me/addresses", policy.ADDRESS).json()["id"]
        card = {"payment_method_id": "pm_card_visa"}
        payment_method_id = shopper.post("/me/payment-methods", card).json()["id"]
    return {
        "sku": "APPLE",
        "provider": "postmark",
        "order_number": order.order_number,
        "guest_token": placed.json().get("guest_token"),
        "document_number": issue_invoice(order_id=order.pk).document_number,
        "return_id": "none-before-it-is-sent",
        "cart_id": shopper.post("/carts", {"items": [policy.LINE]}).json()["id"],
        "payment_link_id": str(payment_link().public_id),
        "unsubscribe_token": unsubscribe_token(shopper),
        "address_id": address_id,
        "payment_method_id": payment_method_id,
    }


def unsubscribe_token(shopper):
    """A guest has no account to unsubscribe, and a link of nobody looks like any other."""
    customer_id = shopper.customer.pk if shopper.customer else 0
    return unsubscribe.link_for(customer_id=customer_id).rpartition("/")[2]


def send_and_want_back(owned):
    """The order is on its way, and one unit of it shall come back."""
    order = Order.objects.get(order_number=owned["order_number"])
    ship_order(order_id=order.pk, parcel=Parcel(carrier="UPS", tracking_number="1Z999"))
    wish = request_return(order_id=order.pk, units={"APPLE": 1}, reason="Too sour.")
    owned["return_id"] = str(wish.public_id)


class TestTheApi:
    def test_has_a_policy_for_every_route_and_no_policy_without_one(self):
        without = sorted(set(LIVE) - policy.API.keys())
        assert without == [], f"add a line for each to tests/security/policy.py: {without}"
        assert sorted(policy.API.keys() - set(LIVE)) == []

    def test_has_no_route_that_the_document_does_not_tell_of(self):
        told = {
            f"{method.upper()} {path}"
            for path, methods in docs._document()["paths"].items()
            for method in methods
        }
        assert set(LIVE) == told

    @pytest.mark.parametrize("route", sorted(policy.API))
    def test_answers_everybody_as_the_policy_says(self, route, actors):
        people, owned = actors
        method, path = route.split(" ")
        written = policy.API[route]
        answered = {}
        if "/returns" in route:
            for one in owned.values():
                send_and_want_back(one)
        # Who may, comes last: what they delete is there for all the others.
        for name in sorted(people, key=lambda name: name in owned):
            target = path.format(**owned.get(name, owned["owner"]))
            if name == "guest" and "{order_number}" in path:
                target += f"?token={owned['guest']['guest_token']}"
            answer = people[name].client.generic(
                method,
                target,
                data=json.dumps(written.body or {}) if method != "GET" else "",
                content_type="application/json",
                headers=people[name].headers,
            )
            answered[name] = answer.status_code

        assert answered == written.statuses

    def test_tells_no_stranger_more_than_of_an_order_that_does_not_exist(self, actors):
        people, owned = actors
        real = people["other"].get(f"/orders/{owned['owner']['order_number']}").json()
        none = people["other"].get("/orders/AAAA-AAAA-AA").json()

        assert real["error"] == none["error"]

    def test_looks_at_no_token_of_another_guests_order(self, actors):
        people, owned = actors
        path = f"/orders/{owned['owner']['order_number']}"

        answer = people["guest"].get(path, token=owned["guest"]["guest_token"])

        assert answer.status_code == 404


class TestTheAccounts:
    def test_have_a_policy_for_every_route(self):
        live = {path.removeprefix(ACCOUNTS) for path, _ in ALL_ROUTES if path.startswith(ACCOUNTS)}
        assert live - policy.ACCOUNTS.keys() == set(), "add a line to tests/security/policy.py"
        assert policy.ACCOUNTS.keys() - live == set()

    @pytest.mark.parametrize(
        "route", [r for r, kind in policy.ACCOUNTS.items() if kind == policy.SESSION]
    )
    def test_that_want_a_session_are_closed_without_one(self, route, client, db):
        answered = {
            method: getattr(client, method)(
                ACCOUNTS + route, data={}, content_type="application/json"
            ).status_code
            for method in METHODS
            if method != "get"
        } | {"get": client.get(ACCOUNTS + route).status_code}

        assert set(answered.values()) <= {400, 401, 404, 405, 409}, answered
        assert 401 in answered.values(), answered

    @pytest.mark.parametrize(
        "route", [r for r, kind in policy.ACCOUNTS.items() if kind == policy.GONE]
    )
    def test_that_are_not_offered_do_nothing(self, route, client, db):
        for method in METHODS[1:]:
            answer = getattr(client, method)(
                ACCOUNTS + route, data={}, content_type="application/json"
            )
            assert answer.status_code in {400, 401, 404, 405, 409}, (method, answer.content)


class TestTheAdmin:
    def test_is_all_there_is_besides(self):
        others = {
            path for path, _ in ALL_ROUTES if not path.startswith(("/api/", "/admin/", ACCOUNTS))
        }
        # What the storefront's files are, and that no other is served: tests/storefront.
        pages = {re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", f"/{page}") for page in storefront.PAGES}
        assert others == {
            *ALLAUTH_DOCUMENTS,
            *pages,
            "/storefront/{name}",
            REDIRECT_TO_ADMIN,
        }

    @pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
    def test_opens_a_models_pages_to_those_with_a_right_alone(self, model, db):
        rows.make_everything(1)
        row = model._default_manager.first()
        assert row is not None, "make one in tests/admin/rows.py"
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        targets = [reverse(f"{name}_changelist"), reverse(f"{name}_change", args=[row.pk])]
        statuses = {
            who: [browser_of(fields).get(target).status_code for target in targets]
            for who, fields in {
                "anonymous": None,
                "customer": {},
                "clerk": {"is_staff": True},
                "superuser": {"is_staff": True, "is_superuser": True},
            }.items()
        }

        assert statuses == {
            "anonymous": [302, 302],
            "customer": [302, 302],
            "clerk": [403, 403],
            "superuser": [200, 200],
        }

    def test_takes_no_token_of_the_api(self, db):
        boss = Shopper(factories.CustomerFactory(is_staff=True, is_superuser=True))

        assert boss.client.get("/admin/", headers=boss.headers).status_code == 302


def browser_of(fields):
    browser = Client()
    if fields is not None:
        browser.force_login(factories.CustomerFactory(**fields))
    return browser
