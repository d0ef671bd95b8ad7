"""Whatever the sinks are told, they refuse it or take it, and never fail themselves."""

import copy
import random
from typing import Any

import pytest

from tests.sandbox.sink_calls import EVENT, http

ADDRESS = {"street1": "1 Main Street", "zip": "02101", "country": "US"}
OBJECTS, V4 = "/hubspot/crm/v3/objects", "/hubspot/crm/v4"
CALLS = [
    ("/crm/events", EVENT),
    ("/crm/events/batch", {"events": [EVENT]}),
    (
        "/fulfilment/labels",
        {"id": "k", "weight_grams": 5, "address": {"country": "US"}, "items": [1], "service": ""},
    ),
    (f"{OBJECTS}/contacts", {"properties": {"email": "ada@example.com"}}),
    (
        f"{OBJECTS}/deals",
        {
            "properties": {"dealname": "A", "amount": "1"},
            "associations": [
                {
                    "to": {"id": "1"},
                    "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 3}],
                }
            ],
        },
    ),
    *(
        (
            f"{OBJECTS}/contacts/batch/{action}",
            {"inputs": [{"id": "a@example.com", "idProperty": "email", "properties": {}}]},
        )
        for action in ("create", "update", "upsert", "read")
    ),
    (
        f"{OBJECTS}/contacts/search",
        {
            "filterGroups": [
                {"filters": [{"propertyName": "email", "operator": "EQ", "value": "a@b.cc"}]}
            ],
            "limit": 10,
        },
    ),
    (f"{OBJECTS}/contacts/gdpr-delete", {"objectId": "a@example.com", "idProperty": "email"}),
    (
        "/hubspot/crm/v3/properties/deals",
        {
            "name": "size",
            "label": "Size",
            "type": "enumeration",
            "fieldType": "select",
            "groupName": "dealinformation",
            "options": [{"label": "S", "value": "s"}],
        },
    ),
    (
        f"{V4}/associations/deals/contacts/batch/associate/default",
        {"inputs": [{"from": {"id": "1"}, "to": {"id": "2"}}]},
    ),
    (
        "/segment/v1/batch",
        {"batch": [{"type": "track", "event": "e", "userId": "u", "messageId": "m"}]},
    ),
    (
        "/zendesk/api/v2/tickets.json",
        {
            "ticket": {
                "subject": "s",
                "comment": {"body": "b", "public": True},
                "requester": {"name": "Ada", "email": "ada@example.com"},
                "tags": ["x"],
                "status": "open",
            }
        },
    ),
    (
        "/easypost/v2/shipments",
        {
            "shipment": {
                "to_address": ADDRESS,
                "from_address": ADDRESS,
                "parcel": {"weight": 5},
                "reference": "r",
                "options": {},
                "service": "Priority",
            }
        },
    ),
    ("/easypost/v2/trackers", {"tracker": {"tracking_code": "EZ1000000001", "carrier": "USPS"}}),
    ("/easypost/v2/webhooks", {"webhook": {"url": "http://x.example", "webhook_secret": "s"}}),
    ("/easypost/v2/shipments/r/buy", {"rate": {"id": "rate_1"}}),
    ("/_test/faults", {"kind": "status", "receiver": "support", "status": 503, "times": 1}),
]
JUNK: list[Any] = [
    *(None, True, 0, -1, 1.5, 10**30, "", "x", "1" * 300, '"', "a@b.cc", "2026-02-31"),
    *([], {}, [1], ["a"], [{}], [[]], {"id": 1}, {"id": []}, {"a": {"b": [None]}}),
]


def places(document, above=()):
    """Every place inside a document, from the whole of it on."""
    yield above
    inside = document.items() if isinstance(document, dict) else ()
    inside = enumerate(document) if isinstance(document, list) else inside
    for name, value in inside:
        yield from places(value, (*above, name))


def spoiled(document, place, junk):
    """A copy with something else at this place."""
    if not place:
        return junk
    document = copy.deepcopy(document)
    holder = document
    for name in place[:-1]:
        holder = holder[name]
    holder[place[-1]] = junk
    return document


@pytest.mark.parametrize(("path", "good"), CALLS, ids=[path for path, _ in CALLS])
def test_is_answered(sinks, path, good):
    chance = random.Random(path)  # noqa: S311 - the same junk each time
    user = "agent@example.com/token" if path.startswith("/zendesk") else sinks.token
    headers = {"Idempotency-Key": EVENT["id"]}
    is_bearer = not path.startswith(("/zendesk", "/segment", "/easypost"))
    if is_bearer:
        headers["Authorization"] = f"Bearer {sinks.token}"
    for place in places(good):
        for junk in chance.sample(JUNK, 8):
            answer = http.post(
                f"{sinks.url}{path}",
                json=spoiled(good, place, junk),
                headers=headers,
                auth=None if is_bearer else (user, sinks.token),
            )
            assert answer.status_code < 500, (place, junk, answer.text)
