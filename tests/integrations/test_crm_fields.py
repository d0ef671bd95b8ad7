"""Settings of CRM and analytics: which names of fields there are, and what stops the start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from integrations.crm import fields

ROOT = Path(__file__).resolve().parents[2]


class TestNaming:
    def test_of_a_plain_receiver_is_ours(self):
        naming = fields.naming("generic", {})

        assert naming["customer.email"] == "email"
        assert naming["order.total_amount"] == "total_amount"
        assert "order.stage" not in naming

    def test_of_hubspot_is_its_own_properties_where_it_has_some(self):
        naming = fields.naming("hubspot", {})

        assert (naming["customer.first_name"], naming["order.total_amount"]) == (
            "firstname",
            "amount",
        )
        assert naming["order.number"] == "orderkeep_order"

    def test_follows_the_changes(self):
        naming = fields.naming("hubspot", {"customer.phone": "mobilephone", "customer.tier": None})

        assert naming["customer.phone"] == "mobilephone"
        assert "customer.tier" not in naming

    @pytest.mark.parametrize("adapter", fields.ADAPTERS)
    def test_as_it_is_has_no_problem(self, adapter):
        assert fields.problem_with(adapter, {}) == ""


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"customer.shoe_size": "x"}, "'customer.shoe_size' is none of customer.number"),
        ({"order.number": None}, "order.number cannot be left out"),
        ({"customer.email": None}, "customer.email cannot be left out"),
        ({"order.title": "deal name"}, "'deal name' is no name of a field"),
        ({"order.title": ""}, "'' is no name of a field"),
        ({"customer.phone": "email"}, "customer.email and customer.phone would both go into"),
        ({"customer.tier": "orderkeep_guest"}, "customer.guest and customer.tier would both go"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(changes, problem):
    told = fields.problem_with("hubspot", changes)

    assert problem in told
    assert "\n" not in told


def test_the_same_name_of_a_customer_and_an_order_is_fine():
    assert fields.problem_with("generic", {"order.title": "email"}) == ""


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"CRM_FIELDS": "phone"}, "CRM_FIELDS: must be a JSON object of texts"),
        ({"CRM_FIELDS": '{"phone": "x"}'}, "CRM_FIELDS: 'phone' is none of customer.number"),
        ({"CRM_STAGES": '{"lost": "x"}'}, "CRM_STAGES: 'lost' is none of confirmed"),
        ({"CRM_ADAPTER": "salesforce"}, "CRM_ADAPTER: must be one of generic, hubspot"),
        ({"CRM_BASE_URL": "crm.example"}, "CRM_BASE_URL: must look like http"),
        ({"CRM_BASE_URL": "https://crm.example"}, "CRM_TOKEN: is required here and not set"),
        ({"CRM_PER_SECOND": "0"}, "CRM_PER_SECOND: must be a whole number from 1"),
        ({"ANALYTICS_SALT": "short"}, "ANALYTICS_SALT: must be 32 bytes in base64"),
        (
            {
                "ENVIRONMENT": "production",
                "STRIPE_SECRET_KEY": "sk_live_x",
                "STRIPE_API_BASE": "https://api.stripe.com",
                "ANALYTICS_BASE_URL": "https://collector.example",
                "ANALYTICS_TOKEN": "t",
            },
            "ANALYTICS_SALT: is required here and not set",
        ),
        ({"ANALYTICS_BATCH": "101"}, "ANALYTICS_BATCH: must be a whole number from 1 to 100"),
    ],
)
def test_a_mistake_stops_the_start_with_one_line(environment, line):
    known = {
        "SECRET_KEY": "x",
        "DATABASE_URL": "postgres://a:b@127.0.0.1/c",
        "REDIS_URL": "redis://127.0.0.1/0",
        "STRIPE_SECRET_KEY": "sk_test_x",
        "STRIPE_API_BASE": "http://127.0.0.1:1",
    }

    ended = subprocess.run(
        [sys.executable, "-c", "import config.settings.base"],
        cwd=ROOT,
        env=known | environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 1
    [told] = ended.stderr.splitlines()
    assert told.startswith(f"orderkeep: {line}")
