"""HubSpot as its documentation tells it: what it creates, finds, changes and refuses."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.sandbox.sink_calls import call

CONTACTS = "/hubspot/crm/v3/objects/contacts"
DEALS = "/hubspot/crm/v3/objects/deals"


def create(sinks, path=CONTACTS, **properties):
    return call(sinks, "POST", path, {"properties": properties})


def created(sinks, path=CONTACTS, **properties):
    answer = create(sinks, path, **properties)
    assert answer.status_code == 201, answer.text
    return answer.json()


def define(sinks, name, *, kind="deals", **more):
    group = {"deals": "dealinformation", "contacts": "contactinformation"}[kind]
    wish = {
        "name": name,
        "label": name,
        "type": "string",
        "fieldType": "text",
        "groupName": group,
        **more,
    }
    return call(sinks, "POST", f"/hubspot/crm/v3/properties/{kind}", wish)


@pytest.fixture
def orders(sinks):
    """The account has a unique property for our order numbers."""
    assert define(sinks, "order_number", hasUniqueValue=True).status_code == 201
    return sinks


def contacts(sinks):
    return sinks.received("hubspot", kind="contacts").bodies


def refused(answer, status, category="VALIDATION_ERROR"):
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert body["status"] == "error"
    assert body["correlationId"]
    assert body.get("category") == category
    return body["message"]


class TestContact:
    def test_is_created_with_an_id(self, sinks):
        contact = created(sinks, email="Ada@Example.com", firstname="Ada", phone=None)

        assert contact["archived"] is False
        assert contact["createdAt"] == contact["updatedAt"]
        assert contact["properties"]["email"] == "ada@example.com"
        assert contact["properties"]["hs_object_id"] == contact["id"]
        assert contacts(sinks) == [contact]

    def test_of_the_same_address_is_refused_with_the_id_of_the_first(self, sinks):
        first = created(sinks, email="ada@example.com")

        message = refused(create(sinks, email="ADA@example.com"), 409, "CONFLICT")

        assert (
            re.fullmatch(r"Contact already exists\. Existing ID: (\d+)", message)[1]
            == (first["id"])
        )
        assert len(contacts(sinks)) == 1
        assert sinks.received("hubspot").refused == 1

    def test_created_by_many_at_once_is_one(self, sinks):
        with ThreadPoolExecutor(8) as threads:
            answers = [*threads.map(lambda _: create(sinks, email="ada@example.com"), range(16))]

        assert sorted(answer.status_code for answer in answers) == [201, *[409] * 15]
        assert len(contacts(sinks)) == 1

    def test_is_read_by_id_and_by_address(self, sinks):
        contact = created(sinks, email="ada@example.com", firstname="Ada", city="Paris")

        by_id = call(sinks, "GET", f"{CONTACTS}/{contact['id']}").json()
        by_email = call(sinks, "GET", f"{CONTACTS}/ada@example.com?idProperty=email").json()
        city = call(sinks, "GET", f"{CONTACTS}/{contact['id']}?properties=city,phone").json()

        assert by_id == by_email
        assert by_id["properties"]["firstname"] == "Ada"
        assert "city" not in by_id["properties"]
        assert city["properties"]["city"] == "Paris"
        assert city["properties"]["phone"] is None

    @pytest.mark.parametrize("by", ["", "?idProperty=email"])
    def test_is_changed_by_id_and_by_address(self, sinks, by):
        contact = created(sinks, email="ada@example.com", firstname="Ada", lastname="L")
        key = "ada@example.com" if by else contact["id"]

        answer = call(sinks, "PATCH", f"{CONTACTS}/{key}{by}", {"properties": {"firstname": "A"}})

        assert answer.status_code == 200
        assert answer.json()["properties"]["firstname"] == "A"
        assert contacts(sinks)[0]["properties"]["lastname"] == "L"

    def test_takes_another_address_unless_somebody_has_it(self, sinks):
        ada, bob = created(sinks, email="ada@example.com"), created(sinks, email="bob@example.com")
        path = f"{CONTACTS}/{ada['id']}"

        taken = call(sinks, "PATCH", path, {"properties": {"email": "bob@example.com"}})
        free = call(sinks, "PATCH", path, {"properties": {"email": "new@example.com"}})

        assert bob["id"] in refused(taken, 409, "CONFLICT")
        assert free.status_code == 200
        assert call(sinks, "GET", f"{CONTACTS}/new@example.com?idProperty=email").is_success
        old = call(sinks, "GET", f"{CONTACTS}/ada@example.com?idProperty=email")
        refused(old, 404, "OBJECT_NOT_FOUND")
        created(sinks, email="ada@example.com")

    @pytest.mark.parametrize("method", ["GET", "PATCH"])
    def test_that_is_not_there(self, sinks, method):
        answer = call(sinks, method, f"{CONTACTS}/99999", {"properties": {}})

        assert refused(answer, 404, "OBJECT_NOT_FOUND") == "resource not found"

    def test_is_archived(self, sinks):
        contact = created(sinks, email="ada@example.com")

        assert call(sinks, "DELETE", f"{CONTACTS}/{contact['id']}").status_code == 204
        assert contacts(sinks) == []
        created(sinks, email="ada@example.com")

    def test_is_forgotten_for_good(self, sinks):
        contact = created(sinks, email="ada@example.com")
        path = f"{CONTACTS}/gdpr-delete"

        by_id = call(sinks, "POST", path, {"objectId": contact["id"]})
        again = call(sinks, "POST", path, {"objectId": contact["id"]})
        by_email = call(sinks, "POST", path, {"objectId": "x@example.com", "idProperty": "email"})

        assert (by_id.status_code, by_email.status_code) == (204, 204)
        refused(again, 404, "OBJECT_NOT_FOUND")
        assert contacts(sinks) == []
        refused(create(sinks, email="x@example.com"), 400)


class TestProperties:
    @pytest.mark.parametrize(
        ("properties", "code"),
        [
            ({"email": "nobody"}, "INVALID_EMAIL"),
            ({"email": "a@example.com", "shoe_size": "42"}, "PROPERTY_DOESNT_EXIST"),
            ({"email": "a@example.com", "lifecyclestage": "king"}, "INVALID_OPTION"),
            ({"email": "a@example.com", "hs_object_id": "7"}, "READ_ONLY_VALUE"),
        ],
    )
    def test_of_a_contact_are_checked(self, sinks, properties, code):
        message = refused(create(sinks, **properties), 400)

        problems = json.loads(message.removeprefix("Property values were not valid: "))
        assert [problem["error"] for problem in problems] == [code]
        assert problems[0]["isValid"] is False
        assert problems[0]["name"] in properties
        assert contacts(sinks) == []

    @pytest.mark.parametrize(
        ("properties", "code"),
        [
            ({"amount": "much"}, "INVALID_DOUBLE"),
            ({"dealstage": "nearly"}, "INVALID_OPTION"),
            ({"closedate": "soon"}, "INVALID_LONG"),
        ],
    )
    def test_of_a_deal_are_checked(self, sinks, properties, code):
        assert code in refused(create(sinks, DEALS, **properties), 400)

    def test_become_texts(self, sinks):
        deal = created(sinks, DEALS, dealname="ABC", amount=19.99, closedate="2026-01-31T12:00:00Z")

        assert deal["properties"]["amount"] == "19.99"

    def test_of_all_wrong_ones_each_is_named(self, sinks):
        message = refused(create(sinks, email="nobody", shoe_size="42"), 400)

        assert "INVALID_EMAIL" in message
        assert "PROPERTY_DOESNT_EXIST" in message

    def test_are_defined_once(self, sinks):
        first = define(sinks, "order_number", hasUniqueValue=True)
        second = define(sinks, "order_number")

        assert first.status_code == 201
        assert first.json()["hasUniqueValue"] is True
        refused(second, 409, "OBJECT_ALREADY_EXISTS")
        read = call(sinks, "GET", "/hubspot/crm/v3/properties/deals/order_number")
        assert read.json() == first.json()
        every = call(sinks, "GET", "/hubspot/crm/v3/properties/deals").json()["results"]
        assert {"order_number", "amount"} <= {one["name"] for one in every}
        refused(
            call(sinks, "GET", "/hubspot/crm/v3/properties/deals/nothing"), 404, "OBJECT_NOT_FOUND"
        )

    @pytest.mark.parametrize(
        "change",
        [
            {"label": ""},
            {"groupName": "somewhere"},
            {"fieldType": "date"},
            {"type": "poem"},
            {"name": "Order Number"},
        ],
    )
    def test_are_defined_well(self, sinks, change):
        refused(define(sinks, **{"name": "order_number", **change}), 400)

    def test_that_are_unique_find_and_are_guarded(self, orders):
        first = created(orders, DEALS, dealname="A", order_number="A-1")
        second = created(orders, DEALS, dealname="B", order_number="B-1")

        found = call(orders, "PATCH", f"{DEALS}/A-1?idProperty=order_number", {"properties": {}})
        taken = call(
            orders, "PATCH", f"{DEALS}/{second['id']}", {"properties": {"order_number": "A-1"}}
        )

        assert found.json()["id"] == first["id"]
        message = refused(taken, 400)
        assert message.endswith(f"{first['id']} already has that value.")
        refused(call(orders, "GET", f"{DEALS}/A?idProperty=dealname"), 400)


class TestBatch:
    def upsert(self, sinks, *numbers, **properties):
        inputs = [
            {"idProperty": "order_number", "id": number, "properties": properties}
            for number in numbers
        ]
        return call(sinks, "POST", f"{DEALS}/batch/upsert", {"inputs": inputs})

    def test_creates_or_changes(self, orders):
        first = self.upsert(orders, "A-1", "B-1", dealname="one")
        second = self.upsert(orders, "B-1", "C-1", dealname="two")

        assert (first.status_code, first.json()["status"]) == (200, "COMPLETE")
        assert [one["new"] for one in first.json()["results"]] == [True, True]
        assert [one["new"] for one in second.json()["results"]] == [False, True]
        deals = [one["properties"] for one in orders.received("hubspot", kind="deals").bodies]
        assert [(one["order_number"], one["dealname"]) for one in deals] == [
            *(("A-1", "one"), ("B-1", "two"), ("C-1", "two"))
        ]

    def test_happens_whole_or_not_at_all(self, orders):
        inputs = [
            {"idProperty": "order_number", "id": "A-1", "properties": {"amount": "1"}},
            {"idProperty": "order_number", "id": "B-1", "properties": {"amount": "much"}},
        ]
        refused(call(orders, "POST", f"{DEALS}/batch/upsert", {"inputs": inputs}), 400)

        assert orders.received("hubspot", kind="deals").items == []
        assert orders.journal(receiver="hubspot")[-1]["kept"] == 0
        assert created(orders, DEALS, order_number="A-1")

    @pytest.mark.parametrize("count", [0, 101])
    def test_has_a_limit(self, orders, count):
        refused(self.upsert(orders, *map(str, range(count)), dealname="x"), 400)

    def test_names_each_once(self, orders):
        refused(self.upsert(orders, "A-1", "A-1"), 400)

    def test_upserts_contacts_by_address(self, sinks):
        created(sinks, email="ada@example.com")
        inputs = [
            {"idProperty": "email", "id": email, "properties": {"email": email, "city": "Paris"}}
            for email in ("ada@example.com", "bob@example.com")
        ]
        answer = call(sinks, "POST", f"{CONTACTS}/batch/upsert", {"inputs": inputs})

        assert [one["new"] for one in answer.json()["results"]] == [False, True]
        assert [one["properties"]["city"] for one in contacts(sinks)] == ["Paris", "Paris"]

    def test_creates_updates_and_reads(self, sinks):
        wish = {"inputs": [{"properties": {"email": f"{name}@example.com"}} for name in "ab"]}
        made = call(sinks, "POST", f"{CONTACTS}/batch/create", wish)
        ids = [one["id"] for one in made.json()["results"]]
        wish = {"inputs": [{"id": key, "properties": {"city": "Rome"}} for key in ids]}
        changed = call(sinks, "POST", f"{CONTACTS}/batch/update", wish)
        wish = {"inputs": [{"id": "a@example.com"}], "idProperty": "email", "properties": ["city"]}
        read = call(sinks, "POST", f"{CONTACTS}/batch/read", wish)
        wish["inputs"].append({"id": "z@example.com"})
        partly = call(sinks, "POST", f"{CONTACTS}/batch/read", wish)

        assert (made.status_code, changed.status_code, read.status_code) == (201, 200, 200)
        assert read.json()["results"][0]["properties"]["city"] == "Rome"
        assert partly.status_code == 207
        assert len(partly.json()["results"]) == partly.json()["numErrors"] == 1
        assert partly.json()["errors"][0]["context"] == {"ids": ["z@example.com"]}


class TestSearch:
    def search(self, sinks, *filters, **more):
        groups = [{"filters": [*filters]}] if filters else []
        return call(sinks, "POST", f"{CONTACTS}/search", {"filterGroups": groups, **more})

    def test_finds_by_value(self, sinks):
        ada = created(sinks, email="ada@example.com", city="Paris")
        created(sinks, email="bob@example.com")

        for wish in (
            {"propertyName": "email", "operator": "EQ", "value": "ada@example.com"},
            {"propertyName": "email", "operator": "IN", "values": ["ada@example.com", "x@y.zz"]},
            {"propertyName": "city", "operator": "HAS_PROPERTY"},
        ):
            found = self.search(sinks, wish).json()
            assert found["total"] == 1
            assert found["results"][0]["id"] == ada["id"]

    def test_goes_in_pages(self, sinks):
        for number in range(5):
            created(sinks, email=f"{number}@example.com")

        first = self.search(sinks, limit=3).json()
        after = first["paging"]["next"]["after"]
        second = self.search(sinks, limit=3, after=after).json()

        assert [len(first["results"]), len(second["results"])] == [3, 2]
        assert "paging" not in second

    def test_lags_behind_if_a_test_wants_it(self, sinks):
        sinks.tell("hubspot", search_lag_seconds=60)
        contact = created(sinks, email="ada@example.com")

        assert self.search(sinks).json()["total"] == 0
        assert call(sinks, "GET", f"{CONTACTS}/{contact['id']}").status_code == 200

    @pytest.mark.parametrize(
        "wish",
        [
            {"propertyName": "shoe_size", "operator": "EQ", "value": "42"},
            {"propertyName": "email", "operator": "RHYMES_WITH", "value": "x"},
        ],
    )
    def test_knows_its_properties_and_operators(self, sinks, wish):
        created(sinks, email="ada@example.com")

        refused(self.search(sinks, wish), 400)


class TestAssociations:
    def pair(self, sinks):
        return created(sinks, email="ada@example.com")["id"], created(sinks, DEALS, dealname="A")[
            "id"
        ]

    def of_deal(self, sinks, deal):
        found = call(sinks, "GET", f"/hubspot/crm/v4/objects/deals/{deal}/associations/contacts")
        return [one["toObjectId"] for one in found.json()["results"]]

    def test_are_kept_both_ways_and_once(self, sinks):
        contact, deal = self.pair(sinks)
        path = f"/hubspot/crm/v4/objects/deals/{deal}/associations/default/contacts/{contact}"

        answers = [call(sinks, "PUT", path) for _ in range(2)]

        assert [answer.status_code for answer in answers] == [200, 200]
        specs = [one["associationSpec"] for one in answers[0].json()["results"]]
        assert [spec["associationTypeId"] for spec in specs] == [3, 4]
        assert self.of_deal(sinks, deal) == [int(contact)]
        back = call(sinks, "GET", f"/hubspot/crm/v4/objects/contacts/{contact}/associations/deals")
        assert back.json()["results"] == [
            {
                "toObjectId": int(deal),
                "associationTypes": [{"category": "HUBSPOT_DEFINED", "typeId": 4, "label": None}],
            }
        ]

    def test_by_type(self, sinks):
        contact, deal = self.pair(sinks)
        path = f"/hubspot/crm/v4/objects/deals/{deal}/associations/contacts/{contact}"
        spec = {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 3}

        assert call(sinks, "PUT", path, [spec]).status_code == 201
        refused(call(sinks, "PUT", path, [{**spec, "associationTypeId": 4}]), 400)
        assert self.of_deal(sinks, deal) == [int(contact)]
        assert call(sinks, "DELETE", path).status_code == 204
        assert self.of_deal(sinks, deal) == []

    def test_come_with_a_new_deal(self, sinks):
        contact = created(sinks, email="ada@example.com")["id"]
        spec = {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 3}
        wish = {
            "properties": {"dealname": "A"},
            "associations": [{"to": {"id": contact}, "types": [spec]}],
        }
        deal = call(sinks, "POST", DEALS, wish).json()["id"]
        wish["associations"][0]["to"]["id"] = "99999"

        assert self.of_deal(sinks, deal) == [int(contact)]
        refused(call(sinks, "POST", DEALS, wish), 400)
        assert len(sinks.received("hubspot", kind="deals").items) == 1

    def test_in_a_batch(self, sinks):
        contact, deal = self.pair(sinks)
        path = "/hubspot/crm/v4/associations/deals/contacts/batch/associate/default"
        ends = {"from": {"id": deal}, "to": {"id": contact}}

        assert call(sinks, "POST", path, {"inputs": [ends]}).json()["status"] == "COMPLETE"
        assert self.of_deal(sinks, deal) == [int(contact)]
        wrong = {"inputs": [{**ends, "to": {"id": "99999"}}]}
        refused(call(sinks, "POST", path, wrong), 404, "OBJECT_NOT_FOUND")

    def test_go_with_the_contact(self, sinks):
        contact, deal = self.pair(sinks)
        call(
            sinks,
            "PUT",
            f"/hubspot/crm/v4/objects/deals/{deal}/associations/default/contacts/{contact}",
        )

        call(sinks, "POST", f"{CONTACTS}/gdpr-delete", {"objectId": contact})

        assert self.of_deal(sinks, deal) == []


class TestAccess:
    def test_needs_the_token(self, sinks):
        answer = call(sinks, "GET", CONTACTS, None, {"Authorization": "Bearer wrong"})

        assert refused(answer, 401, "INVALID_AUTHENTICATION").startswith("Authentication cred")

    def test_too_many_calls_in_the_documented_form(self, sinks):
        sinks.fail("hubspot", "status", status=429, retry_after=10)

        answer = create(sinks, email="ada@example.com")

        assert answer.headers["Retry-After"] == "10"
        assert answer.json()["errorType"] == "RATE_LIMIT"
        assert answer.json()["policyName"] == "SECONDLY"

    @pytest.mark.parametrize(
        ("method", "path", "body", "status"),
        [
            ("POST", CONTACTS, [], 400),
            ("POST", CONTACTS, {"properties": []}, 400),
            ("POST", CONTACTS, {"properties": {}}, 400),
            ("POST", CONTACTS, {"properties": {"email": {}}}, 400),
            ("GET", f"{CONTACTS}?limit=x", None, 400),
            ("POST", f"{CONTACTS}/search", {"limit": 1_000}, 400),
            ("POST", f"{CONTACTS}/batch/upsert", {"inputs": [7]}, 400),
            ("POST", f"{CONTACTS}/batch/upsert", {"inputs": [{"id": "a"}]}, 400),
            ("POST", f"{CONTACTS}/batch/dance", {"inputs": [{}]}, 404),
            ("POST", f"{CONTACTS}/gdpr-delete", {}, 400),
            ("POST", "/hubspot/crm/v3/objects/unicorns", {"properties": {}}, 400),
            ("GET", "/hubspot/crm/v9/objects/contacts", None, 404),
        ],
    )
    def test_says_what_is_wrong(self, sinks, method, path, body, status):
        answer = call(sinks, method, path, body)

        assert answer.status_code == status
        assert answer.json()["message"]

    def test_lists_in_pages(self, sinks):
        made = [created(sinks, email=f"{number}@example.com")["id"] for number in range(3)]

        first = call(sinks, "GET", f"{CONTACTS}?limit=2").json()
        after = first["paging"]["next"]["after"]
        second = call(sinks, "GET", f"{CONTACTS}?limit=2&after={after}").json()

        assert [one["id"] for one in first["results"] + second["results"]] == made
        assert "paging" not in second
