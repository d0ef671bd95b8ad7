"""HubSpot as documented: a contact a customer, a deal an order, whatever is repeated or lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.utils import timezone

from audit import outbox
from audit.models import AuditLog, Delivery
from config.kernel.clock import Deadline
from customers.models import Customer
from customers.privacy import erase_account
from integrations.crm import adapter, deliver
from orders.models import Order
from tests import factories
from tests.integrations.told import (
    make_due,
    only_these_subscribers,
    outcomes,
    paid_order,
    refund,
    relay_for_a_while,
    relay_until_told,
    state,
)

pytestmark = pytest.mark.django_db

CONTACTS = "/hubspot/crm/v3/objects/contacts"


@pytest.fixture(autouse=True)
def hubspot(settings, sinks, monkeypatch):
    settings.CRM_BASE_URL, settings.CRM_TOKEN = sinks.base_url("hubspot"), sinks.token
    settings.CRM_ADAPTER = "hubspot"
    settings.CRM_PER_SECOND = 1_000
    only_these_subscribers(monkeypatch, "crm")
    crm().prepare()
    return sinks


def crm():
    return adapter.chosen(deadline=Deadline(30.0))


def contacts(hubspot) -> list[dict[str, Any]]:
    return [body["properties"] for body in hubspot.received("hubspot", kind="contacts").bodies]


def deals(hubspot) -> list[dict[str, Any]]:
    return [body["properties"] for body in hubspot.received("hubspot", kind="deals").bodies]


def ties(hubspot) -> set[tuple[str, str]]:
    """Which order is tied to which contact: the order's number, the contact's id."""
    numbers = {
        body["id"]: body["properties"]["orderkeep_order"]
        for body in hubspot.received("hubspot", kind="deals").bodies
    }
    return {
        (numbers[body["from"][1]], body["to"][1])
        for body in hubspot.received("hubspot", kind="associations").bodies
        if body["from"][0] == "deals"
    }


def forgotten(hubspot) -> list[Any]:
    """What HubSpot was asked to delete for good."""
    return [
        json.loads(call["body"])
        for call in hubspot.journal(receiver="hubspot")
        if call["path"].endswith("/gdpr-delete")
    ]


def make_contact(hubspot, **properties) -> str:
    """What somebody typed in at HubSpot."""
    answer = hubspot._http.request(
        "POST",
        f"{hubspot.url}{CONTACTS}",
        json={"properties": properties},
        headers={"Authorization": f"Bearer {hubspot.token}"},
    )
    assert answer.status == 201, answer.data
    return answer.json()["id"]


class TestPrepare:
    def test_makes_what_is_missing_and_repeating_it_makes_nothing(self, hubspot):
        made = {
            body["name"]: body for body in hubspot.received("hubspot", kind="properties").bodies
        }

        assert made["orderkeep_customer"]["hasUniqueValue"] is True
        assert made["orderkeep_order"]["hasUniqueValue"] is True
        assert made["orderkeep_refunded_amount"]["type"] == "number"
        assert made["orderkeep_email_verified"]["type"] == "bool"
        assert made["orderkeep_guest"]["type"] == "bool"
        assert not {"email", "firstname", "amount", "dealname"} & made.keys()
        assert crm().prepare() == []

    def test_refuses_a_key_that_is_not_unique(self, settings):
        settings.CRM_FIELDS = {"order.number": "dealname"}
        settings.CRM_FIELDS["order.title"] = None

        with pytest.raises(outbox.RejectedError, match="dealname of deals does not hold unique"):
            crm().prepare()


class TestOrder:
    def test_is_a_deal_tied_to_its_buyer(self, hubspot):
        order = paid_order()
        state("order.confirmed", order)

        relay_until_told()

        [contact], [deal] = contacts(hubspot), deals(hubspot)
        assert contact["orderkeep_customer"] == str(order.customer_id)
        assert contact["email"] == order.customer.email
        assert contact["firstname"] == "Ann"
        assert contact["orderkeep_marketing_consent"] == "false"
        assert deal["orderkeep_order"] == order.order_number
        assert deal["dealname"] == f"Order {order.order_number}"
        assert (deal["amount"], deal["orderkeep_currency"]) == ("25.66", "USD")
        assert (deal["pipeline"], deal["dealstage"]) == ("default", "closedwon")
        assert ties(hubspot) == {(order.order_number, contact["hs_object_id"])}

    def test_shows_what_was_given_back(self, hubspot):
        order = paid_order()
        state("order.confirmed", order)
        refund(order, "5.00")

        relay_until_told()

        [deal] = deals(hubspot)
        assert deal["orderkeep_refunded_amount"] == "5.00"
        assert deal["orderkeep_payment_status"] == "partially_refunded"
        assert deal["amount"] == "25.66"

    def test_that_is_cancelled_is_lost(self, hubspot):
        order = paid_order()
        state("order.confirmed", order)
        relay_until_told()
        Order.objects.filter(pk=order.pk).update(status="cancelled")
        state("order.cancelled", order)

        relay_until_told()

        [deal] = deals(hubspot)
        assert (deal["dealstage"], deal["orderkeep_status"]) == ("closedlost", "cancelled")

    def test_holds_nothing_personal(self, hubspot):
        order = paid_order()
        state("order.confirmed", order)

        relay_until_told()

        told = str(deals(hubspot))
        for personal in (order.customer.email, "Ann", "Lee", "Main St", "Springfield"):
            assert personal not in told

    def test_needs_three_calls_once_its_buyer_is_known(self, hubspot):
        order = paid_order()
        state("order.confirmed", order)
        relay_until_told()
        known = len(hubspot.journal(receiver="hubspot"))
        state("shipment.sent", order, shipment=1)

        relay_until_told()

        assert len(hubspot.journal(receiver="hubspot")) - known == 3

    def test_goes_into_the_stage_that_the_shop_has_for_it(self, hubspot, settings):
        settings.CRM_STAGES = settings.CRM_STAGES | {"confirmed": "contractsent"}
        state("order.confirmed", paid_order())

        relay_until_told()

        assert deals(hubspot)[0]["dealstage"] == "contractsent"


class TestAddressThatIsThereAlready:
    def test_is_the_customers_own_from_before_and_gets_their_number(self, hubspot):
        customer = factories.CustomerFactory(email_verified=True)
        lead = make_contact(hubspot, email=customer.email, firstname="Addie", company="Acme")
        state("customer.email_verified", customer)

        relay_until_told()

        [contact] = contacts(hubspot)
        assert contact["hs_object_id"] == lead
        assert contact["orderkeep_customer"] == str(customer.pk)
        assert (contact["firstname"], contact["company"]) == ("Ada", "Acme")

    def test_is_not_changed_by_whoever_has_not_shown_that_it_is_theirs(self, hubspot):
        order = paid_order()
        lead = make_contact(hubspot, email=order.customer.email, firstname="Boss")
        state("order.confirmed", order)

        relay_until_told()

        [contact] = contacts(hubspot)
        assert (contact["firstname"], contact.get("orderkeep_customer")) == ("Boss", None)
        assert ties(hubspot) == {(order.order_number, lead)}

    def test_is_freed_by_a_customer_who_has_another_one_now(self, hubspot):
        former = factories.CustomerFactory(email="shared@example.com", email_verified=True)
        state("customer.email_verified", former)
        relay_until_told()
        Customer.objects.filter(pk=former.pk).update(email="moved@example.com")
        present = factories.CustomerFactory(email="shared@example.com", email_verified=True)
        state("customer.email_verified", present)

        relay_until_told()

        assert {each["orderkeep_customer"]: each["email"] for each in contacts(hubspot)} == {
            str(former.pk): "moved@example.com",
            str(present.pk): "shared@example.com",
        }

    def test_may_be_swapped_by_two(self, hubspot):
        one = factories.CustomerFactory(email="one@example.com", email_verified=True)
        two = factories.CustomerFactory(email="two@example.com", email_verified=True)
        for each in (one, two):
            state("customer.email_verified", each)
        relay_until_told()
        Customer.objects.filter(pk=one.pk).update(email="three@example.com")
        Customer.objects.filter(pk=two.pk).update(email="one@example.com")
        Customer.objects.filter(pk=one.pk).update(email="two@example.com")
        state("account.email_changed", one, email_address_id=1)

        relay_until_told()

        assert {each["orderkeep_customer"]: each["email"] for each in contacts(hubspot)} == {
            str(one.pk): "two@example.com",
            str(two.pk): "one@example.com",
        }

    def test_of_two_contacts_one_of_which_is_the_customers_is_for_a_person(self, hubspot):
        customer = factories.CustomerFactory(email_verified=True)
        state("customer.email_verified", customer)
        relay_until_told()
        lead = make_contact(hubspot, email="new@example.com")
        Customer.objects.filter(pk=customer.pk).update(email="new@example.com")
        state("account.email_changed", customer, email_address_id=1)

        relay_until_told()

        error = Delivery.objects.get(status="dead").last_error
        assert error.startswith(f"customer {customer.pk}: HubSpot's contact {lead} has the e-mail")
        assert "merge" in error
        assert "new@example.com" not in error


class TestGuest:
    @pytest.fixture(autouse=True)
    def _wanted(self, settings):
        settings.CRM_GUESTS = True

    def guests_order(self, n=1, **fields):
        return paid_order(
            n, **{"guest_email": "grace@example.com", "guest_first_name": "Grace"} | fields
        )

    def test_is_a_contact_without_a_number(self, hubspot):
        order = self.guests_order()
        state("order.confirmed", order)

        relay_until_told()

        [contact] = contacts(hubspot)
        assert (contact["email"], contact["firstname"]) == ("grace@example.com", "Grace")
        assert contact["orderkeep_guest"] == "true"
        assert "orderkeep_customer" not in contact
        assert ties(hubspot) == {(order.order_number, contact["hs_object_id"])}

    def test_says_nothing_of_somebody_who_is_there(self, hubspot):
        customer = factories.CustomerFactory(email="grace@example.com", email_verified=True)
        state("customer.email_verified", customer)
        relay_until_told()
        order = self.guests_order(guest_first_name="Mallory")
        state("order.confirmed", order)

        relay_until_told()

        [contact], [deal] = contacts(hubspot), deals(hubspot)
        assert contact["firstname"] == customer.first_name
        assert deal["orderkeep_order"] == order.order_number
        assert ties(hubspot) == set()

    def test_whose_order_is_claimed_is_the_customer(self, hubspot):
        order = self.guests_order()
        state("order.confirmed", order)
        relay_until_told()
        customer = factories.CustomerFactory(email="grace@example.com", email_verified=True)
        Order.objects.filter(pk=order.pk).update(customer=customer)
        state("order.claimed", order)

        relay_until_told()

        [contact] = contacts(hubspot)
        assert contact["orderkeep_customer"] == str(customer.pk)
        assert ties(hubspot) == {(order.order_number, contact["hs_object_id"])}

    def test_is_forgotten_with_the_last_of_their_orders(self, hubspot):
        first, second = self.guests_order(1), self.guests_order(2)
        for order in (first, second):
            state("order.confirmed", order)
        relay_until_told()

        for order, left in ((first, 1), (second, 0)):
            self.erase(order)
            assert len(contacts(hubspot)) == left

        assert len(deals(hubspot)) == 2
        assert ties(hubspot) == set()

    def test_whose_address_the_shops_people_had_before_leaves_that_contact_alone(self, hubspot):
        """A lead that somebody ordered under: the shop forgets the tie, and deletes nobody."""
        lead = make_contact(hubspot, email="grace@example.com", firstname="Grace", company="Acme")
        order = self.guests_order()
        state("order.confirmed", order)
        relay_until_told()
        assert ties(hubspot) == {(order.order_number, lead)}

        self.erase(order)

        assert [each["hs_object_id"] for each in contacts(hubspot)] == [lead]
        assert ties(hubspot) == set()

    def test_who_was_not_who_they_said_deletes_nobody(self, hubspot):
        """Somebody with an account ordered under an address that they have never verified."""
        order = paid_order()
        lead = make_contact(hubspot, email=order.customer.email, company="Acme")
        state("order.confirmed", order)
        relay_until_told()
        erase_account(customer_id=order.customer_id, at=timezone.now())
        Order.objects.filter(pk=order.pk).update(erased_at=timezone.now())
        state("order.erased", order)

        relay_until_told()

        assert [each["hs_object_id"] for each in contacts(hubspot)] == [lead]
        assert ties(hubspot) == set()

    def erase(self, order):
        Order.objects.filter(pk=order.pk).update(
            guest_email="erased@example.invalid", guest_first_name="", erased_at=timezone.now()
        )
        state("order.erased", order)
        relay_until_told()


class TestErasure:
    def test_has_the_contact_deleted_for_good_and_keeps_the_deal(self, hubspot):
        order = paid_order()
        state("order.confirmed", order)
        relay_until_told()
        contact = contacts(hubspot)[0]["hs_object_id"]
        erase_account(customer_id=order.customer_id, at=timezone.now())

        relay_until_told()
        state("order.refunded", order)
        relay_until_told()

        assert contacts(hubspot) == []
        assert len(deals(hubspot)) == 1
        # Found by our number first, then deleted by HubSpot's own id, once.
        assert forgotten(hubspot) == [{"objectId": contact}]

    def test_while_the_contact_is_told_wins(self, hubspot, monkeypatch):
        order = paid_order()
        give = adapter.HubSpot.keep_orders

        def slowly(self, orders, occasion):
            give(self, orders, occasion)
            monkeypatch.setattr(adapter.HubSpot, "keep_orders", give)
            erase_account(customer_id=order.customer_id, at=timezone.now())

        monkeypatch.setattr(adapter.HubSpot, "keep_orders", slowly)
        state("order.confirmed", order)

        outbox.relay(limit=1)

        assert contacts(hubspot) == []

    def test_of_somebody_who_was_never_told_is_done(self, hubspot):
        customer = factories.CustomerFactory()
        erase_account(customer_id=customer.pk, at=timezone.now())

        relay_until_told()

        assert outcomes() == [("delivered", "")]
        assert forgotten(hubspot) == []


class TestOrderOfArrival:
    def test_does_not_matter(self, hubspot):
        order = paid_order()
        stale = state("order.confirmed", order)
        hubspot.fail("hubspot", "status", status=503, path="/crm/v3/objects/deals/**")
        outbox.relay()
        Delivery.objects.filter(message=stale).update(status="dead")
        refund(order, "25.66")
        Order.objects.filter(pk=order.pk).update(status="cancelled")
        make_due()
        relay_until_told()

        outbox.retry(include_dead=True)
        relay_until_told()

        [deal] = deals(hubspot)
        assert deal["orderkeep_status"] == "cancelled"
        assert deal["orderkeep_refunded_amount"] == "25.66"

    def test_of_two_deliveries_about_one_customer_the_newer_state_stays(self, hubspot, monkeypatch):
        customer = factories.CustomerFactory(email_verified=True)
        message = state("customer.email_verified", customer)
        give = adapter.HubSpot.keep_contacts

        def overtaken(self, contacts, occasion):
            monkeypatch.setattr(adapter.HubSpot, "keep_contacts", give)
            Customer.objects.filter(pk=customer.pk).update(last_name="Newer")
            assert deliver.tell(message) is None  # the other one, which has read what is newer
            give(self, contacts, occasion)

        monkeypatch.setattr(adapter.HubSpot, "keep_contacts", overtaken)

        relay_until_told()

        assert contacts(hubspot)[0]["lastname"] == "Newer"


class TestRefusal:
    def test_names_record_and_field_and_quotes_nobody(self, hubspot, caplog):
        caplog.set_level("DEBUG")
        order = paid_order()
        Customer.objects.filter(pk=order.customer_id).update(email="no-address-at-all")
        state("order.confirmed", order)
        sound = paid_order(2)
        state("order.confirmed", sound)

        relay_until_told()

        dead = Delivery.objects.get(status="dead")
        assert dead.last_error == (
            f"order {order.order_number}: HubSpot answered 400 to POST /crm/v3/objects/contacts:"
            " VALIDATION_ERROR, customer.email (email): INVALID_EMAIL"
        )
        assert len(deals(hubspot)) == 2  # what was sold is told, whoever has bought it
        assert {number for number, _ in ties(hubspot)} == {sound.order_number}
        on_record = AuditLog.objects.get(event_type="POST_ORDER_ERROR")
        assert on_record.entity_id == order.pk
        assert "no-address" not in str(on_record.data) + caplog.text

    def test_of_an_account_that_is_not_prepared_says_which_property_is_missing(
        self, hubspot, settings
    ):
        settings.CRM_FIELDS = {"order.currency": "nowhere"}
        state("order.confirmed", paid_order())

        relay_until_told()

        assert Delivery.objects.get(status="dead").last_error.endswith(
            "VALIDATION_ERROR, order.currency (nowhere): PROPERTY_DOESNT_EXIST"
        )

    @pytest.mark.parametrize(("status", "wait"), [(401, None), (429, 3), (500, None)])
    def test_of_everything_is_no_fault_of_the_order(self, hubspot, status, wait):
        hubspot.fail("hubspot", "status", status=status, retry_after=wait)
        state("order.confirmed", paid_order())

        outbox.relay()

        [(state_of_it, error)] = outcomes()
        assert state_of_it == "pending"
        assert error.startswith(f"HubSpot answered {status} to POST")
        make_due()
        relay_until_told()
        assert len(deals(hubspot)) == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "answer_lost"},
        {"kind": "answer_lost", "reset": True},
        {"kind": "hang", "seconds": 0.2},
        {"kind": "status", "status": 502, "applied": True},
        {"kind": "status", "status": 503},
        {"kind": "junk", "form": "html"},
        {"kind": "junk", "form": "empty"},
        {"kind": "junk", "form": "list"},
        {"kind": "junk", "form": "truncated"},
        {"kind": "drop"},
    ],
    ids=lambda fault: "-".join(str(value) for value in fault.values()),
)
@pytest.mark.parametrize("call", range(4))
def test_whatever_goes_wrong_at_any_call_each_is_there_once(hubspot, fault, call):
    order = paid_order()
    state("order.confirmed", order)
    hubspot.fail("hubspot", skip=call, **fault)

    relay_until_told()

    assert [each["orderkeep_customer"] for each in contacts(hubspot)] == [str(order.customer_id)]
    assert [each["orderkeep_order"] for each in deals(hubspot)] == [order.order_number]
    assert len(ties(hubspot)) == 1
    assert outcomes() == [("delivered", "")]


def test_a_storm_leaves_both_sides_equal(hubspot, settings):
    settings.CRM_GUESTS = True
    orders = [paid_order(n) for n in range(1, 13)]
    orders += [paid_order(n, guest_email=f"guest{n}@example.com") for n in range(13, 16)]
    for fault in (
        {"kind": "status", "status": 500, "applied": True},
        {"kind": "status", "status": 503},
        {"kind": "status", "status": 429, "retry_after": 1},
        {"kind": "answer_lost"},
        {"kind": "drop", "reset": True},
        {"kind": "hang", "seconds": 0.1},
        {"kind": "junk", "form": "html"},
    ):
        hubspot.fail("hubspot", times=None, probability=0.04, seed=3, **fault)
    for order in orders:
        state("order.confirmed", order)
        if order.customer:
            state("customer.email_verified", order.customer)
        refund(order, "1.00")

    relay_for_a_while()
    hubspot.clear_faults()
    outbox.retry(include_dead=True)
    relay_until_told()

    assert Delivery.objects.exclude(status="delivered").count() == 0
    assert sorted(each["orderkeep_order"] for each in deals(hubspot)) == sorted(
        order.order_number for order in orders
    )
    assert {each["orderkeep_refunded_amount"] for each in deals(hubspot)} == {"1.00"}
    assert len(contacts(hubspot)) == len(orders)
    assert len(ties(hubspot)) == len(orders)
