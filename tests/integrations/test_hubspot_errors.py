"""What is told of HubSpot's refusals: codes and our fields, never what stood in them."""

from __future__ import annotations

import json

import pytest

from integrations.crm import fields
from integrations.crm.hubspot_errors import MOST_SHOWN, reason

NAMING = fields.naming("hubspot", {})
CANARY = "ada@canary.example"


def refused(*problems: tuple[str, str], **more):
    listed = [
        {
            "isValid": False,
            "message": f"{CANARY} is invalid",
            "error": code,
            "name": name,
            "localizedErrorMessage": CANARY,
        }
        for name, code in problems
    ]
    message = f"Property values were not valid: {json.dumps(listed)}"
    return {"status": "error", "message": message, "category": "VALIDATION_ERROR", **more}


def told(body) -> str:
    return reason(body, naming=NAMING)


def test_names_code_and_fields():
    body = refused(("email", "INVALID_EMAIL"), ("phone", "INVALID_PHONE"))

    assert told(body) == (
        "VALIDATION_ERROR, customer.email (email): INVALID_EMAIL,"
        " customer.phone (phone): INVALID_PHONE"
    )


def test_names_what_another_record_has_already():
    message = (
        "Cannot set PropertyValueCoordinates{portalId=1, objectTypeId=0-3, objectId=2,"
        f" propertyName=orderkeep_order, value={CANARY}}} on 2. 3 already has that value."
    )

    assert told({"category": "VALIDATION_ERROR", "message": message}) == (
        "VALIDATION_ERROR, order.number (orderkeep_order): NOT_UNIQUE"
    )


def test_reads_the_errors_of_a_batch():
    body = {"status": "COMPLETE", "errors": [refused(("amount", "INVALID_DOUBLE")), "?"]}

    assert told(body) == "VALIDATION_ERROR, order.total_amount (amount): INVALID_DOUBLE"


def test_does_not_name_what_we_have_not_sent():
    assert told(refused(("canary", "INVALID_EMAIL"))) == "VALIDATION_ERROR"


def test_tells_no_more_than_some():
    body = refused(*((theirs, "REQUIRED") for theirs in NAMING.values()))

    assert told(body).count("REQUIRED") == MOST_SHOWN


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        {"message": CANARY},
        {"category": CANARY},
        {"category": [CANARY], "errors": CANARY},
        {"errors": [None, {"message": [CANARY]}]},
        refused(("email", CANARY)),
        refused((CANARY, "INVALID_EMAIL")),
    ],
)
def test_quotes_nobody(body):
    assert "canary" not in told(body)
