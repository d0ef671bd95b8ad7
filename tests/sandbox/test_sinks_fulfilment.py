"""The warehouse's system sells labels, each once, beside taking events."""

import pytest

from tests.sandbox.sink_calls import call, event, http, post, refusal


def wish(**changes):
    return {
        "id": "label-1",
        "order_number": "ABC",
        "service": "",
        "weight_grams": 1_500,
        "size_mm": None,
        "address": {"name": "Ada", "country": "US"},
        "items": [{"sku": "A-1", "quantity": 2}],
        **changes,
    }


def buy(sinks, key="label-1", **changes):
    body = wish(**{"id": key, **changes})
    return call(sinks, "POST", "/fulfilment/labels", body, {"Idempotency-Key": key})


def test_events_are_taken_like_everywhere(sinks):
    assert post(sinks, "fulfilment", event()).json()["status"] == "accepted"
    assert call(sinks, "POST", "/crm/labels", wish(), {}).status_code == 404


def test_a_label_is_sold_once(sinks):
    first, second = buy(sinks), buy(sinks)

    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert (first.json()["amount"], first.json()["currency"]) == ("5.80", "USD")
    received = sinks.received("fulfilment", kind="labels")
    assert received.bodies == [first.json()]
    assert received.duplicates == 1


def test_a_label_is_found_by_its_id(sinks):
    path = "/fulfilment/labels/label-1"
    assert call(sinks, "GET", path).status_code == 404

    sold = buy(sinks, service="express").json()

    assert call(sinks, "GET", path).json() == sold
    assert sold["service"] == "express"
    assert http.get(sold["label_url"]).headers["Content-Type"] == "application/pdf"


def test_a_label_whose_answer_was_lost_is_there(sinks):
    sinks.fail("fulfilment", "status", status=500, applied=True, path="/labels")

    assert buy(sinks).status_code == 500
    assert buy(sinks).status_code == 200
    assert sinks.received("fulfilment").kinds == {"labels": 1}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"service": "rocket"}, "service: must be one of standard, express"),
        ({"weight_grams": 0}, "weight_grams: must be from 1 to 30000"),
        ({"weight_grams": 1.5}, "weight_grams: must be from 1 to 30000"),
        ({"address": {}}, "address: must be an object with a country"),
        ({"items": []}, "items: must be a list and not empty"),
    ],
)
def test_a_label_is_checked(sinks, changes, complaint):
    answer = buy(sinks, **changes)

    assert answer.status_code == 422
    assert refusal(answer) == complaint
    assert sinks.received("fulfilment").kept == 0


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ([], {}, 422),
        (wish(id=7), {}, 422),
        (wish(), {"Idempotency-Key": "another"}, 400),
        (wish(), {"Authorization": "Bearer wrong"}, 401),
    ],
)
def test_says_what_is_wrong(sinks, body, headers, status):
    assert call(sinks, "POST", "/fulfilment/labels", body, headers).status_code == status
