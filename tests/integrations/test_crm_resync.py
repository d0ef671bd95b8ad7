"""A full re-sync: everything as it is now, once, at any time, and gone on with where it ended."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from config.kernel.clock import Deadline
from customers.models import Customer
from customers.privacy import erase_account
from integrations.crm import adapter
from integrations.crm.resync import Place, resync
from orders.models import Order
from tests import factories
from tests.admin import rows
from tests.integrations.told import (
    only_these_subscribers,
    paid_order,
    refund,
    relay_until_told,
    state,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def hubspot(settings, sinks, monkeypatch):
    settings.CRM_BASE_URL, settings.CRM_TOKEN = sinks.base_url("hubspot"), sinks.token
    settings.CRM_ADAPTER = "hubspot"
    settings.CRM_PER_SECOND = 1_000
    only_these_subscribers(monkeypatch, "crm")
    adapter.chosen(deadline=Deadline(30.0)).prepare()
    return sinks


@pytest.fixture
def generic(settings, sinks, monkeypatch):
    sinks.configure(settings, "crm")
    settings.CRM_PER_SECOND = 1_000
    only_these_subscribers(monkeypatch, "crm")
    return sinks


def at_once(**options):
    """Without waiting for anything."""
    return resync(pause=lambda _: None, **options)


def kept(hubspot, kind: str, key: str) -> dict[str, dict[str, Any]]:
    bodies = hubspot.received("hubspot", kind=kind).bodies
    return {body["properties"].get(key): body["properties"] for body in bodies}


def ties(hubspot) -> int:
    return hubspot.received("hubspot").kinds.get("associations", 0) // 2


class TestHubSpot:
    def test_tells_everything_in_a_few_calls(self, hubspot):
        orders = [paid_order(n) for n in range(1, 31)]
        verified = factories.CustomerFactory(email_verified=True)
        factories.CustomerFactory()  # nobody yet
        rows.make_order(40)  # never paid
        before = len(hubspot.journal(receiver="hubspot"))

        outcome = at_once()

        assert (outcome.customers, outcome.orders) == (31, 30)
        assert (outcome.failed, outcome.problem) == (0, "")
        assert outcome.done == Place("orders", orders[-1].pk)
        assert kept(hubspot, "deals", "orderkeep_order").keys() == {
            order.order_number for order in orders
        }
        assert kept(hubspot, "contacts", "orderkeep_customer").keys() == {
            str(verified.pk),
            *(str(order.customer_id) for order in orders),
        }
        assert ties(hubspot) == 30
        assert len(hubspot.journal(receiver="hubspot")) - before == 5

    def test_again_changes_nothing_and_doubles_nothing(self, hubspot):
        for n in range(1, 6):
            state("order.confirmed", paid_order(n))
        relay_until_told()
        before = hubspot.received("hubspot").kinds

        first, second = at_once(), at_once()

        assert (first.orders, second.orders) == (5, 5)
        assert hubspot.received("hubspot").kinds == before

    def test_one_record_that_is_refused_holds_up_no_other(self, hubspot):
        orders = [paid_order(n) for n in range(1, 6)]
        poison = orders[2].customer_id
        Customer.objects.filter(pk=poison).update(email="no-address-at-all")

        outcome = at_once()

        assert (outcome.customers, outcome.failed) == (4, 2)
        [customer, order] = outcome.refused
        why = "VALIDATION_ERROR, customer.email (email): INVALID_EMAIL"
        assert customer.startswith(f"customer {poison}: HubSpot answered 400 to POST")
        assert order.startswith(f"order {orders[2].order_number}: HubSpot answered 400 to POST")
        assert customer.endswith(why)
        assert order.endswith(why)
        assert len(kept(hubspot, "deals", "orderkeep_order")) == 5
        assert ties(hubspot) == 4

    def test_gives_a_customers_number_to_the_contact_that_is_there(self, hubspot):
        known = factories.CustomerFactory(email_verified=True)
        others = [factories.CustomerFactory(email_verified=True) for _ in range(3)]
        state("customer.email_verified", known)
        relay_until_told()
        Customer.objects.filter(pk=known.pk).update(email="moved@example.com")
        Customer.objects.filter(pk=others[0].pk).update(email=known.email)

        outcome = at_once()

        assert (outcome.customers, outcome.failed) == (4, 0)
        contacts = kept(hubspot, "contacts", "orderkeep_customer")
        assert contacts[str(known.pk)]["email"] == "moved@example.com"
        assert contacts[str(others[0].pk)]["email"] == known.email

    def test_forgets_whom_the_shop_has_erased(self, hubspot):
        erased, living = paid_order(1), paid_order(2)
        at_once()
        erase_account(customer_id=erased.customer_id, at=timezone.now())

        outcome = at_once()

        assert outcome.failed == 0
        assert kept(hubspot, "contacts", "orderkeep_customer").keys() == {str(living.customer_id)}
        assert len(kept(hubspot, "deals", "orderkeep_order")) == 2

    def test_finds_guests_if_they_are_wanted(self, hubspot, settings):
        settings.CRM_GUESTS = True
        for n in range(1, 4):
            paid_order(n, guest_email=f"guest{n}@example.com", guest_first_name="Grace")

        outcome = at_once()

        assert (outcome.orders, ties(hubspot)) == (3, 3)

    def test_of_orders_alone_makes_the_buyers_that_are_missing(self, hubspot):
        orders = [paid_order(n) for n in range(1, 4)]

        outcome = at_once(after=Place("orders", 0))

        assert (outcome.customers, outcome.orders, outcome.failed) == (0, 3, 0)
        assert ties(hubspot) == len(orders)

    def test_tells_again_what_changed_while_it_was_told(self, hubspot, monkeypatch):
        orders = [paid_order(n) for n in range(1, 4)]
        give = adapter.HubSpot.keep_orders

        def slowly(self, told, occasion):
            give(self, told, occasion)
            if len(told) > 1:
                Order.objects.filter(pk=orders[1].pk).update(status="cancelled")

        monkeypatch.setattr(adapter.HubSpot, "keep_orders", slowly)

        outcome = at_once()

        assert outcome.orders == 3
        deal = kept(hubspot, "deals", "orderkeep_order")[orders[1].order_number]
        assert deal["orderkeep_status"] == "cancelled"

    def test_survives_a_storm(self, hubspot):
        orders = [paid_order(n) for n in range(1, 9)]
        for fault in (
            {"kind": "status", "status": 503},
            {"kind": "status", "status": 429, "retry_after": 1},
            {"kind": "answer_lost"},
            {"kind": "drop", "reset": True},
        ):
            hubspot.fail("hubspot", times=None, probability=0.1, seed=5, **fault)

        outcome = at_once()
        hubspot.clear_faults()
        if outcome.problem:
            outcome = at_once(after=outcome.done)

        assert (outcome.failed, outcome.problem) == (0, "")
        assert len(kept(hubspot, "deals", "orderkeep_order")) == len(orders)
        assert len(kept(hubspot, "contacts", "orderkeep_customer")) == len(orders)
        assert ties(hubspot) == len(orders)


class TestPace:
    def test_is_that_of_the_setting_and_waits_as_long_as_it_is_asked_to(self, generic, settings):
        settings.CRM_PER_SECOND = 10
        paid_order()
        generic.fail("crm", "status", status=429, retry_after=7)
        waited: list[float] = []

        outcome = resync(pause=waited.append)

        assert (outcome.customers, outcome.orders, outcome.problem) == (1, 1, "")
        assert 7.0 in waited
        assert len([seconds for seconds in waited if 0 < seconds <= 0.1]) == 3


@pytest.mark.django_db(transaction=True)
class TestSince:
    def test_tells_what_has_changed_and_money_given_back(self, generic):
        old, refunded = paid_order(1), paid_order(2)
        refund(refunded, "1.00")
        moment = timezone.now()
        refund(refunded, "1.00")

        outcome = at_once(since=moment)

        assert (outcome.customers, outcome.orders) == (0, 1)
        [body] = generic.received("crm").bodies
        assert body["data"]["order_number"] == refunded.order_number != old.order_number
        assert body["type"] == "order.synced"
        assert body["data"]["order"]["refunded_amount"] == "2.00"


class TestCommand:
    def run(self, capsys, *arguments):
        code = 0
        try:
            call_command("sync_crm", *arguments)
        except SystemExit as exc:
            code = exc.code
        except CommandError as exc:
            return exc.returncode, str(exc)
        return code, capsys.readouterr().out

    def test_says_what_was_told(self, hubspot, capsys):
        paid_order()

        assert self.run(capsys) == (0, "1 customers and 1 orders were told.\n")

    def test_says_which_records_were_refused(self, hubspot, capsys):
        order = paid_order()
        Customer.objects.filter(pk=order.customer_id).update(email="no-address-at-all")

        code, said = self.run(capsys, "--json")

        told = json.loads(said)
        assert code == 1
        assert (told["customers"], told["failed"], told["done_up_to"]) == (
            0,
            2,
            f"orders:{order.pk}",
        )
        assert "no-address" not in said

    def test_says_where_to_go_on(self, generic, capsys, monkeypatch):
        monkeypatch.setattr("integrations.crm.resync.LONGEST_PAUSE_SECONDS", 0.0)
        orders = [paid_order(n) for n in (1, 2)]
        generic.fail("crm", "status", times=None, status=503, contains=orders[1].order_number)

        code, said = self.run(capsys)

        assert code == 1
        assert f"Go on with --after orders:{orders[0].pk}." in said
        generic.clear_faults()
        assert self.run(capsys, "--after", f"orders:{orders[0].pk}") == (
            0,
            "0 customers and 1 orders were told.\n",
        )

    def test_prepares(self, hubspot, capsys, sinks):
        sinks.reset()

        code, said = self.run(capsys, "--prepare", "--json")

        assert code == 0
        assert "deals.orderkeep_order" in json.loads(said)["made"]
        assert self.run(capsys, "--prepare") == (0, "Nothing had to be made.\n")

    def test_without_a_crm_says_so(self, settings, capsys):
        settings.CRM_BASE_URL = ""

        assert self.run(capsys) == (2, "no CRM is named: set CRM_BASE_URL")

    def test_that_nobody_answers_says_so(self, settings, capsys):
        settings.CRM_BASE_URL, settings.CRM_TOKEN = "http://127.0.0.1:9", "x"
        settings.CRM_ADAPTER = "hubspot"

        code, said = self.run(capsys, "--prepare")

        assert code == 2
        assert said.startswith("HubSpot did not answer GET /crm/v3/properties/contacts")
